//! MS-EDEN: nearest codes under NVFP4 scales, and block scales that give back what rounding took.

use super::max_magnitude;
use super::sum::fold_in_halves;
use crate::format::{Element, Minifloat, Round, Scale, canonical};

/// Values that are corrected together: those that are rotated together.
pub(crate) const EDEN_GROUP: usize = 128;
/// Values under one scale.
pub(crate) const EDEN_BLOCK: usize = 16;

/// What every group of a tensor needs to know of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EdenFactors {
    /// v: what the amax of a block is mapped to.
    target: f32,
    /// t, 1 in place of 0 and Inf.
    pub decode: f32,
    /// The tensor's amax is NaN: every block gets the NaN scale.
    pub nan: bool,
}

impl EdenFactors {
    /// The largest block scale before it is corrected: below E4M3's 448, so that there is room.
    pub(crate) const BOUND: f32 = 255.99;

    /// v = fl(6 / so), t = fl(fl(g / 255.99) / v).
    pub(crate) fn new(scale_override: f32, amax: f32) -> Self {
        let target = Element::E2M1.max() / scale_override;
        let decode = amax / Self::BOUND / target;
        let usable = decode > 0.0 && decode.is_finite();
        Self { target, decode: if usable { decode } else { 1.0 }, nan: amax.is_nan() }
    }

    /// What is stored beside the tensor.
    pub(crate) fn stored(&self) -> f32 {
        if self.nan { canonical(f32::NAN) } else { self.decode }
    }

    /// s = E4M3(fl(fl(a / v) / t)), 1 in place of 0; NaN of a NaN.
    pub(crate) fn block_scale(&self, amax: f32) -> f32 {
        let code = Minifloat::E4M3.encode(amax / self.target / self.decode, Round::RNE);
        if code == 0 { 1.0 } else { Minifloat::E4M3.decode(code) }
    }

    /// The scale that is stored: E4M3(fl(s · c)), rounded by a draw.
    pub(crate) fn stored_scale(&self, scale: f32, correction: f32, round: Round) -> u8 {
        match scale.is_nan() {
            true => Scale::NAN_CODE,
            false => Minifloat::E4M3.encode(scale * correction, round),
        }
    }
}

/// c = fl(Σ fl(z²) / Σ fl(z · q)), both folded in halves; 1 where that is not finite, as it is of 0 / 0.
pub(crate) fn eden_correction(z: &[f32; EDEN_GROUP], q: &[f32; EDEN_GROUP]) -> f32 {
    let mut squares: [f32; EDEN_GROUP] = core::array::from_fn(|i| z[i] * z[i]);
    let mut products: [f32; EDEN_GROUP] = core::array::from_fn(|i| z[i] * q[i]);
    let correction = fold_in_halves(&mut squares) / fold_in_halves(&mut products);
    if correction.is_finite() { correction } else { 1.0 }
}

/// max |y| of a block, NaN if one is.
pub(crate) fn eden_amax(y: &[f32]) -> f32 {
    canonical(y.iter().copied().fold(0.0, max_magnitude))
}
