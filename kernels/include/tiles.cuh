// Every format, profile, rounding and shape, one thread a tile (a block, or the rows that share its
// scale): it reads the elements for their amax, chooses the scale, reads them again (then from L1) and
// writes codes and scales. Where a block has an odd number of 4-bit codes, one thread takes two blocks,
// so that no byte is shared.
#pragma once
#include "block.cuh"
#include "real.cuh"

namespace blockscale {

struct QuantizeArguments {
    void const* x;
    uint8_t* codes;
    uint8_t* scales;
    float const* amax;    // of the tensor; where null, amax_value is it
    float* tensor_scale;  // where the stored tensor scale goes, or null
    uint64_t batches, rows, k;
    uint64_t row_stride, batch_stride;  // of x, in elements; k is contiguous
    uint64_t code_stride;               // bytes of a row of codes
    uint64_t scale_columns;
    uint32_t tile_rows;  // rows that share a scale
    uint32_t group;      // blocks along K that one thread takes, so that bytes are not shared
    float amax_value;
    uint32_t reserved;
    uint32_t* status;  // gets findings, or null
    Draws draws;
};

// Tile `at` of all, counted along K first, and its neighbours where they share a byte of codes;
// `read(row, k)` gives a value of a row.
template <typename T, typename Read>
__device__ __noinline__ void quantize_at(Profile const& profile, TensorFactors const& tensor,
                                         QuantizeArguments const& a, uint64_t at, Read const& read) {
    uint64_t groups = (a.scale_columns + a.group - 1) / a.group;
    uint64_t bands = (a.rows + a.tile_rows - 1) / a.tile_rows;
    uint64_t band = at / groups, batch = band / bands;
    uint64_t first = (band % bands) * a.tile_rows;
    uint32_t rows = uint32_t(a.rows - first < a.tile_rows ? a.rows - first : a.tile_rows);
    T const* x = static_cast<T const*>(a.x) + batch * a.batch_stride + first * a.row_stride;
    uint64_t row = batch * a.rows + first;

    for (uint32_t i = 0; i < a.group; ++i) {
        uint64_t column = (at % groups) * a.group + i, start = column * profile.block;
        if (column >= a.scale_columns) break;
        uint32_t used = uint32_t(a.k - start < profile.block ? a.k - start : profile.block);
        auto load = [&](uint32_t r, uint32_t i) {
            return r < rows && i < used ? read(x + r * a.row_stride, start + i) : 0.0f;
        };
        Tile<decltype(load)> tile{load, a.tile_rows, profile.block};
        TileOutput to{a.codes + row * a.code_stride, a.code_stride, row, start, a.status};
        uint32_t scale = quantize_tile(profile, tensor, a.draws, tile, rows, used, to);
        for (uint32_t r = 0; r < rows; ++r) a.scales[(row + r) * a.scale_columns + column] = uint8_t(scale);
    }
}

template <typename T, typename Read>
__device__ inline void quantize_tiles(Profile const& profile, QuantizeArguments const& a, Read const& read) {
    TensorFactors tensor = tensor_factors(profile, a.amax ? *a.amax : a.amax_value);
    if (blockIdx.x == 0 && threadIdx.x == 0 && a.tensor_scale) *a.tensor_scale = tensor.stored;
    uint64_t groups = (a.scale_columns + a.group - 1) / a.group;
    uint64_t work = a.batches * ((a.rows + a.tile_rows - 1) / a.tile_rows) * groups;
    for (uint64_t at = uint64_t(blockIdx.x) * blockDim.x + threadIdx.x; at < work;
         at += uint64_t(gridDim.x) * blockDim.x) {
        quantize_at<T>(profile, tensor, a, at, read);
    }
}

// The blocks that blocks.cuh marked: their scale is 0xff. A thread looks at 16 scales.
template <typename T, typename Read>
__device__ inline void quantize_marked_tiles(Profile const& profile, QuantizeArguments const& a, Read const& read) {
    uint64_t work = a.batches * a.rows * a.scale_columns;
    bool vectors = reinterpret_cast<uintptr_t>(a.scales) % 16 == 0;
    for (uint64_t at = (uint64_t(blockIdx.x) * blockDim.x + threadIdx.x) * 16; at < work;
         at += uint64_t(gridDim.x) * blockDim.x * 16) {
        uint32_t words[4];
        if (vectors && at + 16 <= work) {
            uint4 scales = *reinterpret_cast<uint4 const*>(a.scales + at);
            words[0] = scales.x, words[1] = scales.y, words[2] = scales.z, words[3] = scales.w;
        } else {
            for (uint32_t i = 0; i < 4; ++i) words[i] = 0;
            for (uint32_t i = 0; i < 16 && at + i < work; ++i) {
                words[i / 4] |= uint32_t(a.scales[at + i]) << (i % 4 * 8);
            }
        }
        uint32_t marks = 0;  // a bit a scale
        for (uint32_t i = 0; i < 4; ++i) {
            for (uint32_t j = 0; j < 4; ++j) marks |= uint32_t((words[i] >> (8 * j) & 0xff) == 0xff) << (4 * i + j);
        }
        if (marks == 0) continue;
        TensorFactors tensor = tensor_factors(profile, a.amax ? *a.amax : a.amax_value);
        for (; marks != 0; marks &= marks - 1) {
            quantize_at<T>(profile, tensor, a, at + (__ffs(int(marks)) - 1), read);
        }
    }
}

}  // namespace blockscale
