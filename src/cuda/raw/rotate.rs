//! Rotations by Hadamard matrices.

use super::super::CudaError;
use super::super::arguments::{DevicePointer, RotateArguments, Rotation, drops};
use super::load::{Kernels, THREADS};
use super::{Dtype, Input, aligned, strided};
use crate::numerics::{Hadamard, Profile};
use crate::rotate::check_axis;
use crate::{Axis, Error};
use cudarc::driver::sys;

/// A rotation, which way, and along which axis; [`Rotate`](crate::Rotate) has the formulas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Size, signs, and whether the forward rotation rounds to bf16.
    pub hadamard: Hadamard,
    /// Back instead of forth.
    pub inverse: bool,
    /// What is rotated: consecutive elements of rows, or of columns.
    pub axis: Axis,
}

/// Values of a thread along K, and the rows and columns of a block of threads along rows.
const PER_THREAD: u64 = 16;
const TILE: (u64, u64) = (256, 32);
const ROW_THREADS: u32 = 256;

impl Kernels {
    /// Rotates `x` into dense values of type `to` at `y`. They may be `x` itself, where that is dense and
    /// of the same type.
    ///
    /// Reads `x`, writes `y`.
    ///
    /// # Errors
    /// [`CudaError::Argument`], [`CudaError::Misaligned`], [`CudaError::Driver`].
    ///
    /// # Safety
    /// As [`Kernels::amax`]; `y` has as many values as `x`, and is `x` or does not overlap it.
    pub unsafe fn rotate(
        &self,
        turn: Turn,
        x: Input<'_>,
        y: DevicePointer,
        to: Dtype,
        stream: sys::CUstream,
    ) -> Result<(), CudaError> {
        aligned("y", y, to.size())?;
        // Along K a run is 16 bytes on the wider side, along rows a pair.
        let run = match turn.axis {
            Axis::K => 16 / x.dtype.size().max(to.size()),
            Axis::Rows => 2,
        };
        let arguments = rotate_arguments(turn, x, run)?;
        let row_bytes = if turn.axis == Axis::Rows { arguments.k * to.size() } else { 0 };
        let arguments = RotateArguments {
            y,
            to: to as u32,
            y_aligned: (y | row_bytes).is_multiple_of(run * to.size()).into(),
            ..arguments
        };
        let elements = arguments.batches * arguments.rows * arguments.k;
        let (function, work, threads) = match turn.axis {
            Axis::K => {
                let function = self.loaded.rotate[x.dtype as usize][to as usize];
                (function, elements.div_ceil(PER_THREAD), THREADS)
            }
            Axis::Rows => {
                let tiles = arguments.rows.div_ceil(TILE.0) * arguments.k.div_ceil(TILE.1);
                let work = arguments.batches * tiles * u64::from(ROW_THREADS);
                (self.loaded.rotate_rows, work, ROW_THREADS)
            }
        };
        match elements {
            0 => Ok(()),
            // SAFETY: the caller's promise.
            _ => unsafe { self.launch(function, work, threads, stream, &arguments) },
        }
    }

    /// The largest magnitude of what `x` becomes when it is rotated along K, into the f32 at `amax`; no
    /// rotated value is written. NaN, and values that a profile drops, as in [`Kernels::amax`].
    ///
    /// Reads `x`, writes `amax`.
    ///
    /// # Errors
    /// [`CudaError::Argument`], [`CudaError::Misaligned`], [`CudaError::Driver`].
    ///
    /// # Safety
    /// As [`Kernels::amax`].
    pub unsafe fn amax_rotated(
        &self,
        profile: &Profile,
        hadamard: Hadamard,
        x: Input<'_>,
        amax: DevicePointer,
        stream: sys::CUstream,
    ) -> Result<(), CudaError> {
        let turn = Turn { hadamard, inverse: false, axis: Axis::K };
        let arguments = rotate_arguments(turn, x, 16 / x.dtype.size())?;
        aligned("the tensor amax", amax, 4)?;
        // SAFETY: the caller's promise.
        unsafe { self.clear(amax, 1, stream)? };
        let arguments = RotateArguments { amax, drop: drops(profile).into(), ..arguments };
        let elements = arguments.batches * arguments.rows * arguments.k;
        let (function, work) =
            (self.loaded.rotate_amax[x.dtype as usize], elements.div_ceil(PER_THREAD));
        match elements {
            0 => Ok(()),
            // SAFETY: the caller's promise.
            _ => unsafe { self.launch(function, work, THREADS, stream, &arguments) },
        }
    }
}

/// All but where results go. Values are read in runs of `run` where all of them are aligned.
fn rotate_arguments(turn: Turn, x: Input<'_>, run: u64) -> Result<RotateArguments, CudaError> {
    let Turn { hadamard, inverse, axis } = turn;
    let (extents, row_stride, batch_stride) = strided(x)?;
    if axis == Axis::Rows && x.shape.len() < 2 {
        return Err(Error::InvalidShape {
            shape: x.shape.to_vec(),
            rule: "a rotation along rows needs rows and columns: at least two axes",
        }
        .into());
    }
    check_axis(hadamard.into(), axis, x.shape, extents)?;
    let size = x.dtype.size();
    aligned("x", x.pointer, size)?;
    let (mut batches, mut rows) = (extents.batches as u64, extents.rows as u64);
    if batch_stride == row_stride.saturating_mul(rows) {
        // Each matrix is whole blocks, so that all of them are one.
        (batches, rows) = (1, batches * rows);
    }
    let k = extents.k as u64;
    let dense = batches == 1 && row_stride == k;
    let gaps = match (axis, dense) {
        (Axis::K, true) => 0,
        _ => (row_stride | batch_stride) * size,
    };
    Ok(RotateArguments {
        x: x.pointer,
        y: 0,
        amax: 0,
        batches,
        rows,
        k,
        row_stride,
        batch_stride,
        dense: dense.into(),
        x_aligned: (x.pointer | gaps).is_multiple_of(run * size).into(),
        y_aligned: 0,
        drop: 0,
        from: x.dtype as u32,
        to: 0,
        rotation: Rotation::new(hadamard, inverse),
    })
}
