//! The neighbours of all elements: blocks gathered, their scales chosen, no element rounded.

use super::block::{Block, chosen_scale};
use super::quantize::Job;
use crate::numerics::{Between, ScaleChoice};

/// The neighbours of each element, row by row, and the scales of rows as they are stored.
pub(crate) struct Found {
    pub neighbours: Vec<Between>,
    pub scales: Vec<u8>,
}

/// The neighbours of x / divisor under the scales that blocks of x have; `divisor` is of the element at an
/// index.
pub(crate) fn neighbours(job: &Job, x: &[f32], divisor: impl Fn(usize) -> f32) -> Found {
    let (rows, k, height) = (job.extents.rows, job.extents.k, job.band_rows());
    let mut found = Found {
        neighbours: vec![Between::one(0); x.len()],
        scales: vec![0; job.scale_bytes() * job.extents.all_rows()],
    };
    if x.is_empty() {
        return found;
    }
    for matrix in 0..job.extents.batches {
        for first in (0..rows).step_by(height) {
            let band = matrix * rows + first..matrix * rows + rows.min(first + height);
            for column in 0..k.div_ceil(job.profile.format().block()) {
                one_block(job, x, &divisor, band.clone(), column, &mut found);
            }
        }
    }
    found
}

fn one_block(
    job: &Job,
    x: &[f32],
    divisor: impl Fn(usize) -> f32,
    rows: core::ops::Range<usize>,
    column: usize,
    found: &mut Found,
) {
    let (profile, k, width) = (&job.profile, job.extents.k, job.profile.format().block());
    let columns = column * width..k.min((column + 1) * width);
    // Rows and columns beyond the tensor stay +0.
    let mut block = Block { width, values: vec![0.0; width * job.band_rows()], importance: None };
    for (row, values) in rows.clone().zip(block.values.chunks_mut(width)) {
        let x = &x[row * k..][columns.clone()];
        values[..x.len()].copy_from_slice(x);
    }
    let choice = chosen_scale(profile, &job.tensor, &block);
    for row in rows {
        let (ScaleChoice::Scale(scale) | ScaleChoice::Dead(scale)) = choice;
        found.scales[row * job.scale_bytes() + column] = scale.code;
        if let ScaleChoice::Scale(scale) = choice {
            for i in columns.clone().map(|column| row * k + column) {
                found.neighbours[i] = profile.between(&job.tensor, scale, x[i], divisor(i));
            }
        }
    }
}
