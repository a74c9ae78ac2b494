// Bits of an f32, and the few operations whose NaN behaviour is part of the contract.
//
// Kernels are compiled with -fmad=false, -ftz=false, -prec-div=true, -prec-sqrt=true, so that
// + - * / and sqrtf round once, to nearest even, as the host's do.
#pragma once
#include <cstdint>

namespace blockscale {

constexpr uint32_t kCanonicalNan = 0x7fffffffu;
constexpr float kMax = 3.402823466e38f;

__device__ inline uint32_t bits_of(float x) { return __float_as_uint(x); }
__device__ inline float float_of(uint32_t bits) { return __uint_as_float(bits); }
__device__ inline uint32_t magnitude_bits(float x) { return bits_of(x) & 0x7fffffffu; }
__device__ inline bool is_nan(float x) { return magnitude_bits(x) > 0x7f800000u; }
__device__ inline bool is_finite(float x) { return magnitude_bits(x) < 0x7f800000u; }
__device__ inline bool sign_bit(float x) { return bits_of(x) >> 31; }
__device__ inline float canonical(float x) { return is_nan(x) ? float_of(kCanonicalNan) : x; }

// The larger magnitude; NaN if either is one. As integers the bits of magnitudes are ordered,
// NaN above Inf.
__device__ inline float max_magnitude(float a, float b) {
    uint32_t x = magnitude_bits(a), y = magnitude_bits(b);
    return float_of(x > y ? x : y);
}

// 2^exponent for a result in f32's normal range.
__device__ inline float exp2_normal(int exponent) { return float_of(uint32_t(exponent + 127) << 23); }

// A finite |x| as significand * 2^exponent, the significand an integer below 2^24.
struct Split {
    uint32_t significand;
    int exponent;
};
__device__ inline Split split(float x) {
    uint32_t bits = magnitude_bits(x), field = bits >> 23, mantissa = bits & 0x7fffffu;
    return field == 0 ? Split{mantissa, -149} : Split{mantissa | 0x800000u, int(field) - 150};
}

}  // namespace blockscale
