// One block, or one tile of rows that share a scale, by one thread.
#pragma once
#include "map.cuh"

namespace blockscale {

// Reads x(row, i) of a tile of `rows` x `width`; beyond the tensor it is +0.
template <typename Load>
struct Tile {
    Load load;
    uint32_t rows;
    uint32_t width;
};

// The sum of n = 2^log2_n terms folded in halves (term i pairs with i + n/2), in logarithmic
// space: leaves are visited in bit-reversed order, so that partners follow each other.
template <typename Term>
__device__ inline float folded_sum(uint32_t n, Term term) {
    int levels = n <= 1 ? 0 : 32 - __clz(int(n - 1));
    float stack[21];
    int depth = 0;
    for (uint32_t leaf = 0; leaf < 1u << levels; ++leaf) {
        uint32_t index = levels == 0 ? 0 : __brev(leaf) >> (32 - levels);
        float sum = index < n ? term(index) : 0.0f;
        for (uint32_t pairs = leaf; pairs & 1; pairs >>= 1) sum = stack[--depth] + sum;
        stack[depth++] = sum;
    }
    return stack[0];
}

template <typename Load>
__device__ inline float tile_amax(Profile const& profile, Tile<Load> const& tile) {
    float amax = 0.0f;
    for (uint32_t row = 0; row < tile.rows; ++row) {
        for (uint32_t i = 0; i < tile.width; ++i) {
            float x = tile.load(row, i);
            if (profile.nonfinite == NonFinite::Drop && !is_finite(x)) x = 0.0f;
            amax = max_magnitude(amax, x);
        }
    }
    return amax;
}

// Standard deviation, +0 padding included; an overflow to NaN counts as Inf.
template <typename Load>
__device__ __noinline__ float tile_std(Profile const& profile, Tile<Load> const& tile) {
    uint32_t n = tile.rows * tile.width;
    auto at = [&](uint32_t i) {
        float x = tile.load(i / tile.width, i % tile.width);
        return profile.nonfinite == NonFinite::Drop && !is_finite(x) ? 0.0f : x;
    };
    float mean = folded_sum(n, at) / float(n);
    float mean_square = folded_sum(n, [&](uint32_t i) { return at(i) * at(i); }) / float(n);
    float variance = mean_square - mean * mean;
    return is_nan(variance) ? float_of(0x7f800000u) : sqrtf(fmaxf(variance, 0.0f));
}

// What nearest codes under a scale leave: row sums in index order, rows folded in halves; or the
// largest difference, NaN if any is.
template <typename Load>
__device__ __noinline__ float tile_error(Profile const& profile, TensorFactors const& tensor, Tile<Load> const& tile,
                                   BlockScale scale) {
    float largest = 0.0f;
    float error = folded_sum(tile.rows, [&](uint32_t row) {
        float sum = 0.0f;
        for (uint32_t i = 0; i < tile.width; ++i) {
            float x = tile.load(row, i);
            uint32_t code = element_code(profile, tensor, scale, x, Round{profile.ties, 0, 0});
            float d = decoded(profile, tensor.stored, scale, decode(profile.element, code)) - x;
            largest = max_magnitude(largest, d);
            sum += profile.search == Search::FourOverSixMae ? fabsf(d) : d * d;
        }
        return sum;
    });
    return profile.search == Search::FourOverSixAbsmax ? largest : error;
}

// The scale of a tile, searched where the profile says so: the rule's, unless another leaves a
// strictly smaller error. The larger ones come first (src/numerics/search.rs).
template <typename Load>
__device__ inline BlockScale tile_scale(Profile const& profile, TensorFactors const& tensor,
                                        Tile<Load> const& tile) {
    float amax = tile_amax(profile, tile);
    bool needs_std = profile.scale == ScaleRule::RmsFloor || profile.scale == ScaleRule::RmsNearest;
    float std = needs_std ? tile_std(profile, tile) : 0.0f;
    BlockScale best = block_scale(profile, tensor, amax, std, 1.0f);
    if (best.dead || profile.search == Search::None) return best;
    int first = int(best.code);
    float least = tile_error(profile, tensor, tile, best);
    auto consider = [&](BlockScale scale) {
        float error = tile_error(profile, tensor, tile, scale);
        if (error < least) {
            least = error;
            best = scale;
        }
    };
    if (profile.search != Search::Sweep && profile.search != Search::Clip) {
        BlockScale four = block_scale(profile, tensor, amax, std, 1.5f);
        if (!four.dead) consider(four);
        return best;
    }
    bool e8m0 = profile.scale_format == ScaleFormat::E8M0;
    int lowest = e8m0 ? 0 : 1, highest = e8m0 ? 254 : int(profile.scale_codec.max_code);
    int above = profile.search == Search::Sweep ? 8 : 0, below = profile.search == Search::Sweep ? 8 : 2;
    lowest = first - below > lowest ? first - below : lowest;
    highest = first + above < highest ? first + above : highest;
    for (int code = highest; code >= lowest; --code) {
        if (code != first) consider(BlockScale{uint32_t(code), scale_value(profile, uint32_t(code)), false});
    }
    return best;
}

// What a status word says of a block (src/cuda/raw/mod.rs: status).
constexpr uint32_t kStatusNan = 1, kStatusInf = 2, kStatusGroupBeyondRows = 4;

// Where the codes of a tile's rows go, and what they are drawn by.
struct TileOutput {
    uint8_t* codes;        // of the first row
    uint64_t code_stride;  // bytes
    uint64_t row, k;       // of the first element in the tensor
    uint32_t* status;      // or null
};

// Quantizes a tile of `rows` x `used` values within what `tile` loads; returns its scale. Two tiles
// whose codes share a byte are done one after the other by one thread.
template <typename Load>
__device__ inline uint32_t quantize_tile(Profile const& profile, TensorFactors const& tensor, Draws const& draws,
                                         Tile<Load> const& tile, uint32_t rows, uint32_t used,
                                         TileOutput const& to) {
    BlockScale scale = tile_scale(profile, tensor, tile);
    uint32_t findings = 0;
    for (uint32_t r = 0; r < rows; ++r) {
        uint8_t* codes = to.codes + r * to.code_stride;
        for (uint32_t i = 0; i < used; ++i) {
            uint64_t k = to.k + i;
            float x = tile.load(r, i);
            if (!is_finite(x)) findings |= is_nan(x) ? kStatusNan : kStatusInf;
            uint32_t code = 0;
            if (!scale.dead) {
                code = element_code(profile, tensor, scale, x, round_at(draws, profile.ties, to.row + r, k));
            }
            if (profile.element.bits != 4) {
                codes[k] = uint8_t(code);
            } else if (k % 2 == 0) {
                codes[k / 2] = uint8_t(code);
            } else {
                codes[k / 2] |= uint8_t(code << 4);
            }
        }
    }
    if (to.status && findings) atomicOr(to.status, findings);
    return scale.code;
}

}  // namespace blockscale
