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

// Draws of the 16 elements from 16 `group` on, shard offsets counted, two of 16 bits a word. Rounding
// half away is a draw of a half.
__device__ inline void draw16(Draws const& draws, uint32_t row, uint32_t group, uint32_t (&out)[8]) {
    auto call = [&](uint32_t at) {
        return philox4x32_10(at, row, draws.stream, draws.step, draws.key[0], draws.key[1]);
    };
    if (draws.draw_bits == 8) {
        Words w = call(group);
        uint32_t words[4] = {w.x, w.y, w.z, w.w};
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            out[2 * i] = permute(words[i], 0, 0x1404);
            out[2 * i + 1] = permute(words[i], 0, 0x3424);
        }
    } else if (draws.draw_bits == 16) {
        Words a = call(2 * group), b = call(2 * group + 1);
        out[0] = a.x, out[1] = a.y, out[2] = a.z, out[3] = a.w;
        out[4] = b.x, out[5] = b.y, out[6] = b.z, out[7] = b.w;
    } else {
#pragma unroll
        for (int i = 0; i < 8; ++i) out[i] = 0x80008000u;
    }
}

// Scales that are powers of two.
//
//   d = fl(amax / divisor), or without a division fl(amax * multiplier)
//   code = max((bits(d) + add + near) >> 23 - subtract, 0),  factor = 2^(127 - code)
template <bool Divides>
struct ExponentScale {
    struct Constants {
        uint32_t none;
    };
    static __device__ inline Constants constants(Profile const&, TensorFactors const&) { return Constants{0}; }
    FastScale const& rule;
    Constants const constant;

    // The code and the factor of elements; false where the block is not an ordinary one.
    __device__ inline bool choose(float amax, uint32_t& code, float& factor) const {
        uint32_t d = bits_of(Divides || rule.uses_near ? amax / rule.divisor : amax * rule.multiplier);
        uint32_t add = rule.add;
        if (rule.uses_near) {
            int exponent = int(d >> 23) - 127;
            add += rule.near[32 - __clz(exponent >= 0 ? exponent : -exponent - 1)];
        }
        // d is normal and finite, and still so after the addition.
        bool ordinary = d - 0x00800000u < 0x7f000000u - add;
        int chosen = int((d + add) >> 23) - rule.subtract;
        code = uint32_t(chosen < 0 ? 0 : chosen);
        factor = float_of((254u - code) << 23);
        if (amax == 0.0f) {
            code = rule.zero_code;
            factor = 1.0f;
            return true;
        }
        return ordinary && code < 254;
    }
};

// Scales that are small floats.
//
//   d = max(fl(fl(fl(amax / divisor) * multiplier) / over), least), cast to nearest even: s
//   factor = fl(numerator / fl(s * product))
//
// Divisions are `divided`; where that does not hold, the block is no ordinary one.
struct FloatScale {
    struct Constants {
        float multiplier, over, over_reciprocal, numerator, product, least, most, unit;
        uint32_t first, shift, known;
    };
    FastScale const& rule;
    Constants const c;

    static __device__ inline Constants constants(Profile const& profile, TensorFactors const& tensor) {
        bool folded = profile.scale == ScaleRule::FoldedEncode, encodes = profile.map == ElementMap::EncodeOverScale;
        Codec const& codec = profile.scale_codec;
        bool normal = profile.range == ScaleRange::MinNormal || profile.headroom == Headroom::SixteenSeventeenths;
        Constants c;
        c.multiplier = folded                                      ? tensor.encode * (1.0f / profile.target)
                       : profile.scale == ScaleRule::TimesEncode ? tensor.encode
                                                                   : 1.0f;
        c.over = profile.scale == ScaleRule::OverDecode ? tensor.decode : 1.0f;
        c.over_reciprocal = 1.0f / c.over;
        c.numerator = encodes ? tensor.encode : 1.0f;
        c.product = encodes ? 1.0f : tensor.decode;
        c.known = !tensor.nan && moderate(c.over) && moderate(c.numerator) && moderate(c.product) &&
                  moderate(c.multiplier);
        c.least = normal ? codec.min_normal : 0.0f;
        c.most = codec.max;
        c.first = uint32_t(128 - codec.bias) << 23;
        c.shift = 23 - codec.mantissa_bits;
        c.unit = exp2_normal(127 - codec.bias);
        return c;
    }

    // From 2^-60 to 2^60: products and quotients of two are normal, and residues of divisions too.
    static __device__ inline bool moderate(float x) { return bits_of(x) - 0x21800000u < 0x3c000000u; }

    __device__ inline bool choose(float amax, uint32_t& code, float& factor) const {
        float over_divisor = divided(amax, rule.divisor, rule.reciprocal);
        float d = divided(over_divisor * c.multiplier, c.over, c.over_reciprocal);
        bool ordinary = c.known && moderate(over_divisor) && moderate(d);
        d = fminf(fmaxf(d, c.least), c.most);
        uint32_t binade = bits_of(fmaxf(d, float_of(c.first))) & 0x7f800000u, magic = binade + (c.shift << 23);
        code = bits_of(d + float_of(magic)) - magic + ((binade - c.first) >> c.shift);
        float scale = float_of(code << c.shift) * c.unit * c.product;
        factor = divided(c.numerator, scale, refined_reciprocal(scale));
        ordinary = ordinary && code != 0;
        if (amax == 0.0f) {
            code = rule.zero_code;
            factor = 1.0f;
            ordinary = c.known;
        }
        return ordinary;
    }
};

}  // namespace blockscale
