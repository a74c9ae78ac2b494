//! Scale search: the errors that candidates leave, and which one is kept.

use super::block::{Block, codes};
use crate::format::Round;
use crate::numerics::{
    BlockScale, BlockStatistics, Profile, Search, TensorFactors, folded_sum, max_magnitude,
    ordered_sum,
};

/// The scale of the smallest error: `first`, unless another leaves a strictly smaller one. Elements round
/// to nearest, whatever rounds them in the end.
pub(super) fn searched(
    profile: &Profile,
    tensor: &TensorFactors,
    block: &Block,
    statistics: BlockStatistics,
    first: BlockScale,
) -> BlockScale {
    let nearest = vec![Round::Nearest(profile.ties); block.values.len()];
    let error_of = |scale| {
        error(profile, tensor, block, scale, &codes(profile, tensor, block, scale, &nearest))
    };
    let (mut best, mut least) = (first, error_of(first));
    for scale in profile.candidates(tensor, statistics, first) {
        let error = error_of(scale);
        if error < least {
            (best, least) = (scale, error);
        }
    }
    best
}

/// What the codes leave of the values.
///
/// ```text
/// d         = fl(decoded − x)
/// row error = Σ over the row, in index order, of fl(d²), |d| or fl(w · fl(d²))
/// error     = row errors folded in halves, or max |d| over all rows
/// ```
///
/// with the importance w of the column, 1 where there is none. The maximum is NaN if any d is.
fn error(
    profile: &Profile,
    tensor: &TensorFactors,
    block: &Block,
    scale: BlockScale,
    codes: &[u8],
) -> f32 {
    let element = profile.format().element();
    let difference = |x: f32, code| profile.decoded(tensor.stored, scale, element.decode(code)) - x;
    if profile.search == Search::FourOverSixAbsmax {
        let values = block.values.iter().zip(codes);
        return values.map(|(x, code)| difference(*x, *code)).fold(0.0, max_magnitude);
    }
    let term = |(column, (x, code)): (usize, (&f32, &u8))| {
        let d = difference(*x, *code);
        match (profile.search, &block.importance) {
            (Search::FourOverSixMae, _) => d.abs(),
            (_, Some(importance)) => importance[column] * (d * d),
            (_, None) => d * d,
        }
    };
    let rows = block.values.chunks(block.width).zip(codes.chunks(block.width));
    folded_sum(rows.map(|(x, codes)| ordered_sum(x.iter().zip(codes).enumerate().map(term))))
}
