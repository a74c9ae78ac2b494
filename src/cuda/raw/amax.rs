//! The tensor's amax.

use super::super::CudaError;
use super::super::arguments::{AmaxArguments, ClearArguments, DevicePointer, drops};
use super::load::{AMAX_THREADS, Kernels};
use super::{Input, aligned, strided};
use crate::numerics::Profile;
use cudarc::driver::sys;

impl Kernels {
    /// The largest magnitude of `x` into the f32 at `amax`: NaN if any value is, and with a
    /// profile that drops NaN and Inf, looking past them.
    ///
    /// Reads `x`, writes `amax`.
    ///
    /// # Errors
    /// [`CudaError::Argument`], [`CudaError::Misaligned`], [`CudaError::Driver`].
    ///
    /// # Safety
    /// The pointers are valid on the current context for all that the call reads and writes, until
    /// the stream has run it.
    pub unsafe fn amax(
        &self,
        profile: &Profile,
        x: Input<'_>,
        amax: DevicePointer,
        stream: sys::CUstream,
    ) -> Result<(), CudaError> {
        let (extents, row_stride, batch_stride) = strided(x)?;
        aligned("x", x.pointer, x.dtype.size())?;
        aligned("the tensor amax", amax, 4)?;
        // SAFETY: the caller's promise.
        unsafe { self.clear(amax, 1, stream)? };
        let dense = row_stride == extents.k as u64
            && (extents.batches == 1 || batch_stride == row_stride * extents.rows as u64);
        let arguments = AmaxArguments {
            x: x.pointer,
            amax,
            batches: extents.batches as u64,
            rows: extents.rows as u64,
            k: extents.k as u64,
            row_stride,
            batch_stride,
            drop: drops(profile).into(),
            reserved: 0,
            vectors: match dense && !drops(profile) && x.pointer.is_multiple_of(16) {
                true => extents.elements() as u64 * x.dtype.size() / 16,
                false => 0,
            },
        };
        // 16 bytes a thread and turn, several of them in flight.
        let work = (extents.elements() as u64 * x.dtype.size()).div_ceil(64);
        let function = self.loaded.amax[x.dtype as usize];
        match extents.elements() {
            0 => Ok(()),
            // SAFETY: the caller's promise.
            _ => unsafe { self.launch(function, work, AMAX_THREADS, stream, &arguments) },
        }
    }

    /// Sets `count` amax values to 0.
    ///
    /// # Safety
    /// As [`Kernels::amax`].
    pub(super) unsafe fn clear(
        &self,
        amax: DevicePointer,
        count: u32,
        stream: sys::CUstream,
    ) -> Result<(), CudaError> {
        let (function, arguments) =
            (self.loaded.amax_clear, ClearArguments { amax, count: count.into() });
        // SAFETY: the caller's promise.
        unsafe { self.launch(function, count.into(), AMAX_THREADS, stream, &arguments) }
    }
}
