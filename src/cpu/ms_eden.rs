//! MS-EDEN: rotated a little at a time, then groups of 128 in plain loops, which the compiler makes vectors of at
//! each level.

use super::Cpu;
use super::pieces::PIECE;
use super::rotate::Steps;
use super::rotated::{BUFFERED, Buffer};
use super::simd::{Kernel, Simd, dispatch};
use super::threads::for_each;
use crate::Real;
use crate::error::Result;
use crate::format::Round;
use crate::numerics::{
    DrawBits, EDEN_BLOCK, EDEN_GROUP, EdenFactors, Hadamard, Stochastic, philox4x32_10,
};
use crate::reference::{EdenJob, ms_eden_group};

/// Scales of a group.
const SCALES: usize = EDEN_GROUP / EDEN_BLOCK;

/// Fills `codes` and `scales` with the rotated values of `x`, whole groups.
pub(super) fn quantize<T: Real>(
    cpu: Cpu,
    hadamard: Hadamard,
    job: &EdenJob,
    x: &[T],
    codes: &mut [u8],
    scales: &mut [u8],
) -> Result<()> {
    let (level, steps) = (cpu.chosen_level(), Steps::new(hadamard, false));
    let draws = Draws { key: job.draws.scale_key(), draws: job.draws };
    // Rows are whole groups, and so follow each other like one.
    let pieces = cut(PIECE, x, codes, scales);
    for_each(cpu, x.len(), pieces.enumerate(), |(i, (x, codes, scales))| {
        let mut buffer = Buffer::new(level, &steps);
        for (j, (x, codes, scales)) in cut(BUFFERED, x, codes, scales).enumerate() {
            let first = (i * PIECE + j * BUFFERED) / EDEN_GROUP;
            let y = buffer.rotated(x);
            dispatch(level, Groups { job, draws: &draws, first, y, codes, scales });
        }
        Ok(())
    })
}

type Part<'a, T> = (&'a [T], &'a mut [u8], &'a mut [u8]);

/// So many elements at a time, with their codes and scales.
fn cut<'a, T: Sync>(
    elements: usize,
    x: &'a [T],
    codes: &'a mut [u8],
    scales: &'a mut [u8],
) -> impl Iterator<Item = Part<'a, T>> + Send {
    let outputs = codes.chunks_mut(elements / 2).zip(scales.chunks_mut(elements / EDEN_BLOCK));
    x.chunks(elements).zip(outputs).map(|(x, (codes, scales))| (x, codes, scales))
}

/// The draws of scales, their key worked out once.
struct Draws {
    key: [u32; 2],
    draws: Stochastic,
}

impl Draws {
    /// How the scales of a group round: its draws are those of one call of Philox. The verb has seen to it that
    /// coordinates fit.
    fn rounds(&self, job: &EdenJob, index: usize) -> [Round; SCALES] {
        let (row, group) = (index / job.row_groups, index % job.row_groups);
        let row = row as u64 + self.draws.row_offset();
        let group = group as u64 + self.draws.column_offset() / EDEN_GROUP as u64;
        let counter = [group as u32, row as u32, self.draws.stream(), self.draws.step()];
        let words = philox4x32_10(counter, self.key);
        core::array::from_fn(|i| {
            let draw = words[i / 2] >> (16 * (i % 2)) & 0xffff;
            self.draws.rule().round(draw, DrawBits::Sixteen)
        })
    }
}

/// Groups that follow each other, rotated.
struct Groups<'a> {
    job: &'a EdenJob,
    draws: &'a Draws,
    /// The index of the first.
    first: usize,
    y: &'a [f32],
    codes: &'a mut [u8],
    scales: &'a mut [u8],
}

impl Kernel for Groups<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let outputs = self.codes.chunks_mut(EDEN_GROUP / 2).zip(self.scales.chunks_mut(SCALES));
        let groups = self.y.as_chunks::<EDEN_GROUP>().0.iter().zip(outputs);
        for (i, (y, (codes, scales))) in groups.enumerate() {
            let rounds = self.draws.rounds(self.job, self.first + i);
            if !ordinary_group(&self.job.factors, y, &rounds, codes, scales) {
                ms_eden_group(&self.job.factors, y, rounds, codes, scales);
            }
        }
    }
}

/// Quantizes a group, or says that its values or divisors are not for these steps.
#[inline(always)]
fn ordinary_group(
    factors: &EdenFactors,
    y: &[f32; EDEN_GROUP],
    rounds: &[Round; SCALES],
    codes: &mut [u8],
    scales: &mut [u8],
) -> bool {
    const MAGNITUDE: u32 = 0x7fff_ffff;
    let mut amaxima = [0u32; SCALES];
    for i in 0..SCALES {
        for j in 0..EDEN_BLOCK {
            amaxima[i] = amaxima[i].max(y[EDEN_BLOCK * i + j].to_bits() & MAGNITUDE);
        }
    }
    let block_scales = amaxima.map(|amax| factors.block_scale(f32::from_bits(amax)));
    let divisors = block_scales.map(|scale| scale * factors.decode);
    let finite = amaxima.iter().all(|amax| *amax < f32::INFINITY.to_bits());
    if !finite || factors.nan || divisors.contains(&0.0) {
        return false;
    }
    let mut unpacked = [0u8; EDEN_GROUP];
    let (mut squares, mut products) = ([0.0f32; EDEN_GROUP], [0.0f32; EDEN_GROUP]);
    for i in 0..SCALES {
        for j in EDEN_BLOCK * i..EDEN_BLOCK * (i + 1) {
            let z = f32::from_bits((y[j] / divisors[i]).to_bits() & MAGNITUDE);
            // The least of three rounded lines on 2^23, whose ulp is 1: that is the code.
            const ONE: f32 = 8_388_608.0;
            let a = z.min(7.0);
            let (steep, even, flat) = (a * 2.0 + ONE, a + (ONE + 2.0), a * 0.5 + (ONE + 4.0));
            let line = steep.min(even).min(flat.min(ONE + 7.0));
            let code = line - ONE;
            let q = (code * 0.5).max(code - 2.0).max(code * 2.0 - 8.0);
            unpacked[j] = (line.to_bits() & 7 | y[j].to_bits() >> 28 & 8) as u8;
            (squares[j], products[j]) = (z * z, z * q);
        }
    }
    for (i, byte) in codes.iter_mut().enumerate() {
        *byte = unpacked[2 * i] | unpacked[2 * i + 1] << 4;
    }
    let correction = folded(squares) / folded(products);
    let correction = if correction.is_finite() { correction } else { 1.0 };
    for i in 0..SCALES {
        scales[i] = factors.stored_scale(block_scales[i], correction, rounds[i]);
    }
    true
}

/// Folded in halves, as the reference folds.
#[inline(always)]
fn folded(mut terms: [f32; EDEN_GROUP]) -> f32 {
    let mut half = EDEN_GROUP / 2;
    while half > 0 {
        for i in 0..half {
            terms[i] += terms[i + half];
        }
        half /= 2;
    }
    terms[0]
}
