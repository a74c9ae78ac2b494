// Quantize the rows of groups (the tokens of a mixture's experts), each with its own tensor scale, from
// sizes that lie on the device, so that a captured graph can run again with others.
//
// Group g is `counts[g]` rows from `first_rows[g]` on; groups ascend and do not overlap. Codes lie where
// their rows do. Scales do so too, or each group's are a matrix of 128x4 tiles of its own, one behind
// the other: `scale_rows[g]` is where group g begins, in rows with their padding, which is written as
// zero. Three launches: amax of each group, the table of scale rows and the tensor scales, and the
// blocks, one thread each.
//
// Checked against the reference, group by group, on the emulator by tests/cuda.rs.
#include "include/block.cuh"
#include "include/vector.cuh"

namespace blockscale {

constexpr uint32_t kThreads = 128;

struct GroupedArguments {
    void const* x;
    uint8_t* codes;
    uint8_t* scales;
    float const* amax;     // of each group, or of all; where null, amax_value is it
    float* tensor_scales;  // of each group, or null
    uint32_t const* first_rows;
    uint32_t const* counts;
    uint32_t* scale_rows;  // one more than there are groups
    uint32_t* status;      // gets findings, or null
    uint64_t rows, k, row_stride;
    uint64_t code_stride;
    uint64_t scale_columns;
    uint32_t groups;
    uint32_t tile;         // rows of a tile of scales: 128, or 0 for scales beside their rows
    uint32_t amax_stride;  // 1 where each group has an amax of its own, else 0
    float amax_value;
    uint32_t drop;         // NaN and Inf count as 0
    uint32_t reserved;
    Draws draws;
};
static_assert(sizeof(GroupedArguments) == 168, "src/cuda/arguments.rs has the same struct");

__device__ inline uint32_t padded(uint32_t rows, uint32_t tile) {
    return tile == 0 ? rows : (rows + tile - 1) / tile * tile;
}

// The rows of a group that exist.
__device__ inline uint32_t rows_of(GroupedArguments const& a, uint32_t group) {
    uint64_t first = a.first_rows[group], count = a.counts[group];
    uint64_t left = first < a.rows ? a.rows - first : 0;
    return uint32_t(count < left ? count : left);
}

// The last group that begins at or before `row`: empty groups come before the one that holds it.
__device__ inline uint32_t group_at(uint32_t const* begins, uint32_t groups, uint64_t row) {
    uint32_t low = 0, high = groups;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (begins[middle] <= row) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

__device__ inline float amax_of_group(GroupedArguments const& a, uint32_t group) {
    return a.amax ? a.amax[group * a.amax_stride] : a.amax_value;
}

// A warp takes a row at a time.
template <typename T>
__device__ inline void group_amax(GroupedArguments const& a) {
    uint32_t lane = threadIdx.x % 32;
    for (uint64_t row = (uint64_t(blockIdx.x) * kThreads + threadIdx.x) / 32; row < a.rows;
         row += uint64_t(gridDim.x) * (kThreads / 32)) {
        uint32_t group = group_at(a.first_rows, a.groups, row);
        uint64_t first = a.first_rows[group];
        if (row < first || row - first >= rows_of(a, group)) continue;
        T const* x = static_cast<T const*>(a.x) + row * a.row_stride;
        bool aligned = reinterpret_cast<uintptr_t>(x) % 16 == 0 && a.drop == 0;
        uint64_t vectors = aligned ? a.k * sizeof(T) / 16 : 0;
        float amax = 0.0f;
        for (uint64_t at = lane; at < vectors; at += 32) {
            uint4 vector[1] = {__ldg(reinterpret_cast<uint4 const*>(x) + at)};
            amax = max_magnitude_nan(amax, amax_of(static_cast<T const*>(nullptr), vector));
        }
        uint32_t largest = bits_of(amax);
        for (uint64_t at = vectors * (16 / sizeof(T)) + lane; at < a.k; at += 32) {
            uint32_t bits = magnitude_bits(widen(x[at]));
            if (a.drop && bits >= 0x7f800000u) bits = 0;
            largest = bits > largest ? bits : largest;
        }
        largest = __reduce_max_sync(0xffffffffu, largest);
        uint32_t* to = reinterpret_cast<uint32_t*>(const_cast<float*>(a.amax)) + group;
        if (lane == 0 && largest != 0) atomicMax(to, largest);
    }
}

// One warp: a running sum over the groups' padded rows.
__device__ inline void group_rows(Profile const& profile, GroupedArguments const& a) {
    uint32_t lane = threadIdx.x, before = 0;
    if (blockIdx.x != 0 || lane >= 32) return;
    for (uint32_t base = 0; base < a.groups; base += 32) {
        uint32_t group = base + lane, rows = 0;
        if (group < a.groups) {
            uint32_t held = rows_of(a, group);
            if (held != a.counts[group] && a.status) atomicOr(a.status, kStatusGroupBeyondRows);
            if (a.tensor_scales) a.tensor_scales[group] = tensor_factors(profile, amax_of_group(a, group)).stored;
            rows = padded(held, a.tile);
        }
        uint32_t sum = rows;
        for (uint32_t step = 1; step < 32; step *= 2) {
            uint32_t other = __shfl_up_sync(0xffffffffu, sum, step);
            if (lane >= step) sum += other;
        }
        if (group < a.groups) a.scale_rows[group] = before + sum - rows;
        before += __shfl_sync(0xffffffffu, sum, 31);
    }
    if (lane == 0) a.scale_rows[a.groups] = before;
}

template <typename T>
__device__ inline void quantize_grouped(Profile const& profile, GroupedArguments const& a) {
    uint64_t columns = a.tile == 0 ? a.scale_columns : (a.scale_columns + 3) / 4 * 4;
    uint64_t work = a.scale_rows[a.groups] * columns;
    for (uint64_t at = uint64_t(blockIdx.x) * kThreads + threadIdx.x; at < work;
         at += uint64_t(gridDim.x) * kThreads) {
        uint64_t scale_row = at / columns, column = at % columns;
        uint32_t group = group_at(a.scale_rows, a.groups, scale_row);
        uint64_t local = scale_row - a.scale_rows[group], row = a.first_rows[group] + local;
        uint64_t place = row * a.scale_columns + column;
        if (a.tile != 0) {
            uint64_t tile = local / a.tile * (columns / 4) + column / 4;
            uint64_t within = local % 32 * 16 + local % 128 / 32 * 4 + column % 4;
            place = a.scale_rows[group] * columns + tile * 4 * a.tile + within;
        }
        if (local >= rows_of(a, group) || column >= a.scale_columns) {
            a.scales[place] = 0;
            continue;
        }
        uint64_t start = column * profile.block;
        uint32_t used = uint32_t(a.k - start < profile.block ? a.k - start : profile.block);
        T const* x = static_cast<T const*>(a.x) + row * a.row_stride + start;
        auto load = [&](uint32_t, uint32_t i) { return i < used ? widen(x[i]) : 0.0f; };
        Tile<decltype(load)> tile{load, 1, profile.block};
        TileOutput to{a.codes + row * a.code_stride, a.code_stride, row, start, a.status};
        TensorFactors tensor = tensor_factors(profile, amax_of_group(a, group));
        a.scales[place] = uint8_t(quantize_tile(profile, tensor, a.draws, tile, 1, used, to));
    }
}

}  // namespace blockscale

#define ENTRY(verb, name, type)                                                                        \
    extern "C" __global__ void __launch_bounds__(blockscale::kThreads)                                 \
        blockscale_##verb##_##name(__grid_constant__ blockscale::Profile const profile,                \
                                   __grid_constant__ blockscale::GroupedArguments const a) {           \
        blockscale::verb<type>(profile, a);                                                            \
    }
#define GROUP_AMAX(name, type)                                                       \
    extern "C" __global__ void __launch_bounds__(blockscale::kThreads)               \
        blockscale_quantize_group_amax_##name(__grid_constant__ blockscale::GroupedArguments const a) { \
        blockscale::group_amax<type>(a);                                             \
    }
ENTRY(quantize_grouped, f32, float)
ENTRY(quantize_grouped, bf16, __nv_bfloat16)
ENTRY(quantize_grouped, f16, __half)
GROUP_AMAX(f32, float)
GROUP_AMAX(bf16, __nv_bfloat16)
GROUP_AMAX(f16, __half)

extern "C" __global__ void __launch_bounds__(blockscale::kThreads)
    blockscale_quantize_group_rows(__grid_constant__ blockscale::Profile const profile,
                          __grid_constant__ blockscale::GroupedArguments const a) {
    blockscale::group_rows(profile, a);
}
