//! From one layout into another.

use super::super::CudaError;
use super::super::arguments::{DevicePointer, RelayoutArguments, RelayoutCodesArguments};
use super::load::{Kernels, THREADS};
use crate::Error;
use crate::layout::{Bytes, CodePacking, Dense, Packing, SplitHalves};
use cudarc::driver::sys;

impl Kernels {
    /// Scales of `batches` matrices of `rows` × `columns` from one layout into another; tiles of
    /// 0 (linear), 128 or 8 rows. Padding is written as zero.
    ///
    /// # Errors
    /// [`CudaError::Argument`] for another tile, [`CudaError::Driver`].
    ///
    /// # Safety
    /// As [`Kernels::amax`]; `to` has the padded size of its layout and does not overlap `from`.
    #[allow(clippy::too_many_arguments)]
    pub unsafe fn relayout_scales(
        &self,
        batches: usize,
        rows: usize,
        columns: usize,
        from: (DevicePointer, u32),
        to: (DevicePointer, u32),
        stream: sys::CUstream,
    ) -> Result<(), CudaError> {
        for (_, tile) in [from, to] {
            if ![0, 8, 128].contains(&tile) {
                return Err(Error::InvalidValue {
                    what: "the rows of a scale tile",
                    given: tile.to_string(),
                    rule: "0 (linear), 8 or 128",
                }
                .into());
            }
        }
        let work = padded_scales(batches, rows, columns, to.1)?;
        padded_scales(batches, rows, columns, from.1)?;
        let arguments = RelayoutArguments {
            from: from.0,
            to: to.0,
            batches: batches as u64,
            rows: rows as u64,
            columns: columns as u64,
            from_tile: from.1,
            to_tile: to.1,
        };
        let function = self.loaded.relayout_scales;
        match work {
            0 => Ok(()),
            // SAFETY: the caller's promise.
            _ => unsafe { self.launch(function, work, THREADS, stream, &arguments) },
        }
    }

    /// Codes of `rows` rows of `k` from one packing into another; padding bits are written as zero.
    ///
    /// Reads `from`, writes `to`.
    ///
    /// # Errors
    /// [`CudaError::Argument`] where a packing does not take such codes, [`CudaError::Driver`].
    ///
    /// # Safety
    /// As [`Kernels::amax`]; both have the bytes that [`Codes`](crate::layout::Codes) states.
    pub unsafe fn relayout_codes(
        &self,
        shape: CodeShape,
        from: (DevicePointer, CodePacking),
        to: (DevicePointer, CodePacking),
        stream: sys::CUstream,
    ) -> Result<(), CudaError> {
        let arguments = RelayoutCodesArguments {
            from: from.0,
            to: to.0,
            rows: shape.rows as u64,
            k: shape.k as u64,
            from_bytes: shape.row_bytes(from.1)? as u64,
            to_bytes: shape.row_bytes(to.1)? as u64,
            bits: shape.bits.into(),
            block: shape.block as u32,
            from_packing: from.1 as u32,
            to_packing: to.1 as u32,
        };
        let work = arguments.rows.saturating_mul(arguments.to_bytes);
        let function = self.loaded.relayout_codes;
        match work {
            0 => Ok(()),
            // SAFETY: the caller's promise.
            _ => unsafe { self.launch(function, work, THREADS, stream, &arguments) },
        }
    }
}

/// Rows of codes, whatever their packing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeShape {
    /// Rows of all matrices.
    pub rows: usize,
    /// Codes of a row.
    pub k: usize,
    /// Bits of a code, 1 to 8.
    pub bits: u8,
    /// Codes that share a scale.
    pub block: usize,
}

impl CodeShape {
    fn row_bytes(self, packing: CodePacking) -> Result<usize, Error> {
        if !(1..=8).contains(&self.bits) || self.block == 0 {
            return Err(Error::InvalidValue {
                what: "the width of a code or the length of its block",
                given: format!("{} bits, {} elements", self.bits, self.block),
                rule: "1 to 8 bits, at least one element",
            });
        }
        let of = match packing {
            CodePacking::Bytes => Bytes::row_bytes,
            CodePacking::Dense => Dense::row_bytes,
            CodePacking::SplitHalves => SplitHalves::row_bytes,
        };
        of(self.k, self.bits, self.block)
    }
}

/// Bytes of the scales of `batches` matrices in tiles of `tile` rows.
fn padded_scales(batches: usize, rows: usize, columns: usize, tile: u32) -> Result<u64, Error> {
    let (rows_to, columns_to) = if tile == 0 { (1, 1) } else { (tile as usize, 4) };
    let bytes = rows.checked_next_multiple_of(rows_to).and_then(|rows| {
        let columns = columns.checked_next_multiple_of(columns_to)?;
        rows.checked_mul(columns)?.checked_mul(batches)
    });
    bytes.map(|bytes| bytes as u64).ok_or(Error::Overflow {
        what: "the bytes of the scales",
        given: batches as u128 * rows as u128 * columns as u128,
        limit: usize::MAX as u64,
    })
}
