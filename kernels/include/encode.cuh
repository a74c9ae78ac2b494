// Codes of eight scaled values at once, by float arithmetic instead of a walk over bits.
//
// Three ways to round, each once:
// - A value is scaled so that the smallest normal of its format becomes that of f16 (FP8, f32) and
//   converted (or multiplied): the upper bits of the result are the code, subnormals included.
// - A value is scaled so that its step becomes 2^-24, the least f16: up to 2^11 steps, the bits of
//   the converted value are an integer, the code. f16 additions and multiplications go on with it.
// - A power of two is added, so large that its ulp is the step: the low bits of the sum are the code.
//
// The drawn rounding of n bits is code = floor((floor(|y| / step * 2^n) + draw) / 2^n): the inner
// floor is a conversion or an addition that rounds down, the sum one of integers. With 8 bits, two
// elements share a register: 16 bits each, the code above 8 (or 9) bits of fraction, the sign at
// the top where the code leaves room. Rounding half away is a draw of a half.
//
// Values are finite or infinite, never NaN; Inf saturates.
#pragma once
#include "ptx.cuh"

namespace blockscale {

// What rounds: nothing but the value, draws of 8 bits, or draws of 16 (two a word).
enum class Drawn { No, Bytes, Halves };

// Draws of four elements are the bytes of a word: those of the first and third, or of the others,
// 16 bits each.
template <int Odd>
__device__ inline uint32_t draw_pair(uint32_t draws) {
    return Odd ? permute(draws, 0, 0x4341) : draws & 0x00ff00ffu;
}

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

// Values as f16, rounded down in magnitude and kept within `most`, plus draws, whose lowest bit is
// worth DrawOne.
template <uint32_t DrawOne>
__device__ inline uint32_t drawn_pair(float first, float second, uint32_t most, uint32_t draws) {
    return multiply_add(draws, DrawOne, least_magnitude_f16x2(to_f16x2_down(first, second), most * 0x10001u));
}

// A float element: MantissaBits, Bias, and the bits of its largest value as an f32.
template <int MantissaBits, int Bias, uint32_t MaxBits>
struct FloatElement {
    static constexpr uint32_t kMaxBits = MaxBits;
    static constexpr uint32_t kMaxCode = (MaxBits >> (23 - MantissaBits)) - (uint32_t(127 - Bias) << MantissaBits);
    // 10 bits of an f16 are those of the code and 8 of fraction.
    static constexpr bool kFitsHalf = MantissaBits <= 2;
    // The power of two that makes the smallest normal value that of f16.
    static constexpr int kToHalf = Bias - 15;

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
    // The code before the draw, in the upper byte, fraction bits below it: the smallest normal value
    // is made that of f32, so that the bits are the code, subnormals included.
    static __device__ inline uint32_t cut(float y) {
        float a = fminf(fabsf(y), float_of(MaxBits));
        return bits_of(__fmul_rz(a, float_of(uint32_t(Bias) << 23))) << (MantissaBits + 1);
    }
};

// Bytes: sign at `SignBit`, below it the magnitude.
template <typename Float, int SignBit>
struct FloatBytes {
    static constexpr uint32_t kWords = 2;
    static constexpr bool kMinusZero = true;
    // Values come to `encode` multiplied by 2 to this.
    template <Drawn kDrawn>
    static constexpr int kUnitExponent = kDrawn == Drawn::Bytes && Float::kFitsHalf ? Float::kToHalf : 0;

    static constexpr uint32_t kMaxBits = Float::kMaxBits;

    // Signs at the top of each byte go to their place.
    static __device__ inline uint32_t signs_placed(uint32_t signs, uint32_t magnitudes) {
        constexpr uint32_t kSigns = 0x01010101u << SignBit;
        return merged(kSigns, signs >> (7 - SignBit), magnitudes);
    }
    static __device__ inline uint32_t drawn_bytes(float const* y, uint32_t draws) {
        uint32_t even = draw_pair<0>(draws), odd = draw_pair<1>(draws);
        if constexpr (Float::kFitsHalf) {
            constexpr uint32_t kMost = Float::kMaxCode << 8;
            even = drawn_pair<1>(y[0], y[2], kMost, even);
            odd = drawn_pair<1>(y[1], y[3], kMost, odd);
            uint32_t codes = permute(even, odd, 0x7351);
            return SignBit == 7 ? codes : signs_placed(codes, codes & 0x7f7f7f7fu);
        } else {
            even += permute(Float::cut(y[0]), Float::cut(y[2]), 0x7632);
            odd += permute(Float::cut(y[1]), Float::cut(y[3]), 0x7632);
            uint32_t tops = bytes_of<3>(bits_of(y[0]), bits_of(y[1]), bits_of(y[2]), bits_of(y[3]));
            return signs_placed(tops, permute(even, odd, 0x7351));
        }
    }
    template <Drawn kDrawn>
    static __device__ inline void encode(float const (&y)[8], uint32_t const* draws, uint32_t* words) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            float const* four = y + 4 * i;
            if constexpr (kDrawn == Drawn::Bytes) {
                words[i] = drawn_bytes(four, draws[i]);
            } else {
                uint32_t codes[4];
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    codes[j] = kDrawn == Drawn::No ? Float::magnitude(four[j])
                                                   : Float::drawn_magnitude(four[j], draw_of(draws, 4 * i + j));
                }
                uint32_t magnitudes = bytes_of<kDrawn == Drawn::No ? 0 : 2>(codes[0], codes[1], codes[2], codes[3]);
                uint32_t tops = bytes_of<3>(bits_of(four[0]), bits_of(four[1]), bits_of(four[2]), bits_of(four[3]));
                words[i] = signs_placed(tops, magnitudes);
            }
        }
    }
};

// The hardware's conversion, where it is to nearest and the architecture has it.
#define BLOCKSCALE_HARDWARE_BYTES(name, software, pair)                                                     \
    struct name {                                                                                           \
        static constexpr uint32_t kWords = 2;                                                               \
        static constexpr bool kMinusZero = true;                                                            \
        template <Drawn kDrawn>                                                                             \
        static constexpr int kUnitExponent = software::template kUnitExponent<kDrawn>;                      \
        template <Drawn kDrawn>                                                                             \
        static __device__ inline void encode(float const (&y)[8], uint32_t const* draws, uint32_t* words) { \
            if constexpr (kDrawn != Drawn::No) {                                                            \
                software::template encode<kDrawn>(y, draws, words);                                         \
            } else {                                                                                        \
                words[0] = to_##pair(y[0], y[1]) | to_##pair(y[2], y[3]) << 16;                             \
                words[1] = to_##pair(y[4], y[5]) | to_##pair(y[6], y[7]) << 16;                             \
            }                                                                                               \
        }                                                                                                   \
    };
// FP6 to nearest by the conversion to an FP8 of as many mantissa bits: 2^Exponent makes its smallest
// normal value that of the FP8, and codes up to the largest are the same.
template <typename Software, typename Wide, int Exponent>
struct Fp6ByFp8 {
    static constexpr uint32_t kWords = 2;
    static constexpr bool kMinusZero = true;
    template <Drawn kDrawn>
    static constexpr int kUnitExponent = kDrawn == Drawn::No ? Exponent : Software::template kUnitExponent<kDrawn>;
    template <Drawn kDrawn>
    static __device__ inline void encode(float const (&y)[8], uint32_t const* draws, uint32_t* words) {
        if constexpr (kDrawn != Drawn::No) {
            Software::template encode<kDrawn>(y, draws, words);
        } else {
            float a[8], most = float_of(Software::kMaxBits) * exp2_normal(Exponent);
#pragma unroll
            for (int i = 0; i < 8; ++i) a[i] = least_magnitude(y[i], most);
            Wide::template encode<kDrawn>(a, draws, words);
#pragma unroll
            for (int i = 0; i < 2; ++i) words[i] = Software::signs_placed(words[i], words[i] & 0x7f7f7f7fu);
        }
    }
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
#elif BLOCKSCALE_HARDWARE_FP8
using E2M3 = Fp6ByFp8<SoftwareE2M3, E4M3, -6>;
using E3M2 = Fp6ByFp8<SoftwareE3M2, E5M2, -12>;
#else
using E2M3 = SoftwareE2M3;
using E3M2 = SoftwareE3M2;
#endif
#undef BLOCKSCALE_HARDWARE_BYTES

struct E2M1 {
    using Float = FloatElement<1, 1, 0x40c00000u>;
    static constexpr uint32_t kWords = 1;
    static constexpr bool kMinusZero = true;
    // Without the hardware's conversion, nearest is a draw of a half.
    template <Drawn kDrawn>
    static constexpr bool kByHalf = kDrawn == Drawn::Bytes || (kDrawn == Drawn::No && !BLOCKSCALE_HARDWARE_FP4);
    template <Drawn kDrawn>
    static constexpr int kUnitExponent = kByHalf<kDrawn> ? Float::kToHalf : 0;

    // 9 bits of fraction: the upper byte has the sign at the top, the code at bit 1.
    static __device__ inline uint32_t drawn_word(float const (&y)[8], uint32_t const* draws) {
        constexpr uint32_t kMost = Float::kMaxCode << 9;
        uint32_t pairs[4];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            float const* four = y + 4 * i;
            pairs[2 * i] = drawn_pair<2>(four[0], four[2], kMost, draw_pair<0>(draws[i]));
            pairs[2 * i + 1] = drawn_pair<2>(four[1], four[3], kMost, draw_pair<1>(draws[i]));
        }
        uint32_t even = permute(pairs[0], pairs[2], 0x7531), odd = permute(pairs[1], pairs[3], 0x7531);
        uint32_t low = merged(0x07070707u, even >> 1, even >> 4), high = merged(0x80808080u, odd, odd << 3);
        return merged(0x0f0f0f0fu, low, high);
    }

    // A value half way between two codes has the lowest bit of the lower one at bit 22. Where that is even,
    // the f32 below is taken instead, which a half does not carry up; no other value comes to another code.
    static __device__ inline float half_to_even(float y) {
        return bits_of(y) & 0x00400000u ? y : __fmul_rz(y, float_of(0x3f7fffffu));
    }

    template <Drawn kDrawn>
    static __device__ inline void encode(float const (&y)[8], uint32_t const* draws, uint32_t* words) {
        if constexpr (kDrawn == Drawn::Bytes) {
            words[0] = drawn_word(y, draws);
        } else if constexpr (kByHalf<kDrawn>) {
            float even[8];
            uint32_t halves[2] = {0x80808080u, 0x80808080u};
#pragma unroll
            for (int i = 0; i < 8; ++i) even[i] = half_to_even(y[i]);
            words[0] = drawn_word(even, halves);
        } else if constexpr (kDrawn == Drawn::Halves) {
            // As a function of |y| the code before rounding is min(2 a, a + 2, a / 2 + 4, 7), and rounding
            // keeps the order, so the least of the rounded lines is the rounded code. In steps of 2^-16 and
            // rounded down, each line stands on 2^23 plus the draw.
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
    // A step as f16 is 2^-24, or 2^-16 where 8 bits of fraction and the code stay below 2^11.
    static constexpr bool kFitsHalf = Bits == 4;
    template <Drawn kDrawn>
    static constexpr int kUnitExponent = kDrawn == Drawn::Halves ? 0
                                         : kDrawn == Drawn::No   ? FractionBits - 24
                                         : kFitsHalf             ? FractionBits - 16
                                                                 : FractionBits + 8;
    static constexpr uint32_t kHalf = 1u << (Bits - 1);

    // Codes plus kHalf, 16 bits each, of values to nearest: f16 integers.
    static __device__ inline uint32_t nearest_pair(float first, float second) {
        uint32_t codes = least_magnitude_f16x2(to_f16x2(first, second), Max * 0x10001u);
        return add_f16x2(codes, kHalf * 0x10001u);
    }
    // The same of drawn codes: the fraction is dropped before they are made f16 integers.
    static __device__ inline uint32_t drawn_code_pair(float first, float second, uint32_t draws) {
        uint32_t cut = drawn_pair<1>(first, second, Max << 8, draws) & 0xff00ff00u;
        return fma_f16x2(cut, 0x1c001c00u, kHalf * 0x10001u);  // 2^-8
    }
    // Codes of four values from those, or in nibbles of bytes 0 and 2.
    static __device__ inline uint32_t joined(uint32_t even, uint32_t odd) {
        return even + (odd << (Bits == 4 ? 4 : 8));
    }

    // The magnitude above 8 bits of fraction.
    static __device__ inline uint32_t cut(float y) {
        return bits_of(__fadd_rz(fminf(fabsf(y), float(Max * 256)), 8388608.0f));
    }
    // Two's complement of four magnitudes; a negative zero becomes zero.
    static __device__ inline uint32_t negated(uint32_t magnitudes, uint32_t tops) {
        uint32_t signs = tops & 0x80808080u, ones = signs >> 7;
        return ((magnitudes ^ (signs - ones)) + ones) ^ signs;
    }
    static __device__ inline uint32_t drawn_bytes(float const* y, uint32_t draws) {
        uint32_t even = permute(cut(y[0]), cut(y[2]), 0x5410) + draw_pair<0>(draws);
        uint32_t odd = permute(cut(y[1]), cut(y[3]), 0x5410) + draw_pair<1>(draws);
        uint32_t tops = bytes_of<3>(bits_of(y[0]), bits_of(y[1]), bits_of(y[2]), bits_of(y[3]));
        return negated(permute(even, odd, 0x7351), tops) & ((1u << Bits) - 1) * 0x01010101u;
    }
    static __device__ inline uint32_t drawn(float y, float one) {
        float a = fminf(fabsf(y), kMax);
        // Two's complement of the magnitude above 16 bits.
        uint32_t magnitude = bits_of(__fmaf_rd(a, 65536.0f * kStepsPerOne, one)) >> 16 & 0xff;
        return bits_of(y) >> 31 ? 0u - magnitude : magnitude;
    }

    template <Drawn kDrawn>
    static __device__ inline void encode(float const (&y)[8], uint32_t const* draws, uint32_t* words) {
        if constexpr (kDrawn == Drawn::Halves) {
            uint32_t codes[8];
#pragma unroll
            for (int i = 0; i < 8; ++i) codes[i] = drawn(y[i], drawn_one(draws, i)) & ((1u << Bits) - 1);
            if constexpr (Bits == 4) {
                uint32_t word = 0;
#pragma unroll
                for (int i = 0; i < 8; ++i) word += codes[i] << (4 * i);
                words[0] = word;
            } else {
                words[0] = bytes_of<0>(codes[0], codes[1], codes[2], codes[3]);
                words[1] = bytes_of<0>(codes[4], codes[5], codes[6], codes[7]);
            }
        } else if constexpr (kDrawn == Drawn::Bytes && !kFitsHalf) {
            words[0] = drawn_bytes(y, draws[0]);
            words[1] = drawn_bytes(y + 4, draws[1]);
        } else {
            uint32_t fours[2];
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                float const* four = y + 4 * i;
                if constexpr (kDrawn == Drawn::No) {
                    fours[i] = joined(nearest_pair(four[0], four[2]), nearest_pair(four[1], four[3]));
                } else {
                    fours[i] = joined(drawn_code_pair(four[0], four[2], draw_pair<0>(draws[i])),
                                      drawn_code_pair(four[1], four[3], draw_pair<1>(draws[i])));
                }
            }
            // kHalf is turned over, not subtracted: the sign bit of each code.
            if constexpr (Bits == 4) {
                words[0] = permute(fours[0], fours[1], 0x6420) ^ 0x88888888u;
            } else {
                words[0] = fours[0] ^ kHalf * 0x01010101u;
                words[1] = fours[1] ^ kHalf * 0x01010101u;
            }
        }
    }
};

}  // namespace blockscale
