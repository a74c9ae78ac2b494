//! Requantize integers by a rounding shift: codes to codes, without their values.

use crate::error::Result;
use crate::format::{Element, Format, Integer, Scale};
use crate::layout::{Packing, Raw};
use crate::shape::Extents;

/// Everything about a call but its data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RequantizeJob {
    pub from: Format,
    pub to: Format,
    pub extents: Extents,
    pub shift: Shift,
}

/// From integers of more bits to such of fewer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shift {
    pub from: Integer,
    pub to: Integer,
    /// Bits that codes lose.
    pub bits: i32,
    /// What a scale's exponent gains, as elements have other bits behind the point.
    pub exponent: i32,
}

impl RequantizeJob {
    /// `None` but for integers of more bits to integers of fewer, in blocks of one length, both with E8M0 scales
    /// and no more.
    pub(crate) fn new(from: Format, to: Format, extents: Extents) -> Option<Self> {
        let (Element::Int(a), Element::Int(b)) = (from.element(), to.element()) else {
            return None;
        };
        let plain = |format: Format| format.scale() == Scale::E8M0 && !format.has_tensor_scale();
        let suits = plain(from) && plain(to) && from.block() == to.block() && a.bits() > b.bits();
        let bits = i32::from(a.bits()) - i32::from(b.bits());
        let exponent = bits - i32::from(a.fraction_bits()) + i32::from(b.fraction_bits());
        let shift = Shift { from: a, to: b, bits, exponent };
        suits.then_some(Self { from, to, extents, shift })
    }
}

impl Shift {
    /// The scale that a block gets, and the bits that its codes lose with it: more or fewer where the scale would
    /// leave E8M0's range. `None` for the NaN scale.
    pub(crate) fn of_block(&self, scale: u8) -> Option<(u8, i32)> {
        let from = i32::from(scale);
        let to = (from + self.exponent).clamp(0, 254);
        (scale != 255).then_some((to as u8, self.bits + (to - from - self.exponent)))
    }

    /// clamp(round(q / 2^bits)), ties to even.
    pub(crate) fn of_code(&self, code: u8, bits: i32) -> u8 {
        let unused = 8 - self.from.bits();
        let q = i64::from(((code << unused) as i8) >> unused);
        // A code has 8 bits: beyond 32 of a shift nothing changes.
        let (up, down) = ((-bits).clamp(0, 32), bits.clamp(0, 32));
        let (q, floor) = (q << up, (q << up) >> down);
        let twice = 2 * (q - (floor << down));
        let one = 1 << down;
        let rounds_up = twice > one || (twice == one && floor % 2 != 0);
        let most = i64::from(self.to.max_code());
        let rounded = (floor + i64::from(rounds_up)).clamp(-most, most);
        self.to.with_sign(rounded < 0, rounded.unsigned_abs() as u8)
    }

    /// Codes of a block, one a byte; 0 under the NaN scale.
    fn block(&self, scale: u8, codes: &[u8], to: &mut [u8]) -> u8 {
        match self.of_block(scale) {
            Some((scale, bits)) => {
                to.iter_mut().zip(codes).for_each(|(to, code)| *to = self.of_code(*code, bits));
                scale
            }
            None => {
                to.fill(0);
                255
            }
        }
    }
}

/// Requantizes rows of codes and of scales.
pub(crate) fn requantize(
    job: &RequantizeJob,
    codes: &[u8],
    scales: &[u8],
    to_codes: &mut [u8],
    to_scales: &mut [u8],
) -> Result<()> {
    let RequantizeJob { from, to, extents: Extents { k, .. }, shift } = *job;
    let (block, from_bits, to_bits) = (from.block(), from.element().bits(), to.element().bits());
    let (from_bytes, to_bytes) =
        (Raw::row_bytes(k, from_bits, block)?, Raw::row_bytes(k, to_bits, block)?);
    if codes.is_empty() {
        return Ok(());
    }
    let (mut old, mut new) = (vec![0; k], vec![0; k]);
    let columns = from.scales_per_row(k);
    let scales = scales.chunks(columns).zip(to_scales.chunks_mut(columns));
    let rows = codes.chunks(from_bytes).zip(to_codes.chunks_mut(to_bytes)).zip(scales);
    for ((codes, to_codes), (scales, to_scales)) in rows {
        Raw::unpack_row(codes, from_bits, block, &mut old);
        let blocks = old.chunks(block).zip(new.chunks_mut(block));
        for ((old, new), (scale, to_scale)) in blocks.zip(scales.iter().zip(to_scales)) {
            *to_scale = shift.block(*scale, old, new);
        }
        Raw::pack_row(&new, to_bits, block, to_codes);
    }
    Ok(())
}
