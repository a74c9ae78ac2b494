//! The tensor level: from the tensor's amax to the factors that blocks use, and what is stored.

use super::Profile;
use super::knobs::{Headroom, TensorRule};
use crate::format::canonical;

/// The f32 stored beside a tensor, under the name of what it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TensorScale {
    /// The largest magnitude of the tensor.
    Amax(f32),
    /// A multiplier on decode.
    Decode(f32),
    /// A divisor on decode.
    Encode(f32),
}

impl TensorScale {
    /// The stored number.
    pub const fn value(self) -> f32 {
        match self {
            Self::Amax(value) | Self::Decode(value) | Self::Encode(value) => value,
        }
    }
    /// The name it is stored under: `tensor_amax`, `decode_scale` or `encode_scale`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Amax(_) => "tensor_amax",
            Self::Decode(_) => "decode_scale",
            Self::Encode(_) => "encode_scale",
        }
    }
}

/// What every block of a tensor needs to know of the tensor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TensorFactors {
    /// S: multiplies a block's amax.
    pub encode: f32,
    /// t: multiplies a decoded block.
    pub decode: f32,
    /// What is stored.
    pub stored: Option<TensorScale>,
    /// The tensor's amax is NaN: every block gets the NaN scale.
    pub nan: bool,
}

impl Profile {
    /// The [name](TensorScale::name) of the tensor scale that tensors of this profile carry.
    pub fn tensor_scale_name(&self) -> Option<&'static str> {
        self.tensor_factors(1.0).stored.map(TensorScale::name)
    }

    /// What was stored, read back as the kind of scale that this profile stores.
    #[cfg(feature = "cuda")]
    pub(crate) fn stored_tensor_scale(&self, value: f32) -> Option<TensorScale> {
        let kind = self.tensor_factors(1.0).stored?;
        Some(match kind {
            TensorScale::Amax(_) => TensorScale::Amax(value),
            TensorScale::Decode(_) => TensorScale::Decode(value),
            TensorScale::Encode(_) => TensorScale::Encode(value),
        })
    }

    /// The factors for a tensor whose largest magnitude is `amax` (NaN if it holds one).
    pub(crate) fn tensor_factors(&self, amax: f32) -> TensorFactors {
        let amax = amax + 0.0; // a given −0 is stored as 0
        let nan = amax.is_nan() && self.tensor != TensorRule::None;
        let target = self.tensor_target();
        let or_one = |scale: f32| if scale.is_finite() && scale > 0.0 { scale } else { 1.0 };
        let (encode, decode, stored) = match self.tensor {
            TensorRule::None => {
                let four_thirds = self.headroom == Headroom::ThreeQuarters;
                (1.0, 1.0, four_thirds.then_some(TensorScale::Decode(4.0 / 3.0)))
            }
            TensorRule::Amax => {
                let encode = if amax > 0.0 { or_one((target / amax).min(f32::MAX)) } else { 1.0 };
                (encode, 1.0 / encode, Some(TensorScale::Amax(canonical(amax))))
            }
            TensorRule::Decode => {
                let decode = if amax.is_infinite() { 1.0 } else { amax / target };
                (1.0 / decode, decode, Some(TensorScale::Decode(canonical(decode))))
            }
            TensorRule::Encode => {
                let encode = or_one(1.0 / amax * target);
                (encode, 1.0 / encode, Some(TensorScale::Encode(encode)))
            }
        };
        TensorFactors { encode, decode, stored, nan }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;
    use TensorScale::{Amax, Decode, Encode};

    #[test]
    fn factors_and_what_is_stored() {
        let rows = [
            // T = 6 · 448 = 2688, with four over six 6 · 256 = 1536.
            ("transformer-engine", 5376.0, 0.5, 2.0, Some(Amax(5376.0))),
            ("transformer-engine", 0.0, 1.0, 1.0, Some(Amax(0.0))),
            ("transformer-engine", f32::INFINITY, 1.0, 1.0, Some(Amax(f32::INFINITY))),
            ("four-over-six-mse", 768.0, 2.0, 0.5, Some(Amax(768.0))),
            ("torchao", 5376.0, 0.5, 2.0, Some(Decode(2.0))),
            ("torchao", 0.0, f32::INFINITY, 0.0, Some(Decode(0.0))),
            ("torchao", f32::INFINITY, 1.0, 1.0, Some(Decode(1.0))),
            ("compressed-tensors", 2048.0, 1.3125, 0.761_904_8, Some(Encode(1.3125))),
            ("compressed-tensors", 0.0, 1.0, 1.0, Some(Encode(1.0))),
            ("compressed-tensors", f32::INFINITY, 1.0, 1.0, Some(Encode(1.0))),
            ("ggml", 5376.0, 1.0, 1.0, None),
        ];
        for (name, amax, encode, decode, stored) in rows {
            let factors = Profile::named(Format::NVFP4, name).unwrap().tensor_factors(amax);
            assert_eq!((factors.encode, factors.decode), (encode, decode), "{name} {amax}");
            assert_eq!(factors.stored, stored, "{name} {amax}");
            assert!(!factors.nan, "{name} {amax}");
        }
        for (name, nan) in [("transformer-engine", true), ("torchao", true), ("ggml", false)] {
            let factors = Profile::named(Format::NVFP4, name).unwrap().tensor_factors(f32::NAN);
            assert_eq!(factors.nan, nan, "{name}");
        }
        let negative_zero = Profile::named(Format::NVFP4, "torchao").unwrap().tensor_factors(-0.0);
        assert_eq!(negative_zero.stored.unwrap().value().to_bits(), 0);
        let headroom = Profile::parse(Format::MXFP4, "ocp+headroom=3/4").unwrap();
        assert_eq!(headroom.tensor_factors(1.0).stored, Some(Decode(4.0 / 3.0)));
        assert_eq!(headroom.tensor_scale_name(), Some("decode_scale"));
    }
}
