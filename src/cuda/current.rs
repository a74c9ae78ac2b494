//! Kernels for whoever owns the context: another runtime, or C.

use super::CudaError;
use super::driver::require_driver;
use super::raw::Kernels;
use cudarc::driver::sys::{self, CUdevice_attribute as Attribute};
use cudarc::driver::{DriverError, result};

impl Kernels {
    /// Loads every kernel into the context that is current on this thread, for its device.
    ///
    /// # Errors
    /// [`CudaError::NoDriver`], [`CudaError::NoContext`] and those of [`Kernels::load`].
    ///
    /// # Safety
    /// The value is dropped before the context is destroyed, or never.
    pub unsafe fn load_current() -> Result<Self, CudaError> {
        use sys::cudaError_enum::{CUDA_ERROR_INVALID_CONTEXT, CUDA_ERROR_NOT_INITIALIZED};
        require_driver()?;
        let mut device = 0;
        // SAFETY: a driver is loaded; it writes one number.
        match unsafe { sys::cuCtxGetDevice(&mut device) }.result() {
            Ok(()) => {}
            Err(DriverError(CUDA_ERROR_INVALID_CONTEXT | CUDA_ERROR_NOT_INITIALIZED)) => {
                return Err(CudaError::NoContext);
            }
            Err(error) => return Err(CudaError::driver("cuCtxGetDevice")(error)),
        }
        // SAFETY: the driver gave the device.
        let attribute = |which| unsafe { result::device::get_attribute(device, which) };
        let failed = CudaError::driver("cuDeviceGetAttribute");
        let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
        let minor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
        let capability = (major.map_err(&failed)? as u32, minor.map_err(&failed)? as u32);
        // SAFETY: the context is current, as its device answered; the rest is the caller's promise.
        unsafe { Self::load(capability) }
    }
}
