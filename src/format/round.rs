//! Rounding of an exact quotient to an integer: the only step of an encode that loses bits.

/// What round-to-nearest does with a value exactly between two codes.
///
/// ```
/// use blockscale::format::{Element, Round, Ties};
/// // 2.5 lies between the E2M1 values 2 (code 4) and 3 (code 5).
/// assert_eq!(Element::E2M1.encode(2.5, Round::Nearest(Ties::Even)), 4);
/// assert_eq!(Element::E2M1.encode(2.5, Round::Nearest(Ties::Away)), 5);
/// assert_eq!(Element::E2M1.encode(2.5, Round::Nearest(Ties::Zero)), 4);
/// // 1.75 lies between 1.5 (code 3) and 2 (code 4).
/// assert_eq!(Element::E2M1.encode(1.75, Round::Nearest(Ties::Even)), 4);
/// assert_eq!(Element::E2M1.encode(1.75, Round::Nearest(Ties::Zero)), 3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ties {
    /// To the even code (IEEE 754 roundTiesToEven, RNE).
    Even,
    /// To the code of larger magnitude.
    Away,
    /// To the code of smaller magnitude.
    Zero,
    /// As [`Away`](Self::Away), computed as ⌊fl(|y| / step + 0.5)⌋: the largest f32 below half
    /// the smallest step goes up as well (microxcaling).
    AwayByAddition,
}

/// How one value is rounded to a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Round {
    /// To the nearest code.
    Nearest(Ties),
    /// Up (in magnitude) with a probability equal to the fraction.
    ///
    /// ```text
    /// up  iff  floor(fraction · 2^bits) + draw >= 2^bits
    /// ```
    ///
    /// evaluated in integers on the exact fraction. A truncated `bits`-bit draw is low by up to
    /// 2^−bits of a step on average. More than 32 bits cannot be drawn and count as 32.
    Stochastic {
        /// The uniform draw, below 2^bits.
        draw: u32,
        /// Width of the draw in bits.
        bits: u32,
    },
}

impl Round {
    /// The nearest code, ties to even.
    pub const RNE: Self = Self::Nearest(Ties::Even);

    /// Rounds `base + significand / 2^shift` to an integer, "even" being that of the sum.
    /// `significand` is below 2^24, `base` a code.
    pub(crate) fn sum(self, base: u32, significand: u32, shift: u32) -> u32 {
        // Beyond 63 bits the quotient is below every threshold that is told apart here.
        let shift = shift.min(63);
        let significand = u64::from(significand);
        let floor = significand >> shift;
        let remainder = significand - (floor << shift);
        // Twice the fraction against one, and the fraction cut to `bits` bits: both exact.
        let up = match self {
            // 2^24 − 1 over 2^25 is the one quotient whose sum with 0.5 rounds up to 1.
            Self::Nearest(Ties::AwayByAddition) if (significand, shift) == (0xff_ffff, 25) => true,
            Self::Nearest(ties) => match (2 * remainder).cmp(&(1 << shift)) {
                core::cmp::Ordering::Less => false,
                core::cmp::Ordering::Greater => true,
                core::cmp::Ordering::Equal => match ties {
                    Ties::Even => (u64::from(base) + floor) & 1 == 1,
                    Ties::Away | Ties::AwayByAddition => true,
                    Ties::Zero => false,
                },
            },
            Self::Stochastic { draw, bits } => {
                let bits = bits.min(32);
                let cut = (u128::from(remainder) << bits) >> shift;
                cut as u64 + u64::from(draw) >= 1 << bits
            }
        };
        base + (floor + u64::from(up)) as u32
    }
}

/// A finite `|x|` as `significand · 2^exponent` with an integer significand below 2^24.
pub(crate) fn significand_and_exponent(x: f32) -> (u32, i32) {
    let bits = x.to_bits() & 0x7fff_ffff;
    let (exponent, mantissa) = ((bits >> 23) as i32, bits & 0x7f_ffff);
    match exponent {
        0 => (mantissa, -149),
        _ => (mantissa | 0x80_0000, exponent - 150),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sum_agrees_with_wide_arithmetic() {
        for shift in [0u32, 1, 2, 7, 23, 24, 25, 31, 62, 63, 64, 200] {
            for significand in
                [0u32, 1, 2, 3, 5, 6, 7, 0x7f_ffff, 0x80_0000, 0xc0_0000, 0xff_fffe, 0xff_ffff]
            {
                let exact = f64::from(significand) / (2f64).powi(shift.min(1000) as i32);
                let even = Round::RNE.sum(0, significand, shift);
                assert_eq!(f64::from(even), exact.round_ties_even(), "{significand} >> {shift}");
                let odd_base = Round::RNE.sum(1, significand, shift);
                assert_eq!(f64::from(odd_base), (exact + 1.0).round_ties_even());
                let away = Round::Nearest(Ties::Away).sum(0, significand, shift);
                assert_eq!(f64::from(away), exact.round(), "{significand} >> {shift}");
                let added = Round::Nearest(Ties::AwayByAddition).sum(0, significand, shift);
                if shift >= 20 {
                    assert_eq!(
                        added as f32,
                        (exact as f32 + 0.5).floor(),
                        "{significand} >> {shift}"
                    );
                }
                let zero = Round::Nearest(Ties::Zero).sum(0, significand, shift);
                let toward_zero = (exact - 0.5).ceil().max(0.0);
                assert_eq!(f64::from(zero), toward_zero, "{significand} >> {shift}");
                for (draw, bits) in [(0, 8), (1, 8), (127, 8), (255, 8), (65535, 16), (32768, 16)] {
                    let range = f64::from(1u32 << bits);
                    let cut = (exact.fract() * range).floor();
                    let up = cut + f64::from(draw) >= range;
                    let got = Round::Stochastic { draw, bits }.sum(0, significand, shift);
                    assert_eq!(f64::from(got), exact.floor() + f64::from(u8::from(up)));
                }
            }
        }
    }

    #[test]
    fn a_draw_has_at_most_32_bits() {
        for bits in [32, 33, 63, 64, 128, u32::MAX] {
            let round = |draw| Round::Stochastic { draw, bits };
            // A half goes up from the draw 2^31 on.
            assert_eq!(round(0x7fff_ffff).sum(0, 1, 1), 0);
            assert_eq!(round(0x8000_0000).sum(0, 1, 1), 1);
        }
    }

    #[test]
    fn splits_every_kind_of_float() {
        assert_eq!(significand_and_exponent(0.0), (0, -149));
        assert_eq!(significand_and_exponent(f32::from_bits(1)), (1, -149));
        assert_eq!(significand_and_exponent(-1.5), (0xc0_0000, -23));
        assert_eq!(significand_and_exponent(f32::MIN_POSITIVE), (0x80_0000, -149));
        assert_eq!(significand_and_exponent(f32::MAX), (0xff_ffff, 104));
    }
}
