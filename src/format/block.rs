//! Block formats: element × block length × scale × tensor scale.

use super::{Element, Scale};
use crate::error::{Error, Result};
use core::fmt;
use core::str::FromStr;

/// What the bits of a quantized tensor mean.
///
/// ```text
/// value = element · scale            one scale per `block` consecutive elements along K
/// value = element · scale · tensor   with a tensor scale
/// ```
///
/// The named formats are the constants below and [`Format::NAMED`]; [`Format::new`] builds any
/// other. A built format prints as `<element>x<block>:<scale>`, with `+tensor` where it has a
/// tensor scale: `e3m2x64:e8m0`, `e2m1x32:e4m3+tensor`; that text parses back.
///
/// ```
/// use blockscale::format::{Element, Format, Scale};
/// assert_eq!(Format::NVFP4.bits_per_element(), 4.5);
/// assert_eq!("mxfp4".parse::<Format>()?, Format::MXFP4);
/// let wide = Format::new(Element::E3M2, 64, Scale::E8M0, false)?;
/// assert_eq!(wide.to_string(), "e3m2x64:e8m0");
/// assert_eq!("e3m2x64:e8m0".parse::<Format>()?, wide);
/// # Ok::<(), blockscale::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Format {
    element: Element,
    block: u16,
    scale: Scale,
    tensor_scale: bool,
}

impl Format {
    /// E4M3 elements, 32 to an E8M0 scale.
    pub const MXFP8_E4M3: Self = Self::of(Element::E4M3, 32, Scale::E8M0, false);
    /// E5M2 elements, 32 to an E8M0 scale.
    pub const MXFP8_E5M2: Self = Self::of(Element::E5M2, 32, Scale::E8M0, false);
    /// E2M3 elements, 32 to an E8M0 scale.
    pub const MXFP6_E2M3: Self = Self::of(Element::E2M3, 32, Scale::E8M0, false);
    /// E3M2 elements, 32 to an E8M0 scale.
    pub const MXFP6_E3M2: Self = Self::of(Element::E3M2, 32, Scale::E8M0, false);
    /// E2M1 elements, 32 to an E8M0 scale.
    pub const MXFP4: Self = Self::of(Element::E2M1, 32, Scale::E8M0, false);
    /// INT8 elements (code / 64), 32 to an E8M0 scale.
    pub const MXINT8: Self = Self::of(Element::INT8, 32, Scale::E8M0, false);
    /// INT6 elements (code / 16), 32 to an E8M0 scale.
    pub const MXINT6: Self = Self::of(Element::INT6, 32, Scale::E8M0, false);
    /// INT4 elements (code / 4), 32 to an E8M0 scale.
    pub const MXINT4: Self = Self::of(Element::INT4, 32, Scale::E8M0, false);
    /// E2M1 elements, 16 to an E4M3 scale, and a tensor scale.
    pub const NVFP4: Self = Self::of(Element::E2M1, 16, Scale::E4M3, true);
    /// INT4 elements (the code itself), 16 to an E4M3 scale, and a tensor scale.
    pub const NVINT4: Self = Self::of(Element::INT4_WHOLE, 16, Scale::E4M3, true);
    /// E2M1 elements, 16 to a UE5M3 scale.
    pub const FP4_UE5M3: Self = Self::of(Element::E2M1, 16, Scale::UE5M3, false);
    /// E2M1 elements, 16 to a UE5M3 scale, and a tensor scale.
    pub const FP4_UE5M3_TENSOR: Self = Self::of(Element::E2M1, 16, Scale::UE5M3, true);

    /// Every named format.
    pub const NAMED: [(&'static str, Self); 12] = [
        ("mxfp8-e4m3", Self::MXFP8_E4M3),
        ("mxfp8-e5m2", Self::MXFP8_E5M2),
        ("mxfp6-e2m3", Self::MXFP6_E2M3),
        ("mxfp6-e3m2", Self::MXFP6_E3M2),
        ("mxfp4", Self::MXFP4),
        ("mxint8", Self::MXINT8),
        ("mxint6", Self::MXINT6),
        ("mxint4", Self::MXINT4),
        ("nvfp4", Self::NVFP4),
        ("nvint4", Self::NVINT4),
        ("fp4-ue5m3", Self::FP4_UE5M3),
        ("fp4-ue5m3-tensor", Self::FP4_UE5M3_TENSOR),
    ];

    /// The longest block: sums over a block have a fixed tree of at most this width.
    pub const MAX_BLOCK: usize = 1024;

    const fn of(element: Element, block: u16, scale: Scale, tensor_scale: bool) -> Self {
        Self { element, block, scale, tensor_scale }
    }

    /// Any element × block length × scale × tensor scale.
    ///
    /// # Errors
    /// [`Error::InvalidFormat`] where `block` is 0 or above [`Format::MAX_BLOCK`], or where the element
    /// has no sign, as the float of a scale.
    pub fn new(element: Element, block: usize, scale: Scale, tensor_scale: bool) -> Result<Self> {
        if block == 0 || block > Self::MAX_BLOCK {
            return Err(Error::InvalidFormat {
                given: format!("block length {block}"),
                rule: "a block has 1 to 1024 elements",
            });
        }
        if matches!(element, Element::Float(float) if !float.is_signed()) {
            return Err(Error::InvalidFormat {
                given: format!("element {element}"),
                rule: "an element has a sign; only scales go without",
            });
        }
        Ok(Self::of(element, block as u16, scale, tensor_scale))
    }

    /// The element's format.
    pub const fn element(self) -> Element {
        self.element
    }
    /// Elements along K that share a scale.
    pub const fn block(self) -> usize {
        self.block as usize
    }
    /// The scale's format.
    pub const fn scale(self) -> Scale {
        self.scale
    }
    /// Whether there is an f32 per tensor beside the block scales.
    pub const fn has_tensor_scale(self) -> bool {
        self.tensor_scale
    }
    /// Storage bits of an element with its share of the block scale, packing taken as dense and
    /// the tensor scale not counted.
    pub fn bits_per_element(self) -> f64 {
        f64::from(self.element.bits()) + f64::from(self.scale.bits()) / f64::from(self.block)
    }
    /// Scales in a row of `k` elements, ⌈k / block⌉.
    pub const fn scales_per_row(self, k: usize) -> usize {
        k.div_ceil(self.block())
    }
    /// The name, if it is one of the named formats.
    pub fn name(self) -> Option<&'static str> {
        Self::NAMED.iter().find(|(_, format)| *format == self).map(|(name, _)| *name)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = self.name() {
            return f.write_str(name);
        }
        let tensor = if self.tensor_scale { "+tensor" } else { "" };
        write!(f, "{}x{}:{}{tensor}", self.element, self.block, self.scale)
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some((_, format)) = Self::NAMED.iter().find(|(name, _)| *name == text) {
            return Ok(*format);
        }
        let unknown = || Error::UnknownName {
            kind: "format",
            given: text.to_owned(),
            known: Self::NAMED.map(|(name, _)| name).join(", "),
        };
        let (rest, tensor_scale) = match text.strip_suffix("+tensor") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let (shape, scale) = rest.split_once(':').ok_or_else(unknown)?;
        let (element, block) = shape.split_once('x').ok_or_else(unknown)?;
        let block = block.parse().map_err(|_| unknown())?;
        Self::new(element.parse()?, block, scale.parse()?, tensor_scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for (name, format) in Format::NAMED {
            assert_eq!(format.to_string(), name);
            assert_eq!(name.parse::<Format>().unwrap(), format);
        }
        for text in ["e2m1x32:e4m3+tensor", "int8x1024:e8m0", "e3m4ix1:f32", "int4/1x64:ue5m3i"] {
            assert_eq!(text.parse::<Format>().unwrap().to_string(), text);
        }
        for text in
            ["mxfp5", "e2m1x0:e8m0", "e2m1x1025:e8m0", "e2m1:e8m0", "e2m1x32", "e2m1xA:e8m0"]
        {
            assert!(text.parse::<Format>().is_err(), "{text}");
        }
    }

    #[test]
    fn elements_have_signs() {
        let scale = Element::Float(Scale::UE5M3.float().unwrap());
        assert!(Format::new(scale, 16, Scale::E8M0, false).is_err());
    }

    #[test]
    fn sizes_are_those_of_the_papers() {
        let expected = [8.25, 8.25, 6.25, 6.25, 4.25, 8.25, 6.25, 4.25, 4.5, 4.5, 4.5, 4.5];
        let sizes = Format::NAMED.map(|(_, format)| format.bits_per_element());
        assert_eq!(sizes, expected);
        assert_eq!(Format::MXFP4.scales_per_row(0), 0);
        assert_eq!(Format::MXFP4.scales_per_row(32), 1);
        assert_eq!(Format::MXFP4.scales_per_row(33), 2);
        assert!(Format::NVFP4.has_tensor_scale() && !Format::MXFP4.has_tensor_scale());
    }
}
