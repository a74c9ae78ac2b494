//! Is there a driver? Asked before the first driver call, which would panic without one.

use super::CudaError;
use std::error::Error;
use std::sync::OnceLock;

/// Fails where no driver library can be loaded. Looked up once.
pub(super) fn require_driver() -> Result<(), CudaError> {
    static FOUND: OnceLock<Result<(), String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let mut refusal = String::new();
        for name in ["libcuda.so.1", "libcuda.so", "nvcuda.dll"] {
            // SAFETY: loading the driver library runs its initializers, as any CUDA program does.
            match unsafe { libloading::Library::new(name) } {
                // Kept loaded: unloading a driver is asking for trouble.
                Ok(library) => {
                    std::mem::forget(library);
                    return Ok(());
                }
                Err(error) if refusal.is_empty() => {
                    // The loader's own words are those of the source.
                    let reason = error.source().map(ToString::to_string);
                    refusal = reason.unwrap_or_else(|| error.to_string());
                }
                Err(_) => {}
            }
        }
        Err(refusal)
    });
    found.clone().map_err(CudaError::NoDriver)
}
