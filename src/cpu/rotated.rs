//! Rotated values, piece by piece: each is rotated into a buffer and then taken from there, so that no
//! rotated copy of a tensor exists.

use super::quantize::{self as unrotated, Piece, bands, row_pieces};
use super::rotate::rotate;
use super::threads::for_each;
use super::{Cpu, amax as amax_of};
use crate::error::Result;
use crate::numerics::{Hadamard, NonFinite, Rounding};
use crate::reference::{Job, RotateJob};
use crate::shape::Extents;
use crate::{Blocks, Real};
use core::num::NonZeroUsize;
use core::sync::atomic::{AtomicU32, Ordering};

/// Elements that a thread takes at a time: whole blocks of any rotation.
const PIECE: usize = 1 << 17;

/// max |y| of the rotated values y, NaN if any is; 0 of nothing.
pub(super) fn amax<T: Real>(cpu: Cpu, hadamard: Hadamard, nonfinite: NonFinite, x: &[T]) -> f32 {
    let largest = AtomicU32::new(0);
    // The work cannot fail, and a maximum does not depend on the order.
    let _ = for_each(cpu, x.len(), x.chunks(PIECE), |x| {
        let one = cpu.threads(NonZeroUsize::MIN);
        let amax = amax_of::amax(one, nonfinite, &rotated(one, hadamard, x.len(), x));
        // Bits of magnitudes are ordered as integers, the canonical NaN above Inf.
        largest.fetch_max(amax.to_bits(), Ordering::Relaxed);
        Ok(())
    });
    f32::from_bits(largest.into_inner())
}

/// Fills `codes` and `scales` with all rows of the job, made of the rotated values.
pub(super) fn quantize<T: Real>(
    cpu: Cpu,
    hadamard: Hadamard,
    job: &Job,
    x: &[T],
    codes: &mut [u8],
    scales: &mut [u8],
) -> Result<()> {
    if x.is_empty() {
        return Ok(());
    }
    let work = |piece| quantize_piece(cpu, hadamard, job, piece);
    match job.blocks {
        Blocks::Row => {
            // Parts of rows are whole blocks, bytes and rotations, whose sizes are powers of two.
            let mut unit = 8 * job.profile.format().block();
            while !unit.is_multiple_of(hadamard.size()) {
                unit *= 2;
            }
            for_each(cpu, x.len(), row_pieces(job, job.extents.k, unit, x, codes, scales)?, work)
        }
        Blocks::Tile => for_each(cpu, x.len(), bands(job, x, codes, scales)?, work),
    }
}

/// A piece as a tensor of its own, whose draws are those of its place.
fn quantize_piece<T: Real>(
    cpu: Cpu,
    hadamard: Hadamard,
    job: &Job,
    piece: Piece<'_, T>,
) -> Result<()> {
    let Piece { x, codes, scales, row, column, k } = piece;
    let one = cpu.threads(NonZeroUsize::MIN);
    let rounding =
        match job.rounding {
            Rounding::Nearest => Rounding::Nearest,
            Rounding::Stochastic(draws) => Rounding::Stochastic(draws.with_offset(
                draws.row_offset() + row as u64,
                draws.column_offset() + column as u64,
            )),
        };
    let extents = Extents { batches: 1, rows: x.len() / k, k };
    let job = Job { rounding, extents, ..*job };
    unrotated::quantize(one, &job, &rotated(one, hadamard, k, x), codes, scales)
}

/// Rows of k elements, rotated.
fn rotated<T: Real>(cpu: Cpu, hadamard: Hadamard, k: usize, x: &[T]) -> Vec<f32> {
    let extents = Extents { batches: 1, rows: x.len().checked_div(k).unwrap_or(0), k };
    let mut values = f32::zeros(x.len());
    rotate(cpu, &RotateJob::forward(hadamard, extents), x, &mut values);
    values
}
