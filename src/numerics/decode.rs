//! From codes back to values.

use super::knobs::DecodeRule;
use super::{BlockScale, Profile, TensorScale};
use crate::format::{Scale, canonical, e8m0_value};

impl Profile {
    /// The value of element `q` (already decoded) in a block with that scale.
    pub(crate) fn decoded(&self, tensor: Option<TensorScale>, scale: BlockScale, q: f32) -> f32 {
        let s = scale.value;
        let stored = tensor.map_or(1.0, TensorScale::value);
        let value = match self.decode {
            DecodeRule::Halved => self.product(scale, q),
            DecodeRule::FoldedAmax => q * (s * stored * (1.0 / self.tensor_target())),
            // Where nothing is stored it counts as 1; the 4/3 of a headroom is stored.
            DecodeRule::Scale | DecodeRule::TimesDecode => q * (stored * s),
            // −0 + 0 is +0, and nothing else changes.
            DecodeRule::TimesDecodePlusZero => (q + 0.0) * (stored * s),
            DecodeRule::OverEncode => q * (s / stored),
            DecodeRule::AmaxLast => q * s * stored / self.tensor_target(),
        };
        canonical(value)
    }

    /// Element times block scale. ggml doubles the element and halves the scale, which differs
    /// where the scale is a code that others read as NaN.
    pub(crate) fn product(&self, scale: BlockScale, q: f32) -> f32 {
        match (self.decode, self.format.scale()) {
            (DecodeRule::Halved, Scale::E8M0) => {
                let half = match scale.code {
                    255 => e8m0_value(254),
                    code => 0.5 * e8m0_value(code),
                };
                2.0 * q * half
            }
            (DecodeRule::Halved, _) if scale.value.is_nan() => 0.0 * q,
            _ => q * scale.value,
        }
    }

    /// The scale of a stored code.
    pub(crate) fn stored_scale(&self, code: u8) -> BlockScale {
        BlockScale { code, value: self.format.scale().decode(code) }
    }
}
