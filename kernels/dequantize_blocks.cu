// Dequantize whole blocks of the named elements at the speed of memory.
//
// A thread writes vectors of 16 bytes, its warp's lanes beside each other; the codes of a vector are
// 2, 4 or 8 bytes that lie beside each other likewise, and a block's lanes share its scale byte.
// Four vectors are in flight at once. Where the architecture has no conversion, a code becomes an f32 by
// its place: as bits of an f32 it is its value times a power of two, subnormals included, and one exact
// multiplication takes that away.
//
// Checked against the reference on the emulator by tests/cuda.rs, byte for byte.
#include "include/vector.cuh"

namespace blockscale {

constexpr uint32_t kThreads = 128, kInFlight = 4;

// How a value follows from the element q, the block scale s and the stored tensor scale g. The last
// has kernels of its own.
enum class Form : uint32_t {
    Scale,     // q s
    Product,   // q (s g)
    Folded,    // q (s g fl(1 / T))
    Quotient,  // q (s / g)
    AmaxLast,  // q s g / T
};

struct DequantizeBlocksArguments {
    uint8_t const* codes;
    uint8_t const* scales;
    float const* tensor_scale;  // as stored, or null where the profile has none
    void* y;
    uint64_t vectors;      // of 16 bytes of y
    uint32_t block_shift;  // log2 of the vectors of a block
    Form form;
    float target;         // T
    float inverse;        // fl(1 / T)
    uint32_t plus_zero;   // +0 is added to q, so that -0 is not kept
    float unit;           // of an integer element
    uint32_t e8m0;        // scales are powers of two; else as follows
    uint32_t scale_sign;  // its bit, or 0
    uint32_t scale_max;   // the largest code that is a number
    uint32_t scale_shift; // to the place of an f32's exponent and mantissa
    float scale_unit;     // what that place is to be multiplied by
    uint32_t reserved;
};
static_assert(sizeof(DequantizeBlocksArguments) == 88, "src/cuda/fast.rs has the same struct");

// From 2^-60 to 2^60: quotients are normal, and residues of divisions too.
__device__ inline bool moderate(float x) { return magnitude_bits(x) - 0x21800000u < 0x3c000000u; }

__device__ inline float e8m0_of(uint32_t code) {
    uint32_t bits = code << 23;
    bits = bits < 0x00400000u ? 0x00400000u : bits;
    return float_of(code == 255 ? kCanonicalNan : bits);
}
__device__ inline float float_scale_of(DequantizeBlocksArguments const& a, uint32_t code) {
    uint32_t magnitude = code & ~a.scale_sign;
    float value = float_of(magnitude << a.scale_shift) * a.scale_unit;
    if (magnitude > a.scale_max) value = float_of(kCanonicalNan);
    return code & a.scale_sign ? -value : value;
}

// The f32 of a code that has its sign at `Sign`, its magnitude below, the code at bit `At` of a word.
template <int MantissaBits, int Bias, int Sign>
__device__ inline float float_at(uint32_t word, int at) {
    constexpr int kTo = 23 - MantissaBits;
    uint32_t magnitude = (at < kTo ? word << (kTo - at) : word >> (at - kTo)) & ((1u << Sign) - 1) << kTo;
    uint32_t sign = word << (31 - Sign - at) & 0x80000000u;
    return float_of(magnitude | sign) * float_of(uint32_t(254 - Bias) << 23);
}
__device__ inline void halves(uint32_t both, float& first, float& second) {
    first = __half2float(__ushort_as_half(uint16_t(both)));
    second = __half2float(__ushort_as_half(uint16_t(both >> 16)));
}

// Elements: the values of all codes of a word.
template <int MantissaBits, int Bias, int Sign, int Bits>
struct FloatDecoder {
    static constexpr uint32_t kBits = Bits;
    static constexpr bool kInteger = false;
    static __device__ inline void values(uint32_t word, float* q) {
#pragma unroll
        for (int i = 0; i < 32 / Bits; ++i) q[i] = float_at<MantissaBits, Bias, Sign>(word, i * Bits);
    }
};
struct SoftwareE4M3 {
    static constexpr uint32_t kBits = 8;
    static constexpr bool kInteger = false;
    static __device__ inline void values(uint32_t word, float* q) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            bool nan = (word >> (8 * i) & 0x7f) == 0x7f;
            q[i] = nan ? float_of(kCanonicalNan) : float_at<3, 7, 7>(word, 8 * i);
        }
    }
};
struct SoftwareE5M2 {  // the upper half of an f16
    static constexpr uint32_t kBits = 8;
    static constexpr bool kInteger = false;
    static __device__ inline void values(uint32_t word, float* q) {
        halves(permute(word, 0, 0x1404), q[0], q[1]);
        halves(permute(word, 0, 0x3424), q[2], q[3]);
    }
};
#define BLOCKSCALE_HARDWARE_DECODER(name, pair)                             \
    struct name {                                                           \
        static constexpr uint32_t kBits = 8;                                \
        static constexpr bool kInteger = false;                             \
        static __device__ inline void values(uint32_t word, float* q) { \
            halves(from_##pair(word), q[0], q[1]);                          \
            halves(from_##pair(word >> 16), q[2], q[3]);                    \
        }                                                                   \
    };
#if BLOCKSCALE_HARDWARE_FP8
BLOCKSCALE_HARDWARE_DECODER(DecodeE4M3, e4m3x2)
BLOCKSCALE_HARDWARE_DECODER(DecodeE5M2, e5m2x2)
#else
using DecodeE4M3 = SoftwareE4M3;
using DecodeE5M2 = SoftwareE5M2;
#endif
#if BLOCKSCALE_HARDWARE_FP4
BLOCKSCALE_HARDWARE_DECODER(DecodeE2M3, e2m3x2)
BLOCKSCALE_HARDWARE_DECODER(DecodeE3M2, e3m2x2)
struct DecodeE2M1 {
    static constexpr uint32_t kBits = 4;
    static constexpr bool kInteger = false;
    static __device__ inline void values(uint32_t word, float* q) {
#pragma unroll
        for (int i = 0; i < 4; ++i) halves(from_e2m1x2(word >> (8 * i)), q[2 * i], q[2 * i + 1]);
    }
};
#else
using DecodeE2M3 = FloatDecoder<3, 1, 5, 8>;
using DecodeE3M2 = FloatDecoder<2, 3, 5, 8>;
using DecodeE2M1 = FloatDecoder<1, 1, 3, 4>;
#endif
#undef BLOCKSCALE_HARDWARE_DECODER
template <int Bits>
struct DecodeInt {
    static constexpr uint32_t kBits = Bits == 4 ? 4 : 8;
    static constexpr bool kInteger = true;
    // In steps. With its sign bit turned over, a code is its value plus 2^(Bits - 1): the low bits of
    // an f32 from 2^23 on.
    static __device__ inline void values(uint32_t word, float* q) {
        constexpr uint32_t kSign = 1u << (Bits - 1), kEach = Bits == 4 ? 0x11111111u : 0x01010101u;
        word = (word & (2 * kSign - 1) * kEach) ^ kSign * kEach;
        uint32_t low = word & 0x0f0f0f0fu, high = word >> 4 & 0x0f0f0f0fu;
        float above[32 / kBits];
#pragma unroll
        for (int i = 0; i < int(32 / kBits); ++i) {
            uint32_t from = Bits != 4 ? word : i % 2 ? high : low;
            above[i] = float_of(permute(from, 0x4b000000u, 0x7440 + (Bits != 4 ? i : i / 2)));
        }
        add<32 / kBits>(above, -float(8388608 + kSign), q);
    }
};

// Codes of N values, N * bits / 8 being 2, 4 or 8 bytes.
template <uint32_t Bytes>
struct Codes {
    uint32_t words[(Bytes + 3) / 4] = {};
    __device__ inline void load(uint8_t const* codes, uint64_t vector) {
        if constexpr (Bytes == 2) {
            words[0] = __ldg(reinterpret_cast<uint16_t const*>(codes) + vector);
        } else if constexpr (Bytes == 4) {
            words[0] = __ldg(reinterpret_cast<uint32_t const*>(codes) + vector);
        } else {
            uint2 both = __ldg(reinterpret_cast<uint2 const*>(codes) + vector);
            words[0] = both.x, words[1] = both.y;
        }
    }
};

// The products of `q` by the factors of a block.
template <int N, typename Element, bool AmaxLast>
__device__ inline void scale_values(DequantizeBlocksArguments const& a, float s, float stored, float* q) {
    if constexpr (AmaxLast) {
        s *= a.unit;
        if (moderate(s * stored)) {
            // `divided` with other signs, so that -0 / T is -0:
            //   n = -(q s g),  first = fl(n (-1 / T)),  y = fl(first - fl(first T + n) / T)
            float n[N], first[N], rest[N];
            multiply<N>(q, s, n);
            multiply<N>(n, -stored, n);
            multiply<N>(n, -a.inverse, first);
            fused<N>(first, a.target, n, rest);
            fused<N>(rest, -a.inverse, first, q);
        } else {
#pragma unroll
            for (int j = 0; j < N; ++j) q[j] = q[j] * s * stored / a.target;
        }
    } else {
        float factor = s;
        if (a.form == Form::Scale) {
            factor = s * a.unit;  // exact
        } else {
            // A factor of 1 changes nothing.
            float second_factor = a.form == Form::Folded ? a.inverse : 1.0f;
            factor = a.form == Form::Quotient ? s / stored : s * stored * second_factor;
            if (Element::kInteger) multiply<N>(q, a.unit, q);
        }
        // An integer has no -0 to be kept or dropped.
        if (!Element::kInteger && a.plus_zero) add<N>(q, 0.0f, q);
        multiply<N>(q, factor, q);
    }
}

// kInFlight vectors of a thread; `kWhole` where all of them are there.
template <typename T, typename Element, bool AmaxLast, bool kWhole>
__device__ inline void dequantize_vectors(DequantizeBlocksArguments const& a, float stored, uint64_t first) {
    constexpr uint32_t kValues = 16 / sizeof(T), kBytes = kValues * Element::kBits / 8;
    constexpr uint32_t kPerWord = 32 / Element::kBits;
    Codes<kBytes> codes[kInFlight];
    uint32_t scale_codes[kInFlight];
    // kThreads vectors are whole blocks.
    uint8_t const* scales_from = a.scales + (first >> a.block_shift);
    uint32_t scales_apart = kThreads >> a.block_shift;
#pragma unroll
    for (uint32_t i = 0; i < kInFlight; ++i) {
        uint64_t vector = first + i * kThreads;
        scale_codes[i] = 0;
        if (kWhole || vector < a.vectors) {
            codes[i].load(a.codes, vector);
            scale_codes[i] = __ldg(scales_from + i * scales_apart);
        }
    }
    float s[kInFlight];
    if (a.e8m0) {
#pragma unroll
        for (uint32_t i = 0; i < kInFlight; ++i) s[i] = e8m0_of(scale_codes[i]);
    } else {
#pragma unroll
        for (uint32_t i = 0; i < kInFlight; ++i) s[i] = float_scale_of(a, scale_codes[i]);
    }
#pragma unroll
    for (uint32_t i = 0; i < kInFlight; ++i) {
        uint64_t vector = first + i * kThreads;
        // A word may hold more codes than a vector takes.
        float y[kValues < kPerWord ? kPerWord : kValues];
#pragma unroll
        for (uint32_t j = 0; j < kValues; j += kPerWord) {
            Element::values(codes[i].words[j / kPerWord], y + j);
        }
        scale_values<kValues, Element, AmaxLast>(a, s[i], stored, y);
        if (kWhole || vector < a.vectors) {
            static_cast<uint4*>(a.y)[vector] = narrow_vector(static_cast<T const*>(nullptr), y);
        }
    }
}

template <typename T, typename Element, bool AmaxLast>
__device__ inline void dequantize_blocks(DequantizeBlocksArguments const& a) {
    constexpr uint32_t kStep = kThreads * kInFlight;
    float stored = a.tensor_scale ? *a.tensor_scale : 1.0f;
    for (uint64_t begin = uint64_t(blockIdx.x) * kStep; begin < a.vectors; begin += uint64_t(gridDim.x) * kStep) {
        if (begin + kStep <= a.vectors) {
            dequantize_vectors<T, Element, AmaxLast, true>(a, stored, begin + threadIdx.x);
        } else {
            dequantize_vectors<T, Element, AmaxLast, false>(a, stored, begin + threadIdx.x);
        }
    }
}

}  // namespace blockscale

#define ENTRY(name, type, element, last)                                                            \
    extern "C" __global__ void __launch_bounds__(blockscale::kThreads) blockscale_dequantize_##name( \
        __grid_constant__ blockscale::DequantizeBlocksArguments const a) {                          \
        blockscale::dequantize_blocks<type, blockscale::element, last>(a);                          \
    }
#define DEQUANTIZE_BLOCKS(name, element, last)        \
    ENTRY(name##_f32, float, element, last)           \
    ENTRY(name##_bf16, __nv_bfloat16, element, last)  \
    ENTRY(name##_f16, __half, element, last)

DEQUANTIZE_BLOCKS(e2m1, DecodeE2M1, false)
DEQUANTIZE_BLOCKS(e2m3, DecodeE2M3, false)
DEQUANTIZE_BLOCKS(e3m2, DecodeE3M2, false)
DEQUANTIZE_BLOCKS(e4m3, DecodeE4M3, false)
DEQUANTIZE_BLOCKS(e5m2, DecodeE5M2, false)
DEQUANTIZE_BLOCKS(int8, DecodeInt<8>, false)
DEQUANTIZE_BLOCKS(int6, DecodeInt<6>, false)
DEQUANTIZE_BLOCKS(int4, DecodeInt<4>, false)
DEQUANTIZE_BLOCKS(e2m1_amax_last, DecodeE2M1, true)
DEQUANTIZE_BLOCKS(int4_amax_last, DecodeInt<4>, true)
