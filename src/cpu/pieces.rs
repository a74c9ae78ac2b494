//! How rows are cut into pieces of work.

use super::Cpu;
use super::threads::threads;
use crate::error::Result;
use crate::format::Format;
use crate::layout::{Packing, Raw};

/// Elements that a thread takes at a time where columns are gathered.
pub(super) const PIECE: usize = 1 << 17;

/// Elements that a thread takes at a time. Each thread has several, so that one that is late is helped; where
/// there is much they are long, since writes past the cache are waited for at the end of each: 2^19 are 4 %
/// faster than 2^17. Always whole blocks of any rotation.
pub(super) fn piece(cpu: Cpu, elements: usize) -> usize {
    (elements / (8 * threads(cpu, elements))).clamp(1 << 15, 1 << 19).next_multiple_of(1 << 12)
}

/// How far ahead of the group at hand memory is asked for. Measured from 1 to 16 KiB: at 4 the kernels reach
/// 0.83 of the floor, from 6 to 8 they reach 0.9 and more, at 12 they fall again.
pub(super) const PREFETCH_BYTES: usize = 7168;

/// Whether rows of k elements are whole blocks and bytes, so that they follow each other like one.
pub(super) fn is_whole(format: Format, k: usize) -> bool {
    k.is_multiple_of(format.block()) && (format.element().bits() != 4 || k.is_multiple_of(2))
}

/// Sizes of a slice of elements, of codes and of scales that belong together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sizes {
    pub elements: usize,
    pub codes: usize,
    pub scales: usize,
}

impl Sizes {
    /// Those of a row of k elements.
    pub(super) fn of_row(format: Format, k: usize) -> Result<Self> {
        let codes = Raw::row_bytes(k, format.element().bits(), format.block())?;
        Ok(Self { elements: k, codes, scales: format.scales_per_row(k) })
    }

    /// Those of several.
    pub(super) fn times(self, rows: usize) -> Self {
        Self {
            elements: rows * self.elements,
            codes: rows * self.codes,
            scales: rows * self.scales,
        }
    }
}

/// What a thread takes at a time: several short rows together, or a part of one long row. Tensors are cut
/// into `several`, and these into `part`: short rows are one part, and of long ones `several` is one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cut {
    /// Rows in `several`.
    pub rows: usize,
    pub several: Sizes,
    pub part: Sizes,
}

impl Cut {
    /// For rows of k elements, more than 0, in pieces of so many. Parts of rows are multiples of `unit`, which is
    /// whole blocks and bytes.
    pub(super) fn new(format: Format, k: usize, piece: usize, unit: usize) -> Result<Self> {
        let rows = (piece / k).max(1);
        let several = Sizes::of_row(format, k)?.times(rows);
        let part = match k > piece {
            true => Sizes::of_row(format, (piece / unit).max(1) * unit)?,
            false => several,
        };
        Ok(Self { rows, several, part })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_rows_go_together_and_long_ones_are_cut() {
        let sizes = |elements, codes, scales| Sizes { elements, codes, scales };
        let cut = Cut::new(Format::MXFP4, 33, PIECE, 128).unwrap();
        assert_eq!((cut.rows, cut.several), (3971, sizes(131_043, 67_507, 7942)));
        assert_eq!(cut.part, cut.several);
        let cut = Cut::new(Format::NVFP4, 1 << 20, PIECE, 128).unwrap();
        assert_eq!((cut.rows, cut.several), (1, sizes(1 << 20, 1 << 19, 1 << 16)));
        assert_eq!(cut.part, sizes(1 << 17, 1 << 16, 1 << 13));
        let odd = "e2m1x15:e8m0".parse().unwrap();
        assert_eq!(Cut::new(odd, 1 << 20, PIECE, 120).unwrap().part, sizes(131_040, 65_520, 8736));
    }
}
