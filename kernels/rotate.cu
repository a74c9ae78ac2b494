// Rotate blocks of 16 to 256 values by Hadamard matrices, along K or along rows, and the amax of what
// comes out, which is written nowhere.
//
// Along K a lane holds runs of 4 or 8 values, one access each, its warp's lanes beside each other: the
// strides within a run are in registers, the next five between lanes, the last one (128 of runs of 4)
// between two runs of a lane.
//
// Along rows a block of threads holds 256 rows of 32 columns, a thread 16 rows of two columns: the strides
// below 16 are in registers, the others too once rows have changed threads through shared memory. In a
// row of it, neighbouring threads have neighbouring words: no bank conflicts.
//
// All values of a block are read before any is written, so that y may be x. Results have the bytes of
// src/reference/rotate.rs on the emulator (tests/cuda/rotate.rs).
#include "include/hadamard.cuh"
#include "include/words.cuh"

namespace blockscale {

struct RotateArguments {
    void const* x;
    void* y;         // dense
    uint32_t* amax;  // of the rotated values, instead of y
    uint64_t batches, rows, k;
    uint64_t row_stride, batch_stride;  // of x, in elements
    uint32_t dense;                     // x has no gaps
    uint32_t x_aligned, y_aligned;      // runs (along rows: pairs) can be read and written as such
    uint32_t drop;                      // NaN and Inf count as 0 for the amax
    Rotation rotation;
};
static_assert(sizeof(RotateArguments) == 128, "src/cuda/arguments.rs has the same struct");

constexpr uint32_t kWarps = 4, kRuns = 4;

// Runs of kRun values: kRuns of each lane, 32 apart.
template <uint32_t kRun, typename T, typename Take>
__device__ inline void rotate_along_k(RotateArguments const& a, Take take) {
    Rotation const& r = a.rotation;
    constexpr uint32_t kSigns = 8;  // runs of 4 that are 32 apart may have signs of their own
    uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    float before[kSigns], after[kSigns];
#pragma unroll
    for (uint32_t i = 0; i < kSigns; ++i) {
        uint32_t negative = signs_from(r, (i / kRun * 32 + lane) * kRun % r.size) >> (i % kRun);
        before[i] = signed_by(r.inverse ? 0 : negative, 1.0f);
        after[i] = signed_by(r.inverse ? negative : 0, r.scale);
    }
    uint64_t runs = a.batches * a.rows * a.k / kRun;
    for (uint64_t first = (uint64_t(blockIdx.x) * kWarps + warp) * 32 * kRuns; first < runs;
         first += uint64_t(gridDim.x) * (kWarps * 32 * kRuns)) {
        float v[kRuns * kRun];
#pragma unroll
        for (uint32_t i = 0; i < kRuns; ++i) {
            uint64_t run = first + i * 32 + lane, at = run * kRun;
            if (!a.dense) {
                uint64_t row = at / a.k, matrix = row / a.rows;
                at = matrix * a.batch_stride + row % a.rows * a.row_stride + at % a.k;
            }
            load_values<kRun>(static_cast<T const*>(a.x) + at, a.x_aligned, run < runs ? kRun : 0, v + i * kRun);
        }
#pragma unroll
        for (uint32_t i = 0; i < kRuns * kRun; ++i) v[i] *= before[i % kSigns];
        register_butterflies<1, kRun>(v);
        lane_butterflies<32>(lane, r.size / kRun, v);
        if (r.size > 32 * kRun) register_butterflies<kRun, 2 * kRun>(v);
#pragma unroll
        for (uint32_t i = 0; i < kRuns * kRun; ++i) v[i] *= after[i % kSigns];
        if (r.to_bf16) round_to_bf16(v);
#pragma unroll
        for (uint32_t i = 0; i < kRuns; ++i) {
            uint64_t run = first + i * 32 + lane;
            if (run < runs) take(run, v + i * kRun);
        }
    }
}

template <typename T, typename U>
__device__ inline void rotate(RotateArguments const& a) {
    // Accesses of 16 bytes on the wider side.
    constexpr uint32_t kRun = sizeof(T) == 2 && sizeof(U) == 2 ? 8 : 4;
    rotate_along_k<kRun, T>(a, [&](uint64_t run, float const* y) {
        store_values<kRun>(static_cast<U*>(a.y) + run * kRun, a.y_aligned, kRun, y);
    });
}

template <typename T>
__device__ inline void rotate_amax(RotateArguments const& a) {
    constexpr uint32_t kRun = 16 / sizeof(T);
    __shared__ uint32_t warps[kWarps];
    uint32_t largest = 0;
    rotate_along_k<kRun, T>(a, [&](uint64_t, float const* y) {
#pragma unroll
        for (uint32_t i = 0; i < kRun; ++i) {
            uint32_t bits = magnitude_bits(y[i]);
            if (a.drop && bits >= 0x7f800000u) bits = 0;
            largest = bits > largest ? bits : largest;
        }
    });
    largest = __reduce_max_sync(0xffffffffu, largest);
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = largest;
    __syncthreads();
    if (threadIdx.x < 32) {
        largest = __reduce_max_sync(0xffffffffu, threadIdx.x < kWarps ? warps[threadIdx.x] : 0);
        if (threadIdx.x == 0 && largest != 0) atomicMax(a.amax, largest);
    }
}

constexpr uint32_t kTileRows = 256, kTileColumns = 32, kRowThreads = 256;

template <typename T, typename U>
__device__ inline void rotate_rows(RotateArguments const& a) {
    __shared__ float2 tile[kTileRows][kTileColumns / 2];
    Rotation const& r = a.rotation;
    uint32_t pair = threadIdx.x % 16, group = threadIdx.x / 16;
    // Once rows have changed threads, register i is at stride 16 of register i - 1 for blocks of `apart`.
    uint32_t apart = r.size / 16, shift = 31 - __clz(int(apart));
    auto row_after = [&](uint32_t i) {
        uint32_t set = (group << (4 - shift)) + (i >> shift);
        return (set / 16 << (4 + shift)) + set % 16 + 16 * (i & (apart - 1));
    };
    uint32_t signs_before = 0, signs_after = 0;  // a bit a register
#pragma unroll
    for (uint32_t i = 0; i < 16; ++i) {
        uint32_t before = signs_from(r, (group * 16 + i) % r.size), after = signs_from(r, row_after(i) % r.size);
        signs_before |= (r.inverse ? 0 : before & 1) << i;
        signs_after |= (r.inverse ? after & 1 : 0) << i;
    }
    uint64_t bands = (a.rows + kTileRows - 1) / kTileRows, columns = (a.k + kTileColumns - 1) / kTileColumns;
    for (uint64_t at = blockIdx.x; at < a.batches * bands * columns; at += gridDim.x) {
        uint64_t band = at / columns, matrix = band / bands, row = band % bands * kTileRows;
        uint64_t column = at % columns * kTileColumns + 2 * pair;
        uint32_t there = column >= a.k ? 0 : a.k - column < 2 ? 1 : 2;
        uint32_t rows = uint32_t(a.rows - row < kTileRows ? a.rows - row : kTileRows);
        T const* x = static_cast<T const*>(a.x) + matrix * a.batch_stride + row * a.row_stride + column;
        U* y = static_cast<U*>(a.y) + (matrix * a.rows + row) * a.k + column;
        float left[16], right[16];
#pragma unroll
        for (uint32_t i = 0; i < 16; ++i) {
            uint32_t from = group * 16 + i;
            float both[2];
            load_values<2>(x + from * a.row_stride, a.x_aligned, from < rows ? there : 0, both);
            left[i] = signed_by(signs_before >> i, both[0]), right[i] = signed_by(signs_before >> i, both[1]);
        }
        register_butterflies<1, 16>(left);
        register_butterflies<1, 16>(right);
        if (apart > 1) {
            __syncthreads();
#pragma unroll
            for (uint32_t i = 0; i < 16; ++i) tile[group * 16 + i][pair] = float2{left[i], right[i]};
            __syncthreads();
#pragma unroll
            for (uint32_t i = 0; i < 16; ++i) {
                float2 both = tile[row_after(i)][pair];
                left[i] = both.x, right[i] = both.y;
            }
            register_butterflies<1, 2>(left);
            register_butterflies<1, 2>(right);
            if (apart > 2) register_butterflies<2, 4>(left), register_butterflies<2, 4>(right);
            if (apart > 4) register_butterflies<4, 8>(left), register_butterflies<4, 8>(right);
            if (apart > 8) register_butterflies<8, 16>(left), register_butterflies<8, 16>(right);
        }
#pragma unroll
        for (uint32_t i = 0; i < 16; ++i) {
            float c = signed_by(signs_after >> i, r.scale), both[2] = {left[i] * c, right[i] * c};
            if (r.to_bf16) round_to_bf16(both);
            uint32_t to = row_after(i);
            store_values<2>(y + to * a.k, a.y_aligned, to < rows ? there : 0, both);
        }
    }
}

}  // namespace blockscale

#define ENTRY(verb, name, threads, ...)                                                                          \
    extern "C" __global__ void __launch_bounds__(threads)                                                        \
        blockscale_##verb##_##name(__grid_constant__ blockscale::RotateArguments const a) {                      \
        blockscale::verb<__VA_ARGS__>(a);                                                                        \
    }
#define ROTATE(verb, threads)                                         \
    ENTRY(verb, f32_f32, threads, float, float)                       \
    ENTRY(verb, f32_bf16, threads, float, __nv_bfloat16)              \
    ENTRY(verb, f32_f16, threads, float, __half)                      \
    ENTRY(verb, bf16_f32, threads, __nv_bfloat16, float)              \
    ENTRY(verb, bf16_bf16, threads, __nv_bfloat16, __nv_bfloat16)     \
    ENTRY(verb, bf16_f16, threads, __nv_bfloat16, __half)             \
    ENTRY(verb, f16_f32, threads, __half, float)                      \
    ENTRY(verb, f16_bf16, threads, __half, __nv_bfloat16)             \
    ENTRY(verb, f16_f16, threads, __half, __half)
ROTATE(rotate, 32 * blockscale::kWarps)
ROTATE(rotate_rows, blockscale::kRowThreads)
ENTRY(rotate_amax, f32, 32 * blockscale::kWarps, float)
ENTRY(rotate_amax, bf16, 32 * blockscale::kWarps, __nv_bfloat16)
ENTRY(rotate_amax, f16, 32 * blockscale::kWarps, __half)
