//! The element level: from x to the scaled y that is rounded, and its code.

use super::knobs::{ElementMap, Headroom, NonFinite, SignRule};
use super::{BlockScale, Profile, TensorFactors};
use crate::format::{Element, Round, e8m0_reciprocal};

/// What one step does to every element of a block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scaling {
    /// y = fl(x · factor).
    Times(f32),
    /// y = fl(x / divisor).
    Over(f32),
}

impl Profile {
    /// How elements become y under a block scale that is not NaN; a headroom of 3/4 comes after it.
    pub(crate) fn scaling(&self, tensor: &TensorFactors, scale: BlockScale) -> Scaling {
        let s = scale.value;
        match self.map {
            ElementMap::Exponent => Scaling::Times(e8m0_reciprocal(scale.code)),
            ElementMap::ReciprocalZero | ElementMap::NearestProduct if s == 0.0 => {
                Scaling::Times(0.0)
            }
            ElementMap::ReciprocalMax | ElementMap::ReciprocalZero => {
                Scaling::Times((1.0 / (s * tensor.decode)).min(f32::MAX))
            }
            ElementMap::EncodeOverScale => Scaling::Times(tensor.encode / s),
            ElementMap::OverProduct => Scaling::Over(s * tensor.decode),
            ElementMap::OverQuotient => Scaling::Over(s / tensor.encode),
            ElementMap::NearestProduct => Scaling::Over(s),
        }
    }

    /// y of an element under a block scale that is not NaN.
    pub(crate) fn scaled(&self, tensor: &TensorFactors, scale: BlockScale, x: f32) -> f32 {
        let y = match self.scaling(tensor, scale) {
            Scaling::Times(factor) => x * factor,
            Scaling::Over(divisor) => x / divisor,
        };
        match (self.map, self.headroom) {
            (ElementMap::Exponent, Headroom::ThreeQuarters) => y * 0.75,
            _ => y,
        }
    }

    /// Whether an element lies within the grid under a block scale that is not NaN: |y| < max.
    pub(crate) fn is_within(&self, tensor: &TensorFactors, scale: BlockScale, x: f32) -> bool {
        // Of a zero y can be 0 · Inf. NaN and Inf are not below anything.
        x == 0.0 || self.scaled(tensor, scale, x).abs() < self.format.element().max()
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
        self.signed(x, y, element.encode_magnitude(y, round))
    }

    /// The code of a magnitude that x, scaled to y, was rounded to.
    pub(crate) fn signed(&self, x: f32, y: f32, magnitude: u8) -> u8 {
        let negative = match self.sign {
            SignRule::Bit => x.is_sign_negative(),
            SignRule::Negative => y < 0.0,
            SignRule::NotPositive => y <= 0.0,
            SignRule::NonZero => x.is_sign_negative() && magnitude != 0,
        };
        self.format.element().with_sign(negative, magnitude)
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
