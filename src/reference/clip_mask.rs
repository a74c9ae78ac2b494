//! Which elements lie within the grid: blocks gathered, their scales chosen, no element rounded.

use super::block::{Block, chosen_scale};
use super::quantize::Job;
use crate::Real;
use crate::numerics::ScaleChoice;

/// Sets the bits of rows that share their scales, one row or up to `block` rows of tiles: bit k mod 8 of byte
/// ⌊k/8⌋ of a row is 1 where the element k is [within](crate::numerics::Profile::is_within) the grid.
///
/// `values` holds the rows, at least one element each; `mask` ⌈k/8⌉ bytes a row, all 0.
pub(crate) fn clip_mask_band<T: Real>(job: &Job, values: &[T], mask: &mut [u8]) {
    let (profile, k, width) = (&job.profile, job.extents.k, job.profile.format().block());
    let mask_bytes = k.div_ceil(8);
    for start in (0..k).step_by(width) {
        let columns = start..k.min(start + width);
        // Rows and columns beyond the tensor stay +0.
        let mut block =
            Block { width, values: vec![0.0; width * job.band_rows()], importance: None };
        for (row, into) in values.chunks(k).zip(block.values.chunks_mut(width)) {
            for (x, value) in row[columns.clone()].iter().zip(into) {
                *value = x.to_f32();
            }
        }
        let ScaleChoice::Scale(scale) = chosen_scale(profile, &job.tensor, &block) else {
            continue;
        };
        for (row, bits) in block.values.chunks(width).zip(mask.chunks_mut(mask_bytes)) {
            for (k, x) in columns.clone().zip(row) {
                let within = profile.is_within(&job.tensor, scale, *x);
                bits[k / 8] |= u8::from(within) << (k % 8);
            }
        }
    }
}

/// Sets the bits of all rows, band by band; `mask` is all 0.
pub(crate) fn clip_mask<T: Real>(job: &Job, x: &[T], mask: &mut [u8]) {
    for (x, mask) in mask_bands(job, x, mask) {
        clip_mask_band(job, x, mask);
    }
}

/// Rows that share their scales, and their bits.
pub(crate) fn mask_bands<'a, T: Real>(
    job: &Job,
    x: &'a [T],
    mask: &'a mut [u8],
) -> impl Iterator<Item = (&'a [T], &'a mut [u8])> + Send + use<'a, T> {
    let (rows, k, height) = (job.extents.rows, job.extents.k, job.band_rows());
    // Of an empty tensor there is nothing to cut.
    let elements = |rows: usize| (rows * k).max(1);
    let bytes = move |rows: usize| (rows * k.div_ceil(8)).max(1);
    let (band, matrix) = (elements(height.min(rows)), elements(rows));
    let matrices = x.chunks(matrix).zip(mask.chunks_mut(bytes(rows)));
    matrices.flat_map(move |(x, mask)| x.chunks(band).zip(mask.chunks_mut(bytes(height.min(rows)))))
}
