//! Quantize in both directions: a matrix, and its transpose.

use super::amax::amax;
use super::quantize::{Job, quantize};
use super::rotate::rotated;
use crate::Real;
use crate::error::Result;
use crate::numerics::{Hadamard, NonFinite};
use crate::shape::Extents;

/// One of the two: a job, whose extents are those of what it quantizes, and its rotation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pass<'a> {
    pub job: Job<'a>,
    pub rotation: Option<Hadamard>,
}

/// Where a pass writes.
pub(crate) struct Output<'a> {
    pub codes: &'a mut [u8],
    pub scales: &'a mut [u8],
}

/// Each matrix transposed.
pub(crate) fn transposed<T: Copy>(extents: Extents, x: &[T]) -> Vec<T> {
    let Extents { batches, rows, k } = extents;
    if x.is_empty() {
        return Vec::new();
    }
    let at = |matrix, row, column| x[(matrix * rows + row) * k + column];
    let column = |matrix, column| (0..rows).map(move |row| at(matrix, row, column));
    (0..batches).flat_map(|matrix| (0..k).flat_map(move |c| column(matrix, c))).collect()
}

/// max |y| of the columns' rotated values y.
pub(crate) fn amax_of_columns<T: Real>(
    hadamard: Hadamard,
    nonfinite: NonFinite,
    x: &[T],
    extents: Extents,
) -> f32 {
    amax(nonfinite, &rotated(hadamard, extents.transposed(), &transposed(extents, x)))
}

/// Quantizes `x` by the first pass and its transpose by the second.
pub(crate) fn quantize_both<T: Real>(
    [rows, columns]: [&Pass; 2],
    x: &[T],
    [row_wise, column_wise]: [Output<'_>; 2],
) -> Result<()> {
    quantize_pass(rows, x, row_wise)?;
    quantize_pass(columns, &transposed(rows.job.extents, x), column_wise)
}

fn quantize_pass<T: Real>(pass: &Pass, x: &[T], to: Output<'_>) -> Result<()> {
    match pass.rotation {
        None => quantize(&pass.job, x, to.codes, to.scales),
        Some(hadamard) => {
            quantize(&pass.job, &rotated(hadamard, pass.job.extents, x), to.codes, to.scales)
        }
    }
}
