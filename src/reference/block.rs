//! One block, or one tile of blocks that share a scale.

use super::amax::considered;
use super::search::searched;
use crate::format::Round;
use crate::numerics::{
    BlockScale, BlockStatistics, Profile, ScaleChoice, Search, TensorFactors, max_magnitude,
    standard_deviation,
};

/// The values that share a scale, row by row, padded with +0 to whole rows of `width`.
pub(crate) struct Block {
    pub width: usize,
    pub values: Vec<f32>,
    /// The importance of each column, for a search; 1 where there is none.
    pub importance: Option<Vec<f32>>,
}

/// The scale and one code a value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct QuantizedBlock {
    pub scale: BlockScale,
    pub codes: Vec<u8>,
}

/// Chooses the scale of a block and rounds its elements; `rounds` has one entry a value.
pub(crate) fn quantize_block(
    profile: &Profile,
    tensor: &TensorFactors,
    block: &Block,
    rounds: &[Round],
) -> QuantizedBlock {
    coded_block(profile, tensor, block, chosen_scale(profile, tensor, block), rounds)
}

/// Rounds the elements of a block whose scale is chosen.
pub(crate) fn coded_block(
    profile: &Profile,
    tensor: &TensorFactors,
    block: &Block,
    chosen: ScaleChoice,
    rounds: &[Round],
) -> QuantizedBlock {
    match chosen {
        ScaleChoice::Dead(scale) => QuantizedBlock { scale, codes: vec![0; block.values.len()] },
        ScaleChoice::Scale(scale) => {
            QuantizedBlock { scale, codes: codes(profile, tensor, block, scale, rounds) }
        }
    }
}

/// The scale of a block, searched where the profile says so.
pub(crate) fn chosen_scale(
    profile: &Profile,
    tensor: &TensorFactors,
    block: &Block,
) -> ScaleChoice {
    let statistics = statistics(profile, block);
    match profile.block_scale(tensor, statistics) {
        ScaleChoice::Scale(first) if profile.search != Search::None => {
            ScaleChoice::Scale(searched(profile, tensor, block, statistics, first))
        }
        choice => choice,
    }
}

pub(super) fn codes(
    profile: &Profile,
    tensor: &TensorFactors,
    block: &Block,
    scale: BlockScale,
    rounds: &[Round],
) -> Vec<u8> {
    let elements = block.values.iter().zip(rounds);
    elements.map(|(x, round)| profile.element_code(tensor, scale, *x, *round)).collect()
}

fn statistics(profile: &Profile, block: &Block) -> BlockStatistics {
    let values: Vec<f32> = block.values.iter().map(|x| considered(profile.nonfinite, *x)).collect();
    let amax = values.iter().copied().fold(0.0, max_magnitude);
    let std = if profile.needs_std() { standard_deviation(&values) } else { 0.0 };
    BlockStatistics { amax, std }
}
