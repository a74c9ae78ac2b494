//! Who computes: each backend gives the same bytes.

use crate::error::Result;
use crate::numerics::NonFinite;
use crate::reference::Job;
use crate::{QuantizedTensor, Real, cpu, reference};

/// Who computes a verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Backend {
    /// The fast host path.
    #[default]
    Cpu,
    /// The specification, on one thread.
    Reference,
}

impl Backend {
    pub(crate) fn amax<T: Real>(self, nonfinite: NonFinite, x: &[T]) -> f32 {
        match self {
            Self::Cpu => cpu::amax(nonfinite, x),
            Self::Reference => reference::amax(nonfinite, x),
        }
    }

    /// Fills `codes` and `scales` with all rows of the job.
    pub(crate) fn quantize<T: Real>(
        self,
        job: &Job,
        x: &[T],
        codes: &mut [u8],
        scales: &mut [u8],
    ) -> Result<()> {
        match self {
            Self::Cpu => cpu::quantize(job, x, codes, scales),
            Self::Reference => reference::quantize(job, x, codes, scales),
        }
    }

    pub(crate) fn dequantize<T: Real, S: AsRef<[u8]> + Sync>(
        self,
        tensor: &QuantizedTensor<S>,
        values: &mut [T],
    ) {
        match self {
            Self::Cpu => cpu::dequantize(tensor, values),
            Self::Reference => reference::dequantize(tensor, values),
        }
    }
}
