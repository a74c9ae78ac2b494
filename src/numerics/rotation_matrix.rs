//! Matrices that blocks are multiplied by, and their inverses.

use crate::cpu::FloatEnvironment;
use crate::error::{Error, Result};

/// A matrix of any finite entries that blocks of 16, 32, 48, …, 128 values are multiplied by.
///
/// ```text
/// y_j = Σ_i x_i · P[i][j]    acc = fma(x_i, P[i][j], acc) in f32 for i = 0, 1, … from +0
/// ```
///
/// A block is a row vector on the left. **Special values**: Inf meets the zeros of the matrix as NaN; a
/// zero of a result is +0, unless it is a negative value that underflows.
///
/// ```
/// use blockscale::numerics::Matrix;
/// let doubling: Vec<f32> = (0..256).map(|i| if i % 17 == 0 { 2.0 } else { 0.0 }).collect();
/// let doubling = Matrix::new(16, &doubling)?;
/// assert_eq!(doubling.inverse()?.entries()[..2], [0.5, 0.0]);
/// # Ok::<(), blockscale::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    size: usize,
    entries: Vec<f32>,
}

impl Matrix {
    /// The sizes there are.
    pub const SIZES: [usize; 8] = [16, 32, 48, 64, 80, 96, 112, 128];

    /// A matrix of `size` rows of `size` entries, row by row.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for any size but those of [`SIZES`](Self::SIZES), another number of
    /// entries than its square, or an entry that is not finite.
    pub fn new(size: usize, entries: &[f32]) -> Result<Self> {
        if !Self::SIZES.contains(&size) {
            return Err(Error::InvalidValue {
                what: "the size of a rotation's matrix",
                given: size.to_string(),
                rule: "16 to 128, a multiple of 16",
            });
        }
        if entries.len() != size * size {
            return Err(Error::InvalidValue {
                what: "the number of entries",
                given: format!("{} for a matrix of {size}", entries.len()),
                rule: "a matrix has the square of its size",
            });
        }
        if let Some(at) = entries.iter().position(|entry| !entry.is_finite()) {
            return Err(Error::InvalidValue {
                what: "an entry of a rotation's matrix",
                given: format!("{} at ({}, {})", entries[at], at / size, at % size),
                rule: "entries are finite",
            });
        }
        Ok(Self { size, entries: entries.to_vec() })
    }

    /// Values of a block.
    pub fn size(&self) -> usize {
        self.size
    }
    /// The entries, row by row.
    pub fn entries(&self) -> &[f32] {
        &self.entries
    }
    /// The entry of row i and column j, both below the size.
    pub(crate) fn at(&self, i: usize, j: usize) -> f32 {
        self.entries[i * self.size + j]
    }

    /// The matrix with rows and columns exchanged.
    pub fn transpose(&self) -> Self {
        let n = self.size;
        let entries = (0..n * n).map(|at| self.at(at % n, at / n)).collect();
        Self { size: n, entries }
    }

    /// P⁻¹, which undoes P.
    ///
    /// ```text
    /// for each column c of [P | 1], in f64:
    ///     the row r >= c with the largest |v[r][c]|, the first of equals, changes places with row c
    ///     row c   = row c / v[c][c]
    ///     row r   = row r − v[r][c] · row c    for all other rows; the product rounds, then the difference
    /// entries are rounded to f32, nearest even
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for a matrix that is singular as far as f64 can tell (a pivot of at most
    /// size · 2⁻⁵² of the largest entry), or an inverse with entries beyond f32.
    pub fn inverse(&self) -> Result<Self> {
        let _ieee = FloatEnvironment::ieee();
        let n = self.size;
        let mut rows = self.beside_identity();
        let largest = self.entries.iter().fold(0.0f64, |a, b| a.max(f64::from(b.abs())));
        let smallest = largest * n as f64 * f64::EPSILON;
        for column in 0..n {
            let pivot = pivot(&rows, column);
            rows.swap(column, pivot);
            let pivot = rows[column][column];
            if !(pivot.abs() > smallest) {
                return Err(singular(format!("singular: column {column} depends on those before")));
            }
            rows[column].iter_mut().for_each(|value| *value /= pivot);
            let by = rows[column].clone();
            for (_, row) in rows.iter_mut().enumerate().filter(|(r, _)| *r != column) {
                let factor = row[column];
                row.iter_mut().zip(&by).for_each(|(value, by)| *value -= factor * by);
            }
        }
        let entries: Vec<f32> =
            rows.iter().flat_map(|row| row[n..].iter().map(|value| *value as f32)).collect();
        match entries.iter().all(|entry| entry.is_finite()) {
            true => Ok(Self { size: n, entries }),
            false => Err(singular("so small that its inverse is beyond f32".to_owned())),
        }
    }

    /// (P⁻¹)ᵀ, by which the other operand of a product along K is to be multiplied, so that the product
    /// stays what it was up to rounding: (x P)(w P⁻ᵀ)ᵀ = x wᵀ.
    ///
    /// # Errors
    /// Those of [`inverse`](Self::inverse).
    pub fn inverse_transpose(&self) -> Result<Self> {
        Ok(self.inverse()?.transpose())
    }

    /// The rows of [P | 1].
    fn beside_identity(&self) -> Vec<Vec<f64>> {
        let row = |(i, row): (usize, &[f32])| {
            let identity = (0..self.size).map(|j| f64::from(u8::from(i == j)));
            row.iter().copied().map(f64::from).chain(identity).collect()
        };
        self.entries.chunks(self.size).enumerate().map(row).collect()
    }
}

/// The row from `column` on with the largest magnitude in that column, the first of equals.
fn pivot(rows: &[Vec<f64>], column: usize) -> usize {
    let magnitude = |row: usize| rows[row][column].abs();
    (column..rows.len())
        .reduce(|best, row| if magnitude(row) > magnitude(best) { row } else { best })
        .unwrap_or(column)
}

fn singular(given: String) -> Error {
    let (what, rule) = ("the matrix of a rotation", "only an invertible matrix has an inverse");
    Error::InvalidValue { what, given, rule }
}
