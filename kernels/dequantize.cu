// Dequantize: every format and profile, one thread an element.
//
// Checked against the reference on the emulator by tests/cuda.rs, byte for byte.
#include "include/map.cuh"
#include "include/real.cuh"

namespace blockscale {

struct DequantizeArguments {
    uint8_t const* codes;
    uint8_t const* scales;
    float const* tensor_scale;  // as stored, or null where the profile has none
    void* y;
    uint64_t rows, k;  // rows of all matrices
    uint64_t code_stride;
    uint64_t scale_columns;
};

template <typename T>
__device__ inline void dequantize(Profile const& profile, DequantizeArguments const& a) {
    float stored = a.tensor_scale ? *a.tensor_scale : 1.0f;
    uint64_t elements = a.rows * a.k;
    for (uint64_t at = uint64_t(blockIdx.x) * blockDim.x + threadIdx.x; at < elements;
         at += uint64_t(gridDim.x) * blockDim.x) {
        uint64_t row = at / a.k, k = at % a.k;
        uint8_t const* codes = a.codes + row * a.code_stride;
        uint32_t code = profile.element.bits != 4 ? codes[k] : codes[k / 2] >> (k % 2 * 4) & 0xf;
        uint32_t scale = a.scales[row * a.scale_columns + k / profile.block];
        BlockScale block{scale, scale_value(profile, scale), false};
        float value = decoded(profile, stored, block, decode(profile.element, code));
        static_cast<T*>(a.y)[at] = narrow<T>(value);
    }
}

}  // namespace blockscale

#define DEQUANTIZE(name, type)                                                                    \
    extern "C" __global__ void __launch_bounds__(128)                                             \
        blockscale_dequantize_##name(__grid_constant__ blockscale::Profile const profile,         \
                                     __grid_constant__ blockscale::DequantizeArguments const a) { \
        blockscale::dequantize<type>(profile, a);                                                 \
    }
DEQUANTIZE(f32, float)
DEQUANTIZE(bf16, __nv_bfloat16)
DEQUANTIZE(f16, __half)
