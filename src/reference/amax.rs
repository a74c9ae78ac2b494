//! The largest magnitude of a tensor.

use crate::Real;
use crate::format::canonical;
use crate::numerics::{NonFinite, max_magnitude};

/// max |x|, NaN if any x is; 0 of nothing.
pub(crate) fn amax<T: Real>(nonfinite: NonFinite, values: &[T]) -> f32 {
    let magnitudes = values.iter().map(|x| considered(nonfinite, x.to_f32()));
    canonical(magnitudes.fold(0.0, max_magnitude))
}

/// `x` as scales see it: one that is dropped counts as 0.
pub(crate) fn considered(nonfinite: NonFinite, x: f32) -> f32 {
    if nonfinite == NonFinite::Drop && !x.is_finite() { 0.0 } else { x }
}
