//! Where implementations disagree, each profile gives its own side's byte.
//!
//! Every row is an input on which public implementations were seen to differ.

use blockscale::format::{Format, Scale};
use blockscale::numerics::{Profile, Rounding, Stochastic, TensorScale};
use blockscale::{Backend, Blocks, Quantize, QuantizedTensor};

fn run(format: Format, profile: &str, x: &[f32], amax: Option<f32>) -> QuantizedTensor {
    let mut quantize =
        Quantize::new(Profile::parse(format, profile).unwrap()).backend(Backend::Reference);
    if let Some(amax) = amax {
        quantize = quantize.tensor_amax(amax);
    }
    quantize.run(x, &[x.len()]).unwrap()
}

/// The scale of the first block, and the code of element `i`.
fn scale(format: Format, profile: &str, x: &[f32], amax: Option<f32>) -> u8 {
    run(format, profile, x, amax).scales().as_bytes()[0]
}
fn code(format: Format, profile: &str, x: &[f32], amax: Option<f32>, i: usize) -> u8 {
    let q = run(format, profile, x, amax);
    let byte = q.codes().as_bytes()[i / 2];
    if i.is_multiple_of(2) { byte & 0xf } else { byte >> 4 }
}

fn bits(bits: u32) -> f32 {
    f32::from_bits(bits)
}

#[test]
fn mx_scales_from_bits_or_from_a_rounded_logarithm() {
    let rows = [
        // Just below a power of two the f32 logarithm is already the integer.
        (0x47ff_ffff, "ocp", 141),
        (0x47ff_ffff, "microxcaling", 142),
        (0x47ff_ffff, "ggml", 142),
        (0x3aff_ffff, "ocp", 115),
        (0x3aff_ffff, "microxcaling", 116),
        // Just over 6 · 2^-11 the logarithm of the quotient is still the integer.
        (0x3b40_0001, "rceil", 117),
        (0x3b40_0001, "modelopt", 116),
        // One ulp above the smallest normal ggml's byte wraps.
        (0x0080_0001, "ocp", 0),
        (0x0080_0001, "rceil", 0),
        (0x0080_0001, "ggml", 255),
        // The mantissa from which EVEN rounds up.
        (0x3fdf_ffff, "even", 125),
        (0x3fe0_0000, "even", 126),
        (0x3fe0_0000, "compressed-tensors", 126),
        (0x3fe0_0000, "ocp", 125),
        (0x3f80_0001, "ceil", 126),
        (0x3f80_0000, "ceil", 125),
    ];
    for (amax, profile, expected) in rows {
        let got = scale(Format::MXFP4, profile, &[bits(amax)], None);
        assert_eq!(got, expected, "{amax:#010x} {profile}");
    }
    // Beyond the quotient's end the element saturates.
    assert_eq!(code(Format::MXFP4, "modelopt", &[bits(0x3b40_0001)], None, 0), 7);
}

#[test]
fn mxfp4_ties_and_zeros() {
    // 4 makes the scale 1 (code 127).
    let x = [4.0, 0.75, 0.0, -0.0, -1e-9, 0.25, 1.25, 2.5, 5.0, -5.0];
    let rows = [
        ("ocp", [2, 0, 8, 8, 0, 2, 4, 6, 14]),
        ("compressed-tensors", [2, 0, 0, 8, 0, 2, 4, 6, 14]),
        ("modelopt", [1, 8, 8, 8, 0, 2, 4, 6, 14]),
        ("ggml", [1, 0, 0, 0, 0, 2, 4, 6, 14]),
        ("microxcaling", [2, 0, 0, 8, 1, 3, 5, 7, 15]),
    ];
    for (profile, codes) in rows {
        for (i, expected) in codes.into_iter().enumerate() {
            let got = code(Format::MXFP4, profile, &x, None, i + 1);
            assert_eq!(got, expected, "{profile} {}", x[i + 1]);
        }
    }
}

#[test]
fn nvfp4_orders_of_operations() {
    // The exact quotient 336 is a tie between E4M3 codes; TransformerEngine's product is above.
    let x = [4.78125];
    let tie = |profile| scale(Format::NVFP4, profile, &x, Some(6.375));
    assert_eq!(tie("transformer-engine"), 0x7b);
    for profile in
        ["torchao", "modelopt", "compressed-tensors", "four-over-six-mse+bound=448+search=none"]
    {
        assert_eq!(tie(profile), 0x7a, "{profile}");
    }
    // With block scale 192 the exact quotient is 5, a tie between 4 and 6.
    let x = [1.96875, 1.640625];
    let tie = |profile| {
        (
            scale(Format::NVFP4, profile, &x, Some(4.59375)),
            code(Format::NVFP4, profile, &x, Some(4.59375), 1),
        )
    };
    for profile in ["transformer-engine", "four-over-six-mse+bound=448+search=none"] {
        assert_eq!(tie(profile), (0x74, 7), "{profile}");
    }
    for profile in ["torchao", "modelopt", "compressed-tensors"] {
        assert_eq!(tie(profile), (0x74, 6), "{profile}");
    }
}

#[test]
fn nvfp4_blocks_far_below_the_tensors_amax() {
    let rows = [
        ("transformer-engine", 0x00),
        ("modelopt", 0x01),
        ("torchao", 0x08),
        ("compressed-tensors", 0x20),
    ];
    for (profile, expected) in rows {
        assert_eq!(scale(Format::NVFP4, profile, &[8.49e-6], Some(3.35e9)), expected, "{profile}");
    }
    // TransformerEngine's elements saturate under the zero scale and decode to zero.
    assert_eq!(code(Format::NVFP4, "transformer-engine", &[8.49e-6], Some(3.35e9), 0), 7);
    assert_eq!(
        run(Format::NVFP4, "transformer-engine", &[8.49e-6], Some(3.35e9)).dequantize::<f32>(),
        [0.0]
    );
    assert_eq!(code(Format::NVFP4, "four-over-six-mse", &[8.49e-6], Some(3.35e9), 0), 0);
}

#[test]
fn nvfp4_zero_blocks_and_zero_tensors() {
    let rows = [
        ("transformer-engine", 0x00, 0.0),
        ("torchao", 0x08, 0.0),
        ("modelopt", 0x38, 0.0),
        ("compressed-tensors", 0x20, 1.0),
        ("four-over-six-mse", 0x00, 0.0),
        ("ggml", 0x00, f32::NAN),
    ];
    for (profile, expected, stored) in rows {
        let zero = run(Format::NVFP4, profile, &[0.0; 16], None);
        assert_eq!(zero.scales().as_bytes(), [expected], "{profile}");
        assert_eq!(zero.codes().as_bytes(), [0; 8], "{profile}");
        assert_eq!(zero.dequantize::<f32>(), [0.0; 16], "{profile}");
        match zero.tensor_scale() {
            Some(scale) => assert_eq!(scale.value(), stored, "{profile}"),
            None => assert!(stored.is_nan(), "{profile}"),
        }
        let block = run(Format::NVFP4, profile, &[0.0; 16], Some(6.0));
        assert_eq!(block.scales().as_bytes(), [expected], "{profile}");
    }
}

#[test]
fn nvfp4_signs_of_zero() {
    let x = [6.0, -0.0, -1e-3];
    let rows = [
        ("transformer-engine", 8, 8),
        ("torchao", 8, 8),
        ("modelopt", 0, 8),
        ("compressed-tensors", 0, 8),
        ("four-over-six-mse", 0, 8),
        ("ggml", 0, 0),
    ];
    for (profile, zero, tiny) in rows {
        let codes = [1, 2].map(|i| code(Format::NVFP4, profile, &x, None, i));
        assert_eq!(codes, [zero, tiny], "{profile}");
    }
}

#[test]
fn ggml_rounds_its_nvfp4_scale_half_up() {
    assert_eq!(scale(Format::NVFP4, "ggml", &[2.34375], None), 0x2d);
    assert_eq!(scale(Format::FP4_UE5M3, "direct", &[2.34375], None), 0x6c); // the tie to even
    for quotient in [256.0, 300.0, 447.0, 448.0, 1e9] {
        assert_eq!(scale(Format::NVFP4, "ggml", &[6.0 * quotient], None), 0x7e, "{quotient}");
    }
    assert_eq!(scale(Format::NVFP4, "ggml", &[6.0 * 7.5 / 512.0], None), 7);
    assert_eq!(scale(Format::NVFP4, "ggml", &[6.0 * 6.5 / 512.0], None), 7);
    assert_eq!(scale(Format::NVFP4, "ggml", &[6.0 * 0.49 / 512.0], None), 0);
}

#[test]
fn nvfp4_decodes_in_different_orders() {
    let rows = [("transformer-engine", 0.859_654_07f32), ("torchao", 0.859_653_95)];
    for (profile, expected) in rows {
        let q = run(Format::NVFP4, profile, &[0.87, 7.40625], None);
        let stored = q.tensor_scale();
        let (codes, scales) = (vec![5, 0, 0, 0, 0, 0, 0, 0], vec![0x6d]);
        let q = QuantizedTensor::from_parts(*q.profile(), q.blocks(), &[16], codes, scales, stored);
        assert_eq!(Scale::E4M3.decode(0x6d), 104.0);
        assert_eq!(q.unwrap().dequantize::<f32>()[0], expected, "{profile}");
    }
}

#[test]
fn integer_scales_by_ceil_or_floor() {
    // amax 127.5: the OCP exponent 6 saturates at 127/64 · 64, `ceil` goes one up.
    for (profile, expected, top) in
        [("ocp", 133, 127), ("microxcaling", 133, 127), ("ceil", 134, 64)]
    {
        let q = run(Format::MXINT8, profile, &[127.5, -127.5], None);
        assert_eq!(q.scales().as_bytes(), [expected], "{profile}");
        assert_eq!(q.codes().as_bytes()[0], top, "{profile}");
        assert_eq!(q.codes().as_bytes()[1], top.wrapping_neg(), "{profile}");
    }
    // At qmax itself `ceil` needs no step up.
    assert_eq!(scale(Format::MXINT8, "ceil", &[127.0], None), 133);
    assert_eq!(scale(Format::MXINT6, "ceil", &[31.0], None), 131);
    assert_eq!(scale(Format::MXINT4, "ceil", &[7.0], None), 129);
    assert_eq!(scale(Format::MXINT4, "ceil", &[bits(7f32.to_bits() + 1)], None), 130);
}

#[test]
fn nan_and_inf_blocks() {
    const NAN: f32 = f32::NAN;
    const INFINITY: f32 = f32::INFINITY;
    for x in [NAN, INFINITY] {
        for profile in ["rceil", "ocp", "ceil", "even", "microxcaling"] {
            let q = run(Format::MXFP4, profile, &[1.0, x], None);
            assert_eq!(
                (q.scales().as_bytes()[0], q.codes().as_bytes()[0]),
                (255, 0),
                "{profile} {x}"
            );
            assert_eq!(q.dequantize::<f32>()[0].to_bits(), 0x7fff_ffff);
        }
        let q = run(Format::MXFP4, "compressed-tensors", &[1.0, x], None);
        assert_eq!((q.scales().as_bytes()[0], q.codes().as_bytes()[0]), (127, 0));
        for profile in ["modelopt", "ggml"] {
            let q = run(Format::MXFP4, profile, &[4.0, x], None);
            assert_eq!(
                (q.scales().as_bytes()[0], q.codes().as_bytes()[0]),
                (127, 6),
                "{profile} {x}"
            );
        }
    }
    // An exponent that carries to 255.
    assert_eq!(scale(Format::MXFP4, "even", &[f32::MAX], None), 255);
    assert_eq!(scale(Format::MXFP4, "compressed-tensors", &[f32::MAX], None), 127);

    for profile in Profile::all(Format::NVFP4) {
        let q = run(Format::NVFP4, profile.name(), &[1.0, NAN], None);
        if profile.name() != "ggml" {
            assert_eq!((q.scales().as_bytes()[0], q.codes().as_bytes()[0]), (255, 0), "{profile}");
        }
        // Inf alone: the formula as it stands, with S = 1.
        let q = run(Format::NVFP4, profile.name(), &[1.0, INFINITY], None);
        assert_ne!(q.scales().as_bytes()[0], 255, "{profile}");
    }
    // A NaN that the given amax does not know of stays in its block.
    let mut x = [1.0; 32];
    x[3] = NAN;
    let q = run(Format::NVFP4, "transformer-engine", &x, Some(1.0));
    assert_eq!(q.scales().as_bytes()[0], 255);
    assert_eq!(q.scales().as_bytes()[1], 0x7e);
}

/// `quantize` and `dequantize` do not meet all of what may be stored.
#[test]
fn codes_are_decoded_as_each_reads_them() {
    let decoded = |format, profile, scale, codes: u8| {
        let profile = Profile::parse(format, profile).unwrap();
        let stored = run(format, &profile.to_string(), &[2688.0], None).tensor_scale();
        let (codes, scales) = (vec![codes], vec![scale]);
        let q =
            QuantizedTensor::from_parts(profile, Blocks::Row, &[2], codes, scales, stored).unwrap();
        <[f32; 2]>::try_from(q.dequantize::<f32>()).unwrap().map(f32::to_bits)
    };
    let rows = [
        // ggml: E8M0 255 is 2^128, and E4M3 NaN is 0.
        (Format::MXFP4, "ggml", 255, 0x21, [2f32.powi(127), f32::INFINITY]),
        (Format::MXFP4, "ggml", 254, 0xa1, [2f32.powi(126), -2f32.powi(127)]),
        (Format::NVFP4, "ggml", 0x7f, 0xd0, [0.0, -0.0]),
        (Format::NVFP4, "ggml", 0x38, 0xd1, [0.5, -3.0]),
        // −0 is read as +0 by one, kept by the others.
        (Format::NVFP4, "modelopt", 0x38, 0x98, [0.0, -0.5]),
        (Format::NVFP4, "torchao", 0x38, 0x98, [-0.0, -0.5]),
        (Format::NVFP4, "transformer-engine", 0x40, 0x75, [6.0, 12.0]),
        (Format::NVFP4, "four-over-six-mse+bound=448", 0x40, 0x75, [6.0, 12.0]),
        (Format::NVFP4, "compressed-tensors", 0x40, 0x75, [6.0, 12.0]),
        // The 4/3 of the headroom.
        (Format::MXFP4, "ocp+headroom=3/4", 128, 0x75, [8.0, 16.0]),
        (Format::MXFP4, "ocp", 128, 0x75, [6.0, 12.0]),
    ];
    for (format, profile, scale, codes, values) in rows {
        let got = decoded(format, profile, scale, codes);
        assert_eq!(got, values.map(f32::to_bits), "{profile} {scale:#x} {codes:#x}");
    }
}

#[test]
fn headroom_of_three_quarters_clips_nothing() {
    // 7.9 · 3/4 = 5.925 under the scale 1 of a floor; −2 · 3/4 is a code of its own.
    let q = run(Format::MXFP4, "ocp+headroom=3/4", &[7.9, -2.0], None);
    assert_eq!((q.scales().as_bytes(), q.codes().as_bytes()), (&[127][..], &[0xb7][..]));
    assert_eq!(q.dequantize::<f32>(), [8.0, -2.0]);
}

#[test]
fn four_over_six_keeps_six_where_both_are_exact() {
    let q = run(Format::NVFP4, "four-over-six-mse", &[6.0], None);
    assert_eq!((q.scales().as_bytes(), q.codes().as_bytes()), (&[0x78][..], &[7][..]));
    // Under a scale that is zero every element is.
    let q = run(Format::NVFP4, "four-over-six-mse", &[1.0], Some(1e38));
    assert_eq!((q.scales().as_bytes(), q.codes().as_bytes()), (&[0][..], &[0][..]));
}

#[test]
fn ggml_rounds_stochastically_by_the_quotient() {
    let draws = Rounding::Stochastic(Stochastic::new(0, "w"));
    let codes = |format, x: &[f32]| {
        let quantize = Quantize::new(Profile::named(format, "ggml").unwrap()).rounding(draws);
        quantize.run(x, &[x.len()]).unwrap().codes().as_bytes().to_vec()
    };
    // What is a code keeps it, whatever is drawn; a sign needs a magnitude.
    assert_eq!(codes(Format::NVFP4, &[6.0, -3.0, -0.0, 0.5, 0.0, -1e-9]), [0xd7, 0x10, 0x00]);
    assert_eq!(codes(Format::NVFP4, &[24.0, -12.0]), [0xd7]);
    // Below half the smallest scale everything is zero, though in 1024 draws some go up.
    assert_eq!(codes(Format::NVFP4, &[5.8e-3; 1024]), [0; 512]);
}

#[test]
fn a_nan_that_the_tensor_scale_knows_of_is_in_every_block() {
    let mut x = [1.0; 32];
    x[20] = f32::NAN;
    for profile in Profile::all(Format::NVFP4).iter().filter(|profile| profile.name() != "ggml") {
        let q = run(Format::NVFP4, profile.name(), &x, None);
        assert_eq!(q.scales().as_bytes(), [255, 255], "{profile}");
    }
}

#[test]
fn nothing_is_quantized_to_nothing() {
    for shape in [&[0][..], &[3, 0], &[0, 16], &[2, 0, 5]] {
        for backend in [Backend::Reference, Backend::default()] {
            let quantize = Quantize::new(Profile::default_for(Format::NVFP4)).backend(backend);
            let q = quantize.run(&[0.0f32; 0], shape).unwrap();
            assert!(q.codes().as_bytes().is_empty() && q.scales().as_bytes().is_empty());
            assert!(q.dequantize_with::<f32>(backend).is_empty());
        }
    }
}

/// A scale fitted to the RMS does not look at the amax.
#[test]
fn rms_scales_come_from_all_values_of_the_block() {
    // Std is 1, so the scale is 2.92247856 / 6 = 0.487: floor 2^-2, nearest 2^-1.
    let x: Vec<f32> = (0..32).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
    assert_eq!(scale(Format::MXFP4, "rceil+scale=rms-floor", &x, None), 125);
    assert_eq!(scale(Format::MXFP4, "rceil+scale=rms-nearest", &x, None), 126);
}

/// ggml knows neither NaN nor -0: NaN counts as 0, and what rounds to zero has no sign.
#[test]
fn ggml_drops_nan_and_the_sign_of_zero() {
    let mut x = vec![0.0; 16];
    x[0] = 6.0;
    let clean = run(Format::NVFP4, "ggml", &x, None);
    x[1] = f32::NAN;
    assert_eq!(run(Format::NVFP4, "ggml", &x, None).scales().as_bytes(), clean.scales().as_bytes());

    let mut x = vec![-1e-6; 32];
    x[0] = 6.0;
    let stochastic = Rounding::Stochastic(Stochastic::new(1, "x"));
    let ggml = Quantize::new(Profile::named(Format::MXFP4, "ggml").unwrap()).rounding(stochastic);
    let q = ggml.backend(Backend::Reference).run(&x, &[32]).unwrap();
    assert!(q.codes().as_bytes()[1..].iter().all(|byte| *byte == 0), "{:x?}", q.codes());
}

/// With a tensor scale, exponent rules look at amax · S: T = 6 · 448 = 2688 and S = 2688 / 6 = 448, so
/// a block's amax of 6 is 2688 to them, and 2688 / 6 = 448 goes up to 2^9.
#[test]
fn powers_of_two_below_a_tensor_scale() {
    let format: Format = "e2m1x32:e8m0+tensor".parse().unwrap();
    let mut x = vec![0.0f32; 64];
    (x[0], x[1], x[32]) = (6.0, -3.0, 6.0 / 64.0);
    let q = run(format, "two-level", &x, Some(6.0));
    assert_eq!(q.scales().as_bytes(), [136, 130]);
    assert_eq!(q.tensor_scale().unwrap().value(), 6.0);
    // 6 · 448 / 512 = 5.25 is nearest to 6, and 2.625 to 3.
    assert_eq!(q.codes().as_bytes()[0], 0xd7);
    // The decode factor of a tensor of zeros is 0, and S its inverse.
    let zeros = run(format, "two-level+tensor=decode+decode=times-decode", &[0.0; 32], None);
    assert_eq!(zeros.scales().as_bytes(), [0]);
    let decoded: Vec<f32> = q.dequantize_with(Backend::Reference);
    assert_eq!(decoded[0], 6.0 * (512.0 / 448.0));
}

/// What no quantizer writes is no tensor: a scale with a sign.
#[test]
fn negative_scales_are_refused() {
    let profile = Profile::named(Format::NVFP4, "transformer-engine").unwrap();
    let amax = |value| Some(TensorScale::Amax(value));
    let parts = |scale: u8, amax| {
        QuantizedTensor::from_parts(profile, Blocks::Row, &[16], vec![0; 8], vec![scale], amax)
    };
    assert!(parts(0x38, amax(6.0)).is_ok() && parts(0xff, amax(f32::NAN)).is_ok());
    let refused = parts(0xb8, amax(6.0)).unwrap_err().to_string();
    assert!(refused.contains("0xb8"), "{refused}");
    assert!(parts(0x38, amax(-6.0)).unwrap_err().to_string().contains("-6"));
}
