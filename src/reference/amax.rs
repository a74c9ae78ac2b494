//! The largest magnitude of a tensor.

use crate::Real;
use crate::numerics::{NonFinite, max_magnitude};

/// max |x|, NaN if any x is; 0 of nothing.
pub(crate) fn amax<T: Real>(nonfinite: NonFinite, values: &[T]) -> f32 {
    values.iter().fold(0.0, |amax, x| max_magnitude(amax, considered(nonfinite, x.to_f32())))
}

/// `x` as scales see it: one that is dropped counts as 0.
pub(crate) fn considered(nonfinite: NonFinite, x: f32) -> f32 {
    if nonfinite == NonFinite::Drop && !x.is_finite() { 0.0 } else { x }
}
