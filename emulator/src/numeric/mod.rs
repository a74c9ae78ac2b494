//! Number formats and roundings that the host processor has no instruction for.

pub mod directed;
pub mod format;

/// The direction in which an inexact result is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// `.rn`: to nearest, ties to even.
    Nearest,
    /// `.rna`: to nearest, ties away from zero.
    NearestAway,
    /// `.rz`: towards zero.
    Zero,
    /// `.rm`: towards negative infinity.
    Down,
    /// `.rp`: towards positive infinity.
    Up,
}

/// The NaN that f32 arithmetic writes.
pub const NAN32: u32 = 0x7fff_ffff;

/// Replaces any NaN by the one the device's arithmetic writes.
#[inline(always)]
pub fn canonical32(value: f32) -> u32 {
    if value.is_nan() { NAN32 } else { value.to_bits() }
}

/// Replaces a subnormal by the zero of the same sign (`.ftz`).
#[inline(always)]
pub fn flush32(value: f32) -> f32 {
    if value.is_subnormal() { 0f32.copysign(value) } else { value }
}
