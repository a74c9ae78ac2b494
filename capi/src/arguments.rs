//! What C gives, and what the raw layer takes. The structs are those of `include/blockscale.h`.

use crate::status::Failure;
use crate::{choice, null};
use blockscale::Error;
use blockscale::cuda::raw::{self, Dtype};
use blockscale::format::Format;
use blockscale::numerics::{self, DrawBits, Profile, Stochastic};
use std::ffi::{CStr, c_char};

/// A batch stride: the same matrix again and again.
pub const REPEAT: u64 = u64::MAX;
/// No amax, for profiles that store no tensor scale.
pub const AMAX_NONE: i32 = 0;
/// The amax is known to the host.
pub const AMAX_HOST: i32 = 1;
/// The amax is one f32 of the device.
pub const AMAX_DEVICE: i32 = 2;
/// The amax is computed, in a workspace.
pub const AMAX_COMPUTE: i32 = 3;

/// `blockscale_input`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Input {
    /// Where the first element lies on the device.
    pub data: u64,
    /// `[.., rows, K]`, on the host.
    pub shape: *const u64,
    /// Axes of the shape.
    pub rank: u32,
    /// 0 f32, 1 bf16, 2 f16.
    pub dtype: i32,
    /// Elements from a row to the next; 0: K.
    pub row_stride: u64,
    /// Elements from a matrix to the next; 0: rows × row stride; or [`REPEAT`].
    pub batch_stride: u64,
}

/// `blockscale_rounding`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Rounding {
    /// The seed.
    pub seed: u64,
    /// The tensor's name, which keys its draws.
    pub name: *const c_char,
    /// Bits of a draw: 8 or 16.
    pub bits: u32,
    /// The stream of the draws.
    pub stream: u32,
    /// The step of the draws.
    pub step: u32,
    /// 0.
    pub reserved: u32,
    /// Row of the shard's first element in the whole tensor.
    pub row_offset: u64,
    /// Its column.
    pub column_offset: u64,
}

/// `blockscale_quantize_arguments`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct QuantizeArguments {
    /// The format's name.
    pub format: *const c_char,
    /// The profile; null: the format's default.
    pub profile: *const c_char,
    /// Null: to nearest.
    pub rounding: *const Rounding,
    /// What is quantized.
    pub x: Input,
    /// 0 rows, 1 square tiles.
    pub blocks: i32,
    /// One of the `AMAX_` values.
    pub amax: i32,
    /// The f32 or the workspace.
    pub amax_pointer: u64,
    /// With [`AMAX_HOST`].
    pub amax_value: f32,
    /// 0.
    pub reserved: u32,
    /// Where the codes go.
    pub codes: u64,
    /// Where the scales go.
    pub scales: u64,
    /// Where the tensor scale goes, if the profile stores one.
    pub tensor_scale: u64,
}

/// `blockscale_dequantize_arguments`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct DequantizeArguments {
    /// The format's name.
    pub format: *const c_char,
    /// The profile; null: the format's default.
    pub profile: *const c_char,
    /// `[.., rows, K]`, on the host.
    pub shape: *const u64,
    /// Axes of the shape.
    pub rank: u32,
    /// Of `y`: 0 f32, 1 bf16, 2 f16.
    pub dtype: i32,
    /// The codes.
    pub codes: u64,
    /// The scales.
    pub scales: u64,
    /// The tensor scale, if the profile stores one.
    pub tensor_scale: u64,
    /// Where the values go.
    pub y: u64,
}

/// # Safety
/// `pointer` is null or points to a `T` that nobody changes for `'a`.
pub(crate) unsafe fn reference<'a, T>(
    what: &'static str,
    pointer: *const T,
) -> Result<&'a T, Failure> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_ref() }.ok_or_else(|| null(what))
}

/// A device pointer that must be there.
pub(crate) fn part(what: &'static str, pointer: u64) -> Result<u64, Failure> {
    if pointer == 0 { Err(null(what)) } else { Ok(pointer) }
}

/// # Safety
/// `pointer` is null or a C string that nobody changes for `'a`.
unsafe fn text<'a>(what: &'static str, pointer: *const c_char) -> Result<&'a str, Failure> {
    if pointer.is_null() {
        return Err(null(what));
    }
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map_err(|_| {
        let given = text.to_string_lossy().into_owned();
        Error::InvalidValue { what, given, rule: "UTF-8" }.into()
    })
}

/// # Safety
/// As [`text`], for both; a null profile is the format's default.
pub(crate) unsafe fn profile(
    format: *const c_char,
    profile: *const c_char,
) -> Result<Profile, Failure> {
    // SAFETY: the caller's promise.
    let format: Format = unsafe { text("format", format)? }.parse()?;
    match profile.is_null() {
        true => Ok(Profile::default_for(format)),
        // SAFETY: the caller's promise.
        false => Ok(Profile::parse(format, unsafe { text("profile", profile)? })?),
    }
}

/// # Safety
/// `dims` is null or points to `rank` numbers.
pub(crate) unsafe fn shape(dims: *const u64, rank: u32) -> Result<Vec<usize>, Failure> {
    const MOST: u32 = 64;
    if rank > MOST {
        let (what, given) = ("rank", rank.to_string());
        return Err(Error::InvalidValue { what, given, rule: "at most 64 axes" }.into());
    }
    match (dims.is_null(), rank) {
        (_, 0) => Ok(Vec::new()),
        (true, _) => Err(null("shape")),
        // SAFETY: the caller's promise.
        (false, _) => Ok(unsafe { std::slice::from_raw_parts(dims, rank as usize) }
            .iter()
            .map(|axis| *axis as usize)
            .collect()),
    }
}

pub(crate) fn dtype(given: i32) -> Result<Dtype, Failure> {
    match given {
        0 => Ok(Dtype::F32),
        1 => Ok(Dtype::Bf16),
        2 => Ok(Dtype::F16),
        _ => Err(choice("dtype", given, "0 (f32), 1 (bf16) or 2 (f16)")),
    }
}

pub(crate) fn input<'a>(x: &Input, shape: &'a [usize]) -> Result<raw::Input<'a>, Failure> {
    if shape.iter().all(|axis| *axis > 0) {
        part("x.data", x.data)?;
    }
    let stride = |given: u64| (given != 0).then_some(given as usize);
    let batch_stride = if x.batch_stride == REPEAT { Some(0) } else { stride(x.batch_stride) };
    let (pointer, dtype, row_stride) = (x.data, dtype(x.dtype)?, stride(x.row_stride));
    Ok(raw::Input { pointer, dtype, shape, row_stride, batch_stride })
}

/// # Safety
/// `given` is null or points to a rounding whose name is null or a C string.
pub(crate) unsafe fn rounding(given: *const Rounding) -> Result<numerics::Rounding, Failure> {
    // SAFETY: the caller's promise.
    let Some(given) = (unsafe { given.as_ref() }) else { return Ok(numerics::Rounding::Nearest) };
    let bits = match given.bits {
        8 => DrawBits::Eight,
        16 => DrawBits::Sixteen,
        bits => return Err(choice("rounding.bits", bits as i32, "8 or 16")),
    };
    // SAFETY: the caller's promise.
    let name = unsafe { text("rounding.name", given.name)? };
    let draws = Stochastic::new(given.seed, name).with_bits(bits).with_stream(given.stream);
    let draws = draws.with_step(given.step).with_offset(given.row_offset, given.column_offset);
    Ok(numerics::Rounding::Stochastic(draws))
}
