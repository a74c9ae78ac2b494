//! Rotate: as the reference has it, in the caller's thread.

use super::Cpu;
use crate::reference::RotateJob;
use crate::{Real, reference};

/// Rotates `x` into `values`, which has its length.
pub(super) fn rotate<T: Real, U: Real>(_cpu: Cpu, job: &RotateJob, x: &[T], values: &mut [U]) {
    reference::rotate(job, x, values);
}

pub(super) fn rotate_in_place<T: Real>(_cpu: Cpu, job: &RotateJob, x: &mut [T]) {
    reference::rotate_in_place(job, x);
}
