//! Quantize: rows to codes and scales.

use super::block::{Block, quantize_block};
use crate::error::Result;
use crate::layout::{Packing, Raw};
use crate::numerics::{Profile, Rounding, TensorFactors};
use crate::shape::Extents;
use crate::{Blocks, Real};

/// Everything about a call but its data.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job<'a> {
    pub profile: Profile,
    pub rounding: Rounding,
    pub blocks: Blocks,
    pub tensor: TensorFactors,
    pub extents: Extents,
    /// The importance of each column, for a search.
    pub importance: Option<&'a [f32]>,
}

impl Job<'_> {
    /// Rows that share their scales.
    pub(crate) fn band_rows(&self) -> usize {
        match self.blocks {
            Blocks::Row => 1,
            Blocks::Tile => self.profile.format().block(),
        }
    }
    /// Bytes of a row of codes.
    pub(crate) fn code_bytes(&self) -> Result<usize> {
        let format = self.profile.format();
        Raw::row_bytes(self.extents.k, format.element().bits(), format.block())
    }
    /// Scales of a row.
    pub(crate) fn scale_bytes(&self) -> usize {
        self.profile.format().scales_per_row(self.extents.k)
    }
}

/// Quantizes rows that share their scales: one row, or up to `block` rows of tiles.
///
/// `values`, at least one, holds the rows from row `first` (of all matrices) on; `codes` and `scales` receive
/// their packed codes and their scales.
pub(crate) fn quantize_band<T: Real>(
    job: &Job,
    first: usize,
    values: &[T],
    codes: &mut [u8],
    scales: &mut [u8],
) -> Result<()> {
    let format = job.profile.format();
    let (k, width, height) = (job.extents.k, format.block(), job.band_rows());
    let (code_bytes, scale_bytes) = (job.code_bytes()?, job.scale_bytes());
    let rows = codes.len().checked_div(code_bytes).unwrap_or(0);
    let mut unpacked = vec![0; rows * k];
    for (column, start) in (0..k).step_by(width).enumerate() {
        let used = width.min(k - start);
        // Columns beyond the tensor weigh 1.
        let importance = job.importance.map(|importance| {
            let mut columns = vec![1.0; width];
            columns[..used].copy_from_slice(&importance[start..][..used]);
            columns
        });
        // Rows and columns beyond the tensor stay +0.
        let mut block = Block { width, values: vec![0.0; width * height], importance };
        let mut rounds = vec![job.rounding.at(job.profile.ties, 0, 0)?; width * height];
        for row in 0..rows {
            for i in 0..used {
                let at = row * width + i;
                block.values[at] = values[row * k + start + i].to_f32();
                let (row, k) = ((first + row) as u64, (start + i) as u64);
                rounds[at] = job.rounding.at(job.profile.ties, row, k)?;
            }
        }
        let quantized = quantize_block(&job.profile, &job.tensor, &block, &rounds);
        for row in 0..rows {
            scales[row * scale_bytes + column] = quantized.scale.code;
            let codes = &quantized.codes[row * width..][..used];
            unpacked[row * k + start..][..used].copy_from_slice(codes);
        }
    }
    for (unpacked, packed) in unpacked.chunks(k).zip(codes.chunks_mut(code_bytes)) {
        Raw::pack_row(unpacked, format.element().bits(), width, packed);
    }
    Ok(())
}

/// Quantizes all rows, band by band.
pub(crate) fn quantize<T: Real>(
    job: &Job,
    x: &[T],
    codes: &mut [u8],
    scales: &mut [u8],
) -> Result<()> {
    let (rows, k, height) = (job.extents.rows, job.extents.k, job.band_rows());
    if x.is_empty() {
        return Ok(());
    }
    let (code_bytes, scale_bytes) = (job.code_bytes()?, job.scale_bytes());
    let matrices = x
        .chunks(rows * k)
        .zip(codes.chunks_mut(rows * code_bytes))
        .zip(scales.chunks_mut(rows * scale_bytes));
    for (matrix, ((x, codes), scales)) in matrices.enumerate() {
        let bands = x
            .chunks(height * k)
            .zip(codes.chunks_mut(height * code_bytes))
            .zip(scales.chunks_mut(height * scale_bytes));
        for (band, ((x, codes), scales)) in bands.enumerate() {
            quantize_band(job, matrix * rows + band * height, x, codes, scales)?;
        }
    }
    Ok(())
}
