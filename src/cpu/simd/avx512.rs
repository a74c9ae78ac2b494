//! AVX-512 F, BW, DQ, VL and VBMI: a vector is a register.
#![allow(unsafe_code)]

use super::{Half, Kernel, LANES, PLUS_MINUS, Simd};
use core::arch::x86_64::*;
use half::{bf16, f16};

/// AVX-512 F, BW, DQ, VL, VBMI and what comes before them. Made by [`run`] only.
#[derive(Clone, Copy)]
pub(super) struct Avx512(());

/// Runs a kernel on a processor that has the level.
pub(super) fn run<K: Kernel>(kernel: K) -> K::Output {
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
    fn compiled<K: Kernel>(kernel: K) -> K::Output {
        kernel.run(Avx512(()))
    }
    debug_assert!(crate::Level::Avx512.is_available());
    // SAFETY: a Cpu is asked for its level only after `Level::is_available` was true of it.
    unsafe { compiled(kernel) }
}

/// Functions of vectors that are one expression of intrinsics.
macro_rules! vectors {
    ($($name:ident$(<$n:ident>)?($($x:ident: $t:ty),*) -> $r:ty = $body:expr;)*) => {$(
        #[inline(always)]
        fn $name$(<const $n: u32>)?(self, $($x: $t),*) -> $r {
            // SAFETY: `self` exists only where the processor has these instructions; addresses are those
            // of references to as many bytes.
            unsafe { $body }
        }
    )*};
}

type F = __m512;
type I = __m512i;
type B = __m512i;
type M = __mmask16;

/// A constant vector of words.
const fn words(words: [u16; 32]) -> I {
    // SAFETY: both are 64 bytes without a rule.
    unsafe { core::mem::transmute(words) }
}

/// The even or odd words of two vectors.
const fn every_second(first: u16) -> I {
    let mut order = [0; 32];
    let mut i = 0;
    while i < 32 {
        order[i] = 2 * i as u16 + first;
        i += 1;
    }
    words(order)
}
const EVEN_WORDS: I = every_second(0);

/// Where `narrow` has put byte i mod 4 of lane ⌊i/4⌋.
const STACKED: I = {
    let mut order = [0u8; 64];
    let mut i = 0;
    while i < 64 {
        let (vector, lane) = (i % 4, i / 4);
        order[i] = (vector % 2 * 32 + lane / 8 * 16 + vector / 2 * 8 + lane % 8) as u8;
        i += 1;
    }
    // SAFETY: both are 64 bytes without a rule.
    unsafe { core::mem::transmute(order) }
};
const ODD_WORDS: I = every_second(1);

/// Packing goes lane by lane, so that every `PARTS`-th unit of a packed vector is of one part: an order that
/// puts the parts behind each other. A unit is of 32 / `UNITS` words, whose numbers an index vector holds.
const fn parts<const UNITS: usize, const PARTS: usize>() -> I {
    let mut order = [0; 32];
    let mut i = 0;
    while i < UNITS {
        let per_part = UNITS / PARTS;
        order[i * 32 / UNITS] = (i % per_part * PARTS + i / per_part) as u16;
        i += 1;
    }
    words(order)
}
const QWORDS: I = parts::<8, 2>();
const DWORDS: I = parts::<16, 4>();

/// The magnitude code of y = i / 8, of i from 0 to 63 and then from −64 to −1; an odd i stands for all between
/// its neighbours.
const fn e2m1_codes(ties_zero: bool) -> [I; 2] {
    let mut pairs = [[0; 32]; 2];
    let mut i = 0;
    while i < 128 {
        let steps = if i < 64 { i } else { 128 - i };
        // Above 0.25, at 0.75, above 1.25, at 1.75, above 2.5, at 3.5, above 5.
        let at = if ties_zero { 1 } else { 0 };
        let code = (steps > 2) as u16
            + (steps >= 6 + at) as u16
            + (steps > 10) as u16
            + (steps >= 14 + at) as u16
            + (steps > 20) as u16
            + (steps >= 28 + at) as u16
            + (steps > 40) as u16;
        pairs[i / 64][i % 64 / 2] |= code << (i % 2 * 8);
        i += 1;
    }
    [words(pairs[0]), words(pairs[1])]
}
const E2M1_CODES: [I; 2] = e2m1_codes(false);
const E2M1_CODES_TIES_ZERO: [I; 2] = e2m1_codes(true);

impl Simd for Avx512 {
    type F = F;
    type I = I;
    type B = B;
    type M = M;

    vectors! {
        load(x: &[f32; LANES]) -> F = _mm512_loadu_ps(x.as_ptr());
        load_bf16(x: &[bf16; LANES]) -> F =
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(x.as_ptr().cast()))));
        load_f16(x: &[f16; LANES]) -> F = _mm512_cvtph_ps(_mm256_loadu_si256(x.as_ptr().cast()));
        load_i(x: &[u32; LANES]) -> I = _mm512_loadu_si512(x.as_ptr().cast());
        load_u8(x: &[u8; LANES]) -> I = _mm512_cvtepu8_epi32(_mm_loadu_si128(x.as_ptr().cast()));
        store(x: F, to: &mut [f32; LANES]) -> () = _mm512_storeu_ps(to.as_mut_ptr(), x);
        store_i(x: I, to: &mut [u32; LANES]) -> () = _mm512_storeu_si512(to.as_mut_ptr().cast(), x);

        splat(x: f32) -> F = _mm512_set1_ps(x);
        add(a: F, b: F) -> F = _mm512_add_ps(a, b);
        sub(a: F, b: F) -> F = _mm512_sub_ps(a, b);
        mul(a: F, b: F) -> F = _mm512_mul_ps(a, b);
        div(a: F, b: F) -> F = _mm512_div_ps(a, b);
        min(a: F, b: F) -> F = _mm512_min_ps(a, b);
        max(a: F, b: F) -> F = _mm512_max_ps(a, b);
        mul_add_exact(a: F, b: F, c: F) -> F = _mm512_fmadd_ps(a, b, c);
        lt(a: F, b: F) -> M = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b);
        nan(x: F) -> M = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
        eq(a: F, b: F) -> M = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b);

        bits(x: F) -> I = _mm512_castps_si512(x);
        float(x: I) -> F = _mm512_castsi512_ps(x);
        truncate(x: F) -> I = _mm512_cvttps_epi32(x);
        convert(x: I) -> F = _mm512_cvtepi32_ps(x);

        splat_i(x: i32) -> I = _mm512_set1_epi32(x);
        add_i(a: I, b: I) -> I = _mm512_add_epi32(a, b);
        sub_i(a: I, b: I) -> I = _mm512_sub_epi32(a, b);
        and(a: I, b: I) -> I = _mm512_and_si512(a, b);
        xor3(a: I, b: I, c: I) -> I = _mm512_ternarylogic_epi32::<0x96>(a, b, c);
        min_i(a: I, b: I) -> I = _mm512_min_epi32(a, b);
        max_i(a: I, b: I) -> I = _mm512_max_epi32(a, b);
        shl<N>(x: I) -> I = _mm512_slli_epi32::<N>(x);
        shr<N>(x: I) -> I = _mm512_srli_epi32::<N>(x);
        shl_by(x: I, n: u32) -> I = _mm512_sllv_epi32(x, _mm512_set1_epi32(n as i32));
        shr_by(x: I, n: u32) -> I = _mm512_srlv_epi32(x, _mm512_set1_epi32(n as i32));
        eq_i(a: I, b: I) -> M = _mm512_cmpeq_epi32_mask(a, b);
        gt_i(a: I, b: I) -> M = _mm512_cmpgt_epi32_mask(a, b);
        lt_u(a: I, b: I) -> M = _mm512_cmplt_epu32_mask(a, b);
        select(mask: M, yes: I, no: I) -> I = _mm512_mask_blend_epi32(mask, no, yes);

        mul_wide(a: I, b: I) -> I = _mm512_mul_epu32(a, b);
        shr_wide(x: I) -> I = _mm512_srli_epi64::<32>(x);

        splat_b(x: u8) -> B = _mm512_set1_epi8(x as i8);
        and_b(a: B, b: B) -> B = _mm512_and_si512(a, b);
        or_b(a: B, b: B) -> B = _mm512_or_si512(a, b);
        shr_b(x: B, n: u32) -> B = _mm512_srl_epi16(x, _mm_cvtsi32_si128(n as i32));
        negate_b(x: B, sign: B) -> B =
            _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(sign), _mm512_setzero_si512(), x);
        where_nonzero_b(x: B, y: B) -> B = _mm512_maskz_mov_epi8(_mm512_test_epi8_mask(y, y), x);
        store_bytes(x: B, to: &mut [u8; 64]) -> () =
            _mm512_storeu_si512(to.as_mut_ptr().cast(), _mm512_permutexvar_epi64(QWORDS, x));

        maximum(x: I) -> i32 = _mm512_reduce_max_epi32(x);
        lookup(table: &[u32; 16], nibbles: I) -> I =
            _mm512_permutexvar_epi32(nibbles, _mm512_loadu_si512(table.as_ptr().cast()));
        widen_codes(x: &[u8; LANES], left: u32, right: u32, mask: u16) -> F = {
            let words = _mm256_cvtepu8_epi16(_mm_loadu_si128(x.as_ptr().cast()));
            let words = _mm256_sllv_epi16(words, _mm256_set1_epi16(left as i16));
            let words = _mm256_srav_epi16(words, _mm256_set1_epi16(right as i16));
            _mm512_cvtph_ps(_mm256_and_si256(words, _mm256_set1_epi16(mask as i16)))
        };
        any_above(x: &[u8; 64], mask: u8, last: u8) -> bool = {
            let codes = _mm512_loadu_si512(x.as_ptr().cast());
            let codes = _mm512_and_si512(codes, _mm512_set1_epi8(mask as i8));
            _mm512_cmpgt_epu8_mask(codes, _mm512_set1_epi8(last as i8)) != 0
        };
        to_f16(x: F) -> I =
            _mm512_cvtepu16_epi32(_mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x));
        widen_f16(x: I) -> F = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(x)));
        upper_halves(low: I, high: I) -> I = _mm512_permutex2var_epi16(low, ODD_WORDS, high);
        larger_half(x: I) -> I =
            _mm512_max_epi32(_mm512_slli_epi32::<16>(x), _mm512_and_si512(x, _mm512_set1_epi32(0x7fff_0000)));
        halves(low: I, high: I) -> I = _mm512_permutex2var_epi16(low, EVEN_WORDS, high);
        max_i16(a: I, b: I) -> I = _mm512_max_epi16(a, b);
        fence() -> () = _mm_sfence();
    }

    #[inline(always)]
    fn prefetch<T>(self, x: *const T) {
        // SAFETY: `self` says that the instruction exists; a prefetch reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(x.cast()) }
    }

    #[inline(always)]
    fn any(self, a: M, b: M) -> bool {
        a | b != 0
    }

    #[inline(always)]
    fn butterflies<const N: u32>(self, x: F) -> F {
        // SAFETY: `self` says that the instructions exist.
        unsafe {
            let others = match N {
                0 => _mm512_permute_ps::<0b10_11_00_01>(x),
                1 => _mm512_permute_ps::<0b01_00_11_10>(x),
                2 => _mm512_shuffle_f32x4::<0b10_11_00_01>(x, x),
                _ => _mm512_shuffle_f32x4::<0b01_00_11_10>(x, x),
            };
            // A product with 1 or -1 is exact: one rounding, that of the sum.
            _mm512_fmadd_ps(x, _mm512_loadu_ps(PLUS_MINUS[N as usize].as_ptr()), others)
        }
    }
    #[inline(always)]
    fn in_order(self, words: [I; 4]) -> [I; 2] {
        // SAFETY: `self` says that the instructions exist.
        unsafe {
            // Words 0 and 1 of a call in one u64, 2 and 3 in another.
            let low = _mm512_mask_shuffle_epi32::<_MM_PERM_CCAA>(words[0], 0xaaaa, words[1]);
            let high = _mm512_mask_shuffle_epi32::<_MM_PERM_CCAA>(words[2], 0xaaaa, words[3]);
            let (even, odd) = (_mm512_unpacklo_epi64(low, high), _mm512_unpackhi_epi64(low, high));
            // Calls 0, 2, 4, 6 and 1, 3, 5, 7.
            let order = _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0);
            let first = _mm512_permutex2var_epi64(even, order, odd);
            let order = _mm512_set_epi64(15, 14, 7, 6, 13, 12, 5, 4);
            [first, _mm512_permutex2var_epi64(even, order, odd)]
        }
    }
    #[inline(always)]
    fn widen_bytes(self, x: I, quarter: usize) -> I {
        // SAFETY: `self` says that the instructions exist.
        unsafe {
            _mm512_cvtepu8_epi32(match quarter {
                0 => _mm512_castsi512_si128(x),
                1 => _mm512_extracti32x4_epi32::<1>(x),
                2 => _mm512_extracti32x4_epi32::<2>(x),
                _ => _mm512_extracti32x4_epi32::<3>(x),
            })
        }
    }
    #[inline(always)]
    fn widen_halves(self, x: I, half: usize) -> I {
        // SAFETY: `self` says that the instructions exist.
        unsafe {
            _mm512_cvtepu16_epi32(match half {
                0 => _mm512_castsi512_si256(x),
                _ => _mm512_extracti64x4_epi64::<1>(x),
            })
        }
    }

    /// Each 128-bit lane has eight bytes of vectors 0 and 1, then eight of vectors 2 and 3.
    #[inline(always)]
    fn narrow(self, x: [I; 4]) -> B {
        // SAFETY: `self` says that the instructions exist.
        unsafe {
            let low = _mm512_permutex2var_epi16(x[0], EVEN_WORDS, x[1]);
            let high = _mm512_permutex2var_epi16(x[2], EVEN_WORDS, x[3]);
            _mm512_packs_epi16(low, high)
        }
    }
    #[inline(always)]
    fn strip(self, x: I, _: I) -> I {
        x
    }
    #[inline(always)]
    fn narrow_signs(self, x: [I; 4]) -> B {
        // SAFETY: `self` says that the instructions exist.
        unsafe {
            let low = _mm512_permutex2var_epi16(x[0], ODD_WORDS, x[1]);
            let high = _mm512_permutex2var_epi16(x[2], ODD_WORDS, x[3]);
            _mm512_packs_epi16(low, high)
        }
    }

    #[inline(always)]
    fn pairs(self, low: B, high: B) -> B {
        // SAFETY: `self` says that the instructions exist.
        unsafe { _mm512_or_si512(low, _mm512_slli_epi16::<4>(high)) }
    }
    #[inline(always)]
    fn stacked(self, x: B) -> I {
        // SAFETY: `self` says that the instruction exists.
        unsafe { _mm512_permutexvar_epi8(STACKED, x) }
    }
    #[inline(always)]
    fn store_nibbles(self, x: [B; 2], to: &mut [u8; 64]) {
        // SAFETY: `self` says that the instructions exist; `to` has 64 bytes.
        unsafe {
            let pairs = _mm512_set1_epi16(0x1001);
            let (low, high) =
                (_mm512_maddubs_epi16(x[0], pairs), _mm512_maddubs_epi16(x[1], pairs));
            let packed = _mm512_permutexvar_epi32(DWORDS, _mm512_packus_epi16(low, high));
            _mm512_storeu_si512(to.as_mut_ptr().cast(), packed);
        }
    }

    /// ⌊4y⌋ + ⌈4y⌉, which tells each tie from its neighbours.
    #[inline(always)]
    fn e2m1(self, y: F) -> I {
        const DOWN: i32 = _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC;
        const UP: i32 = _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC;
        // SAFETY: `self` says that the instructions exist.
        unsafe {
            // Where the ulp is 1 for either sign; its bits twice are 0 in the lower half.
            let (four, one) = (_mm512_set1_ps(4.0), _mm512_set1_ps(12_582_912.0));
            let floor = _mm512_fmadd_round_ps::<DOWN>(y, four, one);
            let ceil = _mm512_fmadd_round_ps::<UP>(y, four, one);
            _mm512_add_epi32(_mm512_castps_si512(floor), _mm512_castps_si512(ceil))
        }
    }
    #[inline(always)]
    fn e2m1_codes(self, x: B) -> B {
        // SAFETY: `self` says that the instructions exist.
        unsafe { _mm512_permutex2var_epi8(E2M1_CODES[0], x, E2M1_CODES[1]) }
    }
    const TELLS_TIES: bool = true;
    #[inline(always)]
    fn e2m1_codes_ties_zero(self, x: B) -> B {
        // SAFETY: `self` says that the instructions exist.
        unsafe { _mm512_permutex2var_epi8(E2M1_CODES_TIES_ZERO[0], x, E2M1_CODES_TIES_ZERO[1]) }
    }

    /// From the smallest normal on a float's upper bits count steps, and with half of a and of that normal they
    /// do so below too: one sum, cut, and next to a step's place the 16 bits that the draw is added to.
    #[inline(always)]
    fn drawn(self, a: F, draw: I, first: i32, mantissa_bits: u32) -> I {
        const CUT: i32 = _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC;
        let (half, half_first) = (self.splat(0.5), self.float(self.splat_i(first - (1 << 23))));
        // SAFETY: `self` says that the instructions exist.
        let below = unsafe { _mm512_fmadd_round_ps::<CUT>(a, half, half_first) };
        self.add_i(self.bits(self.max(a, below)), self.shl_by(draw, 7 - mantissa_bits))
    }
    #[inline(always)]
    fn narrow_drawn(self, x: [I; 4], first: i32, mantissa_bits: u32) -> B {
        // SAFETY: `self` says that the instructions exist.
        unsafe {
            let zero = _mm512_set1_epi16(((first - (1 << 23)) >> 16) as i16);
            let right = _mm512_set1_epi16(7 - mantissa_bits as i16);
            let low = _mm512_permutex2var_epi16(x[0], ODD_WORDS, x[1]);
            let high = _mm512_permutex2var_epi16(x[2], ODD_WORDS, x[3]);
            let low = _mm512_srlv_epi16(_mm512_sub_epi16(low, zero), right);
            let high = _mm512_srlv_epi16(_mm512_sub_epi16(high, zero), right);
            _mm512_packs_epi16(low, high)
        }
    }

    #[inline(always)]
    fn maxima_of_8(self, x: [I; 8]) -> I {
        // SAFETY: `self` says that the instructions exist.
        unsafe {
            let first = max_quads(max_pairs(x[0], x[1]), max_pairs(x[2], x[3]));
            let second = max_quads(max_pairs(x[4], x[5]), max_pairs(x[6], x[7]));
            let lanes = _mm512_max_epi32(
                _mm512_shuffle_i32x4::<0x88>(first, second),
                _mm512_shuffle_i32x4::<0xdd>(first, second),
            );
            _mm512_max_epi32(lanes, _mm512_shuffle_i32x4::<0xb1>(lanes, lanes))
        }
    }

    #[inline(always)]
    fn maxima_of_8_halves(self, x: [I; 4]) -> I {
        // SAFETY: `self` says that the instructions exist.
        unsafe {
            let lanes = max_quads_i16(max_pairs_i16(x[0], x[1]), max_pairs_i16(x[2], x[3]));
            let lanes = _mm512_max_epi16(lanes, _mm512_shuffle_i32x4::<0xb1>(lanes, lanes));
            // The even blocks are in lanes 0 to 7 twice, the odd ones in the others.
            let (even, odd) = (lanes, _mm512_shuffle_i32x4::<0x4e>(lanes, lanes));
            let (low, high) = (_mm512_unpacklo_epi32(even, odd), _mm512_unpackhi_epi32(even, odd));
            _mm512_shuffle_i32x4::<0x00>(low, high)
        }
    }

    #[inline(always)]
    fn maxima_of_4_halves(self, x: [I; 4]) -> I {
        // SAFETY: `self` says that the instructions exist.
        unsafe {
            let lanes = max_quads_i16(max_pairs_i16(x[0], x[1]), max_pairs_i16(x[2], x[3]));
            let lanes = _mm512_max_epi16(lanes, _mm512_shuffle_i32x4::<0x4e>(lanes, lanes));
            _mm512_max_epi16(lanes, _mm512_shuffle_i32x4::<0xb1>(lanes, lanes))
        }
    }

    #[inline(always)]
    fn maxima_of_4(self, x: [I; 4]) -> I {
        // SAFETY: `self` says that the instructions exist.
        unsafe {
            let lanes = max_quads(max_pairs(x[0], x[1]), max_pairs(x[2], x[3]));
            let lanes = _mm512_max_epi32(lanes, _mm512_shuffle_i32x4::<0x4e>(lanes, lanes));
            _mm512_max_epi32(lanes, _mm512_shuffle_i32x4::<0xb1>(lanes, lanes))
        }
    }

    #[inline(always)]
    fn lanes_of_8(self, x: F) -> [f32; 8] {
        let mut lanes = [0.0; 8];
        // SAFETY: `self` says that the instructions exist; the store fills `lanes`.
        unsafe {
            let order = _mm512_set_epi32(0, 0, 0, 0, 0, 0, 0, 0, 11, 10, 9, 8, 3, 2, 1, 0);
            let first = _mm512_castps512_ps256(_mm512_permutexvar_ps(order, x));
            _mm256_storeu_ps(lanes.as_mut_ptr(), first);
        }
        lanes
    }
    #[inline(always)]
    fn lanes_of_4(self, x: F) -> [f32; 8] {
        let mut lanes = [0.0; 8];
        // SAFETY: `self` says that the instructions exist; the store fills `lanes`.
        unsafe {
            let twice = _mm256_set_epi32(3, 3, 2, 2, 1, 1, 0, 0);
            let x = _mm256_permutevar8x32_ps(_mm512_castps512_ps256(x), twice);
            _mm256_storeu_ps(lanes.as_mut_ptr(), x);
        }
        lanes
    }
    #[inline(always)]
    fn bytes_of_8(self, x: I) -> u64 {
        // SAFETY: `self` says that the instructions exist.
        unsafe {
            let bytes = _mm512_cvtepi32_epi8(x);
            // Blocks 0 to 3 lie in lanes 0 to 3, the others in lanes 8 to 11.
            _mm_cvtsi128_si64(_mm_shuffle_epi32::<0x08>(bytes)) as u64
        }
    }

    /// Each has its blocks 0 to 3 in lanes 0 to 3 and 4 to 7, and blocks 4 to 7 in the others.
    #[inline(always)]
    fn beside(self, a: I, b: I) -> I {
        // SAFETY: `self` says that the instruction exists.
        unsafe { _mm512_mask_mov_epi32(a, 0xf0f0, b) }
    }
    #[inline(always)]
    fn lanes_of_16(self, x: F) -> [[f32; 8]; 2] {
        let mut lanes = [[0.0; 8]; 2];
        // SAFETY: `self` says that the instructions exist; the store fills `lanes`.
        unsafe {
            let x = _mm512_shuffle_f32x4::<0b11_01_10_00>(x, x);
            _mm512_storeu_ps(lanes.as_mut_ptr().cast(), x);
        }
        lanes
    }
    #[inline(always)]
    fn bytes_of_16(self, x: I) -> [u64; 2] {
        // SAFETY: `self` says that the instructions exist.
        unsafe {
            let bytes = _mm_shuffle_epi32::<0b11_01_10_00>(_mm512_cvtepi32_epi8(x));
            [_mm_cvtsi128_si64(bytes) as u64, _mm_extract_epi64::<1>(bytes) as u64]
        }
    }

    #[inline(always)]
    fn bytes_of_4(self, x: I) -> u32 {
        // SAFETY: `self` says that the instructions exist.
        unsafe { _mm_cvtsi128_si32(_mm512_cvtepi32_epi8(x)) as u32 }
    }

    #[inline(always)]
    fn nibbles(self, x: &[u8; 64]) -> [I; 8] {
        // SAFETY: `self` says that the instructions exist; `x` has 64 bytes.
        unsafe {
            let all = _mm512_loadu_si512(x.as_ptr().cast());
            let first = _mm512_set_epi32(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0);
            let shifts = _mm512_set_epi32(28, 24, 20, 16, 12, 8, 4, 0, 28, 24, 20, 16, 12, 8, 4, 0);
            let mut nibbles = [all; 8];
            for (i, nibbles) in nibbles.iter_mut().enumerate() {
                let order = _mm512_add_epi32(first, _mm512_set1_epi32(2 * i as i32));
                *nibbles = _mm512_srlv_epi32(_mm512_permutexvar_epi32(order, all), shifts);
            }
            nibbles
        }
    }

    #[inline(always)]
    fn to_bf16(self, x: F) -> I {
        // SAFETY: `self` says that the instructions exist.
        unsafe {
            let bits = _mm512_castps_si512(x);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let half = _mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff));
            _mm512_srli_epi32::<16>(_mm512_add_epi32(half, odd))
        }
    }

    #[inline(always)]
    fn load_halves<H: Half>(self, x: &[H; 2 * LANES]) -> I {
        // SAFETY: `self` says that the instruction exists; 32 halves are 64 bytes.
        unsafe { _mm512_loadu_si512(x.as_ptr().cast()) }
    }

    #[inline(always)]
    unsafe fn write(self, x: I, to: *mut u8) {
        // SAFETY: the caller gives 64 writable bytes.
        unsafe { _mm512_storeu_si512(to.cast(), x) }
    }
    #[inline(always)]
    unsafe fn stream(self, x: I, to: *mut u8) {
        // SAFETY: the caller gives 64 writable bytes at a multiple of 64.
        unsafe { _mm512_stream_si512(to.cast(), x) }
    }

    #[inline(always)]
    fn transpose(self, x: [F; LANES]) -> [F; LANES] {
        // SAFETY: `self` says that the instructions exist.
        unsafe {
            let (mut a, mut b) = (x, x);
            // Elements of neighbouring rows, then pairs of them, then 128-bit lanes.
            for i in 0..8 {
                a[2 * i] = _mm512_unpacklo_ps(x[2 * i], x[2 * i + 1]);
                a[2 * i + 1] = _mm512_unpackhi_ps(x[2 * i], x[2 * i + 1]);
            }
            for i in 0..4 {
                for j in 0..2 {
                    let (p, q) =
                        (_mm512_castps_pd(a[4 * i + j]), _mm512_castps_pd(a[4 * i + j + 2]));
                    b[4 * i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(p, q));
                    b[4 * i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(p, q));
                }
            }
            // b[4 i + c] has in lane l the rows 4 i .. 4 i + 3 of column 4 l + c.
            for c in 0..4 {
                let low = _mm512_shuffle_f32x4::<0x88>(b[c], b[4 + c]);
                let high = _mm512_shuffle_f32x4::<0xdd>(b[c], b[4 + c]);
                let low2 = _mm512_shuffle_f32x4::<0x88>(b[8 + c], b[12 + c]);
                let high2 = _mm512_shuffle_f32x4::<0xdd>(b[8 + c], b[12 + c]);
                a[c] = _mm512_shuffle_f32x4::<0x88>(low, low2);
                a[8 + c] = _mm512_shuffle_f32x4::<0xdd>(low, low2);
                a[4 + c] = _mm512_shuffle_f32x4::<0x88>(high, high2);
                a[12 + c] = _mm512_shuffle_f32x4::<0xdd>(high, high2);
            }
            a
        }
    }
}

/// Of each 128-bit lane: the larger of a's elements 0 and 2, that of b's, and the same of their elements 1
/// and 3.
///
/// # Safety
/// The processor has the level.
#[inline(always)]
unsafe fn max_pairs(a: I, b: I) -> I {
    // SAFETY: the caller's.
    unsafe { _mm512_max_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b)) }
}

/// Of each 128-bit lane of four vectors, as two results of [`max_pairs`]: the largest element of each, in
/// order.
///
/// # Safety
/// The processor has the level.
#[inline(always)]
unsafe fn max_quads(a: I, b: I) -> I {
    // SAFETY: the caller's.
    unsafe { _mm512_max_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b)) }
}

/// As [`max_pairs`], of the halves of elements.
///
/// # Safety
/// The processor has the level.
#[inline(always)]
unsafe fn max_pairs_i16(a: I, b: I) -> I {
    // SAFETY: the caller's.
    unsafe { _mm512_max_epi16(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b)) }
}

/// As [`max_quads`], of the halves of elements.
///
/// # Safety
/// The processor has the level.
#[inline(always)]
unsafe fn max_quads_i16(a: I, b: I) -> I {
    // SAFETY: the caller's.
    unsafe { _mm512_max_epi16(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b)) }
}
