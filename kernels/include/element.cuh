// Codes of one value: encode and decode of small floats and integers.
#pragma once
#include "rounding.cuh"

namespace blockscale {

// The code of |x| without its sign, saturating; NaN counts as Inf.
__device__ inline uint32_t encode_magnitude(Codec const& codec, float x, Round round) {
    if (codec.kind == ElementKind::Int) {
        if (!(fabsf(x) < codec.max)) return codec.max_code;
        Split s = split(x);
        uint32_t code = round_sum(round, 0, s.significand, uint32_t(-int(codec.mantissa_bits) - s.exponent));
        return code < codec.max_code ? code : codec.max_code;
    }
    if (!is_finite(x)) return codec.max_code;
    Split s = split(x);
    if (s.significand == 0) return 0;
    int leading = s.exponent + 31 - __clz(int(s.significand));
    // Below the first normal the step stays that of the first normal.
    int binade = leading > 1 - codec.bias ? leading : 1 - codec.bias;
    int step = binade - int(codec.mantissa_bits);
    // Codes count steps on from the binade before, so a carry into the next comes out right.
    uint32_t base = uint32_t(binade + codec.bias - 1) << codec.mantissa_bits;
    uint32_t code = round_sum(round, base, s.significand, uint32_t(step - s.exponent));
    return code < codec.max_code ? code : codec.max_code;
}

// Gives a magnitude its sign; an integer has no -0.
__device__ inline uint32_t with_sign(Codec const& codec, bool negative, uint32_t magnitude) {
    if (codec.kind == ElementKind::Int) {
        return (negative ? 0u - magnitude : magnitude) & ((1u << codec.bits) - 1);
    }
    return negative && codec.is_signed ? magnitude | 1u << (codec.bits - 1) : magnitude;
}

// The value of a code.
__device__ inline float decode(Codec const& codec, uint32_t code) {
    if (codec.kind == ElementKind::Int) {
        int value = int(code << (32 - codec.bits)) >> (32 - codec.bits);
        return float(value) * exp2_normal(-int(codec.mantissa_bits));
    }
    uint32_t magnitude_size = codec.bits - codec.is_signed;
    uint32_t magnitude = code & ((1u << magnitude_size) - 1);
    bool negative = codec.is_signed && (code >> (codec.bits - 1) & 1) != 0;
    float value;
    if (magnitude > codec.max_code) {
        bool inf = codec.is_ieee && magnitude == codec.max_code + 1;
        if (!inf) return float_of(kCanonicalNan);
        value = float_of(0x7f800000u);
    } else {
        uint32_t field = magnitude >> codec.mantissa_bits;
        uint32_t mantissa = magnitude & ((1u << codec.mantissa_bits) - 1);
        uint32_t leading = field > 0 ? 1u << codec.mantissa_bits : 0;
        int exponent = int(field > 0 ? field : 1) - codec.bias - int(codec.mantissa_bits);
        // In two steps, each exact: the step itself may be an f32 subnormal.
        int half = exponent / 2;
        value = float(leading + mantissa) * exp2_normal(half) * exp2_normal(exponent - half);
    }
    return negative ? -value : value;
}

}  // namespace blockscale
