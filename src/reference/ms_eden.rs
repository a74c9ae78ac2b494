//! MS-EDEN: groups of 128 rotated values, nearest codes, corrected scales.

use crate::error::Result;
use crate::format::{Element, Round};
use crate::numerics::{
    EDEN_BLOCK, EDEN_GROUP, EdenFactors, Stochastic, eden_amax, eden_correction,
};

/// Scales of a group.
const SCALES: usize = EDEN_GROUP / EDEN_BLOCK;

/// Everything about a call but its data; rows are whole groups.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EdenJob {
    pub factors: EdenFactors,
    pub draws: Stochastic,
    /// Groups of a row, at least one.
    pub row_groups: usize,
}

impl EdenJob {
    /// How the scales of the group at `index` (of all rows) round.
    pub(crate) fn rounds(&self, index: usize) -> Result<[Round; SCALES]> {
        let (row, group) = (index / self.row_groups, index % self.row_groups);
        let mut rounds = [Round::RNE; SCALES];
        for (i, round) in rounds.iter_mut().enumerate() {
            *round = self.draws.scale_round(row as u64, (group * SCALES + i) as u64)?;
        }
        Ok(rounds)
    }
}

/// Quantizes rotated values, whole groups from the one at `first` (of all rows) on: two codes a byte, the even
/// one low, and eight scales a group.
pub(crate) fn ms_eden(
    job: &EdenJob,
    first: usize,
    y: &[f32],
    codes: &mut [u8],
    scales: &mut [u8],
) -> Result<()> {
    let groups = y
        .as_chunks::<EDEN_GROUP>()
        .0
        .iter()
        .zip(codes.chunks_mut(EDEN_GROUP / 2))
        .zip(scales.chunks_mut(SCALES));
    for (i, ((y, codes), scales)) in groups.enumerate() {
        ms_eden_group(&job.factors, y, job.rounds(first + i)?, codes, scales);
    }
    Ok(())
}

/// One group, its codes packed.
pub(crate) fn ms_eden_group(
    factors: &EdenFactors,
    y: &[f32; EDEN_GROUP],
    rounds: [Round; SCALES],
    codes: &mut [u8],
    scales: &mut [u8],
) {
    let element = Element::E2M1;
    let amaxima = y.chunks(EDEN_BLOCK).map(eden_amax);
    let block_scales: Vec<f32> = amaxima.map(|amax| factors.block_scale(amax)).collect();
    let z: [f32; EDEN_GROUP] =
        core::array::from_fn(|i| y[i] / (block_scales[i / EDEN_BLOCK] * factors.decode));
    let code = |i: usize| match z[i].is_nan() || factors.nan {
        true => 0,
        false => {
            element.with_sign(y[i].is_sign_negative(), element.encode_magnitude(z[i], Round::RNE))
        }
    };
    let unpacked: [u8; EDEN_GROUP] = core::array::from_fn(code);
    let correction = eden_correction(&z, &unpacked.map(|code| element.decode(code)));
    for (pair, byte) in unpacked.chunks(2).zip(codes) {
        *byte = pair[0] | pair[1] << 4;
    }
    for ((scale, round), code) in block_scales.into_iter().zip(rounds).zip(scales) {
        let scale = if factors.nan { f32::NAN } else { scale };
        *code = factors.stored_scale(scale, correction, round);
    }
}
