//! Scales: the order of a matrix of one-byte scales.

use crate::error::{Error, Result};
use core::fmt;
use core::marker::PhantomData;

/// An order for the scales of a matrix: [`Linear`], [`Tiled128x4`] or [`Tiled8x4`].
pub trait ScaleLayout: Order + Copy + fmt::Debug + 'static {
    /// What it is called in messages.
    const NAME: &'static str;
}

/// The order itself, kept from callers: it trusts the coordinates that it is given.
mod sealed {
    pub trait Order {
        /// Rows of a tile; 0 where there are none.
        const TILE: u32;

        /// Four columns from a multiple of four on lie side by side, and the next four so many bytes on.
        const NEXT_FOUR: usize;

        /// Rows and columns of the stored matrix, padding included.
        fn padded(rows: usize, columns: usize) -> (usize, usize);

        /// Where the scale of (`row`, `column`) lies; `columns` is the unpadded number.
        fn offset(columns: usize, row: usize, column: usize) -> usize;
    }
}
use sealed::Order;

/// Row by row, without padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linear;

/// Tiles of `ROWS` rows × 4 columns, as tensor cores read them.
///
/// ```text
/// L = min(ROWS, 32),  T = ⌈columns / 4⌉
/// offset = (⌊r / ROWS⌋·T + ⌊c / 4⌋)·4·ROWS + (r mod L)·(4·ROWS / L) + ⌊(r mod ROWS) / L⌋·4 + c mod 4
/// ```
///
/// Rows are padded to `ROWS`, columns to 4, with zero. Sources: cuBLASLt's layout for
/// `VEC16_UE4M3` and `VEC32_UE8M0` scales (128×4), flashinfer (8×4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiled<const ROWS: usize>;

/// The 128×4 layout of cuBLASLt, CUTLASS, torchao and TransformerEngine.
pub type Tiled128x4 = Tiled<128>;
/// The 8×4 layout of flashinfer.
pub type Tiled8x4 = Tiled<8>;

impl ScaleLayout for Linear {
    const NAME: &'static str = "linear";
}

impl Order for Linear {
    const TILE: u32 = 0;
    const NEXT_FOUR: usize = 4;

    fn padded(rows: usize, columns: usize) -> (usize, usize) {
        (rows, columns)
    }
    fn offset(columns: usize, row: usize, column: usize) -> usize {
        row * columns + column
    }
}

impl ScaleLayout for Tiled128x4 {
    const NAME: &'static str = "128x4";
}

impl ScaleLayout for Tiled8x4 {
    const NAME: &'static str = "8x4";
}

impl<const ROWS: usize> Order for Tiled<ROWS> {
    const TILE: u32 = ROWS as u32;
    const NEXT_FOUR: usize = 4 * ROWS;

    fn padded(rows: usize, columns: usize) -> (usize, usize) {
        (rows.next_multiple_of(ROWS), columns.next_multiple_of(4))
    }
    fn offset(columns: usize, row: usize, column: usize) -> usize {
        const { assert!(ROWS > 0 && (ROWS <= 32 || ROWS.is_multiple_of(32)), "whole groups of 32 rows") };
        let lanes = ROWS.min(32);
        let tile = row / ROWS * columns.div_ceil(4) + column / 4;
        tile * 4 * ROWS + row % lanes * (4 * ROWS / lanes) + row % ROWS / lanes * 4 + column % 4
    }
}

/// One-byte scales in layout `L`: `batches` matrices of `rows` × `columns`.
///
/// ```
/// use blockscale::layout::{Linear, Scales, Tiled128x4};
/// let linear = Scales::<Linear>::new((0..64).collect(), 1, 16, 4)?;
/// let tiled = linear.relayout::<Tiled128x4>()?;
/// assert_eq!(tiled.as_bytes().len(), 128 * 4);
/// assert_eq!(tiled.as_bytes()[16..20], [4, 5, 6, 7]); // row 1
/// assert_eq!(tiled.relayout::<Linear>()?, linear);
/// # Ok::<(), blockscale::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Scales<L, S = Vec<u8>> {
    bytes: S,
    batches: usize,
    rows: usize,
    columns: usize,
    layout: PhantomData<L>,
}

impl<L: ScaleLayout, S: AsRef<[u8]>> Scales<L, S> {
    /// Takes scales in layout `L`.
    ///
    /// # Errors
    /// [`Error::Overflow`] where the padded size is no address, [`Error::WrongLength`],
    /// [`Error::InvalidTensor`] where padding is not zero.
    pub fn new(bytes: S, batches: usize, rows: usize, columns: usize) -> Result<Self> {
        let expected = length::<L>(batches, rows, columns)?;
        if bytes.as_ref().len() != expected {
            return Err(Error::WrongLength {
                what: "the scales",
                given: bytes.as_ref().len(),
                unit: "bytes",
                shape: vec![batches, rows, columns],
                expected,
            });
        }
        let scales = Self::trusted(bytes, batches, rows, columns);
        scales.check_padding()?;
        Ok(scales)
    }

    /// Scales that were laid out by this crate.
    pub(crate) fn trusted(bytes: S, batches: usize, rows: usize, columns: usize) -> Self {
        Self { bytes, batches, rows, columns, layout: PhantomData }
    }

    /// All bytes that are not zero belong to a scale, unless padding is set.
    fn check_padding(&self) -> Result<()> {
        let set = |bytes: &mut dyn Iterator<Item = u8>| bytes.filter(|byte| *byte != 0).count();
        let stored = set(&mut self.as_bytes().iter().copied());
        let held = set(&mut self.coordinates().map(|(b, r, c)| self.get(b, r, c)));
        match stored == held {
            true => Ok(()),
            false => Err(Error::InvalidTensor {
                format: format!("{} x {} {} scale", self.rows, self.columns, L::NAME),
                rule: format!("{} padding bytes are not zero", stored - held),
            }),
        }
    }

    fn coordinates(&self) -> impl Iterator<Item = (usize, usize, usize)> + use<L, S> {
        // Of nothing, the other extents may be anything: none of them is walked.
        let empty = self.as_bytes().is_empty();
        let (batches, rows, columns) =
            if empty { (0, 0, 0) } else { (self.batches, self.rows, self.columns) };
        (0..batches)
            .flat_map(move |b| (0..rows).flat_map(move |r| (0..columns).map(move |c| (b, r, c))))
    }

    fn offset(&self, batch: usize, row: usize, column: usize) -> usize {
        let (rows, columns) = L::padded(self.rows, self.columns);
        batch * rows * columns + L::offset(self.columns, row, column)
    }

    /// The scale of (`batch`, `row`, `column`), all below their extents.
    pub(crate) fn get(&self, batch: usize, row: usize, column: usize) -> u8 {
        self.as_bytes()[self.offset(batch, row, column)]
    }

    /// Matrices.
    pub fn batches(&self) -> usize {
        self.batches
    }
    /// Rows of a matrix, padding not counted.
    pub fn rows(&self) -> usize {
        self.rows
    }
    /// Scales of a row, padding not counted.
    pub fn columns(&self) -> usize {
        self.columns
    }
    /// The scales as they lie, padding included.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.as_ref()
    }
    /// The scales, moved out.
    pub fn into_inner(self) -> S {
        self.bytes
    }
    /// The same scales, borrowed.
    pub fn view(&self) -> Scales<L, &[u8]> {
        Scales::trusted(self.as_bytes(), self.batches, self.rows, self.columns)
    }

    /// The same scales in another layout.
    ///
    /// # Errors
    /// [`Error::Overflow`] where the padded size is no address.
    pub fn relayout<M: ScaleLayout>(&self) -> Result<Scales<M>> {
        let bytes = vec![0; length::<M>(self.batches, self.rows, self.columns)?];
        let mut scales = Scales::<M>::trusted(bytes, self.batches, self.rows, self.columns);
        // Of nothing, the extents may be anything.
        let batches = if scales.bytes.is_empty() { 0 } else { self.batches };
        for batch in 0..batches {
            for row in 0..self.rows {
                let (mut from, mut to) = (self.offset(batch, row, 0), scales.offset(batch, row, 0));
                for _ in 0..self.columns / 4 {
                    let four = &self.as_bytes()[from..from + 4];
                    scales.bytes[to..to + 4].copy_from_slice(four);
                    (from, to) = (from + L::NEXT_FOUR, to + M::NEXT_FOUR);
                }
                for column in self.columns / 4 * 4..self.columns {
                    let offset = scales.offset(batch, row, column);
                    scales.bytes[offset] = self.get(batch, row, column);
                }
            }
        }
        Ok(scales)
    }
}

/// Bytes of all matrices, padding included.
pub(crate) fn length<L: ScaleLayout>(batches: usize, rows: usize, columns: usize) -> Result<usize> {
    let limit = isize::MAX as usize;
    let addressable = |given: u128| match given > limit as u128 {
        true => Err(Error::Overflow { what: "the size of the scales", given, limit: limit as u64 }),
        false => Ok(given as usize),
    };
    // Only what is an address can be padded, and two of them multiplied.
    addressable(batches.max(rows).max(columns) as u128)?;
    let (rows, columns) = L::padded(rows, columns);
    addressable((batches as u128 * rows as u128).saturating_mul(columns as u128))
}

impl<L: ScaleLayout, S> fmt::Debug for Scales<L, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scales<{}>({} x {} x {})", L::NAME, self.batches, self.rows, self.columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_those_of_the_formula() {
        // The published 128x4 and 8x4 formulas, written out.
        let by_128 = |columns: usize, r: usize, c: usize| {
            ((r / 128) * columns.div_ceil(4) + c / 4) * 512
                + (r % 32) * 16
                + ((r % 128) / 32) * 4
                + c % 4
        };
        let by_8 = |columns: usize, r: usize, c: usize| {
            ((r / 8) * columns.div_ceil(4) + c / 4) * 32 + (r % 8) * 4 + c % 4
        };
        for columns in [1, 4, 5, 9] {
            for r in 0..300 {
                for c in 0..columns {
                    assert_eq!(Tiled128x4::offset(columns, r, c), by_128(columns, r, c));
                    assert_eq!(Tiled8x4::offset(columns, r, c), by_8(columns, r, c));
                }
            }
        }
    }

    #[test]
    fn relayout_round_trips_and_pads_with_zero() {
        for (batches, rows, columns) in [(1, 1, 1), (2, 129, 5), (3, 128, 4), (1, 8, 3), (2, 0, 4)]
        {
            let n = batches * rows * columns;
            let bytes = (0..n).map(|i| (i % 255) as u8 + 1).collect();
            let linear = Scales::<Linear>::new(bytes, batches, rows, columns).unwrap();
            let tiled = linear.relayout::<Tiled128x4>().unwrap();
            let small = tiled.view().relayout::<Tiled8x4>().unwrap();
            assert_eq!(small.relayout::<Linear>().unwrap(), linear);
            assert_eq!(tiled.as_bytes().iter().filter(|byte| **byte != 0).count(), n);
            assert_eq!(tiled.as_bytes().len() % 512, 0);
            assert_eq!(small.as_bytes().len() % 32, 0);
            assert_eq!((tiled.batches(), tiled.rows(), tiled.columns()), (batches, rows, columns));
        }
    }

    #[test]
    fn bad_parts_are_refused() {
        assert!(Scales::<Linear>::new(vec![0; 3], 1, 2, 2).is_err());
        let mut bytes = vec![0; 512];
        assert!(Scales::<Tiled128x4>::new(bytes.clone(), 1, 2, 2).is_ok());
        bytes[3] = 1;
        let refused = Scales::<Tiled128x4>::new(bytes, 1, 2, 2).unwrap_err();
        assert!(refused.to_string().contains("1 padding bytes"), "{refused}");
        for (batches, rows, columns) in [
            (usize::MAX, 1, 1),
            (1, usize::MAX, 1),
            (1, 1, usize::MAX),
            (1 << 30, 1 << 30, 1 << 30),
            (1 << 62, 1 << 62, 1 << 62),
        ] {
            let refused = Scales::<Tiled128x4>::new(vec![], batches, rows, columns);
            assert!(matches!(refused, Err(Error::Overflow { .. })));
        }
        for (batches, rows, columns) in [(1 << 40, 1 << 20, 0), (1 << 60, 0, 1)] {
            let empty = Scales::<Linear>::new(vec![], batches, rows, columns).unwrap();
            assert_eq!(empty.relayout::<Linear>().unwrap(), empty);
        }
        let largest = Scales::<Linear>::new(vec![], 1, 1, isize::MAX as usize);
        assert!(matches!(largest, Err(Error::WrongLength { .. })), "no overflow, but not there");
        let scales = Scales::<Linear>::new(vec![7; 6], 1, 2, 3).unwrap();
        assert_eq!(format!("{scales:?}"), "Scales<linear>(1 x 2 x 3)");
        assert_eq!(scales.into_inner(), vec![7; 6]);
    }
}
