//! Arguments of the verbs that write into the caller's memory.

use crate::support::*;
use blockscale::cuda::raw::WORKSPACE;
use blockscale::cuda::{CudaError, Device, QuantizedMut, Strided, TensorAmax};
use blockscale::format::Format;
use blockscale::numerics::{Hadamard, Profile};
use blockscale::{Backend, Blocks, Error, Quantize};

const SHAPE: [usize; 2] = [4, 32];

fn nvfp4() -> Quantize {
    Quantize::new(Profile::default_for(Format::NVFP4))
}

#[test]
fn parts_of_the_caller_get_the_references_bytes() {
    let Some(device) = device() else { return };
    for quantize in quantizations() {
        let x: Vec<f32> = values(128, 3);
        let uploaded = device.upload(&x).unwrap();
        let expected = quantize.backend(Backend::Reference).run(&x, &SHAPE).unwrap();
        let stores = expected.tensor_scale().is_some();
        let mut parts = Parts::of(&device, &expected);
        let (to, workspace) = parts.to();
        let amax = if stores { TensorAmax::Computed(workspace) } else { TensorAmax::Given };
        device.quantize_into(&quantize, &uploaded, &SHAPE, amax, to).unwrap();
        parts.hold(&device, &expected);
        let mut y = device.upload(&[f32::NAN; 128]).unwrap();
        device.dequantize_into(parts.from(quantize.profile(), &SHAPE), &mut y).unwrap();
        assert_eq!(read(&device, &y), expected.dequantize_with::<f32>(Backend::Reference));

        // An amax of the host, and one of the device.
        let expected = quantize.tensor_amax(7.5).run(&x, &SHAPE).unwrap();
        let (to, _) = parts.to();
        let given = quantize.tensor_amax(7.5);
        device.quantize_into(&given, &uploaded, &SHAPE, TensorAmax::Given, to).unwrap();
        parts.hold(&device, &expected);
        let amax = device.upload(&[7.5f32]).unwrap();
        let mut parts = Parts::of(&device, &expected);
        let (to, _) = parts.to();
        device.quantize_into(&quantize, &uploaded, &SHAPE, TensorAmax::Device(&amax), to).unwrap();
        parts.hold(&device, &expected);
    }
}

#[test]
fn tensors_are_overwritten() {
    let Some(device) = device() else { return };
    let quantize = nvfp4();
    let mut q = device.zeros(quantize.profile(), Blocks::Row, &SHAPE).unwrap();
    let zeros = q.download().unwrap();
    assert!(zeros.codes().as_bytes().iter().chain(zeros.scales().as_bytes()).all(|b| *b == 0));
    assert_eq!(zeros.dequantize::<f32>(), [0.0; 128]);
    let mut workspace = device.upload(&[0u8; WORKSPACE]).unwrap();
    for seed in 0..3 {
        let x: Vec<f32> = values(128, seed);
        let uploaded = device.upload(&x).unwrap();
        let amax = TensorAmax::Computed(&mut workspace);
        q.overwrite(&quantize, &uploaded, &SHAPE, amax).unwrap();
        assert_eq!(q.download().unwrap(), quantize.run(&x, &SHAPE).unwrap());
    }
    let x = device.upload(&[1.0f32; 128]).unwrap();
    let other = Quantize::new(Profile::named(Format::NVFP4, "torchao").unwrap());
    let mut refused = |quantize: &Quantize, shape: &[usize]| {
        let error = q.overwrite(quantize, &x, shape, TensorAmax::Given).unwrap_err();
        assert!(matches!(error, CudaError::Argument(Error::InvalidTensor { .. })), "{error}");
    };
    refused(&other.tensor_amax(1.0), &SHAPE);
    refused(&quantize.blocks(Blocks::Tile).tensor_amax(1.0), &SHAPE);
    refused(&quantize.tensor_amax(1.0), &[32, 4]);
}

#[test]
fn rotations_beyond_128_are_refused() {
    let Some(device) = device() else { return };
    let quantize = nvfp4().rotated(Hadamard::new(256).unwrap());
    let (x, shape) = (device.upload(&[1.0f32; 512]).unwrap(), [2, 256]);
    let refused = |error: CudaError| {
        assert!(matches!(error, CudaError::Argument(Error::InvalidValue { .. })), "{error}");
        assert!(error.to_string().contains("at most 128"), "{error}");
    };
    refused(device.quantize(&quantize, &x, &shape).unwrap_err());
    refused(device.quantize(&quantize.tensor_amax(1.0), &x, &shape).unwrap_err());
    refused(device.run(&quantize, &[1.0f32; 512], &shape).unwrap_err());
    let mut q = device.zeros(quantize.profile(), Blocks::Row, &shape).unwrap();
    let given = quantize.tensor_amax(1.0);
    refused(q.overwrite(&given, &x, &shape, TensorAmax::Given).unwrap_err());
}

/// What `quantize_into` says of these lengths.
fn with_lengths(device: &Device, [codes, scales, tensor_scale, x]: [usize; 4]) -> CudaError {
    let (mut codes, mut scales) =
        (device.upload(&vec![0u8; codes]).unwrap(), device.upload(&vec![0u8; scales]).unwrap());
    let mut tensor_scale = device.upload(&vec![0.0f32; tensor_scale]).unwrap();
    let to = QuantizedMut {
        codes: &mut codes,
        scales: &mut scales,
        tensor_scale: Some(&mut tensor_scale),
        status: None,
    };
    let x = device.upload(&vec![0.0f32; x]).unwrap();
    let quantize = nvfp4().tensor_amax(1.0);
    device.quantize_into(&quantize, &x, &SHAPE, TensorAmax::Given, to).unwrap_err()
}

#[test]
fn every_length_is_checked() {
    let Some(device) = device() else { return };
    let right = [64usize, 8, 1, 128];
    for (at, what) in
        ["the codes", "the scales", "the tensor scale", "the input"].iter().enumerate()
    {
        for wrong in [right[at] + 1, right[at] * 2, right[at].saturating_sub(1).max(2)] {
            let mut lengths = right;
            lengths[at] = wrong;
            let error = with_lengths(&device, lengths);
            assert!(matches!(error, CudaError::Argument(_)), "{error}");
            let text = error.to_string();
            assert!(text.contains(what) && text.contains(&wrong.to_string()), "{text}");
        }
    }
    let quantize = nvfp4();
    let x = device.upload(&[1.0f32; 128]).unwrap();
    let q = device.quantize(&quantize, &x, &SHAPE).unwrap();
    let mut short = device.upload(&[0.0f32; 127]).unwrap();
    assert!(matches!(q.dequantize_into::<f32>(&mut short), Err(CudaError::Argument(_))));
    let mut parts = q.parts();
    parts.shape = &[4, 16];
    let mut y = device.upload(&[0.0f32; 64]).unwrap();
    let error = device.dequantize_into::<f32>(parts, &mut y).unwrap_err();
    assert!(error.to_string().contains("the codes has 64 bytes"), "{error}");
    let mut parts = q.parts();
    parts.tensor_scale = None;
    let mut y = device.upload(&[0.0f32; 128]).unwrap();
    let error = device.dequantize_into::<f32>(parts, &mut y).unwrap_err();
    assert!(error.to_string().contains("tensor_amax"), "{error}");
}

#[test]
fn a_tensor_scale_has_one_amax_and_one_place() {
    let Some(device) = device() else { return };
    let x = device.upload(&[1.0f32; 128]).unwrap();
    let refused = |quantize: &Quantize, amax: TensorAmax<'_>, place: bool, says: &str| {
        let expected = quantize.run(&[1.0f32; 128], &SHAPE).unwrap();
        let mut parts = Parts::of(&device, &expected);
        let mut scale = device.upload(&[0.0f32]).unwrap();
        let (mut to, _) = parts.to();
        to.tensor_scale = if place { Some(&mut scale) } else { None };
        let error = device.quantize_into(quantize, &x, &SHAPE, amax, to).unwrap_err();
        assert!(matches!(error, CudaError::Argument(_)), "{error}");
        assert!(error.to_string().contains(says), "{error}");
    };
    let (given, missing) = (nvfp4().tensor_amax(2.0), nvfp4());
    let one = device.upload(&[2.0f32]).unwrap();
    let two = device.upload(&[2.0f32; 2]).unwrap();
    let mut workspace = device.upload(&[0u8; 2 * WORKSPACE]).unwrap();
    refused(&missing, TensorAmax::Given, true, "nowhere");
    refused(&given, TensorAmax::Device(&one), true, "2 and on the device");
    refused(&given, TensorAmax::Computed(&mut workspace), true, "2 and on the device");
    refused(&missing, TensorAmax::Device(&two), true, "one f32");
    let mut short = workspace.slice_mut(..WORKSPACE - 1);
    refused(&missing, TensorAmax::Computed(&mut short), true, "at least raw::WORKSPACE");
    refused(&given, TensorAmax::Given, false, "no memory for it");
    let mxfp4 = Quantize::new(Profile::default_for(Format::MXFP4));
    refused(&mxfp4, TensorAmax::Given, true, "no tensor scale");

    // A workspace is aligned further than its bytes are.
    let mut off = workspace.slice_mut(4..);
    let mut parts = Parts::of(&device, &missing.run(&[1.0f32; 128], &SHAPE).unwrap());
    let (to, _) = parts.to();
    let amax = TensorAmax::Computed(&mut off);
    let error = device.quantize_into(&missing, &x, &SHAPE, amax, to).unwrap_err();
    assert!(matches!(error, CudaError::Misaligned { alignment: 256, .. }), "{error}");
}

#[test]
fn buffers_that_share_bytes_are_refused() {
    let Some(device) = device() else { return };
    let memory = device.upload(&[0u8; 4096]).unwrap();
    let start = address(&device, &memory);
    let quantize = nvfp4();
    // Where x (512 bytes), the amax, the codes (64), the scales (8) and the tensor scale lie.
    let run = |at: [u64; 5]| {
        // SAFETY: the memory lives on. That two are exclusive is a broken promise in some calls,
        // which must be noticed before anything is launched.
        unsafe {
            let x = device.borrow::<f32>(start + at[0], 128).unwrap();
            let amax = device.borrow::<f32>(start + at[1], 1).unwrap();
            let mut codes = device.borrow_mut::<u8>(start + at[2], 64).unwrap();
            let mut scales = device.borrow_mut::<u8>(start + at[3], 8).unwrap();
            let mut scale = device.borrow_mut::<f32>(start + at[4], 1).unwrap();
            let to = QuantizedMut {
                codes: &mut codes,
                scales: &mut scales,
                tensor_scale: Some(&mut scale),
                status: None,
            };
            device.quantize_into(&quantize, &x, &SHAPE, TensorAmax::Device(&amax), to)
        }
    };
    // Wall to wall is apart, and inputs may be one.
    assert_eq!(run([0, 512, 516, 580, 588]), Ok(()));
    assert_eq!(run([0, 508, 516, 580, 588]), Ok(()));
    let names = ["x", "the tensor amax", "the codes", "the scales", "the tensor scale"];
    let sizes = [512u64, 4, 64, 8, 4];
    for first in 0..5 {
        for second in first.max(1) + 1..5 {
            for ahead in [true, false] {
                let mut at = [0, 1000, 2000, 3000, 3500];
                // The last byte of one is the first of the other, as far as alignment goes.
                at[second] = match ahead {
                    true => (at[first] + sizes[first] - 1) & !3,
                    false if first == 0 => continue,
                    false => (at[first] - sizes[second] + 1).next_multiple_of(4),
                };
                let expected = CudaError::Overlap(names[first], names[second]);
                assert_eq!(run(at), Err(expected), "{at:?}");
            }
        }
    }
    // Of dequantize: y with codes.
    let mut y = device.upload(&[0.0f32; 128]).unwrap();
    let q = device.quantize(&quantize, &y, &SHAPE).unwrap();
    let start = address(&device, &y);
    // SAFETY: the memory lives on; the broken promise is noticed.
    let codes = unsafe { device.borrow::<u8>(start + 448, 64).unwrap() };
    let mut parts = q.parts();
    parts.codes = &codes;
    let error = device.dequantize_into::<f32>(parts, &mut y).unwrap_err();
    assert_eq!(error, CudaError::Overlap("the codes", "y"));
}

#[test]
fn more_memory_than_there_is_is_a_typed_error() {
    let Some(device) = device() else { return };
    let quantize = Quantize::new(Profile::default_for(Format::MXFP4));
    let x = device.upload(&[1.0f32; 32]).unwrap();
    // One row again and again: only the output is large.
    let shape = [1 << 42, 1, 32];
    let repeated = Strided::new(&shape).batch_stride(0);
    let error = device.quantize(&quantize, &x, repeated).unwrap_err();
    assert_eq!(error, CudaError::OutOfMemory { bytes: (1 << 42) * 16 });
    let error = device.zeros(quantize.profile(), Blocks::Row, &shape).unwrap_err();
    assert_eq!(error, CudaError::OutOfMemory { bytes: (1 << 42) * 16 });
    assert!(matches!(device.pinned::<f32>(1 << 50), Err(CudaError::OutOfMemory { .. })));
    // The device is none the worse for it.
    let q = device.quantize(&quantize, &x, &[32]).unwrap();
    assert_eq!(q.download().unwrap(), quantize.run(&[1.0f32; 32], &[32]).unwrap());
}
