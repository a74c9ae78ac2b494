//! Clip masks against their formula in f64, from nothing but the bytes of the quantized tensor.

use blockscale::analysis::Metrics;
use blockscale::format::{Element, Format};
use blockscale::numerics::{
    Hadamard, Headroom, Profile, Rounding, Stochastic, TensorScale, philox4x32_10,
};
use blockscale::{
    Axis, Backend, Blocks, ClipMask, Cpu, Error, Quantize, QuantizedTensor, Real, Rotate,
};
use half::bf16;

/// Normal values with a few far from the others.
fn values(n: usize) -> Vec<f32> {
    let value = |i: usize| {
        let words = philox4x32_10([i as u32, 0, 0, 0], [9, 9]);
        let sum: f64 = words.iter().map(|word| f64::from(*word) / 4294967296.0 - 0.5).sum();
        let far = if words[3].is_multiple_of(29) { 3.0 } else { 1.0 };
        if words[2].is_multiple_of(31) { 0.0 } else { (sum * far) as f32 }
    };
    (0..n).map(value).collect()
}

fn profile(format: &str, text: &str) -> Profile {
    Profile::parse(format.parse().unwrap(), text).unwrap()
}

/// Every named profile and those whose scales clip by design.
fn profiles() -> Vec<Profile> {
    let altered = [
        ("mxfp4", "rceil+scale=rms-floor"),
        ("mxfp4", "rceil+scale=rms-nearest"),
        ("mxfp4", "ocp+headroom=3/4"),
        ("nvfp4", "transformer-engine+headroom=16/17"),
        ("e3m2x24:e8m0", "even"),
    ];
    let named = Format::NAMED.iter().flat_map(|(_, format)| Profile::all(*format));
    named.chain(altered.map(|(format, text)| profile(format, text))).collect()
}

/// The magnitude that an element's largest value decodes to, by the formulas of docs/profiles.md.
fn reach(q: &QuantizedTensor, row: usize, k: usize) -> f64 {
    let (profile, format) = (q.profile(), q.format());
    let columns = format.scales_per_row(*q.shape().last().unwrap());
    let code = q.scales().as_bytes()[row * columns + k / format.block()];
    let largest = f64::from(format.element().max());
    let target = match profile.headroom {
        Headroom::SixteenSeventeenths => largest * 16.0 / 17.0,
        _ => largest,
    };
    let tensor = match q.tensor_scale() {
        None => 1.0,
        Some(TensorScale::Amax(g)) => f64::from(g) / (target * f64::from(profile.bound)),
        Some(TensorScale::Decode(t)) => f64::from(t),
        Some(TensorScale::Encode(s)) => 1.0 / f64::from(s),
    };
    largest * f64::from(format.scale().decode(code)) * tensor
}

/// Compares a mask with |x| < reach; values next to the bound, where f32's rounding decides, are passed over.
fn check(what: &str, x: &[f32], q: &QuantizedTensor, mask: &ClipMask) -> usize {
    let k = *q.shape().last().unwrap();
    let row_bytes = k.div_ceil(8);
    assert_eq!(mask.bytes().len(), row_bytes * (x.len() / k), "{what}");
    let (mut near, mut within) = (0, 0);
    for (i, x) in x.iter().enumerate() {
        let (row, k) = (i / k, i % k);
        let (x, reach) = (f64::from(x.abs()), reach(q, row, k));
        let bit = mask.bytes()[row * row_bytes + k / 8] >> (k % 8) & 1 == 1;
        assert_eq!(mask.get(row, k), Some(bit));
        within += usize::from(bit);
        if (x - reach).abs() <= 1e-6 * reach && x > 0.0 {
            near += 1;
            continue;
        }
        assert_eq!(bit, x == 0.0 || x < reach, "{what}: element ({row}, {k}), {x} under {reach}");
    }
    assert_eq!(mask.clipped(), x.len() - within);
    // Padding bits are 0.
    let ones: u32 = mask.bytes().iter().map(|byte| byte.count_ones()).sum();
    assert_eq!(ones as usize, within, "{what}");
    assert!(near <= x.len() / 16, "{what}: {near}");
    mask.clipped()
}

#[test]
fn bits_are_those_of_the_formula() {
    let x = values(2 * 19 * 77);
    let mut clipped = 0;
    for profile in profiles() {
        for blocks in [Blocks::Row, Blocks::Tile] {
            for rounding in [Rounding::Nearest, Rounding::Stochastic(Stochastic::new(1, "x"))] {
                let what = format!("{} {profile} {blocks:?} {rounding:?}", profile.format());
                let quantize = Quantize::new(profile).blocks(blocks).rounding(rounding);
                let shape = [2, 19, 77];
                let (q, mask) = quantize.run_with_clip_mask(&x, &shape).unwrap();
                assert_eq!(q, quantize.run(&x, &shape).unwrap(), "{what}");
                clipped += check(&what, &x, &q, &mask);
                let specified =
                    quantize.backend(Backend::Reference).run_with_clip_mask(&x, &shape).unwrap();
                assert_eq!((q, mask), specified, "{what}");
            }
        }
    }
    assert!(clipped > 1000, "{clipped}");
}

#[test]
fn quest_masks_by_its_own_rule() {
    let x = values(64 * 32);
    let quest = Quantize::new(profile("mxfp4", "rceil+scale=rms-floor"));
    let (q, mask) = quest.run_with_clip_mask(&x, &[64, 32]).unwrap();
    for (row, x) in x.chunks(32).enumerate() {
        let mean = |f: &dyn Fn(f64) -> f64| x.iter().map(|x| f(f64::from(*x))).sum::<f64>() / 32.0;
        let std = (mean(&|x| x * x) - mean(&|x| x).powi(2)).sqrt();
        let scale = (std * 2.92247856 / 6.0 + 1e-8).log2().floor().exp2();
        for (k, x) in x.iter().enumerate() {
            assert_eq!(mask.get(row, k), Some((f64::from(*x) / scale).abs() < 6.0), "{row} {k}");
        }
    }
    // Those above the largest; none of these values is the largest itself.
    let share = Metrics::of(&x, &q).unwrap().blocks.clipped_share();
    assert_eq!(mask.clipped() as f64 / x.len() as f64, share);
}

#[test]
fn rotated_values_are_what_is_clipped() {
    let x = values(6 * 128);
    let hadamard = Hadamard::new(64).unwrap().with_drawn_signs(3, "x");
    for (format, text) in [("mxfp4", "rceil+scale=rms-floor"), ("nvfp4", "transformer-engine")] {
        let quantize = Quantize::new(profile(format, text));
        let shape = [6, 128];
        let (q, mask) = quantize.rotated(hadamard).run_with_clip_mask(&x, &shape).unwrap();
        assert_eq!(q, quantize.rotated(hadamard).run(&x, &shape).unwrap());
        let rotated = Rotate::new(hadamard).along(Axis::K).run(&x, &shape).unwrap();
        assert_eq!(
            (q.clone(), mask.clone()),
            quantize.run_with_clip_mask(&rotated, &shape).unwrap()
        );
        check(text, &rotated, &q, &mask);
        // Not those of the values as they were.
        assert_ne!(mask, quantize.run_with_clip_mask(&x, &shape).unwrap().1);
        let short: Vec<bf16> = x.iter().map(|x| bf16::from_f32(*x)).collect();
        let wide: Vec<f32> = short.iter().map(|x| x.to_f32()).collect();
        let of = |x| quantize.rotated(hadamard).run_with_clip_mask(x, &shape).unwrap();
        let (q, mask) = quantize.rotated(hadamard).run_with_clip_mask(&short, &shape).unwrap();
        assert_eq!((q, mask), of(&wide));
    }
    let refused = Quantize::new(profile("mxfp4", "rceil")).rotated(hadamard);
    let error = refused.run_with_clip_mask(&x, &[8, 96]).unwrap_err();
    assert!(matches!(error, Error::RotationSize { .. }), "{error}");
}

#[test]
fn the_bound_is_strict_and_special_values_are_told() {
    let rms = profile("mxfp4", "rceil");
    let mask = |profile, x: &[f32]| {
        Quantize::new(profile).run_with_clip_mask(x, &[x.len()]).unwrap().1.bytes().to_vec()
    };
    // Scale 1: 6 itself is out, the next value below it in.
    assert_eq!(mask(rms, &[6.0, 6.0f32.next_down(), -6.0, -0.0, 0.0, -5.99]), [0b11_1010]);
    // A block with NaN has codes 0 and no bit; the next block is as ever.
    let mut x = [1.0f32; 40];
    x[3] = f32::NAN;
    assert_eq!(mask(rms, &x), [0, 0, 0, 0, 255]);
    x[3] = f32::INFINITY;
    assert_eq!(mask(rms, &x), [0, 0, 0, 0, 255]);
    assert_eq!(mask(profile("mxfp4", "compressed-tensors"), &x), [0, 0, 0, 0, 255]);
    // Where NaN and Inf count as 0 they are out alone.
    assert_eq!(mask(profile("mxfp4", "modelopt"), &x), [0b1111_0111, 255, 255, 255, 255]);
    // NaN in a tensor whose scale has two levels spoils it all.
    x[3] = f32::NAN;
    assert_eq!(mask(profile("nvfp4", "torchao"), &x), [0; 5]);
    // Zeros are within, also where the formula of y divides by zero.
    for (name, format) in Format::NAMED {
        for profile in Profile::all(format) {
            assert_eq!(mask(profile, &[0.0; 11]), [255, 7], "{name} {profile}");
        }
    }
    assert!(mask(profile("nvfp4", "torchao"), &[]).is_empty());
    let int8 = profile("mxint8", "ocp");
    assert_eq!(Element::INT8.max(), 127.0 / 64.0);
    assert_eq!(mask(int8, &[127.0, 126.75, 127.75, 1.0]), [0b1010]);
}

#[test]
fn gradients_of_clipped_elements_become_zero() {
    let x = values(5 * 37);
    let quantize = Quantize::new(profile("mxfp4", "ocp"));
    let (_, mask) = quantize.run_with_clip_mask(&x, &[5, 37]).unwrap();
    assert!((2..30).contains(&mask.clipped()), "{}", mask.clipped());
    assert_eq!((mask.shape(), mask.get(4, 36).is_some()), (&[5, 37][..], true));
    assert_eq!((mask.get(5, 0), mask.get(0, 37)), (None, None));
    fn applied<T: Real + PartialEq + std::fmt::Debug>(mask: &ClipMask) {
        let mut gradient = vec![T::from_f32(-1.5); 5 * 37];
        gradient[0] = T::from_f32(f32::NAN);
        mask.apply(&mut gradient).unwrap();
        for (i, value) in gradient.iter().enumerate().skip(1) {
            let expected = if mask.get(i / 37, i % 37).unwrap() { -1.5 } else { 0.0 };
            assert_eq!(value.to_f32().to_bits(), f32::to_bits(expected), "{i}");
        }
    }
    applied::<f32>(&mask);
    applied::<bf16>(&mask);
    let error = mask.apply(&mut [0.0f32; 5 * 40]).unwrap_err();
    assert_eq!(error.to_string(), "the gradient has 200 elements, but the shape [5, 37] needs 185");
    // A clipped NaN is 0 as well.
    let (_, mask) = quantize.run_with_clip_mask(&[7.0f32, 1.0], &[2]).unwrap();
    let mut gradient = [f32::NAN, f32::NAN];
    mask.apply(&mut gradient).unwrap();
    assert!(gradient[0] == 0.0 && gradient[1].is_nan());
}

#[test]
fn threads_change_nothing() {
    let x = values(300 * 1000);
    let quantize = Quantize::new(profile("mxfp4", "rceil+scale=rms-floor"));
    for (shape, blocks) in [([300, 1000], Blocks::Row), ([300, 1000], Blocks::Tile)] {
        let quantize = quantize.blocks(blocks);
        let one = quantize.backend(Cpu::new().threads(core::num::NonZeroUsize::MIN));
        assert_eq!(
            quantize.run_with_clip_mask(&x, &shape).unwrap(),
            one.run_with_clip_mask(&x, &shape).unwrap()
        );
    }
}
