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

namespace blockscale {

// The larger magnitude, NaN if either is one.
__device__ inline float max_magnitude_nan(float a, float b) {
    float larger;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(larger) : "f"(fabsf(a)), "f"(fabsf(b)));
    return larger;
}

// The same of two pairs of bf16 (f16); signs are gone.
__device__ inline uint32_t max_magnitude_nan_bf16x2(uint32_t a, uint32_t b) {
    uint32_t larger;
    asm("{ .reg .b32 x, y; abs.bf16x2 x, %1; abs.bf16x2 y, %2; max.NaN.bf16x2 %0, x, y; }"
        : "=r"(larger) : "r"(a), "r"(b));
    return larger;
}
__device__ inline uint32_t max_magnitude_nan_f16x2(uint32_t a, uint32_t b) {
    uint32_t larger;
    asm("{ .reg .b32 x, y; abs.f16x2 x, %1; abs.f16x2 y, %2; max.NaN.f16x2 %0, x, y; }"
        : "=r"(larger) : "r"(a), "r"(b));
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
__device__ inline uint32_t to_e2m1x2(float first, float second) {
    uint32_t codes;
    asm("{ .reg .b8 t; cvt.rn.satfinite.e2m1x2.f32 t, %2, %1; cvt.u32.u8 %0, t; }"
        : "=r"(codes) : "f"(first), "f"(second));
    return codes;
}
#endif
#undef BLOCKSCALE_TO_PAIR

}  // namespace blockscale
