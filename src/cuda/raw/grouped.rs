//! Quantize the rows of groups, each with its own tensor scale.

use super::super::CudaError;
use super::super::arguments::{DevicePointer, DeviceProfile, Draws, GroupedArguments, drops};
use super::load::{Kernels, THREADS};
use super::{Amax, Input, aligned, strided};
use crate::layout::{Packing, Raw};
use crate::numerics::{Profile, Rounding};
use crate::{Blocks, Error, tensor};
use cudarc::driver::sys;

/// Which rows belong together, as two arrays in device memory; read there, so that a captured graph
/// can run again with other sizes.
///
/// Groups ascend and do not overlap; rows between them are left alone. A group may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups {
    /// How many.
    pub count: u32,
    /// One u32 each: its first row.
    pub first_rows: DevicePointer,
    /// One u32 each: its rows.
    pub counts: DevicePointer,
}

/// Where the groups' codes and scales go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupedOutput {
    /// Codes of every row of the input, in the raw layout.
    pub codes: DevicePointer,
    /// Scales: of every row of the input with a tile of 0; else a matrix of 128×4 tiles for each
    /// group, one behind the other, of [`grouped_scale_rows`] rows in all.
    pub scales: DevicePointer,
    /// 0 or 128.
    pub scale_tile: u32,
    /// One u32 a group and one more: where the scales of each begin, in padded rows, and end.
    pub scale_rows: DevicePointer,
    /// One f32 a group; 0 where the profile stores none.
    pub tensor_scales: DevicePointer,
    /// One u32 that gets the bits of [`status`](super::status), or 0.
    pub status: DevicePointer,
}

/// The most rows, padding included, that the scales of `groups` groups of `rows` rows in all can
/// take: each group ends in a tile of its own.
///
/// ```
/// use blockscale::cuda::raw::grouped_scale_rows;
/// assert_eq!(grouped_scale_rows(300, 4, 0), Some(300));
/// // 1 + 1 + 1 + 297 rows take 128 + 128 + 128 + 384.
/// assert_eq!(grouped_scale_rows(300, 4, 128), Some(768));
/// ```
pub fn grouped_scale_rows(rows: usize, groups: usize, tile: u32) -> Option<usize> {
    match tile {
        0 => Some(rows),
        // All padding is at most tile − 1 rows a group, and the sum is whole tiles.
        tile => {
            let tile = tile as usize;
            let most = rows.checked_add(groups.min(rows).checked_mul(tile - 1)?)?;
            Some(most / tile * tile)
        }
    }
}

impl Kernels {
    /// Quantizes the rows of groups of `x`, of shape `[rows, K]`; [`Blocks::Row`] only.
    ///
    /// Stochastic draws are those of the row in `x`, so that a group's bytes are those of
    /// [`quantize`](Self::quantize) on its rows with that row offset. With 128×4 tiles padding is
    /// written as zero, up to the end of the last group.
    ///
    /// Reads `x`, the groups and a given amax (one of all with [`Amax::Host`] and [`Amax::Device`]);
    /// writes what `to` names, and the workspace.
    ///
    /// # Errors
    /// [`CudaError::Argument`], also for more than 2³² rows or 4-bit blocks of odd length;
    /// [`CudaError::Misaligned`], [`CudaError::Driver`].
    ///
    /// # Safety
    /// As [`Kernels::quantize`].
    #[allow(clippy::too_many_arguments)] // a kernel's operands, each of its own kind
    pub unsafe fn quantize_grouped(
        &self,
        profile: &Profile,
        rounding: Rounding,
        x: Input<'_>,
        groups: Groups,
        amax: Amax,
        to: GroupedOutput,
        stream: sys::CUstream,
    ) -> Result<(), CudaError> {
        profile.check()?;
        let format = profile.format();
        tensor::extents(format, Blocks::Row, x.shape)?;
        let (extents, row_stride, _) = strided(x)?;
        let refused =
            |what, given: String, rule| Err(Error::InvalidValue { what, given, rule }.into());
        if extents.batches != 1 || x.shape.len() != 2 {
            return refused("the shape", format!("{:?}", x.shape), "groups are of rows: [rows, K]");
        }
        if extents.rows > u32::MAX as usize {
            let (given, limit) = (extents.rows as u128, u32::MAX.into());
            return Err(Error::Overflow { what: "the rows of all groups", given, limit }.into());
        }
        if format.element().bits() == 4 && !format.block().is_multiple_of(2) {
            let rule = "with 4-bit codes blocks of an even length share no byte";
            return refused("the block length", format.block().to_string(), rule);
        }
        if ![0, 128].contains(&to.scale_tile) {
            return refused(
                "the rows of a scale tile",
                to.scale_tile.to_string(),
                "0 (linear) or 128",
            );
        }
        if profile.tensor_scale_name().is_some() && to.tensor_scales == 0 {
            let rule = "the profile stores a tensor scale for each group, so they need a place";
            return refused("the pointer of the tensor scales", "null".to_owned(), rule);
        }
        aligned("x", x.pointer, x.dtype.size())?;
        for (what, pointer) in [
            ("the tensor scales", to.tensor_scales),
            ("the scale rows", to.scale_rows),
            ("the status word", to.status),
            ("the groups' first rows", groups.first_rows),
            ("the groups' counts", groups.counts),
        ] {
            aligned(what, pointer, 4)?;
        }
        let (amax_pointer, amax_stride, amax_value) = match amax {
            Amax::Host(value) => (0, 0, value),
            Amax::Device(pointer) => (pointer, 0, 0.0),
            Amax::DeviceArray(pointer) => (pointer, 1, 0.0),
            Amax::Compute { workspace } => {
                aligned("the workspace", workspace, 256)?;
                (workspace, 1, 0.0)
            }
        };
        aligned("the tensor amax", amax_pointer, 4)?;
        let arguments = GroupedArguments {
            x: x.pointer,
            codes: to.codes,
            scales: to.scales,
            amax: amax_pointer,
            tensor_scales: to.tensor_scales,
            first_rows: groups.first_rows,
            counts: groups.counts,
            scale_rows: to.scale_rows,
            status: to.status,
            rows: extents.rows as u64,
            k: extents.k as u64,
            row_stride,
            code_stride: Raw::row_bytes(extents.k, format.element().bits(), format.block())? as u64,
            scale_columns: format.scales_per_row(extents.k) as u64,
            groups: groups.count,
            tile: to.scale_tile,
            amax_stride,
            amax_value,
            drop: drops(profile).into(),
            reserved: 0,
            draws: Draws::new(rounding)?,
        };
        if groups.count == 0 {
            return Ok(());
        }
        let (dtype, rows) = (x.dtype as usize, extents.rows as u64);
        let scale_rows = grouped_scale_rows(extents.rows, groups.count as usize, to.scale_tile);
        let columns = match to.scale_tile {
            0 => arguments.scale_columns,
            _ => arguments.scale_columns.next_multiple_of(4),
        };
        let work = (scale_rows.unwrap_or(usize::MAX) as u64).saturating_mul(columns);
        let device = DeviceProfile::new(profile);
        // SAFETY: the caller's promise.
        unsafe {
            if matches!(amax, Amax::Compute { .. }) {
                self.clear(amax_pointer, groups.count, stream)?;
                let function = self.loaded.group_amax[dtype];
                self.launch(function, rows.saturating_mul(32), THREADS, stream, &arguments)?;
            }
            self.launch_with(self.loaded.group_rows, 1, stream, &device, &arguments)?;
            let function = self.loaded.quantize_grouped[dtype];
            self.launch_with(function, work, stream, &device, &arguments)
        }
    }
}
