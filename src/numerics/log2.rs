//! ⌊log2(x)⌋ and ⌈log2(x)⌉ as implementations get them that go through an f32 `log2`.
//!
//! A correctly rounded f32 `log2` is an integer already for values a few ulp beside a power of
//! two, the more of them the larger the exponent, because the result's spacing grows with it.
//! The tables hold how many; `scripts/fixtures/log2_thresholds.py` measures them on glibc, numpy
//! and torch, whose tables the tests compare.

use crate::format::significand_and_exponent;

/// How many ulp (of the binade below) under 2^b the rounded log2 is already b, by bit length of
/// the larger magnitude within reach: b − 1 for positive b, −b otherwise.
pub(super) const ULPS_BELOW: [u32; 9] = [0, 0, 1, 2, 5, 11, 22, 44, 88];

/// How many ulp above 2^b the rounded log2 is still b, by bit length of b, or of −b − 1.
pub(super) const ULPS_ABOVE: [u32; 9] = [0, 0, 0, 1, 2, 5, 11, 22, 44];

/// A positive finite x as (⌊log2 x⌋, 24-bit significand with its leading bit set).
fn normalized(x: f32) -> (i32, u32) {
    let (significand, exponent) = significand_and_exponent(x);
    let shift = significand.leading_zeros() as i32 - 8;
    (exponent + 23 - shift, significand << shift)
}

/// ⌊log2f(x)⌋ of a positive finite x, with log2f correctly rounded to f32.
pub(crate) fn floor_of_rounded_log2(x: f32) -> i32 {
    let (floor, significand) = normalized(x);
    let magnitude = if floor >= 0 { floor } else { -floor - 1 };
    let rounds_up = 0x100_0000 - significand <= ULPS_BELOW[bit_length(magnitude)];
    floor + i32::from(rounds_up)
}

/// ⌈log2f(x)⌉ of a positive finite x, with log2f correctly rounded to f32.
pub(crate) fn ceil_of_rounded_log2(x: f32) -> i32 {
    let (floor, significand) = normalized(x);
    let magnitude = if floor >= 0 { floor } else { -floor - 1 };
    let rounds_down = significand - 0x80_0000 <= ULPS_ABOVE[bit_length(magnitude)];
    floor + i32::from(!rounds_down)
}

fn bit_length(magnitude: i32) -> usize {
    (32 - magnitude.leading_zeros()) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::fixtures;

    /// The thresholds as measured: where ⌊log2⌋ begins to be k, where ⌈log2⌉ ends to be k.
    #[test]
    fn thresholds_are_those_of_torch_numpy_and_glibc() {
        let measured = fixtures("log2_thresholds");
        for library in ["torch", "numpy", "glibc"] {
            let first = measured[&format!("{library}.floor_first")].u32();
            for (i, bits) in first.into_iter().enumerate() {
                let k = i as i32 - 148;
                if let Some(at) = finite(bits) {
                    assert_eq!(floor_of_rounded_log2(at), k, "{library} floor {bits:#x}");
                }
                if let Some(before) = finite(bits - 1) {
                    assert_eq!(floor_of_rounded_log2(before), k - 1, "{library} floor {bits:#x}");
                }
            }
            let last = measured[&format!("{library}.ceil_last")].u32();
            for (i, bits) in last.into_iter().enumerate() {
                let k = i as i32 - 149;
                if let Some(at) = finite(bits) {
                    assert_eq!(ceil_of_rounded_log2(at), k, "{library} ceil {bits:#x}");
                }
                if let Some(after) = finite(bits + 1) {
                    assert_eq!(ceil_of_rounded_log2(after), k + 1, "{library} ceil {bits:#x}");
                }
            }
        }
    }

    fn finite(bits: u32) -> Option<f32> {
        Some(f32::from_bits(bits)).filter(|x| x.is_finite() && *x > 0.0)
    }
}
