// Codes of eight scaled values at once, by f32 arithmetic instead of a walk over bits.
//
// Adding a power of two so large that its ulp is the step rounds to that step: once, to nearest
// even, and the low bits of the sum are the code. The drawn rounding is
//     code = floor((floor(|y| / step * 2^16) + draw) / 2^16)
// where the inner floor is one addition that rounds down. A draw of 8 bits lies in the upper half of
// one of 16: floor(f 2^8) + d >= 2^8 iff floor(f 2^16) + 2^8 d >= 2^16.
//
// Values are finite or infinite, never NaN; Inf saturates.
#pragma once
#include "ptx.cuh"

namespace blockscale {

// Signs of eight values, at bit 3 of each nibble.
__device__ inline uint32_t sign_nibbles(float const (&y)[8]) {
    auto top_bytes = [&](int i) {
        uint32_t ab = permute(bits_of(y[i]), bits_of(y[i + 2]), 0x0073);
        uint32_t cd = permute(bits_of(y[i + 4]), bits_of(y[i + 6]), 0x0073);
        return permute(ab, cd, 0x5410);
    };
    return (top_bytes(1) & 0x80808080u) | (top_bytes(0) >> 4 & 0x08080808u);
}

// Byte `Byte` of each of four words.
template <int Byte>
__device__ inline uint32_t bytes_of(uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
    constexpr uint32_t kPair = Byte | (Byte + 4) << 4;
    return permute(permute(a, b, kPair), permute(c, d, kPair), 0x5410);
}

// Two draws of 16 bits are in a word; 2^23 plus that of value i of eight.
__device__ inline float drawn_one(uint32_t const* draws, int i) {
    return float_of(permute(draws[i / 2], 0x4b000000u, i % 2 ? 0x7432 : 0x7410));
}
// That draw alone.
__device__ inline uint32_t draw_of(uint32_t const* draws, int i) {
    return permute(draws[i / 2], 0, i % 2 ? 0x4432 : 0x4410);
}

// A float element: MantissaBits, Bias, and the bits of its largest value as an f32.
template <int MantissaBits, int Bias, uint32_t MaxBits>
struct FloatElement {
    // The exponent bits of the binade that a lies in, the subnormals counting to the first.
    static __device__ inline uint32_t binade(float a) {
        return bits_of(fmaxf(a, float_of(kFirst))) & 0x7f800000u;
    }
    static constexpr uint32_t kFirst = uint32_t(128 - Bias) << 23;

    static __device__ inline uint32_t magnitude(float y) {
        float a = fminf(fabsf(y), float_of(MaxBits));
        uint32_t binade_bits = binade(a), magic = binade_bits + (uint32_t(23 - MantissaBits) << 23);
        uint32_t sum = bits_of(a + float_of(magic));
        return sum - magic + ((binade_bits - kFirst) >> (23 - MantissaBits));
    }
    // The code stands above 16 bits.
    static __device__ inline uint32_t drawn_magnitude(float y, uint32_t draw) {
        constexpr int kBits = MantissaBits + 16;
        float a = fminf(fabsf(y), float_of(MaxBits));
        uint32_t binade_bits = binade(a), magic = binade_bits + (uint32_t(23 - kBits) << 23);
        uint32_t sum = bits_of(__fadd_rd(a, float_of(magic + draw)));
        return sum - magic + ((binade_bits - kFirst) >> (23 - kBits));
    }
};

// Bytes: sign at `SignBit`, below it the magnitude.
template <typename Float, int SignBit>
struct FloatBytes {
    static constexpr uint32_t kWords = 2;
    static constexpr bool kMinusZero = true;
    // The sign bits of four values, each at its byte.
    static __device__ inline uint32_t signs(float a, float b, float c, float d) {
        uint32_t tops = bytes_of<3>(bits_of(a), bits_of(b), bits_of(c), bits_of(d));
        return tops >> (7 - SignBit) & (0x01010101u << SignBit);
    }
    template <bool Drawn>
    static __device__ inline void encode(float const (&y)[8], uint32_t const* draws, uint32_t* words) {
        constexpr int kByte = Drawn ? 2 : 0;
        uint32_t codes[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            codes[i] = Drawn ? Float::drawn_magnitude(y[i], draw_of(draws, i)) : Float::magnitude(y[i]);
        }
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            uint32_t magnitudes = bytes_of<kByte>(codes[4 * i], codes[4 * i + 1], codes[4 * i + 2], codes[4 * i + 3]);
            words[i] = magnitudes | signs(y[4 * i], y[4 * i + 1], y[4 * i + 2], y[4 * i + 3]);
        }
    }
};

// The hardware's conversion, where it is to nearest and the architecture has it.
#define BLOCKSCALE_HARDWARE_BYTES(name, software, pair)                                                     \
    struct name {                                                                                           \
        static constexpr uint32_t kWords = 2;                                                               \
        static constexpr bool kMinusZero = true;                                                               \
        template <bool Drawn>                                                                               \
        static __device__ inline void encode(float const (&y)[8], uint32_t const* draws, uint32_t* words) { \
            if constexpr (Drawn) {                                                                          \
                software::template encode<true>(y, draws, words);                         \
            } else {                                                                                        \
                words[0] = to_##pair(y[0], y[1]) | to_##pair(y[2], y[3]) << 16;                             \
                words[1] = to_##pair(y[4], y[5]) | to_##pair(y[6], y[7]) << 16;                             \
            }                                                                                               \
        }                                                                                                   \
    };
using SoftwareE4M3 = FloatBytes<FloatElement<3, 7, 0x43e00000u>, 7>;
using SoftwareE5M2 = FloatBytes<FloatElement<2, 15, 0x47600000u>, 7>;
using SoftwareE2M3 = FloatBytes<FloatElement<3, 1, 0x40f00000u>, 5>;
using SoftwareE3M2 = FloatBytes<FloatElement<2, 3, 0x41e00000u>, 5>;
#if BLOCKSCALE_HARDWARE_FP8
BLOCKSCALE_HARDWARE_BYTES(E4M3, SoftwareE4M3, e4m3x2)
BLOCKSCALE_HARDWARE_BYTES(E5M2, SoftwareE5M2, e5m2x2)
#else
using E4M3 = SoftwareE4M3;
using E5M2 = SoftwareE5M2;
#endif
#if BLOCKSCALE_HARDWARE_FP4
BLOCKSCALE_HARDWARE_BYTES(E2M3, SoftwareE2M3, e2m3x2)
BLOCKSCALE_HARDWARE_BYTES(E3M2, SoftwareE3M2, e3m2x2)
#else
using E2M3 = SoftwareE2M3;
using E3M2 = SoftwareE3M2;
#endif
#undef BLOCKSCALE_HARDWARE_BYTES

struct E2M1 {
    static constexpr uint32_t kWords = 1;
    static constexpr bool kMinusZero = true;

    template <bool Drawn>
    static __device__ inline void encode(float const (&y)[8], uint32_t const* draws, uint32_t* words) {
        if constexpr (Drawn) {
            // As below, in steps of 2^-16 and rounded down, each line on 2^23 plus the draw.
            uint32_t codes[8];
#pragma unroll
            for (int i = 0; i < 8; ++i) {
                float a = fminf(fabsf(y[i]), 6.0f), one = drawn_one(draws, i);
                float steep = __fmaf_rd(a, 131072.0f, one), even = __fmaf_rd(a, 65536.0f, one) + 131072.0f;
                float flat = __fmaf_rd(a, 32768.0f, one) + 262144.0f;
                codes[i] = bits_of(fminf(steep, fminf(even, flat)));
            }
            // The upper halves of codes j and j + 4 share a word: 0x4b00 + code each.
            uint32_t word = sign_nibbles(y) - 0x4b004b00u * 0x1111u;
#pragma unroll
            for (int j = 0; j < 4; ++j) word += permute(codes[j], codes[j + 4], 0x7632) << (4 * j);
            words[0] = word;
        } else {
#if BLOCKSCALE_HARDWARE_FP4
            words[0] = to_e2m1x8(y);
#else
            // As a function of |y| the code before rounding is min(2 a, a + 2, a / 2 + 4, 7), and
            // rounding keeps the order, so the least of the rounded lines is the rounded code.
            // They stand on 2^23, whose ulp is 1.
            constexpr float kOne = 8388608.0f;
            uint32_t word = sign_nibbles(y) - 0x4b000000u * 0x11111111u;
#pragma unroll
            for (int i = 0; i < 8; ++i) {
                float a = fabsf(y[i]);
                float steep = __fmaf_rn(a, 2.0f, kOne), even = a + (kOne + 2.0f);
                float flat = __fmaf_rn(a, 0.5f, kOne + 4.0f);
                float code = fminf(fminf(steep, even), fminf(flat, kOne + 7.0f));
                word += bits_of(code) << (4 * i);
            }
            words[0] = word;
#endif
        }
    }
};

// Two's complement of FractionBits behind the point, symmetric: the largest code is Max.
template <int Bits, int FractionBits, int Max>
struct IntegerElement {
    static constexpr uint32_t kWords = Bits == 4 ? 1 : 2;
    static constexpr bool kMinusZero = false;
    static constexpr float kStepsPerOne = float(1 << FractionBits);
    static constexpr float kMax = float(Max) / kStepsPerOne;

    // Only the low bits count.
    static __device__ inline uint32_t nearest(float y) {
        float clamped = fmaxf(fminf(y, kMax), -kMax);
        return bits_of(__fmaf_rn(clamped, kStepsPerOne, 12582912.0f));
    }
    static __device__ inline uint32_t drawn(float y, float one) {
        float a = fminf(fabsf(y), kMax);
        // Two's complement of the magnitude above 16 bits.
        uint32_t magnitude = bits_of(__fmaf_rd(a, 65536.0f * kStepsPerOne, one)) >> 16 & 0xff;
        return bits_of(y) >> 31 ? 0u - magnitude : magnitude;
    }
    template <bool Drawn>
    static __device__ inline void encode(float const (&y)[8], uint32_t const* draws, uint32_t* words) {
        uint32_t codes[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            codes[i] = (Drawn ? drawn(y[i], drawn_one(draws, i)) : nearest(y[i]));
            if (Bits < 8) codes[i] &= (1u << Bits) - 1;
        }
        if constexpr (Bits == 4) {
            uint32_t word = 0;
#pragma unroll
            for (int i = 0; i < 8; ++i) word += codes[i] << (4 * i);
            words[0] = word;
        } else {
            words[0] = bytes_of<0>(codes[0], codes[1], codes[2], codes[3]);
            words[1] = bytes_of<0>(codes[4], codes[5], codes[6], codes[7]);
        }
    }
};

}  // namespace blockscale
