//! Integer elements: two's complement with an implied power of two.

use super::round::{Round, significand_and_exponent};
use crate::error::{Error, Result};

/// A two's complement integer of `bits` bits with `fraction_bits` bits behind the point.
///
/// ```text
/// value = code / 2^fraction_bits,   |code| <= 2^(bits−1) − 1 on encode
/// ```
///
/// Encode clips symmetrically, so −2^(bits−1) is never written (it is legal to read). **NaN**
/// becomes 0, **Inf** saturates, **−0** is 0.
///
/// Source: OCP Microscaling Formats (MX) 1.0 §5.3.4 (INT8); INT6 and INT4 follow it.
///
/// ```
/// use blockscale::format::{Integer, Round};
/// assert_eq!(Integer::INT8.encode(1.0, Round::RNE), 64);
/// assert_eq!(Integer::INT8.encode(-9.0, Round::RNE), 0x81); // −127
/// assert_eq!(Integer::INT4.encode(-0.25, Round::RNE), 0xf); // low 4 bits
/// assert_eq!(Integer::INT8.decode(0x80), -2.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Integer {
    bits: u8,
    fraction_bits: u8,
}

impl Integer {
    /// MXINT8: code / 64.
    pub const INT8: Self = Self { bits: 8, fraction_bits: 6 };
    /// MXINT6: code / 16.
    pub const INT6: Self = Self { bits: 6, fraction_bits: 4 };
    /// MXINT4: code / 4.
    pub const INT4: Self = Self { bits: 4, fraction_bits: 2 };
    /// NVINT4: the code itself, −7 to 7.
    pub const INT4_WHOLE: Self = Self { bits: 4, fraction_bits: 0 };

    /// An integer element of 2 to 8 bits.
    ///
    /// # Errors
    /// [`Error::InvalidElement`] unless `2 <= bits <= 8` and `fraction_bits < bits`.
    pub fn new(bits: u8, fraction_bits: u8) -> Result<Self> {
        if !(2..=8).contains(&bits) || fraction_bits >= bits {
            return Err(Error::InvalidElement {
                given: format!("INT{bits} with {fraction_bits} fraction bits"),
                rule: "2 to 8 bits, fewer fraction bits than bits",
            });
        }
        Ok(Self { bits, fraction_bits })
    }

    /// Bits of a code.
    pub const fn bits(self) -> u8 {
        self.bits
    }
    /// Bits behind the point.
    pub const fn fraction_bits(self) -> u8 {
        self.fraction_bits
    }
    /// The largest code that encode writes, 2^(bits−1) − 1.
    pub const fn max_code(self) -> u8 {
        (1 << (self.bits - 1)) - 1
    }
    /// The value of the largest code.
    pub fn max(self) -> f32 {
        self.decode(self.max_code())
    }
    /// ⌊log2(max)⌋.
    pub const fn emax(self) -> i32 {
        self.bits as i32 - 2 - self.fraction_bits as i32
    }

    /// Nearest or stochastic, symmetric saturation; see the type for NaN, Inf and −0.
    pub fn encode(self, x: f32, round: Round) -> u8 {
        if x.is_nan() {
            return 0;
        }
        self.with_sign(x.is_sign_negative(), self.encode_magnitude(x, round))
    }

    /// The magnitude of the code of `|x|`; NaN counts as Inf.
    pub(crate) fn encode_magnitude(self, x: f32, round: Round) -> u8 {
        if x.abs() >= self.max() || x.is_nan() {
            return self.max_code();
        }
        let (significand, exponent) = significand_and_exponent(x);
        // |x| is below 2^7, so one code step is at least 2^(exponent + 16): never a left shift.
        let shift = -i32::from(self.fraction_bits) - exponent;
        round.sum(0, significand, shift as u32).min(u32::from(self.max_code())) as u8
    }

    pub(crate) fn with_sign(self, negative: bool, magnitude: u8) -> u8 {
        let code = if negative { magnitude.wrapping_neg() } else { magnitude };
        code & self.mask()
    }

    const fn mask(self) -> u8 {
        0xff >> (8 - self.bits)
    }

    /// The value of a code; bits above [`bits`](Self::bits) are ignored.
    pub fn decode(self, code: u8) -> f32 {
        let unused = 8 - self.bits;
        let code = ((code << unused) as i8) >> unused;
        f32::from(code) * super::exp2(-i32::from(self.fraction_bits)) as f32
    }
}
