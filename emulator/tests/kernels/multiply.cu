// C = A * B^T with bf16 inputs: 64x64 tiles by four warps, two stages of cp.async, ldmatrix, mma.
#include <cuda_bf16.h>
#include <stdint.h>

constexpr int TILE = 64, DEPTH = 32, PITCH = DEPTH + 8;

__device__ void copy16(void* to, const void* from) {
  unsigned at = (unsigned)__cvta_generic_to_shared(to);
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(at), "l"(from));
}

__device__ void load_rows(uint32_t (&r)[4], const void* row) {
  unsigned at = (unsigned)__cvta_generic_to_shared(row);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at));
}

extern "C" __global__ void __launch_bounds__(128) multiply(const __nv_bfloat16* a, const __nv_bfloat16* b, float* c, int n, int k) {
  __shared__ __align__(16) __nv_bfloat16 tiles[2][2][TILE][PITCH];
  int t = threadIdx.x, warp = t / 32, lane = t % 32;
  const __nv_bfloat16* rows[2] = {a + (size_t)blockIdx.y * TILE * k, b + (size_t)blockIdx.x * TILE * k};
  auto fetch = [&](int stage, int at) {
    for (int side = 0; side < 2; side++)
      for (int i = t; i < TILE * DEPTH / 8; i += 128)
        copy16(&tiles[stage][side][i / 4][i % 4 * 8], rows[side] + (size_t)(i / 4) * k + at + i % 4 * 8);
    asm volatile("cp.async.commit_group;");
  };
  float sum[8][4] = {};
  fetch(0, 0);
  for (int at = 0, stage = 0; at < k; at += DEPTH, stage ^= 1) {
    if (at + DEPTH < k) {
      fetch(stage ^ 1, at + DEPTH);
#ifdef WEAK_WAIT
      asm volatile("cp.async.wait_group 2;");
#else
      asm volatile("cp.async.wait_group 1;");
#endif
    } else {
      asm volatile("cp.async.wait_group 0;");
    }
    __syncthreads();
    for (int step = 0; step < DEPTH; step += 16) {
      uint32_t x[4], y[4];
      load_rows(x, &tiles[stage][0][warp * 16 + lane % 16][step + lane / 16 * 8]);
      for (int j = 0; j < 4; j++) {
        load_rows(y, &tiles[stage][1][j * 16 + lane % 8 + lane / 16 * 8][step + lane / 8 % 2 * 8]);
        for (int h = 0; h < 2; h++) {
          float* d = sum[2 * j + h];
          asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                       : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                       : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(y[2 * h]), "r"(y[2 * h + 1]));
        }
      }
    }
#ifndef EARLY_OVERWRITE
    __syncthreads();
#endif
  }
  for (int j = 0; j < 8; j++) {
    size_t row = blockIdx.y * TILE + warp * 16 + lane / 4, column = blockIdx.x * TILE + j * 8 + lane % 4 * 2;
    *(float2*)&c[row * n + column] = make_float2(sum[j][0], sum[j][1]);
    *(float2*)&c[(row + 8) * n + column] = make_float2(sum[j][2], sum[j][3]);
  }
}
