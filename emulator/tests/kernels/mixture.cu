// Language features that compile to calls, jump tables, local arrays, constants and atomics.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp4.h>
#include <cuda_fp8.h>
#include <stdint.h>

__constant__ float weights[8] = {1, 2, 3, 4, 5, 6, 7, 8};
__device__ unsigned total = 5;

struct Settings {
  float factors[4];
  unsigned modulus;
};

__device__ __noinline__ float sum_of(const float* list, int count) {
  float s = 0;
  for (int i = 0; i < count; i++) s += list[i];
  return s;
}

extern "C" __global__ void mixture(float* out, unsigned* words, Settings settings) {
  extern __shared__ float dynamic[];
  int t = threadIdx.x;
  float list[8];
  for (int i = 0; i < 8; i++) list[i] = weights[(t + i) % 8] * settings.factors[i % 4];
  dynamic[t] = sum_of(list, t % 8 + 1);
  __syncthreads();
  float v = dynamic[t ^ 1];
  switch (t % settings.modulus) {
    case 0: v += 1; break;
    case 1: v *= 2; break;
    case 2: v = sqrtf(v); break;
    case 3: v = v / 3; break;
    case 4: v = -v; break;
    default: v = fmaf(v, v, 0.5f);
  }
  out[t] = v;
  atomicAdd(&total, 1u);
  atomicMax(&words[0], (unsigned)t);
  unsigned below = __popc(__ballot_sync(0xffffffffu, t % 3 == 0) & ((1u << t % 32) - 1));
  unsigned same = __match_any_sync(0xffffffffu, t % 4);
  unsigned greatest = __reduce_max_sync(0xffffffffu, (t * 7) % 32);
  words[1 + t] = below ^ same ^ greatest ^ __brev(t) ^ __clz(t + 1) ^ __byte_perm(t, same, 0x5140) ^ __funnelshift_l(t, same, 7);
  unsigned __int128 wide = (unsigned __int128)(0x9E3779B97F4A7C15ull * (t + 1)) * (0xD2511F53ull << 20);
  words[1 + blockDim.x + t] = (unsigned)(wide >> 70);
  // Formats: hardware where the target has it, integer code elsewhere, the same bits everywhere.
  float2 pair = make_float2(v, -v / 3);
  unsigned eight = __nv_cvt_float2_to_fp8x2(pair, __NV_SATFINITE, __NV_E4M3);
  unsigned four = __nv_cvt_float2_to_fp4x2(pair, __NV_E2M1, cudaRoundNearest);
  unsigned power = __nv_cvt_float_to_e8m0(v, __NV_SATFINITE, cudaRoundPosInf);
  __half2 back = __half2(__nv_cvt_fp4x2_to_halfraw2(four, __NV_E2M1));
  __nv_bfloat162 b = __hfma2(__floats2bfloat162_rn(v, 1.0f), __floats2bfloat162_rn(2.0f, v), __floats2bfloat162_rn(0.5f, 0.25f));
  words[1 + 2 * blockDim.x + t] = eight | four << 16 | power << 24;
  words[1 + 3 * blockDim.x + t] = *(unsigned*)&back ^ *(unsigned*)&b;
}
