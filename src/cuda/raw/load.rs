//! Loading the kernels of a device, and launching them.

use super::super::arguments::{DeviceProfile, Rotation};
use super::super::fast;
use super::super::{CudaError, IMAGES, image_for};
use super::Dtype;
use cudarc::driver::{result, sys};
use std::ffi::{CString, c_void};
use std::sync::Arc;

/// One kernel for each type of values.
pub(super) type ByDtype = [sys::CUfunction; 3];

/// All kernels, loaded into the context that was current then; cheap to clone.
#[derive(Clone)]
pub struct Kernels {
    pub(super) loaded: Arc<Loaded>,
    most_blocks: u32,
}

/// What is loaded, and unloaded with the last clone.
pub(super) struct Loaded {
    capability: (u32, u32),
    modules: Modules,
    pub(super) quantize: ByDtype,
    pub(super) quantize_marked: ByDtype,
    /// By kernel of [`fast::KERNELS`], then nearest and drawn.
    pub(super) quantize_blocks: [[ByDtype; 2]; fast::KERNELS.len()],
    pub(super) quantize_grouped: ByDtype,
    pub(super) quantize_rotated: ByDtype,
    pub(super) quantize_rotated_marked: ByDtype,
    /// By kernel of [`fast::KERNELS`], then nearest and drawn; each takes any type.
    pub(super) quantize_rotated_blocks: [[sys::CUfunction; 2]; fast::KERNELS.len()],
    pub(super) group_amax: ByDtype,
    pub(super) group_rows: sys::CUfunction,
    pub(super) dequantize: ByDtype,
    /// By element of [`fast::DECODERS`].
    pub(super) dequantize_blocks: [ByDtype; fast::DECODERS.len()],
    pub(super) amax: ByDtype,
    pub(super) amax_clear: sys::CUfunction,
    pub(super) relayout_scales: sys::CUfunction,
    pub(super) relayout_codes: sys::CUfunction,
    /// By type of x, then type of y.
    pub(super) rotate: [ByDtype; 3],
    pub(super) rotate_rows: sys::CUfunction,
    pub(super) rotate_amax: ByDtype,
}

/// Modules, unloaded when dropped, after a failure halfway too.
struct Modules(Vec<sys::CUmodule>);

// SAFETY: module and function handles belong to a context, not to a thread; the driver API is
// thread-safe.
unsafe impl Send for Loaded {}
// SAFETY: as above; the handles are never changed after loading.
unsafe impl Sync for Loaded {}

/// Threads of a block, but for the amax kernels.
pub(super) const THREADS: u32 = 128;
pub(super) const AMAX_THREADS: u32 = 256;

/// Threads that a multiprocessor holds at once. More blocks than fit gain nothing: kernels walk the
/// rest in strides, and pay what a thread does once less often.
const THREADS_OF_MULTIPROCESSOR: u32 = 2048;

impl Kernels {
    /// Loads every kernel for a device of `capability` into the current context, so that no later
    /// call loads anything.
    ///
    /// # Errors
    /// [`CudaError::KernelsNotCompiled`], [`CudaError::NoImage`], [`CudaError::DriverTooOld`],
    /// [`CudaError::Driver`].
    ///
    /// # Safety
    /// - A driver is loaded and a context of a device of that capability is current.
    /// - The last clone is dropped before the context is destroyed, or never.
    pub unsafe fn load(capability: (u32, u32)) -> Result<Self, CudaError> {
        if IMAGES.is_empty() {
            return Err(CudaError::KernelsNotCompiled);
        }
        let mut modules = Modules(Vec::new());
        let mut unit = |name: &str| {
            // SAFETY: the caller's promise.
            let module = unsafe { load_unit(name, capability)? };
            modules.0.push(module);
            Ok::<_, CudaError>(module)
        };
        let one = |module, name: &str| {
            // SAFETY: every module below was loaded by `unit`.
            unsafe { entry(module, &format!("blockscale_{name}")) }
        };
        let by_dtype = |module, verb: &str| {
            let mut functions = [std::ptr::null_mut(); 3];
            for (function, (_, suffix)) in functions.iter_mut().zip(Dtype::ALL) {
                *function = one(module, &format!("{verb}_{suffix}"))?;
            }
            Ok::<_, CudaError>(functions)
        };
        let (quantize, blocks, grouped) =
            (unit("quantize")?, unit("quantize_blocks")?, unit("quantize_grouped")?);
        let (dequantize, decode) = (unit("dequantize")?, unit("dequantize_blocks")?);
        let (amax, relayout) = (unit("amax")?, unit("relayout")?);
        let (rotate, rotated) = (unit("rotate")?, unit("quantize_rotated")?);
        let mut rotate_from = [[std::ptr::null_mut(); 3]; 3];
        for (functions, (_, from)) in rotate_from.iter_mut().zip(Dtype::ALL) {
            *functions = by_dtype(rotate, &format!("rotate_{from}"))?;
        }
        let mut quantize_blocks = [[[std::ptr::null_mut(); 3]; 2]; fast::KERNELS.len()];
        for ([nearest, drawn], (.., name)) in quantize_blocks.iter_mut().zip(fast::KERNELS) {
            *nearest = by_dtype(blocks, &format!("quantize_{name}"))?;
            *drawn = by_dtype(blocks, &format!("quantize_{name}_drawn"))?;
        }
        let mut quantize_rotated_blocks = [[std::ptr::null_mut(); 2]; fast::KERNELS.len()];
        for ([nearest, drawn], (.., name)) in quantize_rotated_blocks.iter_mut().zip(fast::KERNELS)
        {
            *nearest = one(rotated, &format!("quantize_rotated_{name}"))?;
            *drawn = one(rotated, &format!("quantize_rotated_{name}_drawn"))?;
        }
        let mut dequantize_blocks = [[std::ptr::null_mut(); 3]; fast::DECODERS.len()];
        for (functions, (.., name)) in dequantize_blocks.iter_mut().zip(fast::DECODERS) {
            *functions = by_dtype(decode, &format!("dequantize_{name}"))?;
        }
        let loaded = Loaded {
            capability,
            quantize: by_dtype(quantize, "quantize")?,
            quantize_marked: by_dtype(quantize, "quantize_marked")?,
            quantize_blocks,
            quantize_grouped: by_dtype(grouped, "quantize_grouped")?,
            quantize_rotated: by_dtype(rotated, "quantize_rotated")?,
            quantize_rotated_marked: by_dtype(rotated, "quantize_rotated_marked")?,
            quantize_rotated_blocks,
            group_amax: by_dtype(grouped, "quantize_group_amax")?,
            group_rows: one(grouped, "quantize_group_rows")?,
            dequantize: by_dtype(dequantize, "dequantize")?,
            dequantize_blocks,
            amax: by_dtype(amax, "amax")?,
            amax_clear: one(amax, "amax_clear")?,
            relayout_scales: one(relayout, "relayout_scales")?,
            relayout_codes: one(relayout, "relayout_codes")?,
            rotate: rotate_from,
            rotate_rows: one(rotate, "rotate_rows")?,
            rotate_amax: by_dtype(rotate, "rotate_amax")?,
            modules,
        };
        Ok(Self { loaded: Arc::new(loaded), most_blocks: resident_blocks()? })
    }

    /// The compute capability they were loaded for.
    pub fn capability(&self) -> (u32, u32) {
        self.loaded.capability
    }

    /// The same kernels, launched in at most that many blocks of threads (at least one): what is
    /// left of the device is free for other work. The bytes do not depend on it.
    #[must_use]
    pub fn with_most_blocks(&self, most_blocks: u32) -> Self {
        Self { loaded: self.loaded.clone(), most_blocks: most_blocks.max(1) }
    }

    /// Blocks of `threads` for that much work.
    fn blocks(&self, work: u64, threads: u32) -> u32 {
        work.div_ceil(threads.into()).clamp(1, self.most_blocks.into()) as u32
    }

    /// Launches a kernel whose only parameter is `arguments`, for `work` threads.
    ///
    /// # Safety
    /// That is its parameter, and what it points to is valid.
    pub(super) unsafe fn launch<A>(
        &self,
        function: sys::CUfunction,
        work: u64,
        threads: u32,
        stream: sys::CUstream,
        arguments: &A,
    ) -> Result<(), CudaError> {
        let mut parameters = [parameter(arguments)];
        // SAFETY: the caller's promise.
        unsafe { launch(function, self.blocks(work, threads), threads, stream, &mut parameters) }
    }

    /// The same for a kernel that takes a profile first.
    ///
    /// # Safety
    /// As [`launch`](Self::launch).
    pub(super) unsafe fn launch_with<A>(
        &self,
        function: sys::CUfunction,
        work: u64,
        stream: sys::CUstream,
        profile: &DeviceProfile,
        arguments: &A,
    ) -> Result<(), CudaError> {
        let mut parameters = [parameter(profile), parameter(arguments)];
        // SAFETY: the caller's promise.
        unsafe { launch(function, self.blocks(work, THREADS), THREADS, stream, &mut parameters) }
    }

    /// The same for a kernel that takes a rotation and the type of x last, where there is one to take.
    ///
    /// # Safety
    /// As [`launch`](Self::launch).
    pub(super) unsafe fn launch_rotated<A>(
        &self,
        function: sys::CUfunction,
        work: u64,
        stream: sys::CUstream,
        profile: &DeviceProfile,
        arguments: &A,
        rotation: Option<&(Rotation, u32)>,
    ) -> Result<(), CudaError> {
        let Some((rotation, dtype)) = rotation else {
            // SAFETY: the caller's promise.
            return unsafe { self.launch_with(function, work, stream, profile, arguments) };
        };
        let mut parameters =
            [parameter(profile), parameter(arguments), parameter(rotation), parameter(dtype)];
        // SAFETY: the caller's promise.
        unsafe { launch(function, self.blocks(work, THREADS), THREADS, stream, &mut parameters) }
    }
}

impl Drop for Modules {
    fn drop(&mut self) {
        for module in &self.0 {
            // SAFETY: loaded by `load`, not unloaded before. A failure (the context is gone) frees
            // nothing that is still there.
            let _ = unsafe { result::module::unload(*module) };
        }
    }
}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (major, minor) = self.capability();
        write!(f, "Kernels({major}.{minor}, {} modules)", self.loaded.modules.0.len())
    }
}

fn parameter<A>(of: &A) -> *mut c_void {
    (&raw const *of).cast_mut().cast()
}

/// # Safety
/// The parameters are the kernel's, and what they point to is valid.
unsafe fn launch(
    function: sys::CUfunction,
    blocks: u32,
    threads: u32,
    stream: sys::CUstream,
    parameters: &mut [*mut c_void],
) -> Result<(), CudaError> {
    // SAFETY: the caller's promise; the driver copies the parameters before it returns.
    unsafe {
        result::launch_kernel(function, (blocks, 1, 1), (threads, 1, 1), 0, stream, parameters)
    }
    .map_err(CudaError::driver("cuLaunchKernel"))
}

/// As many blocks of [`THREADS`] as the current context's device holds at once.
fn resident_blocks() -> Result<u32, CudaError> {
    let mut device = 0;
    // SAFETY: a context is current, by the promise of `load`.
    unsafe { sys::cuCtxGetDevice(&mut device) }
        .result()
        .map_err(CudaError::driver("cuCtxGetDevice"))?;
    let count = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
    // SAFETY: the driver gave the device.
    let multiprocessors = unsafe { result::device::get_attribute(device, count) }
        .map_err(CudaError::driver("cuDeviceGetAttribute"))?;
    Ok(multiprocessors.max(1) as u32 * (THREADS_OF_MULTIPROCESSOR / THREADS))
}

/// The image that suits best, its machine code first, its PTX where the driver refuses that.
///
/// # Safety
/// As [`Kernels::load`].
unsafe fn load_unit(unit: &str, capability: (u32, u32)) -> Result<sys::CUmodule, CudaError> {
    let image = image_for(unit, capability).ok_or_else(|| CudaError::NoImage {
        capability,
        compiled: IMAGES
            .iter()
            .filter(|image| image.unit == unit)
            .map(|image| image.architecture)
            .collect::<Vec<_>>()
            .join(", "),
    })?;
    if let Some(cubin) = image.cubin() {
        // SAFETY: a cubin is self-contained, and the context is current.
        if let Ok(module) = unsafe { result::module::load_data(cubin.as_ptr().cast()) } {
            return Ok(module);
        }
    }
    let ptx = CString::new(image.ptx()).map_err(|_| CudaError::KernelsNotCompiled)?;
    // SAFETY: the text is terminated by zero, and the context is current.
    unsafe { result::module::load_data(ptx.as_ptr().cast()) }
        .map_err(CudaError::driver("cuModuleLoadData"))
}

/// # Safety
/// The module is loaded.
unsafe fn entry(module: sys::CUmodule, name: &str) -> Result<sys::CUfunction, CudaError> {
    let name = CString::new(name).map_err(|_| CudaError::KernelsNotCompiled)?;
    // SAFETY: the caller's promise.
    unsafe { result::module::get_function(module, name) }
        .map_err(CudaError::driver("cuModuleGetFunction"))
}
