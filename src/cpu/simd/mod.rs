//! Vectors of 16 lanes, once for each level: all that the kernels of the host path know of instructions.
//!
//! A kernel is a value with a generic [`Kernel::run`]; [`dispatch`] compiles it for each level and runs
//! it for one. Lanes are f32 or i32; bytes come 64 at a time, in an order that only the level knows until
//! they are stored.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use super::Level;
use half::{bf16, f16};

/// Lanes of a vector.
pub(super) const LANES: usize = 16;

/// Elements that kernels take at once: eight vectors, so that 4-bit codes fill 64 bytes.
pub(super) const GROUP: usize = 8 * LANES;

/// By N, 1 in the lanes whose bit N is 0, -1 in the others.
#[cfg(target_arch = "x86_64")]
const PLUS_MINUS: [[f32; LANES]; 4] = {
    let mut signs = [[1.0; LANES]; 4];
    let mut i = 0;
    while i < 4 * LANES {
        if (i % LANES) >> (i / LANES) & 1 == 1 {
            signs[i / LANES][i % LANES] = -1.0;
        }
        i += 1;
    }
    signs
};

/// Work that is compiled for every level. `run` and all it calls in its loops are
/// `#[inline(always)]`, or they would be compiled for the target's default.
pub(super) trait Kernel {
    type Output;
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Runs the kernel at the level, which this processor must have:
/// [`Cpu::chosen_level`](super::Cpu::chosen_level) gives no other.
pub(super) fn dispatch<K: Kernel>(level: Level, kernel: K) -> K::Output {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => avx512::run(kernel),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => avx2::run(kernel),
        _ => portable::run(kernel),
    }
}

/// Asks for the line of memory at an address, outside of kernels; it need not exist.
#[inline(always)]
#[allow(unsafe_code)]
pub(super) fn ask(address: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 has the instruction, which reads nothing.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(core::ptr::without_provenance(address));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// A float of 16 bits.
///
/// # Safety
/// It is a `u16` in memory.
#[allow(unsafe_code)]
pub(super) unsafe trait Half: Copy {
    fn half_bits(self) -> u16;
}
// SAFETY: half's types are transparent over u16.
#[allow(unsafe_code)]
unsafe impl Half for bf16 {
    fn half_bits(self) -> u16 {
        self.to_bits()
    }
}
// SAFETY: half's types are transparent over u16.
#[allow(unsafe_code)]
unsafe impl Half for f16 {
    fn half_bits(self) -> u16 {
        self.to_bits()
    }
}

/// The instructions of a level. A value exists only where the processor has them.
pub(super) trait Simd: Copy + Send + Sync {
    /// 16 f32.
    type F: Copy;
    /// 16 i32, or eight u64 where it says so.
    type I: Copy;
    /// 64 bytes.
    type B: Copy;
    /// 16 truths.
    type M: Copy;

    // Memory.
    fn load(self, x: &[f32; LANES]) -> Self::F;
    fn load_bf16(self, x: &[bf16; LANES]) -> Self::F;
    fn load_f16(self, x: &[f16; LANES]) -> Self::F;
    fn load_i(self, x: &[u32; LANES]) -> Self::I;
    fn load_u8(self, x: &[u8; LANES]) -> Self::I;
    fn store(self, x: Self::F, to: &mut [f32; LANES]);
    fn store_i(self, x: Self::I, to: &mut [u32; LANES]);
    /// Asks for the line of memory at `x`, which need not exist.
    fn prefetch<T>(self, x: *const T);

    // f32. `min` and `max` are not asked about NaN.
    fn splat(self, x: f32) -> Self::F;
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a b + c` of an exact product: fused or not, the same.
    fn mul_add_exact(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    fn lt(self, a: Self::F, b: Self::F) -> Self::M;
    fn eq(self, a: Self::F, b: Self::F) -> Self::M;

    /// Where x is NaN.
    fn nan(self, x: Self::F) -> Self::M;
    /// A stage of a Hadamard transform: lane i becomes the sum of the lanes i and i + 2^N where bit N of i is 0,
    /// and else the lane i − 2^N less lane i. N is at most 3.
    fn butterflies<const N: u32>(self, x: Self::F) -> Self::F;

    // Between f32 and i32. Magnitudes to truncate are below 2^31.
    fn bits(self, x: Self::F) -> Self::I;
    fn float(self, x: Self::I) -> Self::F;
    fn truncate(self, x: Self::F) -> Self::I;
    fn convert(self, x: Self::I) -> Self::F;

    // i32.
    fn splat_i(self, x: i32) -> Self::I;
    fn add_i(self, a: Self::I, b: Self::I) -> Self::I;
    fn sub_i(self, a: Self::I, b: Self::I) -> Self::I;
    fn and(self, a: Self::I, b: Self::I) -> Self::I;
    fn xor3(self, a: Self::I, b: Self::I, c: Self::I) -> Self::I;
    fn min_i(self, a: Self::I, b: Self::I) -> Self::I;
    fn max_i(self, a: Self::I, b: Self::I) -> Self::I;
    fn shl<const N: u32>(self, x: Self::I) -> Self::I;
    fn shr<const N: u32>(self, x: Self::I) -> Self::I;
    /// Shifts by the same number of bits, below 32, in every lane.
    fn shl_by(self, x: Self::I, n: u32) -> Self::I;
    fn shr_by(self, x: Self::I, n: u32) -> Self::I;
    fn eq_i(self, a: Self::I, b: Self::I) -> Self::M;
    fn gt_i(self, a: Self::I, b: Self::I) -> Self::M;
    /// Of u32.
    fn lt_u(self, a: Self::I, b: Self::I) -> Self::M;
    fn select(self, mask: Self::M, yes: Self::I, no: Self::I) -> Self::I;
    /// Whether there is a truth in one of them.
    fn any(self, a: Self::M, b: Self::M) -> bool;

    // Eight u64.
    /// Products of the low halves.
    fn mul_wide(self, a: Self::I, b: Self::I) -> Self::I;
    /// The high halves, moved down.
    fn shr_wide(self, x: Self::I) -> Self::I;
    /// Eight calls' four words each, in the low halves: all in order.
    fn in_order(self, words: [Self::I; 4]) -> [Self::I; 2];
    /// The bytes of a quarter of the lanes, a lane each, the lowest first.
    fn widen_bytes(self, x: Self::I, quarter: usize) -> Self::I;
    /// The 16-bit halves of half of the lanes, a lane each, the lower first.
    fn widen_halves(self, x: Self::I, half: usize) -> Self::I;

    // Bytes.
    /// The lanes of four vectors, below 128, as bytes. What [`strip`](Self::strip) leaves is ignored.
    fn narrow(self, x: [Self::I; 4]) -> Self::B;
    /// `x` less `magic`, whose lower half is 0; `x` itself at a level where [`narrow`](Self::narrow)
    /// ignores the upper half.
    fn strip(self, x: Self::I, magic: Self::I) -> Self::I;
    /// Bytes with the signs of the lanes of four vectors, in the order of [`narrow`](Self::narrow).
    fn narrow_signs(self, x: [Self::I; 4]) -> Self::B;
    fn splat_b(self, x: u8) -> Self::B;
    fn and_b(self, a: Self::B, b: Self::B) -> Self::B;
    fn or_b(self, a: Self::B, b: Self::B) -> Self::B;
    /// Bits moved down by `n`, in pairs of bytes: the upper bits of a byte are to be masked.
    fn shr_b(self, x: Self::B, n: u32) -> Self::B;
    /// `x`, negated where `sign` is negative.
    fn negate_b(self, x: Self::B, sign: Self::B) -> Self::B;
    /// `x`, 0 where `y` is.
    fn where_nonzero_b(self, x: Self::B, y: Self::B) -> Self::B;
    fn store_bytes(self, x: Self::B, to: &mut [u8; 64]);
    /// Bytes below 16, two made one: `low` in the low nibble.
    fn pairs(self, low: Self::B, high: Self::B) -> Self::B;
    /// The bytes of each lane of the four vectors that [`narrow`](Self::narrow) had, as a lane, the first lowest.
    fn stacked(self, x: Self::B) -> Self::I;
    /// Two codes a byte, the first low.
    fn store_nibbles(self, x: [Self::B; 2], to: &mut [u8; 64]);

    // E2M1.
    /// What [`e2m1_codes`](Self::e2m1_codes) makes the magnitude code of y out of, |y| below 8, ties to even;
    /// what [`strip`](Self::strip) leaves is ignored.
    fn e2m1(self, y: Self::F) -> Self::I;
    fn e2m1_codes(self, x: Self::B) -> Self::B;
    /// Whether what [`e2m1`](Self::e2m1) gives tells ties, for
    /// [`e2m1_codes_ties_zero`](Self::e2m1_codes_ties_zero).
    const TELLS_TIES: bool;
    /// As [`e2m1_codes`](Self::e2m1_codes) with ties to zero.
    fn e2m1_codes_ties_zero(self, x: Self::B) -> Self::B;

    // Floats with a draw.
    /// What [`narrow_drawn`](Self::narrow_drawn) makes a magnitude code out of: `a`, at most the element's
    /// largest, goes up where the upper 16 bits of its fraction of a step and the draw's 16 bits carry. The
    /// element has its smallest normal at the bits `first`, and at most 6 mantissa bits.
    fn drawn(self, a: Self::F, draw: Self::I, first: i32, mantissa_bits: u32) -> Self::I;
    fn narrow_drawn(self, x: [Self::I; 4], first: i32, mantissa_bits: u32) -> Self::B;

    // Blocks. A vector can hold a lane for each of eight blocks, or of four: which lanes these are, only
    // the level knows.
    /// Of eight vectors the largest signed lane of each.
    fn maxima_of_8(self, x: [Self::I; 8]) -> Self::I;
    /// Of four.
    fn maxima_of_4(self, x: [Self::I; 4]) -> Self::I;
    /// The lane of each of eight blocks.
    fn lanes_of_8(self, x: Self::F) -> [f32; 8];
    /// Of four, each twice.
    fn lanes_of_4(self, x: Self::F) -> [f32; 8];
    /// The lane of each of eight blocks as a byte, the first lowest.
    fn bytes_of_8(self, x: Self::I) -> u64;
    /// The lanes of twice eight blocks in one vector, for the two below.
    fn beside(self, a: Self::I, b: Self::I) -> Self::I;
    fn lanes_of_16(self, x: Self::F) -> [[f32; 8]; 2];
    fn bytes_of_16(self, x: Self::I) -> [u64; 2];
    /// Of four.
    fn bytes_of_4(self, x: Self::I) -> u32;
    /// The largest signed lane.
    fn maximum(self, x: Self::I) -> i32;

    // Decoding.
    /// The nibbles of 64 bytes, a lane each, the low one first; bits above the fourth can be anything.
    fn nibbles(self, x: &[u8; 64]) -> [Self::I; 8];
    /// Entries of a table by nibbles; bits above the fourth are ignored.
    fn lookup(self, table: &[u32; 16], nibbles: Self::I) -> Self::I;
    /// Bytes made f16, and these f32: moved up by `left` in 16 bits, then down by `right` with their sign,
    /// and masked.
    fn widen_codes(self, x: &[u8; LANES], left: u32, right: u32, mask: u16) -> Self::F;
    /// Whether one of the bytes, masked, is above `last`.
    fn any_above(self, x: &[u8; 64], mask: u8, last: u8) -> bool;
    /// f32 to the bits of bf16 or f16, nearest, ties to even; of NaN anything.
    fn to_bf16(self, x: Self::F) -> Self::I;
    fn to_f16(self, x: Self::F) -> Self::I;
    /// f32 of the f16 in the upper halves.
    fn widen_f16(self, x: Self::I) -> Self::F;
    /// The upper halves of two vectors as 32 u16.
    fn upper_halves(self, low: Self::I, high: Self::I) -> Self::I;
    /// The low halves of two vectors, below 2^16 each, as 32 u16.
    fn halves(self, low: Self::I, high: Self::I) -> Self::I;

    // 16-bit lanes, 32 of them.
    /// The larger half of each lane as the upper half of an i32; both are not negative.
    fn larger_half(self, x: Self::I) -> Self::I;
    /// As [`maxima_of_8`](Self::maxima_of_8) of four vectors whose lower and upper 16 lanes are a block each:
    /// the largest is one of the halves of the block's lane.
    fn maxima_of_8_halves(self, x: [Self::I; 4]) -> Self::I;
    /// As [`maxima_of_4`](Self::maxima_of_4), likewise.
    fn maxima_of_4_halves(self, x: [Self::I; 4]) -> Self::I;
    fn load_halves<H: Half>(self, x: &[H; 2 * LANES]) -> Self::I;
    /// Of signed ones.
    fn max_i16(self, a: Self::I, b: Self::I) -> Self::I;

    /// Writes a line.
    ///
    /// # Safety
    /// `to` points to 64 writable bytes.
    #[allow(unsafe_code)]
    unsafe fn write(self, x: Self::I, to: *mut u8);
    /// Writes a line past the cache.
    ///
    /// # Safety
    /// `to` points to 64 writable bytes and is a multiple of 64. [`fence`](Self::fence) comes before any other
    /// thread reads them.
    #[allow(unsafe_code)]
    unsafe fn stream(self, x: Self::I, to: *mut u8);
    /// Lines written so far are seen by other threads before what is written next.
    fn fence(self);

    /// Rows to columns: lane j of vector i becomes lane i of vector j.
    fn transpose(self, x: [Self::F; LANES]) -> [Self::F; LANES];
}

/// [`Simd::e2m1`] where no instruction helps: with a = |y| the code before rounding is
/// min(2a, a + 2, a/2 + 4, 7), and rounding keeps the order, so that the least of the rounded lines is the
/// code. They stand on 2^23, whose ulp is 1.
#[inline(always)]
pub(super) fn e2m1_by_lines<S: Simd>(simd: S, y: S::F) -> S::I {
    const ONE: f32 = 8_388_608.0;
    let y = simd.float(simd.and(simd.bits(y), simd.splat_i(0x7fff_ffff)));
    let steep = simd.mul_add_exact(y, simd.splat(2.0), simd.splat(ONE));
    let even = simd.add(y, simd.splat(ONE + 2.0));
    let flat = simd.mul_add_exact(y, simd.splat(0.5), simd.splat(ONE + 4.0));
    let code = simd.min(simd.min(steep, even), simd.min(flat, simd.splat(ONE + 7.0)));
    simd.strip(simd.bits(code), simd.splat_i(ONE.to_bits() as i32))
}

/// [`Simd::drawn`] where no instruction helps: in fixed point, 16 bits a step.
#[inline(always)]
pub(super) fn drawn_in_fixed_point<S: Simd>(
    simd: S,
    a: S::F,
    draw: S::I,
    first: i32,
    mantissa_bits: u32,
) -> S::I {
    if (first, mantissa_bits) == (1.0f32.to_bits() as i32, 1) {
        // The lines of `e2m1_by_lines`.
        let steep = simd.truncate(simd.mul(a, simd.splat(131_072.0)));
        let even = simd.add_i(simd.shr::<1>(steep), simd.splat_i(2 << 16));
        let flat = simd.add_i(simd.shr::<2>(steep), simd.splat_i(4 << 16));
        let code = simd.min_i(steep, simd.min_i(even, flat));
        return simd.shr::<16>(simd.add_i(code, draw));
    }
    let first = simd.splat_i(first);
    let binade = simd.and(simd.bits(simd.max(a, simd.float(first))), simd.splat_i(0x7f80_0000));
    // 2^16 over the step of the binade.
    let exponent = simd.splat_i(((270 + mantissa_bits) << 23) as i32);
    let steps = simd.float(simd.sub_i(exponent, binade));
    let code = simd.shr::<16>(simd.add_i(simd.truncate(simd.mul(a, steps)), draw));
    simd.add_i(code, simd.shr_by(simd.sub_i(binade, first), 23 - mantissa_bits))
}
