//! The named profiles: one constant each, and which format has which.
//!
//! Adding a profile is one constant in its family's slice; its steps and its source are told in
//! docs/profiles.md, its bytes are held by `tests/parity.rs`.

use super::Profile;
use super::knobs::{
    DecodeRule, ElementMap, Headroom, NonFinite, ScaleCast, ScaleRange, ScaleRule, Search,
    SignRule, TensorRule,
};
use crate::format::{Element, Format, Scale, Ties};

/// An MX profile as the hardware has it; others alter single knobs of it.
const fn mx(name: &'static str, scale: ScaleRule) -> Profile {
    Profile {
        name,
        format: Format::MXFP4,
        tensor: TensorRule::None,
        bound: 448.0,
        scale,
        cast: ScaleCast::Rne,
        range: ScaleRange::Plain,
        headroom: Headroom::None,
        nonfinite: NonFinite::NanScale,
        map: ElementMap::Exponent,
        ties: Ties::Even,
        sign: SignRule::Bit,
        search: Search::None,
        decode: DecodeRule::Scale,
    }
}

/// OCP's minimum and NVIDIA's and torchao's rules, on any float element.
const MX_FLOAT: &[Profile] = &[
    mx("rceil", ScaleRule::Rceil),
    mx("ocp", ScaleRule::Floor),
    mx("ceil", ScaleRule::Ceil),
    mx("even", ScaleRule::Even),
];

const MX_INTEGER: &[Profile] = &[mx("ceil", ScaleRule::IntegerCeil), mx("ocp", ScaleRule::Floor)];

/// microxcaling 7bc4195, its Python path with its default rounding `nearest`.
const MICROXCALING: &[Profile] = &[Profile {
    ties: Ties::AwayByAddition,
    sign: SignRule::Negative,
    ..mx("microxcaling", ScaleRule::FloorLog2)
}];

/// Model Optimizer 0.47.0, MXFP8.
const MODELOPT_MXFP8: &[Profile] = &[mx("modelopt", ScaleRule::CeilLog2)];

const MXFP4: &[Profile] = &[
    // compressed-tensors 0.20.0.
    Profile {
        nonfinite: NonFinite::Neutral,
        sign: SignRule::Negative,
        ..mx("compressed-tensors", ScaleRule::Even)
    },
    // Model Optimizer 0.47.0.
    Profile {
        nonfinite: NonFinite::Drop,
        ties: Ties::Zero,
        sign: SignRule::NotPositive,
        ..mx("modelopt", ScaleRule::CeilLog2)
    },
    // ggml d99724f.
    Profile {
        nonfinite: NonFinite::Drop,
        map: ElementMap::NearestProduct,
        ties: Ties::Zero,
        sign: SignRule::NonZero,
        decode: DecodeRule::Halved,
        ..mx("ggml", ScaleRule::FloorLog2Wrap)
    },
];

/// TransformerEngine d0067d0's kernels in exact mode.
const TRANSFORMER_ENGINE: Profile = Profile {
    tensor: TensorRule::Amax,
    map: ElementMap::ReciprocalMax,
    decode: DecodeRule::FoldedAmax,
    ..mx("transformer-engine", ScaleRule::FoldedEncode)
};

/// fouroversix dadfad6 with the scale kept at amax/max (its static_6).
const FOUR_OVER_SIX: Profile = Profile {
    tensor: TensorRule::Amax,
    map: ElementMap::ReciprocalZero,
    sign: SignRule::Negative,
    decode: DecodeRule::AmaxLast,
    ..mx("four-over-six", ScaleRule::TimesEncode)
};

const NVFP4: &[Profile] = &[
    TRANSFORMER_ENGINE,
    // torchao 0.18.0 with a per-tensor scale.
    Profile {
        tensor: TensorRule::Decode,
        range: ScaleRange::MinNormal,
        map: ElementMap::EncodeOverScale,
        decode: DecodeRule::TimesDecode,
        ..mx("torchao", ScaleRule::OverDecode)
    },
    // Model Optimizer 0.47.0.
    Profile {
        tensor: TensorRule::Decode,
        range: ScaleRange::MinPositive,
        map: ElementMap::OverProduct,
        sign: SignRule::Negative,
        decode: DecodeRule::TimesDecodePlusZero,
        ..mx("modelopt", ScaleRule::OverProduct)
    },
    // compressed-tensors 0.20.0.
    Profile {
        tensor: TensorRule::Encode,
        range: ScaleRange::ZeroToEighth,
        map: ElementMap::OverQuotient,
        sign: SignRule::Negative,
        decode: DecodeRule::OverEncode,
        ..mx("compressed-tensors", ScaleRule::TimesEncode)
    },
    Profile {
        name: "four-over-six-mse",
        bound: 256.0,
        search: Search::FourOverSixMse,
        ..FOUR_OVER_SIX
    },
    Profile {
        name: "four-over-six-mae",
        bound: 256.0,
        search: Search::FourOverSixMae,
        ..FOUR_OVER_SIX
    },
    // ggml d99724f: one level, the format's tensor scale is left out.
    Profile {
        cast: ScaleCast::HalfUp,
        nonfinite: NonFinite::Drop,
        map: ElementMap::NearestProduct,
        ties: Ties::Zero,
        sign: SignRule::NonZero,
        decode: DecodeRule::Halved,
        ..mx("ggml", ScaleRule::Plain)
    },
];

const NVINT4: &[Profile] = &[FOUR_OVER_SIX];

/// One level of any float scale; with UE5M3 its range replaces the tensor scale.
const DIRECT: &[Profile] = &[Profile {
    range: ScaleRange::NonZero,
    map: ElementMap::ReciprocalZero,
    ..mx("direct", ScaleRule::Plain)
}];

/// TransformerEngine's order with any float scale.
const TWO_LEVEL: &[Profile] = &[Profile { name: "two-level", ..TRANSFORMER_ENGINE }];

/// The same levels where block scales are powers of two.
const TWO_LEVEL_FLOAT: &[Profile] =
    &[Profile { name: "two-level", scale: ScaleRule::Rceil, ..TRANSFORMER_ENGINE }];
const TWO_LEVEL_INTEGER: &[Profile] =
    &[Profile { name: "two-level", scale: ScaleRule::IntegerCeil, ..TRANSFORMER_ENGINE }];

/// The whole matrix: each named format's families, the default profile first.
const MATRIX: [(Format, &[&[Profile]]); 12] = [
    (Format::MXFP8_E4M3, &[MX_FLOAT, MICROXCALING, MODELOPT_MXFP8]),
    (Format::MXFP8_E5M2, &[MX_FLOAT, MICROXCALING]),
    (Format::MXFP6_E2M3, &[MX_FLOAT, MICROXCALING]),
    (Format::MXFP6_E3M2, &[MX_FLOAT, MICROXCALING]),
    (Format::MXFP4, &[MX_FLOAT, MICROXCALING, MXFP4]),
    (Format::MXINT8, &[MX_INTEGER, MICROXCALING]),
    (Format::MXINT6, &[MX_INTEGER]),
    (Format::MXINT4, &[MX_INTEGER, MICROXCALING]),
    (Format::NVFP4, &[NVFP4]),
    (Format::NVINT4, &[NVINT4]),
    (Format::FP4_UE5M3, &[DIRECT]),
    (Format::FP4_UE5M3_TENSOR, &[TWO_LEVEL]),
];

/// The profiles of any format, the default first; never empty.
pub(super) fn profiles(format: Format) -> Vec<Profile> {
    let row = MATRIX.iter().find(|(named, _)| *named == format);
    let families: &[&[Profile]] = match (row, format.scale(), format.element()) {
        (Some((_, families)), _, _) => families,
        (None, Scale::E8M0, Element::Float(_)) if format.has_tensor_scale() => &[TWO_LEVEL_FLOAT],
        (None, Scale::E8M0, Element::Int(_)) if format.has_tensor_scale() => &[TWO_LEVEL_INTEGER],
        (None, Scale::E8M0, Element::Float(_)) => &[MX_FLOAT],
        (None, Scale::E8M0, Element::Int(_)) => &[MX_INTEGER],
        (None, _, _) if format.has_tensor_scale() => &[TWO_LEVEL],
        (None, _, _) => &[DIRECT],
    };
    families.iter().flat_map(|family| family.iter()).map(|p| Profile { format, ..*p }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The search of ggml takes the first of equal errors, which is what this knob says.
    #[test]
    fn ggml_rounds_ties_to_zero() {
        for format in [Format::MXFP4, Format::NVFP4] {
            assert_eq!(Profile::named(format, "ggml").unwrap().ties, Ties::Zero);
        }
    }

    /// The contract of names, format by format, the default first.
    #[test]
    fn the_matrix_is_the_promised_one() {
        let mx = "rceil ocp ceil even microxcaling";
        let promised = [
            ("mxfp8-e4m3", "rceil ocp ceil even microxcaling modelopt"),
            ("mxfp8-e5m2", mx),
            ("mxfp6-e2m3", mx),
            ("mxfp6-e3m2", mx),
            ("mxfp4", "rceil ocp ceil even microxcaling compressed-tensors modelopt ggml"),
            ("mxint8", "ceil ocp microxcaling"),
            ("mxint6", "ceil ocp"),
            ("mxint4", "ceil ocp microxcaling"),
            (
                "nvfp4",
                "transformer-engine torchao modelopt compressed-tensors four-over-six-mse \
                 four-over-six-mae ggml",
            ),
            ("nvint4", "four-over-six"),
            ("fp4-ue5m3", "direct"),
            ("fp4-ue5m3-tensor", "two-level"),
            ("e3m2x64:e8m0", "rceil ocp ceil even"),
            ("int5/8x64:e8m0", "ceil ocp"),
            ("e2m1x32:e4m3", "direct"),
            ("e2m1x32:e4m3+tensor", "two-level"),
            ("e2m1x32:e8m0+tensor", "two-level"),
            ("int8x32:e8m0+tensor", "two-level"),
        ];
        for (format, names) in promised {
            let all = profiles(format.parse().unwrap());
            assert!(all.iter().all(|profile| profile.check().is_ok()), "{format}");
            let got: Vec<_> = all.iter().map(Profile::name).collect();
            assert_eq!(got, names.split_whitespace().collect::<Vec<_>>(), "{format}");
        }
    }
}
