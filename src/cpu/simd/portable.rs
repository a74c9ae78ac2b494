//! Arrays, for the compiler to make vectors of.

use super::{Half, Kernel, LANES, Simd, drawn_in_fixed_point, e2m1_by_lines};
use core::array::from_fn;
use half::{bf16, f16};

/// Nothing that a processor could lack.
#[derive(Clone, Copy)]
pub(super) struct Portable;

type F = [f32; LANES];
type I = [i32; LANES];
type B = [u8; 64];
type M = [bool; LANES];

#[inline(always)]
fn each<A: Copy, R>(a: [A; LANES], f: impl Fn(A) -> R) -> [R; LANES] {
    from_fn(
        #[inline(always)]
        |i| f(a[i]),
    )
}

#[inline(always)]
fn both<A: Copy, R>(a: [A; LANES], b: [A; LANES], f: impl Fn(A, A) -> R) -> [R; LANES] {
    from_fn(
        #[inline(always)]
        |i| f(a[i], b[i]),
    )
}

/// The eight u64 of a vector.
#[inline(always)]
fn wide(x: I) -> [u64; 8] {
    from_fn(|i| u64::from(x[2 * i] as u32) | u64::from(x[2 * i + 1] as u32) << 32)
}
#[inline(always)]
fn narrow_wide(x: [u64; 8]) -> I {
    from_fn(|i| (x[i / 2] >> (i % 2 * 32)) as i32)
}

impl Simd for Portable {
    type F = F;
    type I = I;
    type B = B;
    type M = M;

    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> F {
        *x
    }
    #[inline(always)]
    fn load_bf16(self, x: &[bf16; LANES]) -> F {
        each(*x, |x| f32::from_bits(u32::from(x.to_bits()) << 16))
    }
    #[inline(always)]
    fn load_f16(self, x: &[f16; LANES]) -> F {
        each(*x, f16::to_f32)
    }
    #[inline(always)]
    fn load_i(self, x: &[u32; LANES]) -> I {
        each(*x, |x| x as i32)
    }
    #[inline(always)]
    fn load_u8(self, x: &[u8; LANES]) -> I {
        each(*x, i32::from)
    }
    #[inline(always)]
    fn store(self, x: F, to: &mut [f32; LANES]) {
        *to = x;
    }
    #[inline(always)]
    fn store_i(self, x: I, to: &mut [u32; LANES]) {
        *to = each(x, |x| x as u32);
    }
    #[inline(always)]
    fn prefetch<T>(self, _: *const T) {}

    #[inline(always)]
    fn splat(self, x: f32) -> F {
        [x; LANES]
    }
    #[inline(always)]
    fn add(self, a: F, b: F) -> F {
        both(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: F, b: F) -> F {
        both(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: F, b: F) -> F {
        both(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: F, b: F) -> F {
        both(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn min(self, a: F, b: F) -> F {
        both(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn max(self, a: F, b: F) -> F {
        both(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn mul_add_exact(self, a: F, b: F, c: F) -> F {
        self.add(self.mul(a, b), c)
    }
    #[inline(always)]
    fn lt(self, a: F, b: F) -> M {
        both(a, b, |a, b| a < b)
    }
    #[inline(always)]
    fn nan(self, x: F) -> M {
        each(x, f32::is_nan)
    }
    #[inline(always)]
    fn eq(self, a: F, b: F) -> M {
        both(a, b, |a, b| a == b)
    }

    #[inline(always)]
    fn butterflies<const N: u32>(self, x: F) -> F {
        from_fn(|i| match i >> N & 1 {
            0 => x[i] + x[i + (1 << N)],
            _ => x[i - (1 << N)] - x[i],
        })
    }
    #[inline(always)]
    fn bits(self, x: F) -> I {
        each(x, |x| x.to_bits() as i32)
    }
    #[inline(always)]
    fn float(self, x: I) -> F {
        each(x, |x| f32::from_bits(x as u32))
    }
    #[inline(always)]
    fn truncate(self, x: F) -> I {
        each(x, |x| x as i32)
    }
    #[inline(always)]
    fn convert(self, x: I) -> F {
        each(x, |x| x as f32)
    }

    #[inline(always)]
    fn splat_i(self, x: i32) -> I {
        [x; LANES]
    }
    #[inline(always)]
    fn add_i(self, a: I, b: I) -> I {
        both(a, b, i32::wrapping_add)
    }
    #[inline(always)]
    fn sub_i(self, a: I, b: I) -> I {
        both(a, b, i32::wrapping_sub)
    }
    #[inline(always)]
    fn and(self, a: I, b: I) -> I {
        both(a, b, |a, b| a & b)
    }
    #[inline(always)]
    fn xor3(self, a: I, b: I, c: I) -> I {
        both(both(a, b, |a, b| a ^ b), c, |a, b| a ^ b)
    }
    #[inline(always)]
    fn min_i(self, a: I, b: I) -> I {
        both(a, b, i32::min)
    }
    #[inline(always)]
    fn max_i(self, a: I, b: I) -> I {
        both(a, b, i32::max)
    }
    #[inline(always)]
    fn shl<const N: u32>(self, x: I) -> I {
        each(x, |x| x << N)
    }
    #[inline(always)]
    fn shr<const N: u32>(self, x: I) -> I {
        each(x, |x| (x as u32 >> N) as i32)
    }
    #[inline(always)]
    fn shl_by(self, x: I, n: u32) -> I {
        each(x, |x| x << n)
    }
    #[inline(always)]
    fn shr_by(self, x: I, n: u32) -> I {
        each(x, |x| (x as u32 >> n) as i32)
    }
    #[inline(always)]
    fn eq_i(self, a: I, b: I) -> M {
        both(a, b, |a, b| a == b)
    }
    #[inline(always)]
    fn gt_i(self, a: I, b: I) -> M {
        both(a, b, |a, b| a > b)
    }
    #[inline(always)]
    fn lt_u(self, a: I, b: I) -> M {
        both(a, b, |a, b| (a as u32) < b as u32)
    }
    #[inline(always)]
    fn select(self, mask: M, yes: I, no: I) -> I {
        from_fn(|i| if mask[i] { yes[i] } else { no[i] })
    }
    #[inline(always)]
    fn any(self, a: M, b: M) -> bool {
        both(a, b, |a, b| a | b).contains(&true)
    }

    #[inline(always)]
    fn mul_wide(self, a: I, b: I) -> I {
        let (a, b) = (wide(a), wide(b));
        narrow_wide(from_fn(|i| u64::from(a[i] as u32) * u64::from(b[i] as u32)))
    }
    #[inline(always)]
    fn shr_wide(self, x: I) -> I {
        narrow_wide(wide(x).map(|x| x >> 32))
    }
    #[inline(always)]
    fn in_order(self, words: [I; 4]) -> [I; 2] {
        from_fn(|j| from_fn(|i| words[i % 4][j * 8 + i / 4 * 2]))
    }
    #[inline(always)]
    fn widen_bytes(self, x: I, quarter: usize) -> I {
        from_fn(|i| x[quarter * 4 + i / 4] >> (i % 4 * 8) & 0xff)
    }
    #[inline(always)]
    fn widen_halves(self, x: I, half: usize) -> I {
        from_fn(|i| x[half * 8 + i / 2] >> (i % 2 * 16) & 0xffff)
    }

    #[inline(always)]
    fn narrow(self, x: [I; 4]) -> B {
        from_fn(|i| x[i / LANES][i % LANES] as u8)
    }
    #[inline(always)]
    fn strip(self, x: I, magic: I) -> I {
        self.sub_i(x, magic)
    }
    #[inline(always)]
    fn narrow_signs(self, x: [I; 4]) -> B {
        from_fn(|i| (x[i / LANES][i % LANES] >> 24) as u8)
    }
    #[inline(always)]
    fn splat_b(self, x: u8) -> B {
        [x; 64]
    }
    #[inline(always)]
    fn and_b(self, a: B, b: B) -> B {
        from_fn(|i| a[i] & b[i])
    }
    #[inline(always)]
    fn or_b(self, a: B, b: B) -> B {
        from_fn(|i| a[i] | b[i])
    }
    #[inline(always)]
    fn shr_b(self, x: B, n: u32) -> B {
        x.map(|x| x >> n)
    }
    #[inline(always)]
    fn negate_b(self, x: B, sign: B) -> B {
        from_fn(|i| if sign[i] & 0x80 != 0 { x[i].wrapping_neg() } else { x[i] })
    }
    #[inline(always)]
    fn where_nonzero_b(self, x: B, y: B) -> B {
        from_fn(|i| if y[i] == 0 { 0 } else { x[i] })
    }
    #[inline(always)]
    fn store_bytes(self, x: B, to: &mut [u8; 64]) {
        *to = x;
    }
    #[inline(always)]
    fn pairs(self, low: B, high: B) -> B {
        from_fn(|i| low[i] | high[i] << 4)
    }
    #[inline(always)]
    fn stacked(self, x: B) -> I {
        from_fn(|i| i32::from_le_bytes([x[i], x[LANES + i], x[2 * LANES + i], x[3 * LANES + i]]))
    }
    #[inline(always)]
    fn store_nibbles(self, x: [B; 2], to: &mut [u8; 64]) {
        *to = from_fn(|i| x[i / 32][i % 32 * 2] | x[i / 32][i % 32 * 2 + 1] << 4);
    }

    #[inline(always)]
    fn e2m1(self, y: F) -> I {
        e2m1_by_lines(self, y)
    }
    #[inline(always)]
    fn e2m1_codes(self, x: B) -> B {
        x
    }
    const TELLS_TIES: bool = false;
    #[inline(always)]
    fn e2m1_codes_ties_zero(self, x: B) -> B {
        x
    }

    #[inline(always)]
    fn drawn(self, a: F, draw: I, first: i32, mantissa_bits: u32) -> I {
        drawn_in_fixed_point(self, a, draw, first, mantissa_bits)
    }
    #[inline(always)]
    fn narrow_drawn(self, x: [I; 4], _: i32, _: u32) -> B {
        self.narrow(x)
    }

    #[inline(always)]
    fn maxima_of_8(self, x: [I; 8]) -> I {
        from_fn(|i| self.maximum(x[i % 8]))
    }
    #[inline(always)]
    fn maxima_of_4(self, x: [I; 4]) -> I {
        from_fn(|i| self.maximum(x[i % 4]))
    }
    #[inline(always)]
    fn lanes_of_8(self, x: F) -> [f32; 8] {
        from_fn(|i| x[i])
    }
    #[inline(always)]
    fn lanes_of_4(self, x: F) -> [f32; 8] {
        from_fn(|i| x[i / 2])
    }
    #[inline(always)]
    fn bytes_of_8(self, x: I) -> u64 {
        u64::from_le_bytes(from_fn(|i| x[i] as u8))
    }
    #[inline(always)]
    fn beside(self, a: I, b: I) -> I {
        from_fn(|i| if i < 8 { a[i] } else { b[i - 8] })
    }
    #[inline(always)]
    fn lanes_of_16(self, x: F) -> [[f32; 8]; 2] {
        from_fn(|i| from_fn(|j| x[8 * i + j]))
    }
    #[inline(always)]
    fn bytes_of_16(self, x: I) -> [u64; 2] {
        from_fn(|i| u64::from_le_bytes(from_fn(|j| x[8 * i + j] as u8)))
    }
    #[inline(always)]
    fn bytes_of_4(self, x: I) -> u32 {
        u32::from_le_bytes(from_fn(|i| x[i] as u8))
    }
    #[inline(always)]
    fn maximum(self, x: I) -> i32 {
        x.into_iter().fold(i32::MIN, i32::max)
    }

    #[inline(always)]
    fn nibbles(self, x: &[u8; 64]) -> [I; 8] {
        from_fn(|i| from_fn(|j| i32::from(x[8 * i + j / 2] >> (j % 2 * 4))))
    }
    #[inline(always)]
    fn lookup(self, table: &[u32; 16], nibbles: I) -> I {
        each(nibbles, |nibble| table[nibble as usize & 15] as i32)
    }
    #[inline(always)]
    fn widen_codes(self, x: &[u8; LANES], left: u32, right: u32, mask: u16) -> F {
        each(*x, |x| {
            let half = ((i32::from(x) << (16 + left)) >> (16 + right)) as u32 & u32::from(mask);
            let (sign, magnitude) = ((half & 0x8000) << 16, (half & 0x7fff) << 13);
            // A subnormal is taken a binade higher, with a leading bit that is then taken away.
            let normal = f32::from_bits(magnitude + (112 << 23));
            let subnormal = f32::from_bits(magnitude + (113 << 23)) - f32::from_bits(113 << 23);
            let value = if magnitude < 1 << 23 { subnormal } else { normal };
            f32::from_bits(value.to_bits() | sign)
        })
    }
    #[inline(always)]
    fn any_above(self, x: &[u8; 64], mask: u8, last: u8) -> bool {
        x.iter().fold(0, |largest, x| largest.max(x & mask)) > last
    }
    #[inline(always)]
    fn to_bf16(self, x: F) -> I {
        each(x, |x| {
            let bits = x.to_bits();
            (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as i32
        })
    }
    #[inline(always)]
    fn to_f16(self, x: F) -> I {
        each(x, |x| i32::from(f16::from_f32(x).to_bits()))
    }
    #[inline(always)]
    fn halves(self, low: I, high: I) -> I {
        from_fn(|i| {
            let from = if i < 8 { low } else { high };
            let [a, b] = (from[i % 8 * 2] as u16).to_ne_bytes();
            let [c, d] = (from[i % 8 * 2 + 1] as u16).to_ne_bytes();
            // As they lie in memory.
            i32::from_ne_bytes([a, b, c, d])
        })
    }

    #[inline(always)]
    fn widen_f16(self, x: I) -> F {
        each(x, |x| f16::from_bits((x >> 16) as u16).to_f32())
    }
    #[inline(always)]
    fn upper_halves(self, low: I, high: I) -> I {
        self.halves(self.shr::<16>(low), self.shr::<16>(high))
    }
    #[inline(always)]
    fn larger_half(self, x: I) -> I {
        each(x, |x| (x << 16).max(x & 0x7fff_0000))
    }
    #[inline(always)]
    fn maxima_of_8_halves(self, x: [I; 4]) -> I {
        from_fn(|i| largest_halves(&x[i % 8 / 2][i % 2 * 8..][..8]))
    }
    #[inline(always)]
    fn maxima_of_4_halves(self, x: [I; 4]) -> I {
        from_fn(|i| largest_halves(&x[i % 4]))
    }
    #[inline(always)]
    fn load_halves<H: Half>(self, x: &[H; 2 * LANES]) -> I {
        from_fn(|i| i32::from(x[2 * i].half_bits()) | i32::from(x[2 * i + 1].half_bits()) << 16)
    }
    #[inline(always)]
    fn max_i16(self, a: I, b: I) -> I {
        both(a, b, |a, b| {
            let low = (a as i16).max(b as i16);
            let high = ((a >> 16) as i16).max((b >> 16) as i16);
            i32::from(low as u16) | i32::from(high) << 16
        })
    }

    #[inline(always)]
    #[allow(unsafe_code)]
    unsafe fn write(self, x: I, to: *mut u8) {
        let bytes: [[u8; 4]; LANES] = each(x, i32::to_ne_bytes);
        // SAFETY: the caller gives 64 writable bytes.
        unsafe { to.cast::<[[u8; 4]; LANES]>().write_unaligned(bytes) }
    }
    #[inline(always)]
    #[allow(unsafe_code)]
    unsafe fn stream(self, x: I, to: *mut u8) {
        // SAFETY: the caller gives 64 writable bytes.
        unsafe { self.write(x, to) }
    }
    #[inline(always)]
    fn fence(self) {}

    #[inline(always)]
    fn transpose(self, x: [F; LANES]) -> [F; LANES] {
        from_fn(|i| from_fn(|j| x[j][i]))
    }
}

/// The largest lower half and the largest upper half.
#[inline(always)]
fn largest_halves(x: &[i32]) -> i32 {
    let largest = |shift: u32| x.iter().fold(0, |largest: u16, x| largest.max((x >> shift) as u16));
    i32::from(largest(0)) | i32::from(largest(16)) << 16
}

/// The kernel for the target's default.
pub(super) fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Portable)
}
