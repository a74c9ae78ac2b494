//! Quantize: rows, tiles, whole blocks.

use super::super::CudaError;
use super::super::arguments::{
    DevicePointer, DeviceProfile, Draws, QuantizeArguments, Rotation, tile_and_group,
};
use super::super::fast::{FastCall, QuantizeBlocksArguments};
use super::load::Kernels;
use super::{Amax, Input, aligned, strided};
use crate::layout::{Packing, Raw};
use crate::numerics::{Hadamard, Profile, Rounding};
use crate::rotate::check_axis;
use crate::{Axis, Blocks, tensor};
use cudarc::driver::sys;

/// Where a quantized tensor goes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Output {
    /// Packed codes in the raw layout.
    pub codes: DevicePointer,
    /// Block scales, row by row.
    pub scales: DevicePointer,
    /// One f32; 0 where the profile stores none.
    pub tensor_scale: DevicePointer,
    /// One u32 that gets the bits of [`status`](super::status), or 0.
    pub status: DevicePointer,
}

impl Kernels {
    /// Quantizes `x` into codes and scales in the raw layout, and stores the tensor scale.
    ///
    /// Reads `x` and a given amax; writes what `to` names, and the workspace. Findings (NaN, Inf) are
    /// OR-ed into the status word.
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
        to: Output,
        stream: sys::CUstream,
    ) -> Result<(), CudaError> {
        // SAFETY: the caller's promise.
        unsafe { self.quantize_as(profile, rounding, blocks_of, None, x, amax, to, stream) }
    }

    /// Quantizes what `x` becomes when it is rotated along K, by a rotation of at most
    /// [`MOST_ROTATED`] values; no rotated value is written. An amax that is given is that of the
    /// rotated values, and so are the findings.
    ///
    /// Reads and writes as [`Kernels::quantize`].
    ///
    /// # Errors
    /// [`CudaError::Argument`], [`CudaError::Misaligned`], [`CudaError::Driver`].
    ///
    /// # Safety
    /// As [`Kernels::quantize`].
    #[allow(clippy::too_many_arguments)]
    pub unsafe fn quantize_rotated(
        &self,
        profile: &Profile,
        rounding: Rounding,
        blocks_of: Blocks,
        hadamard: Hadamard,
        x: Input<'_>,
        amax: Amax,
        to: Output,
        stream: sys::CUstream,
    ) -> Result<(), CudaError> {
        let rotation = Some(hadamard);
        // SAFETY: the caller's promise.
        unsafe { self.quantize_as(profile, rounding, blocks_of, rotation, x, amax, to, stream) }
    }

    /// # Safety
    /// As [`Kernels::quantize`].
    #[allow(clippy::too_many_arguments)]
    unsafe fn quantize_as(
        &self,
        profile: &Profile,
        rounding: Rounding,
        blocks_of: Blocks,
        rotation: Option<Hadamard>,
        x: Input<'_>,
        amax: Amax,
        to: Output,
        stream: sys::CUstream,
    ) -> Result<(), CudaError> {
        let Output { codes, scales, tensor_scale, status } = to;
        profile.check()?;
        let format = profile.format();
        tensor::extents(format, blocks_of, x.shape)?;
        let (extents, row_stride, batch_stride) = strided(x)?;
        if let Some(hadamard) = rotation {
            check_axis(hadamard.into(), Axis::K, x.shape, extents)?;
            check_rotation(hadamard)?;
        }
        aligned("x", x.pointer, x.dtype.size())?;
        aligned("the tensor scale", tensor_scale, 4)?;
        aligned("the status word", status, 4)?;
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
            Amax::DeviceArray(_) => {
                return Err(crate::Error::InvalidValue {
                    what: "the tensor amax",
                    given: "one for each group".to_owned(),
                    rule: "a call without groups takes one",
                }
                .into());
            }
            Amax::Compute { workspace } => {
                aligned("the workspace", workspace, 256)?;
                match rotation {
                    // SAFETY: the caller's promise.
                    None => unsafe { self.amax(profile, x, workspace, stream)? },
                    // SAFETY: the caller's promise.
                    Some(hadamard) => unsafe {
                        self.amax_rotated(profile, hadamard, x, workspace, stream)?;
                    },
                }
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
            status,
            draws: Draws::new(rounding)?,
        };
        let bands = (extents.rows as u64).div_ceil(tile_rows.into());
        let work = extents.batches as u64 * bands * scale_columns.div_ceil(group.into());
        let device = DeviceProfile::new(profile);
        let dtype = x.dtype as usize;
        let loaded = &self.loaded;
        let (generic, marked) = match rotation {
            None => (loaded.quantize[dtype], loaded.quantize_marked[dtype]),
            Some(_) => (loaded.quantize_rotated[dtype], loaded.quantize_rotated_marked[dtype]),
        };
        let turned = rotation.map(|hadamard| (Rotation::new(hadamard, false), x.dtype as u32));
        let turned = turned.as_ref();
        let Some(call) = FastCall::new(profile, rounding, blocks_of, x, extents, codes) else {
            // One thread even for nothing: it stores the tensor scale.
            // SAFETY: the caller's promise.
            return unsafe {
                self.launch_rotated(generic, work, stream, &device, &arguments, turned)
            };
        };
        let fast = QuantizeBlocksArguments {
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
            scale: call.scale,
            draws: arguments.draws,
        };
        let (kernel, drawn) = (call.kernel, usize::from(call.drawn));
        let function = match rotation {
            None => loaded.quantize_blocks[kernel][drawn][dtype],
            Some(_) => loaded.quantize_rotated_blocks[kernel][drawn],
        };
        let sixteens = u64::from(call.blocks).div_ceil(16);
        // SAFETY: the caller's promise.
        unsafe {
            self.launch_rotated(function, call.blocks.into(), stream, &device, &fast, turned)?;
            self.launch_rotated(marked, sixteens, stream, &device, &arguments, turned)
        }
    }
}

/// The largest rotation of values that are quantized at once.
pub const MOST_ROTATED: usize = 128;

/// Whether the kernels quantize values of such a rotation.
pub(in crate::cuda) fn check_rotation(hadamard: Hadamard) -> Result<(), CudaError> {
    match hadamard.size() {
        ..=MOST_ROTATED => Ok(()),
        size => Err(crate::Error::InvalidValue {
            what: "the rotation of a quantization on a device",
            given: format!("Hadamard of {size}"),
            rule: "at most 128; rotate by Device::rotate first, or quantize on the host",
        }
        .into()),
    }
}
