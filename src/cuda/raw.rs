//! Kernels on raw device pointers: no allocation, no synchronization, no change of the current
//! context, so that calls can be captured into a graph.
//!
//! All buffers of a call must be distinct; each verb says what it reads and writes. Lengths and
//! alignment are checked on the host before the launch, what the pointers point to cannot be.

use super::arguments::{
    AmaxArguments, DequantizeArguments, DevicePointer, DeviceProfile, Draws, QuantizeArguments,
    RelayoutArguments, drops, tile_and_group,
};
use super::fast::{self, DequantizeBlocksArguments, FastCall, QuantizeBlocksArguments};
use super::{CudaError, IMAGES, image_for};
use crate::layout::{Packing, Raw};
use crate::numerics::{Profile, Rounding};
use crate::shape::Extents;
use crate::{Blocks, tensor};
use cudarc::driver::{result, sys};
use std::ffi::{CString, c_void};

/// f32, bf16 or f16 in device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// 32 bits.
    F32,
    /// bfloat16.
    Bf16,
    /// IEEE half.
    F16,
}

impl Dtype {
    /// Every type, with its suffix in entry names.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::F32, "f32"), (Self::Bf16, "bf16"), (Self::F16, "f16")];

    /// Bytes of a value.
    pub const fn size(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }
}

/// Where a tensor's amax comes from. It never passes through the host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amax {
    /// Known to the host. Where the profile has no tensor scale it does not matter.
    Host(f32),
    /// One f32 in device memory, for instance all-reduced over shards (max of the bits as u32).
    Device(DevicePointer),
    /// Computed from `x` into the first four bytes of a workspace of [`WORKSPACE`] bytes.
    Compute {
        /// Aligned to 256 bytes; its contents on entry do not matter.
        workspace: DevicePointer,
    },
}

/// Bytes of a workspace.
pub const WORKSPACE: usize = 256;

/// A tensor of `shape` with its strides, in elements; the last axis is contiguous.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Input<'a> {
    /// Where the first element lies.
    pub pointer: DevicePointer,
    /// What it is made of.
    pub dtype: Dtype,
    /// `[.., rows, K]`.
    pub shape: &'a [usize],
    /// From a row to the next; K where `None`.
    pub row_stride: Option<usize>,
    /// From a matrix to the next; rows × row stride where `None`.
    pub batch_stride: Option<usize>,
}

/// The kernels of one unit, loaded.
struct Module(sys::CUmodule);

/// All kernels, loaded into the context that was current then.
pub struct Kernels {
    capability: (u32, u32),
    modules: Vec<Module>,
    quantize: [sys::CUfunction; 3],
    quantize_marked: [sys::CUfunction; 3],
    /// By kernel of [`fast::KERNELS`], then nearest and drawn.
    quantize_blocks: [[[sys::CUfunction; 3]; 2]; fast::KERNELS.len()],
    dequantize: [sys::CUfunction; 3],
    /// By element of [`fast::DECODERS`].
    dequantize_blocks: [[sys::CUfunction; 3]; fast::DECODERS.len()],
    amax: [sys::CUfunction; 3],
    amax_clear: sys::CUfunction,
    relayout: sys::CUfunction,
}

// SAFETY: module and function handles belong to a context, not to a thread; the driver API is
// thread-safe.
unsafe impl Send for Kernels {}
// SAFETY: as above; the handles are never changed after loading.
unsafe impl Sync for Kernels {}

/// Threads of a block of the element-wise kernels, and of the amax kernel.
const THREADS: u32 = 128;
const AMAX_THREADS: u32 = 256;

/// More blocks than this gain nothing: kernels walk the rest in strides.
const MOST_BLOCKS: u64 = 1 << 16;

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
    /// - The value is dropped before the context is destroyed, or never.
    pub unsafe fn load(capability: (u32, u32)) -> Result<Self, CudaError> {
        if IMAGES.is_empty() {
            return Err(CudaError::KernelsNotCompiled);
        }
        let mut modules = Vec::new();
        let mut unit = |name: &str| {
            // SAFETY: the caller's promise.
            let module = unsafe { load_unit(name, capability)? };
            modules.push(Module(module));
            Ok::<_, CudaError>(module)
        };
        let (quantize, dequantize) = (unit("quantize")?, unit("dequantize")?);
        let quantize_blocks = unit("quantize_blocks")?;
        let dequantize_blocks = unit("dequantize_blocks")?;
        let (amax, relayout) = (unit("amax")?, unit("relayout")?);
        let by_dtype = |module, verb: &str| {
            let mut functions = [std::ptr::null_mut(); 3];
            for (function, (_, suffix)) in functions.iter_mut().zip(Dtype::ALL) {
                // SAFETY: the module was loaded above.
                *function = unsafe { entry(module, &format!("blockscale_{verb}_{suffix}"))? };
            }
            Ok::<_, CudaError>(functions)
        };
        let mut blocks = [[[std::ptr::null_mut(); 3]; 2]; fast::KERNELS.len()];
        for ([nearest, drawn], (.., name)) in blocks.iter_mut().zip(fast::KERNELS) {
            *nearest = by_dtype(quantize_blocks, &format!("quantize_{name}"))?;
            *drawn = by_dtype(quantize_blocks, &format!("quantize_{name}_drawn"))?;
        }
        let mut decoders = [[std::ptr::null_mut(); 3]; fast::DECODERS.len()];
        for (functions, (.., name)) in decoders.iter_mut().zip(fast::DECODERS) {
            *functions = by_dtype(dequantize_blocks, &format!("dequantize_{name}"))?;
        }
        Ok(Self {
            capability,
            quantize: by_dtype(quantize, "quantize")?,
            quantize_marked: by_dtype(quantize, "quantize_marked")?,
            quantize_blocks: blocks,
            dequantize: by_dtype(dequantize, "dequantize")?,
            dequantize_blocks: decoders,
            amax: by_dtype(amax, "amax")?,
            // SAFETY: the modules were loaded above.
            amax_clear: unsafe { entry(amax, "blockscale_amax_clear")? },
            // SAFETY: as above.
            relayout: unsafe { entry(relayout, "blockscale_relayout_scales")? },
            modules,
        })
    }

    /// The compute capability they were loaded for.
    pub fn capability(&self) -> (u32, u32) {
        self.capability
    }

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
        unsafe { launch(self.amax_clear, 1, 1, stream, &amax)? };
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
        let blocks = blocks(work, AMAX_THREADS).min(2048);
        match extents.elements() {
            0 => Ok(()),
            // SAFETY: the caller's promise.
            _ => unsafe {
                launch(self.amax[x.dtype as usize], blocks, AMAX_THREADS, stream, &arguments)
            },
        }
    }

    /// Quantizes `x` into codes and scales in the raw layout, and stores the tensor scale.
    ///
    /// Reads `x` and a given amax; writes `codes`, `scales`, one f32 at `tensor_scale` (which may
    /// be 0 where the profile stores none) and the workspace.
    ///
    /// # Errors
    /// [`CudaError::Argument`], [`CudaError::Misaligned`], [`CudaError::Driver`].
    ///
    /// # Safety
    /// As [`Kernels::amax`]; the outputs have the sizes that [`QuantizedTensor`](crate::QuantizedTensor)
    /// states, and none overlaps another buffer.
    #[allow(clippy::too_many_arguments)] // a kernel's operands, each of its own kind
    pub unsafe fn quantize(
        &self,
        profile: &Profile,
        rounding: Rounding,
        blocks_of: Blocks,
        x: Input<'_>,
        amax: Amax,
        codes: DevicePointer,
        scales: DevicePointer,
        tensor_scale: DevicePointer,
        stream: sys::CUstream,
    ) -> Result<(), CudaError> {
        profile.check()?;
        let format = profile.format();
        tensor::extents(format, blocks_of, x.shape)?;
        let (extents, row_stride, batch_stride) = strided(x)?;
        aligned("x", x.pointer, x.dtype.size())?;
        aligned("the tensor scale", tensor_scale, 4)?;
        if profile.tensor_scale_name().is_some() && tensor_scale == 0 {
            return Err(crate::Error::InvalidValue {
                what: "the pointer of the tensor scale",
                given: "null".to_owned(),
                rule: "the profile stores a tensor scale, so it needs a place",
            }
            .into());
        }
        let mut amax_value = 0.0;
        let amax = match amax {
            Amax::Host(value) => {
                amax_value = value;
                0
            }
            Amax::Device(pointer) => {
                aligned("the tensor amax", pointer, 4)?;
                pointer
            }
            Amax::Compute { workspace } => {
                aligned("the workspace", workspace, 256)?;
                // SAFETY: the caller's promise.
                unsafe { self.amax(profile, x, workspace, stream)? };
                workspace
            }
        };
        let (tile_rows, group) = tile_and_group(profile, blocks_of);
        let scale_columns = format.scales_per_row(extents.k) as u64;
        let code_stride = Raw::row_bytes(extents.k, format.element().bits(), format.block())?;
        let arguments = QuantizeArguments {
            x: x.pointer,
            codes,
            scales,
            amax,
            tensor_scale,
            batches: extents.batches as u64,
            rows: extents.rows as u64,
            k: extents.k as u64,
            row_stride,
            batch_stride,
            code_stride: code_stride as u64,
            scale_columns,
            tile_rows,
            group,
            amax_value,
            reserved: 0,
            draws: Draws::new(rounding)?,
        };
        let bands = (extents.rows as u64).div_ceil(tile_rows.into());
        let work = extents.batches as u64 * bands * scale_columns.div_ceil(group.into());
        let device_profile = DeviceProfile::new(profile);
        let operands = Both(device_profile, arguments);
        if let Some(call) = FastCall::new(profile, rounding, blocks_of, x, extents, codes) {
            let arguments = QuantizeBlocksArguments {
                x: x.pointer,
                codes,
                scales,
                amax,
                tensor_scale,
                row_stride,
                blocks: call.blocks,
                dense: call.dense.into(),
                columns: call.columns,
                amax_value,
                carried_up: call.carried_up,
                reserved: 0,
                scale: call.scale,
                draws: arguments.draws,
            };
            let function = self.quantize_blocks[call.kernel][usize::from(call.drawn)];
            let grid = blocks(call.blocks.into(), THREADS);
            // SAFETY: the caller's promise.
            unsafe {
                let operands = Both(device_profile, arguments);
                launch_both(function[x.dtype as usize], grid, THREADS, stream, &operands)?;
            }
            let function = self.quantize_marked[x.dtype as usize];
            let grid = blocks(u64::from(call.blocks).div_ceil(16), THREADS);
            // SAFETY: the caller's promise.
            return unsafe { launch_both(function, grid, THREADS, stream, &operands) };
        }
        let function = self.quantize[x.dtype as usize];
        // One block even of nothing: it stores the tensor scale.
        // SAFETY: the caller's promise.
        unsafe { launch_both(function, blocks(work.max(1), THREADS), THREADS, stream, &operands) }
    }

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
            let function = self.dequantize_blocks[decoder][dtype as usize];
            let grid = blocks(arguments.vectors.div_ceil(4), THREADS);
            // SAFETY: the caller's promise.
            return unsafe { launch(function, grid, THREADS, stream, &arguments) };
        }
        let operands = Both(DeviceProfile::new(profile), arguments);
        let function = self.dequantize[dtype as usize];
        // SAFETY: the caller's promise.
        unsafe { launch_both(function, blocks(work, THREADS), THREADS, stream, &operands) }
    }

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
                return Err(crate::Error::InvalidValue {
                    what: "the rows of a scale tile",
                    given: tile.to_string(),
                    rule: "0 (linear), 8 or 128",
                }
                .into());
            }
        }
        let padded = |n: usize, to: u32| match to {
            0 => n as u64,
            to => (n as u64).next_multiple_of(to.into()),
        };
        let columns_padded = padded(columns, if to.1 == 0 { 0 } else { 4 });
        let work = batches as u64 * padded(rows, to.1) * columns_padded;
        let arguments = RelayoutArguments {
            from: from.0,
            to: to.0,
            batches: batches as u64,
            rows: rows as u64,
            columns: columns as u64,
            from_tile: from.1,
            to_tile: to.1,
        };
        match work {
            0 => Ok(()),
            // SAFETY: the caller's promise.
            _ => unsafe {
                launch(self.relayout, blocks(work, THREADS), THREADS, stream, &arguments)
            },
        }
    }
}

impl Drop for Kernels {
    fn drop(&mut self) {
        for module in &self.modules {
            // SAFETY: loaded by `load`, not unloaded before. A failure (the context is gone) frees
            // nothing that is still there.
            let _ = unsafe { result::module::unload(module.0) };
        }
    }
}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kernels({}.{})", self.capability.0, self.capability.1)
    }
}

/// A kernel's two parameters.
#[repr(C)]
struct Both<A>(DeviceProfile, A);

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

fn blocks(work: u64, threads: u32) -> u32 {
    work.div_ceil(threads.into()).min(MOST_BLOCKS) as u32
}

fn aligned(what: &'static str, pointer: DevicePointer, alignment: u64) -> Result<(), CudaError> {
    match pointer.is_multiple_of(alignment) {
        true => Ok(()),
        false => Err(CudaError::Misaligned { what, pointer, alignment }),
    }
}

/// The extents of an input, its row stride and its batch stride.
fn strided(x: Input<'_>) -> Result<(Extents, u64, u64), CudaError> {
    let extents = Extents::of(x.shape)?;
    let row_stride = x.row_stride.unwrap_or(extents.k);
    let batch_stride = x.batch_stride.unwrap_or(row_stride.saturating_mul(extents.rows));
    let reach = (extents.rows.saturating_sub(1) as u128 * row_stride as u128)
        + (extents.batches.saturating_sub(1) as u128 * batch_stride as u128)
        + extents.k as u128;
    if row_stride < extents.k && extents.rows > 1 {
        return Err(crate::Error::InvalidValue {
            what: "the row stride",
            given: row_stride.to_string(),
            rule: "rows must not overlap: at least K elements",
        }
        .into());
    }
    if reach > (isize::MAX as u128) / 4 {
        return Err(crate::Error::Overflow {
            what: "the last element's offset",
            given: reach,
            limit: isize::MAX as u64 / 4,
        }
        .into());
    }
    Ok((extents, row_stride as u64, batch_stride as u64))
}

/// # Safety
/// The kernel's only parameter is an `A`, and what it points to is valid.
unsafe fn launch<A>(
    function: sys::CUfunction,
    blocks: u32,
    threads: u32,
    stream: sys::CUstream,
    arguments: &A,
) -> Result<(), CudaError> {
    let mut parameters = [(&raw const *arguments).cast_mut().cast::<c_void>()];
    // SAFETY: the caller's promise; the driver copies the parameters before it returns.
    unsafe {
        result::launch_kernel(function, (blocks, 1, 1), (threads, 1, 1), 0, stream, &mut parameters)
    }
    .map_err(CudaError::driver("cuLaunchKernel"))
}

/// # Safety
/// The kernel's parameters are a profile and an `A`, and what they point to is valid.
unsafe fn launch_both<A>(
    function: sys::CUfunction,
    blocks: u32,
    threads: u32,
    stream: sys::CUstream,
    operands: &Both<A>,
) -> Result<(), CudaError> {
    let mut parameters = [
        (&raw const operands.0).cast_mut().cast::<c_void>(),
        (&raw const operands.1).cast_mut().cast::<c_void>(),
    ];
    // SAFETY: the caller's promise; the driver copies the parameters before it returns.
    unsafe {
        result::launch_kernel(function, (blocks, 1, 1), (threads, 1, 1), 0, stream, &mut parameters)
    }
    .map_err(CudaError::driver("cuLaunchKernel"))
}
