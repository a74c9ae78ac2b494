// Quantize rotated values: the bytes of quantize.cu for what rotate.cu would write as f32, which goes to no
// memory.
//
// Whole blocks of the named formats are rotated where blocks.cuh holds them: a lane has a block, strides
// within it are in registers, longer ones between lanes, up to rotations of 128. Everything else, and
// blocks that were marked, goes one thread a tile (tiles.cuh), which works out each value that it reads by
// itself: size - 1 additions each, for any shape of block. src/cuda/raw/quantize.rs chooses.
//
// Checked against the reference on the emulator by tests/cuda/rotate.rs, byte for byte.
#include "include/blocks.cuh"
#include "include/hadamard.cuh"
#include "include/tiles.cuh"
#include "include/words.cuh"

namespace blockscale {

// One rotated value: of all butterflies those that lead to it, a tree over its block in which the stride
// 2^n adds where bit n of its place is 0 and subtracts where it is 1.
struct Rotated {
    Rotation const& r;

    template <typename T>
    __device__ __noinline__ float operator()(T const* row, uint64_t k) const {
        uint32_t at = uint32_t(k % r.size);
        T const* x = row + (k - at);
        float sums[8];
        uint32_t depth = 0;
        for (uint32_t leaf = 0; leaf < r.size; ++leaf) {
            float sum = signed_by(signs_from(r, leaf), widen(x[leaf]));
            for (uint32_t level = 0; leaf >> level & 1; ++level) {
                float left = sums[--depth];
                sum = at >> level & 1 ? left - sum : left + sum;
            }
            sums[depth++] = sum;
        }
        float y[2] = {sums[0] * r.scale, 0.0f};
        if (r.to_bf16) round_to_bf16(y);
        return y[0];
    }
};

// The signs of a lane's block: sign i at bit 31 of signs << i.
template <uint32_t kBlock>
__device__ inline uint32_t signs_of_block(Rotation const& r, uint32_t lane) {
    uint32_t signs = signs_from(r, lane * kBlock & (r.size - 1));
    if (r.size < kBlock) signs |= signs << 16;
    return __brev(signs);
}

// The same for words of two values: those of a pair at bits 15 and 31 of signs << pair. Odd bits go to
// the lower half, even ones to the upper.
__device__ inline uint32_t signs_of_pairs(uint32_t signs) {
    auto swap = [&](uint32_t apart, uint32_t lower) {
        uint32_t differ = (signs ^ signs >> apart) & lower;
        signs ^= differ ^ differ << apart;
    };
    swap(1, 0x22222222u), swap(2, 0x0c0c0c0cu), swap(4, 0x00f000f0u), swap(8, 0x0000ff00u);
    return signs >> 16 | signs << 16;
}

// Blocks of a warp, rotated: values of any type become f32, so that one kernel takes them all.
template <uint32_t kBlock>
struct Turned {
    static constexpr uint32_t kBytes = 4;
    Rotation const& r;
    Dtype dtype;
    uint32_t signs;

    __device__ inline Turned(Rotation const& rotation, Dtype type) : r(rotation), dtype(type) {
        signs = signs_of_block<kBlock>(r, threadIdx.x % 32);
        if (dtype != Dtype::F32) signs = signs_of_pairs(signs);
    }

    template <typename Load, typename Encode>
    __device__ inline void operator()(uint32_t lane, Load load, Encode encode) const {
        float v[kBlock];
        with_type(dtype, [&](auto* null) {
            constexpr uint32_t kSize = sizeof(*null), kSigns = kSize == 4 ? 0x80000000u : 0x80008000u;
            auto const* type = null;
            uint4 run[kBlock * kSize / 16];
            load(type, run);
#pragma unroll
            for (uint32_t i = 0; i < kBlock * kSize / 16; ++i) {
                uint32_t words[4] = {run[i].x, run[i].y, run[i].z, run[i].w};
#pragma unroll
                for (uint32_t j = 0; j < 4; ++j) {
                    uint32_t word = 4 * i + j;
                    widen_word(type, words[j] ^ (signs << word & kSigns), v + word * 4 / kSize);
                }
            }
        });
        register_butterflies<1, 16>(v);
        if (kBlock > 16 && r.size > 16) register_butterflies<16, kBlock>(v);
        lane_butterflies<128 / kBlock>(lane, r.size / kBlock, v);
        multiply<kBlock>(v, r.scale, v);
        if (r.to_bf16) round_to_bf16(v);
        uint4 run[kBlock / 4];
#pragma unroll
        for (uint32_t i = 0; i < kBlock / 4; ++i) {
            run[i] = uint4{bits_of(v[4 * i]), bits_of(v[4 * i + 1]), bits_of(v[4 * i + 2]), bits_of(v[4 * i + 3])};
        }
        encode(static_cast<float const*>(nullptr), run);
    }
};

template <typename T>
__device__ inline void quantize_rotated(Profile const& profile, QuantizeArguments const& a, Rotation const& r) {
    quantize_tiles<T>(profile, a, Rotated{r});
}

template <typename T>
__device__ inline void quantize_rotated_marked(Profile const& profile, QuantizeArguments const& a, Rotation const& r) {
    quantize_marked_tiles<T>(profile, a, Rotated{r});
}

}  // namespace blockscale

#define GENERIC(verb, name, type)                                                                      \
    extern "C" __global__ void __launch_bounds__(128)                                                  \
        blockscale_##verb##_##name(__grid_constant__ blockscale::Profile const profile,                \
                                   __grid_constant__ blockscale::QuantizeArguments const a,            \
                                   __grid_constant__ blockscale::Rotation const rotation,              \
                                   blockscale::Dtype) {                                                \
        blockscale::verb<type>(profile, a, rotation);                                                  \
    }
GENERIC(quantize_rotated, f32, float)
GENERIC(quantize_rotated, bf16, __nv_bfloat16)
GENERIC(quantize_rotated, f16, __half)
GENERIC(quantize_rotated_marked, f32, float)
GENERIC(quantize_rotated_marked, bf16, __nv_bfloat16)
GENERIC(quantize_rotated_marked, f16, __half)

#define ENTRY(name, element, scale, block, drawn)                                                              \
    extern "C" __global__ void __launch_bounds__(32 * blockscale::kWarps)                                      \
        blockscale_quantize_rotated_##name(__grid_constant__ blockscale::Profile const profile,                \
                                           __grid_constant__ blockscale::QuantizeBlocksArguments const a,      \
                                           __grid_constant__ blockscale::Rotation const rotation,              \
                                           blockscale::Dtype dtype) {                                          \
        blockscale::quantize_blocks<blockscale::element, blockscale::scale, block, drawn>(                     \
            profile, a, blockscale::Turned<block>(rotation, dtype));                                           \
    }
#define QUANTIZE_BLOCKS(name, element, scale, block) \
    ENTRY(name, element, scale, block, false)        \
    ENTRY(name##_drawn, element, scale, block, true)

BLOCKSCALE_QUANTIZE_BLOCKS(QUANTIZE_BLOCKS)
