//! From codes back to values.

use super::super::CudaError;
use super::super::arguments::{DequantizeArguments, DevicePointer, DeviceProfile};
use super::super::fast::DequantizeBlocksArguments;
use super::load::{Kernels, THREADS};
use super::{Dtype, aligned};
use crate::layout::{Packing, Raw};
use crate::numerics::Profile;
use crate::{Blocks, tensor};
use cudarc::driver::sys;

impl Kernels {
    /// Decodes `rows` rows of `k` elements into `y`.
    ///
    /// Reads codes, scales and the tensor scale, writes `y`.
    ///
    /// # Errors
    /// [`CudaError::Argument`], [`CudaError::Misaligned`], [`CudaError::Driver`].
    ///
    /// # Safety
    /// As [`Kernels::quantize`], the roles of the buffers exchanged.
    #[allow(clippy::too_many_arguments)]
    pub unsafe fn dequantize(
        &self,
        profile: &Profile,
        shape: &[usize],
        codes: DevicePointer,
        scales: DevicePointer,
        tensor_scale: DevicePointer,
        y: DevicePointer,
        dtype: Dtype,
        stream: sys::CUstream,
    ) -> Result<(), CudaError> {
        profile.check()?;
        let format = profile.format();
        let extents = tensor::extents(format, Blocks::Row, shape)?;
        aligned("y", y, dtype.size())?;
        aligned("the tensor scale", tensor_scale, 4)?;
        let code_stride = Raw::row_bytes(extents.k, format.element().bits(), format.block())?;
        let arguments = DequantizeArguments {
            codes,
            scales,
            tensor_scale,
            y,
            rows: extents.all_rows() as u64,
            k: extents.k as u64,
            code_stride: code_stride as u64,
            scale_columns: format.scales_per_row(extents.k) as u64,
        };
        let work = extents.elements() as u64;
        if work == 0 {
            return Ok(());
        }
        let pointers = [codes, scales, tensor_scale, y];
        if let Some((decoder, arguments)) =
            DequantizeBlocksArguments::new(profile, dtype, extents, pointers)
        {
            let function = self.loaded.dequantize_blocks[decoder][dtype as usize];
            let work = arguments.vectors.div_ceil(4);
            // SAFETY: the caller's promise.
            return unsafe { self.launch(function, work, THREADS, stream, &arguments) };
        }
        let (function, profile) =
            (self.loaded.dequantize[dtype as usize], DeviceProfile::new(profile));
        // SAFETY: the caller's promise.
        unsafe { self.launch_with(function, work, stream, &profile, &arguments) }
    }
}
