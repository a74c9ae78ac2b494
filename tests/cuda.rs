//! The kernels, through the public API, against the reference: on hardware where there is a
//! driver, on the emulator where `scripts/test` puts one in its place.
#![cfg(feature = "cuda")]

use blockscale::cuda::raw::{WORKSPACE, grouped_scale_rows, status};
use blockscale::cuda::{
    CudaError, Device, DeviceReal, GroupRows, GroupedMut, IMAGES, QuantizedMut, TensorAmax,
    part_bytes,
};
use blockscale::format::{Element, Format, Scale};
use blockscale::layout::{
    Bytes, Dense, Linear, Raw, ScaleLayout, SplitHalves, Tiled8x4, Tiled128x4,
};
use blockscale::numerics::{
    DrawBits, DrawRule, Profile, Rounding, Stochastic, TensorScale, philox4x32_10,
};
use blockscale::{Backend, Blocks, Quantize, QuantizedTensor, Real};
use half::{bf16, f16};

#[path = "cuda/rotate.rs"]
mod rotate;

/// The device, or `None` where this machine has none; `BLOCKSCALE_REQUIRE_DEVICE=1` insists.
fn device() -> Option<Device> {
    match Device::new(0) {
        Ok(device) => Some(device),
        Err(error) if std::env::var("BLOCKSCALE_REQUIRE_DEVICE").is_ok_and(|v| v == "1") => {
            panic!("{error}")
        }
        Err(
            CudaError::NoDriver(_) | CudaError::NoDevice { .. } | CudaError::KernelsNotCompiled,
        ) => None,
        Err(error) => panic!("{error}"),
    }
}

/// Every named profile, altered ones that no name reaches, and built formats.
fn profiles() -> Vec<Profile> {
    let altered = [
        ("mxfp4", "ocp+headroom=3/4"),
        ("mxfp4", "rceil+scale=rms-floor"),
        ("mxfp4", "rceil+scale=rms-nearest"),
        ("nvfp4", "transformer-engine+headroom=16/17"),
        ("nvfp4", "torchao+nonfinite=drop"),
        ("nvfp4", "four-over-six-mse+bound=448"),
        ("nvfp4", "four-over-six-mse+search=four-over-six-absmax"),
        ("nvfp4", "four-over-six-mae+bound=448+search=four-over-six-absmax"),
        ("nvfp4", "transformer-engine+search=sweep"),
        ("nvfp4", "compressed-tensors+search=sweep"),
        ("fp4-ue5m3", "direct+search=sweep"),
        ("mxfp4", "rceil+search=sweep"),
        ("mxfp4", "ggml+search=sweep"),
        ("mxint8", "ceil+search=sweep"),
        ("mxfp4", "rceil+search=clip"),
        ("mxfp8-e4m3", "ocp+search=clip"),
        ("e3m2x64:e8m0", "even"),
        ("e2m1x7:ue5m3i", "direct"),
        ("int5/8x24:e8m0", "ceil"),
        ("e4m3f@9x33:e4m3+tensor", "two-level"),
        ("int4/1x5:e4m3+tensor", "two-level"),
        ("e2m1x32:e8m0+tensor", "two-level"),
        ("e2m1x32:e8m0+tensor", "two-level+tensor=decode+decode=times-decode"),
        ("int8x32:e8m0+tensor", "two-level+scale=floor"),
        ("e3m0fx16:e8m0", "rceil"),
    ];
    let altered =
        altered.map(|(format, text)| Profile::parse(format.parse().unwrap(), text).unwrap());
    let named = Format::NAMED.iter().flat_map(|(_, format)| Profile::all(*format));
    named.chain(altered).collect()
}

const SHAPES: [&[usize]; 8] =
    [&[3, 70], &[17, 33], &[2, 5, 48], &[1], &[0, 16], &[4, 0], &[2, 1, 3, 20], &[33, 17]];

/// Values of every kind, by index: ordinary, over all octaves, ties, zeros, NaN and Inf (rarely).
fn values<T: Real>(len: usize, seed: u32, special: bool) -> Vec<T> {
    let value = |i: usize| {
        let words = philox4x32_10([i as u32, seed, 0, 0], [1, 2]);
        let uniform = words[0] as f32 / 4294967296.0 * 12.0 - 6.0;
        let x = match words[1] % 16 {
            0 => f32::from_bits(words[2] & 0xbfff_ffff),
            1 => (words[2] % 49) as f32 / 4.0 - 6.0,
            2 => 0.0,
            3 => -0.0,
            4 => f32::from_bits(words[2] & 0x807f_ffff),
            5 if special && words[3].is_multiple_of(4) => f32::from_bits(0x7f80_0000 | words[2]),
            6 if special && words[3].is_multiple_of(8) => f32::INFINITY,
            _ => uniform,
        };
        if special || x.is_finite() { x } else { 1.0 }
    };
    (0..len).map(|i| T::from_f32(value(i))).collect()
}

fn roundings() -> [Rounding; 3] {
    let draws = Stochastic::new(11, "tensor").with_stream(2).with_step(3);
    [
        Rounding::Nearest,
        Rounding::Stochastic(draws),
        Rounding::Stochastic(draws.with_bits(DrawBits::Sixteen)),
    ]
}

/// Whole blocks of a kind each: of one magnitude, of all magnitudes, near powers of two, at both
/// ends of the range, zeros, with NaN or Inf among ordinary values.
fn block_values<T: Real>(len: usize, seed: u32) -> Vec<T> {
    let value = |i: usize| {
        let words = |i: usize, salt| philox4x32_10([i as u32, seed, salt, 7], [3, 4]);
        let (block, element) = (words(i / 16, 0), words(i, 1));
        let sign = if element[3].is_multiple_of(2) { 1.0 } else { -1.0 };
        let uniform = element[0] as f32 / 4294967296.0;
        let scale = 2.0f32.powi((block[1] % 24) as i32 - 12);
        let x = match block[0] % 20 {
            0 => 0.0,
            1 => f32::from_bits(element[0] & 0x7fff_ffff),
            2 => f32::from_bits(element[0] & 0x007f_ffff),
            3 => f32::MAX * uniform,
            4 => {
                scale
                    * f32::from_bits(1.0f32.to_bits().wrapping_add(element[0] % 7).wrapping_sub(3))
            }
            5 if element[1].is_multiple_of(9) => f32::NAN,
            6 if element[1].is_multiple_of(9) => f32::INFINITY,
            7..=9 => scale * (element[0] % 25) as f32 / 4.0,
            10 => scale * (element[0] % 257) as f32 / 256.0,
            11 => 2.0f32.powi((element[0] % 40) as i32 - 140 + (block[1] % 200) as i32),
            _ => scale * uniform,
        };
        sign * x
    };
    (0..len).map(|i| T::from_f32(value(i))).collect()
}

/// Where two tensors differ, in words.
fn difference(a: &QuantizedTensor, b: &QuantizedTensor) -> Option<String> {
    let first = |a: &[u8], b: &[u8]| {
        let at = a.iter().zip(b).position(|(a, b)| a != b)?;
        Some(format!("byte {at} is {:#04x}, not {:#04x}", a[at], b[at]))
    };
    let stored = |t: &QuantizedTensor| t.tensor_scale().map(|s| (s.name(), s.value().to_bits()));
    if stored(a) != stored(b) {
        return Some(format!("tensor scale {:x?}, not {:x?}", stored(a), stored(b)));
    }
    first(a.scales().as_bytes(), b.scales().as_bytes())
        .map(|found| format!("scales: {found}"))
        .or(first(a.codes().as_bytes(), b.codes().as_bytes())
            .map(|found| format!("codes: {found}")))
}

/// Quantizes on both, compares, dequantizes on both, compares; returns the bytes compared.
fn compare<T: DeviceReal>(
    device: &Device,
    quantize: &Quantize,
    shape: &[usize],
    seed: u32,
) -> usize {
    compare_values::<T>(
        device,
        quantize,
        shape,
        values(shape.iter().product(), seed, seed % 2 == 1),
    )
}

/// The same of given values.
fn compare_values<T: DeviceReal>(
    device: &Device,
    quantize: &Quantize,
    shape: &[usize],
    x: Vec<T>,
) -> usize {
    let expected = quantize.backend(Backend::Reference).run(&x, shape).unwrap();
    // Nothing cannot be uploaded: one element that nobody reads stands for it.
    let uploaded = if x.is_empty() { vec![T::from_f32(0.0)] } else { x };
    let uploaded = device.upload(&uploaded).unwrap();
    let view = uploaded.slice(..shape.iter().product::<usize>());
    let got = device.quantize(quantize, &view, shape).unwrap();
    let downloaded = got.download().unwrap();
    let case =
        || format!("{} {} {shape:?} {quantize:?}", quantize.profile().format(), quantize.profile());
    if let Some(found) = difference(&downloaded, &expected) {
        panic!("{}: {found}", case());
    }
    expected.stored_bytes() + compare_decoded(device, &expected, &case())
}

/// Dequantizes on both, compares; returns the bytes compared.
fn compare_decoded(device: &Device, expected: &QuantizedTensor, case: &str) -> usize {
    let again = device.upload_tensor(expected).unwrap();
    let mut compared = 0;
    macro_rules! decode {
        ($($real:ty),+) => {$(
            let mut y = device.stream().clone_dtoh(&again.dequantize::<$real>().unwrap()).unwrap();
            y.truncate(expected.shape().iter().product());
            let values = expected.dequantize_with::<$real>(Backend::Reference);
            for (i, (a, b)) in y.iter().zip(&values).enumerate() {
                assert_eq!(a.to_bits(), b.to_bits(), "{case}: value {i}: {a} not {b}");
            }
            compared += size_of_val(values.as_slice());
        )+};
    }
    decode!(f32, bf16, f16);
    compared
}

#[test]
fn every_profile_gives_the_references_bytes() {
    let Some(device) = device() else { return };
    let (mut compared, mut calls) = (0, 0u32);
    for profile in profiles() {
        for (s, shape) in SHAPES.iter().enumerate() {
            for (r, rounding) in roundings().into_iter().enumerate() {
                let blocks =
                    if shape.len() > 1 && (s + r) % 3 == 1 { Blocks::Tile } else { Blocks::Row };
                let quantize = Quantize::new(profile).rounding(rounding).blocks(blocks);
                compared += match calls % 3 {
                    0 => compare::<f32>(&device, &quantize, shape, calls),
                    1 => compare::<bf16>(&device, &quantize, shape, calls),
                    _ => compare::<f16>(&device, &quantize, shape, calls),
                };
                calls += 1;
            }
        }
    }
    println!("{calls} calls, {compared} bytes compared on {:?}", device.images()[0].architecture);
}

/// Shapes of whole blocks, which the kernels for these take: less than a warp's work, rows that end
/// within it, several warps, several blocks of threads.
#[test]
fn whole_blocks_give_the_references_bytes() {
    let Some(device) = device() else { return };
    let (mut compared, mut calls) = (0, 0u32);
    for profile in profiles().into_iter().filter(|profile| profile.format().name().is_some()) {
        for shape in [&[1usize, 32][..], &[2, 3, 96], &[5, 1056], &[70, 64]] {
            for rounding in roundings() {
                let quantize = Quantize::new(profile).rounding(rounding);
                let len = shape.iter().product();
                compared +=
                    compare_values::<f32>(&device, &quantize, shape, block_values(len, calls));
                compared +=
                    compare_values::<bf16>(&device, &quantize, shape, block_values(len, calls));
                compared +=
                    compare_values::<f16>(&device, &quantize, shape, block_values(len, calls));
                calls += 3;
            }
        }
    }
    println!("{calls} calls of whole blocks, {compared} bytes compared");
}

/// Every byte as a code under every byte as a scale, what no quantizer writes included.
/// Draws that stand for the middle of their interval, in shapes of whole blocks and others.
#[test]
fn centred_draws_give_the_references_bytes() {
    let Some(device) = device() else { return };
    let midpoint = Stochastic::new(11, "tensor").with_rule(DrawRule::Midpoint).with_step(3);
    let rows = [
        ("mxfp4", "rceil"),
        ("mxfp8-e5m2", "ocp"),
        ("mxint8", "ceil"),
        ("mxfp4", "ggml"),
        ("nvfp4", "transformer-engine"),
        ("nvfp4", "four-over-six-mse"),
    ];
    for (format, name) in rows {
        let profile = Profile::named(format.parse().unwrap(), name).unwrap();
        for bits in [DrawBits::Eight, DrawBits::Sixteen] {
            for (seed, shape) in [&[5usize, 1056][..], &[17, 33]].into_iter().enumerate() {
                let rounding = Rounding::Stochastic(midpoint.with_bits(bits));
                let quantize = Quantize::new(profile).rounding(rounding);
                compare::<f32>(&device, &quantize, shape, seed as u32);
            }
        }
    }
}

#[test]
fn any_bytes_decode_as_the_reference_decodes_them() {
    let Some(device) = device() else { return };
    let mut compared = 0;
    for profile in profiles() {
        let format = profile.format();
        let empty = Quantize::new(profile).run::<f32>(&[], &[0, 1]).unwrap();
        for stored in [1.0, 3.7e-3, 2688.0, 3e38, 0.0, f32::INFINITY, f32::NAN] {
            let stored = empty.tensor_scale().map(|scale| match scale {
                TensorScale::Amax(_) => TensorScale::Amax(stored),
                TensorScale::Decode(_) => TensorScale::Decode(stored),
                TensorScale::Encode(_) => TensorScale::Encode(stored),
            });
            // A block for each scale that there is; the codes run through all of theirs, 4-bit ones in pairs.
            let (rows, k) = (256, format.block());
            let bits = usize::from(format.element().bits());
            let row_bytes = if bits == 4 { k.div_ceil(2) } else { k };
            let codes = (0..rows * row_bytes).map(|i| match bits {
                4 if k % 2 == 1 && i % row_bytes == row_bytes - 1 => (i * 37 % 16) as u8,
                4 => (i * 37) as u8,
                _ => ((i * 37) % (1 << bits)) as u8,
            });
            let e4m3 = format.scale() == Scale::E4M3;
            let scales =
                (0..=255).map(|code| if e4m3 && code > 127 { 255 } else { code }).collect();
            let tensor = QuantizedTensor::from_parts(
                profile,
                Blocks::Row,
                &[rows, k],
                codes.collect(),
                scales,
                stored,
            );
            compared += compare_decoded(&device, &tensor.unwrap(), &format!("{format} {profile}"));
            if empty.tensor_scale().is_none() {
                break;
            }
        }
    }
    println!("{compared} bytes of any codes compared");
}

/// Every launch shape gives the same bytes: one block of threads that walks everything, a few, many.
#[test]
fn launch_shapes_change_nothing() {
    let Some(device) = device() else { return };
    let cases = [
        (Format::NVFP4, "transformer-engine"),
        (Format::NVFP4, "compressed-tensors"),
        (Format::NVINT4, "four-over-six"),
        (Format::MXFP4, "rceil"),
        (Format::MXFP8_E4M3, "rceil"),
        (Format::MXINT8, "ceil"),
    ];
    for most in [1, 3, 1 << 20] {
        let device = device.with_most_blocks(most);
        for (format, profile) in cases {
            for rounding in roundings() {
                let quantize = Quantize::new(Profile::named(format, profile).unwrap());
                let quantize = quantize.rounding(rounding).tensor_amax(900.0);
                compare_values::<f32>(&device, &quantize, &[90, 224], block_values(90 * 224, most));
                compare_values::<bf16>(&device, &quantize, &[9, 80], block_values(9 * 80, most));
            }
        }
        let x: Vec<f16> = values(40_000, 8, false);
        let nvfp4 = Profile::default_for(Format::NVFP4);
        let amax = device.amax(&nvfp4, &device.upload(&x).unwrap(), &[40_000]).unwrap();
        assert_eq!(device.stream().clone_dtoh(&amax).unwrap(), [blockscale::amax(&x)]);
    }
}

/// A shard draws what the whole tensor would draw there, in whole blocks and with a tail.
#[test]
fn shards_draw_by_their_place() {
    let Some(device) = device() else { return };
    for (format, k) in [("nvfp4", 64), ("nvfp4", 72), ("mxfp8-e4m3", 96), ("mxfp8-e4m3", 70)] {
        for rounding in roundings() {
            let Rounding::Stochastic(draws) = rounding else { continue };
            let shard = Rounding::Stochastic(draws.with_offset(1000, 96));
            let profile = Profile::default_for(format.parse().unwrap());
            compare::<f32>(&device, &Quantize::new(profile).rounding(shard), &[5, k], 4);
        }
    }
}

/// A block for each amax, +0 behind it; every third is negative.
fn compare_amaxima(device: &Device, profile: Profile, amaxima: &[f32]) {
    let block = profile.format().block();
    let mut x = vec![0.0f32; amaxima.len() * block];
    for (i, amax) in amaxima.iter().enumerate() {
        x[i * block] = if i % 3 == 0 { -amax } else { *amax };
    }
    compare_values::<f32>(device, &Quantize::new(profile), &[amaxima.len(), block], x);
}

/// Around powers of two, where a rounded logarithm is an integer already or still.
#[test]
fn logarithms_turn_where_those_of_the_reference_do() {
    let Some(device) = device() else { return };
    let exponents = [
        -125, -64, -63, -32, -31, -16, -15, -8, -7, -4, -3, -2, -1, 0, 1, 2, 4, 8, 16, 32, 64, 120,
    ];
    // The turns, and those seven quarters away that E4M3's largest value makes of them.
    let ulps =
        [0, 1, 2, 3, 4, 5, 6, 7, 11, 12, 19, 20, 21, 22, 23, 38, 39, 40, 44, 45, 77, 78, 88, 89];
    // Blocks of two for the generic kernel, whole blocks of the named formats for theirs.
    for (format, profile) in [
        ("e3m0fx2:e8m0", "rceil+scale=floor-log2"),
        ("e3m0fx2:e8m0", "rceil+scale=floor-log2-wrap"),
        ("e3m0fx2:e8m0", "rceil+scale=ceil-log2"),
        ("mxfp4", "microxcaling"),
        ("mxfp8-e4m3", "modelopt"),
    ] {
        let profile = Profile::parse(format.parse().unwrap(), profile).unwrap();
        // Logarithms are those of amax, or of amax / max.
        let max = profile.format().element().max();
        let powers = exponents.iter().flat_map(|e| [2f32.powi(*e), 2f32.powi(*e) * max]);
        let near = powers.filter(|power| power.is_finite()).flat_map(|power| {
            let bits = power.to_bits();
            ulps.into_iter().flat_map(move |ulps| [bits - ulps, bits + ulps])
        });
        compare_amaxima(&device, profile, &near.map(f32::from_bits).collect::<Vec<_>>());
    }
}

/// Where a rule that looks at bits goes from one scale to the next.
#[test]
fn scales_turn_where_those_of_the_reference_do() {
    let Some(device) = device() else { return };
    let parse = |format: &str, profile| Profile::parse(format.parse().unwrap(), profile).unwrap();
    // Quotients about 2^-127, a subnormal that E8M0 has.
    for (format, profile) in [("mxint8", "ceil"), ("mxfp4", "rceil"), ("mxfp8-e4m3", "rceil")] {
        let profile = parse(format, profile);
        let largest = match profile.format().element() {
            Element::Int(int) => int.max_code().into(),
            float => float.max(),
        };
        let turn = (2f32.powi(-100) * largest * 2f32.powi(-27)).to_bits();
        let near = (turn - 9..=turn + 9).map(f32::from_bits).collect::<Vec<_>>();
        compare_amaxima(&device, profile, &near);
    }
    // Fitted scales with the mantissa of the square root of two, and one more.
    let fitted = parse("e2m1x2:e8m0", "rceil+scale=rms-nearest");
    for (bits, code) in [(0x4039_d22f, 127), (0x4039_d230, 128)] {
        let x = [f32::from_bits(bits), -f32::from_bits(bits)];
        assert_eq!(Quantize::new(fitted).run(&x, &[1, 2]).unwrap().scales().as_bytes(), [code]);
        compare_values::<f32>(&device, &Quantize::new(fitted), &[1, 2], x.to_vec());
    }
}

/// Half of the smallest step and the value below it, which goes up too where a half is added.
#[test]
fn half_a_step_is_rounded_as_the_reference_rounds_it() {
    let Some(device) = device() else { return };
    let named = Format::NAMED.iter().filter(|(_, format)| format.scale() == Scale::E8M0);
    for profile in named.flat_map(|(_, format)| Profile::all(*format)) {
        let element = profile.format().element();
        let (half, amax) = (element.min_positive() * 0.5, 2f32.powi(element.emax()));
        // One whole block, and one with a tail behind it.
        for k in [32, 35] {
            let mut x = vec![amax; k];
            for (i, bits) in (k - 2..k).zip([half.to_bits() - 1, half.to_bits()]) {
                x[i] = f32::from_bits(bits);
                x[i - k / 2] = -x[i];
            }
            compare_values::<f32>(&device, &Quantize::new(profile), &[1, k], x);
        }
    }
}

/// Scales may begin at any byte, also where blocks with NaN are looked for.
#[test]
fn scales_may_begin_anywhere() {
    let Some(device) = device() else { return };
    let x: Vec<f32> = block_values(40 * 32, 5);
    let quantize = Quantize::new(Profile::default_for(Format::MXFP4));
    let expected = quantize.backend(Backend::Reference).run(&x, &[1, x.len()]).unwrap();
    let x_on = device.upload(&x).unwrap();
    let mut codes = device.upload(&vec![0u8; expected.codes().as_bytes().len()]).unwrap();
    let mut scales = device.upload(&[0u8; 41]).unwrap();
    let to = QuantizedMut {
        codes: &mut codes,
        scales: &mut scales.slice_mut(1..),
        tensor_scale: None,
        status: None,
    };
    device.quantize_into(&quantize, &x_on, &[1, x.len()], TensorAmax::Given, to).unwrap();
    let read = |bytes| device.stream().clone_dtoh(bytes).unwrap();
    assert!(read(&codes) == expected.codes().as_bytes(), "codes");
    assert_eq!(read(&scales)[1..], *expected.scales().as_bytes(), "scales");
}

/// Groups of rows, linear and tiled, against the reference run on each group alone.
fn grouped<L: ScaleLayout, T: DeviceReal>(device: &Device, profile: Profile, rounding: Rounding) {
    // Rows of two-byte values begin at no multiple of 16 bytes.
    const K: usize = 84;
    const ROWS: usize = 300;
    let x: Vec<T> = values(ROWS * K, 12, false);
    // The last two change between the calls: sizes are read on the device.
    let sizes: [Vec<(u32, u32)>; 4] = [
        vec![(0, 1), (1, 0), (1, 130), (140, 0), (140, 160)],
        vec![(0, 0), (0, 0), (7, 128), (135, 1), (136, 0)],
        // Beyond the rows: left out, and told.
        vec![(0, 299), (299, 0), (299, 0), (299, 5), (u32::MAX, 7)],
        // More than a warp sums at once.
        (0..70).map(|group| (4 * group, group % 5)).collect(),
    ];
    let format = profile.format();
    let columns = format.scales_per_row(K);
    let padded = if L::TILE == 0 { columns } else { columns.next_multiple_of(4) };
    let row_bytes = part_bytes(&profile, &[1, K]).unwrap().0;
    let x_on_device = device.upload(&x).unwrap();
    for (call, groups) in sizes.into_iter().enumerate() {
        let scale_rows = grouped_scale_rows(ROWS, groups.len(), L::TILE).unwrap();
        let (firsts, counts): (Vec<u32>, Vec<u32>) = groups.iter().copied().unzip();
        let (firsts_on, counts_on) =
            (device.upload(&firsts[..]).unwrap(), device.upload(&counts[..]).unwrap());
        let mut codes = device.upload(&vec![0xa5u8; ROWS * row_bytes]).unwrap();
        let mut scales = device.upload(&vec![0xa5u8; scale_rows * padded]).unwrap();
        let mut rows = device.upload(&vec![0u32; groups.len() + 1]).unwrap();
        let mut tensor_scales = device.upload(&vec![0f32; groups.len()]).unwrap();
        let mut status = device.upload(&[0u32]).unwrap();
        let bytes = WORKSPACE.max(4 * groups.len());
        let mut workspace = device.upload(&vec![0xa5u8; bytes]).unwrap();
        let given = [3.0f32, 0.5, 1e30, 700.0, 7.0];
        let given_on = device.upload(&given).unwrap();
        let quantize = Quantize::new(profile).rounding(rounding);
        let amax = match call {
            1 => TensorAmax::DeviceArray(&given_on),
            _ => TensorAmax::Computed(&mut workspace),
        };
        let to = GroupedMut {
            codes: &mut codes,
            scales: &mut scales,
            scale_rows: &mut rows,
            tensor_scales: profile.tensor_scale_name().map(|_| &mut tensor_scales as _),
            status: Some(&mut status),
        };
        let groups_on = GroupRows { first_rows: &firsts_on, counts: &counts_on };
        device
            .quantize_grouped_into::<L, T>(&quantize, &x_on_device, &[ROWS, K], groups_on, amax, to)
            .unwrap();
        let read = |bytes| device.stream().clone_dtoh(bytes).unwrap();
        let (codes, scales) = (read(&codes), read(&scales));
        let rows = device.stream().clone_dtoh(&rows).unwrap();
        let tensor_scales = device.stream().clone_dtoh(&tensor_scales).unwrap();
        let told = device.stream().clone_dtoh(&status).unwrap()[0];
        assert_eq!(told, if call == 2 { status::GROUP_BEYOND_ROWS } else { 0 });
        let mut written = vec![false; ROWS];
        for (g, (first, count)) in groups.into_iter().enumerate() {
            let case = format!("{format} {profile} call {call} group {g} tile {}", L::TILE);
            let first = (first as usize).min(ROWS);
            let count = (count as usize).min(ROWS - first);
            let x = &x[first * K..][..count * K];
            let rounding = match rounding {
                Rounding::Stochastic(draws) => {
                    Rounding::Stochastic(draws.with_offset(first as u64, 0))
                }
                nearest => nearest,
            };
            let mut quantize = quantize.rounding(rounding).backend(Backend::Reference);
            if call == 1 {
                quantize = quantize.tensor_amax(given[g]);
            }
            let expected = quantize.run(x, &[count, K]).unwrap();
            let found = &codes[first * row_bytes..][..count * row_bytes];
            assert_eq!(found, expected.codes().as_bytes(), "{case}: codes");
            written[first..first + count].fill(true);
            if let Some(stored) = expected.tensor_scale() {
                assert_eq!(tensor_scales[g].to_bits(), stored.value().to_bits(), "{case}");
            }
            let expected = expected.scales().relayout::<L>().unwrap();
            let begin = match L::TILE {
                0 => first,
                _ => rows[g] as usize,
            };
            let found = &scales[begin * padded..][..expected.as_bytes().len()];
            assert_eq!(found, expected.as_bytes(), "{case}: scales");
            let taken = if L::TILE == 0 { count } else { count.next_multiple_of(128) };
            assert_eq!((rows[g + 1] - rows[g]) as usize, taken, "{case}");
        }
        for (row, _) in written.iter().enumerate().filter(|(_, written)| !**written) {
            let row = &codes[row * row_bytes..][..row_bytes];
            assert!(row.iter().all(|byte| *byte == 0xa5), "a row of no group was written");
        }
    }
}

#[test]
fn groups_give_the_bytes_of_each_alone() {
    let Some(device) = device() else { return };
    for (format, profile) in [
        (Format::NVFP4, "transformer-engine"),
        (Format::NVFP4, "four-over-six-mse"),
        (Format::NVFP4, "torchao+nonfinite=drop"),
        (Format::MXFP8_E4M3, "rceil"),
        (Format::MXFP4, "ocp"),
    ] {
        let profile = Profile::parse(format, profile).unwrap();
        let stochastic = roundings()[1];
        grouped::<Linear, f32>(&device, profile, Rounding::Nearest);
        grouped::<Tiled128x4, bf16>(&device, profile, Rounding::Nearest);
        grouped::<Tiled128x4, f16>(&device, profile, stochastic);
    }
}

#[test]
fn findings_go_to_the_status_word() {
    let Some(device) = device() else { return };
    let finds = |profile: Profile, x: &[f32]| {
        let x_on = device.upload(x).unwrap();
        let bytes = part_bytes(&profile, &[1, x.len()]).unwrap();
        let mut codes = device.upload(&vec![0u8; bytes.0]).unwrap();
        let mut scales = device.upload(&vec![0u8; bytes.1]).unwrap();
        let mut tensor_scale = device.upload(&[0f32]).unwrap();
        let mut status = device.upload(&[0x80u32]).unwrap();
        let to = QuantizedMut {
            codes: &mut codes,
            scales: &mut scales,
            tensor_scale: profile.tensor_scale_name().map(|_| &mut tensor_scale as _),
            status: Some(&mut status),
        };
        let quantize = Quantize::new(profile).tensor_amax(6.0);
        device.quantize_into(&quantize, &x_on, &[1, x.len()], TensorAmax::Given, to).unwrap();
        // Other bits stay.
        device.stream().clone_dtoh(&status).unwrap()[0] ^ 0x80
    };
    for profile in Format::NAMED.iter().flat_map(|(_, format)| Profile::all(*format)) {
        // 66 elements end within a block: the kernel for whole blocks does not take them.
        for len in [64, 66] {
            let mut x = vec![1.0f32; len];
            assert_eq!(finds(profile, &x), 0, "{profile}");
            x[40] = f32::NEG_INFINITY;
            assert_eq!(finds(profile, &x), status::INF, "{profile}");
            x[3] = f32::NAN;
            assert_eq!(finds(profile, &x), status::INF | status::NAN, "{profile}");
        }
    }
}

#[test]
fn codes_are_packed_as_on_the_host() {
    let Some(device) = device() else { return };
    let formats = ["mxfp4", "mxfp6-e2m3", "mxfp8-e4m3", "mxint6", "e2m1x7:e8m0", "int5/8x24:e8m0"];
    for format in formats {
        let profile = Profile::default_for(format.parse().unwrap());
        for shape in [&[3usize, 64][..], &[5, 37], &[0, 32], &[2, 2, 96]] {
            let x: Vec<f32> = values(shape.iter().product(), 3, false);
            let q = Quantize::new(profile).run(&x, shape).unwrap();
            let on_device = device.upload_tensor(&q).unwrap();
            let bytes = on_device.codes_in::<Bytes>().unwrap().download().unwrap();
            assert_eq!(bytes, q.codes().relayout().unwrap(), "{format} {shape:?}");
            let dense = on_device.codes_in::<Dense>().unwrap().download().unwrap();
            assert_eq!(dense, q.codes().relayout().unwrap(), "{format} {shape:?}");
            let raw = on_device.codes_in::<Raw>().unwrap().download().unwrap();
            assert_eq!(raw.as_bytes(), q.codes().as_bytes(), "{format} {shape:?}");
            match (on_device.codes_in::<SplitHalves>(), q.codes().relayout::<SplitHalves>()) {
                (Ok(got), Ok(expected)) => assert_eq!(got.download().unwrap(), expected),
                (Err(CudaError::Argument(got)), Err(expected)) => assert_eq!(got, expected),
                other => panic!("{format} {shape:?}: {other:?}"),
            }
        }
    }
}

#[test]
fn an_amax_on_the_device_is_used_as_it_stands() {
    let Some(device) = device() else { return };
    for profile in Profile::all(Format::NVFP4) {
        let x: Vec<f32> = values(64, 5, false);
        let device_x = device.upload(&x).unwrap();
        for amax in [0.0, -0.0, 1.5, 3e38, f32::INFINITY, f32::NAN] {
            let quantize = Quantize::new(profile);
            let expected = quantize.tensor_amax(amax).run(&x, &[2, 32]).unwrap();
            let amax_x = device.upload(&[amax]).unwrap();
            let got = device.quantize_with_amax(&quantize, &device_x, &[2, 32], &amax_x).unwrap();
            let host = device.quantize(&quantize.tensor_amax(amax), &device_x, &[2, 32]).unwrap();
            for got in [got, host] {
                let found = difference(&got.download().unwrap(), &expected);
                assert_eq!(found, None, "{profile} {amax}");
            }
        }
    }
}

fn amax_matches<T: DeviceReal>() {
    let Some(device) = device() else { return };
    let profile = Profile::default_for(Format::NVFP4);
    for (len, seed) in [(1, 0), (31, 2), (257, 4), (5000, 6), (5000, 7)] {
        let x: Vec<T> = values(len, seed, seed % 2 == 1);
        let got = device.amax(&profile, &device.upload(&x).unwrap(), &[len]).unwrap();
        let got = device.stream().clone_dtoh(&got).unwrap()[0];
        let expected = blockscale::amax(&x);
        assert!(
            got == expected || got.is_nan() && expected.is_nan(),
            "{len}: {got} not {expected}"
        );
    }
    // Wherever the largest is: in any lane of any warp, as a vector and as one value.
    let drops = Profile::parse(Format::NVFP4, "torchao+nonfinite=drop").unwrap();
    for (at, profile) in (0..2100).step_by(41).flat_map(|at| [(at, &profile), (at, &drops)]) {
        let mut x = vec![T::from_f32(0.5); 2100];
        x[at] = T::from_f32(-1.0);
        let got = device.amax(profile, &device.upload(&x).unwrap(), &[2100]).unwrap();
        assert_eq!(device.stream().clone_dtoh(&got).unwrap(), [1.0], "the largest at {at}");
    }
}

#[test]
fn amax_is_that_of_the_reference() {
    amax_matches::<f32>();
    amax_matches::<bf16>();
    amax_matches::<f16>();
}

#[test]
fn scales_are_laid_out_as_on_the_host() {
    let Some(device) = device() else { return };
    for shape in [&[1usize, 16][..], &[130, 90], &[2, 9, 64], &[0, 16]] {
        let x: Vec<f32> = values(shape.iter().product(), 3, false);
        let q = Quantize::new(Profile::named(Format::NVFP4, "torchao").unwrap())
            .run(&x, shape)
            .unwrap();
        let on_device = device.upload_tensor(&q).unwrap();
        let tiled = on_device.scales_in::<Tiled128x4>().unwrap().download().unwrap();
        assert_eq!(tiled, q.scales().relayout().unwrap(), "{shape:?}");
        let tiled = on_device.scales_in::<Tiled8x4>().unwrap().download().unwrap();
        assert_eq!(tiled, q.scales().relayout().unwrap(), "{shape:?}");
        let linear = on_device.scales_in::<Linear>().unwrap().download().unwrap();
        assert_eq!(linear.as_bytes(), q.scales().as_bytes(), "{shape:?}");
    }
}

/// Two streams at once, and a handle shared by threads.
#[test]
fn streams_and_threads_do_not_disturb_each_other() {
    let Some(device) = device() else { return };
    let quantize = Quantize::new(Profile::default_for(Format::NVFP4));
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let device = match seed % 2 {
                0 => device.clone(),
                _ => Device::on(device.stream().context().new_stream().unwrap()).unwrap(),
            };
            scope.spawn(move || {
                device.stream().context().bind_to_thread().unwrap();
                for _ in 0..3 {
                    compare::<f32>(&device, &quantize, &[4, 40], 2 * seed);
                }
            });
        }
    });
}

#[test]
fn wrong_arguments_are_typed_errors() {
    let Some(device) = device() else { return };
    let x = device.upload(&[1.0f32; 32]).unwrap();
    let quantize = Quantize::new(Profile::default_for(Format::NVFP4));
    let refused = |result: Result<_, CudaError>| matches!(result, Err(CudaError::Argument(_)));
    assert!(refused(device.quantize(&quantize, &x, &[2, 17]).map(drop)));
    assert!(refused(device.quantize(&quantize, &x, &[]).map(drop)));
    assert!(refused(device.quantize(&quantize.blocks(Blocks::Tile), &x, &[32]).map(drop)));
    assert!(refused(device.quantize(&quantize.tensor_amax(-1.0), &x, &[32]).map(drop)));
    assert!(refused(device.amax(quantize.profile(), &x, &[33]).map(drop)));
    let two = device.upload(&[1.0f32; 2]).unwrap();
    assert!(refused(device.quantize_with_amax(&quantize, &x, &[32], &two).map(drop)));
}

/// Every unit is there for every architecture, each PTX names its target, none is large.
#[test]
fn images_are_complete() {
    let mut architectures: Vec<_> = IMAGES.iter().map(|image| image.architecture).collect();
    architectures.sort_unstable();
    architectures.dedup();
    for architecture in &architectures {
        let units = "amax dequantize dequantize_blocks quantize quantize_blocks quantize_grouped \
                     quantize_rotated relayout rotate";
        for unit in units.split(' ') {
            let image = IMAGES.iter().find(|i| i.unit == unit && i.architecture == *architecture);
            let image = image.unwrap_or_else(|| panic!("{unit} for {architecture}"));
            assert!(image.ptx().contains(&format!(".target sm_{architecture}")), "{unit}");
            assert!(image.runs_on(image.capability));
        }
    }
    let embedded = IMAGES.iter().map(blockscale::cuda::Image::embedded_bytes).sum::<usize>();
    assert!(embedded <= 13 << 20, "{embedded} bytes");
    for image in IMAGES {
        // An ELF file.
        assert!(image.cubin().is_none_or(|cubin| cubin.starts_with(b"\x7fELF")), "{image:?}");
    }
}

/// Without a driver or without kernels a call says so.
#[test]
fn absence_is_a_typed_error() {
    match Device::new(usize::MAX) {
        Err(
            error @ (CudaError::NoDriver(_)
            | CudaError::NoDevice { .. }
            | CudaError::KernelsNotCompiled),
        ) => assert!(!error.to_string().is_empty()),
        other => panic!("{other:?}"),
    }
}
