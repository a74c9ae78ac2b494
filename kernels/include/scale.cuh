// From a tensor's amax to its factors, and from a block's statistics to its scale.
#pragma once
#include "element.cuh"

namespace blockscale {

constexpr uint32_t kNanCode = 0xffu;

// What every block needs to know of the tensor.
struct TensorFactors {
    float encode;  // S
    float decode;  // t
    float stored;  // the tensor scale as it is stored
    bool nan;
};

__device__ inline float finite_positive_or_one(float x) { return is_finite(x) && x > 0.0f ? x : 1.0f; }

__device__ inline TensorFactors tensor_factors(Profile const& profile, float amax) {
    amax = amax + 0.0f;  // a given -0 is stored as 0
    TensorFactors f{1.0f, 1.0f, 1.0f, is_nan(amax) && profile.tensor != TensorRule::None};
    switch (profile.tensor) {
    case TensorRule::None:
        if (profile.headroom == Headroom::ThreeQuarters) f.stored = 4.0f / 3.0f;
        break;
    case TensorRule::Amax:
        if (amax > 0.0f) {
            f.encode = finite_positive_or_one(fminf(profile.tensor_target / amax, kMax));
        }
        f.decode = 1.0f / f.encode;
        f.stored = canonical(amax);
        break;
    case TensorRule::Decode:
        f.decode = magnitude_bits(amax) == 0x7f800000u ? 1.0f : amax / profile.tensor_target;
        f.encode = 1.0f / f.decode;
        f.stored = canonical(f.decode);
        break;
    case TensorRule::Encode:
        f.encode = finite_positive_or_one(1.0f / amax * profile.tensor_target);
        f.decode = 1.0f / f.encode;
        f.stored = f.encode;
        break;
    }
    return f;
}

struct BlockScale {
    uint32_t code;
    float value;
    bool dead;  // every code of the block is 0
};

__device__ inline float e8m0_value(uint32_t code) {
    return code == 0 ? float_of(0x00400000u) : code == 255 ? float_of(kCanonicalNan) : float_of(code << 23);
}

// 2^(127 - code), exact.
__device__ inline float e8m0_reciprocal(uint32_t code) {
    return code == 254   ? float_of(0x00400000u)
           : code == 255 ? float_of(kCanonicalNan)
                         : float_of((254u - code) << 23);
}

__device__ inline float scale_value(Profile const& profile, uint32_t code) {
    return profile.scale_format == ScaleFormat::E8M0 ? e8m0_value(code) : decode(profile.scale_codec, code);
}

// How many ulp below (above) a power of two an f32 log2 already (still) is the integer; see
// src/numerics/log2.rs.
__device__ inline int bit_length(int magnitude) { return 32 - __clz(magnitude); }
__device__ inline uint32_t ulps_below(int bits) {
    constexpr uint8_t table[9] = {0, 0, 1, 2, 5, 11, 22, 44, 88};
    return table[bits];
}
__device__ inline uint32_t ulps_above(int bits) {
    constexpr uint8_t table[9] = {0, 0, 0, 1, 2, 5, 11, 22, 44};
    return table[bits];
}
struct Normalized {
    int floor;
    uint32_t significand;
};
__device__ inline Normalized normalized(float x) {
    Split s = split(x);
    int shift = __clz(int(s.significand)) - 8;
    return Normalized{s.exponent + 23 - shift, s.significand << shift};
}
__device__ inline int floor_of_rounded_log2(float x) {
    Normalized n = normalized(x);
    int magnitude = n.floor >= 0 ? n.floor : -n.floor - 1;
    return n.floor + int(0x1000000u - n.significand <= ulps_below(bit_length(magnitude)));
}
__device__ inline int ceil_of_rounded_log2(float x) {
    Normalized n = normalized(x);
    int magnitude = n.floor >= 0 ? n.floor : -n.floor - 1;
    return n.floor + int(n.significand - 0x800000u > ulps_above(bit_length(magnitude)));
}

// ceil(log2 d) + 127 by the bits; among subnormals E8M0 knows only 2^-127 and 2^-126.
__device__ inline int biased_ceil(float d) {
    uint32_t bits = bits_of(d), exponent = bits >> 23 & 0xff, mantissa = bits & 0x7fffffu;
    return exponent == 0 ? int(mantissa > 0x400000u) : int(exponent) + int(mantissa != 0);
}

// fl(fl(fl(std * 2.92247856) / max) + 1e-8), the unquantized scale of QuEST.
__device__ inline float rms_scale(Profile const& profile, float std) {
    return std * 2.92247856f / profile.element.max + 1e-8f;
}

// What exponent rules look at: fl(x S), kept finite; S is 1 without a tensor scale.
__device__ inline float leveled(TensorFactors const& tensor, float x) {
    return x == 0.0f ? x : fminf(x * tensor.encode, kMax);
}

// The E8M0 code of a block whose amax is neither NaN nor Inf; 255 marks it as NaN.
__device__ inline uint32_t exponent_code(Profile const& profile, float amax, float std) {
    if (amax == 0.0f) {
        if (profile.scale != ScaleRule::FloorLog2) return 0;
        amax = float_of(0x00800000u);
    }
    uint32_t bits = bits_of(amax);
    int exponent = int(bits >> 23), code = 0;
    switch (profile.scale) {
    case ScaleRule::Floor: code = exponent - profile.emax; break;
    case ScaleRule::Ceil: code = exponent + int((bits & 0x7fffffu) != 0) - profile.emax; break;
    case ScaleRule::Even: {
        uint32_t carried = (bits + (1u << (22 - profile.step_bits))) >> 23;
        if (carried == 255) return kNanCode;
        code = int(carried) - profile.emax;
        break;
    }
    case ScaleRule::Rceil: code = biased_ceil(amax * (1.0f / profile.element.max)); break;
    case ScaleRule::IntegerCeil:
        code = biased_ceil(amax / float(profile.element.max_code)) + int(profile.element.mantissa_bits);
        break;
    case ScaleRule::FloorLog2:
        code = floor_of_rounded_log2(amax) + 127 - profile.emax;
        if (code == 255) return kNanCode;
        break;
    case ScaleRule::FloorLog2Wrap: return uint32_t(floor_of_rounded_log2(amax) + 127 - profile.emax) & 0xff;
    case ScaleRule::CeilLog2: {
        float quotient = amax / profile.element.max;
        code = quotient == 0.0f ? 0 : ceil_of_rounded_log2(quotient) + 127;
        break;
    }
    case ScaleRule::RmsFloor: code = int(bits_of(rms_scale(profile, std)) >> 23 & 0xff); break;
    case ScaleRule::RmsNearest: {
        uint32_t fitted = bits_of(rms_scale(profile, std));
        code = int(fitted >> 23 & 0xff) + int((fitted & 0x7fffffu) > 0x3504f3u);  // the mantissa of sqrt 2
        break;
    }
    default: break;
    }
    return uint32_t(code < 0 ? 0 : code > 254 ? 254 : code);
}

// ggml's float to E4M3 of a non-negative d.
__device__ inline uint32_t half_up_e4m3(float d) {
    uint32_t bits = bits_of(fminf(d, 448.0f));
    int exponent = int(bits >> 23) - 127 + 7;
    if (exponent <= 0) {
        // Below the normal range in steps of 2^-9; the last step is not carried into it.
        int code = int(d * 512.0f + 0.5f);
        return uint32_t(code < 7 ? code : 7);
    }
    uint32_t mantissa = bits >> 20 & 7;
    if (bits >> 19 & 1) {
        if (++mantissa == 8) {
            mantissa = 0;
            ++exponent;
        }
    }
    return exponent >= 15 ? 0x7eu : uint32_t(exponent) << 3 | mantissa;
}

// The real quotient that a float scale is cast from.
__device__ inline float quotient(Profile const& profile, TensorFactors const& tensor, float amax) {
    if (amax == 0.0f) return 0.0f;
    switch (profile.scale) {
    case ScaleRule::FoldedEncode: return fminf(amax * (tensor.encode * (1.0f / profile.target)), kMax);
    case ScaleRule::TimesEncode: return amax / profile.target * tensor.encode;
    case ScaleRule::OverDecode: return amax / profile.target / tensor.decode;
    case ScaleRule::OverProduct: return amax / (profile.target * tensor.decode);
    default: return amax / profile.target;
    }
}

__device__ inline uint32_t cast_scale(Profile const& profile, float d, float amax) {
    Codec const& codec = profile.scale_codec;
    if (profile.range == ScaleRange::MinPositive) {
        d = d == 0.0f ? 1.0f : fmaxf(d, codec.min_positive);
    }
    if (profile.range == ScaleRange::MinNormal || profile.headroom == Headroom::SixteenSeventeenths) {
        d = fmaxf(d, codec.min_normal);
    }
    uint32_t code = profile.cast == ScaleCast::HalfUp ? half_up_e4m3(d)
                    : is_nan(d)                       ? (1u << (codec.bits - codec.is_signed)) - 1
                                                      : encode_magnitude(codec, d, Round{Ties::Even, 0, 0});
    if (profile.range == ScaleRange::NonZero && code == 0 && amax != 0.0f) return 1;
    if (profile.range == ScaleRange::ZeroToEighth && code == 0) {
        return encode_magnitude(codec, 0.125f, Round{Ties::Even, 0, 0});
    }
    return code;
}

// The scale of a block. `stretch` multiplies the quotient: 1.5 is four over six's other candidate.
__device__ __noinline__ BlockScale block_scale(Profile const& profile, TensorFactors const& tensor, float amax,
                                         float std, float stretch) {
    BlockScale nan{kNanCode, float_of(kCanonicalNan), true};
    if (tensor.nan) return nan;
    bool e8m0 = profile.scale_format == ScaleFormat::E8M0;
    uint32_t code = kNanCode;
    if (!is_nan(amax)) {
        if (!e8m0) {
            code = cast_scale(profile, quotient(profile, tensor, amax) * stretch, amax);
        } else if (is_finite(amax)) {
            code = exponent_code(profile, leveled(tensor, amax), leveled(tensor, std));
        }
    }
    float value = scale_value(profile, code);
    // ggml's byte wraps to 255 and is an exponent like any other there.
    if (!is_nan(value) || profile.nonfinite == NonFinite::Drop) return BlockScale{code, value, false};
    if (profile.nonfinite == NonFinite::NanScale) return nan;
    uint32_t one = e8m0 ? 127u : encode_magnitude(profile.scale_codec, 1.0f, Round{Ties::Even, 0, 0});
    return BlockScale{one, 1.0f, true};
}

}  // namespace blockscale
