//! Row by row: the mean of each row's relative error, so that no loud row drowns the others.

use super::{Errors, check_lengths};
use crate::error::Result;

/// Means over the rows that are not zero.
///
/// ```text
/// relative MSE = mean of |x − y|² / |x|²     misalignment = 1 − mean of ⟨x, y⟩ / |x|²
/// ```
///
/// Each row's sums, and what is left out of them, are those of [`Errors`]. **No such row**:
/// relative MSE 0, bits +∞, misalignment 0.
///
/// Source: the error measures of Quartet and of EDEN, which quantize rows of their own scale.
///
/// ```
/// use blockscale::analysis::RowErrors;
/// let rows = RowErrors::of(&[2.0, 0.0, 100.0, 0.0], &[1.0, 0.0, 100.0, 0.0], 2)?;
/// assert_eq!((rows.relative_mse(), rows.misalignment()), (0.125, 0.25));
/// # Ok::<(), blockscale::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RowErrors {
    rows: u64,
    relative_mse: f64,
    misalignment: f64,
}

impl RowErrors {
    /// Compares `x` with its decoded `y`, both in rows of `k` elements.
    ///
    /// # Errors
    /// [`Error::WrongLength`](crate::Error::WrongLength) where the lengths differ or are no
    /// multiple of `k`.
    pub fn of(x: &[f32], y: &[f32], k: usize) -> Result<Self> {
        check_lengths(x.len(), y.len())?;
        super::check_rows(x.len(), k)?;
        let mut rows = Self::default();
        for (x, y) in x.chunks(k.max(1)).zip(y.chunks(k.max(1))) {
            rows.add(&Errors::of(x, y)?);
        }
        Ok(rows)
    }

    /// Takes in one row.
    pub fn add(&mut self, row: &Errors) {
        if row.signal() > 0.0 {
            self.rows += 1;
            self.relative_mse += row.relative_mse();
            self.misalignment += row.misalignment();
        }
    }

    /// Takes in other rows.
    pub fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.relative_mse += other.relative_mse;
        self.misalignment += other.misalignment;
    }

    /// Rows that are not zero.
    pub const fn rows(&self) -> u64 {
        self.rows
    }
    /// Mean over rows of the relative MSE.
    pub fn relative_mse(&self) -> f64 {
        self.relative_mse / self.rows.max(1) as f64
    }
    /// −log2(relative MSE) / 2 of that mean.
    pub fn bits(&self) -> f64 {
        -0.5 * self.relative_mse().log2()
    }
    /// Mean over rows of the misalignment.
    pub fn misalignment(&self) -> f64 {
        self.misalignment / self.rows.max(1) as f64
    }
}
