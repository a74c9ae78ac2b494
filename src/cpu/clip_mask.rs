//! Which elements lie within the grid: bands of rows on threads, each as the reference has it.

use super::Cpu;
use super::threads::for_each;
use crate::Real;
use crate::reference::{self, Job};

/// Sets the bits of all rows of the job; `mask` is all 0.
pub(crate) fn clip_mask<T: Real>(cpu: Cpu, job: &Job, x: &[T], mask: &mut [u8]) {
    let bands = reference::mask_bands(job, x, mask);
    // The work cannot fail.
    let _ = for_each(cpu, x.len(), bands, |(x, mask)| {
        reference::clip_mask_band(job, x, mask);
        Ok(())
    });
}
