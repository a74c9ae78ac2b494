// Block scales by a few operations, for blocks of ordinary values; and draws by the eight.
#pragma once
#include "scale.cuh"
#include "ptx.cuh"

namespace blockscale {

// What src/cuda/fast.rs works out of a profile.
struct FastScale {
    float divisor;       // amax is divided by it first
    float reciprocal;    // of the divisor, rounded once
    float multiplier;    // of E8M0 scales
    uint32_t add;        // to the bits of the quotient, before its exponent is taken
    int32_t subtract;    // from that exponent
    uint32_t near[9];    // further addends by the bit length of the exponent (log2 rules)
    uint32_t uses_near;  // whether they are needed
    uint32_t zero_code;  // scale of a block of zeros
    uint32_t drops_zero_sign;  // only y < 0 has a sign
};

// Draws of the 16 elements from 16 `group` on, shard offsets counted: two of 16 bits a word, or four
// of 8. Rounding half away is a draw of a half.
template <bool kHalves>
__device__ inline void draw16(Draws const& draws, uint32_t row, uint32_t group, uint32_t (&out)[kHalves ? 8 : 4]) {
    auto call = [&](uint32_t at) {
        return philox4x32_10(at, row, draws.stream, draws.step, draws.key[0], draws.key[1]);
    };
    if constexpr (kHalves) {
        Words a = call(2 * group), b = call(2 * group + 1);
        out[0] = a.x, out[1] = a.y, out[2] = a.z, out[3] = a.w;
        out[4] = b.x, out[5] = b.y, out[6] = b.z, out[7] = b.w;
    } else if (draws.draw_bits == 8) {
        Words w = call(group);
        out[0] = w.x, out[1] = w.y, out[2] = w.z, out[3] = w.w;
    } else {
#pragma unroll
        for (int i = 0; i < 4; ++i) out[i] = 0x80808080u;
    }
}

// Scales that are powers of two.
//
//   d = fl(amax / divisor), or without a division fl(amax * multiplier)
//   code = max((bits(d) + add + near) >> 23 - subtract, 0),  factor = 2^(127 - code + kUnitExponent)
template <bool Divides>
struct ExponentScale {
    struct Constants {
        uint32_t none;
    };
    static __device__ inline Constants constants(Profile const&, TensorFactors const&, uint32_t, float) {
        return Constants{0};
    }
    FastScale const& rule;
    Constants const constant;

    // The code and the factor of elements; kNanCode where the block is not an ordinary one.
    template <int kUnitExponent>
    __device__ inline uint32_t choose(float amax, float& factor) const {
        constexpr uint32_t kLeast = kUnitExponent > 0 ? kUnitExponent : 0;
        constexpr uint32_t kMost = kUnitExponent < 0 ? 253 + kUnitExponent : 253;
        uint32_t d = bits_of(Divides || rule.uses_near ? amax / rule.divisor : amax * rule.multiplier);
        uint32_t add = rule.add;
        if (rule.uses_near) {
            int exponent = int(d >> 23) - 127;
            add += rule.near[32 - __clz(exponent >= 0 ? exponent : -exponent - 1)];
        }
        // d is normal and finite, and still so after the addition.
        bool ordinary = d - 0x00800000u < 0x7f000000u - add;
        int chosen = int((d + add) >> 23) - rule.subtract;
        uint32_t code = uint32_t(chosen < 0 ? 0 : chosen);
        factor = float_of((uint32_t(254 + kUnitExponent) - code) << 23);
        // The factor is a normal number.
        if (!ordinary || code - kLeast > kMost - kLeast) code = kNanCode;
        if (amax == 0.0f) {
            code = rule.zero_code;
            factor = 1.0f;
        }
        return code;
    }
};

// Scales that are small floats.
//
//   d = max(fl(fl(fl(amax / divisor) * multiplier) / over), least), cast to nearest even: s
//   factor = fl(numerator / fl(s * product)) * unit
//
// Divisions are `divided`; where that does not hold, the block is no ordinary one.
struct FloatScale {
    struct Constants {
        float multiplier, over, over_reciprocal, numerator, product, least, most, first, to_code;
        uint32_t magic, shift, lowest, ordinary, zero_code;
    };
    FastScale const& rule;
    Constants const c;

    static __device__ inline Constants constants(Profile const& profile, TensorFactors const& tensor,
                                                 uint32_t zero_code, float unit) {
        bool folded = profile.scale == ScaleRule::FoldedEncode, encodes = profile.map == ElementMap::EncodeOverScale;
        Codec const& codec = profile.scale_codec;
        bool normal = profile.range == ScaleRange::MinNormal || profile.headroom == Headroom::SixteenSeventeenths;
        Constants c;
        c.multiplier = folded                                      ? tensor.encode * (1.0f / profile.target)
                       : profile.scale == ScaleRule::TimesEncode ? tensor.encode
                                                                   : 1.0f;
        c.over = profile.scale == ScaleRule::OverDecode ? tensor.decode : 1.0f;
        c.over_reciprocal = 1.0f / c.over;
        float numerator = encodes ? tensor.encode : 1.0f;
        c.numerator = numerator * unit;
        c.product = encodes ? 1.0f : tensor.decode;
        bool known = !tensor.nan && moderate(c.over) && moderate(numerator) && moderate(c.product) &&
                     moderate(c.multiplier);
        c.least = normal ? codec.min_normal : 0.0f;
        c.most = codec.max;
        c.first = exp2_normal(1 - codec.bias);
        c.shift = 23 - codec.mantissa_bits;
        c.magic = c.shift << 23;
        c.to_code = exp2_normal(codec.bias - 127);
        // d below 2^20, and so large that s is not 0. With the constants above that keeps all steps
        // between 2^-101 and 2^101: quotients are normal, and residues of divisions exact.
        c.lowest = bits_of(normal ? exp2_normal(-40) : codec.min_positive * 0.5f) + 1;
        c.ordinary = known ? bits_of(exp2_normal(20)) - c.lowest : 0;
        c.zero_code = known ? zero_code : kNanCode;
        return c;
    }

    // From 2^-60 to 2^60.
    static __device__ inline bool moderate(float x) { return bits_of(x) - 0x21800000u < 0x3c000000u; }

    // As above; the constants have the unit.
    template <int>
    __device__ inline uint32_t choose(float amax, float& factor) const {
        float d = divided(divided(amax, rule.divisor, rule.reciprocal) * c.multiplier, c.over, c.over_reciprocal);
        bool ordinary = bits_of(d) - c.lowest < c.ordinary;
        d = fminf(fmaxf(d, c.least), c.most);
        // A power of two whose ulp is the step at d.
        float magic = float_of((bits_of(fmaxf(d, c.first)) & 0x7f800000u) + c.magic);
        float s = (d + magic) - magic, scale = s * c.product;
        // The smallest normal scale becomes that of f32, so that the bits are the code.
        uint32_t code = bits_of(s * c.to_code) >> c.shift;
        factor = divided(c.numerator, scale, refined_reciprocal(scale));
        if (!ordinary) code = kNanCode;
        if (amax == 0.0f) {
            code = c.zero_code;
            factor = 1.0f;
        }
        return code;
    }
};

}  // namespace blockscale
