//! Draws of a group of elements at once: eight calls of Philox, each in a u64 of the vector, and with 16
//! bits eight more.

use super::simd::{GROUP, LANES, Simd};
use crate::numerics::{DrawBits, PHILOX_MULTIPLIERS, PHILOX_WEYL, Stochastic};

/// A tensor's draws, worked out once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Draws {
    pub bits: DrawBits,
    /// The keys of the ten rounds.
    keys: [[u32; 2]; 10],
    stream: u32,
    step: u32,
    row_offset: u64,
    column_offset: u64,
}

impl Draws {
    pub(super) fn new(draws: Stochastic) -> Self {
        let mut key = draws.key();
        let keys = core::array::from_fn(|_| {
            let now = key;
            key = [key[0].wrapping_add(PHILOX_WEYL[0]), key[1].wrapping_add(PHILOX_WEYL[1])];
            now
        });
        Self {
            bits: draws.bits(),
            keys,
            stream: draws.stream(),
            step: draws.step(),
            row_offset: draws.row_offset(),
            column_offset: draws.column_offset(),
        }
    }
}

/// The draws of a group, 8 or 16 bits each.
pub(super) struct GroupDraws {
    words: [u32; GROUP / 2],
}

impl GroupDraws {
    pub(super) const NONE: Self = Self { words: [0; GROUP / 2] };

    /// Draws for the group at (`row`, `column`) of the shard, both known to fit their counters;
    /// `column` is a multiple of 16.
    #[inline(always)]
    pub(super) fn fill<S: Simd>(&mut self, simd: S, draws: &Draws, row: u64, column: u64) {
        let row = (row + draws.row_offset) as u32;
        let column = column + draws.column_offset;
        let ([first, second], _) = self.words.as_chunks_mut::<32>() else { return };
        match draws.bits {
            DrawBits::Eight => calls(simd, draws, row, (column / 16) as u32, first),
            DrawBits::Sixteen => {
                let call = (column / 8) as u32;
                calls(simd, draws, row, call, first);
                calls(simd, draws, row, call.wrapping_add(8), second);
            }
        }
    }

    /// The draws of vector `i` of the group as 16 bits: those of 8 are the upper ones.
    #[inline(always)]
    pub(super) fn vector<S: Simd>(&self, simd: S, bits: DrawBits, i: usize) -> S::I {
        match bits {
            DrawBits::Eight => {
                let (words, _) = self.words.as_chunks::<{ LANES / 4 }>();
                simd.shl::<8>(simd.bytes_of_words(&words[i]))
            }
            DrawBits::Sixteen => {
                let (words, _) = self.words.as_chunks::<{ LANES / 2 }>();
                simd.halves_of_words(&words[i])
            }
        }
    }
}

/// Eight calls from `first` on, their four words each in order.
#[inline(always)]
fn calls<S: Simd>(simd: S, draws: &Draws, row: u32, first: u32, to: &mut [u32; 32]) {
    const EACH: [u32; LANES] = [0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0];
    let m0 = simd.splat_i(PHILOX_MULTIPLIERS[0] as i32);
    let m1 = simd.splat_i(PHILOX_MULTIPLIERS[1] as i32);
    // The upper halves of the u64 do not matter: products are of the lower ones.
    let mut c0 = simd.add_i(simd.splat_i(first as i32), simd.load_i(&EACH));
    let mut c1 = simd.splat_i(row as i32);
    let mut c2 = simd.splat_i(draws.stream as i32);
    let mut c3 = simd.splat_i(draws.step as i32);
    for key in &draws.keys {
        let (p0, p1) = (simd.mul_wide(c0, m0), simd.mul_wide(c2, m1));
        c0 = simd.xor3(simd.shr_wide(p1), c1, simd.splat_i(key[0] as i32));
        c2 = simd.xor3(simd.shr_wide(p0), c3, simd.splat_i(key[1] as i32));
        (c1, c3) = (p1, p0);
    }
    simd.store_words([c0, c1, c2, c3], to);
}
