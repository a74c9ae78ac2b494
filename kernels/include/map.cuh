// From x to the scaled y and its code, and from codes back to values.
#pragma once
#include "scale.cuh"

namespace blockscale {

// Element times block scale; ggml doubles the element and halves the scale.
__device__ inline float product(Profile const& profile, BlockScale scale, float q) {
    if (profile.decode != DecodeRule::Halved) return q * scale.value;
    if (profile.scale_format == ScaleFormat::E8M0) {
        float half = scale.code == 255 ? e8m0_value(254) : 0.5f * e8m0_value(scale.code);
        return 2.0f * q * half;
    }
    return is_nan(scale.value) ? 0.0f * q : q * scale.value;
}

__device__ inline float decoded(Profile const& profile, float stored, BlockScale scale, float q) {
    float s = scale.value;
    switch (profile.decode) {
    case DecodeRule::Scale:
    case DecodeRule::Halved:
        return canonical(profile.headroom == Headroom::ThreeQuarters ? q * (stored * s)
                                                                      : product(profile, scale, q));
    case DecodeRule::FoldedAmax: return canonical(q * (s * stored * (1.0f / profile.tensor_target)));
    case DecodeRule::TimesDecode: return canonical(q * (stored * s));
    case DecodeRule::TimesDecodePlusZero: return canonical((q + 0.0f) * (stored * s));
    case DecodeRule::OverEncode: return canonical(q * (s / stored));
    case DecodeRule::AmaxLast: return canonical(q * s * stored / profile.tensor_target);
    }
    return 0.0f;
}

__device__ inline float scaled(Profile const& profile, TensorFactors const& tensor, BlockScale scale, float x) {
    float s = scale.value;
    switch (profile.map) {
    case ElementMap::Exponent: {
        float y = x * e8m0_reciprocal(scale.code);
        return profile.headroom == Headroom::ThreeQuarters ? y * 0.75f : y;
    }
    case ElementMap::ReciprocalZero:
        if (s == 0.0f) return x * 0.0f;
        // fall through
    case ElementMap::ReciprocalMax: return x * fminf(1.0f / (s * tensor.decode), kMax);
    case ElementMap::EncodeOverScale: return x * (tensor.encode / s);
    case ElementMap::OverProduct: return x / (s * tensor.decode);
    case ElementMap::OverQuotient: return x / (s / tensor.encode);
    case ElementMap::NearestProduct: return s == 0.0f ? x * 0.0f : x / s;
    }
    return 0.0f;
}

// The first code of the smallest |v s - x|, positive codes before negative ones.
__device__ inline uint32_t nearest_product(Profile const& profile, BlockScale scale, float x) {
    uint32_t best = 0;
    float least = fabsf(product(profile, scale, 0.0f) - x);
    for (int negative = 0; negative < 2; ++negative) {
        for (uint32_t magnitude = 0; magnitude <= profile.element.max_code; ++magnitude) {
            uint32_t code = with_sign(profile.element, negative, magnitude);
            float error = fabsf(product(profile, scale, decode(profile.element, code)) - x);
            if (error < least) {
                least = error;
                best = code;
            }
        }
    }
    return best;
}

__device__ __noinline__ uint32_t element_code(Profile const& profile, TensorFactors const& tensor, BlockScale scale,
                                        float x, Round round) {
    if (!is_finite(x) && profile.nonfinite == NonFinite::Drop) return 0;
    if (profile.map == ElementMap::NearestProduct && round.draw_bits == 0) {
        return nearest_product(profile, scale, x);
    }
    float y = scaled(profile, tensor, scale, x);
    if (is_nan(y)) return 0;
    uint32_t magnitude = encode_magnitude(profile.element, y, round);
    bool negative = false;
    switch (profile.sign) {
    case SignRule::Bit: negative = sign_bit(x); break;
    case SignRule::Negative: negative = y < 0.0f; break;
    case SignRule::NotPositive: negative = y <= 0.0f; break;
    case SignRule::NonZero: negative = y < 0.0f && magnitude != 0; break;
    }
    return with_sign(profile.element, negative, magnitude);
}

}  // namespace blockscale
