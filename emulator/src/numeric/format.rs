//! Floating-point formats narrower than f32: what a code means and how a real number becomes one.

use super::Rounding;

/// A signed binary floating-point format of at most 19 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloatFormat {
    exponent_bits: u32,
    mantissa_bits: u32,
    bias: i32,
    /// The largest finite magnitude.
    max_code: u32,
    infinity: Option<u32>,
    /// What NaN becomes (the sign is dropped); formats without NaN give their largest value.
    nan: u32,
}

/// IEEE binary16.
pub const F16: FloatFormat = FloatFormat {
    exponent_bits: 5,
    mantissa_bits: 10,
    bias: 15,
    max_code: 0x7bff,
    infinity: Some(0x7c00),
    nan: 0x7fff,
};
/// The upper half of an f32.
pub const BF16: FloatFormat = FloatFormat {
    exponent_bits: 8,
    mantissa_bits: 7,
    bias: 127,
    max_code: 0x7f7f,
    infinity: Some(0x7f80),
    nan: 0x7fff,
};
/// The upper 19 bits of an f32.
pub const TF32: FloatFormat = FloatFormat {
    exponent_bits: 8,
    mantissa_bits: 10,
    bias: 127,
    max_code: 0x3fbff,
    infinity: Some(0x3fc00),
    nan: 0x3ffff,
};
/// FP8 with four exponent bits: no infinity.
pub const E4M3: FloatFormat = FloatFormat {
    exponent_bits: 4,
    mantissa_bits: 3,
    bias: 7,
    max_code: 0x7e,
    infinity: None,
    nan: 0x7f,
};
/// FP8 with five exponent bits.
pub const E5M2: FloatFormat = FloatFormat {
    exponent_bits: 5,
    mantissa_bits: 2,
    bias: 15,
    max_code: 0x7b,
    infinity: Some(0x7c),
    nan: 0x7f,
};
/// FP6 with two exponent bits: every code finite.
pub const E2M3: FloatFormat = FloatFormat {
    exponent_bits: 2,
    mantissa_bits: 3,
    bias: 1,
    max_code: 0x1f,
    infinity: None,
    nan: 0x1f,
};
/// FP6 with three exponent bits: every code finite.
pub const E3M2: FloatFormat = FloatFormat {
    exponent_bits: 3,
    mantissa_bits: 2,
    bias: 3,
    max_code: 0x1f,
    infinity: None,
    nan: 0x1f,
};
/// FP4: every code finite.
pub const E2M1: FloatFormat = FloatFormat {
    exponent_bits: 2,
    mantissa_bits: 1,
    bias: 1,
    max_code: 0x7,
    infinity: None,
    nan: 0x7,
};

/// 2^e for any e that f64 can hold.
fn exp2(e: i32) -> f64 {
    f64::from_bits(((e + 1023) as u64) << 52)
}

impl FloatFormat {
    /// Bits of a code.
    pub fn bits(self) -> u32 {
        1 + self.exponent_bits + self.mantissa_bits
    }

    /// The value of a code; bits above the format's width are ignored.
    pub fn decode(self, code: u32) -> f64 {
        let sign = code >> (self.bits() - 1) & 1;
        let magnitude = code & ((1 << (self.bits() - 1)) - 1);
        let (exponent, mantissa) =
            (magnitude >> self.mantissa_bits, magnitude & ((1 << self.mantissa_bits) - 1));
        let value = if Some(magnitude) == self.infinity {
            f64::INFINITY
        } else if magnitude > self.max_code {
            f64::NAN
        } else if exponent == 0 {
            f64::from(mantissa) * exp2(1 - self.bias - self.mantissa_bits as i32)
        } else {
            f64::from(mantissa | 1 << self.mantissa_bits)
                * exp2(exponent as i32 - self.bias - self.mantissa_bits as i32)
        };
        if sign == 1 { -value } else { value }
    }

    /// Rounds a number. `saturate` (`.satfinite`) turns what is too large, infinity included, into
    /// the largest finite value.
    pub fn encode(self, x: f64, rounding: Rounding, saturate: bool) -> u32 {
        self.encode_with(x, saturate, rounding, |scaled| {
            let down = scaled.floor();
            let fraction = scaled - down;
            let up = match rounding {
                Rounding::Nearest => fraction > 0.5 || (fraction == 0.5 && down % 2.0 == 1.0),
                Rounding::NearestAway => fraction >= 0.5,
                Rounding::Zero => false,
                Rounding::Down => x < 0.0 && fraction > 0.0,
                Rounding::Up => x > 0.0 && fraction > 0.0,
            };
            down as u32 + u32::from(up)
        })
    }

    /// Rounds a number stochastically (`.rs`): up if the first `random_bits` bits of the fraction
    /// plus the random number carry.
    pub fn encode_stochastic(self, x: f64, random: u32, random_bits: u32, saturate: bool) -> u32 {
        self.encode_with(x, saturate, Rounding::Nearest, |scaled| {
            let down = scaled.floor();
            let one = f64::from(1u32 << random_bits);
            let fraction = ((scaled - down) * one).floor();
            down as u32 + u32::from(fraction + f64::from(random) >= one)
        })
    }

    fn encode_with(
        self,
        x: f64,
        saturate: bool,
        rounding: Rounding,
        round: impl Fn(f64) -> u32,
    ) -> u32 {
        if x.is_nan() {
            return self.nan;
        }
        let sign = u32::from(x.is_sign_negative()) << (self.bits() - 1);
        let a = x.abs();
        if a == 0.0 {
            return sign;
        }
        let magnitude = if a.is_infinite() {
            u32::MAX
        } else {
            let exponent = ((a.to_bits() >> 52) as i32 - 1023).max(1 - self.bias);
            let scaled = a * exp2(self.mantissa_bits as i32 - exponent.min(1000));
            // A value far above the range would not fit the integer below.
            if exponent - self.bias > 1 << self.exponent_bits {
                u32::MAX
            } else {
                (((exponent + self.bias - 1) as u32) << self.mantissa_bits) + round(scaled)
            }
        };
        if magnitude <= self.max_code {
            return sign | magnitude;
        }
        let inwards = match rounding {
            Rounding::Zero => true,
            Rounding::Down => x > 0.0,
            Rounding::Up => x < 0.0,
            Rounding::Nearest | Rounding::NearestAway => false,
        };
        match self.infinity {
            Some(infinity) if !saturate && (a.is_infinite() || !inwards) => sign | infinity,
            _ => sign | self.max_code,
        }
    }
}

/// The value of an E8M0 scale: 2^(code - 127), NaN for 255.
pub fn e8m0_decode(code: u32) -> f64 {
    if code & 255 == 255 { f64::NAN } else { exp2((code & 255) as i32 - 127) }
}

/// Rounds the magnitude to a power of two, towards zero or up. Zero gives code 0; what is too
/// large gives 254 (`saturate`) or NaN.
pub fn e8m0_encode(x: f64, rounding: Rounding, saturate: bool) -> u32 {
    if x.is_nan() {
        return 255;
    }
    let a = x.abs();
    if a == 0.0 {
        return 0;
    }
    let too_large = if saturate { 254 } else { 255 };
    if a.is_infinite() {
        return too_large;
    }
    let floor = (a.to_bits() >> 52) as i32 - 1023;
    let exact = a == exp2(floor.max(-1022));
    let exponent = if rounding == Rounding::Up && !exact { floor + 1 } else { floor };
    match exponent + 127 {
        code if code < 0 => 0,
        code if code > 254 => too_large,
        code => code as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every finite code decodes and encodes to itself, and midpoints go to the even neighbour.
    #[test]
    fn codes_round_trip_and_ties_go_to_even() {
        for format in [F16, BF16, E4M3, E5M2, E2M3, E3M2, E2M1] {
            for code in 0..=format.max_code {
                let value = format.decode(code);
                assert_eq!(format.encode(value, Rounding::Nearest, true), code);
                let sign = 1 << (format.bits() - 1);
                assert_eq!(format.encode(-value, Rounding::Nearest, true), code | sign);
                if code < format.max_code {
                    let middle = (value + format.decode(code + 1)) / 2.0;
                    assert_eq!(
                        format.encode(middle, Rounding::Nearest, true),
                        code + (code & 1),
                        "{format:?} {code}"
                    );
                    assert_eq!(format.encode(middle, Rounding::Zero, true), code);
                    assert_eq!(format.encode(middle, Rounding::Up, true), code + 1);
                    assert_eq!(format.encode(-middle, Rounding::Up, true), code | sign);
                    assert_eq!(format.encode(middle, Rounding::NearestAway, true), code + 1);
                }
            }
        }
    }

    #[test]
    fn fp4_thresholds_and_specials() {
        let e2m1 = |x: f64| E2M1.encode(x, Rounding::Nearest, true);
        let ties = [
            (0.25, 0),
            (0.75, 2),
            (1.25, 2),
            (1.75, 4),
            (2.5, 4),
            (3.5, 6),
            (5.0, 6),
            (1e30, 7),
            (f64::INFINITY, 7),
        ];
        for (x, code) in ties {
            assert_eq!(e2m1(x), code);
            assert_eq!(e2m1(-x), code | 8);
        }
        assert_eq!(e2m1(f64::NAN), 7);
        assert_eq!(e2m1(-f64::NAN), 7);
        assert_eq!(e2m1(-0.0), 8);
    }

    #[test]
    fn overflow_of_f16_and_fp8() {
        assert_eq!(F16.encode(65520.0, Rounding::Nearest, false), 0x7c00);
        assert_eq!(F16.encode(65519.0, Rounding::Nearest, false), 0x7bff);
        assert_eq!(F16.encode(1e9, Rounding::Zero, false), 0x7bff);
        assert_eq!(F16.encode(f64::INFINITY, Rounding::Zero, false), 0x7c00);
        assert_eq!(F16.encode(1e300, Rounding::Nearest, true), 0x7bff);
        assert_eq!(E4M3.encode(464.0, Rounding::Nearest, true), 0x7e);
        assert_eq!(E4M3.encode(f64::INFINITY, Rounding::Nearest, true), 0x7e);
        assert_eq!(E5M2.encode(f64::NEG_INFINITY, Rounding::Nearest, true), 0xfb);
        assert_eq!(E4M3.encode(-f64::NAN, Rounding::Nearest, true), 0x7f);
    }

    #[test]
    fn e8m0_rounds_up_or_towards_zero() {
        let cases: [(f64, u32, u32); 7] = [
            (1.0, 127, 127),
            (3.0, 128, 129),
            (-3.0, 128, 129),
            (0.0, 0, 0),
            (f64::INFINITY, 254, 254),
            (f64::NAN, 255, 255),
            (f32::MAX as f64, 254, 254),
        ];
        for (x, zero, up) in cases {
            assert_eq!(e8m0_encode(x, Rounding::Zero, true), zero);
            assert_eq!(e8m0_encode(x, Rounding::Up, true), up);
        }
        assert_eq!(e8m0_encode(2f64.powi(-130), Rounding::Up, true), 0);
        assert_eq!(e8m0_encode(2f64.powi(-127) * 1.5, Rounding::Up, true), 1);
        assert_eq!(e8m0_decode(0), 2f64.powi(-127));
    }

    #[test]
    fn stochastic_rounding_goes_up_on_carry() {
        // 1.125 lies a quarter of the way from 1 to 1.5.
        let quarter = |random| E2M1.encode_stochastic(1.125, random, 8, true);
        assert_eq!((quarter(191), quarter(192), quarter(255)), (2, 3, 3));
        assert_eq!(E2M1.encode_stochastic(-1.125, 192, 8, true), 11);
        assert_eq!(E2M1.encode_stochastic(6.0, 255, 8, true), 7);
    }
}
