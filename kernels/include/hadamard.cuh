// Hadamard rotations: signs, butterflies of strides 1, 2, 4, …, one product (src/numerics/hadamard.rs
// has the formula). A lane holds runs of consecutive values; strides within a run are in registers,
// longer ones between lanes.
#pragma once
#include "ptx.cuh"
#include "real.cuh"

namespace blockscale {

struct Rotation {
    uint32_t size;
    float scale;       // c
    uint32_t inverse;  // signs come last, and nothing is rounded to bf16
    uint32_t to_bf16;
    uint32_t signs[8];  // bit i set: sign i is -1
};

// The type of values, where one kernel takes any.
enum class Dtype : uint32_t { F32, Bf16, F16 };

// Calls `f` with a null pointer of that type.
template <typename F>
__device__ inline void with_type(Dtype dtype, F f) {
    if (dtype == Dtype::F32) {
        f(static_cast<float*>(nullptr));
    } else if (dtype == Dtype::Bf16) {
        f(static_cast<__nv_bfloat16*>(nullptr));
    } else {
        f(static_cast<__half*>(nullptr));
    }
}

// The signs from `at` on as bits, as far as their word goes.
__device__ inline uint32_t signs_from(Rotation const& r, uint32_t at) { return r.signs[at / 32] >> (at % 32); }

// x, or -x where the lowest bit of `negative` is set; a sign of -1 flips the sign bit.
__device__ inline float signed_by(uint32_t negative, float x) { return float_of(bits_of(x) ^ negative << 31); }

// (a, b) -> (a + b, a - b) for strides of registers from kFirst up to, but not including, kEnd.
template <uint32_t kFirst, uint32_t kEnd, uint32_t N>
__device__ inline void register_butterflies(float (&v)[N]) {
#pragma unroll
    for (uint32_t stride = kFirst; stride < kEnd; stride *= 2) {
#pragma unroll
        for (uint32_t i = 0; i < N; ++i) {
            if (i & stride) continue;
            float a = v[i], b = v[i + stride];
            v[i] = a + b, v[i + stride] = a - b;
        }
    }
}

// The same for a stride of `apart` lanes; all 32 take part.
template <uint32_t N>
__device__ inline void lane_butterfly(uint32_t lane, uint32_t apart, float (&v)[N]) {
    // The upper lane gives a - b as b (-1) + a: an exact product, and one rounding.
    float side = lane & apart ? -1.0f : 1.0f;
#pragma unroll
    for (uint32_t i = 0; i < N; ++i) v[i] = __fmaf_rn(v[i], side, __shfl_xor_sync(0xffffffffu, v[i], apart));
}

// All strides between lanes of blocks that `lanes` of them hold, kMost at the most.
template <uint32_t kMost, uint32_t N>
__device__ inline void lane_butterflies(uint32_t lane, uint32_t lanes, float (&v)[N]) {
#pragma unroll
    for (uint32_t apart = 1; apart < kMost; apart *= 2) {
        if (apart >= lanes) break;
        lane_butterfly(lane, apart, v);
    }
}

// Each value rounded to bf16; NaN comes out as that of an f32.
template <uint32_t N>
__device__ inline void round_to_bf16(float (&v)[N]) {
#pragma unroll
    for (uint32_t i = 0; i < N; i += 2) {
        uint32_t both = to_bf16x2(v[i], v[i + 1]);
        v[i] = canonical(float_of(both << 16)), v[i + 1] = canonical(float_of(both & 0xffff0000u));
    }
}

}  // namespace blockscale
