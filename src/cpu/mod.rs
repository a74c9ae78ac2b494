//! The host path: kernels over vectors, once for each [`Level`], on threads (feature `parallel`).
//!
//! A call is worked out into a plan ([`plan`] for quantize, one of its own in
//! [`dequantize`](mod@dequantize)), cut into [`pieces`] for [`threads`], and each piece goes through a
//! kernel of its level in groups of 128 elements. A group with a block that is not ordinary (NaN, Inf, a
//! scale at the end of its range) goes to the reference, and so do whole tensors of profiles and formats
//! that no plan knows: the same bytes, slowly. [`rotate`](mod@rotate) has kernels of its own; what is rotated
//! or transposed before it is quantized ([`rotated`], [`quantize_both`](mod@quantize_both)) goes through small
//! buffers to the same kernels, or, of the columns, to that of [`columns`].
// Loops over vectors index several arrays of them.
#![allow(clippy::needless_range_loop)]

mod amax;
mod clip_mask;
mod columns;
mod dequantize;
mod draws;
mod encode;
mod environment;
mod level;
mod ms_eden;
mod options;
mod output;
mod pieces;
mod plan;
mod quantize;
mod quantize_both;
mod requantize;
mod rotate;
mod rotated;
mod scale;
mod search;
mod simd;
mod threads;
mod transpose;

pub(crate) use clip_mask::clip_mask;
pub(crate) use environment::FloatEnvironment;
pub use level::Level;
pub use options::Cpu;

use crate::error::Result;
use crate::numerics::{Hadamard, NonFinite};
use crate::real::{Slice, SliceMut};
use crate::reference::{EdenJob, Job, Output, Pass, RequantizeJob, RotateJob};
use crate::shape::Extents;
use crate::{QuantizedTensor, Real};

// The functions of slices are compiled here, once, and not wherever a generic one is called.

pub(crate) fn amax<T: Real>(cpu: Cpu, nonfinite: NonFinite, x: &[T]) -> f32 {
    amax_slice(cpu, nonfinite, T::slice(x))
}

fn amax_slice(cpu: Cpu, nonfinite: NonFinite, x: Slice<'_>) -> f32 {
    match x {
        Slice::F32(x) => amax::amax(cpu, nonfinite, x),
        Slice::Bf16(x) => amax::amax(cpu, nonfinite, x),
        Slice::F16(x) => amax::amax(cpu, nonfinite, x),
    }
}

pub(crate) fn quantize<T: Real>(
    cpu: Cpu,
    job: &Job,
    x: &[T],
    codes: &mut [u8],
    scales: &mut [u8],
) -> Result<()> {
    quantize_slice(cpu, job, T::slice(x), codes, scales)
}

fn quantize_slice(
    cpu: Cpu,
    job: &Job,
    x: Slice<'_>,
    codes: &mut [u8],
    scales: &mut [u8],
) -> Result<()> {
    match x {
        Slice::F32(x) => quantize::quantize(cpu, job, x, codes, scales),
        Slice::Bf16(x) => quantize::quantize(cpu, job, x, codes, scales),
        Slice::F16(x) => quantize::quantize(cpu, job, x, codes, scales),
    }
}

pub(crate) fn dequantize<T: Real, S: AsRef<[u8]> + Sync>(
    cpu: Cpu,
    tensor: &QuantizedTensor<S>,
    values: &mut [T],
) {
    dequantize_slice(cpu, &tensor.view(), T::slice_mut(values));
}

fn dequantize_slice(cpu: Cpu, tensor: &QuantizedTensor<&[u8]>, values: SliceMut<'_>) {
    match values {
        SliceMut::F32(values) => dequantize::dequantize(cpu, tensor, values),
        SliceMut::Bf16(values) => dequantize::dequantize(cpu, tensor, values),
        SliceMut::F16(values) => dequantize::dequantize(cpu, tensor, values),
    }
}

pub(crate) fn rotate<T: Real, U: Real>(cpu: Cpu, job: &RotateJob, x: &[T], values: &mut [U]) {
    rotate_slice(cpu, job, T::slice(x), U::slice_mut(values));
}

fn rotate_slice(cpu: Cpu, job: &RotateJob, x: Slice<'_>, values: SliceMut<'_>) {
    match values {
        SliceMut::F32(values) => rotate::rotate(cpu, job, x, values),
        SliceMut::Bf16(values) => rotate::rotate(cpu, job, x, values),
        SliceMut::F16(values) => rotate::rotate(cpu, job, x, values),
    }
}

pub(crate) fn rotate_in_place<T: Real>(cpu: Cpu, job: &RotateJob, x: &mut [T]) {
    rotate_in_place_slice(cpu, job, T::slice_mut(x));
}

fn rotate_in_place_slice(cpu: Cpu, job: &RotateJob, x: SliceMut<'_>) {
    match x {
        SliceMut::F32(x) => rotate::rotate_in_place(cpu, job, x),
        SliceMut::Bf16(x) => rotate::rotate_in_place(cpu, job, x),
        SliceMut::F16(x) => rotate::rotate_in_place(cpu, job, x),
    }
}

pub(crate) fn amax_rotated<T: Real>(
    cpu: Cpu,
    hadamard: Hadamard,
    nonfinite: NonFinite,
    x: &[T],
) -> f32 {
    amax_rotated_slice(cpu, hadamard, nonfinite, T::slice(x))
}

fn amax_rotated_slice(cpu: Cpu, hadamard: Hadamard, nonfinite: NonFinite, x: Slice<'_>) -> f32 {
    match x {
        Slice::F32(x) => rotated::amax(cpu, hadamard, nonfinite, x),
        Slice::Bf16(x) => rotated::amax(cpu, hadamard, nonfinite, x),
        Slice::F16(x) => rotated::amax(cpu, hadamard, nonfinite, x),
    }
}

pub(crate) fn quantize_rotated<T: Real>(
    cpu: Cpu,
    hadamard: Hadamard,
    job: &Job,
    x: &[T],
    codes: &mut [u8],
    scales: &mut [u8],
) -> Result<()> {
    quantize_rotated_slice(cpu, hadamard, job, T::slice(x), codes, scales)
}

fn quantize_rotated_slice(
    cpu: Cpu,
    hadamard: Hadamard,
    job: &Job,
    x: Slice<'_>,
    codes: &mut [u8],
    scales: &mut [u8],
) -> Result<()> {
    match x {
        Slice::F32(x) => rotated::quantize(cpu, hadamard, job, x, codes, scales),
        Slice::Bf16(x) => rotated::quantize(cpu, hadamard, job, x, codes, scales),
        Slice::F16(x) => rotated::quantize(cpu, hadamard, job, x, codes, scales),
    }
}

pub(crate) fn ms_eden<T: Real>(
    cpu: Cpu,
    hadamard: Hadamard,
    job: &EdenJob,
    x: &[T],
    codes: &mut [u8],
    scales: &mut [u8],
) -> Result<()> {
    ms_eden_slice(cpu, hadamard, job, T::slice(x), codes, scales)
}

fn ms_eden_slice(
    cpu: Cpu,
    hadamard: Hadamard,
    job: &EdenJob,
    x: Slice<'_>,
    codes: &mut [u8],
    scales: &mut [u8],
) -> Result<()> {
    match x {
        Slice::F32(x) => ms_eden::quantize(cpu, hadamard, job, x, codes, scales),
        Slice::Bf16(x) => ms_eden::quantize(cpu, hadamard, job, x, codes, scales),
        Slice::F16(x) => ms_eden::quantize(cpu, hadamard, job, x, codes, scales),
    }
}

pub(crate) fn amax_of_columns<T: Real>(
    cpu: Cpu,
    hadamard: Hadamard,
    nonfinite: NonFinite,
    x: &[T],
    extents: Extents,
) -> f32 {
    amax_of_columns_slice(cpu, hadamard, nonfinite, T::slice(x), extents)
}

fn amax_of_columns_slice(
    cpu: Cpu,
    hadamard: Hadamard,
    nonfinite: NonFinite,
    x: Slice<'_>,
    extents: Extents,
) -> f32 {
    match x {
        Slice::F32(x) => quantize_both::amax_of_columns(cpu, hadamard, nonfinite, x, extents),
        Slice::Bf16(x) => quantize_both::amax_of_columns(cpu, hadamard, nonfinite, x, extents),
        Slice::F16(x) => quantize_both::amax_of_columns(cpu, hadamard, nonfinite, x, extents),
    }
}

pub(crate) fn quantize_both<T: Real>(
    cpu: Cpu,
    passes: [&Pass; 2],
    x: &[T],
    outputs: [Output<'_>; 2],
) -> Result<()> {
    quantize_both_slice(cpu, passes, T::slice(x), outputs)
}

fn quantize_both_slice(
    cpu: Cpu,
    passes: [&Pass; 2],
    x: Slice<'_>,
    outputs: [Output<'_>; 2],
) -> Result<()> {
    match x {
        Slice::F32(x) => quantize_both::quantize(cpu, passes, x, outputs),
        Slice::Bf16(x) => quantize_both::quantize(cpu, passes, x, outputs),
        Slice::F16(x) => quantize_both::quantize(cpu, passes, x, outputs),
    }
}

pub(crate) fn requantize(
    cpu: Cpu,
    job: &RequantizeJob,
    from: [&[u8]; 2],
    codes: &mut [u8],
    scales: &mut [u8],
) -> Result<()> {
    requantize::requantize(cpu, job, from, codes, scales)
}
