// Whole blocks of the named formats, at the speed of memory.
//
// A thread takes one block (16 or 32 elements). Its warp brings 32 blocks in 16-byte accesses of
// neighbouring lanes through shared memory (stage.cuh); amax, scale and codes then need no other
// lane, and the codes of a block are 8, 16 or 32 bytes in a row. Scales follow from a few operations
// (fast.cuh); a block for which these do not hold (NaN, Inf, a scale at the end of its range) is
// marked by the scale code 0xff, which no ordinary block has, and done by tiles.cuh in a launch
// that follows. src/cuda/fast.rs says which calls come here; the others go to tiles.cuh at once.
#pragma once
#include <type_traits>

#include "encode.cuh"
#include "fast.cuh"
#include "stage.cuh"
#include "vector.cuh"

namespace blockscale {

constexpr uint32_t kWarps = 4;

// Blocks per row by a multiplication: n / columns for n < 2^31.
struct Divider {
    uint32_t multiplier, shift, divisor;
    __device__ inline uint32_t operator()(uint32_t n) const {
        return uint32_t((uint64_t(n) * multiplier) >> shift);
    }
};

struct QuantizeBlocksArguments {
    void const* x;
    uint8_t* codes;
    uint8_t* scales;
    float const* amax;    // of the tensor; where null, amax_value is it
    float* tensor_scale;  // where the stored tensor scale goes, or null
    uint64_t row_stride;  // of x, in elements
    uint32_t blocks;      // of all rows, below 2^31
    uint32_t dense;       // rows follow each other without gaps
    Divider columns;      // blocks of a row
    float amax_value;
    float carried_up;  // half of the smallest step where ties go AwayByAddition, else 0
    FastScale fast;
    Draws draws;
};
static_assert(sizeof(QuantizeBlocksArguments) == 176, "src/cuda/fast.rs has the same struct");

// AwayByAddition computes floor(fl(|y| / step + 0.5)): the value just below half the smallest step
// comes out as that half does.
__device__ inline void carry_up(float half, float (&y)[8]) {
    float below = float_of(bits_of(half) - 1);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        if (fabsf(y[i]) == below) y[i] = copysignf(half, y[i]);
    }
}

// The code of a block's scale, kNanCode where it is not an ordinary one, and the codes of elements.
template <typename Element, uint32_t kBlock, Drawn kDrawn, typename T, typename Scale, uint32_t kVectors>
__device__ inline uint32_t encode_block(QuantizeBlocksArguments const& a, Scale const& rule, T const* type,
                                        uint4 const (&run)[kVectors], uint32_t row, uint32_t group, uint32_t* words) {
    constexpr uint32_t kPerVector = 16 / sizeof(T), kDrawWords = kDrawn == Drawn::Halves ? 8 : 4;
    constexpr int kUnitExponent = Element::template kUnitExponent<kDrawn>;
    // The unit is a power of two: fl(x factor) unit = fl(x factor unit), but for what is far below
    // every step.
    float factor;
    uint32_t code = rule.template choose<kUnitExponent>(amax_of(type, run), factor);
#pragma unroll
    for (uint32_t i = 0; i < kBlock / 16; ++i) {
        uint32_t draws[kDrawWords] = {};
        if constexpr (kDrawn != Drawn::No) draw16<kDrawn == Drawn::Halves>(a.draws, row, group + i, draws);
#pragma unroll
        for (uint32_t half = 0; half < 2; ++half) {
            float x[8], y[8];
            widen8(type, run + (2 * i + half) * 8 / kPerVector, x);
            multiply<8>(x, factor, y);
            // An integer has no -0 to be kept or dropped.
            if (a.fast.drops_zero_sign && Element::kMinusZero) {
#pragma unroll
                for (int j = 0; j < 8; ++j) {
                    if (kUnitExponent == 0) {
                        y[j] = y[j] + 0.0f;
                    } else if (x[j] * (factor * exp2_normal(-kUnitExponent)) == 0.0f) {  // before the unit
                        y[j] = 0.0f;
                    }
                }
            }
            if (kDrawn == Drawn::Bytes && a.carried_up != 0.0f) carry_up(a.carried_up * exp2_normal(kUnitExponent), y);
            Element::template encode<kDrawn>(y, draws + half * kDrawWords / 2,
                                             words + (2 * i + half) * Element::kWords);
        }
    }
    return code;
}

// A lane's block of the 32 from block `first` on, of which `left` are there.
template <typename T, uint32_t kVectors>
__device__ inline void load_blocks(QuantizeBlocksArguments const& a, uint4* stage, uint32_t lane, uint32_t first,
                                   uint32_t left, uint4 (&run)[kVectors]) {
    constexpr uint32_t kBlock = kVectors * 16 / sizeof(T);
    if (a.dense && left >= 32) {
        auto vectors = static_cast<uint4 const*>(a.x) + uint64_t(first) * kVectors;
        load_runs<kVectors>(stage, lane, run, [&](uint32_t vector) { return __ldg(vectors + vector); });
    } else {
        load_runs<kVectors>(stage, lane, run, [&](uint32_t vector) {
            uint32_t block = first + vector / kVectors, row = a.columns(block);
            uint64_t column = block - row * a.columns.divisor;
            T const* x = static_cast<T const*>(a.x) + row * a.row_stride + column * kBlock;
            return vector < left * kVectors ? __ldg(reinterpret_cast<uint4 const*>(x) + vector % kVectors) : uint4{};
        });
    }
}

// What is quantized are the blocks as they lie in memory.
template <typename T, uint32_t kBlock>
struct AsTheyStand {
    static constexpr uint32_t kBytes = sizeof(T);  // at most, of a value

    template <typename Load, typename Encode>
    __device__ inline void operator()(uint32_t, Load load, Encode encode) const {
        T const* type = nullptr;
        uint4 run[kBlock * sizeof(T) / 16];
        load(type, run);
        encode(type, run);
    }
};

// `values(lane, load, encode)` has `load(type, run)` bring the blocks of a warp, and calls
// `encode(type, run)` with those that are to be quantized.
template <typename Element, typename Scale, uint32_t kBlock, bool kDrawn, typename Values>
__device__ inline void quantize_blocks(Profile const& profile, QuantizeBlocksArguments const& a,
                                       Values const& values) {
    constexpr uint32_t kWords = Element::kWords * kBlock / 8;
    __shared__ uint4 stages[kWarps][32 * kBlock * Values::kBytes / 16];
    __shared__ typename Scale::Constants constants;
    if (threadIdx.x < 32) {  // one warp works out what all need
        TensorFactors tensor = tensor_factors(profile, a.amax ? *a.amax : a.amax_value);
        if (threadIdx.x == 0) {
            // With 16 bits of draw, elements are multiplied by nothing beyond their factor.
            constexpr int kExponent = Element::template kUnitExponent<kDrawn ? Drawn::Bytes : Drawn::No>;
            float unit = kDrawn && a.draws.draw_bits == 16 ? 1.0f : exp2_normal(kExponent);
            constants = Scale::constants(profile, tensor, a.fast.zero_code, unit);
            if (blockIdx.x == 0 && a.tensor_scale) *a.tensor_scale = tensor.stored;
        }
    }
    __syncthreads();
    Scale const rule{a.fast, constants};

    uint32_t const first_group = uint32_t(a.draws.column_offset / 16);  // a shard begins at a block
    uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    uint4* stage = stages[warp];
    for (uint32_t first = (blockIdx.x * kWarps + warp) * 32; first < a.blocks; first += gridDim.x * (kWarps * 32)) {
        uint32_t left = a.blocks - first;
        uint32_t block = first + lane;
        uint32_t row = 0, group = 0;
        if (kDrawn) {
            row = a.columns(block);
            group = (block - row * a.columns.divisor) * (kBlock / 16) + first_group;
            row += a.draws.row_offset;
        }
        uint32_t code, words[kWords];
        auto load = [&](auto type, auto& run) {
            load_blocks<std::remove_const_t<std::remove_pointer_t<decltype(type)>>>(a, stage, lane, first, left, run);
        };
        values(lane, load, [&](auto type, auto const& run) {
            if constexpr (!kDrawn) {
                code = encode_block<Element, kBlock, Drawn::No>(a, rule, type, run, row, group, words);
            } else if (a.draws.draw_bits == 16) {
                code = encode_block<Element, kBlock, Drawn::Halves>(a, rule, type, run, row, group, words);
            } else {
                code = encode_block<Element, kBlock, Drawn::Bytes>(a, rule, type, run, row, group, words);
            }
        });

        uint8_t* codes = a.codes + uint64_t(first) * (kWords * 4);
        if constexpr (kWords >= 4) {
            constexpr uint32_t kStores = kWords / 4;
            uint4 out[kStores];
#pragma unroll
            for (uint32_t i = 0; i < kStores; ++i) {
                out[i] = uint4{words[4 * i], words[4 * i + 1], words[4 * i + 2], words[4 * i + 3]};
            }
            auto store = [&](uint32_t vector, uint4 value) {
                if (vector / kStores < left) reinterpret_cast<uint4*>(codes)[vector] = value;
            };
            if constexpr (kStores == 1) {
                store(lane, out[0]);
            } else {
                store_runs<kStores>(stage, lane, out, store);
            }
        } else if (lane < left) {
            reinterpret_cast<uint2*>(codes)[lane] = uint2{words[0], words[1]};
        }
        if (lane < left) a.scales[block] = uint8_t(code);
    }
}

using Mxfp = ExponentScale<false>;
using Mxint = ExponentScale<true>;
using Int8 = IntegerElement<8, 6, 127>;
using Int6 = IntegerElement<6, 4, 31>;
using Int4 = IntegerElement<4, 2, 7>;
using Int4Whole = IntegerElement<4, 0, 7>;

}  // namespace blockscale

// QUANTIZE_BLOCKS(name, element, scale, block) for each kernel of src/cuda/fast.rs.
#define BLOCKSCALE_QUANTIZE_BLOCKS(QUANTIZE_BLOCKS) \
    QUANTIZE_BLOCKS(e2m1x16, E2M1, FloatScale, 16) \
    QUANTIZE_BLOCKS(e2m1x32, E2M1, Mxfp, 32) \
    QUANTIZE_BLOCKS(int4wx16, Int4Whole, FloatScale, 16) \
    QUANTIZE_BLOCKS(int4x32, Int4, Mxint, 32) \
    QUANTIZE_BLOCKS(e4m3x32, E4M3, Mxfp, 32) \
    QUANTIZE_BLOCKS(e5m2x32, E5M2, Mxfp, 32) \
    QUANTIZE_BLOCKS(e2m3x32, E2M3, Mxfp, 32) \
    QUANTIZE_BLOCKS(e3m2x32, E3M2, Mxfp, 32) \
    QUANTIZE_BLOCKS(int8x32, Int8, Mxint, 32) \
    QUANTIZE_BLOCKS(int6x32, Int6, Mxint, 32)
