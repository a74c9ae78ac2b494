//! Rotated values, a little at a time: rotated into a buffer that the first caches hold and taken from there,
//! so that no rotated copy of a tensor exists. Most plans have a kernel that does so by itself.

use super::amax::amax_of;
use super::encode::Input;
use super::pieces::PIECE;
use super::quantize::{Piece, Worker, bands, row_pieces};
use super::rotate::{Steps, rotate_row};
use super::threads::for_each;
use super::{Cpu, Level};
use crate::error::Result;
use crate::format::canonical;
use crate::numerics::{Hadamard, NonFinite};
use crate::reference::Job;
use crate::{Blocks, Real};
use core::sync::atomic::{AtomicU32, Ordering};

/// Elements that are rotated before they are used: whole blocks of any rotation.
const BUFFERED: usize = 1 << 12;

/// max |y| of the rotated values y, NaN if any is; 0 of nothing.
pub(super) fn amax<T: Real>(cpu: Cpu, hadamard: Hadamard, nonfinite: NonFinite, x: &[T]) -> f32 {
    let (level, steps) = (cpu.chosen_level(), Steps::new(hadamard, false));
    let largest = AtomicU32::new(0);
    // The work cannot fail, and a maximum does not depend on the order.
    let _ = for_each(cpu, x.len(), x.chunks(PIECE), |x| {
        let mut buffer = Buffer::new(level, &steps);
        for x in x.chunks(BUFFERED) {
            let amax = amax_of(level, nonfinite, buffer.rotated(x));
            // Bits of magnitudes are ordered as integers, NaN above Inf.
            largest.fetch_max(amax.to_bits(), Ordering::Relaxed);
        }
        Ok(())
    });
    canonical(f32::from_bits(largest.into_inner()))
}

/// Fills `codes` and `scales` with all rows of the job, made of the rotated values.
pub(super) fn quantize<T: Real + Input>(
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
    let (worker, steps) = (Worker::new(cpu, job), Steps::new(hadamard, false));
    let buffer = || Buffer::new(cpu.chosen_level(), &steps);
    if job.blocks == Blocks::Tile {
        return for_each(cpu, x.len(), bands(job, x, codes, scales)?, |piece| {
            let mut buffer = buffer();
            let Piece { x, codes, scales, row, column, k } = piece;
            worker.piece(Piece { x: buffer.rotated(x), codes, scales, row, column, k })
        });
    }
    // Parts of rows are whole blocks, bytes and rotations, whose sizes are powers of two.
    let mut unit = worker.unit();
    while !unit.is_multiple_of(hadamard.size()) {
        unit *= 2;
    }
    let k = worker.row(x.len());
    let pieces = row_pieces(job, k, PIECE, unit, x, codes, scales)?;
    if let Some(rotating) = worker.rotating() {
        return for_each(cpu, x.len(), pieces, |piece| rotating.piece(&steps, piece));
    }
    for_each(cpu, x.len(), pieces, |piece| {
        let mut buffer = buffer();
        let (row, column) = (piece.row, piece.column);
        let Piece { x, codes, scales, k, .. } = piece;
        for piece in row_pieces(job, k, BUFFERED, unit, x, codes, scales)? {
            let Piece { x, codes, scales, k, .. } = piece;
            let (row, column) = (row + piece.row, column + piece.column);
            worker.piece(Piece { x: buffer.rotated(x), codes, scales, row, column, k })?;
        }
        Ok(())
    })
}

/// Rotated values.
struct Buffer<'a> {
    level: Level,
    steps: &'a Steps,
    values: Vec<f32>,
}

impl<'a> Buffer<'a> {
    fn new(level: Level, steps: &'a Steps) -> Self {
        Self { level, steps, values: Vec::new() }
    }

    /// Values of whole blocks, rotated.
    fn rotated<T: Real>(&mut self, x: &[T]) -> &[f32] {
        if self.values.len() < x.len() {
            self.values.resize(x.len(), 0.0);
        }
        let values = &mut self.values[..x.len()];
        rotate_row(self.level, self.steps, T::slice(x), values);
        values
    }
}
