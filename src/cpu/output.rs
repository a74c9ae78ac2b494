//! Writing values: lines of 64 bytes, past the cache where they do not fit it.
#![allow(unsafe_code)]

use super::simd::{GROUP, LANES, Simd};
use crate::Real;
use half::{bf16, f16};

/// Outputs from this size on are taken not to fit the cache, so that writing past it saves reading their
/// lines.
pub(super) const STREAMED_BYTES: usize = 16 << 20;

/// What is written: f32, bf16 or f16.
pub(super) trait Output: Real + Default {
    /// Lines of 64 bytes of a group.
    const LINES: usize;
    /// Whether it is the upper half of an f32: bf16.
    const UPPER: bool;
    /// The bits of NaN as it is written.
    const NAN: i32;
    /// The bits.
    fn bits(x: f32) -> u32;
    /// The bits of lanes that are not NaN.
    fn narrow<S: Simd>(simd: S, x: S::F) -> S::I;
    /// The lines of a group's bits.
    fn lines<S: Simd>(simd: S, bits: &[S::I; 8]) -> [S::I; 8];
}

impl Output for f32 {
    const LINES: usize = 8;
    const UPPER: bool = false;
    const NAN: i32 = 0x7fff_ffff;
    fn bits(x: f32) -> u32 {
        <Self as Real>::from_f32(x).to_bits()
    }
    #[inline(always)]
    fn narrow<S: Simd>(simd: S, x: S::F) -> S::I {
        simd.bits(x)
    }
    #[inline(always)]
    fn lines<S: Simd>(_: S, bits: &[S::I; 8]) -> [S::I; 8] {
        *bits
    }
}

macro_rules! output {
    ($($half:ty: $narrow:ident, $upper:expr;)*) => {$(
        impl Output for $half {
            const LINES: usize = 4;
            const UPPER: bool = $upper;
            const NAN: i32 = 0x7fff;
            fn bits(x: f32) -> u32 {
                <Self as Real>::from_f32(x).to_bits().into()
            }
            #[inline(always)]
            fn narrow<S: Simd>(simd: S, x: S::F) -> S::I {
                simd.$narrow(x)
            }
            #[inline(always)]
            fn lines<S: Simd>(simd: S, bits: &[S::I; 8]) -> [S::I; 8] {
                let mut lines = *bits;
                for i in 0..4 {
                    lines[i] = simd.halves(bits[2 * i], bits[2 * i + 1]);
                }
                lines
            }
        }
    )*};
}
output!(bf16: to_bf16, true; f16: to_f16, false;);

/// Where groups of values come from.
pub(super) trait Source<U> {
    /// Fills groups, `first` being the number of the first of them; `streams` writes past the cache, and then
    /// groups begin at a line.
    fn fill(&self, first: usize, values: &mut [[U; GROUP]], streams: bool);
}

/// Writes groups, if it is said so past the cache: as they are where they begin at a line. Those of most
/// allocators begin 16 bytes behind one. Whoever streams has a fence behind it.
#[inline(always)]
pub(super) fn put<S: Simd, U: Output>(
    simd: S,
    source: &impl Source<U>,
    values: &mut [[U; GROUP]],
    streams: bool,
) {
    let behind = values.as_ptr().addr() % 64;
    if !streams || behind == 0 {
        return source.fill(0, values, streams);
    }
    let mut stage = Stage::new();
    for (i, values) in values.chunks_mut(STAGED).enumerate() {
        source.fill(i * STAGED, stage.groups::<U>(behind, values.len()), false);
        stage.stream(simd, behind, values);
    }
}

/// Groups that are worked out before they are written past the cache at other places of a line.
const STAGED: usize = 8;

/// The lines that groups of up to 4 bytes an element touch, wherever they begin.
#[repr(align(64))]
struct Stage([[u8; 64]; 8 * STAGED + 1]);

impl Stage {
    #[inline(always)]
    fn new() -> Self {
        Self([[0; 64]; 8 * STAGED + 1])
    }

    /// Up to [`STAGED`] groups, `behind` bytes behind the first line.
    #[inline(always)]
    fn groups<T: Output>(&mut self, behind: usize, groups: usize) -> &mut [[T; GROUP]] {
        assert!(groups <= STAGED && behind < 64 && behind.is_multiple_of(size_of::<T>()));
        // SAFETY: the groups end at most 63 bytes before the end of the stage, `behind` keeps the alignment
        // of T, and every byte is a float's.
        unsafe {
            let first = self.0.as_mut_ptr().cast::<u8>().add(behind);
            core::slice::from_raw_parts_mut(first.cast(), groups)
        }
    }

    /// Writes the groups to where they belong, `behind` bytes behind a line: whole lines past the cache.
    #[inline(always)]
    fn stream<S: Simd, T: Output>(&self, simd: S, behind: usize, to: &mut [[T; GROUP]]) {
        let (bytes, staged) = (size_of_val(to), self.0.as_ptr().cast::<u8>());
        assert!(bytes <= 512 * STAGED && to.as_ptr().addr() % 64 == behind && behind > 0);
        let to = to.as_mut_ptr().cast::<u8>();
        // SAFETY: the bytes from `behind` on are those of `to`; the first and the last line are in part. All
        // between lie in both, at multiples of 64, and a fence comes at the end of the kernel.
        unsafe {
            let first = 64 - behind;
            core::ptr::copy_nonoverlapping(staged.add(behind), to, first);
            for line in 1..bytes / 64 {
                let from = &*staged.add(64 * line).cast::<[u32; LANES]>();
                simd.stream(simd.load_i(from), to.add(64 * line - behind));
            }
            let last = bytes - behind;
            core::ptr::copy_nonoverlapping(staged.add(bytes), to.add(last), behind);
        }
    }
}

/// Writes the lines of a group.
#[inline(always)]
pub(super) fn write<S: Simd, T: Output>(
    simd: S,
    lines: &[S::I],
    values: &mut [T; GROUP],
    streams: bool,
) {
    debug_assert_eq!(size_of_val(lines).max(64 * lines.len()), size_of_val(values));
    let to = values.as_mut_ptr().cast::<u8>();
    for (i, line) in lines.iter().enumerate() {
        // SAFETY: a group of T has T::LINES lines of 64 bytes. Groups are written past the cache only
        // from a multiple of 64 on, and a fence comes at the end of the kernel.
        unsafe {
            match streams {
                true => simd.stream(*line, to.add(64 * i)),
                false => simd.write(*line, to.add(64 * i)),
            }
        }
    }
}
