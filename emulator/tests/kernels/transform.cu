// A Hadamard transform of 256 values by one block: five stages by shuffles, three through shared
// memory.
extern "C" __global__ void transform(const float* __restrict__ x, float* __restrict__ y) {
  __shared__ float tile[256];
  int t = threadIdx.x;
  float v = x[blockIdx.x * 256 + t];
  for (int s = 1; s < 32; s <<= 1) {
    float u = __shfl_xor_sync(0xffffffffu, v, s);
    v = t & s ? u - v : v + u;
  }
  for (int s = 32; s < 256; s <<= 1) {
#ifdef UNINITIALISED
    if (t != 7)
#endif
      tile[t] = v;
#ifdef DIVERGENT_BARRIER
    if (t % 32 < 16)
#endif
#ifndef MISSING_BARRIER
      __syncthreads();
#endif
    float u = tile[t ^ s];
    v = t & s ? u - v : v + u;
    __syncthreads();
  }
  y[blockIdx.x * 256 + t] = v * 0.0625f;
}
