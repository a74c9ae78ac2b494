//! What the analysis measures and predicts, on values that can be worked out by hand.

use blockscale::analysis::{
    BlockCounts, Errors, Grid, Metrics, RowErrors, ScaleModel, crest_factor, crossover, float_qsnr,
    integer_qsnr, simulate,
};
use blockscale::format::{Element, Format, Minifloat, Scale};
use blockscale::numerics::{Profile, Rounding, Stochastic};
use blockscale::{Blocks, Error, Quantize, QuantizedTensor};
use half::bf16;

const INF: f64 = f64::INFINITY;

fn quantize(profile: &str, format: Format, x: &[f32], shape: &[usize]) -> QuantizedTensor {
    Quantize::new(Profile::parse(format, profile).unwrap()).run(x, shape).unwrap()
}

fn near(ours: f64, expected: f64) {
    if !((ours - expected).abs() <= 1e-12 * expected.abs()) {
        panic!("{ours} is not {expected}");
    }
}

/// Values of many magnitudes and both signs, the same each time.
fn sample(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i as f32 * 0.37).sin() * (i as f32 * 0.011).cos().exp2()).collect()
}

#[test]
fn errors_follow_their_formulas() {
    let errors = Errors::of(&[3.0f32, -4.0, 0.0, 1.0], &[2.0, -4.0, 0.0, 0.0]).unwrap();
    assert_eq!((errors.signal(), errors.noise()), (26.0, 2.0));
    assert_eq!(errors.relative_mse(), 2.0 / 26.0);
    near(errors.qsnr(), 10.0 * 13f64.log10());
    near(errors.bits(), 0.5 * 13f64.log2());
    near(errors.cosine(), 22.0 / (26f64 * 20.0).sqrt());
    near(errors.misalignment(), 4.0 / 26.0);
    assert_eq!(errors.max_error(), 1.0);
    assert_eq!(errors.flushed_share(), 0.25);
    assert_eq!((errors.elements(), errors.finite()), (4, 4));
    assert_eq!(Errors::of(&[bf16::ONE], &[1.0]).unwrap().signal(), 1.0);
}

#[test]
fn special_values_are_counted_and_left_out() {
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let x = [nan, inf, -inf, 2.0, 2.0, 2.0];
    let errors = Errors::of(&x, &[1.0, 6.0, nan, nan, -inf, 1.0]).unwrap();
    assert_eq!((errors.elements(), errors.finite()), (6, 3));
    assert_eq!((errors.nan(), errors.inf(), errors.lost()), (1, 2, 2));
    assert_eq!((errors.signal(), errors.noise(), errors.max_error()), (4.0, 1.0, 1.0));
    // The squares of f32's extremes stay within f64.
    let extremes = Errors::of(&[f32::MAX, f32::from_bits(1)], &[0.0, 0.0]).unwrap();
    assert_eq!((extremes.relative_mse(), extremes.flushed_share()), (1.0, 1.0));
    let smallest = Errors::of(&[f32::from_bits(1)], &[0.0]).unwrap();
    assert_eq!(smallest.relative_mse(), 1.0);
}

/// One NaN takes its whole block: what is left out of the sums is not perfect.
#[test]
fn what_cannot_be_measured_has_no_figures() {
    let mut x = [1.0f32; 32];
    x[3] = f32::NAN;
    let metrics = Metrics::of(&x, &quantize("rceil", Format::MXFP4, &x, &[1, 32])).unwrap();
    let errors = metrics.errors;
    assert_eq!((errors.elements(), errors.lost(), errors.measured()), (32, 31, 0));
    let figures = [errors.relative_mse(), errors.qsnr(), errors.bits(), errors.cosine()];
    assert!(figures.into_iter().all(f64::is_nan));
    assert!(errors.misalignment().is_nan() && errors.max_error().is_nan() && !errors.is_exact());
    // No row is measured either.
    assert_eq!((metrics.rows.rows(), metrics.rows.relative_mse()), (0, 0.0));
    // One measured element is enough for figures, not for perfection.
    let some = Errors::of(&[f32::INFINITY, 1.0], &[6.0, 1.0]).unwrap();
    assert_eq!((some.measured(), some.qsnr(), some.is_exact()), (1, INF, false));
    let kept = Errors::of(&[2.0f32, -0.0], &[2.0, 0.0]).unwrap();
    assert!(kept.is_exact() && Errors::default().is_exact());
    assert!(!Errors::of(&[2.0f32], &[2.5]).unwrap().is_exact());
}

#[test]
fn nothing_zeros_and_perfection_have_figures() {
    for (x, y) in [(&[][..], &[][..]), (&[0.0, -0.0], &[0.0, 0.0]), (&[1.5, -2.0], &[1.5, -2.0])] {
        let errors = Errors::of(x, y).unwrap();
        assert_eq!((errors.relative_mse(), errors.qsnr(), errors.bits()), (0.0, INF, INF));
        near(errors.cosine(), 1.0);
        assert_eq!((errors.misalignment(), errors.max_error()), (0.0, 0.0));
        assert_eq!(errors.flushed_share(), 0.0);
        let rows = RowErrors::of(x, y, 2).unwrap();
        assert_eq!((rows.relative_mse(), rows.bits(), rows.misalignment()), (0.0, INF, 0.0));
    }
    let invented = Errors::of(&[0.0f32], &[1.0]).unwrap();
    assert_eq!((invented.relative_mse(), invented.qsnr(), invented.cosine()), (INF, -INF, 0.0));
    assert_eq!(Errors::of(&[1.0f32], &[0.0]).unwrap().cosine(), 0.0);
    let none = BlockCounts::default();
    assert_eq!((none.clipped_share(), none.zeroed_share(), none.mean_crest()), (0.0, 0.0, 0.0));
    for shape in [&[0, 16][..], &[16, 0], &[0]] {
        let metrics = Metrics::of(&[0f32; 0], &quantize("rceil", Format::MXFP4, &[], shape));
        assert_eq!(metrics.unwrap(), Metrics::default());
    }
}

#[test]
fn parts_merge_into_the_whole() {
    let x = sample(4096);
    let y: Vec<f32> = x.iter().map(|x| (x * 4.0).round() / 4.0).collect();
    let mut merged = Errors::of(&x[..1000], &y[..1000]).unwrap();
    merged.merge(&Errors::default());
    merged.merge(&Errors::of(&x[1000..], &y[1000..]).unwrap());
    let whole = Errors::of(&x, &y).unwrap();
    assert_eq!((merged.elements(), merged.max_error()), (whole.elements(), whole.max_error()));
    assert_eq!(merged.flushed_share(), whole.flushed_share());
    near(merged.relative_mse(), whole.relative_mse());
    near(merged.cosine(), whole.cosine());
    near(merged.misalignment(), whole.misalignment());
    let mut special = Errors::of(&[f32::NAN, 1.0], &[0.0, f32::NAN]).unwrap();
    special.merge(&Errors::of(&[f32::INFINITY, 1.0], &[0.0, f32::NAN]).unwrap());
    assert_eq!((special.nan(), special.inf(), special.lost(), special.finite()), (1, 1, 2, 2));

    let mut rows = RowErrors::of(&x[..1024], &y[..1024], 64).unwrap();
    rows.merge(&RowErrors::of(&x[1024..], &y[1024..], 64).unwrap());
    let whole = RowErrors::of(&x, &y, 64).unwrap();
    assert_eq!((rows.rows(), whole.rows()), (64, 64));
    near(rows.relative_mse(), whole.relative_mse());
    near(rows.misalignment(), whole.misalignment());
}

/// Large enough for several parts and threads.
#[test]
fn metrics_of_a_tensor_are_those_of_its_rows_and_blocks() {
    let (rows, k) = (700, 500);
    let x = sample(rows * k);
    for blocks in [Blocks::Row, Blocks::Tile] {
        let profile = Profile::default_for(Format::NVFP4);
        let q = Quantize::new(profile).blocks(blocks).run(&x, &[7, rows / 7, k]).unwrap();
        let metrics = Metrics::of(&x, &q).unwrap();
        let y = q.dequantize::<f32>();
        let errors = Errors::of(&x, &y).unwrap();
        assert_eq!(metrics.errors.elements(), (rows * k) as u64);
        near(metrics.errors.relative_mse(), errors.relative_mse());
        near(metrics.errors.misalignment(), errors.misalignment());
        assert_eq!(metrics.errors.max_error(), errors.max_error());
        assert_eq!(metrics.errors.flushed_share(), errors.flushed_share());
        let by_row = RowErrors::of(&x, &y, k).unwrap();
        near(metrics.rows.relative_mse(), by_row.relative_mse());
        assert_eq!(metrics.rows.rows(), rows as u64);
        let crests = x.chunks(k).flat_map(|row| row.chunks(16)).map(|b| crest_factor(b).unwrap());
        let blocks = rows * k.div_ceil(16);
        near(metrics.blocks.mean_crest(), crests.sum::<f64>() / blocks as f64);
        let tensor = f64::from(blockscale::amax(&x)) / (6.0 * 448.0);
        let mut clipped = 0;
        for (row, x) in x.chunks(k).enumerate() {
            for (column, x) in x.chunks(16).enumerate() {
                let code = q.scales().as_bytes()[row * k.div_ceil(16) + column];
                let limit = 6.0 * f64::from(Scale::E4M3.decode(code)) * tensor;
                clipped += x.iter().filter(|x| f64::from(x.abs()) > limit * 1.000_001).count();
            }
        }
        assert_eq!(metrics.blocks.clipped_share(), clipped as f64 / (rows * k) as f64);
        assert_eq!(metrics, Metrics::of(&x, &q.view()).unwrap());
    }
}

#[test]
fn clipping_is_counted_where_rounding_saturates() {
    let mut x = [0.0f32; 64];
    x[..4].copy_from_slice(&[7.9, -6.1, 6.0, 4.0]); // floor: scale 1, the largest is 6
    x[32] = 5.9; // scale 1
    let clipped = |profile, format| {
        let metrics = Metrics::of(&x, &quantize(profile, format, &x, &[2, 32])).unwrap();
        metrics.blocks.clipped_share()
    };
    assert_eq!(clipped("ocp", Format::MXFP4), 2.0 / 64.0);
    assert_eq!(clipped("rceil", Format::MXFP4), 0.0);
    assert_eq!(clipped("ocp+headroom=3/4", Format::MXFP4), 0.0);
    // ±127/64 is the largest of MXINT8, 7.9 / 4 is below it.
    assert_eq!(clipped("ocp", Format::MXINT8), 0.0);
    assert_eq!(clipped("ocp", Format::MXINT4), 1.0 / 64.0);
}

/// An amax that the tensor scale maps to the largest code is not clipped by that scale's rounding.
#[test]
fn the_rounding_of_a_tensor_scale_is_no_clipping() {
    for profile in Profile::all(Format::NVFP4) {
        if profile.name() == "ggml" {
            continue; // no tensor scale
        }
        for i in 1..2000 {
            let x = [i as f32 * 0.123_456_7; 16];
            let q = Quantize::new(profile).run(&x, &[16]).unwrap();
            let metrics = Metrics::of(&x, &q).unwrap();
            assert_eq!(metrics.blocks.clipped_share(), 0.0, "{profile} {}", x[0]);
        }
    }
}

#[test]
fn zeroed_scales_are_counted_among_blocks_that_are_not_zero() {
    let mut x = [0.0f32; 64];
    // E4M3's smallest scale is 2^-9: the second block's is below, the third's is just that.
    (x[0], x[16], x[32]) = (2688.0, 1e-4, 6.0 / 512.0);
    let metrics =
        Metrics::of(&x, &quantize("transformer-engine", Format::NVFP4, &x, &[4, 16])).unwrap();
    assert_eq!(metrics.blocks.zeroed_share(), 1.0 / 3.0);
    assert_eq!(metrics.blocks.clipped_share(), 0.0);
    assert_eq!(metrics.errors.flushed_share(), 1.0 / 64.0);
    assert_eq!(metrics.rows.rows(), 3);
    assert_eq!(metrics.blocks.mean_crest(), 4.0);
}

#[test]
fn a_nan_takes_its_block_out_of_the_sums() {
    let mut x = [1.0f32; 64];
    x[3] = f32::NAN;
    let metrics = Metrics::of(&x, &quantize("rceil", Format::MXFP4, &x, &[64])).unwrap();
    assert_eq!((metrics.errors.nan(), metrics.errors.lost()), (1, 31));
    assert_eq!((metrics.errors.signal(), metrics.errors.qsnr()), (32.0, INF));
    assert_eq!((metrics.blocks.clipped_share(), metrics.blocks.mean_crest()), (0.0, 1.0));
    x[3] = f32::INFINITY;
    let metrics = Metrics::of(&x, &quantize("modelopt", Format::MXFP4, &x, &[64])).unwrap();
    assert_eq!((metrics.errors.inf(), metrics.errors.lost()), (1, 0));
    assert_eq!(metrics.blocks.clipped_share(), 0.0);
}

#[test]
fn crest_factors_of_simple_blocks() {
    let mut one_hot = [0.0f32; 16];
    one_hot[5] = -3.0;
    assert_eq!(crest_factor(&one_hot), Some(4.0));
    assert_eq!(crest_factor(&[-2.0f32, 2.0]), Some(1.0));
    assert_eq!(crest_factor(&[f32::MAX; 3]), Some(1.0));
    assert_eq!(crest_factor(&[f32::from_bits(1), 0.0, 0.0, 0.0]), Some(2.0));
    for none in [&[][..], &[0.0], &[1.0, f32::NAN], &[1.0, f32::INFINITY]] {
        assert_eq!(crest_factor::<f32>(none), None);
    }
}

#[test]
fn lengths_must_agree() {
    let wrong =
        |result: Result<(), Error>| assert!(matches!(result, Err(Error::WrongLength { .. })));
    wrong(Errors::of(&[1.0f32], &[]).map(drop));
    wrong(RowErrors::of(&[1.0; 4], &[1.0; 3], 2).map(drop));
    wrong(RowErrors::of(&[1.0; 4], &[1.0; 4], 3).map(drop));
    wrong(RowErrors::of(&[1.0; 4], &[1.0; 4], 0).map(drop));
    let q = quantize("rceil", Format::MXFP4, &[1.0; 4], &[4]);
    wrong(Metrics::of(&[1.0f32; 5], &q).map(drop));
    let profile = Profile::default_for(Format::MXFP4);
    wrong(simulate(&profile, Rounding::Nearest, &[1.0; 5], 2).map(drop));
    wrong(simulate(&profile, Rounding::Nearest, &[1.0; 5], 0).map(drop));
    assert_eq!(simulate(&profile, Rounding::Nearest, &[], 0), Ok(vec![]));
}

#[test]
fn simulation_decodes_what_quantization_stores() {
    let mut x = sample(10 * 50);
    (x[60], x[130], x[170]) = (f32::NAN, f32::INFINITY, -0.0);
    x[200..250].fill(0.0);
    for (_, format) in Format::NAMED {
        for profile in Profile::all(format) {
            for rounding in [Rounding::Nearest, Rounding::Stochastic(Stochastic::new(1, "w"))] {
                let q = Quantize::new(profile).rounding(rounding).run(&x, &[10, 50]).unwrap();
                let simulated = simulate(&profile, rounding, &x, 50).unwrap();
                let bits = |y: Vec<f32>| y.into_iter().map(f32::to_bits).collect::<Vec<_>>();
                assert_eq!(bits(simulated), bits(q.dequantize()), "{format} {profile}");
            }
        }
    }
}

/// The closed form against Simpson's rule between the same midpoints.
#[test]
fn gaussian_error_is_the_integral() {
    let values: Vec<f64> = (0..=7).map(|code| f64::from(Element::E2M1.decode(code))).collect();
    for scale in [0.1, 0.487, 1.0, 3.0] {
        // By symmetry twice the positive side, whose cells end at these midpoints.
        let mut edges: Vec<f64> = values.windows(2).map(|v| scale * (v[0] + v[1]) / 2.0).collect();
        edges.push(values[7] * scale + 12.0);
        let mut integral = 0.0;
        let mut low = 0.0;
        for (value, high) in values.iter().zip(edges) {
            let f = |x: f64| {
                (x - value * scale).powi(2) * (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt()
            };
            let (n, h) = (20_000, (high - low) / 20_000.0);
            let inner = (1..n).map(|i| f64::from(2 + 2 * (i % 2)) * f(low + f64::from(i) * h));
            integral += (f(low) + f(high) + inner.sum::<f64>()) * h / 3.0;
            low = high;
        }
        let closed = Grid::of(Element::E2M1).gaussian_mse(scale);
        assert!((closed - 2.0 * integral).abs() < 1e-13, "{closed} is not {}", 2.0 * integral);
    }
}

#[test]
fn an_optimum_is_one() {
    for element in ["e2m1", "e2m3", "e4m3", "e5m2", "int4", "int8"] {
        let grid = Grid::of(element.parse().unwrap());
        let optimum = grid.gaussian_optimum();
        assert_eq!(optimum.mse, grid.gaussian_mse(optimum.scale));
        for factor in [0.25, 0.5, 0.7, 0.99, 1.01, 1.4, 2.0, 4.0] {
            // E5M2 has so many octaves that a factor of 2 changes nothing.
            let other = grid.gaussian_mse(factor * optimum.scale) * (1.0 + 1e-9);
            assert!(optimum.mse < other, "{element} {factor}");
        }
    }
    assert_eq!(Grid::new(&[0.0]).unwrap().gaussian_optimum().mse, 1.0);
    let e2m1 = Grid::of(Element::E2M1);
    assert_eq!(e2m1.gaussian_mse(-0.4), e2m1.gaussian_mse(0.4));
    assert!(e2m1.gaussian_mse(f64::NAN).is_nan());
    for refused in [&[][..], &[1.0, f64::NAN], &[f64::INFINITY]] {
        assert!(matches!(Grid::new(refused), Err(Error::InvalidValue { .. })));
    }
    assert_eq!(Grid::new(&[1.0, -1.0, 1.0]).unwrap(), Grid::new(&[-1.0, 1.0]).unwrap());
}

#[test]
fn predictions_come_near_measurements() {
    let model = |ratio| ScaleModel::PowerOfTwo { ratio };
    near(integer_qsnr(8, 2.0, model(1.0)), 10.0 * (3.0 * 65536.0 / 4f64).log10());
    near(
        integer_qsnr(4, 2.0, ScaleModel::Fine { block: 16 }),
        10.0 * (192.0f64 * 16.0 / 15.0).log10(),
    );
    // Where nothing is subnormal a float's QSNR is 10 log10(24 · 4^y).
    let flat = float_qsnr(Minifloat::E4M3, 1.0, model(1.0));
    assert!((flat - 10.0 * 1536f64.log10()).abs() < 0.01, "{flat}");
    assert!(crossover(8, Minifloat::E2M1, model(1.0)).is_none_or(|crest| crest > 20.0));
    assert_eq!(crossover(2, Minifloat::E4M3, model(1.5)), None);
}
