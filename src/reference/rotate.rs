//! Rotate by Hadamard matrices: blocks of values to blocks of values.

use super::axis_blocks::AxisBlocks;
use crate::numerics::Hadamard;
use crate::shape::Extents;
use crate::{Axis, Real};
use half::bf16;

/// Everything about a call but its data. The axis is whole blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RotateJob {
    pub hadamard: Hadamard,
    pub inverse: bool,
    pub axis: Axis,
    pub extents: Extents,
}

impl RotateJob {
    /// Forward along K.
    pub(crate) fn forward(hadamard: Hadamard, extents: Extents) -> Self {
        Self { hadamard, inverse: false, axis: Axis::K, extents }
    }

    fn blocks(&self) -> AxisBlocks {
        AxisBlocks::new(self.axis, self.hadamard.size(), self.extents)
    }

    fn rotate(&self, block: &mut [f32]) {
        match self.inverse {
            false => rotate_block(self.hadamard, block),
            true => rotate_block_back(self.hadamard, block),
        }
    }
}

/// y = fl(H(s ⊙ x) · c), rounded to bf16 if so asked.
fn rotate_block(hadamard: Hadamard, block: &mut [f32]) {
    flip_signs(hadamard, block);
    butterflies(block);
    for value in block.iter_mut() {
        *value *= hadamard.scale();
        if hadamard.is_rounded_to_bf16() {
            *value = bf16::from_f32(*value).to_f32();
        }
    }
}

/// x = s ⊙ fl(H(y) · c).
fn rotate_block_back(hadamard: Hadamard, block: &mut [f32]) {
    butterflies(block);
    for value in block.iter_mut() {
        *value *= hadamard.scale();
    }
    flip_signs(hadamard, block);
}

fn flip_signs(hadamard: Hadamard, block: &mut [f32]) {
    for (i, value) in block.iter_mut().enumerate() {
        if hadamard.sign(i) < 0.0 {
            *value = -*value;
        }
    }
}

/// (a, b) → (fl(a + b), fl(a − b)) over neighbours, then over pairs, and so on.
fn butterflies(block: &mut [f32]) {
    let mut stride = 1;
    while stride < block.len() {
        for i in (0..block.len()).filter(|i| i & stride == 0) {
            let (a, b) = (block[i], block[i + stride]);
            block[i] = a + b;
            block[i + stride] = a - b;
        }
        stride *= 2;
    }
}

/// Rotates `x` into `values`, which has its length.
pub(crate) fn rotate<T: Real, U: Real>(job: &RotateJob, x: &[T], values: &mut [U]) {
    job.blocks().map(x, values, |block| job.rotate(block));
}

/// Rotates `x` where it stands.
pub(crate) fn rotate_in_place<T: Real>(job: &RotateJob, x: &mut [T]) {
    job.blocks().map_in_place(x, |block| job.rotate(block));
}

/// `x` rotated along K, in f32: what a rotated quantization sees.
pub(crate) fn rotated<T: Real>(hadamard: Hadamard, extents: Extents, x: &[T]) -> Vec<f32> {
    let mut values = vec![0.0; x.len()];
    rotate(&RotateJob::forward(hadamard, extents), x, &mut values);
    values
}
