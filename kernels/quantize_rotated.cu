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

// The signs of a lane's block, as bits where `Turned` wants them: for f32 sign i at bit 31 of signs << i,
// for 16-bit values those of a pair at bits 15 and 31 of signs << pair.
template <typename T, uint32_t kBlock>
__device__ inline uint32_t signs_of_block(Rotation const& r, uint32_t lane) {
    uint32_t at = lane * kBlock % r.size, signs = signs_from(r, at);
    if (r.size < kBlock) signs |= signs << 16;
    signs = __brev(signs);
    if (sizeof(T) == 4) return signs;
    // Odd bits go to the lower half, even ones to the upper.
    auto swap = [&](uint32_t apart, uint32_t lower) {
        uint32_t differ = (signs ^ signs >> apart) & lower;
        signs ^= differ ^ differ << apart;
    };
    swap(1, 0x22222222u), swap(2, 0x0c0c0c0cu), swap(4, 0x00f000f0u), swap(8, 0x0000ff00u);
    return signs >> 16 | signs << 16;
}

// Blocks of a warp, rotated.
template <uint32_t kBlock>
struct Turned {
    Rotation const& r;
    uint32_t signs;

    template <typename T, uint32_t kVectors, typename Encode>
    __device__ inline void operator()(T const* type, uint32_t lane, uint4 const (&run)[kVectors], Encode encode) const {
        constexpr uint32_t kPerWord = 4 / sizeof(T), kSigns = sizeof(T) == 4 ? 0x80000000u : 0x80008000u;
        float v[kBlock];
#pragma unroll
        for (uint32_t i = 0; i < kVectors; ++i) {
            uint32_t words[4] = {run[i].x, run[i].y, run[i].z, run[i].w};
#pragma unroll
            for (uint32_t j = 0; j < 4; ++j) {
                uint32_t word = 4 * i + j;
                widen_word(type, words[j] ^ (signs << word & kSigns), v + word * kPerWord);
            }
        }
        register_butterflies<1, 16>(v);
        if (kBlock > 16 && r.size > 16) register_butterflies<16, kBlock>(v);
        lane_butterflies<128 / kBlock>(lane, r.size / kBlock, v);
        multiply<kBlock>(v, r.scale, v);
        if (r.to_bf16) round_to_bf16(v);
        uint4 values[kBlock / 4];
#pragma unroll
        for (uint32_t i = 0; i < kBlock / 4; ++i) {
            values[i] = uint4{bits_of(v[4 * i]), bits_of(v[4 * i + 1]), bits_of(v[4 * i + 2]), bits_of(v[4 * i + 3])};
        }
        encode(static_cast<float const*>(nullptr), values);
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
                                   __grid_constant__ blockscale::Rotation const rotation) {            \
        blockscale::verb<type>(profile, a, rotation);                                                  \
    }
GENERIC(quantize_rotated, f32, float)
GENERIC(quantize_rotated, bf16, __nv_bfloat16)
GENERIC(quantize_rotated, f16, __half)
GENERIC(quantize_rotated_marked, f32, float)
GENERIC(quantize_rotated_marked, bf16, __nv_bfloat16)
GENERIC(quantize_rotated_marked, f16, __half)

#define ENTRY(name, type, element, scale, block, drawn)                                                        \
    extern "C" __global__ void __launch_bounds__(32 * blockscale::kWarps)                                      \
        blockscale_quantize_rotated_##name(__grid_constant__ blockscale::Profile const profile,                \
                                           __grid_constant__ blockscale::QuantizeBlocksArguments const a,      \
                                           __grid_constant__ blockscale::Rotation const rotation) {            \
        uint32_t signs = blockscale::signs_of_block<type, block>(rotation, threadIdx.x % 32);                  \
        blockscale::quantize_blocks<type, blockscale::element, blockscale::scale, block, drawn>(               \
            profile, a, blockscale::Turned<block>{rotation, signs});                                           \
    }
#define QUANTIZE_BLOCKS(name, element, scale, block)                        \
    ENTRY(name##_f32, float, element, scale, block, false)                  \
    ENTRY(name##_bf16, __nv_bfloat16, element, scale, block, false)         \
    ENTRY(name##_f16, __half, element, scale, block, false)                 \
    ENTRY(name##_drawn_f32, float, element, scale, block, true)             \
    ENTRY(name##_drawn_bf16, __nv_bfloat16, element, scale, block, true)    \
    ENTRY(name##_drawn_f16, __half, element, scale, block, true)

BLOCKSCALE_QUANTIZE_BLOCKS(QUANTIZE_BLOCKS)
