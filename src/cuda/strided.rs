//! How an input lies in memory: its shape and its strides.

use super::CudaError;
use super::raw::{Dtype, Input};
use crate::Error;
use crate::shape::Extents;

/// A shape `[.., rows, K]` and, where rows or matrices do not follow each other without gaps, the
/// strides between them. K is contiguous.
///
/// A shape alone (`&[usize]`, an array or a `Vec`) converts into it and is dense.
///
/// ```
/// use blockscale::cuda::Strided;
/// // The left 48 columns of matrices of 64 columns, every second matrix.
/// let part = Strided::new(&[2, 3, 48]).row_stride(64).batch_stride(2 * 3 * 64);
/// assert_eq!(part.elements_spanned()?, 6 * 64 + 2 * 64 + 48);
/// assert_eq!(Strided::from(&[2, 3, 48]).elements_spanned()?, 288);
/// # Ok::<(), blockscale::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strided<'a> {
    shape: &'a [usize],
    row_stride: Option<usize>,
    batch_stride: Option<usize>,
}

impl<'a> Strided<'a> {
    /// Without gaps.
    pub const fn new(shape: &'a [usize]) -> Self {
        Self { shape, row_stride: None, batch_stride: None }
    }
    /// Elements from a row to the next, at least K; K where it is not given.
    pub const fn row_stride(self, elements: usize) -> Self {
        Self { row_stride: Some(elements), ..self }
    }
    /// Elements from a matrix to the next, 0 to repeat one; rows × row stride where it is not
    /// given. Axes before the last two are one.
    pub const fn batch_stride(self, elements: usize) -> Self {
        Self { batch_stride: Some(elements), ..self }
    }
    /// The shape.
    pub const fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// Elements from the first to behind the last one, gaps included.
    ///
    /// # Errors
    /// [`Error::InvalidShape`] for a shape that nothing can have, [`Error::InvalidValue`] for a row
    /// stride below K, [`Error::Overflow`] where the last element has no address.
    pub fn elements_spanned(&self) -> crate::Result<usize> {
        let extents = Extents::of(self.shape)?;
        if extents.elements() == 0 {
            return Ok(0);
        }
        let row_stride = self.row_stride.unwrap_or(extents.k);
        if row_stride < extents.k && extents.rows > 1 {
            return Err(Error::InvalidValue {
                what: "the row stride",
                given: row_stride.to_string(),
                rule: "rows must not overlap: at least K elements",
            });
        }
        let batch_stride =
            self.batch_stride.map_or(extents.rows as u128 * row_stride as u128, |n| n as u128);
        let rows = (extents.rows as u128 - 1) * row_stride as u128 + extents.k as u128;
        let limit = isize::MAX as u64 / 4;
        let matrices = (extents.batches as u128 - 1).checked_mul(batch_stride);
        match matrices.and_then(|n| n.checked_add(rows)) {
            Some(spanned) if spanned <= limit.into() => Ok(spanned as usize),
            spanned => Err(Error::Overflow {
                what: "the last element's offset",
                given: spanned.unwrap_or(u128::MAX),
                limit,
            }),
        }
    }

    /// Whether an input of `len` elements holds it; dense ones have no element more.
    pub(super) fn check(&self, len: usize) -> Result<usize, CudaError> {
        let expected = self.elements_spanned()?;
        let dense = self.row_stride.is_none() && self.batch_stride.is_none();
        let fits = if dense { len == expected || expected == 0 } else { len >= expected };
        match fits {
            true => Ok(expected),
            false => Err(Error::WrongLength {
                what: "the input",
                given: len,
                unit: "elements",
                shape: self.shape.to_vec(),
                expected,
            }
            .into()),
        }
    }

    /// It, at that place.
    pub(super) fn at(self, pointer: u64, dtype: Dtype) -> Input<'a> {
        let Self { shape, row_stride, batch_stride } = self;
        Input { pointer, dtype, shape, row_stride, batch_stride }
    }
}

impl<'a> From<&'a [usize]> for Strided<'a> {
    fn from(shape: &'a [usize]) -> Self {
        Self::new(shape)
    }
}
impl<'a, const N: usize> From<&'a [usize; N]> for Strided<'a> {
    fn from(shape: &'a [usize; N]) -> Self {
        Self::new(shape)
    }
}
impl<'a> From<&'a Vec<usize>> for Strided<'a> {
    fn from(shape: &'a Vec<usize>) -> Self {
        Self::new(shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_reach_from_the_first_to_the_last_element() {
        let spanned = |strided: Strided<'_>| strided.elements_spanned().unwrap();
        assert_eq!(spanned(Strided::new(&[5])), 5);
        assert_eq!(spanned(Strided::new(&[3, 5]).row_stride(7)), 19);
        assert_eq!(spanned(Strided::new(&[2, 3, 5]).row_stride(7)), 40);
        assert_eq!(spanned(Strided::new(&[2, 2, 3, 5]).batch_stride(100)), 315);
        assert_eq!(spanned(Strided::new(&[9, 3, 5]).batch_stride(0)), 15);
        assert_eq!(spanned(Strided::new(&[0, 3, 5]).row_stride(9)), 0);
        // One row overlaps nothing.
        assert_eq!(spanned(Strided::new(&[2, 1, 5]).row_stride(1).batch_stride(6)), 11);
    }

    #[test]
    fn impossible_strides_are_refused() {
        let refused = |strided: Strided<'_>| strided.elements_spanned().unwrap_err();
        let overlapping = refused(Strided::new(&[2, 5]).row_stride(4));
        assert!(matches!(overlapping, Error::InvalidValue { .. }));
        for far in [usize::MAX, isize::MAX as usize / 4] {
            let rows = refused(Strided::new(&[2, 5]).row_stride(far));
            let matrices = refused(Strided::new(&[2, 1, 5]).batch_stride(far));
            assert!(matches!(rows, Error::Overflow { .. }));
            assert!(matches!(matrices, Error::Overflow { .. }));
        }
        assert!(matches!(refused(Strided::new(&[])), Error::InvalidShape { .. }));
    }

    #[test]
    fn dense_inputs_fit_exactly_and_strided_ones_at_least() {
        let dense = Strided::new(&[3, 5]);
        assert_eq!(dense.check(15), Ok(15));
        assert!(dense.check(14).is_err() && dense.check(16).is_err());
        let gaps = dense.row_stride(7);
        assert_eq!((gaps.check(19), gaps.check(50)), (Ok(19), Ok(19)));
        assert!(gaps.check(18).is_err());
        assert_eq!(Strided::new(&[0, 5]).check(1), Ok(0));
    }
}
