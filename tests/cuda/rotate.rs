//! Kernels that rotate, against the reference.

use super::{block_values, device, difference, profiles, roundings, values};
use blockscale::cuda::raw::MOST_ROTATED;
use blockscale::cuda::{CudaError, Device, DeviceReal, Strided};
use blockscale::format::Format;
use blockscale::numerics::{Hadamard, Matrix, Profile, Rounding, Stochastic, philox4x32_10};
use blockscale::{Axis, Backend, Blocks, Error, Quantize, Rotate};
use half::{bf16, f16};

/// Any bits: NaN of any payload, Inf, subnormals, and sums that overflow.
fn hostile<T: DeviceReal>(len: usize, seed: u32) -> Vec<T> {
    let special =
        [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -0.0, 0.0, f32::MAX, -f32::MAX, 1e-45];
    let value = |i: usize| {
        // Most blocks have none of them, so that not everything is NaN.
        let words = philox4x32_10([i as u32, seed, 0, 0], [5, 6]);
        let rare = philox4x32_10([i as u32 / 64, seed, 1, 0], [5, 6])[0];
        match (rare % 3, words[0] % 24) {
            (0, at @ 0..8) => special[at as usize],
            (0, 8..12) => f32::from_bits(words[1]),
            (1, _) => f32::from_bits(words[1] & 0x80ff_ffff),
            _ => f32::from_bits((words[1] & 0x83ff_ffff) + 0x3e00_0000),
        }
    };
    (0..len).map(|i| T::from_f32(value(i))).collect()
}

/// Each size without signs and with drawn ones, some rounded to bf16.
fn rotations() -> Vec<Hadamard> {
    let of = |size| {
        let plain = Hadamard::new(size).unwrap();
        let drawn = plain.with_drawn_signs(9, "layer");
        [plain, drawn, drawn.rounded_to_bf16()]
    };
    Hadamard::SIZES.into_iter().flat_map(of).collect()
}

/// Every way round: back and forth, along both axes.
fn rotates() -> Vec<Rotate<'static>> {
    let of = |hadamard| {
        let forward = Rotate::new(hadamard).backend(Backend::Reference);
        [Axis::K, Axis::Rows].map(|axis| [forward.along(axis), forward.along(axis).inverse()])
    };
    rotations().into_iter().flat_map(of).flatten().collect()
}

fn assert_same<T: DeviceReal>(got: &[T], expected: &[T], case: impl Fn() -> String) {
    assert_eq!(got.len(), expected.len(), "{}", case());
    let bits = |x: &T| (x.to_f32().to_bits(), size_of::<T>());
    if let Some(at) = (0..got.len()).find(|at| bits(&got[*at]) != bits(&expected[*at])) {
        let [got, expected] = [&got[at], &expected[at]].map(|x| bits(x).0);
        panic!("{}: value {at} is {got:#010x}, not {expected:#010x}", case());
    }
}

fn compare<T: DeviceReal, U: DeviceReal>(
    device: &Device,
    rotate: &Rotate<'_>,
    x: &[T],
    shape: &[usize],
) -> usize {
    let expected: Vec<U> = rotate.run_as(x, shape).unwrap();
    let got = device.rotate_as::<U, T>(rotate, &device.upload(x).unwrap(), shape).unwrap();
    let got = device.stream().clone_dtoh(&got).unwrap();
    assert_same(&got, &expected, || format!("{shape:?} {rotate:?}"));
    got.len()
}

/// Along K: less than a warp's work, and more. Along rows: parts of tiles, odd columns.
fn shapes(rotate: &Rotate<'_>, size: usize) -> Vec<Vec<usize>> {
    match *rotate == rotate.along(Axis::K) {
        true => vec![vec![size], vec![3, 2 * size], vec![2, 5, 3 * size]],
        false => vec![vec![size, 3], vec![2, 2 * size, 34], vec![512, 6]],
    }
}

#[test]
fn every_rotation_gives_the_references_bytes() {
    let Some(device) = device() else { return };
    let (mut compared, mut seed) = (0, 0);
    for (rotate, hadamard) in rotates().iter().zip(rotations().iter().flat_map(|h| [h; 4])) {
        for shape in shapes(rotate, hadamard.size()) {
            let len = shape.iter().product();
            macro_rules! from {
                ($($from:ty),+) => {$(
                    seed += 1;
                    let x: Vec<$from> = hostile(len, seed);
                    compared += compare::<$from, f32>(&device, rotate, &x, &shape);
                    compared += compare::<$from, bf16>(&device, rotate, &x, &shape);
                    compared += compare::<$from, f16>(&device, rotate, &x, &shape);
                )+};
            }
            from!(f32, bf16, f16);
        }
    }
    println!("{compared} rotated values compared");
}

fn in_place<T: DeviceReal>(device: &Device) {
    for (i, rotate) in rotates().iter().enumerate() {
        let (x, shape) = (hostile::<T>(2 * 256 * 256, i as u32), [2, 256, 256]);
        let mut on_device = device.upload(&x).unwrap();
        device.rotate_in_place(rotate, &mut on_device, &shape).unwrap();
        let got = device.stream().clone_dtoh(&on_device).unwrap();
        assert_same(&got, &rotate.run(&x, &shape).unwrap(), || format!("in place: {rotate:?}"));
    }
}

#[test]
fn values_may_be_rotated_where_they_stand() {
    let Some(device) = device() else { return };
    in_place::<f32>(&device);
    in_place::<bf16>(&device);
    in_place::<f16>(&device.with_most_blocks(1));
}

/// Rows and matrices with gaps, from an element on that is aligned to nothing; results likewise.
fn with_gaps<T: DeviceReal>(device: &Device, offset: usize, gap: usize) {
    let (matrices, rows, k) = (2, 256, 512);
    let (row_stride, batch_stride) = (k + gap, rows * (k + gap) + 3 * gap);
    let memory: Vec<T> = values(offset + matrices * batch_stride, 4, true);
    let on_device = device.upload(&memory).unwrap();
    let row = |i: usize| &memory[offset + i / rows * batch_stride + i % rows * row_stride..][..k];
    let x: Vec<T> = (0..matrices * rows).flat_map(row).copied().collect();
    let shape = [matrices, rows, k];
    let strided = Strided::new(&shape).row_stride(row_stride).batch_stride(batch_stride);
    for rotate in rotates().iter().skip(4).step_by(5) {
        let mut y = device.upload(&vec![T::from_f32(0.0); x.len() + offset]).unwrap();
        let view = on_device.slice(offset..);
        device.rotate_into(rotate, &view, strided, &mut y.slice_mut(offset..)).unwrap();
        let got = device.stream().clone_dtoh(&y).unwrap();
        let case = || format!("offset {offset}, gap {gap}: {rotate:?}");
        assert_same(&got[offset..], &rotate.run(&x, &shape).unwrap(), case);
        assert_same(&got[..offset], &vec![T::from_f32(0.0); offset], case);
    }
}

#[test]
fn rotated_rows_may_lie_anywhere() {
    let Some(device) = device() else { return };
    for (offset, gap) in [(0, 8), (8, 0), (1, 0), (0, 1), (3, 5)] {
        with_gaps::<f32>(&device, offset, gap);
        with_gaps::<bf16>(&device, offset, gap);
    }
    with_gaps::<f16>(&device, 2, 2);
}

fn amax_of_rotated<T: DeviceReal>(device: &Device) {
    let plain = Profile::default_for(Format::NVFP4);
    let drops = Profile::parse(Format::NVFP4, "torchao+nonfinite=drop").unwrap();
    for (i, hadamard) in rotations().into_iter().enumerate() {
        let shape = [5, 1, 3 * hadamard.size()];
        let len = shape.iter().product();
        let ordinary = values(len, i as u32, false);
        for x in [hostile::<T>(len, i as u32), block_values(len, i as u32), ordinary] {
            let rotated = Rotate::new(hadamard).backend(Backend::Reference);
            let rotated: Vec<f32> = rotated.run_as(&x, &shape).unwrap();
            let finite: Vec<f32> = rotated.iter().copied().filter(|y| y.is_finite()).collect();
            for (profile, values) in [(&plain, &rotated), (&drops, &finite)] {
                let expected = blockscale::amax_with(values, Backend::Reference);
                let x = device.upload(&x).unwrap();
                let got = device.amax_rotated(profile, hadamard, &x, &shape).unwrap();
                let got = device.stream().clone_dtoh(&got).unwrap()[0];
                let same = got == expected || got.is_nan() && expected.is_nan();
                assert!(same, "{hadamard:?} {profile}: {got} not {expected}");
            }
        }
    }
    // Wherever the largest is: in any lane of any warp, before and after it is turned.
    let hadamard = Hadamard::new(128).unwrap();
    for at in (0..128 * 40).step_by(101) {
        let mut x = vec![T::from_f32(0.0); 128 * 40];
        x[at] = T::from_f32(-16.0);
        let expected = 16.0 * hadamard.scale();
        let got = device.amax_rotated(&plain, hadamard, &device.upload(&x).unwrap(), &[40, 128]);
        let got = device.stream().clone_dtoh(&got.unwrap()).unwrap();
        assert_eq!(got, [expected], "the largest at {at}");
    }
}

#[test]
fn the_amax_of_rotated_values_is_that_of_the_reference() {
    let Some(device) = device() else { return };
    amax_of_rotated::<f32>(&device);
    amax_of_rotated::<bf16>(&device);
    amax_of_rotated::<f16>(&device.with_most_blocks(1));
}

#[test]
fn what_cannot_be_rotated_is_a_typed_error() {
    let Some(device) = device() else { return };
    let hadamard = Hadamard::new(32).unwrap();
    let x = device.upload(&[1.0f32; 96]).unwrap();
    let refused = |rotate: &Rotate<'_>, shape: &[usize]| {
        let error = device.rotate(rotate, &x, shape).unwrap_err();
        let CudaError::Argument(error) = error else { panic!("{error}") };
        error
    };
    let along_k = Rotate::new(hadamard);
    assert!(matches!(refused(&along_k, &[2, 48]), Error::RotationSize { given: 48, .. }));
    assert!(matches!(refused(&along_k, &[32]), Error::WrongLength { .. }));
    let along_rows = along_k.along(Axis::Rows);
    assert!(matches!(refused(&along_rows, &[16, 6]), Error::RotationSize { given: 16, .. }));
    assert!(matches!(refused(&along_rows, &[96]), Error::InvalidShape { .. }));
    let identity: Vec<f32> = (0..32 * 32).map(|i| f32::from(u8::from(i % 33 == 0))).collect();
    let matrix = Matrix::new(32, &identity).unwrap();
    let error = refused(&Rotate::new(&matrix), &[3, 32]).to_string();
    assert!(error.contains("by Hadamard matrices only"), "{error}");
    let mut short = device.upload(&[0.0f32; 95]).unwrap();
    let error = device.rotate_into(&along_k, &x, &[3, 32], &mut short).unwrap_err();
    assert!(matches!(error, CudaError::Argument(Error::WrongLength { .. })), "{error}");
    let profile = Profile::default_for(Format::NVFP4);
    let error = device.amax_rotated(&profile, hadamard, &x, &[6, 16]).unwrap_err();
    assert!(matches!(error, CudaError::Argument(Error::RotationSize { .. })), "{error}");
    // Nothing is rotated into nothing.
    assert_eq!(device.rotate(&along_k, &x.slice(..0), &[0, 32]).unwrap().len(), 1);
}

/// Quantizes rotated values on both, compares; returns the bytes compared.
fn compare_quantized<T: DeviceReal>(
    device: &Device,
    quantize: &Quantize,
    shape: &[usize],
    x: &[T],
) -> usize {
    let expected = quantize.backend(Backend::Reference).run(x, shape).unwrap();
    let got = device.quantize(quantize, &device.upload(x).unwrap(), shape).unwrap();
    if let Some(found) = difference(&got.download().unwrap(), &expected) {
        let profile = quantize.profile();
        panic!("{} {profile} {shape:?} {quantize:?}: {found}", profile.format());
    }
    expected.stored_bytes()
}

/// The rotations of at most 128 values: larger ones are not quantized at once.
fn fused() -> impl Iterator<Item = Hadamard> + Clone {
    rotations().into_iter().filter(|hadamard| hadamard.size() <= MOST_ROTATED)
}

/// Every profile, rows and tiles, blocks that end within a rotation and rotations within a block.
#[test]
fn every_profile_quantizes_rotated_values_as_the_reference() {
    let Some(device) = device() else { return };
    let mut hadamards = fused().cycle();
    let (mut compared, mut calls) = (0, 0u32);
    for profile in profiles() {
        for (r, rounding) in roundings().into_iter().enumerate() {
            for blocks in [Blocks::Row, Blocks::Tile] {
                let hadamard = hadamards.next().unwrap();
                let size = hadamard.size();
                let shape = [2, 5, if r == 1 { 3 * size } else { size }];
                let len = shape.iter().product();
                let quantize =
                    Quantize::new(profile).rounding(rounding).blocks(blocks).rotated(hadamard);
                compared += match calls % 3 {
                    0 => compare_quantized::<f32>(&device, &quantize, &shape, &hostile(len, calls)),
                    1 => compare_quantized::<bf16>(
                        &device,
                        &quantize,
                        &shape,
                        &values(len, calls, false),
                    ),
                    _ => compare_quantized::<f16>(
                        &device,
                        &quantize,
                        &shape,
                        &block_values(len, calls),
                    ),
                };
                calls += 1;
            }
        }
    }
    println!("{calls} calls of rotated values, {compared} bytes compared");
}

/// Whole blocks: less than a warp's work, rows that end within it, several warps and blocks of threads.
#[test]
fn whole_blocks_of_rotated_values_give_the_references_bytes() {
    let Some(device) = device() else { return };
    let mut hadamards = fused().cycle();
    let (mut compared, mut calls) = (0, 0u32);
    for profile in profiles().into_iter().filter(|profile| profile.format().name().is_some()) {
        for shape in [&[1usize, 128][..], &[2, 3, 384], &[20, 256]] {
            for rounding in roundings() {
                let len = shape.iter().product();
                let mut quantize =
                    || Quantize::new(profile).rounding(rounding).rotated(hadamards.next().unwrap());
                compared += compare_quantized::<f32>(
                    &device,
                    &quantize(),
                    shape,
                    &block_values(len, calls),
                );
                compared += compare_quantized::<bf16>(
                    &device,
                    &quantize(),
                    shape,
                    &values(len, calls, true),
                );
                compared += compare_quantized::<f16>(
                    &device,
                    &quantize(),
                    shape,
                    &block_values(len, calls),
                );
                calls += 3;
            }
        }
    }
    println!("{calls} calls of whole rotated blocks, {compared} bytes compared");
}

/// Every kernel for whole blocks under every rotation.
#[test]
fn every_rotation_is_quantized_by_every_kernel() {
    let Some(device) = device() else { return };
    for (_, format) in Format::NAMED {
        for (i, hadamard) in fused().enumerate() {
            let rounding = roundings()[i % 2];
            let quantize = Quantize::new(Profile::default_for(format)).rounding(rounding);
            let (shape, seed) = ([11, 256], i as u32);
            let x: Vec<f32> = values(11 * 256, seed, false);
            compare_quantized::<f32>(&device, &quantize.rotated(hadamard), &shape, &x);
            let x: Vec<bf16> = values(11 * 256, seed + 100, false);
            compare_quantized::<bf16>(&device, &quantize.rotated(hadamard), &shape, &x);
        }
    }
}

/// Shards, launches of one block of threads, strides, amaxes that are given, and what cannot be done.
#[test]
fn rotated_quantizations_take_what_others_take() {
    let Some(device) = device() else { return };
    let hadamard = Hadamard::new(64).unwrap().with_drawn_signs(3, "x");
    let draws = Stochastic::new(11, "tensor").with_offset(1000, 192);
    for (_, format) in Format::NAMED {
        let quantize = Quantize::new(Profile::default_for(format)).rotated(hadamard);
        let drawn = quantize.rounding(Rounding::Stochastic(draws));
        let x: Vec<f32> = values(7 * 320, 4, false);
        for device in [device.clone(), device.with_most_blocks(1)] {
            compare_quantized(&device, &drawn, &[7, 320], &x);
            compare_quantized(&device, &quantize.tensor_amax(900.0), &[7, 320], &x);
        }
        // The right 256 columns, aligned and not.
        for offset in [64, 63] {
            let on_device = device.upload(&x[..6 * 320 + offset + 256]).unwrap();
            let strided = Strided::new(&[7, 256]).row_stride(320);
            let got = device.quantize(&quantize, &on_device.slice(offset..), strided).unwrap();
            let rows = x[offset..].chunks(320).flat_map(|row| row[..256].iter().copied());
            let expected = quantize.run(&rows.collect::<Vec<_>>(), &[7, 256]).unwrap();
            assert_eq!(difference(&got.download().unwrap(), &expected), None, "{format}");
        }
    }
    let quantize = Quantize::new(Profile::default_for(Format::MXFP4));
    let x = device.upload(&[1.0f32; 512]).unwrap();
    let refused = |size, shape: &[usize]| {
        let quantize = quantize.rotated(Hadamard::new(size).unwrap());
        match device.quantize(&quantize, &x, shape).unwrap_err() {
            CudaError::Argument(error) => error,
            error => panic!("{error}"),
        }
    };
    assert!(matches!(refused(64, &[16, 32]), Error::RotationSize { given: 32, .. }));
    assert!(refused(256, &[2, 256]).to_string().contains("at most 128"));
}
