//! The element of a block format: a small float or an integer.

use super::{Integer, Minifloat, Round, Specials};
use crate::error::{Error, Result};
use core::fmt;
use core::str::FromStr;

/// One quantized value's format.
///
/// The named elements (sizes in bits, values exact):
///
/// | element | bits | bias | max (code) | min normal | min positive | Inf | NaN |
/// |---|---|---|---|---|---|---|---|
/// | E2M1 | 4 | 1 | 6 (0x07) | 1 | 0.5 | – | – |
/// | E2M3 | 6 | 1 | 7.5 (0x1F) | 1 | 0.125 | – | – |
/// | E3M2 | 6 | 3 | 28 (0x1F) | 0.25 | 0.0625 | – | – |
/// | E4M3 | 8 | 7 | 448 (0x7E) | 2⁻⁶ | 2⁻⁹ | – | 0x7F, 0xFF |
/// | E5M2 | 8 | 15 | 57344 (0x7B) | 2⁻¹⁴ | 2⁻¹⁶ | 0x7C, 0xFC | 0x7D–0x7F, 0xFD–0xFF |
/// | INT8 | 8 | – | 127/64 (0x7F) | – | 1/64 | – | – |
/// | INT6 | 6 | – | 31/16 (0x1F) | – | 1/16 | – | – |
/// | INT4 | 4 | – | 7/4 (0x07) | – | 1/4 | – | – |
///
/// Any other ExMy of 3 to 8 bits is built with [`Minifloat::new`], any other integer with
/// [`Integer::new`].
///
/// As text: `e2m1`, `e4m3`, `int8`, `int4/1` for the integer-valued INT4 of NVINT4; a built
/// ExMy carries its policy as a last letter, `f` all finite, `n` NaN only, `i` IEEE, and `@bias`
/// where the bias is not the usual one: `e3m4i`, `e4m3f@9`.
///
/// ```
/// use blockscale::format::Element;
/// assert_eq!(Element::E2M1.to_string(), "e2m1");
/// assert_eq!("e4m3f@9".parse::<Element>()?.to_string(), "e4m3f@9");
/// assert_eq!(Element::INT8.max(), 127.0 / 64.0);
/// # Ok::<(), blockscale::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Element {
    /// A small float.
    Float(Minifloat),
    /// A two's complement integer.
    Int(Integer),
}

/// Dispatches to the one method that both kinds share.
macro_rules! each {
    ($self:expr, $inner:ident => $body:expr) => {
        match $self {
            Element::Float($inner) => $body,
            Element::Int($inner) => $body,
        }
    };
}

impl Element {
    /// FP4.
    pub const E2M1: Self = Self::Float(Minifloat::E2M1);
    /// FP6, three mantissa bits.
    pub const E2M3: Self = Self::Float(Minifloat::E2M3);
    /// FP6, two mantissa bits.
    pub const E3M2: Self = Self::Float(Minifloat::E3M2);
    /// FP8 without Inf.
    pub const E4M3: Self = Self::Float(Minifloat::E4M3);
    /// FP8 with Inf.
    pub const E5M2: Self = Self::Float(Minifloat::E5M2);
    /// code / 64.
    pub const INT8: Self = Self::Int(Integer::INT8);
    /// code / 16.
    pub const INT6: Self = Self::Int(Integer::INT6);
    /// code / 4.
    pub const INT4: Self = Self::Int(Integer::INT4);
    /// The code itself (NVINT4).
    pub const INT4_WHOLE: Self = Self::Int(Integer::INT4_WHOLE);

    /// The elements that have a name of their own.
    pub const NAMED: [(&'static str, Self); 9] = [
        ("e2m1", Self::E2M1),
        ("e2m3", Self::E2M3),
        ("e3m2", Self::E3M2),
        ("e4m3", Self::E4M3),
        ("e5m2", Self::E5M2),
        ("int8", Self::INT8),
        ("int6", Self::INT6),
        ("int4", Self::INT4),
        ("int4/1", Self::INT4_WHOLE),
    ];

    /// Bits of a code.
    pub const fn bits(self) -> u8 {
        each!(self, inner => inner.bits())
    }
    /// The largest finite value.
    pub fn max(self) -> f32 {
        each!(self, inner => inner.max())
    }
    /// The code of the largest finite value.
    pub const fn max_code(self) -> u8 {
        each!(self, inner => inner.max_code())
    }
    /// The smallest positive value.
    pub fn min_positive(self) -> f32 {
        self.decode(1)
    }
    /// ⌊log2(max)⌋, the `emax` of the scale rules.
    pub fn emax(self) -> i32 {
        each!(self, inner => inner.emax())
    }
    /// Bits behind the leading bit of the largest binade: y of ExMy, the fraction bits of INT.
    pub const fn mantissa_bits(self) -> u8 {
        match self {
            Self::Float(float) => float.mantissa_bits(),
            Self::Int(int) => int.bits() - 2,
        }
    }

    /// The code of `x`, saturating; what happens to NaN, Inf and zeros stands at [`Minifloat`]
    /// and [`Integer`].
    pub fn encode(self, x: f32, round: Round) -> u8 {
        each!(self, inner => inner.encode(x, round))
    }
    /// The code of `|x|` without a sign, saturating; NaN counts as Inf.
    pub(crate) fn encode_magnitude(self, x: f32, round: Round) -> u8 {
        each!(self, inner => inner.encode_magnitude(x, round))
    }
    /// Gives a magnitude its sign; an integer has no −0.
    pub(crate) fn with_sign(self, negative: bool, magnitude: u8) -> u8 {
        each!(self, inner => inner.with_sign(negative, magnitude))
    }
    /// The value of a code; bits above [`bits`](Self::bits) are ignored.
    pub fn decode(self, code: u8) -> f32 {
        each!(self, inner => inner.decode(code))
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((name, _)) = Self::NAMED.iter().find(|(_, element)| element == self) {
            return f.write_str(name);
        }
        match *self {
            Self::Int(int) => write!(f, "int{}/{}", int.bits(), 1u32 << int.fraction_bits()),
            Self::Float(float) => {
                let (x, y) = (float.exponent_bits(), float.mantissa_bits());
                let policy = match float.specials() {
                    Specials::None => 'f',
                    Specials::NanOnly => 'n',
                    Specials::Ieee => 'i',
                };
                write!(f, "e{x}m{y}{policy}")?;
                match float.bias() == (1 << (x - 1)) - 1 {
                    true => Ok(()),
                    false => write!(f, "@{}", float.bias()),
                }
            }
        }
    }
}

impl FromStr for Element {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some((_, element)) = Self::NAMED.iter().find(|(name, _)| *name == text) {
            return Ok(*element);
        }
        let unknown = || Error::InvalidElement {
            given: format!("'{text}'"),
            rule: "expected e2m1, e2m3, e3m2, e4m3, e5m2, int8, int6, int4, or a built one such as \
                   e3m4i, e4m3f@9, int5/8",
        };
        if let Some(rest) = text.strip_prefix("int") {
            let (bits, divisor) = rest.split_once('/').ok_or_else(unknown)?;
            let divisor: u32 = divisor.parse().map_err(|_| unknown())?;
            let bits = bits.parse().map_err(|_| unknown())?;
            if !divisor.is_power_of_two() {
                return Err(unknown());
            }
            return Integer::new(bits, divisor.trailing_zeros() as u8).map(Self::Int);
        }
        let (shape, bias) = match text.split_once('@') {
            Some((shape, bias)) => (shape, Some(bias.parse().map_err(|_| unknown())?)),
            None => (text, None),
        };
        let [b'e', x @ b'0'..=b'9', b'm', y @ b'0'..=b'9', policy] = *shape.as_bytes() else {
            return Err(unknown());
        };
        let specials = match policy {
            b'f' => Specials::None,
            b'n' => Specials::NanOnly,
            b'i' => Specials::Ieee,
            _ => return Err(unknown()),
        };
        let float = Minifloat::new(x - b'0', y - b'0', specials)?;
        bias.map_or(Ok(float), |bias| float.with_bias(bias)).map(Self::Float)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Ties;

    /// The table in the documentation of [`Element`], as data.
    #[test]
    fn constants_are_those_of_the_table() {
        let rows = [
            (Element::E2M1, 4, 6.0, 0x07, 0.5, 2),
            (Element::E2M3, 6, 7.5, 0x1f, 0.125, 2),
            (Element::E3M2, 6, 28.0, 0x1f, 0.0625, 4),
            (Element::E4M3, 8, 448.0, 0x7e, 2f32.powi(-9), 8),
            (Element::E5M2, 8, 57344.0, 0x7b, 2f32.powi(-16), 15),
            (Element::INT8, 8, 127.0 / 64.0, 0x7f, 1.0 / 64.0, 0),
            (Element::INT6, 6, 31.0 / 16.0, 0x1f, 1.0 / 16.0, 0),
            (Element::INT4, 4, 7.0 / 4.0, 0x07, 1.0 / 4.0, 0),
            (Element::INT4_WHOLE, 4, 7.0, 0x07, 1.0, 2),
        ];
        for (element, bits, max, max_code, min_positive, emax) in rows {
            assert_eq!(element.bits(), bits, "{element}");
            assert_eq!(element.max(), max, "{element}");
            assert_eq!(element.max_code(), max_code, "{element}");
            assert_eq!(element.min_positive(), min_positive, "{element}");
            assert_eq!(element.emax(), emax, "{element}");
        }
        let normals = [
            (Minifloat::E2M1, 1, Some(1.0), 1),
            (Minifloat::E2M3, 1, Some(1.0), 3),
            (Minifloat::E3M2, 3, Some(0.25), 2),
            (Minifloat::E4M3, 7, Some(2f32.powi(-6)), 3),
            (Minifloat::E5M2, 15, Some(2f32.powi(-14)), 2),
            (Minifloat::UE5M3, 15, Some(2f32.powi(-14)), 3),
        ];
        for (float, bias, min_normal, mantissa_bits) in normals {
            assert_eq!(float.bias(), bias);
            assert_eq!(float.min_normal(), min_normal);
            assert_eq!(Element::Float(float).mantissa_bits(), mantissa_bits);
        }
        assert_eq!([Element::INT8, Element::INT6].map(Element::mantissa_bits), [6, 4]);
        assert_eq!((Minifloat::UE5M3.max(), Minifloat::UE5M3.max_code()), (114688.0, 0xfe));
        assert_eq!(
            (Minifloat::UE5M3_IEEE.max(), Minifloat::UE5M3_IEEE.max_code()),
            (61440.0, 0xf7)
        );
    }

    /// Every ExMy of 3 to 8 bits and every policy, and every integer.
    pub(crate) fn family() -> Vec<Element> {
        let mut family = Vec::new();
        for x in 1..=7 {
            for y in 0..=6 {
                for specials in [Specials::None, Specials::NanOnly, Specials::Ieee] {
                    family.extend(Minifloat::new(x, y, specials).ok().map(Element::Float));
                }
            }
        }
        for bits in 2..=8 {
            for fraction_bits in 0..bits {
                family.extend(Integer::new(bits, fraction_bits).ok().map(Element::Int));
            }
        }
        family
    }

    /// The nearest code by search over all codes in f64: slow, obvious, independent of `encode`.
    fn nearest_by_search(element: Element, x: f32, ties: Ties) -> u8 {
        let magnitude = f64::from(x.abs());
        let mut best = 0u8;
        for code in 0..=element.max_code() {
            let value = f64::from(element.decode(code));
            let held = f64::from(element.decode(best));
            let closer = (value - magnitude).abs() < (held - magnitude).abs();
            let tie = (value - magnitude).abs() == (held - magnitude).abs();
            let wins_tie = match ties {
                Ties::Even => code & 1 == 0,
                Ties::Away | Ties::AwayByAddition => true,
                Ties::Zero => false,
            };
            if closer || tie && wins_tie {
                best = code;
            }
        }
        element.with_sign(x.is_sign_negative(), best)
    }

    #[test]
    fn every_code_of_every_element_survives_a_round_trip() {
        for element in family() {
            assert_eq!(element.to_string().parse::<Element>().unwrap(), element);
            for code in 0..=(0xffu16 >> (8 - element.bits())) as u8 {
                let value = element.decode(code);
                let encoded = element.encode(value, Round::RNE);
                match element {
                    Element::Float(float) if value.is_nan() => {
                        assert_eq!(Some(encoded), float.nan_code());
                        assert_eq!(value.to_bits(), 0x7fff_ffff);
                    }
                    Element::Float(_) if value.is_infinite() => {
                        assert_eq!(element.decode(encoded).abs(), element.max());
                    }
                    Element::Int(int) if code == 1 << (int.bits() - 1) => {
                        assert_eq!(encoded, element.with_sign(true, element.max_code()));
                    }
                    _ => assert_eq!(encoded, code, "{element} {code:#x} = {value}"),
                }
            }
        }
    }

    #[test]
    fn every_midpoint_and_its_neighbours_round_as_a_search_does() {
        for element in family() {
            let mut probes = vec![0.0, f32::MIN_POSITIVE, f32::from_bits(1), 4.0 * element.max()];
            for code in 0..=element.max_code() {
                let low = element.decode(code);
                let high =
                    if code < element.max_code() { element.decode(code + 1) } else { 2.0 * low };
                for value in [low, (low + high) / 2.0, high] {
                    probes.extend([value, value.next_down(), value.next_up()]);
                }
            }
            for &probe in &probes {
                for x in [probe, -probe] {
                    for ties in [Ties::Even, Ties::Away, Ties::Zero] {
                        let expected = nearest_by_search(element, x, ties);
                        let got = element.encode(x, Round::Nearest(ties));
                        assert_eq!(got, expected, "{element} {x:e} {ties:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn nan_and_inf_follow_the_stated_rule() {
        for element in family() {
            let max = element.max_code();
            assert_eq!(element.encode(f32::INFINITY, Round::RNE), max);
            assert_eq!(element.encode(f32::NEG_INFINITY, Round::RNE), element.with_sign(true, max));
            let expected = match element {
                Element::Int(_) => 0,
                Element::Float(float) => float.nan_code().unwrap_or(max),
            };
            assert_eq!(element.encode(f32::NAN, Round::RNE), expected);
            assert_eq!(element.encode(-f32::NAN, Round::RNE), expected);
            assert_eq!(element.encode_magnitude(f32::NAN, Round::RNE), max);
        }
        assert_eq!(Element::E2M1.encode(-0.0, Round::RNE), 8);
        assert_eq!(Element::INT8.encode(-0.0, Round::RNE), 0);
    }

    #[test]
    fn stochastic_rounding_counts_draws_exactly() {
        for element in [Element::E2M1, Element::E4M3, Element::E2M3, Element::INT8] {
            for code in 0..element.max_code() {
                let (low, high) = (element.decode(code), element.decode(code + 1));
                for sixteenth in 0..16 {
                    let x = low + (high - low) * sixteenth as f32 / 16.0;
                    let ups = (0..256)
                        .filter(|&draw| {
                            element.encode(x, Round::Stochastic { draw, bits: 8 }) == code + 1
                        })
                        .count();
                    assert_eq!(ups, 16 * sixteenth, "{element} {x}");
                }
            }
        }
        let just_below_half = f32::from_bits(0x3aff_ffff);
        let all = Round::Stochastic { draw: 255, bits: 8 };
        assert_eq!(Element::E2M1.encode(just_below_half, all), 0);
    }

    #[test]
    fn impossible_elements_are_refused() {
        for (x, y, specials) in [
            (0, 3, Specials::None),
            (1, 0, Specials::None),
            (4, 4, Specials::None),
            (1, 3, Specials::Ieee),
            (7, 0, Specials::Ieee),
        ] {
            assert!(Minifloat::new(x, y, specials).is_err(), "E{x}M{y} {specials:?}");
        }
        assert!(Minifloat::E5M2.with_bias(133).is_ok());
        assert!(Minifloat::E5M2.with_bias(149).is_err());
        assert!(Minifloat::E5M2.with_bias(-98).is_err());
        assert!(Minifloat::E5M2.with_bias(-97).is_ok());
        for text in
            ["", "e2", "e2m1x", "e9m9f", "int9/2", "int8/3", "int8/256", "e4m3f@x", "e4m3f@999"]
        {
            assert!(text.parse::<Element>().is_err(), "{text}");
        }
    }
}
