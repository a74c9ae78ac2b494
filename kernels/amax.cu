// The tensor's amax: max of |x|, NaN if any x is, independent of the order.
//
// As u32 the bits of magnitudes are ordered with NaN above Inf, so a maximum of bits over lanes,
// warps and (by one atomic a block) the grid is the maximum of magnitudes. The result is cleared
// in the stream by `blockscale_amax_clear` before.
//
// Checked against the reference on the emulator by tests/cuda.rs.
#include "include/vector.cuh"

namespace blockscale {

constexpr uint32_t kThreads = 256, kInFlight = 4;

struct AmaxArguments {
    void const* x;
    uint32_t* amax;
    uint64_t batches, rows, k;
    uint64_t row_stride, batch_stride;
    uint32_t drop;  // NaN and Inf count as 0
    uint32_t reserved;
    uint64_t vectors;  // of 16 bytes, from the start, that can be read as such
};

template <typename T>
__device__ inline void amax(AmaxArguments const& a) {
    __shared__ uint32_t warps[kThreads / 32];
    uint64_t elements = a.batches * a.rows * a.k, thread = uint64_t(blockIdx.x) * kThreads + threadIdx.x;
    uint64_t threads = uint64_t(gridDim.x) * kThreads;
    T const* type = nullptr;
    auto vectors = static_cast<uint4 const*>(a.x);
    float amax = 0.0f;
    uint64_t vector = thread;
    for (; vector + (kInFlight - 1) * threads < a.vectors; vector += kInFlight * threads) {
        uint4 x[kInFlight];
#pragma unroll
        for (uint32_t i = 0; i < kInFlight; ++i) x[i] = __ldg(vectors + vector + i * threads);
        amax = max_magnitude_nan(amax, amax_of(type, x));
    }
    for (; vector < a.vectors; vector += threads) {
        uint4 x[1] = {__ldg(vectors + vector)};
        amax = max_magnitude_nan(amax, amax_of(type, x));
    }
    uint32_t largest = bits_of(amax);
    for (uint64_t at = a.vectors * (16 / sizeof(T)) + thread; at < elements; at += threads) {
        uint64_t row = at / a.k, batch = row / a.rows;
        T const* x = static_cast<T const*>(a.x) + batch * a.batch_stride + row % a.rows * a.row_stride;
        uint32_t bits = magnitude_bits(widen(x[at % a.k]));
        if (a.drop && bits >= 0x7f800000u) bits = 0;
        largest = bits > largest ? bits : largest;
    }
    largest = __reduce_max_sync(0xffffffffu, largest);
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = largest;
    __syncthreads();
    if (threadIdx.x < 32) {
        uint32_t warp = threadIdx.x < kThreads / 32 ? warps[threadIdx.x] : 0;
        warp = __reduce_max_sync(0xffffffffu, warp);
        if (threadIdx.x == 0 && warp != 0) atomicMax(a.amax, warp);
    }
}

}  // namespace blockscale

#define AMAX(name, type)                                                                            \
    extern "C" __global__ void __launch_bounds__(blockscale::kThreads)                              \
        blockscale_amax_##name(__grid_constant__ blockscale::AmaxArguments const a) {               \
        blockscale::amax<type>(a);                                                                  \
    }
AMAX(f32, float)
AMAX(bf16, __nv_bfloat16)
AMAX(f16, __half)

namespace blockscale {

struct ClearArguments {
    uint32_t* amax;
    uint64_t count;
};

}  // namespace blockscale

extern "C" __global__ void __launch_bounds__(blockscale::kThreads)
    blockscale_amax_clear(__grid_constant__ blockscale::ClearArguments const a) {
    for (uint64_t at = uint64_t(blockIdx.x) * blockscale::kThreads + threadIdx.x; at < a.count;
         at += uint64_t(gridDim.x) * blockscale::kThreads) {
        a.amax[at] = 0;
    }
}
