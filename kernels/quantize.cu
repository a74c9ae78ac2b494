// Quantize: every format, profile, rounding and shape, one thread a tile (tiles.cuh).
//
// Checked against the reference on the emulator by tests/cuda.rs, byte for byte.
#include "include/tiles.cuh"

namespace blockscale {

struct AsItStands {
    template <typename T>
    __device__ inline float operator()(T const* row, uint64_t k) const {
        return widen(row[k]);
    }
};

template <typename T>
__device__ inline void quantize(Profile const& profile, QuantizeArguments const& a) {
    quantize_tiles<T>(profile, a, AsItStands{});
}

template <typename T>
__device__ inline void quantize_marked(Profile const& profile, QuantizeArguments const& a) {
    quantize_marked_tiles<T>(profile, a, AsItStands{});
}

}  // namespace blockscale

#define ENTRY(verb, name, type)                                                                        \
    extern "C" __global__ void __launch_bounds__(128)                                                  \
        blockscale_##verb##_##name(__grid_constant__ blockscale::Profile const profile,                \
                                   __grid_constant__ blockscale::QuantizeArguments const a) {          \
        blockscale::verb<type>(profile, a);                                                            \
    }
ENTRY(quantize, f32, float)
ENTRY(quantize, bf16, __nv_bfloat16)
ENTRY(quantize, f16, __half)
ENTRY(quantize_marked, f32, float)
ENTRY(quantize_marked, bf16, __nv_bfloat16)
ENTRY(quantize_marked, f16, __half)
