//! The two codes that an element lies between.

use super::knobs::NonFinite;
use super::{BlockScale, Profile, TensorFactors};
use crate::format::Round;

/// Between which codes an element lies, and where: 0 at the lower one, and less than 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Between {
    pub lower: u8,
    pub upper: u8,
    pub fraction: f32,
}

impl Between {
    /// An element that only one code stands for.
    pub(crate) fn one(code: u8) -> Self {
        Self { lower: code, upper: code, fraction: 0.0 }
    }
}

/// A draw that never goes up.
const DOWN: Round = Round::Stochastic { draw: 0, bits: 32 };

impl Profile {
    /// The neighbours of x / divisor under a block scale that is not NaN.
    ///
    /// ```text
    /// y        = scaled(fl(x / divisor))
    /// lower    = the largest magnitude of the grid that is not above |y|, with the sign that codes of y have
    /// upper    = the next one, or the same where that is |y| itself or the largest
    /// fraction = fl((|y| − |lower|) / (|upper| − |lower|)), 0 where both are the same
    /// ```
    pub(crate) fn between(
        &self,
        tensor: &TensorFactors,
        scale: BlockScale,
        x: f32,
        divisor: f32,
    ) -> Between {
        let element = self.format.element();
        if !x.is_finite() && self.nonfinite == NonFinite::Drop {
            return Between::one(0);
        }
        let divided = x / divisor;
        let y = self.scaled(tensor, scale, divided);
        if y.is_nan() {
            return Between::one(0);
        }
        let code = |magnitude| self.signed(divided, y, magnitude);
        let down = element.encode_magnitude(y, DOWN);
        let below = element.decode(down);
        if down == element.max_code() || below == y.abs() {
            return Between::one(code(down));
        }
        // Magnitudes are in the order of their codes.
        let (up, above) = (down + 1, element.decode(down + 1));
        let fraction = (y.abs() - below) / (above - below);
        Between { lower: code(down), upper: code(up), fraction }
    }
}
