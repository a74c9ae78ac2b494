//! The CUDA kernels of blockscale for C: `include/blockscale.h` is the documentation.
//!
//! Everything here is thin over [`blockscale::cuda::raw`]: texts become profiles, pointers become
//! arguments, errors become status codes and a message of the thread. No panic leaves a function.

mod arguments;
mod status;

pub use arguments::{
    AMAX_COMPUTE, AMAX_DEVICE, AMAX_HOST, AMAX_NONE, DequantizeArguments, Input, QuantizeArguments,
    REPEAT, Rounding,
};
pub use status::Status;

use arguments::{dtype, input, part, profile, reference, rounding, shape};
use blockscale::cuda::raw::{self, Amax, Kernels, Output};
use blockscale::cuda::{CudaError, part_bytes};
use blockscale::{Blocks, Error, Quantize};
use status::{Failure, guarded};
use std::ffi::{c_char, c_void};

/// The version of the crate, as a C string.
#[unsafe(no_mangle)]
pub extern "C" fn blockscale_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// What went wrong in the thread's latest call that failed: a C string, valid until its next call.
#[unsafe(no_mangle)]
pub extern "C" fn blockscale_last_error() -> *const c_char {
    status::last_error()
}

/// Bytes of the workspace of an amax that is computed.
#[unsafe(no_mangle)]
pub extern "C" fn blockscale_workspace_bytes() -> usize {
    raw::WORKSPACE
}

/// Bytes of codes and of scales of a tensor.
///
/// # Safety
/// The texts are null or C strings, `dims` points to `rank` numbers, and the outputs to one each.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn blockscale_part_bytes(
    format: *const c_char,
    profile_name: *const c_char,
    dims: *const u64,
    rank: u32,
    codes: *mut u64,
    scales: *mut u64,
) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let (profile, shape) = unsafe { (profile(format, profile_name)?, shape(dims, rank)?) };
        let (code_bytes, scale_bytes) = part_bytes(&profile, &shape)?;
        // SAFETY: as above.
        unsafe {
            put("codes", codes, code_bytes as u64)?;
            put("scales", scales, scale_bytes as u64)
        }
    })
}

/// Bytes of scales in a layout of tiles, padding included.
///
/// # Safety
/// `bytes` points to one number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn blockscale_scale_bytes(
    batches: u64,
    rows: u64,
    columns: u64,
    tile: u32,
    bytes: *mut u64,
) -> Status {
    guarded(|| {
        let padded = |n: u64, to: u64| n.checked_next_multiple_of(to);
        let (rows, columns) = match tile {
            0 => (Some(rows), Some(columns)),
            8 | 128 => (padded(rows, tile.into()), padded(columns, 4)),
            _ => return Err(tile_error(tile)),
        };
        let size = rows.zip(columns).and_then(|(rows, columns)| {
            rows.checked_mul(columns)?.checked_mul(batches).filter(|n| *n <= isize::MAX as u64)
        });
        let size = size.ok_or(Error::Overflow {
            what: "the size of the scales",
            given: u64::MAX.into(),
            limit: isize::MAX as u64,
        })?;
        // SAFETY: the caller's promise.
        unsafe { put("bytes", bytes, size) }
    })
}

/// Loads every kernel into the current context.
///
/// # Safety
/// `kernels` points to a place for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn blockscale_prepare(kernels: *mut *mut Kernels) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        unsafe { put("kernels", kernels, std::ptr::null_mut())? };
        // SAFETY: the header tells the caller to release it before the context goes.
        let loaded = unsafe { Kernels::load_current()? };
        // SAFETY: the caller's promise.
        unsafe { put("kernels", kernels, Box::into_raw(Box::new(loaded))) }
    })
}

/// Unloads the kernels; null is nothing to do.
///
/// # Safety
/// `kernels` is null or came from `blockscale_prepare`, is not used again, and its context exists.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn blockscale_release(kernels: *mut Kernels) -> Status {
    guarded(|| {
        if !kernels.is_null() {
            // SAFETY: made by `Box::into_raw` in `blockscale_prepare`, given back once.
            drop(unsafe { Box::from_raw(kernels) });
        }
        Ok(())
    })
}

/// The largest magnitude of `x` into one f32.
///
/// # Safety
/// As [`Kernels::amax`]; texts, `x` and `kernels` are what the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn blockscale_amax(
    kernels: *const Kernels,
    format: *const c_char,
    profile_name: *const c_char,
    x: *const Input,
    amax: u64,
    stream: *mut c_void,
) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        unsafe {
            let (kernels, x) = (reference("kernels", kernels)?, reference("x", x)?);
            let profile = profile(format, profile_name)?;
            let shape = shape(x.shape, x.rank)?;
            part("amax", amax)?;
            Ok(kernels.amax(&profile, input(x, &shape)?, amax, stream.cast())?)
        }
    })
}

/// Quantizes.
///
/// # Safety
/// As [`Kernels::quantize`]; `kernels` and `arguments` are what the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn blockscale_quantize(
    kernels: *const Kernels,
    arguments: *const QuantizeArguments,
    stream: *mut c_void,
) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        unsafe {
            let kernels = reference("kernels", kernels)?;
            let a = reference("arguments", arguments)?;
            let (profile, rounding) = (profile(a.format, a.profile)?, rounding(a.rounding)?);
            let blocks = match a.blocks {
                0 => Blocks::Row,
                1 => Blocks::Tile,
                given => return Err(choice("blocks", given, "0 (rows) or 1 (square tiles)")),
            };
            let shape = shape(a.x.shape, a.x.rank)?;
            let mut checked = Quantize::new(profile).rounding(rounding).blocks(blocks);
            let amax = match a.amax {
                AMAX_NONE if profile.tensor_scale_name().is_none() => Amax::Host(0.0),
                AMAX_HOST => {
                    checked = checked.tensor_amax(a.amax_value);
                    Amax::Host(a.amax_value)
                }
                AMAX_DEVICE => Amax::Device(part("amax_pointer", a.amax_pointer)?),
                AMAX_COMPUTE => Amax::Compute { workspace: part("amax_pointer", a.amax_pointer)? },
                given => {
                    let rule = "1 (host), 2 (device) or 3 (compute); 0 where the profile stores no \
                                tensor scale";
                    return Err(choice("amax", given, rule));
                }
            };
            checked.check_shape(&shape)?;
            let x = input(&a.x, &shape)?;
            if shape.iter().all(|axis| *axis > 0) {
                part("codes", a.codes)?;
                part("scales", a.scales)?;
            }
            Ok(kernels.quantize(
                &profile,
                rounding,
                blocks,
                x,
                amax,
                Output {
                    codes: a.codes,
                    scales: a.scales,
                    tensor_scale: a.tensor_scale,
                    status: 0,
                },
                stream.cast(),
            )?)
        }
    })
}

/// Decodes.
///
/// # Safety
/// As [`Kernels::dequantize`]; `kernels` and `arguments` are what the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn blockscale_dequantize(
    kernels: *const Kernels,
    arguments: *const DequantizeArguments,
    stream: *mut c_void,
) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        unsafe {
            let kernels = reference("kernels", kernels)?;
            let a = reference("arguments", arguments)?;
            let (profile, shape) = (profile(a.format, a.profile)?, shape(a.shape, a.rank)?);
            let dtype = dtype(a.dtype)?;
            if profile.tensor_scale_name().is_some() {
                part("tensor_scale", a.tensor_scale)?;
            }
            if shape.iter().all(|axis| *axis > 0) {
                part("codes", a.codes)?;
                part("scales", a.scales)?;
                part("y", a.y)?;
            }
            let (codes, scales, tensor_scale) = (a.codes, a.scales, a.tensor_scale);
            Ok(kernels.dequantize(
                &profile,
                &shape,
                codes,
                scales,
                tensor_scale,
                a.y,
                dtype,
                stream.cast(),
            )?)
        }
    })
}

/// Block scales from one layout into another.
///
/// # Safety
/// As [`Kernels::relayout_scales`]; `kernels` is what the header says.
#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments)] // as the raw layer has them
pub unsafe extern "C" fn blockscale_relayout_scales(
    kernels: *const Kernels,
    batches: u64,
    rows: u64,
    columns: u64,
    from: u64,
    from_tile: u32,
    to: u64,
    to_tile: u32,
    stream: *mut c_void,
) -> Status {
    guarded(|| {
        let mut bytes = 0;
        for tile in [from_tile, to_tile] {
            // Tiles, and sizes that no memory has.
            // SAFETY: `bytes` is one number.
            match unsafe { blockscale_scale_bytes(batches, rows, columns, tile, &mut bytes) } {
                Status::Ok => {}
                status => return Err(Failure::again(status)),
            }
        }
        // SAFETY: the caller's promise.
        unsafe {
            let kernels = reference("kernels", kernels)?;
            if bytes > 0 {
                part("from", from)?;
                part("to", to)?;
            }
            let extents = (batches as usize, rows as usize, columns as usize);
            let (from, to, stream) = ((from, from_tile), (to, to_tile), stream.cast());
            Ok(kernels.relayout_scales(extents.0, extents.1, extents.2, from, to, stream)?)
        }
    })
}

/// # Safety
/// `to` is null or points to a place for a `T`.
unsafe fn put<T>(what: &'static str, to: *mut T, value: T) -> Result<(), Failure> {
    if to.is_null() {
        return Err(null(what));
    }
    // SAFETY: the caller's promise.
    unsafe { to.write(value) };
    Ok(())
}

fn null(what: &'static str) -> Failure {
    Error::InvalidValue { what, given: "null".to_owned(), rule: "a pointer is needed" }.into()
}

fn choice(what: &'static str, given: i32, rule: &'static str) -> Failure {
    Error::InvalidValue { what, given: given.to_string(), rule }.into()
}

fn tile_error(given: u32) -> Failure {
    let (what, rule) = ("the rows of a scale tile", "0 (linear), 8 or 128");
    CudaError::from(Error::InvalidValue { what, given: given.to_string(), rule }).into()
}
