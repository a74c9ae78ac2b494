// The values in 16 bytes, and their largest magnitude.
#pragma once
#include "ptx.cuh"
#include "real.cuh"

namespace blockscale {

// The eight values of 32 (f32) or 16 bytes.
__device__ inline void widen8(float const*, uint4 const* vectors, float (&x)[8]) {
    uint4 a = vectors[0], b = vectors[1];
    uint32_t words[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
#pragma unroll
    for (int i = 0; i < 8; ++i) x[i] = float_of(words[i]);
}
__device__ inline void widen8(__nv_bfloat16 const*, uint4 const* vectors, float (&x)[8]) {
    uint32_t words[4] = {vectors->x, vectors->y, vectors->z, vectors->w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        x[2 * i] = float_of(words[i] << 16);
        x[2 * i + 1] = float_of(words[i] & 0xffff0000u);
    }
}
__device__ inline void widen8(__half const*, uint4 const* vectors, float (&x)[8]) {
    uint32_t words[4] = {vectors->x, vectors->y, vectors->z, vectors->w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        x[2 * i] = __half2float(__ushort_as_half(uint16_t(words[i])));
        x[2 * i + 1] = __half2float(__ushort_as_half(uint16_t(words[i] >> 16)));
    }
}

// The largest magnitude of V vectors, NaN if there is one.
template <uint32_t V>
__device__ inline float amax_of(float const*, uint4 const (&x)[V]) {
    float amax = 0.0f;
#pragma unroll
    for (uint32_t i = 0; i < V; ++i) {
        float low = max_magnitude_nan(float_of(x[i].x), float_of(x[i].y));
        float high = max_magnitude_nan(float_of(x[i].z), float_of(x[i].w));
        amax = max_magnitude_nan(amax, max_magnitude_nan(low, high));
    }
    return amax;
}
template <uint32_t V, typename Max>
__device__ inline uint32_t packed_amax(uint4 const (&x)[V], Max max) {
    auto largest = [&](uint4 v) { return max(max(v.x, v.y), max(v.z, v.w)); };
    uint32_t amax = largest(x[0]);
#pragma unroll
    for (uint32_t i = 1; i < V; ++i) amax = max(amax, largest(x[i]));
    return max(amax, amax >> 16) & 0x7fffu;
}
template <uint32_t V>
__device__ inline float amax_of(__nv_bfloat16 const*, uint4 const (&x)[V]) {
    return float_of(packed_amax(x, [](uint32_t a, uint32_t b) { return max_magnitude_nan_bf16x2(a, b); }) << 16);
}
template <uint32_t V>
__device__ inline float amax_of(__half const*, uint4 const (&x)[V]) {
    uint32_t amax = packed_amax(x, [](uint32_t a, uint32_t b) { return max_magnitude_nan_f16x2(a, b); });
    return __half2float(__ushort_as_half(uint16_t(amax)));
}

// 16 bytes of values, each rounded once; NaN comes out canonical.
__device__ inline uint4 narrow_vector(float const*, float const* y) {
    return uint4{bits_of(y[0]), bits_of(y[1]), bits_of(y[2]), bits_of(y[3])};
}
__device__ inline uint4 narrow_vector(__nv_bfloat16 const*, float const* y) {
    return uint4{to_bf16x2(y[0], y[1]), to_bf16x2(y[2], y[3]), to_bf16x2(y[4], y[5]), to_bf16x2(y[6], y[7])};
}
__device__ inline uint4 narrow_vector(__half const*, float const* y) {
    return uint4{to_f16x2(y[0], y[1]), to_f16x2(y[2], y[3]), to_f16x2(y[4], y[5]), to_f16x2(y[6], y[7])};
}

}  // namespace blockscale
