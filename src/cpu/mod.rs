//! The host path: the reference's bands and rows on threads (feature `parallel`).

mod environment;
mod level;
mod options;

pub(crate) use environment::FloatEnvironment;
pub use level::Level;
pub use options::Cpu;

use crate::error::Result;
use crate::numerics::NonFinite;
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
    _cpu: Cpu,
    job: &Job,
    x: &[T],
    codes: &mut [u8],
    scales: &mut [u8],
) -> Result<()> {
    #[cfg(feature = "parallel")]
    if x.len() > SERIAL {
        let (rows, k, height) = (job.extents.rows, job.extents.k, job.band_rows());
        let (code_bytes, scale_bytes) = (job.code_bytes()?, job.scale_bytes());
        let bands_at_once = (SERIAL / (height * k)).max(1);
        let matrices = x
            .par_chunks(rows * k)
            .zip(codes.par_chunks_mut(rows * code_bytes))
            .zip(scales.par_chunks_mut(rows * scale_bytes));
        return matrices.enumerate().try_for_each(|(matrix, ((x, codes), scales))| {
            let bands = x
                .par_chunks(height * k)
                .zip(codes.par_chunks_mut(height * code_bytes))
                .zip(scales.par_chunks_mut(height * scale_bytes));
            bands.enumerate().with_min_len(bands_at_once).try_for_each(
                |(band, ((x, codes), scales))| {
                    let first = matrix * rows + band * height;
                    reference::quantize_band(job, first, x, codes, scales)
                },
            )
        });
    }
    reference::quantize(job, x, codes, scales)
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
