//! The numerical decisions of a profile, each an enum whose values have names.

use crate::error::{Error, Result};
use crate::format::Ties;

/// A decision with a name and named values.
pub(crate) trait Knob: Copy + PartialEq + 'static {
    /// The knob's name, as in `PROFILE+knob=value`.
    const KEY: &'static str;
    /// Every value with its name.
    const VALUES: &'static [(&'static str, Self)];

    fn name(self) -> &'static str {
        let named = Self::VALUES.iter().find(|(_, value)| *value == self);
        named.map_or("?", |(name, _)| name)
    }

    fn parse(text: &str) -> Result<Self> {
        let named = Self::VALUES.iter().find(|(name, _)| *name == text);
        named.map(|(_, value)| *value).ok_or_else(|| Error::UnknownName {
            kind: Self::KEY,
            given: text.to_owned(),
            known: Self::VALUES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "),
        })
    }
}

/// Declares a knob: an enum, its key, and the name of each value.
macro_rules! knob {
    ($(#[$doc:meta])* $knob:ident, $key:literal {
        $($(#[$value_doc:meta])* $value:ident = $name:literal,)+
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $knob { $($(#[$value_doc])* $value,)+ }

        impl Knob for $knob {
            const KEY: &'static str = $key;
            const VALUES: &'static [(&'static str, Self)] = &[$(($name, Self::$value)),+];
        }
    };
}

impl Knob for Ties {
    const KEY: &'static str = "ties";
    const VALUES: &'static [(&'static str, Self)] = &[
        ("even", Self::Even),
        ("away", Self::Away),
        ("zero", Self::Zero),
        ("away-by-addition", Self::AwayByAddition),
    ];
}

knob! {
    /// The tensor scale: how it follows from the tensor's amax g, and what is stored of it.
    ///
    /// `T = fl(max · bound)` with the element's `max` (less the headroom) and the profile's
    /// `bound`; S encodes (multiplies amax), t decodes. g = 0 and g = Inf give S = 1, t = 1 and
    /// t = 0 as stated.
    TensorRule, "tensor" {
        /// None: S = t = 1, nothing is stored.
        None = "none",
        /// Stores g. S = min(fl(T / g), FLT_MAX), 1 where g or S is 0; t = fl(1 / S).
        Amax = "amax",
        /// Stores t = fl(g / T); S = fl(1 / t). Inf counts as t = 1.
        Decode = "decode",
        /// Stores S = fl(fl(1 / g) · T), 1 where that is not finite or 0; t = fl(1 / S).
        Encode = "encode",
    }
}

knob! {
    /// How the block scale follows from the block's amax a.
    ///
    /// The first group gives an E8M0 code directly, from the bits E (exponent field) and M
    /// (mantissa) of a (under a tensor scale of min(fl(a · S), FLT_MAX)); `emax`, `y`, `max` are the
    /// element's. The second group gives a real
    /// quotient d that a float scale is cast from, with S and t of [`TensorRule`].
    ScaleRule, "scale" {
        /// clamp(E − emax, 0, 254): ⌊log2 a⌋ − emax, the OCP minimum. Large elements saturate.
        Floor = "floor",
        /// As `floor` with E + (M ≠ 0): ⌈log2 a⌉ − emax. Nothing saturates.
        Ceil = "ceil",
        /// As `floor` after adding half an element step, 2^(22 − y), to the bits of a; a carry
        /// into E = 255 gives the NaN scale.
        Even = "even",
        /// d = fl(a · fl(1 / max)); E(d) + (E(d) = 0 ? M(d) > 2^22 : M(d) ≠ 0): ⌈log2(a / max)⌉,
        /// the smallest scale at which nothing saturates.
        Rceil = "rceil",
        /// As `rceil` with d = fl(a / max_code), plus the fraction bits: the MXINT `ceil`.
        IntegerCeil = "integer-ceil",
        /// ⌊log2f(a)⌋ − emax with a correctly rounded f32 logarithm; a = 0 counts as 2⁻¹²⁶, an
        /// exponent of 128 gives the NaN scale (microxcaling).
        FloorLog2 = "floor-log2",
        /// As `floor-log2`, kept modulo 256 instead of clamped (ggml's conversion to uint8).
        FloorLog2Wrap = "floor-log2-wrap",
        /// ⌈log2f(fl(a / max))⌉ with a correctly rounded f32 logarithm.
        CeilLog2 = "ceil-log2",
        /// ⌊log2(std · 2.92247856 / max + 1e-8)⌋ (QuEST): fitted to the block's RMS, not its amax.
        RmsFloor = "rms-floor",
        /// As `rms-floor`, the exponent rounded to nearest.
        RmsNearest = "rms-nearest",
        /// d = fl(a / max): one level, no tensor scale.
        Plain = "plain",
        /// d = min(fl(a · fl(S · fl(1 / max))), FLT_MAX) (TransformerEngine).
        FoldedEncode = "folded-encode",
        /// d = fl(fl(a / max) · S) (compressed-tensors, four over six).
        TimesEncode = "times-encode",
        /// d = fl(fl(a / max) / t) (torchao).
        OverDecode = "over-decode",
        /// d = fl(a / fl(max · t)) (Model Optimizer).
        OverProduct = "over-product",
    }
}

impl ScaleRule {
    /// Whether the rule gives an E8M0 code.
    pub(crate) const fn is_power_of_two(self) -> bool {
        !matches!(
            self,
            Self::Plain
                | Self::FoldedEncode
                | Self::TimesEncode
                | Self::OverDecode
                | Self::OverProduct
        )
    }
}

knob! {
    /// How a quotient becomes the code of a float scale. Both saturate.
    ScaleCast, "cast" {
        /// To nearest, ties to even.
        Rne = "rne",
        /// ggml's: half up on the bits; below the normal range trunc(fl(fl(d · 512) + 0.5)), at
        /// most 7; exponent field 15 and above gives 0x7E. E4M3 only.
        HalfUp = "half-up",
    }
}

knob! {
    /// What keeps a float scale away from zero.
    ScaleRange, "range" {
        /// Nothing: a scale may be 0.
        Plain = "plain",
        /// d is at least the smallest normal (torchao).
        MinNormal = "min-normal",
        /// d = 0 counts as 1; else d is at least the smallest positive value (Model Optimizer).
        MinPositive = "min-positive",
        /// A code of 0 becomes 0.125 (compressed-tensors).
        ZeroToEighth = "zero-to-eighth",
        /// A code of 0 becomes 1, the smallest positive scale, unless the block is all zero.
        NonZero = "non-zero",
    }
}

knob! {
    /// Room kept between the block's amax and the largest element, so that nothing clips.
    Headroom, "headroom" {
        /// None.
        None = "none",
        /// E8M0 scales: elements are multiplied by 3/4 and the tensor by 4/3, so that a floor
        /// rule never saturates (E8M0 cannot hold the 4/3).
        ThreeQuarters = "3/4",
        /// Float scales: `max` counts as fl(max · 16/17) in every quotient, and the scale is kept
        /// in its normal range: rounding it to nearest can then not make an element exceed `max`
        /// by more than f32's own rounding.
        SixteenSeventeenths = "16/17",
    }
}

knob! {
    /// What NaN and Inf do.
    NonFinite, "nonfinite" {
        /// A block whose amax is NaN gets the NaN scale and codes 0; so does one whose amax is
        /// Inf where scales are E8M0.
        NanScale = "nan-scale",
        /// A block whose amax is NaN or Inf, or whose E8M0 code would be NaN, gets scale 1 and
        /// codes 0.
        Neutral = "neutral",
        /// NaN and Inf count as 0.
        Drop = "drop",
    }
}

knob! {
    /// How an element x is scaled to y before it is rounded; s is the block scale's value.
    /// A y that is NaN gets code 0.
    ElementMap, "map" {
        /// y = fl(x · 2^(127 − code)): exact but for underflow. E8M0 only.
        Exponent = "exponent",
        /// y = fl(x · min(fl(1 / fl(s · t)), FLT_MAX)).
        ReciprocalMax = "reciprocal-max",
        /// y = fl(x · min(fl(1 / fl(t · s)), FLT_MAX)), 0 where s = 0.
        ReciprocalZero = "reciprocal-zero",
        /// y = fl(x · fl(S / s)), S being fl(1 / t).
        EncodeOverScale = "encode-over-scale",
        /// y = fl(x / fl(s · t)).
        OverProduct = "over-product",
        /// y = fl(x / fl(s / S)).
        OverQuotient = "over-quotient",
        /// The first code, in the order 0, 1, …, −0, −1, …, of the smallest fl(|fl(v · s) − x|)
        /// (ggml); y = fl(x / s), 0 where s = 0, when rounding is stochastic.
        NearestProduct = "nearest-product",
    }
}

knob! {
    /// When a code carries the sign bit. Integer codes have no −0.
    SignRule, "sign" {
        /// When x does, zeros included (the hardware's).
        Bit = "bit",
        /// When y < 0.
        Negative = "negative",
        /// When y is not positive: zeros become −0 (Model Optimizer's MXFP4).
        NotPositive = "not-positive",
        /// When y < 0 and the code is not zero.
        NonZero = "non-zero",
    }
}

knob! {
    /// A choice between block scales by the error they leave.
    ///
    /// The rule's scale is tried first, rounding to nearest whatever rounds in the end. Another takes its
    /// place only where it leaves a strictly smaller error, so what no scale improves keeps the rule's
    /// bytes; of several others with the same smallest error the largest wins. An error that is NaN is
    /// neither smaller nor larger than another: NaN under the rule's scale keeps that scale.
    Search, "search" {
        /// None.
        None = "none",
        /// Four over six: also tries 3/2 of the scale; keeps it where Σ(decoded − x)² is smaller.
        FourOverSixMse = "four-over-six-mse",
        /// Four over six by Σ|decoded − x|.
        FourOverSixMae = "four-over-six-mae",
        /// Four over six by max |decoded − x|.
        FourOverSixAbsmax = "four-over-six-absmax",
        /// Every scale of the codes up to 8 above and 8 below that of the rule, as far as they are
        /// positive and finite, by Σ w · (decoded − x)²; w is 1, or the
        /// [importance](crate::Quantize::run_with_importance) of the column.
        Sweep = "sweep",
        /// The scale, its half and its quarter, which clip more, as far as they exist, by the same sum.
        /// E8M0 only.
        Clip = "clip",
    }
}

knob! {
    /// The order of products on decode; q is the element, s the block scale's value, g, t and S
    /// what [`TensorRule`] stores.
    DecodeRule, "decode" {
        /// fl(q · s).
        Scale = "scale",
        /// fl(q · fl(fl(s · g) · fl(1 / T))) (TransformerEngine).
        FoldedAmax = "folded-amax",
        /// fl(q · fl(t · s)) (torchao).
        TimesDecode = "times-decode",
        /// As `times-decode` with −0 read as +0 (Model Optimizer).
        TimesDecodePlusZero = "times-decode-plus-zero",
        /// fl(q · fl(s / S)) (compressed-tensors).
        OverEncode = "over-encode",
        /// fl(fl(fl(q · s) · g) / T) (four over six).
        AmaxLast = "amax-last",
        /// fl(2q · h) with h half the scale; E8M0 255 is 2^128 and E4M3 0x7F is 0 (ggml).
        Halved = "halved",
    }
}

/// The variants of the knob type `knob`, in order, as the device code must have them.
#[cfg(all(test, feature = "cuda"))]
pub(crate) fn knob_names(knob: &str) -> Option<Vec<String>> {
    fn names<K: Knob + core::fmt::Debug>() -> Vec<String> {
        K::VALUES.iter().map(|(_, value)| format!("{value:?}")).collect()
    }
    Some(match knob {
        "TensorRule" => names::<TensorRule>(),
        "ScaleRule" => names::<ScaleRule>(),
        "ScaleCast" => names::<ScaleCast>(),
        "ScaleRange" => names::<ScaleRange>(),
        "Headroom" => names::<Headroom>(),
        "NonFinite" => names::<NonFinite>(),
        "ElementMap" => names::<ElementMap>(),
        "Ties" => names::<Ties>(),
        "SignRule" => names::<SignRule>(),
        "Search" => names::<Search>(),
        "DecodeRule" => names::<DecodeRule>(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trips<K: Knob + core::fmt::Debug>() {
        for &(name, value) in K::VALUES {
            assert_eq!(value.name(), name);
            assert_eq!(K::parse(name).unwrap(), value);
        }
        assert!(K::parse("nonsense").unwrap_err().to_string().contains(K::VALUES[0].0));
    }

    #[test]
    fn every_value_has_its_own_name() {
        round_trips::<Ties>();
        round_trips::<TensorRule>();
        round_trips::<ScaleRule>();
        round_trips::<ScaleCast>();
        round_trips::<ScaleRange>();
        round_trips::<Headroom>();
        round_trips::<NonFinite>();
        round_trips::<ElementMap>();
        round_trips::<SignRule>();
        round_trips::<Search>();
        round_trips::<DecodeRule>();
    }
}
