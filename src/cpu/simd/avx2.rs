//! AVX2, FMA and F16C: a vector is two registers.
#![allow(unsafe_code)]

use super::{Half, Kernel, LANES, PLUS_MINUS, Simd, drawn_in_fixed_point, e2m1_by_lines};
use core::arch::x86_64::*;
use half::{bf16, f16};

/// AVX2, FMA, F16C and what comes before them. Made by [`run`] only.
#[derive(Clone, Copy)]
pub(super) struct Avx2(());

/// Runs a kernel on a processor that has the level.
pub(super) fn run<K: Kernel>(kernel: K) -> K::Output {
    #[target_feature(enable = "avx2,fma,f16c")]
    fn compiled<K: Kernel>(kernel: K) -> K::Output {
        kernel.run(Avx2(()))
    }
    debug_assert!(crate::Level::Avx2.is_available());
    // SAFETY: a Cpu is asked for its level only after `Level::is_available` was true of it.
    unsafe { compiled(kernel) }
}

/// Functions that do the same to both registers; arguments of type `each` have one for each.
macro_rules! vectors {
    ($($(#[$doc:meta])* $name:ident$(<$n:ident>)?($($x:ident: $t:ty),*; $($y:ident: $u:ty),*) -> $r:ty = $body:expr;)*) => {$(
        $(#[$doc])*
        #[inline(always)]
        fn $name$(<const $n: u32>)?(self, $($x: [$t; 2],)* $($y: $u),*) -> [$r; 2] {
            // SAFETY: `self` exists only where the processor has these instructions.
            unsafe { [{ $(let $x = $x[0];)* $body }, { $(let $x = $x[1];)* $body }] }
        }
    )*};
}

/// Loads, each half from a pointer to half of the array.
macro_rules! loads {
    ($($name:ident($x:ident: [$t:ty; $n:expr]) -> $r:ty = $body:expr;)*) => {$(
        #[inline(always)]
        fn $name(self, $x: &[$t; $n]) -> [$r; 2] {
            let (first, second) = $x.split_at($n / 2);
            let (first, second) = (first.as_ptr(), second.as_ptr());
            // SAFETY: `self` exists only where the processor has these instructions; they read half of
            // the array.
            unsafe { [{ let $x = first; $body }, { let $x = second; $body }] }
        }
    )*};
}

type F = [__m256; 2];
type I = [__m256i; 2];
type B = [__m256i; 2];
type M = [__m256i; 2];

impl Simd for Avx2 {
    type F = F;
    type I = I;
    type B = B;
    type M = M;

    vectors! {
        splat(; x: f32) -> __m256 = _mm256_set1_ps(x);
        add(a: __m256, b: __m256;) -> __m256 = _mm256_add_ps(a, b);
        sub(a: __m256, b: __m256;) -> __m256 = _mm256_sub_ps(a, b);
        mul(a: __m256, b: __m256;) -> __m256 = _mm256_mul_ps(a, b);
        div(a: __m256, b: __m256;) -> __m256 = _mm256_div_ps(a, b);
        min(a: __m256, b: __m256;) -> __m256 = _mm256_min_ps(a, b);
        max(a: __m256, b: __m256;) -> __m256 = _mm256_max_ps(a, b);
        mul_add_exact(a: __m256, b: __m256, c: __m256;) -> __m256 = _mm256_fmadd_ps(a, b, c);
        lt(a: __m256, b: __m256;) -> __m256i = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_LT_OQ>(a, b));
        nan(x: __m256;) -> __m256i = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(x, x));
        eq(a: __m256, b: __m256;) -> __m256i = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_EQ_OQ>(a, b));

        bits(x: __m256;) -> __m256i = _mm256_castps_si256(x);
        float(x: __m256i;) -> __m256 = _mm256_castsi256_ps(x);
        truncate(x: __m256;) -> __m256i = _mm256_cvttps_epi32(x);
        convert(x: __m256i;) -> __m256 = _mm256_cvtepi32_ps(x);

        splat_i(; x: i32) -> __m256i = _mm256_set1_epi32(x);
        add_i(a: __m256i, b: __m256i;) -> __m256i = _mm256_add_epi32(a, b);
        sub_i(a: __m256i, b: __m256i;) -> __m256i = _mm256_sub_epi32(a, b);
        and(a: __m256i, b: __m256i;) -> __m256i = _mm256_and_si256(a, b);
        xor3(a: __m256i, b: __m256i, c: __m256i;) -> __m256i = _mm256_xor_si256(_mm256_xor_si256(a, b), c);
        min_i(a: __m256i, b: __m256i;) -> __m256i = _mm256_min_epi32(a, b);
        max_i(a: __m256i, b: __m256i;) -> __m256i = _mm256_max_epi32(a, b);
        shl_by(x: __m256i; n: u32) -> __m256i = _mm256_sllv_epi32(x, _mm256_set1_epi32(n as i32));
        shr_by(x: __m256i; n: u32) -> __m256i = _mm256_srlv_epi32(x, _mm256_set1_epi32(n as i32));
        eq_i(a: __m256i, b: __m256i;) -> __m256i = _mm256_cmpeq_epi32(a, b);
        gt_i(a: __m256i, b: __m256i;) -> __m256i = _mm256_cmpgt_epi32(a, b);
        lt_u(a: __m256i, b: __m256i;) -> __m256i = {
            let sign = _mm256_set1_epi32(i32::MIN);
            _mm256_cmpgt_epi32(_mm256_xor_si256(b, sign), _mm256_xor_si256(a, sign))
        };
        select(mask: __m256i, yes: __m256i, no: __m256i;) -> __m256i = _mm256_blendv_epi8(no, yes, mask);

        mul_wide(a: __m256i, b: __m256i;) -> __m256i = _mm256_mul_epu32(a, b);
        shr_wide(x: __m256i;) -> __m256i = _mm256_srli_epi64::<32>(x);

        splat_b(; x: u8) -> __m256i = _mm256_set1_epi8(x as i8);
        and_b(a: __m256i, b: __m256i;) -> __m256i = _mm256_and_si256(a, b);
        or_b(a: __m256i, b: __m256i;) -> __m256i = _mm256_or_si256(a, b);
        shr_b(x: __m256i; n: u32) -> __m256i = _mm256_srl_epi16(x, _mm_cvtsi32_si128(n as i32));
        negate_b(x: __m256i, sign: __m256i;) -> __m256i =
            _mm256_blendv_epi8(x, _mm256_sub_epi8(_mm256_setzero_si256(), x), sign);
        where_nonzero_b(x: __m256i, y: __m256i;) -> __m256i =
            _mm256_andnot_si256(_mm256_cmpeq_epi8(y, _mm256_setzero_si256()), x);
        strip(x: __m256i, magic: __m256i;) -> __m256i = _mm256_sub_epi32(x, magic);
        larger_half(x: __m256i;) -> __m256i = _mm256_max_epi32(
            _mm256_slli_epi32::<16>(x), _mm256_and_si256(x, _mm256_set1_epi32(0x7fff_0000)));
        max_i16(a: __m256i, b: __m256i;) -> __m256i = _mm256_max_epi16(a, b);
    }

    #[inline(always)]
    fn shl<const N: u32>(self, x: I) -> I {
        self.shl_by(x, N)
    }
    #[inline(always)]
    fn shr<const N: u32>(self, x: I) -> I {
        self.shr_by(x, N)
    }

    loads! {
        load(x: [f32; LANES]) -> __m256 = _mm256_loadu_ps(x);
        load_bf16(x: [bf16; LANES]) -> __m256 = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(
            _mm256_cvtepu16_epi32(_mm_loadu_si128(x.cast()))));
        load_f16(x: [f16; LANES]) -> __m256 = _mm256_cvtph_ps(_mm_loadu_si128(x.cast()));
        load_i(x: [u32; LANES]) -> __m256i = _mm256_loadu_si256(x.cast());
        load_u8(x: [u8; LANES]) -> __m256i = _mm256_cvtepu8_epi32(_mm_loadl_epi64(x.cast()));
    }

    #[inline(always)]
    fn store(self, x: F, to: &mut [f32; LANES]) {
        let (first, second) = to.split_at_mut(LANES / 2);
        // SAFETY: `self` says that the instructions exist; each half has 32 bytes.
        unsafe {
            _mm256_storeu_ps(first.as_mut_ptr(), x[0]);
            _mm256_storeu_ps(second.as_mut_ptr(), x[1]);
        }
    }
    #[inline(always)]
    fn store_i(self, x: I, to: &mut [u32; LANES]) {
        let (first, second) = to.split_at_mut(LANES / 2);
        // SAFETY: `self` says that the instructions exist; each half has 32 bytes.
        unsafe {
            _mm256_storeu_si256(first.as_mut_ptr().cast(), x[0]);
            _mm256_storeu_si256(second.as_mut_ptr().cast(), x[1]);
        }
    }
    #[inline(always)]
    fn prefetch<T>(self, x: *const T) {
        // SAFETY: `self` says that the instruction exists; a prefetch reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(x.cast()) }
    }

    #[inline(always)]
    fn any(self, a: M, b: M) -> bool {
        // SAFETY: `self` says that the instructions exist.
        unsafe {
            let (a, b) = (_mm256_or_si256(a[0], a[1]), _mm256_or_si256(b[0], b[1]));
            _mm256_movemask_epi8(_mm256_or_si256(a, b)) != 0
        }
    }

    #[inline(always)]
    fn butterflies<const N: u32>(self, x: F) -> F {
        // SAFETY: `self` says that the instructions exist.
        unsafe {
            if N == 3 {
                return [_mm256_add_ps(x[0], x[1]), _mm256_sub_ps(x[0], x[1])];
            }
            // A product with 1 or -1 is exact: one rounding, that of the sum.
            let signs = _mm256_loadu_ps(PLUS_MINUS[N as usize].as_ptr());
            let mut sums = x;
            for i in 0..2 {
                let others = match N {
                    0 => _mm256_permute_ps::<0b10_11_00_01>(x[i]),
                    1 => _mm256_permute_ps::<0b01_00_11_10>(x[i]),
                    _ => _mm256_permute2f128_ps::<0x01>(x[i], x[i]),
                };
                sums[i] = _mm256_fmadd_ps(x[i], signs, others);
            }
            sums
        }
    }
    #[inline(always)]
    fn in_order(self, words: [I; 4]) -> [I; 2] {
        let mut ordered = words;
        for half in 0..2 {
            let [w0, w1, w2, w3] = [words[0][half], words[1][half], words[2][half], words[3][half]];
            // SAFETY: `self` says that the instructions exist.
            unsafe {
                // Words 0 and 1 of a call in one u64, 2 and 3 in another.
                let low = _mm256_blend_epi32::<0xaa>(w0, _mm256_slli_epi64::<32>(w1));
                let high = _mm256_blend_epi32::<0xaa>(w2, _mm256_slli_epi64::<32>(w3));
                // Calls 0 and 2, 1 and 3.
                let (even, odd) =
                    (_mm256_unpacklo_epi64(low, high), _mm256_unpackhi_epi64(low, high));
                ordered[half][0] = _mm256_permute2x128_si256::<0x20>(even, odd);
                ordered[half][1] = _mm256_permute2x128_si256::<0x31>(even, odd);
            }
        }
        [ordered[0], ordered[1]]
    }
    #[inline(always)]
    fn widen_bytes(self, x: I, quarter: usize) -> I {
        // SAFETY: `self` says that the instructions exist.
        unsafe {
            let bytes = match quarter % 2 {
                0 => _mm256_castsi256_si128(x[quarter / 2]),
                _ => _mm256_extracti128_si256::<1>(x[quarter / 2]),
            };
            [_mm256_cvtepu8_epi32(bytes), _mm256_cvtepu8_epi32(_mm_srli_si128::<8>(bytes))]
        }
    }
    #[inline(always)]
    fn widen_halves(self, x: I, half: usize) -> I {
        // SAFETY: `self` says that the instructions exist.
        unsafe {
            let low = _mm256_castsi256_si128(x[half]);
            let high = _mm256_extracti128_si256::<1>(x[half]);
            [_mm256_cvtepu16_epi32(low), _mm256_cvtepu16_epi32(high)]
        }
    }

    /// Byte j of 128-bit lane l of register r is of vector 2 r + j / 8.
    #[inline(always)]
    fn narrow(self, x: [I; 4]) -> B {
        // SAFETY: `self` says that the instructions exist.
        unsafe {
            let [a, b, c, d] = [
                _mm256_packs_epi32(x[0][0], x[0][1]),
                _mm256_packs_epi32(x[1][0], x[1][1]),
                _mm256_packs_epi32(x[2][0], x[2][1]),
                _mm256_packs_epi32(x[3][0], x[3][1]),
            ];
            [_mm256_packs_epi16(a, b), _mm256_packs_epi16(c, d)]
        }
    }

    #[inline(always)]
    fn narrow_signs(self, x: [I; 4]) -> B {
        // Saturation keeps signs.
        self.narrow(x)
    }

    #[inline(always)]
    fn store_bytes(self, x: B, to: &mut [u8; 64]) {
        let (first, second) = to.split_at_mut(32);
        for (x, to) in [(x[0], first), (x[1], second)] {
            // SAFETY: `self` says that the instructions exist; `to` has 32 bytes.
            unsafe {
                let order = _mm256_set_epi32(7, 3, 6, 2, 5, 1, 4, 0);
                let ordered = _mm256_permutevar8x32_epi32(x, order);
                _mm256_storeu_si256(to.as_mut_ptr().cast(), ordered);
            }
        }
    }

    #[inline(always)]
    fn pairs(self, low: B, high: B) -> B {
        // SAFETY: `self` says that the instructions exist.
        unsafe {
            [
                _mm256_or_si256(low[0], _mm256_slli_epi16::<4>(high[0])),
                _mm256_or_si256(low[1], _mm256_slli_epi16::<4>(high[1])),
            ]
        }
    }
    #[inline(always)]
    fn stacked(self, x: B) -> I {
        // SAFETY: `self` says that the instructions exist.
        unsafe {
            // Each 128-bit lane has eight bytes of a vector, then those of the next.
            let first = _mm256_unpacklo_epi8(x[0], _mm256_srli_si256::<8>(x[0]));
            let second = _mm256_unpacklo_epi8(x[1], _mm256_srli_si256::<8>(x[1]));
            [_mm256_unpacklo_epi16(first, second), _mm256_unpackhi_epi16(first, second)]
        }
    }
    #[inline(always)]
    fn store_nibbles(self, x: [B; 2], to: &mut [u8; 64]) {
        let (first, second) = to.split_at_mut(32);
        for (x, to) in [(x[0], first), (x[1], second)] {
            // SAFETY: `self` says that the instructions exist; `to` has 32 bytes.
            unsafe {
                let pairs = _mm256_set1_epi16(0x1001);
                let (low, high) =
                    (_mm256_maddubs_epi16(x[0], pairs), _mm256_maddubs_epi16(x[1], pairs));
                let packed = _mm256_packus_epi16(low, high);
                // Words of the two 128-bit lanes take turns.
                let (even, odd) =
                    (_mm256_castsi256_si128(packed), _mm256_extracti128_si256::<1>(packed));
                let to = to.as_mut_ptr().cast::<__m128i>();
                _mm_storeu_si128(to, _mm_unpacklo_epi16(even, odd));
                _mm_storeu_si128(to.add(1), _mm_unpackhi_epi16(even, odd));
            }
        }
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
        // SAFETY: `self` says that the instructions exist.
        unsafe {
            let mut halves = [x[0][0]; 8];
            for i in 0..8 {
                halves[i] = _mm256_max_epi32(x[i][0], x[i][1]);
            }
            let x = halves;
            let first = max_quads(max_pairs(x[0], x[1]), max_pairs(x[2], x[3]));
            let second = max_quads(max_pairs(x[4], x[5]), max_pairs(x[6], x[7]));
            let lanes = _mm256_max_epi32(
                _mm256_permute2x128_si256::<0x20>(first, second),
                _mm256_permute2x128_si256::<0x31>(first, second),
            );
            [lanes, lanes]
        }
    }

    #[inline(always)]
    fn maxima_of_4(self, x: [I; 4]) -> I {
        // SAFETY: `self` says that the instructions exist.
        unsafe {
            let mut halves = [x[0][0]; 4];
            for i in 0..4 {
                halves[i] = _mm256_max_epi32(x[i][0], x[i][1]);
            }
            let x = halves;
            let lanes = max_quads(max_pairs(x[0], x[1]), max_pairs(x[2], x[3]));
            let lanes = _mm256_max_epi32(lanes, _mm256_permute2x128_si256::<0x01>(lanes, lanes));
            [lanes, lanes]
        }
    }

    #[inline(always)]
    fn lanes_of_8(self, x: F) -> [f32; 8] {
        let mut lanes = [0.0; 8];
        // SAFETY: `self` says that the instruction exists; the store fills `lanes`.
        unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), x[0]) }
        lanes
    }
    #[inline(always)]
    fn lanes_of_4(self, x: F) -> [f32; 8] {
        // SAFETY: `self` says that the instructions exist.
        let twice =
            unsafe { _mm256_permutevar8x32_ps(x[0], _mm256_set_epi32(3, 3, 2, 2, 1, 1, 0, 0)) };
        self.lanes_of_8([twice; 2])
    }
    #[inline(always)]
    fn bytes_of_8(self, x: I) -> u64 {
        // SAFETY: `self` says that the instructions exist.
        unsafe {
            let (low, high) = (_mm256_castsi256_si128(x[0]), _mm256_extracti128_si256::<1>(x[0]));
            // Codes are 0 to 255: signed words hold them.
            let words = _mm_packs_epi32(low, high);
            _mm_cvtsi128_si64(_mm_packus_epi16(words, words)) as u64
        }
    }

    #[inline(always)]
    fn beside(self, a: I, b: I) -> I {
        [a[0], b[0]]
    }
    #[inline(always)]
    fn lanes_of_16(self, x: F) -> [[f32; 8]; 2] {
        [self.lanes_of_8([x[0]; 2]), self.lanes_of_8([x[1]; 2])]
    }
    #[inline(always)]
    fn bytes_of_16(self, x: I) -> [u64; 2] {
        [self.bytes_of_8([x[0]; 2]), self.bytes_of_8([x[1]; 2])]
    }
    #[inline(always)]
    fn bytes_of_4(self, x: I) -> u32 {
        self.bytes_of_8(x) as u32
    }

    #[inline(always)]
    fn maximum(self, x: I) -> i32 {
        // SAFETY: `self` says that the instructions exist.
        unsafe {
            let x = _mm256_max_epi32(x[0], x[1]);
            let x = _mm_max_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
            let x = _mm_max_epi32(x, _mm_shuffle_epi32::<0x4e>(x));
            _mm_cvtsi128_si32(_mm_max_epi32(x, _mm_shuffle_epi32::<0xb1>(x)))
        }
    }

    #[inline(always)]
    fn nibbles(self, x: &[u8; 64]) -> [I; 8] {
        let (dwords, _) = x.as_chunks::<4>();
        let mut nibbles = [self.splat_i(0); 8];
        for i in 0..16 {
            // SAFETY: `self` says that the instructions exist.
            nibbles[i / 2][i % 2] = unsafe {
                let shifts = _mm256_set_epi32(28, 24, 20, 16, 12, 8, 4, 0);
                _mm256_srlv_epi32(_mm256_set1_epi32(i32::from_le_bytes(dwords[i])), shifts)
            };
        }
        nibbles
    }

    #[inline(always)]
    fn lookup(self, table: &[u32; 16], nibbles: I) -> I {
        let [low, high] = self.load_i(table);
        self.choose(nibbles, low, high)
    }

    vectors! {
        to_bf16(x: __m256;) -> __m256i = {
            let bits = _mm256_castps_si256(x);
            let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
            let half = _mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff));
            _mm256_srli_epi32::<16>(_mm256_add_epi32(half, odd))
        };
        widen_f16(x: __m256i;) -> __m256 = {
            let halves = _mm256_srli_epi32::<16>(x);
            let halves = _mm256_permute4x64_epi64::<0xd8>(_mm256_packus_epi32(halves, halves));
            _mm256_cvtph_ps(_mm256_castsi256_si128(halves))
        };
        to_f16(x: __m256;) -> __m256i = _mm256_cvtepu16_epi32(
            _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x));
    }

    #[inline(always)]
    fn widen_codes(self, x: &[u8; LANES], left: u32, right: u32, mask: u16) -> F {
        // SAFETY: `self` says that the instructions exist; `x` has 16 bytes.
        unsafe {
            let (left, right) = (_mm_cvtsi32_si128(left as i32), _mm_cvtsi32_si128(right as i32));
            let words = _mm256_cvtepu8_epi16(_mm_loadu_si128(x.as_ptr().cast()));
            let words = _mm256_sra_epi16(_mm256_sll_epi16(words, left), right);
            let halves = _mm256_and_si256(words, _mm256_set1_epi16(mask as i16));
            [
                _mm256_cvtph_ps(_mm256_castsi256_si128(halves)),
                _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(halves)),
            ]
        }
    }
    #[inline(always)]
    fn any_above(self, x: &[u8; 64], mask: u8, last: u8) -> bool {
        // SAFETY: `self` says that the instructions exist; `x` has 64 bytes.
        unsafe {
            let (x, mask) = (x.as_ptr().cast::<__m256i>(), _mm256_set1_epi8(mask as i8));
            let (a, b) = (_mm256_loadu_si256(x), _mm256_loadu_si256(x.add(1)));
            let largest = _mm256_max_epu8(_mm256_and_si256(a, mask), _mm256_and_si256(b, mask));
            let last = _mm256_set1_epi8(last as i8);
            // The larger of `last` and a byte is `last`, unless the byte is above it.
            _mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_max_epu8(largest, last), last)) != -1
        }
    }

    #[inline(always)]
    fn halves(self, low: I, high: I) -> I {
        // SAFETY: `self` says that the instructions exist.
        unsafe {
            let (low, high) =
                (_mm256_packus_epi32(low[0], low[1]), _mm256_packus_epi32(high[0], high[1]));
            [_mm256_permute4x64_epi64::<0xd8>(low), _mm256_permute4x64_epi64::<0xd8>(high)]
        }
    }

    #[inline(always)]
    fn upper_halves(self, low: I, high: I) -> I {
        self.halves(self.shr::<16>(low), self.shr::<16>(high))
    }
    #[inline(always)]
    fn maxima_of_8_halves(self, x: [I; 4]) -> I {
        // SAFETY: `self` says that the instructions exist.
        unsafe {
            let [a, b, c, d] = x;
            let first = max_quads_i16(max_pairs_i16(a[0], a[1]), max_pairs_i16(b[0], b[1]));
            let second = max_quads_i16(max_pairs_i16(c[0], c[1]), max_pairs_i16(d[0], d[1]));
            let lanes = _mm256_max_epi16(
                _mm256_permute2x128_si256::<0x20>(first, second),
                _mm256_permute2x128_si256::<0x31>(first, second),
            );
            [lanes, lanes]
        }
    }
    #[inline(always)]
    fn maxima_of_4_halves(self, x: [I; 4]) -> I {
        // SAFETY: `self` says that the instructions exist.
        unsafe {
            let mut halves = [x[0][0]; 4];
            for i in 0..4 {
                halves[i] = _mm256_max_epi16(x[i][0], x[i][1]);
            }
            let x = halves;
            let lanes = max_quads_i16(max_pairs_i16(x[0], x[1]), max_pairs_i16(x[2], x[3]));
            let lanes = _mm256_max_epi16(lanes, _mm256_permute2x128_si256::<0x01>(lanes, lanes));
            [lanes, lanes]
        }
    }
    #[inline(always)]
    fn load_halves<H: Half>(self, x: &[H; 2 * LANES]) -> I {
        // SAFETY: `self` says that the instructions exist; each half of 16 elements has 32 bytes.
        unsafe {
            let x = x.as_ptr().cast::<__m256i>();
            [_mm256_loadu_si256(x), _mm256_loadu_si256(x.add(1))]
        }
    }

    #[inline(always)]
    unsafe fn write(self, x: I, to: *mut u8) {
        // SAFETY: the caller gives 64 writable bytes.
        unsafe {
            _mm256_storeu_si256(to.cast(), x[0]);
            _mm256_storeu_si256(to.add(32).cast(), x[1]);
        }
    }
    #[inline(always)]
    unsafe fn stream(self, x: I, to: *mut u8) {
        // SAFETY: the caller gives 64 writable bytes at a multiple of 64.
        unsafe {
            _mm256_stream_si256(to.cast(), x[0]);
            _mm256_stream_si256(to.add(32).cast(), x[1]);
        }
    }
    #[inline(always)]
    fn fence(self) {
        // SAFETY: `self` says that the instruction exists.
        unsafe { _mm_sfence() }
    }

    #[inline(always)]
    fn transpose(self, x: [F; LANES]) -> [F; LANES] {
        // Four squares of eight, the two beside the diagonal in each other's place.
        let mut y = x;
        for half in 0..2 {
            for first in [0, 8] {
                let mut square = [x[0][0]; 8];
                for i in 0..8 {
                    square[i] = x[first + i][half];
                }
                // SAFETY: `self` says that the instructions exist.
                let square = unsafe { transpose8(square) };
                for i in 0..8 {
                    y[8 * half + i][first / 8] = square[i];
                }
            }
        }
        y
    }
}

impl Avx2 {
    vectors! {
        /// Lanes of the lower or the upper half of a table.
        choose(nibbles: __m256i; low: __m256i, high: __m256i) -> __m256i = {
            let (low, high) =
                (_mm256_permutevar8x32_epi32(low, nibbles), _mm256_permutevar8x32_epi32(high, nibbles));
            // The nibble's upper bit as the sign of a float chooses.
            let upper = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(nibbles));
            let (low, high) = (_mm256_castsi256_ps(low), _mm256_castsi256_ps(high));
            _mm256_castps_si256(_mm256_blendv_ps(low, high, upper))
        };
    }
}

/// Rows to columns.
///
/// # Safety
/// The processor has the level.
#[inline(always)]
unsafe fn transpose8(x: [__m256; 8]) -> [__m256; 8] {
    let (mut a, mut b) = (x, x);
    // SAFETY: the caller's.
    unsafe {
        for i in 0..4 {
            a[2 * i] = _mm256_unpacklo_ps(x[2 * i], x[2 * i + 1]);
            a[2 * i + 1] = _mm256_unpackhi_ps(x[2 * i], x[2 * i + 1]);
        }
        for i in 0..2 {
            for j in 0..2 {
                let (p, q) = (_mm256_castps_pd(a[4 * i + j]), _mm256_castps_pd(a[4 * i + j + 2]));
                b[4 * i + 2 * j] = _mm256_castpd_ps(_mm256_unpacklo_pd(p, q));
                b[4 * i + 2 * j + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(p, q));
            }
        }
        for c in 0..4 {
            a[c] = _mm256_permute2f128_ps::<0x20>(b[c], b[4 + c]);
            a[4 + c] = _mm256_permute2f128_ps::<0x31>(b[c], b[4 + c]);
        }
    }
    a
}

/// Of each 128-bit lane: the larger of a's elements 0 and 2, that of b's, and the same of their elements 1
/// and 3.
///
/// # Safety
/// The processor has the level.
#[inline(always)]
unsafe fn max_pairs(a: __m256i, b: __m256i) -> __m256i {
    // SAFETY: the caller's.
    unsafe { _mm256_max_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b)) }
}

/// Of each 128-bit lane of four vectors, as two results of [`max_pairs`]: the largest element of each, in
/// order.
///
/// # Safety
/// The processor has the level.
#[inline(always)]
unsafe fn max_quads(a: __m256i, b: __m256i) -> __m256i {
    // SAFETY: the caller's.
    unsafe { _mm256_max_epi32(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b)) }
}

/// As [`max_pairs`], of the halves of elements.
///
/// # Safety
/// The processor has the level.
#[inline(always)]
unsafe fn max_pairs_i16(a: __m256i, b: __m256i) -> __m256i {
    // SAFETY: the caller's.
    unsafe { _mm256_max_epi16(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b)) }
}

/// As [`max_quads`], of the halves of elements.
///
/// # Safety
/// The processor has the level.
#[inline(always)]
unsafe fn max_quads_i16(a: __m256i, b: __m256i) -> __m256i {
    // SAFETY: the caller's.
    unsafe { _mm256_max_epi16(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b)) }
}
