//! Scale search against an oracle of its own: formulas of docs/profiles.md in plain loops, which share
//! with the crate nothing but the rule's scale.

use blockscale::format::Format;
use blockscale::numerics::{Profile, Rounding, Stochastic, philox4x32_10};
use blockscale::{Backend, Blocks, Error, Quantize, QuantizedTensor};

fn profile(format: Format, text: &str) -> Profile {
    Profile::parse(format, text).unwrap()
}

/// By the reference; `tests/cpu.rs` compares the host path with it.
fn quantize(profile: Profile) -> Quantize {
    Quantize::new(profile).backend(Backend::Reference)
}

/// Near enough to normal values, whose magnitude changes from block to block, with ties and zeros.
fn values(len: usize, seed: u32) -> Vec<f32> {
    let value = |i: usize| {
        let words = philox4x32_10([i as u32, seed, 0, 0], [5, 6]);
        let block = philox4x32_10([i as u32 / 16, seed, 1, 0], [5, 6]);
        let uniform = |word: u32| word as f32 / 4294967296.0 - 0.5;
        let scale = 2f32.powi((block[0] % 9) as i32 - 4);
        match block[1] % 6 {
            0 => ((words[0] % 49) as f32 / 4.0 - 6.0) * scale,
            1 if words[1].is_multiple_of(3) => 0.0,
            _ => (uniform(words[0]) + uniform(words[1]) + uniform(words[2])) * scale,
        }
    };
    (0..len).map(value).collect()
}

/// The magnitudes of E2M1 by code.
const E2M1: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];

/// The E2M1 value nearest to y, the even code of two that are.
fn nearest(y: f32) -> f32 {
    let a = y.abs().min(6.0);
    let distance = |code: usize| (f64::from(E2M1[code]) - f64::from(a)).abs();
    let better = |best: usize, code: usize| match distance(code).partial_cmp(&distance(best)) {
        Some(std::cmp::Ordering::Less) => code,
        Some(std::cmp::Ordering::Equal) if code.is_multiple_of(2) => code,
        _ => best,
    };
    E2M1[(1..8).fold(0, better)].copysign(y)
}

fn e4m3(code: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(code >> 3), f32::from(code & 7));
    match exponent {
        0 => mantissa / 512.0,
        _ => (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 7),
    }
}

/// The code of the E4M3 scale nearest to d.
fn nearest_e4m3(d: f32) -> u8 {
    let distance = |code: u8| (f64::from(e4m3(code)) - f64::from(d)).abs();
    (1..=0x7e).fold(0, |best, code| match distance(code).partial_cmp(&distance(best)) {
        Some(std::cmp::Ordering::Less) => code,
        Some(std::cmp::Ordering::Equal) if code.is_multiple_of(2) => code,
        _ => best,
    })
}

/// What elements become, under a scale code and the tensor's amax.
#[derive(Clone, Copy)]
enum Family {
    Mx,
    TransformerEngine,
    FourOverSix { bound: f32 },
}

impl Family {
    fn decoded(self, code: u8, g: f32, x: f32) -> f32 {
        match self {
            Self::Mx => {
                let s = 2f32.powi(i32::from(code) - 127);
                nearest(x / s) * s
            }
            Self::TransformerEngine => {
                let (s, tensor) = (e4m3(code), (2688.0 / g).min(f32::MAX));
                let factor = (1.0 / (s * (1.0 / tensor))).min(f32::MAX);
                nearest(x * factor) * (s * g * (1.0 / 2688.0))
            }
            Self::FourOverSix { bound } => {
                let (s, tensor) = (e4m3(code), (6.0 * bound / g).min(f32::MAX));
                let factor = (1.0 / ((1.0 / tensor) * s)).min(f32::MAX);
                let q = if s == 0.0 { 0.0 } else { nearest(x * factor) };
                q * s * g / (6.0 * bound)
            }
        }
    }
}

/// Rows of a block, or of a tile.
type Rows = Vec<Vec<f32>>;

/// Σ w d² of the rows, each in index order, folded in halves.
fn squared(family: Family, code: u8, g: f32, rows: &Rows, importance: &[f32]) -> f32 {
    let mut sums: Vec<f32> = Vec::new();
    for row in rows {
        let mut sum = 0.0;
        for (x, w) in row.iter().zip(importance) {
            let d = family.decoded(code, g, *x) - x;
            sum += w * (d * d);
        }
        sums.push(sum);
    }
    while sums.len() > 1 {
        let half = sums.len() / 2;
        sums = (0..half).map(|i| sums[i] + sums[i + half]).collect();
    }
    sums[0]
}

fn largest(family: Family, code: u8, g: f32, rows: &Rows) -> f32 {
    let all = rows.iter().flatten();
    all.map(|x| (family.decoded(code, g, *x) - x).abs()).fold(0.0, f32::max)
}

/// The code that a search from `first` keeps: no smaller error, no move; else the smallest error, and of
/// several the largest code.
fn kept(first: u8, others: impl IntoIterator<Item = u8>, error: impl Fn(u8) -> f32) -> u8 {
    let better = others.into_iter().filter(|code| error(*code) < error(first));
    let rank = |code: &u8| (-error(*code), *code);
    better.max_by(|a, b| rank(a).partial_cmp(&rank(b)).unwrap()).unwrap_or(first)
}

/// Codes around the rule's, within the positive and finite ones.
fn around(first: u8, above: i32, below: i32, within: [i32; 2]) -> Vec<u8> {
    let codes = i32::from(first) - below..=i32::from(first) + above;
    codes.filter(|code| (within[0]..=within[1]).contains(code)).map(|code| code as u8).collect()
}

/// The rows of the tile (or of the block, where `height` is 1) at a scale.
fn rows_of(x: &[f32], k: usize, at: usize, width: usize, height: usize) -> Rows {
    let columns = k / width;
    let (row, start) = (at / columns * height, at % columns * width);
    (row..row + height).map(|row| x[row * k + start..][..width].to_vec()).collect()
}

struct Case {
    format: Format,
    rule: &'static str,
    family: Family,
    search: &'static str,
    above: i32,
    below: i32,
    within: [i32; 2],
}

const CASES: [Case; 4] = [
    Case {
        format: Format::NVFP4,
        rule: "transformer-engine",
        family: Family::TransformerEngine,
        search: "sweep",
        above: 8,
        below: 8,
        within: [1, 0x7e],
    },
    Case {
        format: Format::NVFP4,
        rule: "four-over-six-mse+bound=256",
        family: Family::FourOverSix { bound: 256.0 },
        search: "sweep",
        above: 8,
        below: 8,
        within: [1, 0x7e],
    },
    Case {
        format: Format::MXFP4,
        rule: "rceil",
        family: Family::Mx,
        search: "sweep",
        above: 8,
        below: 8,
        within: [0, 254],
    },
    Case {
        format: Format::MXFP4,
        rule: "rceil",
        family: Family::Mx,
        search: "clip",
        above: 0,
        below: 2,
        within: [0, 254],
    },
];

fn importances(k: usize) -> [Option<Vec<f32>>; 3] {
    let column = |i: usize| philox4x32_10([i as u32, 9, 9, 9], [1, 1])[0];
    let wide = |i: usize| [0.0, 1e-3, 0.5, 1.0, 3.0, 1e4][column(i) as usize % 6];
    [None, Some(vec![1.0; k]), Some((0..k).map(wide).collect())]
}

#[test]
fn scales_are_those_of_the_smallest_error() {
    for case in CASES {
        let width = case.format.block();
        let (rows, k) = (2 * width, 8 * width);
        let x = values(rows * k, 1);
        let (plain, with) = (
            profile(case.format, &format!("{}+search=none", case.rule)),
            profile(case.format, &format!("{}+search={}", case.rule, case.search)),
        );
        let g = x.iter().fold(0.0f32, |g, x| g.max(x.abs()));
        for (blocks, height) in [(Blocks::Row, 1), (Blocks::Tile, width)] {
            let first = quantize(plain).blocks(blocks).run(&x, &[rows, k]).unwrap();
            let mut moved = 0;
            for importance in importances(k) {
                let quantize = quantize(with).blocks(blocks);
                let q = match &importance {
                    None => quantize.run(&x, &[rows, k]),
                    Some(importance) => quantize.run_with_importance(&x, &[rows, k], importance),
                };
                let q = q.unwrap();
                let weights = importance.unwrap_or(vec![1.0; k]);
                let columns = k / width;
                for at in 0..rows / height * columns {
                    let scale = at / columns * height * columns + at % columns;
                    let tile = rows_of(&x, k, at, width, height);
                    let weights = &weights[at % columns * width..][..width];
                    let first = first.scales().as_bytes()[scale];
                    let expected =
                        kept(first, around(first, case.above, case.below, case.within), |code| {
                            squared(case.family, code, g, &tile, weights)
                        });
                    let got = q.scales().as_bytes()[scale];
                    assert_eq!(got, expected, "{} {blocks:?} at {at}, first {first}", with);
                    moved += usize::from(got != first);
                }
            }
            assert!(moved > 0, "{with} {blocks:?} moved no scale");
        }
    }
}

/// The rule of fouroversix, for both bounds.
#[test]
fn four_over_six_by_the_largest_difference() {
    for bound in [256.0, 448.0] {
        let text = format!("four-over-six-mse+bound={bound}+search=four-over-six-absmax");
        let profile = profile(Format::NVFP4, &text);
        let family = Family::FourOverSix { bound };
        for (blocks, height) in [(Blocks::Row, 1), (Blocks::Tile, 16)] {
            let (rows, k) = (64, 128);
            let x = values(rows * k, 2);
            let g = x.iter().fold(0.0f32, |g, x| g.max(x.abs()));
            let q = quantize(profile).blocks(blocks).run(&x, &[rows, k]).unwrap();
            let mut fours = 0;
            for at in 0..rows / height * 8 {
                let tile = rows_of(&x, k, at, 16, height);
                let a = tile.iter().flatten().fold(0.0f32, |a, x| a.max(x.abs()));
                let base = a / 6.0 * (6.0 * bound / g);
                let code = |d: f32| nearest_e4m3(d.min(448.0));
                let (six, four) = (code(base), code(base * 1.5));
                let expected = kept(six, [four], |code| largest(family, code, g, &tile));
                let got = q.scales().as_bytes()[at / 8 * height * 8 + at % 8];
                assert_eq!(got, expected, "bound {bound} {blocks:?} at {at}: {six} or {four}");
                fours += usize::from(got == four && four != six);
            }
            assert!((1..rows / height * 8).contains(&fours), "{fours} blocks mapped to four");
        }
    }
}

/// Σ d² of each block of 16, in the order of the search.
fn errors(x: &[f32], q: &QuantizedTensor) -> Vec<f32> {
    let y = q.dequantize_with::<f32>(Backend::Reference);
    let block =
        |(x, y): (&[f32], &[f32])| x.iter().zip(y).fold(0.0, |sum, (x, y)| sum + (y - x) * (y - x));
    x.chunks(16).zip(y.chunks(16)).map(block).collect()
}

#[test]
fn more_candidates_leave_no_more() {
    let (rows, k) = (256, 256);
    let x = values(rows * k, 3);
    for rule in ["four-over-six-mse", "four-over-six-mse+bound=448", "transformer-engine"] {
        let left = |search| {
            let profile = profile(Format::NVFP4, &format!("{rule}+search={search}"));
            errors(&x, &quantize(profile).run(&x, &[rows, k]).unwrap())
        };
        let (plain, four, sweep) = (left("none"), left("four-over-six-mse"), left("sweep"));
        for (i, plain) in plain.iter().enumerate() {
            assert!(four[i] <= *plain, "{rule}, block {i}: {} above {plain}", four[i]);
            assert!(sweep[i] <= four[i], "{rule}, block {i}: {} above {}", sweep[i], four[i]);
        }
        let sum = |errors: &[f32]| errors.iter().map(|error| f64::from(*error)).sum::<f64>();
        let sums = [sum(&sweep), sum(&four), sum(&plain)];
        assert!(sums[0] < 0.99 * sums[1] && sums[1] < 0.99 * sums[2], "{rule}: {sums:?}");
    }
}

/// Where no scale is better, none replaces the rule's: zeros, exact blocks, and errors that are all Inf, all
/// zero or NaN.
#[test]
fn what_no_scale_improves_keeps_the_rules_bytes() {
    let huge = |factor: f32| values(64, 4).into_iter().map(|x| x * factor).collect::<Vec<_>>();
    let nothing = [vec![0.0, -0.0, 0.0], vec![f32::NAN, 1.0, 2.0], vec![f32::INFINITY, 1.0, 2.0]];
    let exact = vec![3.0, -1.5, 0.5, 6.0, 0.0, 4.0, -2.0, 1.0];
    // d² overflows, and underflows.
    let all = [&nothing[..], &[exact, huge(1e30), huge(1e-30)]].concat();
    for (format, rule, searches, inputs) in [
        (Format::MXFP4, "rceil", &["sweep", "clip"][..], &all[..]),
        (Format::MXFP4, "ggml", &["sweep", "clip"], &all),
        (Format::MXFP8_E4M3, "ocp", &["sweep", "clip"], &all),
        (Format::MXINT8, "ceil", &["sweep", "clip"], &all),
        (Format::NVFP4, "transformer-engine", &["sweep", "four-over-six-absmax"], &nothing),
        (Format::NVFP4, "compressed-tensors", &["sweep"], &nothing),
    ] {
        for x in inputs {
            let run = |search: &str| {
                let profile = profile(format, &format!("{rule}+search={search}"));
                let q = quantize(profile).tensor_amax(6.0).run(x, &[x.len()]).unwrap();
                (q.scales().as_bytes().to_vec(), q.codes().as_bytes().to_vec())
            };
            for search in searches {
                assert_eq!(run(search), run("none"), "{format} {rule} {search} {x:?}");
            }
        }
    }
}

#[test]
fn the_clip_of_a_block_with_an_outlier() {
    // Scale 2 of `rceil` loses the small values; half of it clips 6.5 to 6 and keeps them.
    let x = [6.5f32, 0.5, 0.5, 0.5, 0.5];
    let scale = |text: &str| {
        let q = quantize(profile(Format::MXFP4, text)).run(&x, &[5]).unwrap();
        q.scales().as_bytes()[0]
    };
    assert_eq!([scale("rceil"), scale("rceil+search=clip"), scale("ocp")], [128, 127, 127]);
    assert_eq!(scale("ocp+search=clip"), 127);
    // A sweep looks up as well: `ocp` clips 7.9 to 6 where scales of 2 to 16 have 8.
    let x = [7.9f32, 0.0];
    for (search, expected) in [("none", 127), ("clip", 127), ("sweep", 131)] {
        let q = quantize(profile(Format::MXFP4, &format!("ocp+search={search}"))).run(&x, &[2]);
        assert_eq!(q.unwrap().scales().as_bytes(), [expected], "{search}");
    }
}

#[test]
fn importance_belongs_to_columns() {
    let (rows, k) = (4, 40); // a tail of 8 columns
    let x = values(rows * k, 5);
    let importance = importances(k)[2].clone().unwrap();
    let quantize = quantize(profile(Format::MXFP4, "rceil+search=sweep"));
    let all = quantize.run_with_importance(&x, &[rows, k], &importance).unwrap();
    let plain = quantize.run(&x, &[rows, k]).unwrap();
    assert_ne!(all.scales().as_bytes(), plain.scales().as_bytes());
    for row in 0..rows {
        let x = &x[row * k..][..k];
        let one = quantize.run_with_importance(x, &[k], &importance).unwrap();
        assert_eq!(one.scales().as_bytes(), &all.scales().as_bytes()[row * 2..][..2]);
        // The tail alone, with its columns' importance.
        let tail = quantize.run_with_importance(&x[32..], &[8], &importance[32..]).unwrap();
        assert_eq!(tail.scales().as_bytes()[0], one.scales().as_bytes()[1]);
    }
    let [code_bytes, scale_bytes] = quantize.output_bytes(&[rows, k]).unwrap();
    let (mut codes, mut scales) = (vec![0xaa; code_bytes], vec![0xaa; scale_bytes]);
    let shape = [rows, k];
    let into = quantize.run_into_with_importance(&x, &shape, &importance, &mut codes, &mut scales);
    assert_eq!(into.unwrap().scales().as_bytes(), all.scales().as_bytes());
    assert_eq!(codes, all.codes().as_bytes());
    // Nothing has no columns to weigh.
    assert!(quantize.run_with_importance::<f32>(&[], &[3, 0], &[]).is_ok());
}

/// The scale is that of nearest rounding, whatever rounds in the end.
#[test]
fn draws_do_not_change_the_search() {
    let x = values(1024, 6);
    for (format, text) in [
        (Format::MXFP4, "rceil+search=sweep"),
        (Format::MXFP4, "rceil+search=clip"),
        (Format::NVFP4, "four-over-six-mse+search=four-over-six-absmax"),
    ] {
        let nearest = quantize(profile(format, text));
        let drawn = nearest.rounding(Rounding::Stochastic(Stochastic::new(1, "x")));
        let scales = |q: Quantize| q.run(&x, &[4, 256]).unwrap().scales().as_bytes().to_vec();
        assert_eq!(scales(nearest), scales(drawn), "{format} {text}");
        let refused = drawn.unbiased().run(&x, &[4, 256]).unwrap_err();
        assert!(matches!(refused, Error::NotUnbiased { .. }), "{refused}");
        assert!(refused.to_string().contains("by the error of nearest rounding"), "{refused}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused = |format: &str, text: &str| {
        Profile::parse(format.parse().unwrap(), text).unwrap_err().to_string()
    };
    for (format, text) in [
        ("nvfp4", "transformer-engine+search=clip"),
        ("fp4-ue5m3", "direct+search=clip"),
        ("e2m1x16:f32", "direct+search=sweep"),
        ("mxfp4", "rceil+search=four-over-six-absmax"),
        ("nvint4", "four-over-six+search=four-over-six-absmax"),
    ] {
        let message = refused(format, text);
        assert!(message.contains("search=clip E8M0 scales"), "{format} {text}: {message}");
    }
    let message = refused("nvfp4", "transformer-engine+search=swep");
    assert!(message.contains("four-over-six-absmax, sweep, clip"), "{message}");

    let run = |text: &str, importance: &[f32]| {
        let quantize = quantize(profile(Format::MXFP4, text));
        quantize.run_with_importance(&[1.0f32; 8], &[2, 4], importance).unwrap_err().to_string()
    };
    let sweep = "rceil+search=sweep";
    for (text, importance, expected) in [
        (sweep, &[1.0; 8][..], "the importance has 8 columns, but the shape [2, 4] needs 4"),
        (sweep, &[1.0, 1.0, -0.5, 1.0], "-0.5 of column 2: it is finite and not negative"),
        (sweep, &[1.0, f32::NAN, 1.0, 1.0], "NaN of column 1: it is finite and not negative"),
        (sweep, &[1.0, 1.0, 1.0, f32::INFINITY], "inf of column 3: it is finite and not negative"),
        ("rceil", &[1.0; 4], "for profile rceil: it weighs the errors of search=sweep and"),
    ] {
        let message = run(text, importance);
        assert!(message.contains(expected), "{text} {importance:?}: {message}");
    }
}
