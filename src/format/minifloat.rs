//! Small floats: the signed ExMy elements and the unsigned ExMy scales.

use super::round::{Round, significand_and_exponent};
use crate::error::{Error, Result};

/// Which codes of a [`Minifloat`] are not finite numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Specials {
    /// Every code is a finite number (the FP4 and FP6 elements).
    None,
    /// Only the magnitude with all bits set is NaN (E4M3, UE5M3).
    NanOnly,
    /// The top exponent is reserved: mantissa 0 is Inf, the others are NaN (E5M2, IEEE 754).
    Ieee,
}

/// A float of at most 8 bits: sign (if any), exponent, mantissa.
///
/// ```text
/// exponent field e > 0:  value = ±2^(e − bias) · (1 + mantissa / 2^y)
/// exponent field e = 0:  value = ±2^(1 − bias) · (mantissa / 2^y)
/// ```
///
/// **Rounding** on encode is the caller's ([`Round`]), done once on the exact value. **Overflow
/// and Inf** saturate to the largest finite code. **NaN** becomes the positive NaN code with all
/// magnitude bits set, or the largest positive code where the format has no NaN (both as
/// `cvt.satfinite` does). **Zeros** keep their sign; an unsigned format drops signs.
///
/// Sources: OCP Microscaling Formats (MX) 1.0 §5.3; NVIDIA's `cuda_fp4.h`, `cuda_fp6.h`,
/// `cuda_fp8.h`.
///
/// ```
/// use blockscale::format::{Minifloat, Round};
/// assert_eq!(Minifloat::E4M3.encode(448.0, Round::RNE), 0x7e);
/// assert_eq!(Minifloat::E4M3.decode(0x01), 2f32.powi(-9));
/// assert_eq!(Minifloat::E2M1.encode(-0.3, Round::RNE), 0b1001); // −0.5
/// assert_eq!(Minifloat::E2M1.encode(f32::NAN, Round::RNE), 0b0111); // +6: no NaN code
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Minifloat {
    signed: bool,
    exponent_bits: u8,
    mantissa_bits: u8,
    bias: i16,
    specials: Specials,
}

impl Minifloat {
    /// FP4: 0, 0.5, 1, 1.5, 2, 3, 4, 6.
    pub const E2M1: Self = Self::standard(2, 1, Specials::None);
    /// FP6 with three mantissa bits, largest value 7.5.
    pub const E2M3: Self = Self::standard(2, 3, Specials::None);
    /// FP6 with two mantissa bits, largest value 28.
    pub const E3M2: Self = Self::standard(3, 2, Specials::None);
    /// FP8 without Inf, largest value 448.
    pub const E4M3: Self = Self::standard(4, 3, Specials::NanOnly);
    /// FP8 with Inf and NaN, largest value 57344.
    pub const E5M2: Self = Self::standard(5, 2, Specials::Ieee);
    /// Unsigned scale of NVIDIA's rule: 0xFF is NaN, largest value 114688.
    pub const UE5M3: Self = Self { signed: false, ..Self::standard(5, 3, Specials::NanOnly) };
    /// Unsigned scale with the top exponent reserved, largest value 61440.
    pub const UE5M3_IEEE: Self = Self { signed: false, ..Self::standard(5, 3, Specials::Ieee) };

    /// The signed format with the usual bias 2^(x−1) − 1.
    const fn standard(exponent_bits: u8, mantissa_bits: u8, specials: Specials) -> Self {
        let bias = (1i16 << (exponent_bits - 1)) - 1;
        Self { signed: true, exponent_bits, mantissa_bits, bias, specials }
    }

    /// The signed ExMy format of 3 to 8 bits with the usual bias 2^(x−1) − 1.
    ///
    /// # Errors
    /// [`Error::InvalidElement`] unless `exponent_bits >= 1`, the whole has 3 to 8 bits, and at
    /// least one finite non-zero code is left beside the specials (`Ieee` needs a mantissa bit
    /// to tell NaN from Inf).
    ///
    /// ```
    /// use blockscale::format::{Minifloat, Specials};
    /// let e3m4 = Minifloat::new(3, 4, Specials::Ieee)?;
    /// assert_eq!((e3m4.bias(), e3m4.max()), (3, 15.5));
    /// # Ok::<(), blockscale::Error>(())
    /// ```
    pub fn new(exponent_bits: u8, mantissa_bits: u8, specials: Specials) -> Result<Self> {
        let bits = 1 + u32::from(exponent_bits) + u32::from(mantissa_bits);
        let room = match specials {
            Specials::Ieee => exponent_bits >= 2 && mantissa_bits >= 1,
            Specials::None | Specials::NanOnly => exponent_bits >= 1,
        };
        if !room || !(3..=8).contains(&bits) {
            return Err(Error::InvalidElement {
                given: format!("E{exponent_bits}M{mantissa_bits} with {specials:?} specials"),
                rule: "1 + x + y must be 3 to 8 bits with x >= 1 (x >= 2 and y >= 1 with Ieee)",
            });
        }
        Ok(Self::standard(exponent_bits, mantissa_bits, specials))
    }

    /// The same format with another exponent bias.
    ///
    /// # Errors
    /// [`Error::InvalidElement`] where a value of the format would not be an f32 (smallest step
    /// below 2^−149 or largest exponent above 127).
    pub fn with_bias(self, bias: i16) -> Result<Self> {
        let biased = Self { bias, ..self };
        let step = 1 - i32::from(bias) - i32::from(self.mantissa_bits);
        if step < -149 || (biased.top_field() as i32) - i32::from(bias) > 127 {
            return Err(Error::InvalidElement {
                given: format!("bias {bias}"),
                rule: "every value of the element must be exact in f32",
            });
        }
        Ok(biased)
    }

    /// Whether codes carry a sign bit.
    pub const fn is_signed(self) -> bool {
        self.signed
    }
    /// Exponent bits x.
    pub const fn exponent_bits(self) -> u8 {
        self.exponent_bits
    }
    /// Mantissa bits y.
    pub const fn mantissa_bits(self) -> u8 {
        self.mantissa_bits
    }
    /// Exponent bias.
    pub const fn bias(self) -> i16 {
        self.bias
    }
    /// Which codes are not finite.
    pub const fn specials(self) -> Specials {
        self.specials
    }
    /// Bits of a code, the sign included.
    pub const fn bits(self) -> u8 {
        self.signed as u8 + self.exponent_bits + self.mantissa_bits
    }

    /// All bits of the magnitude set.
    const fn magnitude_mask(self) -> u8 {
        (0xffu16 >> (8 - self.exponent_bits - self.mantissa_bits)) as u8
    }
    /// The largest exponent field that holds finite numbers.
    const fn top_field(self) -> u32 {
        (self.max_code() >> self.mantissa_bits) as u32
    }
    /// The code of the largest finite value.
    pub const fn max_code(self) -> u8 {
        let all = self.magnitude_mask();
        match self.specials {
            Specials::None => all,
            Specials::NanOnly => all - 1,
            Specials::Ieee => all - (1 << self.mantissa_bits),
        }
    }
    /// The NaN code that encode writes, if the format has one.
    pub const fn nan_code(self) -> Option<u8> {
        match self.specials {
            Specials::None => None,
            Specials::NanOnly | Specials::Ieee => Some(self.magnitude_mask()),
        }
    }
    /// The largest finite value.
    pub fn max(self) -> f32 {
        self.decode(self.max_code())
    }
    /// The smallest positive value with a leading one; `None` where every finite code is
    /// subnormal.
    pub fn min_normal(self) -> Option<f32> {
        let code = 1u8 << self.mantissa_bits;
        (code <= self.max_code()).then(|| self.decode(code))
    }
    /// The smallest positive value (the first normal where there is no mantissa bit).
    pub fn min_positive(self) -> f32 {
        self.decode(1)
    }
    /// ⌊log2(max)⌋, the `emax` of the scale rules.
    pub fn emax(self) -> i32 {
        // A format whose finite codes are all subnormal (E1My) still has a leading bit to find.
        let (significand, exponent) = significand_and_exponent(self.max());
        exponent + 31 - significand.leading_zeros() as i32
    }

    /// Nearest or stochastic, saturating, sign kept; see the type for NaN, Inf and zeros.
    pub fn encode(self, x: f32, round: Round) -> u8 {
        if x.is_nan() {
            return self.nan_code().unwrap_or(self.max_code());
        }
        self.with_sign(x.is_sign_negative(), self.encode_magnitude(x, round))
    }

    /// The code of `|x|`, saturating; NaN counts as Inf.
    pub(crate) fn encode_magnitude(self, x: f32, round: Round) -> u8 {
        if !x.is_finite() {
            return self.max_code();
        }
        let (significand, exponent) = significand_and_exponent(x);
        if significand == 0 {
            return 0;
        }
        let leading = exponent + 31 - significand.leading_zeros() as i32;
        // Below the first normal the step stays that of the first normal.
        let binade = leading.max(1 - i32::from(self.bias));
        let step = binade - i32::from(self.mantissa_bits);
        // Codes count steps on from the binade before, so a carry into the next comes out right.
        let base = ((binade + i32::from(self.bias) - 1) as u32) << self.mantissa_bits;
        let code = round.sum(base, significand, (step - exponent) as u32);
        code.min(u32::from(self.max_code())) as u8
    }

    pub(crate) fn with_sign(self, negative: bool, magnitude: u8) -> u8 {
        match negative && self.signed {
            true => magnitude | 1 << (self.bits() - 1),
            false => magnitude,
        }
    }

    /// The value of a code; bits above [`bits`](Self::bits) are ignored. NaN codes give
    /// [`CANONICAL_NAN`](super::CANONICAL_NAN).
    pub fn decode(self, code: u8) -> f32 {
        let magnitude = code & self.magnitude_mask();
        if magnitude > self.max_code() {
            let inf = self.specials == Specials::Ieee && magnitude == self.max_code() + 1;
            return match (inf, self.is_negative(code)) {
                (false, _) => super::CANONICAL_NAN,
                (true, false) => f32::INFINITY,
                (true, true) => f32::NEG_INFINITY,
            };
        }
        let field = i32::from(magnitude >> self.mantissa_bits);
        let mantissa = i32::from(magnitude) & ((1 << self.mantissa_bits) - 1);
        let leading = if field > 0 { 1 << self.mantissa_bits } else { 0 };
        let exponent = field.max(1) - i32::from(self.bias) - i32::from(self.mantissa_bits);
        // At most 8 significant bits times a power of two within f32's range: exact.
        let value = (f64::from(leading + mantissa) * super::exp2(exponent)) as f32;
        if self.is_negative(code) { -value } else { value }
    }

    pub(crate) fn is_negative(self, code: u8) -> bool {
        self.signed && code >> (self.bits() - 1) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Scale;

    #[test]
    fn bias_moves_as_far_as_f32_reaches() {
        // E4M3 has 3 mantissa bits and a largest exponent field of 15.
        for (bias, fits) in [(9, true), (148, false), (147, true), (-112, true), (-113, false)] {
            let biased = Minifloat::E4M3.with_bias(bias);
            assert_eq!(
                biased.as_ref().map(|float| float.bias()).ok(),
                fits.then_some(bias),
                "{bias}"
            );
        }
    }

    #[test]
    fn signs_are_told() {
        assert!(Minifloat::E4M3.is_signed());
        assert!(!Scale::UE5M3.float().unwrap().is_signed());
    }
}
