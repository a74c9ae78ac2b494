// Single instructions of PTX, each beside the software that does the same where an architecture
// does not have it.
#pragma once
#include "bits.cuh"

// The conversions to 4, 6 and 8 bits of the 100 family and later.
#if defined(__CUDA_ARCH_FAMILY_SPECIFIC__) && __CUDA_ARCH_FAMILY_SPECIFIC__ >= 1000
#define BLOCKSCALE_HARDWARE_FP4 1
#else
#define BLOCKSCALE_HARDWARE_FP4 0
#endif
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
#define BLOCKSCALE_HARDWARE_FP8 1
#else
#define BLOCKSCALE_HARDWARE_FP8 0
#endif

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
#define BLOCKSCALE_PAIRS_OF_F32 1
#else
#define BLOCKSCALE_PAIRS_OF_F32 0
#endif

namespace blockscale {

// The larger magnitude, NaN if either is one.
__device__ inline float max_magnitude_nan(float a, float b) {
    float larger;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(larger) : "f"(fabsf(a)), "f"(fabsf(b)));
    return larger;
}

// The same of two pairs of bf16 (f16). The sign means nothing.
__device__ inline uint32_t max_magnitude_nan_bf16x2(uint32_t a, uint32_t b) {
    uint32_t larger;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 860
    asm("max.NaN.xorsign.abs.bf16x2 %0, %1, %2;" : "=r"(larger) : "r"(a), "r"(b));
#else
    asm("max.NaN.bf16x2 %0, %1, %2;" : "=r"(larger) : "r"(a & 0x7fff7fffu), "r"(b & 0x7fff7fffu));
#endif
    return larger;
}
__device__ inline uint32_t max_magnitude_nan_f16x2(uint32_t a, uint32_t b) {
    uint32_t larger;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 860
    asm("max.NaN.xorsign.abs.f16x2 %0, %1, %2;" : "=r"(larger) : "r"(a), "r"(b));
#else
    asm("max.NaN.f16x2 %0, %1, %2;" : "=r"(larger) : "r"(a & 0x7fff7fffu), "r"(b & 0x7fff7fffu));
#endif
    return larger;
}

// Two values rounded to nearest even; the first is the lower half, NaN comes out as 0x7fff.
__device__ inline uint32_t to_bf16x2(float first, float second) {
    uint32_t both;
    asm("cvt.rn.bf16x2.f32 %0, %2, %1;" : "=r"(both) : "f"(first), "f"(second));
    return both;
}
__device__ inline uint32_t to_f16x2(float first, float second) {
    uint32_t both;
    asm("cvt.rn.f16x2.f32 %0, %2, %1;" : "=r"(both) : "f"(first), "f"(second));
    return both;
}

// The same rounded towards 0.
__device__ inline uint32_t to_f16x2_down(float first, float second) {
    uint32_t both;
    asm("cvt.rz.f16x2.f32 %0, %2, %1;" : "=r"(both) : "f"(first), "f"(second));
    return both;
}

// x, or `most` >= 0 with its sign where that is less in magnitude.
__device__ inline float least_magnitude(float x, float most) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 860
    asm("min.xorsign.abs.f32 %0, %0, %1;" : "+f"(x) : "f"(most));
    return x;
#else
    return fmaxf(fminf(x, most), -most);
#endif
}
// The same of two f16.
__device__ inline uint32_t least_magnitude_f16x2(uint32_t x, uint32_t most) {
    uint32_t least;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 860
    asm("min.xorsign.abs.f16x2 %0, %1, %2;" : "=r"(least) : "r"(x), "r"(most));
#else
    asm("min.f16x2 %0, %1, %2;" : "=r"(least) : "r"(x & 0x7fff7fffu), "r"(most));
    least |= x & 0x80008000u;
#endif
    return least;
}

// Two f16, subnormals included.
__device__ inline uint32_t add_f16x2(uint32_t a, uint32_t b) {
    uint32_t sum;
    asm("add.rn.f16x2 %0, %1, %2;" : "=r"(sum) : "r"(a), "r"(b));
    return sum;
}
__device__ inline uint32_t fma_f16x2(uint32_t a, uint32_t b, uint32_t c) {
    uint32_t sum;
    asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(sum) : "r"(a), "r"(b), "r"(c));
    return sum;
}

// y = x * factor, x + addend or fma(x, factor, addends), each rounded once; two to an instruction
// where the architecture has that.
template <int N>
__device__ inline void multiply(float const* x, float factor, float* y) {
#pragma unroll
    for (int i = 0; i < N; i += 2) {
#if BLOCKSCALE_PAIRS_OF_F32
        asm("{ .reg .b64 a, b; mov.b64 a, {%2, %3}; mov.b64 b, {%4, %4}; mul.rn.f32x2 a, a, b;"
            " mov.b64 {%0, %1}, a; }"
            : "=f"(y[i]), "=f"(y[i + 1])
            : "f"(x[i]), "f"(x[i + 1]), "f"(factor));
#else
        y[i] = x[i] * factor, y[i + 1] = x[i + 1] * factor;
#endif
    }
}
template <int N>
__device__ inline void add(float const* x, float addend, float* y) {
#pragma unroll
    for (int i = 0; i < N; i += 2) {
#if BLOCKSCALE_PAIRS_OF_F32
        asm("{ .reg .b64 a, b; mov.b64 a, {%2, %3}; mov.b64 b, {%4, %4}; add.rn.f32x2 a, a, b;"
            " mov.b64 {%0, %1}, a; }"
            : "=f"(y[i]), "=f"(y[i + 1])
            : "f"(x[i]), "f"(x[i + 1]), "f"(addend));
#else
        y[i] = x[i] + addend, y[i + 1] = x[i + 1] + addend;
#endif
    }
}
template <int N>
__device__ inline void fused(float const* x, float factor, float const* addends, float* y) {
#pragma unroll
    for (int i = 0; i < N; i += 2) {
#if BLOCKSCALE_PAIRS_OF_F32
        asm("{ .reg .b64 a, b, c; mov.b64 a, {%2, %3}; mov.b64 b, {%4, %4}; mov.b64 c, {%5, %6};"
            " fma.rn.f32x2 a, a, b, c; mov.b64 {%0, %1}, a; }"
            : "=f"(y[i]), "=f"(y[i + 1])
            : "f"(x[i]), "f"(x[i + 1]), "f"(factor), "f"(addends[i]), "f"(addends[i + 1]));
#else
        y[i] = __fmaf_rn(x[i], factor, addends[i]), y[i + 1] = __fmaf_rn(x[i + 1], factor, addends[i + 1]);
#endif
    }
}

// An approximation of 1 / x within an ulp; normal x and results only.
__device__ inline float reciprocal_approximation(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// a / b rounded once, given y, a 1 / b that is rounded once or refined from the approximation, if all
// of them and the quotient are well inside the normal range: the steps by which div.rn divides there.
__device__ inline float divided(float a, float b, float y) {
    float q = a * y;
    return __fmaf_rn(__fmaf_rn(-q, b, a), y, q);
}
__device__ inline float refined_reciprocal(float b) {
    float y = reciprocal_approximation(b);
    return __fmaf_rn(__fmaf_rn(-b, y, 1.0f), y, y);
}

// a b + c as one instruction: of a shift and an addition the shift would be joined with others.
__device__ inline uint32_t multiply_add(uint32_t a, uint32_t b, uint32_t c) {
    uint32_t sum;
    asm("mad.lo.u32 %0, %1, %2, %3;" : "=r"(sum) : "r"(a), "r"(b), "r"(c));
    return sum;
}

// The bits of `mask` from a, the others from b: one instruction.
__device__ inline uint32_t merged(uint32_t mask, uint32_t a, uint32_t b) {
    uint32_t bits;
    asm("lop3.b32 %0, %1, %2, %3, 0xca;" : "=r"(bits) : "r"(mask), "r"(a), "r"(b));
    return bits;
}

// Bytes of the eight in (high, low), picked by the nibbles of a selector.
__device__ inline uint32_t permute(uint32_t low, uint32_t high, uint32_t selector) {
    return __byte_perm(low, high, selector);
}

// Two codes, to nearest even, saturating; the first value's is the lower.
#define BLOCKSCALE_TO_PAIR(name)                                                                   \
    __device__ inline uint32_t to_##name(float first, float second) {                              \
        uint16_t codes;                                                                            \
        asm("cvt.rn.satfinite." #name ".f32 %0, %2, %1;" : "=h"(codes) : "f"(first), "f"(second)); \
        return codes;                                                                              \
    }
#if BLOCKSCALE_HARDWARE_FP8
BLOCKSCALE_TO_PAIR(e4m3x2)
BLOCKSCALE_TO_PAIR(e5m2x2)
#endif
#if BLOCKSCALE_HARDWARE_FP4
BLOCKSCALE_TO_PAIR(e2m3x2)
BLOCKSCALE_TO_PAIR(e3m2x2)
__device__ inline uint32_t to_e2m1x8(float const (&y)[8]) {
    uint32_t codes;
    asm("{ .reg .b8 a, b, c, d;"
        "cvt.rn.satfinite.e2m1x2.f32 a, %2, %1; cvt.rn.satfinite.e2m1x2.f32 b, %4, %3;"
        "cvt.rn.satfinite.e2m1x2.f32 c, %6, %5; cvt.rn.satfinite.e2m1x2.f32 d, %8, %7;"
        "mov.b32 %0, {a, b, c, d}; }"
        : "=r"(codes)
        : "f"(y[0]), "f"(y[1]), "f"(y[2]), "f"(y[3]), "f"(y[4]), "f"(y[5]), "f"(y[6]), "f"(y[7]));
    return codes;
}
#endif
#undef BLOCKSCALE_TO_PAIR

// The values of two codes in the low bytes, exact: an f16 each.
#define BLOCKSCALE_FROM_PAIR(name)                                                         \
    __device__ inline uint32_t from_##name(uint32_t codes) {                               \
        uint32_t both;                                                                     \
        asm("cvt.rn.f16x2." #name " %0, %1;" : "=r"(both) : "h"(uint16_t(codes)));         \
        return both;                                                                       \
    }
#if BLOCKSCALE_HARDWARE_FP8
BLOCKSCALE_FROM_PAIR(e4m3x2)
BLOCKSCALE_FROM_PAIR(e5m2x2)
#endif
#if BLOCKSCALE_HARDWARE_FP4
BLOCKSCALE_FROM_PAIR(e2m3x2)
BLOCKSCALE_FROM_PAIR(e3m2x2)
__device__ inline uint32_t from_e2m1x2(uint32_t codes) {
    uint32_t both;
    asm("{ .reg .b8 a; cvt.u8.u32 a, %1; cvt.rn.f16x2.e2m1x2 %0, a; }" : "=r"(both) : "r"(codes));
    return both;
}
#endif
#undef BLOCKSCALE_FROM_PAIR

}  // namespace blockscale
