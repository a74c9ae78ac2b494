//! Shapes: the last axis is the block axis K, the one before it the rows of a matrix.

use crate::error::{Error, Result};

/// One of the last two axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Axis {
    /// The last one: consecutive elements of a row.
    #[default]
    K,
    /// The one before it: elements of a column of each matrix.
    Rows,
}

/// A shape split into what the kernels walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extents {
    /// Matrices.
    pub batches: usize,
    /// Rows of a matrix.
    pub rows: usize,
    /// Elements of a row.
    pub k: usize,
}

impl Extents {
    /// Splits `[.., rows, k]`; one axis alone is a row.
    pub(crate) fn of(shape: &[usize]) -> Result<Self> {
        let invalid = |rule| Error::InvalidShape { shape: shape.to_vec(), rule };
        let elements = shape.iter().try_fold(1usize, |n, &axis| n.checked_mul(axis));
        // A zero axis must not hide that the others overflow.
        let nonzero = shape.iter().filter(|&&axis| axis > 0);
        let addressable = nonzero.copied().try_fold(1usize, |n, axis| n.checked_mul(axis));
        match (shape, elements, addressable) {
            ([], _, _) => Err(invalid("a scalar has no block axis; at least one axis is needed")),
            ([k], _, Some(n)) if n <= isize::MAX as usize / 4 => {
                Ok(Self { batches: 1, rows: 1, k: *k })
            }
            ([batches @ .., rows, k], Some(_), Some(n)) if n <= isize::MAX as usize / 4 => {
                Ok(Self { batches: batches.iter().product(), rows: *rows, k: *k })
            }
            _ => Err(invalid("the number of elements must fit the address space as f32")),
        }
    }

    /// Those of each matrix transposed.
    pub(crate) fn transposed(self) -> Self {
        Self { rows: self.k, k: self.rows, ..self }
    }
    /// Rows of all matrices.
    pub(crate) fn all_rows(self) -> usize {
        self.batches * self.rows
    }
    /// Elements.
    pub(crate) fn elements(self) -> usize {
        self.all_rows() * self.k
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_split() {
        let of = |shape: &[usize]| Extents::of(shape).map(|e| (e.batches, e.rows, e.k));
        assert_eq!(of(&[5]), Ok((1, 1, 5)));
        assert_eq!(of(&[3, 5]), Ok((1, 3, 5)));
        assert_eq!(of(&[2, 4, 3, 5]), Ok((8, 3, 5)));
        assert_eq!(of(&[2, 0, 5]), Ok((2, 0, 5)));
        assert!(of(&[]).is_err());
        assert!(of(&[usize::MAX, 2]).is_err());
        assert!(of(&[0, usize::MAX, 2]).is_err());
        assert!(of(&[isize::MAX as usize / 4, 1]).is_ok());
        assert!(of(&[isize::MAX as usize / 4 + 1, 1]).is_err());
        let extents = Extents::of(&[2, 3, 5]).unwrap();
        assert_eq!((extents.all_rows(), extents.elements()), (6, 30));
    }
}
