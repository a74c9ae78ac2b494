// A profile as kernels get it: the knobs of src/numerics/knobs.rs as numbers, the element and
// scale formats as their constants. src/cuda/descriptor.rs fills the same struct; its tests
// compare the order of every enum with the knob of that name.
#pragma once
#include <cstdint>

namespace blockscale {

enum class ElementKind : uint32_t { Float, Int };
enum class ScaleFormat : uint32_t { E8M0, E4M3, UE5M3, UE5M3Ieee };
enum class TensorRule : uint32_t { None, Amax, Decode, Encode };
enum class ScaleRule : uint32_t {
    Floor, Ceil, Even, Rceil, IntegerCeil, FloorLog2, FloorLog2Wrap, CeilLog2, RmsFloor, RmsNearest,
    Plain, FoldedEncode, TimesEncode, OverDecode, OverProduct,
};
enum class ScaleCast : uint32_t { Rne, HalfUp };
enum class ScaleRange : uint32_t { Plain, MinNormal, MinPositive, ZeroToEighth, NonZero };
enum class Headroom : uint32_t { None, ThreeQuarters, SixteenSeventeenths };
enum class NonFinite : uint32_t { NanScale, Neutral, Drop };
enum class ElementMap : uint32_t {
    Exponent, ReciprocalMax, ReciprocalZero, EncodeOverScale, OverProduct, OverQuotient, NearestProduct,
};
enum class Ties : uint32_t { Even, Away, Zero, AwayByAddition };
enum class SignRule : uint32_t { Bit, Negative, NotPositive, NonZero };
enum class Search : uint32_t { None, FourOverSixMse, FourOverSixMae, FourOverSixAbsmax, Sweep, Clip };
enum class DecodeRule : uint32_t {
    Scale, FoldedAmax, TimesDecode, TimesDecodePlusZero, OverEncode, AmaxLast, Halved,
};

// A small float or an integer of up to 8 bits.
struct Codec {
    ElementKind kind;
    uint32_t bits;
    uint32_t mantissa_bits;  // of a float; fraction bits of an integer
    int32_t bias;
    uint32_t is_signed;
    uint32_t max_code;
    uint32_t is_ieee;
    float max;
    float min_normal;
    float min_positive;
};

struct Profile {
    Codec element;
    Codec scale_codec;  // of E4M3 and UE5M3
    ScaleFormat scale_format;
    uint32_t block;
    int32_t emax;
    uint32_t step_bits;   // mantissa bits as the EVEN rule counts them
    float target;         // the value that a block's amax is mapped to
    float tensor_target;  // T, what the tensor's amax is mapped to
    TensorRule tensor;
    ScaleRule scale;
    ScaleCast cast;
    ScaleRange range;
    Headroom headroom;
    NonFinite nonfinite;
    ElementMap map;
    Ties ties;
    SignRule sign;
    Search search;
    DecodeRule decode;
};

}  // namespace blockscale
