//! One block, or one tile of blocks that share a scale.

use super::amax::considered;
use crate::format::Round;
use crate::numerics::{
    BlockScale, BlockStatistics, Profile, ScaleChoice, Search, TensorFactors, folded_sum,
    max_magnitude, ordered_sum, standard_deviation,
};

/// The values that share a scale, row by row, padded with +0 to whole rows of `width`.
pub(crate) struct Block {
    pub width: usize,
    pub values: Vec<f32>,
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

/// The scale of a block. A search is by nearest rounding, whatever rounds the elements in the end.
pub(crate) fn chosen_scale(
    profile: &Profile,
    tensor: &TensorFactors,
    block: &Block,
) -> ScaleChoice {
    let statistics = statistics(profile, block);
    let first = profile.block_scale(tensor, statistics);
    let ScaleChoice::Scale(six) = first else { return first };
    if profile.search == Search::None {
        return first;
    }
    let second = profile.stretched_block_scale(tensor, statistics, 1.5);
    let ScaleChoice::Scale(four) = second else { return first };
    let nearest = vec![Round::Nearest(profile.ties); block.values.len()];
    let error_of = |scale| {
        error(profile, tensor, block, scale, &codes(profile, tensor, block, scale, &nearest))
    };
    if error_of(four) < error_of(six) { second } else { first }
}

fn codes(
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

/// What the codes leave of the values.
///
/// ```text
/// row error = Σ over the row, in index order, of fl(d²) or |d|,  d = fl(decoded − x)
/// error     = row errors folded in halves
/// ```
fn error(
    profile: &Profile,
    tensor: &TensorFactors,
    block: &Block,
    scale: BlockScale,
    codes: &[u8],
) -> f32 {
    let element = profile.format().element();
    let row_error = |(values, codes): (&[f32], &[u8])| {
        ordered_sum(values.iter().zip(codes).map(|(x, code)| {
            let difference = profile.decoded(tensor.stored, scale, element.decode(*code)) - x;
            match profile.search {
                Search::FourOverSixMae => difference.abs(),
                _ => difference * difference,
            }
        }))
    };
    let rows = block.values.chunks(block.width).zip(codes.chunks(block.width));
    folded_sum(rows.map(row_error))
}
