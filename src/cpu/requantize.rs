//! Requantize by a shift: all codes of a piece in vectors that the compiler makes, then the few blocks whose
//! scales stop at an end of their range.

use super::pieces::{PIECE, Sizes, is_whole};
use super::simd::{Kernel, Simd, dispatch};
use super::threads::for_each;
use super::{Cpu, Level};
use crate::error::Result;
use crate::reference::{self, RequantizeJob, Shift};
use crate::shape::Extents;

/// Requantizes rows of codes and of scales.
pub(super) fn requantize(
    cpu: Cpu,
    job: &RequantizeJob,
    [codes, scales]: [&[u8]; 2],
    to_codes: &mut [u8],
    to_scales: &mut [u8],
) -> Result<()> {
    if codes.is_empty() {
        return Ok(());
    }
    // Rows of whole blocks and bytes follow each other like one.
    let (k, unit) = (job.extents.k, 2 * job.from.block());
    let (k, rows) = match is_whole(job.from, k) && is_whole(job.to, k) {
        true => ((PIECE / unit).max(1) * unit, 1),
        false => (k, (PIECE / k).max(1)),
    };
    let (from, to) =
        (Sizes::of_row(job.from, k)?.times(rows), Sizes::of_row(job.to, k)?.times(rows));
    let outputs = to_codes.chunks_mut(to.codes).zip(to_scales.chunks_mut(to.scales));
    let pieces = codes.chunks(from.codes).zip(scales.chunks(from.scales)).zip(outputs);
    let elements = job.extents.elements();
    for_each(cpu, elements, pieces, |((codes, scales), (to_codes, to_scales))| {
        let k = if rows == 1 { k.min(scales.len() * job.from.block()) } else { k };
        let job = RequantizeJob { extents: Extents { k, ..job.extents }, ..*job };
        piece(cpu.chosen_level(), &job, [codes, scales], to_codes, to_scales)
    })
}

fn piece(
    level: Level,
    job: &RequantizeJob,
    [codes, scales]: [&[u8]; 2],
    to_codes: &mut [u8],
    to_scales: &mut [u8],
) -> Result<()> {
    let shift = job.shift;
    let common = |scale: &u8| shift.of_block(*scale).is_some_and(|(_, bits)| bits == shift.bits);
    // Codes of four bits are two a byte, and an odd row has half a byte that is none's.
    let fits = job.from.element().bits() != 4
        && (job.to.element().bits() != 4 || job.extents.k.is_multiple_of(2));
    if !fits || !scales.iter().all(common) {
        return reference::requantize(job, codes, scales, to_codes, to_scales);
    }
    for (to, scale) in to_scales.iter_mut().zip(scales) {
        *to = scale.wrapping_add(shift.exponent as u8);
    }
    match job.to.element().bits() {
        4 => dispatch(level, Codes::<true> { shift, codes, to: to_codes }),
        _ => dispatch(level, Codes::<false> { shift, codes, to: to_codes }),
    }
    Ok(())
}

/// Codes that all lose as many bits; `PAIRS` are two a byte.
struct Codes<'a, const PAIRS: bool> {
    shift: Shift,
    codes: &'a [u8],
    to: &'a mut [u8],
}

impl<const PAIRS: bool> Kernel for Codes<'_, PAIRS> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { shift, codes, to } = self;
        let (unused, down) = (16 - u32::from(shift.from.bits()), shift.bits as u32);
        let (most, half) = (i16::from(shift.to.max_code()), (1 << (down - 1)) - 1);
        let mask = 0xff >> (8 - shift.to.bits());
        let code = |code: u8| {
            let q = ((u16::from(code) << unused) as i16) >> unused;
            let even = (q >> down) & 1;
            ((q + half + even) >> down).clamp(-most, most) as u16 & mask
        };
        if PAIRS {
            for (pair, to) in codes.as_chunks::<2>().0.iter().zip(to) {
                *to = (code(pair[0]) | code(pair[1]) << 4) as u8;
            }
        } else {
            codes.iter().zip(to).for_each(|(from, to)| *to = code(*from) as u8);
        }
    }
}
