// Blocks of 32 f32 values to FP4 codes and a power-of-two scale: eight threads a block, four values
// a thread, codes packed into 16 bits.
#include <stdint.h>

__device__ uint32_t code_of(float v) {
  float a = fabsf(v);
  uint32_t c = 0;
  c += a > 0.25f;
  c += a >= 0.75f;
  c += a > 1.25f;
  c += a >= 1.75f;
  c += a > 2.5f;
  c += a >= 3.5f;
  c += a > 5.0f;
  return c | __float_as_uint(v) >> 31 << 3;
}

__device__ uint32_t pack(float low, float high) {
#if defined(__CUDA_ARCH_FAMILY_SPECIFIC__) && __CUDA_ARCH_FAMILY_SPECIFIC__ >= 1000
  uint32_t r;
  asm("{ .reg .b8 t; cvt.rn.satfinite.e2m1x2.f32 t, %1, %2; cvt.u32.u8 %0, t; }" : "=r"(r) : "f"(high), "f"(low));
  return r;
#else
  return code_of(low) | code_of(high) << 4;
#endif
}

extern "C" __global__ void quantize(const float4* __restrict__ x, uint16_t* __restrict__ codes,
                                    uint8_t* __restrict__ scales, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n / 4) return;
  float4 v = x[i];
  float amax = fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w)));
  unsigned mask = __activemask();
#ifdef WRONG_MASK
  mask = 0xffffffffu >> 8;
#endif
  for (int o = 1; o < 8; o <<= 1) amax = fmaxf(amax, __shfl_xor_sync(mask, amax, o));
  uint32_t e = __float_as_uint(amax) >> 23;
  e = e < 2 ? 0 : e - 2;
  float inverse = __uint_as_float((254u - e) << 23);
#ifdef OUT_OF_BOUNDS
  codes += 1;
#endif
  codes[i] = pack(v.x * inverse, v.y * inverse) | pack(v.z * inverse, v.w * inverse) << 8;
  if (threadIdx.x % 8 == 0) scales[i / 8] = e;
}
