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
    Dtype from, to;                     // along rows
    Rotation rotation;
};
static_assert(sizeof(RotateArguments) == 136, "src/cuda/arguments.rs has the same struct");

constexpr uint32_t kWarps = 4, kRuns = 4;

// Runs of kRun values: kRuns of each lane, 32 apart. `kScaled`: the product by c and what follows it too.
template <uint32_t kRun, bool kScaled, typename T, typename Take>
__device__ inline void rotate_along_k(RotateArguments const& a, Take take) {
    Rotation const& r = a.rotation;
    constexpr uint32_t kSigns = 8;  // runs of 4 that are 32 apart may have signs of their own
    uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    float before[kSigns], after[kSigns];
#pragma unroll
    for (uint32_t i = 0; i < kSigns; ++i) {
        uint32_t negative = signs_from(r, (i / kRun * 32 + lane) * kRun & (r.size - 1)) >> (i % kRun);
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
        if constexpr (kScaled) {
#pragma unroll
            for (uint32_t i = 0; i < kRuns * kRun; ++i) v[i] *= after[i % kSigns];
            if (r.to_bf16) round_to_bf16(v);
        }
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
    rotate_along_k<kRun, true, T>(a, [&](uint64_t run, float const* y) {
        store_values<kRun>(static_cast<U*>(a.y) + run * kRun, a.y_aligned, kRun, y);
    });
}

template <typename T>
__device__ inline void rotate_amax(RotateArguments const& a) {
    constexpr uint32_t kRun = 16 / sizeof(T);
    __shared__ uint32_t warps[kWarps];
    uint32_t largest = 0;
    if (a.drop) {
        rotate_along_k<kRun, true, T>(a, [&](uint64_t, float const* y) {
#pragma unroll
            for (uint32_t i = 0; i < kRun; ++i) {
                uint32_t bits = magnitude_bits(y[i]);
                if (bits >= 0x7f800000u) bits = 0;
                largest = bits > largest ? bits : largest;
            }
        });
    } else {
        // Products by c, and roundings, keep the order: the largest alone goes through them.
        float amax[2] = {0.0f, 0.0f};
        rotate_along_k<kRun, false, T>(a, [&](uint64_t, float const* y) {
#pragma unroll
            for (uint32_t i = 0; i < kRun; ++i) amax[0] = max_magnitude_nan(amax[0], y[i]);
        });
        amax[0] *= a.rotation.scale;
        if (a.rotation.to_bf16) round_to_bf16(amax);
        largest = bits_of(amax[0]);
    }
    largest = __reduce_max_sync(0xffffffffu, largest);
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = largest;
    __syncthreads();
    if (threadIdx.x < 32) {
        largest = __reduce_max_sync(0xffffffffu, threadIdx.x < kWarps ? warps[threadIdx.x] : 0);
        if (threadIdx.x == 0 && largest != 0) atomicMax(a.amax, largest);
    }
}

constexpr uint32_t kTileRows = 256, kTileColumns = 32, kRowThreads = 256;

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
        uint32_t before = signs_from(r, group * 16 + i & (r.size - 1));
        uint32_t after = signs_from(r, row_after(i) & (r.size - 1));
        signs_before |= (r.inverse ? 0 : before & 1) << i;
        signs_after |= (r.inverse ? after & 1 : 0) << i;
    }
    uint64_t bands = (a.rows + kTileRows - 1) / kTileRows, columns = (a.k + kTileColumns - 1) / kTileColumns;
    for (uint64_t at = blockIdx.x; at < a.batches * bands * columns; at += gridDim.x) {
        uint64_t band = at / columns, matrix = band / bands, row = band % bands * kTileRows;
        uint64_t column = at % columns * kTileColumns + 2 * pair;
        uint32_t there = column >= a.k ? 0 : a.k - column < 2 ? 1 : 2;
        uint32_t rows = uint32_t(a.rows - row < kTileRows ? a.rows - row : kTileRows);
        bool whole = rows == kTileRows && there == 2;
        float left[16], right[16];
        with_type(a.from, [&](auto* type) {
            auto x = static_cast<decltype(type)>(const_cast<void*>(a.x));
            x += matrix * a.batch_stride + (row + group * 16) * a.row_stride + column;
            auto load = [&](bool aligned, auto in_row) {
#pragma unroll
                for (uint32_t i = 0; i < 16; ++i, x += a.row_stride) {
                    float both[2];
                    load_values<2>(x, aligned, in_row(i), both);
                    left[i] = both[0], right[i] = both[1];
                }
            };
            if (whole && a.x_aligned) {
                load(true, [](uint32_t) { return 2; });
            } else {
                load(false, [&](uint32_t i) { return group * 16 + i < rows ? there : 0; });
            }
        });
#pragma unroll
        for (uint32_t i = 0; i < 16; ++i) {
            left[i] = signed_by(signs_before >> i, left[i]), right[i] = signed_by(signs_before >> i, right[i]);
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
            float c = signed_by(signs_after >> i, r.scale);
            left[i] *= c, right[i] *= c;
        }
        if (r.to_bf16) round_to_bf16(left), round_to_bf16(right);
        with_type(a.to, [&](auto* type) {
            auto y = static_cast<decltype(type)>(a.y) + (matrix * a.rows + row) * a.k + column;
            auto store = [&](bool aligned, auto in_row) {
#pragma unroll
                for (uint32_t i = 0; i < 16; ++i) {
                    float both[2] = {left[i], right[i]};
                    store_values<2>(y + row_after(i) * a.k, aligned, in_row(i), both);
                }
            };
            if (whole && a.y_aligned) {
                store(true, [](uint32_t) { return 2; });
            } else {
                store(false, [&](uint32_t i) { return row_after(i) < rows ? there : 0; });
            }
        });
    }
}

}  // namespace blockscale

#define ENTRY(verb, name, ...)                                                                  \
    extern "C" __global__ void __launch_bounds__(32 * blockscale::kWarps)                       \
        blockscale_##verb##_##name(__grid_constant__ blockscale::RotateArguments const a) {     \
        blockscale::verb<__VA_ARGS__>(a);                                                       \
    }
ENTRY(rotate, f32_f32, float, float)
ENTRY(rotate, f32_bf16, float, __nv_bfloat16)
ENTRY(rotate, f32_f16, float, __half)
ENTRY(rotate, bf16_f32, __nv_bfloat16, float)
ENTRY(rotate, bf16_bf16, __nv_bfloat16, __nv_bfloat16)
ENTRY(rotate, bf16_f16, __nv_bfloat16, __half)
ENTRY(rotate, f16_f32, __half, float)
ENTRY(rotate, f16_bf16, __half, __nv_bfloat16)
ENTRY(rotate, f16_f16, __half, __half)
ENTRY(rotate_amax, f32, float)
ENTRY(rotate_amax, bf16, __nv_bfloat16)
ENTRY(rotate_amax, f16, __half)

extern "C" __global__ void __launch_bounds__(blockscale::kRowThreads)
    blockscale_rotate_rows(__grid_constant__ blockscale::RotateArguments const a) {
    blockscale::rotate_rows(a);
}
