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
