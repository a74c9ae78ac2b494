//! Every element and scale cast against independent implementations: all 65,536 bf16 values and
//! the probes of `inputs` (each rounding midpoint ± 1 ulp, each exponent × mantissa edge).

mod common;

use blockscale::format::{Element, Minifloat, Round, Scale, Specials, Ties};
use common::{differ, fixtures};

/// What an oracle does differently outside the finite range, and so is not compared there.
#[derive(Clone, Copy, PartialEq)]
enum Range {
    /// Everything is compared.
    All,
    /// NaN was replaced by 0 before the cast.
    NoNan,
    /// Beyond the largest finite value the oracle does not saturate.
    Finite,
}

fn all_bf16() -> Vec<f32> {
    (0..=0xffffu32).map(|bits| f32::from_bits(bits << 16)).collect()
}

fn probes() -> Vec<f32> {
    fixtures("inputs")["probes"].u32().into_iter().map(f32::from_bits).collect()
}

fn float(float: Minifloat) -> Element {
    Element::Float(float)
}

fn generic(x: u8, y: u8, specials: Specials) -> Element {
    float(Minifloat::new(x, y, specials).unwrap())
}

/// Compares one oracle's codes and decode table; returns how many codes were compared.
fn compare(file: &str, names: &[(&str, Element)], suffix: &str, ties: Ties, range: Range) -> usize {
    let oracle = fixtures(file);
    let inputs = [("bf16_codes", all_bf16()), ("probe_codes", probes())];
    let mut compared = 0;
    for (name, element) in names {
        for (kind, inputs) in &inputs {
            let Some(codes) = oracle.get(&format!("{name}{suffix}.{kind}")) else { continue };
            assert_eq!(codes.u8().len(), inputs.len());
            for (x, expected) in inputs.iter().zip(codes.u8()) {
                // Half a step beyond the largest value still rounds to it.
                let skipped = match range {
                    Range::All => false,
                    Range::NoNan => x.is_nan(),
                    Range::Finite => !(x.abs() <= element.max()),
                };
                if skipped {
                    continue;
                }
                let code = element.encode(*x, Round::Nearest(ties));
                assert_eq!(code, *expected, "{file} {name}{suffix}: {x:e} ({:#010x})", x.to_bits());
                compared += 1;
            }
        }
        if let Some(decode) = oracle.get(&format!("{name}.decode")) {
            for (code, value) in decode.f32().into_iter().enumerate() {
                let ours = element.decode(code as u8);
                assert!(
                    !differ(ours, value),
                    "{file} {name}: code {code:#04x} is {ours}, not {value}"
                );
            }
        }
    }
    compared
}

const NAMED: [(&str, Element); 5] = [
    ("e2m1", Element::E2M1),
    ("e2m3", Element::E2M3),
    ("e3m2", Element::E3M2),
    ("e4m3", Element::E4M3),
    ("e5m2", Element::E5M2),
];

#[test]
fn elements_equal_the_cuda_headers() {
    let compared = compare("elements__cuda", &NAMED, "", Ties::Even, Range::All);
    assert_eq!(compared, 5 * (65_536 + probes().len()));
}

#[test]
fn elements_equal_ml_dtypes_where_it_is_finite() {
    let ieee = [
        ("e3m4_ieee", generic(3, 4, Specials::Ieee)),
        ("e4m3_ieee", generic(4, 3, Specials::Ieee)),
    ];
    let names: Vec<_> = NAMED.into_iter().chain(ieee).collect();
    assert!(compare("elements__ml_dtypes", &names, "", Ties::Even, Range::Finite) > 7 * 32_768);
}

#[test]
fn elements_equal_gfloat_with_ties_even_and_away() {
    for (suffix, ties) in [("", Ties::Even), ("_away", Ties::Away)] {
        let compared = compare("elements__gfloat", &NAMED, suffix, ties, Range::NoNan);
        assert!(compared > 5 * 65_000);
    }
}

#[test]
fn built_elements_equal_gfloat() {
    use Specials::{Ieee, NanOnly, None};
    let names = [
        ("int8", Element::INT8),
        ("ue5m3", float(Minifloat::UE5M3)),
        ("e2m0", generic(2, 0, None)),
        ("e3m0", generic(3, 0, None)),
        ("e1m2", generic(1, 2, None)),
        ("e2m2", generic(2, 2, None)),
        ("e3m1", generic(3, 1, None)),
        ("e3m3", generic(3, 3, None)),
        ("e3m4", generic(3, 4, None)),
        ("e4m3_finite", generic(4, 3, None)),
        ("e5m2_finite", generic(5, 2, None)),
        ("e3m4_fn", generic(3, 4, NanOnly)),
        ("e3m4_ieee", generic(3, 4, Ieee)),
        ("e4m3_ieee", generic(4, 3, Ieee)),
    ];
    for (suffix, ties) in [("", Ties::Even), ("_away", Ties::Away)] {
        let compared = compare("elements__gfloat_generic", &names, suffix, ties, Range::Finite);
        assert!(compared > 95_000, "{compared}");
    }
}

#[test]
fn ue5m3_equals_the_cuda_headers() {
    let names = [("ue5m3", float(Minifloat::UE5M3))];
    let compared = compare("elements__cuda_scales", &names, "", Ties::Even, Range::All);
    assert_eq!(compared, 65_536 + probes().len());
}

#[test]
fn e8m0_decodes_as_in_the_cuda_headers() {
    let decode = fixtures("elements__cuda_scales")["e8m0.decode"].f32();
    for (code, value) in decode.into_iter().enumerate() {
        assert!(!differ(Scale::E8M0.decode(code as u8), value), "{code}");
    }
}

/// gfloat's `StochasticFastest` with 8 bits is the contract's rule.
#[test]
fn stochastic_rounding_equals_gfloat() {
    let oracle = fixtures("stochastic");
    for (name, element) in NAMED {
        let (x, codes) = (oracle[&format!("{name}.x")].f32(), &oracle[&format!("{name}.codes")]);
        for (x, codes) in x.iter().zip(codes.u8().chunks(256)) {
            for (draw, expected) in codes.iter().enumerate() {
                let round = Round::Stochastic { draw: draw as u32, bits: 8 };
                assert_eq!(element.encode(*x, round), *expected, "{name} {x:e} draw {draw}");
            }
        }
    }
}

/// A counter of the headers is (offset low, high, subsequence low, high) in blocks of 128 bits.
#[test]
fn philox_equals_pytorch() {
    let oracle = fixtures("philox");
    let (seed, subsequence) = (oracle["seed"].u64(), oracle["subsequence"].u64());
    let (offset, words) = (oracle["offset"].u64(), oracle["words"].u32());
    let calls = words.len() / seed.len() / 4;
    for i in 0..seed.len() {
        for call in 0..calls {
            let at = offset[i].wrapping_add(call as u64);
            let counter = [at, subsequence[i]].map(|w| [w as u32, (w >> 32) as u32]);
            let key = [seed[i] as u32, (seed[i] >> 32) as u32];
            let counter = [counter[0][0], counter[0][1], counter[1][0], counter[1][1]];
            let expected = &words[(i * calls + call) * 4..][..4];
            assert_eq!(blockscale::numerics::philox4x32_10(counter, key), expected, "{i} {call}");
        }
    }
}

#[test]
fn tiled_scales_equal_torchao() {
    use blockscale::layout::{Linear, Scales, Tiled128x4};
    let oracle = fixtures("swizzle");
    let mut compared = 0;
    for (name, linear) in oracle.iter().filter(|(name, _)| name.starts_with("in_")) {
        let [rows, columns] = linear.shape[..] else { panic!("{name} is no matrix") };
        let scales = Scales::<Linear, _>::new(linear.u8(), 1, rows, columns).unwrap();
        let tiled = scales.relayout::<Tiled128x4>().unwrap();
        let expected = &oracle[&name.replace("in_", "swizzled_")];
        assert_eq!(tiled.as_bytes(), expected.u8(), "{name}");
        compared += 1;
    }
    assert_eq!(compared, 7);
}

/// ggml's own blocks: one scale byte and 16 bytes of split halves a block of 32.
#[test]
fn split_halves_equal_ggml() {
    use blockscale::layout::{Codes, Raw, SplitHalves};
    let oracle = fixtures("blocks__ggml_mxfp4");
    let (codes, raw) = (&oracle["mxfp4.case.gauss.codes"], &oracle["mxfp4.case.gauss.raw"]);
    let codes = Codes::<Raw, _>::new(codes.u8(), codes.shape[0], 128, 4, 32).unwrap();
    let halves = codes.relayout::<SplitHalves>().unwrap();
    let blocks = raw.u8().chunks(17).flat_map(|block| &block[1..]).copied();
    assert_eq!(halves.as_bytes(), blocks.collect::<Vec<_>>());

    let oracle = fixtures("blocks__ggml_nvfp4");
    let (codes, raw) = (&oracle["nvfp4.case.gauss.codes"], &oracle["nvfp4.case.gauss.raw"]);
    let codes = Codes::<Raw, _>::new(codes.u8(), codes.shape[0], 128, 4, 16).unwrap();
    let halves = codes.relayout::<SplitHalves>().unwrap();
    let blocks = raw.u8().chunks(36).flat_map(|block| &block[4..]).copied();
    assert_eq!(halves.as_bytes(), blocks.collect::<Vec<_>>());
}
