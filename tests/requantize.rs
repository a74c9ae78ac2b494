//! Requantization: every code by every shift against arithmetic in f64, whole tensors against values, every
//! backend and level, and pairs that there are not. Seeds are fixed.

use blockscale::analysis::DoubleRounding;
use blockscale::format::{Element, Format, Scale};
use blockscale::layout::Bytes;
use blockscale::numerics::Profile;
use blockscale::{
    Backend, Blocks, Cpu, Error, Level, Quantize, QuantizedTensor, Requantize, quantize,
};
use std::num::NonZeroUsize;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }
}

fn backends() -> Vec<Backend> {
    let levels = [Level::Portable, Level::Avx2, Level::Avx512];
    let mut cpus: Vec<Cpu> = levels.into_iter().filter_map(|l| Cpu::new().level(l).ok()).collect();
    cpus.extend([2, 5].map(|n| Cpu::new().threads(NonZeroUsize::new(n).unwrap())));
    [Backend::Reference].into_iter().chain(cpus.into_iter().map(Backend::Cpu)).collect()
}

fn format(text: &str) -> Format {
    text.parse().unwrap()
}

fn to(format: Format) -> Requantize {
    Requantize::new(Profile::default_for(format))
}

/// A tensor of any codes and scales.
fn tensor(format: Format, shape: &[usize], codes: Vec<u8>, scales: Vec<u8>) -> QuantizedTensor {
    let profile = Profile::default_for(format);
    QuantizedTensor::from_parts(profile, Blocks::Row, shape, codes, scales, None).unwrap()
}

/// Codes, one a byte.
fn codes(q: &QuantizedTensor) -> Vec<u8> {
    q.codes().relayout::<Bytes>().unwrap().into_inner()
}

fn bits(format: Format) -> (i32, i32) {
    let Element::Int(int) = format.element() else { panic!("{format}") };
    (int.bits().into(), int.fraction_bits().into())
}

/// What the formula says, in f64: exact, as nothing has more than a few bits.
fn expected(from: Format, to: Format, scale: u8, code: u8) -> (u8, u8) {
    if scale == 255 {
        return (255, 0);
    }
    let ((h, fh), (l, fl)) = (bits(from), bits(to));
    let to_scale = (i32::from(scale) + (h - l) - (fh - fl)).clamp(0, 254);
    // The value in steps of the target under the scale that the block gets.
    let q = f64::from(i32::from(code) - if code >> (h - 1) == 1 { 1 << h } else { 0 });
    let steps = q * f64::from(i32::from(scale) - to_scale - fh + fl).exp2();
    let most = f64::from((1 << (l - 1)) - 1);
    let rounded = steps.round_ties_even().clamp(-most, most);
    (to_scale as u8, rounded as i32 as u8 & (0xff >> (8 - l)))
}

/// Every code under every scale, for formats whose scales stay, rise, fall and stop at either end.
#[test]
fn every_code_under_every_scale() {
    let pairs = [
        ("mxint8", "mxint6"),
        ("mxint8", "mxint4"),
        ("mxint6", "mxint4"),
        ("mxint8", "int4/1x32:e8m0"),
        ("int8/1x32:e8m0", "mxint4"),
        ("int7/2x32:e8m0", "int3/4x32:e8m0"),
        ("mxint4", "int2/1x32:e8m0"),
        ("int8/128x32:e8m0", "int7/1x32:e8m0"),
    ];
    for (a, b) in pairs {
        let (from, into) = (format(a), format(b));
        let wide = usize::from(from.element().bits());
        // A row for each scale, with every code.
        let k = (1usize << wide).max(32);
        let row: Vec<u8> = (0..k).map(|i| (i % (1 << wide)) as u8).collect();
        let packed: Vec<u8> = match wide {
            4 => row.chunks(2).map(|pair| pair[0] | pair[1] << 4).collect(),
            _ => row.clone(),
        };
        let scales = (0..=255u8).flat_map(|scale| vec![scale; k / 32]).collect();
        let q = tensor(from, &[256, k], packed.repeat(256), scales);
        for backend in backends() {
            let less = to(into).backend(backend).run(&q).unwrap();
            let got = codes(&less);
            for (i, got) in got.iter().enumerate() {
                let (scale, code) = ((i / k) as u8, row[i % k]);
                let (to_scale, to_code) = expected(from, into, scale, code);
                assert_eq!(*got, to_code, "{a} {b} {backend:?} scale {scale} code {code:#x}");
                assert_eq!(less.scales().as_bytes()[i / 32], to_scale, "{a} {b} scale {scale}");
            }
        }
    }
}

/// Any shape, with rows that are not whole blocks or bytes, a scale at an end here and there; the result is a
/// valid tensor.
#[test]
fn shapes_threads_and_levels_change_nothing() {
    let mut random = Random(1);
    let pairs = [
        ("mxint8", "mxint6"),
        ("mxint8", "mxint4"),
        ("mxint6", "mxint4"),
        ("mxint4", "int3/1x32:e8m0"),
    ];
    let shapes: [&[usize]; 9] = [
        &[1],
        &[3, 31],
        &[2, 3, 33],
        &[5, 64],
        &[2, 1000],
        &[300, 999],
        &[3, 1 << 17],
        &[1, 300_001],
        &[0, 7],
    ];
    for (a, b) in pairs {
        let (from, into) = (format(a), format(b));
        let width = from.element().bits();
        for shape in shapes {
            let (k, n) = (shape[shape.len() - 1], shape.iter().product::<usize>());
            let rows = n / k;
            let row_bytes = if width == 4 { k.div_ceil(2) } else { k };
            let mut packed = random.bytes(rows * row_bytes);
            for byte in &mut packed {
                *byte &= if width < 8 && width != 4 { (1 << width) - 1 } else { 0xff };
            }
            if width == 4 && k % 2 == 1 {
                packed.chunks_mut(row_bytes).for_each(|row| row[row_bytes - 1] &= 0x0f);
            }
            let ends = random.next().is_multiple_of(2);
            let scale = |random: &mut Random| match random.next() % 64 {
                0 if ends => 255,
                1 if ends => 254,
                2 if ends => 0,
                other => 100 + other as u8,
            };
            let scales = (0..rows * k.div_ceil(32)).map(|_| scale(&mut random)).collect();
            let q = tensor(from, shape, packed, scales);
            let reference = to(into).backend(Backend::Reference).run(&q).unwrap();
            let (codes, scales) = (reference.codes().as_bytes(), reference.scales().as_bytes());
            tensor(into, shape, codes.to_vec(), scales.to_vec());
            for backend in backends() {
                assert_eq!(
                    to(into).backend(backend).run(&q).unwrap(),
                    reference,
                    "{a} {b} {shape:?}"
                );
                let [mut codes, mut scales] =
                    to(into).output_bytes(&q).unwrap().map(|bytes| vec![0xa5; bytes]);
                let into_buffers = to(into).backend(backend).run_into(&q, &mut codes, &mut scales);
                assert_eq!(into_buffers.unwrap(), reference.view());
            }
        }
    }
}

/// Values of no more bits than the target has come through as they are, and no value moves by more than half a
/// step of its block and what is cut at the end.
#[test]
fn values_move_by_half_a_step_at_most() {
    let x: Vec<f32> = (0..64 * 96).map(|i| ((i * i) as f32 * 0.37).sin() * (i as f32)).collect();
    for text in ["ceil", "ocp"] {
        let q8 = Quantize::new(Profile::parse(Format::MXINT8, text).unwrap());
        let q8 = q8.blocks(Blocks::Tile).run(&x, &[64, 96]).unwrap();
        for (format, bits) in [(Format::MXINT6, 6), (Format::MXINT4, 4)] {
            let less = to(format).run(&q8).unwrap();
            assert_eq!((less.blocks(), less.shape()), (Blocks::Tile, q8.shape()));
            assert_eq!(less.scales().as_bytes(), q8.scales().as_bytes());
            let (y, z) = (q8.dequantize::<f32>(), less.dequantize::<f32>());
            for (i, (y, z)) in y.iter().zip(&z).enumerate() {
                let scale = q8.scales().as_bytes()[i / 96 * 3 + i % 96 / 32];
                let step = 2f32.powi(i32::from(scale) - 127 - (bits - 2));
                let most = step * ((1 << (bits - 1)) - 1) as f32;
                let cut = (y.abs() - most).max(0.0);
                assert!((y - z).abs() <= (0.5 * step).max(cut), "{text} {format} {y} {z}");
            }
            // And once more: nothing is left to round.
            let back = Quantize::new(Profile::parse(Format::MXINT8, "ocp").unwrap());
            let same = back.run(&z, &[64, 96]).unwrap();
            assert_eq!(to(format).run(&same).unwrap().dequantize::<f32>(), z);
        }
    }
}

/// Floats: what `Quantize` makes of the decoded values.
#[test]
fn floats_are_quantized_from_their_values() {
    let mut random = Random(2);
    let pairs = [
        (Format::MXFP8_E4M3, Format::MXFP4),
        (Format::MXFP8_E5M2, Format::MXFP4),
        (Format::MXFP6_E2M3, Format::MXFP4),
        (Format::MXFP6_E3M2, Format::MXFP4),
        (Format::MXFP8_E4M3, Format::MXFP6_E2M3),
        (Format::MXFP8_E5M2, Format::MXFP6_E3M2),
    ];
    for (from, into) in pairs {
        let mask = 0xff >> (8 - from.element().bits());
        let k = 100;
        // Any codes and any scales: NaN, Inf and values beyond f32 among them.
        let any: Vec<u8> = random.bytes(64 * k).iter().map(|code| code & mask).collect();
        let q = tensor(from, &[64, k], any, random.bytes(64 * 4));
        for profile in Profile::all(into) {
            for backend in backends() {
                let less = Requantize::new(profile).backend(backend).run(&q).unwrap();
                let x: Vec<f32> = q.dequantize_with(Backend::Reference);
                let expected = Quantize::new(profile).backend(Backend::Reference);
                assert_eq!(less, expected.run(&x, &[64, k]).unwrap(), "{from} {profile}");
            }
        }
    }
    // Decoding is exact: every product of a code and a scale, in f64.
    for from in [Format::MXFP8_E4M3, Format::MXFP8_E5M2, Format::MXFP6_E2M3, Format::MXFP6_E3M2] {
        for scale in 0..=254u8 {
            for code in 0..=from.element().max_code() {
                let exact =
                    f64::from(from.element().decode(code)) * (f64::from(scale) - 127.0).exp2();
                let q = tensor(from, &[1], vec![code], vec![scale]);
                let decoded = f64::from(q.dequantize::<f32>()[0]);
                assert!(
                    decoded == exact || (exact > f64::from(f32::MAX) && decoded == f64::INFINITY)
                );
            }
        }
    }
}

#[test]
fn a_report_counts_what_differs() {
    let x = [1.0f32, 0.374, 0.24, 0.0];
    let q8 = quantize(&x, &[4], Format::MXINT8).unwrap();
    // 0.374 is 23.9/64, which rounds to 24/64, a tie that goes up to 2/4; at once it goes to 1/4.
    let report = DoubleRounding::of(&x, &q8, &to(Format::MXINT4)).unwrap();
    assert_eq!(report.differing_codes(), 0.25);
    assert_eq!(report.differing_scales(), 0.0);
    let error = |y: f64| (f64::from(0.374f32) - y).powi(2) + (f64::from(0.24f32) - 0.25).powi(2);
    assert!((report.direct.mse() - error(0.25) / 4.0).abs() < 1e-12);
    assert!((report.double.mse() - error(0.5) / 4.0).abs() < 1e-12);
    let mut twice = report;
    twice.merge(&report);
    assert_eq!((twice.differing_codes(), twice.double.elements()), (0.25, 8));
    assert!(DoubleRounding::of(&x[..3], &q8, &to(Format::MXINT4)).is_err());
    // The scale of the values and that of the decoded ones can differ.
    let mut block = vec![0.0f32; 32];
    block[0] = 6.0001;
    let q8 = quantize(&block, &[32], Format::MXFP8_E4M3).unwrap();
    let report = DoubleRounding::of(&block, &q8, &to(Format::MXFP4)).unwrap();
    assert_eq!(report.differing_scales(), 1.0);
}

#[test]
fn pairs_that_there_are_not_are_refused() {
    let x = [1.0f32; 64];
    let refused = [
        (Format::MXINT4, Format::MXINT8),
        (Format::MXINT8, Format::MXINT8),
        (Format::MXINT8, Format::MXFP4),
        (Format::MXFP8_E4M3, Format::MXINT4),
        (Format::MXFP4, Format::MXFP8_E4M3),
        (Format::MXFP8_E4M3, Format::NVFP4),
        (Format::NVFP4, Format::MXFP4),
        (Format::MXFP8_E4M3, Format::MXFP8_E5M2),
        (Format::MXINT8, format("int4/4x16:e8m0")),
        (Format::MXFP8_E4M3, Format::new(Element::E2M1, 16, Scale::E8M0, false).unwrap()),
        (Format::MXINT8, Format::NVINT4),
    ];
    for (from, into) in refused {
        let q = quantize(&x, &[2, 32], from).unwrap();
        for backend in backends() {
            let error = to(into).backend(backend).run(&q).unwrap_err();
            assert!(matches!(error, Error::NotRequantized { .. }), "{from} {into}: {error}");
            let text = error.to_string();
            assert!(text.contains(&from.to_string()) && text.contains("mxfp8-*"), "{text}");
        }
        assert!(to(into).output_bytes(&q).is_err());
    }
    let q = quantize(&x, &[2, 32], Format::MXINT8).unwrap();
    let error = to(Format::MXINT4).run_into(&q, &mut [0; 31], &mut [0; 2]).unwrap_err();
    assert!(matches!(error, Error::WrongLength { given: 31, expected: 32, .. }), "{error}");
    let error = to(Format::MXINT4).run_into(&q, &mut [0; 32], &mut [0; 3]).unwrap_err();
    assert!(matches!(error, Error::WrongLength { given: 3, expected: 2, .. }), "{error}");
}
