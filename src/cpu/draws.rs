//! Draws of a group of elements at once: eight calls of Philox, each in a u64 of the vector, and with 16
//! bits eight more.

use super::simd::{LANES, Simd};
use crate::numerics::{DrawBits, DrawRule, PHILOX_MULTIPLIERS, PHILOX_WEYL, Stochastic};

/// What the words of a call are as draws of 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fields {
    /// Bytes, the upper halves of the draws.
    Bytes,
    /// Bytes with half of what lies between two of them behind: the midpoint rule.
    CentredBytes,
    Halves,
}

/// A tensor's draws, worked out once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Draws {
    pub fields: Fields,
    /// The keys of the ten rounds.
    keys: [[u32; 2]; 10],
    stream: u32,
    step: u32,
    row_offset: u64,
    column_offset: u64,
}

impl Draws {
    /// `None` where a draw takes more than 16 bits.
    pub(super) fn new(draws: Stochastic) -> Option<Self> {
        let fields = match (draws.bits(), draws.rule()) {
            (DrawBits::Eight, DrawRule::Truncated) => Fields::Bytes,
            (DrawBits::Eight, DrawRule::Midpoint) => Fields::CentredBytes,
            (DrawBits::Sixteen, DrawRule::Truncated) => Fields::Halves,
            (DrawBits::Sixteen, DrawRule::Midpoint) => return None,
        };
        let mut key = draws.key();
        let keys = core::array::from_fn(|_| {
            let now = key;
            key = [key[0].wrapping_add(PHILOX_WEYL[0]), key[1].wrapping_add(PHILOX_WEYL[1])];
            now
        });
        Some(Self {
            fields,
            keys,
            stream: draws.stream(),
            step: draws.step(),
            row_offset: draws.row_offset(),
            column_offset: draws.column_offset(),
        })
    }
}

/// The draws of a group, 8 or 16 bits each.
#[derive(Clone, Copy)]
pub(super) struct GroupDraws<S: Simd> {
    words: [S::I; 4],
}

impl<S: Simd> GroupDraws<S> {
    #[inline(always)]
    pub(super) fn none(simd: S) -> Self {
        Self { words: [simd.splat_i(0); 4] }
    }

    /// Draws for the group at (`row`, `column`) of the shard, both known to fit their counters;
    /// `column` is a multiple of 16.
    #[inline(always)]
    pub(super) fn new(simd: S, draws: &Draws, row: u64, column: u64) -> Self {
        let row = (row + draws.row_offset) as u32;
        let column = column + draws.column_offset;
        match draws.fields {
            Fields::Bytes | Fields::CentredBytes => {
                let [[first, second]] = calls(simd, draws, row, (column / 16) as u32);
                Self { words: [first, second, first, second] }
            }
            Fields::Halves => {
                let [[first, second], [third, fourth]] =
                    calls(simd, draws, row, (column / 8) as u32);
                Self { words: [first, second, third, fourth] }
            }
        }
    }

    /// The draws of four vectors of the group, of which `first` is 0 or 4, as 16 bits.
    #[inline(always)]
    pub(super) fn four(&self, simd: S, fields: Fields, first: usize) -> [S::I; 4] {
        let mut draws = self.words;
        for i in 0..4 {
            draws[i] = match fields {
                Fields::Bytes => simd.shl::<8>(simd.widen_bytes(self.words[first / 4], i)),
                Fields::CentredBytes => {
                    let bytes = simd.shl::<8>(simd.widen_bytes(self.words[first / 4], i));
                    simd.add_i(bytes, simd.splat_i(0x80))
                }
                Fields::Halves => simd.widen_halves(self.words[(first + i) / 2], i % 2),
            };
        }
        draws
    }
}

/// Eight calls from `first` on, their four words each in order, and the next eight: side by side, because
/// a call is one long chain.
#[inline(always)]
fn calls<S: Simd, const N: usize>(simd: S, draws: &Draws, row: u32, first: u32) -> [[S::I; 2]; N] {
    const EACH: [u32; LANES] = [0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0];
    let m0 = simd.splat_i(PHILOX_MULTIPLIERS[0] as i32);
    let m1 = simd.splat_i(PHILOX_MULTIPLIERS[1] as i32);
    // The upper halves of the u64 do not matter: products are of the lower ones.
    let (row, stream, step) = (
        simd.splat_i(row as i32),
        simd.splat_i(draws.stream as i32),
        simd.splat_i(draws.step as i32),
    );
    let mut counters = [[simd.load_i(&EACH), row, stream, step]; N];
    for i in 0..N {
        let first = simd.splat_i(first.wrapping_add(8 * i as u32) as i32);
        counters[i][0] = simd.add_i(counters[i][0], first);
    }
    for key in &draws.keys {
        for i in 0..N {
            let [c0, c1, c2, c3] = counters[i];
            let (p0, p1) = (simd.mul_wide(c0, m0), simd.mul_wide(c2, m1));
            let c0 = simd.xor3(simd.shr_wide(p1), c1, simd.splat_i(key[0] as i32));
            let c2 = simd.xor3(simd.shr_wide(p0), c3, simd.splat_i(key[1] as i32));
            counters[i] = [c0, p1, c2, p0];
        }
    }
    let mut words = [[row; 2]; N];
    for i in 0..N {
        words[i] = simd.in_order(counters[i]);
    }
    words
}
