//! The rules of stochastic rounding: their mean over all draws, their formula, and the same bytes from every
//! backend.

use blockscale::format::{Element, Format};
use blockscale::numerics::{DrawBits, DrawRule, Profile, Rounding, Stochastic, philox4x32_10};
use blockscale::{Backend, Blocks, Cpu, Level, Quantize};

const RULES: [DrawRule; 2] = [DrawRule::Truncated, DrawRule::Midpoint];
const WIDTHS: [DrawBits; 2] = [DrawBits::Eight, DrawBits::Sixteen];

/// The share of all draws of 8 bits that round 2 + `fraction` up to 3, as an E2M1 element.
fn share(rule: DrawRule, fraction: f32) -> f64 {
    let code = |draw| Element::E2M1.encode(2.0 + fraction, rule.round(draw, DrawBits::Eight));
    (0..256).map(|draw| f64::from(code(draw) - 4)).sum::<f64>() / 256.0
}

#[test]
fn means_over_all_draws_are_within_the_stated_bounds() {
    let step = 2f64.powi(-8);
    let (mut lowest, mut highest) = ([0.0f64; 2], [0.0f64; 2]);
    // Every 2^-14 of a step: finer than both rules look.
    for i in 0..1 << 14 {
        let fraction = i as f32 / 16384.0;
        for (i, rule) in RULES.into_iter().enumerate() {
            let error = share(rule, fraction) - f64::from(fraction);
            lowest[i] = lowest[i].min(error);
            highest[i] = highest[i].max(error);
        }
    }
    let [truncated, midpoint] = [0, 1].map(|i| [lowest[i], highest[i]]);
    let fine = 2f64.powi(-14);
    // Low by up to a 256th, never high; and no bound is larger than it need be.
    assert_eq!(truncated, [fine - step, 0.0]);
    assert_eq!(midpoint, [fine - step / 2.0, step / 2.0]);
}

#[test]
fn ends_and_grid_values_stay() {
    for rule in RULES {
        for bits in WIDTHS {
            let last = (1u32 << bits.bits()) - 1;
            for (x, code) in [(2.0, 4), (3.0, 5), (0.0, 0), (6.0, 7), (1e9, 7)] {
                for draw in [0, 1, last / 2, last] {
                    assert_eq!(Element::E2M1.encode(x, rule.round(draw, bits)), code, "{rule:?}");
                }
            }
        }
    }
    // A quarter of a step and the draw that just reaches it.
    for rule in RULES {
        let code = |draw| Element::E2M1.encode(2.25, rule.round(draw, DrawBits::Sixteen));
        assert_eq!((code(0xbfff), code(0xc000)), (4, 5), "{rule:?}");
    }
}

/// A value of every kind, by index.
fn value(i: usize) -> f32 {
    let [a, b, ..] = philox4x32_10([i as u32, 0, 0, 0], [5, 6]);
    match b % 24 {
        0 => 0.0,
        1 => -0.0,
        2 => f32::from_bits(a & 0x80ff_ffff),
        3 => f32::from_bits(a & 0xbfff_ffff),
        4 => (a % 49) as f32 / 8.0 - 3.0,
        5 if b.is_multiple_of(301) => f32::NAN, // seldom: it takes a whole tile along
        _ => (a as f32 / 4294967296.0 - 0.5) * 2f32.powi((b >> 8) as i32 % 5),
    }
}

/// The formula in f64 on the values that `Stochastic::draw` gives: E2M1 under a power of two.
#[test]
fn codes_follow_the_formula() {
    // Rules differ in one of 512 elements, with draws of 8 bits.
    let (rows, k) = (64, 256);
    let x: Vec<f32> = (0..rows * k).map(|i| value(i).clamp(-6.0, 6.0)).collect();
    let x: Vec<f32> = x.into_iter().map(|x| if x.is_nan() { 1.0 } else { x }).collect();
    let grid = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
    let backends = [Backend::Reference, Backend::default()];
    for (rule, backend) in RULES.into_iter().flat_map(|rule| backends.map(|it| (rule, it))) {
        for bits in WIDTHS {
            let draws = Stochastic::new(3, "w").with_bits(bits).with_rule(rule).with_step(9);
            let quantize = Quantize::new(Profile::default_for(Format::MXFP4))
                .rounding(Rounding::Stochastic(draws))
                .backend(backend);
            let q = quantize.run(&x, &[rows, k]).unwrap();
            for row in 0..rows {
                for column in 0..k {
                    let at = row * k + column;
                    let code = q.codes().as_bytes()[at / 2] >> (4 * (at % 2));
                    let scale = i32::from(q.scales().as_bytes()[at / 32]) - 127;
                    let y = f64::from(x[at]).abs() / 2f64.powi(scale);
                    let down = grid.iter().rposition(|v| *v <= y).unwrap();
                    let up = (down + 1).min(7);
                    let step: f64 = if up == down { 1.0 } else { grid[up] - grid[down] };
                    let fraction = (y - grid[down]) / step;
                    let n = 2f64.powi(bits.bits() as i32);
                    let draw = f64::from(draws.draw(row as u64, column as u64).unwrap());
                    let goes_up = match rule {
                        DrawRule::Truncated => (fraction * n).floor() + draw >= n,
                        DrawRule::Midpoint => {
                            (fraction * 2.0 * n).floor() + 2.0 * draw + 1.0 >= 2.0 * n
                        }
                    };
                    let expected = if goes_up { up } else { down };
                    assert_eq!(usize::from(code & 7), expected, "{rule:?} {bits:?} {row} {column}");
                }
            }
        }
    }
}

#[test]
fn every_level_gives_the_references_bytes() {
    let x: Vec<f32> = (0..40 * 352).map(value).collect();
    let levels = Level::NAMED.into_iter().map(|(_, level)| level);
    let levels: Vec<Level> = levels.filter(|level| level.is_available()).collect();
    let mut differing = 0;
    for profile in Format::NAMED.iter().flat_map(|(_, format)| Profile::all(*format)) {
        for bits in WIDTHS {
            for (shape, blocks) in [([40, 352], Blocks::Row), ([44, 320], Blocks::Tile)] {
                let draws = Stochastic::new(3, "w").with_bits(bits).with_offset(64, 32);
                let of = |draws| {
                    // A tensor amax, so that one NaN does not spoil the whole tensor.
                    let quantize = Quantize::new(profile).blocks(blocks).tensor_amax(20.0);
                    quantize.rounding(Rounding::Stochastic(draws))
                };
                let midpoint = of(draws.with_rule(DrawRule::Midpoint));
                let expected = midpoint.backend(Backend::Reference).run(&x, &shape).unwrap();
                for level in &levels {
                    let cpu = Cpu::new().level(*level).unwrap();
                    let q = midpoint.backend(cpu).run(&x, &shape).unwrap();
                    assert_eq!(q, expected, "{} {profile} {bits:?} {level:?}", profile.format());
                }
                // And they are others than those of the truncated rule.
                let truncated = of(draws).run(&x, &shape).unwrap();
                differing += usize::from(bits == DrawBits::Eight && truncated != expected);
            }
        }
    }
    let profiles = Format::NAMED.iter().flat_map(|(_, format)| Profile::all(*format)).count();
    assert_eq!(differing, 2 * profiles);
}

/// The step of the rule is no part of what is drawn.
#[test]
fn rules_share_their_draws() {
    let draws = Stochastic::new(3, "w");
    let midpoint = draws.with_rule(DrawRule::Midpoint);
    assert_eq!(midpoint.rule(), DrawRule::Midpoint);
    assert_eq!(draws.rule(), DrawRule::default());
    assert_eq!(midpoint.key(), draws.key());
    assert_eq!(midpoint.draw(5, 77), draws.draw(5, 77));
}
