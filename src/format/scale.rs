//! The scale of a block.

use super::{CANONICAL_NAN, Minifloat};
use crate::error::{Error, Result};
use core::fmt;
use core::str::FromStr;

/// The format of the scale that a block's elements share.
///
/// | scale | bits | value of code c | smallest | largest | zero | NaN |
/// |---|---|---|---|---|---|---|
/// | E8M0 | 8 | 2^(c − 127) | 2⁻¹²⁷ (0x00) | 2¹²⁷ (0xFE) | – | 0xFF |
/// | E4M3 | 8 | as the element, sign 0 | 2⁻⁹ (0x01) | 448 (0x7E) | 0x00 | 0x7F, 0xFF |
/// | UE5M3 | 8 | unsigned, bias 15 | 2⁻¹⁷ (0x01) | 114688 (0xFE) | 0x00 | 0xFF |
/// | UE5M3, top exponent reserved | 8 | the same | 2⁻¹⁷ (0x01) | 61440 (0xF7) | 0x00 | 0xF9–0xFF |
/// | F32 | 32 | itself | – | – | yes | yes |
///
/// F32 exists for analysis: it has no place in a stored tensor. As text: `e8m0`, `e4m3`,
/// `ue5m3`, `ue5m3i`, `f32`.
///
/// Sources: OCP Microscaling Formats (MX) 1.0 §5.4; CUDA 13.4 `cuda_fp8.h` for UE5M3.
///
/// ```
/// use blockscale::format::Scale;
/// assert_eq!(Scale::E8M0.decode(0), 2f32.powi(-127));
/// assert_eq!(Scale::UE5M3.decode(0xfe), 114688.0);
/// assert!(Scale::E8M0.decode(0xff).is_nan());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scale {
    /// A power of two.
    E8M0,
    /// E4M3 with sign 0.
    E4M3,
    /// NVIDIA's UE5M3.
    UE5M3,
    /// UE5M3 with the top exponent reserved (largest value 61440).
    UE5M3Ieee,
    /// Unquantized, for analysis only.
    F32,
}

impl Scale {
    /// Every scale format with its name.
    pub const NAMED: [(&'static str, Self); 5] = [
        ("e8m0", Self::E8M0),
        ("e4m3", Self::E4M3),
        ("ue5m3", Self::UE5M3),
        ("ue5m3i", Self::UE5M3Ieee),
        ("f32", Self::F32),
    ];

    /// The code that marks a block as NaN, the same in every stored scale format.
    pub const NAN_CODE: u8 = 0xff;

    /// The small float behind E4M3 and UE5M3.
    pub const fn float(self) -> Option<Minifloat> {
        match self {
            Self::E4M3 => Some(Minifloat::E4M3),
            Self::UE5M3 => Some(Minifloat::UE5M3),
            Self::UE5M3Ieee => Some(Minifloat::UE5M3_IEEE),
            Self::E8M0 | Self::F32 => None,
        }
    }

    /// Bits of a scale.
    pub const fn bits(self) -> u8 {
        match self {
            Self::F32 => 32,
            _ => 8,
        }
    }

    /// The value of a one-byte code; [`Scale::F32`] has no codes and gives NaN.
    pub fn decode(self, code: u8) -> f32 {
        match (self, self.float()) {
            (Self::E8M0, _) => e8m0_value(code),
            (_, Some(float)) => float.decode(code),
            (_, None) => CANONICAL_NAN,
        }
    }
}

/// 2^(code − 127); 255 is NaN. Code 0 is an f32 subnormal.
pub(crate) fn e8m0_value(code: u8) -> f32 {
    match code {
        0 => f32::from_bits(0x0040_0000),
        255 => CANONICAL_NAN,
        _ => f32::from_bits(u32::from(code) << 23),
    }
}

/// 2^(127 − code), exact for every code but 255, which is NaN.
pub(crate) fn e8m0_reciprocal(code: u8) -> f32 {
    match code {
        254 => f32::from_bits(0x0040_0000),
        255 => CANONICAL_NAN,
        _ => f32::from_bits((254 - u32::from(code)) << 23),
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::E8M0 => "e8m0",
            Self::E4M3 => "e4m3",
            Self::UE5M3 => "ue5m3",
            Self::UE5M3Ieee => "ue5m3i",
            Self::F32 => "f32",
        })
    }
}

impl FromStr for Scale {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let named = Self::NAMED.iter().find(|(name, _)| *name == text);
        named.map(|(_, scale)| *scale).ok_or_else(|| Error::UnknownName {
            kind: "scale format",
            given: text.to_owned(),
            known: Self::NAMED.map(|(name, _)| name).join(", "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Round;

    #[test]
    fn e8m0_codes_are_exact_powers_of_two() {
        for code in 0..=254u8 {
            let exponent = i32::from(code) - 127;
            assert_eq!(f64::from(e8m0_value(code)), 2f64.powi(exponent));
            assert_eq!(f64::from(e8m0_reciprocal(code)), 2f64.powi(-exponent));
        }
        assert!(e8m0_value(255).is_nan() && e8m0_reciprocal(255).is_nan());
    }

    #[test]
    fn names_round_trip_and_constants_are_those_of_the_table() {
        for (name, scale) in Scale::NAMED {
            assert_eq!(scale.to_string(), name);
            assert_eq!(name.parse::<Scale>().unwrap(), scale);
        }
        assert!("e8m1".parse::<Scale>().is_err());
        assert_eq!(Scale::E8M0.bits(), 8);
        assert_eq!(Scale::E4M3.bits(), 8);
        assert_eq!(Scale::F32.bits(), 32);
        assert!(Scale::F32.decode(3).is_nan());
        for scale in [Scale::E8M0, Scale::E4M3, Scale::UE5M3, Scale::UE5M3Ieee] {
            assert!(scale.decode(Scale::NAN_CODE).is_nan());
        }
        let largest = [Scale::E4M3, Scale::UE5M3, Scale::UE5M3Ieee].map(|s| s.float().unwrap());
        assert_eq!(largest.map(|float| float.encode(1e9, Round::RNE)), [0x7e, 0xfe, 0xf7]);
        let ue5m3 = Minifloat::UE5M3;
        assert_eq!(ue5m3.encode(-1.0, Round::RNE), ue5m3.encode(1.0, Round::RNE));
    }
}
