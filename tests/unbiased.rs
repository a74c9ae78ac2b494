//! What is called unbiased, and what is: every named profile against theory, element by element and by the mean
//! over many draws.

use blockscale::analysis::ChosenRounding;
use blockscale::format::Format;
use blockscale::numerics::{DrawBits, DrawRule, Profile, Rounding, Stochastic, philox4x32_10};
use blockscale::{Error, Quantize};
use std::f64::consts::TAU;

/// What theory says of a profile's stochastic rounding.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Theory {
    Unbiased,
    /// Elements above the largest clip, and are low whatever is drawn.
    Clips,
    /// Refused, though no element of a sample is off: where only amaxima within an ulp clip, because a logarithm
    /// is rounded, or where a search looks at nearest codes and not at draws.
    RefusedAlone,
}
use Theory::{Clips, RefusedAlone, Unbiased};

/// Every named profile, format by format, and altered ones.
const TABLE: &[(&str, &[(&str, Theory)])] = &[
    (
        "mxfp8-e4m3",
        &[
            ("rceil", Unbiased),
            ("ocp", Clips),
            ("ceil", Unbiased),
            ("even", Clips),
            ("microxcaling", Clips),
            ("modelopt", RefusedAlone),
            ("ocp+headroom=3/4", Unbiased),
        ],
    ),
    (
        "mxfp8-e5m2",
        &[
            ("rceil", Unbiased),
            ("ocp", Clips),
            ("ceil", Unbiased),
            ("even", Clips),
            ("microxcaling", Clips),
        ],
    ),
    (
        "mxfp6-e2m3",
        &[
            ("rceil", Unbiased),
            ("ocp", Clips),
            ("ceil", Unbiased),
            ("even", Clips),
            ("microxcaling", Clips),
            ("ocp+headroom=3/4", Unbiased),
        ],
    ),
    (
        "mxfp6-e3m2",
        &[
            ("rceil", Unbiased),
            ("ocp", Clips),
            ("ceil", Unbiased),
            ("even", Clips),
            ("microxcaling", Clips),
        ],
    ),
    (
        "mxfp4",
        &[
            ("rceil", Unbiased),
            ("ocp", Clips),
            ("ceil", Unbiased),
            ("even", Clips),
            ("microxcaling", Clips),
            ("compressed-tensors", Clips),
            ("modelopt", RefusedAlone),
            ("ggml", Clips),
            ("ocp+headroom=3/4", Unbiased),
            ("rceil+scale=rms-floor", Clips),
            ("rceil+scale=rms-nearest", Clips),
        ],
    ),
    (
        "mxint8",
        &[
            ("ceil", Unbiased),
            ("ocp", Clips),
            ("microxcaling", Clips),
            ("ocp+headroom=3/4", Unbiased),
        ],
    ),
    ("mxint6", &[("ceil", Unbiased), ("ocp", Clips)]),
    ("mxint4", &[("ceil", Unbiased), ("ocp", Clips), ("microxcaling", Clips)]),
    (
        "nvfp4",
        &[
            ("transformer-engine", Clips),
            ("torchao", Clips),
            ("modelopt", Clips),
            ("compressed-tensors", Clips),
            ("four-over-six-mse", Clips),
            ("four-over-six-mae", Clips),
            ("ggml", Clips),
            ("transformer-engine+headroom=16/17", Unbiased),
            ("torchao+headroom=16/17", Unbiased),
            ("modelopt+headroom=16/17", Unbiased),
            ("compressed-tensors+headroom=16/17", Unbiased),
            ("four-over-six-mse+headroom=16/17", RefusedAlone),
        ],
    ),
    ("nvint4", &[("four-over-six", Clips), ("four-over-six+headroom=16/17", Unbiased)]),
    ("fp4-ue5m3", &[("direct", Clips)]),
    ("fp4-ue5m3-tensor", &[("two-level", Clips), ("two-level+headroom=16/17", Unbiased)]),
];

const SHAPE: [usize; 2] = [64, 256];

/// Gaussian rows whose σ covers an octave, so that amaxima stand everywhere between powers of two.
fn values() -> Vec<f32> {
    let value = |i: usize| {
        let words = philox4x32_10([i as u32, 0, 0, 0], [8, 1]);
        let [a, b, ..] = words.map(|word| (f64::from(word) + 0.5) / 2f64.powi(32));
        let sigma = ((i / SHAPE[1]) as f64 / SHAPE[0] as f64).exp2();
        ((-2.0 * a.ln()).sqrt() * (TAU * b).cos() * sigma) as f32
    };
    (0..SHAPE[0] * SHAPE[1]).map(value).collect()
}

/// The values of the codes below and above each element, and how far it is between them.
struct Between {
    low: Vec<f64>,
    high: Vec<f64>,
    fraction: Vec<f64>,
}

impl Between {
    fn of(profile: Profile, x: &[f32]) -> Self {
        let chosen = ChosenRounding::new(Quantize::new(profile));
        let all = |bits| {
            let q = chosen.round_with_mask(x, &SHAPE, &vec![bits; x.len() / 8]).unwrap();
            q.dequantize::<f32>().into_iter().map(f64::from).collect()
        };
        let neighbours = chosen.neighbours(x, &SHAPE).unwrap();
        let fraction = neighbours.fraction().iter().map(|f| f64::from(*f)).collect();
        Self { low: all(0), high: all(255), fraction }
    }

    /// The share of draws that go up, by the formula of the rule.
    fn probability(&self, i: usize, bits: DrawBits, rule: DrawRule) -> f64 {
        let n = 2f64.powi(bits.bits() as i32);
        match rule {
            DrawRule::Truncated => (self.fraction[i] * n).floor() / n,
            DrawRule::Midpoint => (self.fraction[i] * n + 0.5).floor() / n,
        }
    }

    fn mean(&self, i: usize, bits: DrawBits, rule: DrawRule) -> f64 {
        self.low[i] + self.probability(i, bits, rule) * (self.high[i] - self.low[i])
    }

    /// How many elements' mean is further away than the rule's bound, a 2⁻ⁿ or half of it of the step.
    fn beyond_the_bound(&self, x: &[f32], bits: DrawBits, rule: DrawRule) -> usize {
        let bound = match rule {
            DrawRule::Truncated => 2f64.powi(-(bits.bits() as i32)),
            DrawRule::Midpoint => 2f64.powi(-(bits.bits() as i32) - 1),
        };
        let beyond = |i: &usize| {
            let x = f64::from(x[*i]);
            // f32's own rounding of the products on both ways.
            let room = bound * (self.high[*i] - self.low[*i]).abs() + 4e-7 * x.abs();
            !((self.mean(*i, bits, rule) - x).abs() <= room)
        };
        (0..x.len()).filter(beyond).count()
    }
}

#[test]
fn the_table_has_every_named_profile() {
    for (_, format) in Format::NAMED {
        let (_, rows) = TABLE.iter().find(|(name, _)| *name == format.to_string()).unwrap();
        let named: Vec<String> = Profile::all(format).iter().map(Profile::to_string).collect();
        let listed: Vec<&str> =
            rows.iter().map(|row| row.0).filter(|text| !text.contains('+')).collect();
        assert_eq!(named, listed, "{format}");
    }
    assert_eq!(TABLE.len(), Format::NAMED.len());
}

#[test]
fn what_is_called_unbiased_is_so_and_the_rest_is_refused() {
    let x = values();
    for (format, rows) in TABLE {
        for (text, theory) in *rows {
            let profile = Profile::parse(format.parse().unwrap(), text).unwrap();
            let what = format!("{format} {text}");
            assert_eq!(profile.bias().is_none(), *theory == Unbiased, "{what}");
            let draws = Rounding::Stochastic(Stochastic::new(1, "x"));
            let asked = Quantize::new(profile).rounding(draws).unbiased().check_shape(&SHAPE);
            match theory {
                Unbiased => assert_eq!(asked, Ok(()), "{what}"),
                _ => assert!(matches!(asked, Err(Error::NotUnbiased { .. })), "{what}"),
            }
            let between = Between::of(profile, &x);
            for bits in [DrawBits::Eight, DrawBits::Sixteen] {
                for rule in [DrawRule::Truncated, DrawRule::Midpoint] {
                    let beyond = between.beyond_the_bound(&x, bits, rule);
                    assert_eq!(beyond > 0, *theory == Clips, "{what} {bits:?} {rule:?}: {beyond}");
                }
            }
        }
    }
}

#[test]
fn nearest_rounding_is_never_unbiased() {
    for (format, rows) in TABLE {
        for (text, _) in *rows {
            let profile = Profile::parse(format.parse().unwrap(), text).unwrap();
            assert!(
                Quantize::new(profile).unbiased().check_shape(&SHAPE).is_err(),
                "{format} {text}"
            );
        }
    }
}

/// What is drawn has the mean that the formula gives: over draws of an element, and over all elements.
#[test]
fn means_over_many_draws_are_those_of_the_rule() {
    const DRAWS: u32 = 192;
    let x = values();
    let unbiased = TABLE.iter().flat_map(|(format, rows)| {
        let rows = rows.iter().filter(|row| row.1 == Unbiased);
        rows.map(move |(text, _)| Profile::parse(format.parse().unwrap(), text).unwrap())
    });
    for (p, profile) in unbiased.enumerate() {
        let between = Between::of(profile, &x);
        // A width and a rule each, in turn: all four come often.
        let bits = [DrawBits::Eight, DrawBits::Sixteen][p / 2 % 2];
        let rule = [DrawRule::Truncated, DrawRule::Midpoint][p % 2];
        let draws = Stochastic::new(p as u64, "x").with_bits(bits).with_rule(rule);
        let mut sum = vec![0.0; x.len()];
        for step in 0..DRAWS {
            let rounding = Rounding::Stochastic(draws.with_step(step));
            let quantize = Quantize::new(profile).rounding(rounding).unbiased();
            let y = quantize.run(&x, &SHAPE).unwrap().dequantize::<f32>();
            sum.iter_mut().zip(y).for_each(|(sum, y)| *sum += f64::from(y));
        }
        // Away from zero, in standard errors; and squares of each element's, whose mean is 1.
        let (mut away, mut variance, mut squares, mut n) = (0.0, 0.0, 0.0, 0.0);
        for (i, sum) in sum.iter().enumerate() {
            let p = between.probability(i, bits, rule);
            let step = between.high[i] - between.low[i];
            let expected_variance = p * (1.0 - p) * step * step / f64::from(DRAWS);
            let difference = sum / f64::from(DRAWS) - between.mean(i, bits, rule);
            if p * f64::from(DRAWS) < 10.0 || (1.0 - p) * f64::from(DRAWS) < 10.0 {
                continue; // rare: its square is not spread as the others are
            }
            away += difference * f64::from(x[i].signum());
            variance += expected_variance;
            squares += difference * difference / expected_variance;
            n += 1.0;
        }
        let errors = away / variance.sqrt();
        let spread = (squares / n - 1.0) / (2.0f64 / n).sqrt();
        let what = format!("{} {profile} {bits:?} {rule:?}", profile.format());
        println!("{what}: {errors:.2} standard errors, spread {spread:.2}, {n} elements");
        assert!(n > 1000.0, "{what}");
        assert!(errors.abs() < 4.5, "{what}: {errors}");
        assert!(spread.abs() < 4.5, "{what}: {spread}");
    }
}
