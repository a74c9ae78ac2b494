//! The element level: from x to the scaled y that is rounded, and its code.

use super::knobs::{ElementMap, Headroom, NonFinite, SignRule};
use super::{BlockScale, Profile, TensorFactors};
use crate::format::{Element, Round, e8m0_reciprocal};

impl Profile {
    /// y of an element under a block scale that is not NaN.
    pub(crate) fn scaled(&self, tensor: &TensorFactors, scale: BlockScale, x: f32) -> f32 {
        let s = scale.value;
        match self.map {
            ElementMap::Exponent => {
                let y = x * e8m0_reciprocal(scale.code);
                match self.headroom {
                    Headroom::ThreeQuarters => y * 0.75,
                    _ => y,
                }
            }
            ElementMap::ReciprocalZero if s == 0.0 => x * 0.0,
            ElementMap::ReciprocalMax | ElementMap::ReciprocalZero => {
                x * (1.0 / (s * tensor.decode)).min(f32::MAX)
            }
            ElementMap::EncodeOverScale => x * (tensor.encode / s),
            ElementMap::OverProduct => x / (s * tensor.decode),
            ElementMap::OverQuotient => x / (s / tensor.encode),
            ElementMap::NearestProduct if s == 0.0 => x * 0.0,
            ElementMap::NearestProduct => x / s,
        }
    }

    /// The code of an element under a block scale that is not NaN.
    pub(crate) fn element_code(
        &self,
        tensor: &TensorFactors,
        scale: BlockScale,
        x: f32,
        round: Round,
    ) -> u8 {
        let element = self.format.element();
        if !x.is_finite() && self.nonfinite == NonFinite::Drop {
            return 0;
        }
        if self.map == ElementMap::NearestProduct && matches!(round, Round::Nearest(_)) {
            return nearest_product(element, |q| self.product(scale, q), x);
        }
        let y = self.scaled(tensor, scale, x);
        if y.is_nan() {
            return 0;
        }
        let magnitude = element.encode_magnitude(y, round);
        let negative = match self.sign {
            SignRule::Bit => x.is_sign_negative(),
            SignRule::Negative => y < 0.0,
            SignRule::NotPositive => y <= 0.0,
            SignRule::NonZero => x.is_sign_negative() && magnitude != 0,
        };
        element.with_sign(negative, magnitude)
    }
}

/// The first code of the smallest fl(|fl(v · s) − x|), positive codes before negative ones.
fn nearest_product(element: Element, product: impl Fn(f32) -> f32, x: f32) -> u8 {
    let magnitudes = 0..=element.max_code();
    let codes = magnitudes.clone().chain(magnitudes.map(|code| element.with_sign(true, code)));
    let error = |code| (product(element.decode(code)) - x).abs();
    let first = (0, error(0));
    codes.fold(first, |best, code| if error(code) < best.1 { (code, error(code)) } else { best }).0
}
