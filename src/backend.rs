//! Who computes: each backend gives the same bytes.

use crate::cpu::{self, Cpu, FloatEnvironment};
use crate::error::Result;
use crate::numerics::{Hadamard, NonFinite};
use crate::reference::{EdenJob, Job, MultiplyJob, Output, Pass, RequantizeJob, RotateJob};
use crate::shape::Extents;
use crate::{QuantizedTensor, Real, reference};

/// Who computes a verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// The fast host path.
    Cpu(Cpu),
    /// The specification, on one thread.
    Reference,
}

/// The fast host path with all it finds.
impl Default for Backend {
    fn default() -> Self {
        Self::Cpu(Cpu::new())
    }
}

impl From<Cpu> for Backend {
    fn from(cpu: Cpu) -> Self {
        Self::Cpu(cpu)
    }
}

impl Backend {
    pub(crate) fn amax<T: Real>(self, nonfinite: NonFinite, x: &[T]) -> f32 {
        let _ieee = FloatEnvironment::ieee();
        match self {
            Self::Cpu(cpu) => cpu::amax(cpu, nonfinite, x),
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
        let _ieee = FloatEnvironment::ieee();
        match self {
            Self::Cpu(cpu) => cpu::quantize(cpu, job, x, codes, scales),
            Self::Reference => reference::quantize(job, x, codes, scales),
        }
    }

    /// amax of the rotated values.
    pub(crate) fn amax_rotated<T: Real>(
        self,
        hadamard: Hadamard,
        nonfinite: NonFinite,
        x: &[T],
        extents: Extents,
    ) -> f32 {
        let _ieee = FloatEnvironment::ieee();
        match self {
            Self::Cpu(cpu) => cpu::amax_rotated(cpu, hadamard, nonfinite, x),
            Self::Reference => {
                reference::amax(nonfinite, &reference::rotated(hadamard, extents, x))
            }
        }
    }

    /// Fills `codes` and `scales` with all rows of the job, made of the rotated values.
    pub(crate) fn quantize_rotated<T: Real>(
        self,
        hadamard: Hadamard,
        job: &Job,
        x: &[T],
        codes: &mut [u8],
        scales: &mut [u8],
    ) -> Result<()> {
        let _ieee = FloatEnvironment::ieee();
        match self {
            Self::Cpu(cpu) => cpu::quantize_rotated(cpu, hadamard, job, x, codes, scales),
            Self::Reference => {
                let rotated = reference::rotated(hadamard, job.extents, x);
                reference::quantize(job, &rotated, codes, scales)
            }
        }
    }

    /// Fills `codes` and `scales` with the rotated values of `x` by MS-EDEN.
    pub(crate) fn ms_eden<T: Real>(
        self,
        hadamard: Hadamard,
        job: &EdenJob,
        x: &[T],
        extents: Extents,
        codes: &mut [u8],
        scales: &mut [u8],
    ) -> Result<()> {
        let _ieee = FloatEnvironment::ieee();
        match self {
            Self::Cpu(cpu) => cpu::ms_eden(cpu, hadamard, job, x, codes, scales),
            Self::Reference => {
                let rotated = reference::rotated(hadamard, extents, x);
                reference::ms_eden(job, 0, &rotated, codes, scales)
            }
        }
    }

    /// amax of the columns' rotated values.
    pub(crate) fn amax_of_columns<T: Real>(
        self,
        hadamard: Hadamard,
        nonfinite: NonFinite,
        x: &[T],
        extents: Extents,
    ) -> f32 {
        let _ieee = FloatEnvironment::ieee();
        match self {
            Self::Cpu(cpu) => cpu::amax_of_columns(cpu, hadamard, nonfinite, x, extents),
            Self::Reference => reference::amax_of_columns(hadamard, nonfinite, x, extents),
        }
    }

    /// Fills the outputs of two passes: over `x`, and over each of its matrices transposed.
    pub(crate) fn quantize_both<T: Real>(
        self,
        passes: [&Pass; 2],
        x: &[T],
        outputs: [Output<'_>; 2],
    ) -> Result<()> {
        let _ieee = FloatEnvironment::ieee();
        match self {
            Self::Cpu(cpu) => cpu::quantize_both(cpu, passes, x, outputs),
            Self::Reference => reference::quantize_both(passes, x, outputs),
        }
    }

    /// Sets the bits of elements within the grid; `mask` is all 0.
    pub(crate) fn clip_mask<T: Real>(self, job: &Job, x: &[T], mask: &mut [u8]) {
        let _ieee = FloatEnvironment::ieee();
        match self {
            Self::Cpu(cpu) => cpu::clip_mask(cpu, job, x, mask),
            Self::Reference => reference::clip_mask(job, x, mask),
        }
    }

    pub(crate) fn dequantize<T: Real, S: AsRef<[u8]> + Sync>(
        self,
        tensor: &QuantizedTensor<S>,
        values: &mut [T],
    ) {
        let _ieee = FloatEnvironment::ieee();
        match self {
            Self::Cpu(cpu) => cpu::dequantize(cpu, tensor, values),
            Self::Reference => reference::dequantize(tensor, values),
        }
    }

    /// Requantizes codes and scales by a shift.
    pub(crate) fn requantize(
        self,
        job: &RequantizeJob,
        from: [&[u8]; 2],
        codes: &mut [u8],
        scales: &mut [u8],
    ) -> Result<()> {
        match self {
            Self::Cpu(cpu) => cpu::requantize(cpu, job, from, codes, scales),
            Self::Reference => reference::requantize(job, from[0], from[1], codes, scales),
        }
    }

    /// Rotates `x` into `values`, which has its length.
    pub(crate) fn rotate<T: Real, U: Real>(self, job: &RotateJob, x: &[T], values: &mut [U]) {
        let _ieee = FloatEnvironment::ieee();
        match self {
            Self::Cpu(cpu) => cpu::rotate(cpu, job, x, values),
            Self::Reference => reference::rotate(job, x, values),
        }
    }

    pub(crate) fn rotate_in_place<T: Real>(self, job: &RotateJob, x: &mut [T]) {
        let _ieee = FloatEnvironment::ieee();
        match self {
            Self::Cpu(cpu) => cpu::rotate_in_place(cpu, job, x),
            Self::Reference => reference::rotate_in_place(job, x),
        }
    }

    /// Multiplies `x` into `values`, which has its length: the reference for both.
    pub(crate) fn multiply<T: Real, U: Real>(self, job: &MultiplyJob, x: &[T], values: &mut [U]) {
        let _ieee = FloatEnvironment::ieee();
        reference::multiply(job, x, values);
    }

    pub(crate) fn multiply_in_place<T: Real>(self, job: &MultiplyJob, x: &mut [T]) {
        let _ieee = FloatEnvironment::ieee();
        reference::multiply_in_place(job, x);
    }
}
