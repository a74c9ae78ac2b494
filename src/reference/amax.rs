//! The largest magnitude of a tensor.

use crate::Real;
use crate::numerics::{NonFinite, Profile, max_magnitude};

/// max |x|, NaN if any x is; 0 of nothing. A profile that drops NaN and Inf looks past them.
pub(crate) fn amax<T: Real>(profile: &Profile, values: &[T]) -> f32 {
    values.iter().fold(0.0, |amax, x| max_magnitude(amax, considered(profile, x.to_f32())))
}

/// `x` as the profile's scales see it.
pub(crate) fn considered(profile: &Profile, x: f32) -> f32 {
    if profile.nonfinite == NonFinite::Drop && !x.is_finite() { 0.0 } else { x }
}
