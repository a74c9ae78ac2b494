// Quantize whole blocks of the named formats (blocks.cuh).
//
// Checked against the reference on the emulator by tests/cuda.rs, byte for byte.
#include "include/blocks.cuh"

#define ENTRY(name, type, element, scale, block, drawn)                                                       \
    extern "C" __global__ void __launch_bounds__(32 * blockscale::kWarps)                                     \
        blockscale_quantize_##name(__grid_constant__ blockscale::Profile const profile,                       \
                                   __grid_constant__ blockscale::QuantizeBlocksArguments const a) {           \
        blockscale::quantize_blocks<blockscale::element, blockscale::scale, block, drawn>(                    \
            profile, a, blockscale::AsTheyStand<type, block>{});                                              \
    }
#define QUANTIZE_BLOCKS(name, element, scale, block)                        \
    ENTRY(name##_f32, float, element, scale, block, false)                  \
    ENTRY(name##_bf16, __nv_bfloat16, element, scale, block, false)         \
    ENTRY(name##_f16, __half, element, scale, block, false)                 \
    ENTRY(name##_drawn_f32, float, element, scale, block, true)             \
    ENTRY(name##_drawn_bf16, __nv_bfloat16, element, scale, block, true)    \
    ENTRY(name##_drawn_f16, __half, element, scale, block, true)

BLOCKSCALE_QUANTIZE_BLOCKS(QUANTIZE_BLOCKS)
