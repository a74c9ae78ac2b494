// f32, bf16 and f16: widening is exact, narrowing rounds to nearest even and writes the
// canonical NaN.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "bits.cuh"

namespace blockscale {

__device__ inline float widen(float x) { return x; }
__device__ inline float widen(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline float widen(__half x) { return __half2float(x); }

template <typename T>
__device__ T narrow(float x);
template <>
__device__ inline float narrow<float>(float x) {
    return canonical(x);
}
template <>
__device__ inline __nv_bfloat16 narrow<__nv_bfloat16>(float x) {
    return is_nan(x) ? __ushort_as_bfloat16(0x7fff) : __float2bfloat16_rn(x);
}
template <>
__device__ inline __half narrow<__half>(float x) {
    return is_nan(x) ? __ushort_as_half(0x7fff) : __float2half_rn(x);
}

}  // namespace blockscale
