//! Rotated values, a little at a time: rotated into a buffer that the first caches hold and taken from there,
//! so that no rotated copy of a tensor exists. Most plans have a kernel that does so by itself.

use super::amax::amax_of;
use super::encode::Input;
use super::pieces::piece;
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
pub(super) const BUFFERED: usize = 1 << 12;

/// max |y| of the rotated values y, NaN if any is; 0 of nothing.
pub(super) fn amax<T: Real>(cpu: Cpu, hadamard: Hadamard, nonfinite: NonFinite, x: &[T]) -> f32 {
    let (level, steps) = (cpu.chosen_level(), Steps::new(hadamard, false));
    let largest = AtomicU32::new(0);
    // The work cannot fail, and a maximum does not depend on the order.
    let _ = for_each(cpu, x.len(), x.chunks(piece(cpu, x.len())), |x| {
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
    let rotator = Rotator::new(cpu, hadamard, job);
    let work = |piece| rotator.piece(&mut rotator.buffer(), piece);
    match job.blocks {
        Blocks::Row => {
            let (k, piece, unit) = (rotator.row(x.len()), piece(cpu, x.len()), rotator.unit());
            for_each(cpu, x.len(), row_pieces(job, k, piece, unit, x, codes, scales)?, work)
        }
        Blocks::Tile => for_each(cpu, x.len(), bands(job, x, codes, scales)?, work),
    }
}

/// What each thread does with pieces of a tensor that is rotated first.
pub(super) struct Rotator<'a> {
    worker: Worker<'a>,
    level: Level,
    steps: Steps,
    job: &'a Job<'a>,
}

impl<'a> Rotator<'a> {
    pub(super) fn new(cpu: Cpu, hadamard: Hadamard, job: &'a Job<'a>) -> Self {
        let (worker, steps) = (Worker::new(cpu, job), Steps::new(hadamard, false));
        Self { worker, level: cpu.chosen_level(), steps, job }
    }

    /// Elements that parts of rows are multiples of: whole blocks, bytes and rotations, whose sizes are
    /// powers of two.
    pub(super) fn unit(&self) -> usize {
        let mut unit = self.worker.unit();
        while !unit.is_multiple_of(self.steps.size()) {
            unit *= 2;
        }
        unit
    }

    /// The length of rows of the job, `elements` in all.
    pub(super) fn row(&self, elements: usize) -> usize {
        self.worker.row(elements)
    }

    /// The same of parts of rows, k elements each.
    pub(super) fn row_of(&self, k: usize, elements: usize) -> usize {
        self.worker.row_of(k, elements)
    }

    pub(super) fn buffer(&self) -> Buffer<'_> {
        Buffer::new(self.level, &self.steps)
    }

    /// Quantizes a piece: rows in the kernel that rotates, or a little at a time; tiles at once.
    pub(super) fn piece<T: Real + Input>(
        &self,
        buffer: &mut Buffer<'_>,
        piece: Piece<'_, T>,
    ) -> Result<()> {
        if let Some(rotating) = self.worker.rotating() {
            return rotating.piece(&self.steps, piece);
        }
        let Piece { x, codes, scales, row, column, k } = piece;
        if self.job.blocks == Blocks::Tile {
            let x = buffer.rotated(x);
            return self.worker.piece(Piece { x, codes, scales, row, column, k });
        }
        for piece in row_pieces(self.job, k, BUFFERED, self.unit(), x, codes, scales)? {
            let (row, column) = (row + piece.row, column + piece.column);
            let Piece { x, codes, scales, k, .. } = piece;
            self.worker.piece(Piece { x: buffer.rotated(x), codes, scales, row, column, k })?;
        }
        Ok(())
    }
}

/// Rotated values.
pub(super) struct Buffer<'a> {
    level: Level,
    steps: &'a Steps,
    values: Vec<f32>,
}

impl<'a> Buffer<'a> {
    pub(super) fn new(level: Level, steps: &'a Steps) -> Self {
        Self { level, steps, values: Vec::new() }
    }

    /// Values of whole blocks, rotated.
    pub(super) fn rotated<T: Real>(&mut self, x: &[T]) -> &[f32] {
        if self.values.len() < x.len() {
            self.values.resize(x.len(), 0.0);
        }
        let values = &mut self.values[..x.len()];
        rotate_row(self.level, self.steps, T::slice(x), values);
        values
    }
}
