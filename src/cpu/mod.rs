//! The host path: kernels over vectors, once for each [`Level`], on threads (feature `parallel`).
//!
//! A call is worked out into a plan; groups of 128 elements go through the kernels of its level, and blocks
//! that are not ordinary (NaN, Inf, scales at the end of their range) to the reference, as do the profiles
//! and formats that no plan knows.

mod draws;
mod encode;
mod environment;
mod level;
mod options;
mod plan;
mod quantize;
mod scale;
mod simd;
mod threads;

pub(crate) use environment::FloatEnvironment;
pub use level::Level;
pub use options::Cpu;

use crate::error::Result;
use crate::numerics::NonFinite;
use crate::real::Slice;
use crate::reference::{self, Job};
use crate::{QuantizedTensor, Real};

#[cfg(feature = "parallel")]
use {crate::numerics::max_magnitude, rayon::prelude::*};

/// Below this many elements the work is not worth a second thread.
#[cfg(feature = "parallel")]
const SERIAL: usize = 1 << 14;

pub(crate) fn amax<T: Real>(_cpu: Cpu, nonfinite: NonFinite, x: &[T]) -> f32 {
    #[cfg(feature = "parallel")]
    if x.len() > SERIAL {
        let parts = x.par_chunks(SERIAL).map(|part| reference::amax(nonfinite, part));
        // A maximum does not depend on the order.
        return parts.reduce(|| 0.0, max_magnitude);
    }
    reference::amax(nonfinite, x)
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
    _cpu: Cpu,
    tensor: &QuantizedTensor<S>,
    values: &mut [T],
) {
    #[cfg(feature = "parallel")]
    if values.len() > SERIAL {
        let k = tensor.extents().k;
        values
            .par_chunks_mut(k)
            .enumerate()
            .with_min_len((SERIAL / k).max(1))
            .for_each(|(row, values)| reference::dequantize_row(tensor, row, values));
        return;
    }
    reference::dequantize(tensor, values)
}
