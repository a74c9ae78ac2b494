//! Memory of other owners.

use crate::support::*;
use blockscale::cuda::raw::WORKSPACE;
use blockscale::cuda::{CudaError, Device, QuantizedMut, QuantizedRef, TensorAmax};
use blockscale::format::Format;
use blockscale::numerics::{Profile, TensorScale};
use blockscale::{Backend, Error, Quantize};
use cudarc::driver::{CudaContext, CudaSlice, DeviceSlice};
use half::{bf16, f16};

const SHAPE: [usize; 2] = [6, 40];

/// One allocation of another owner, and where its parts lie.
struct Foreign {
    memory: CudaSlice<u8>,
    start: u64,
}

impl Foreign {
    fn new(device: &Device, bytes: usize) -> Self {
        let memory = device.upload(&vec![0xa5u8; bytes]).unwrap();
        let start = address(device, &memory);
        Self { memory, start }
    }
}

#[test]
fn borrowed_memory_is_read_and_written() {
    let Some(device) = device() else { return };
    for quantize in quantizations() {
        let x: Vec<bf16> = values(240, 8);
        let expected = quantize.backend(Backend::Reference).run(&x, &SHAPE).unwrap();
        let (codes, scales) = (expected.codes().as_bytes(), expected.scales().as_bytes());
        let input = device.upload(&x).unwrap();
        let foreign = Foreign::new(&device, 4096);
        let at = |offset: usize| foreign.start + offset as u64;
        // The parts lie wall to wall, the codes at an odd address.
        let (scales_at, scale_at) = (1025 + codes.len(), 4092);
        let stored = expected.tensor_scale().map(TensorScale::value);
        {
            // SAFETY: `input` and `foreign` live on, and the parts do not overlap.
            let (x, mut workspace, mut codes, mut scales, mut scale) = unsafe {
                (
                    device.borrow::<bf16>(address(&device, &input), 240).unwrap(),
                    device.borrow_mut::<u8>(at(256), WORKSPACE).unwrap(),
                    device.borrow_mut::<u8>(at(1025), codes.len()).unwrap(),
                    device.borrow_mut::<u8>(at(scales_at), scales.len()).unwrap(),
                    device.borrow_mut::<f32>(at(scale_at), 1).unwrap(),
                )
            };
            assert_eq!((x.len(), x.num_bytes()), (240, 480));
            let to = QuantizedMut {
                codes: &mut codes,
                scales: &mut scales,
                tensor_scale: stored.map(|_| &mut scale as _),
                status: None,
            };
            let amax = match stored {
                Some(_) => TensorAmax::Computed(&mut workspace),
                None => TensorAmax::Given,
            };
            device.quantize_into(&quantize, &x, &SHAPE, amax, to).unwrap();
            let from = QuantizedRef {
                profile: quantize.profile(),
                shape: &SHAPE,
                codes: &codes,
                scales: &scales,
                tensor_scale: stored.map(|_| &scale as _),
            };
            let mut y = device.upload(&[f16::NAN; 240]).unwrap();
            // SAFETY: `y` lives on, and nobody else uses it.
            let mut borrowed = unsafe { device.borrow_mut(address(&device, &y), 240).unwrap() };
            device.dequantize_into::<f16>(from, &mut borrowed).unwrap();
            assert_eq!(read(&device, &y), expected.dequantize_with::<f16>(Backend::Reference));
            device.dequantize_into::<f16>(from, &mut y).unwrap();
            assert_eq!(read(&device, &y), expected.dequantize_with::<f16>(Backend::Reference));
        }
        let bytes = read(&device, &foreign.memory);
        assert_eq!(&bytes[1025..scales_at], codes);
        assert_eq!(&bytes[scales_at..scales_at + scales.len()], scales);
        let written = f32::from_le_bytes(bytes[scale_at..].try_into().unwrap());
        assert!(stored.is_none_or(|stored| stored.to_bits() == written.to_bits()));
        // Nothing else was touched.
        let untouched = [&bytes[512..1025], &bytes[scales_at + scales.len()..scale_at]].concat();
        assert!(untouched.iter().all(|byte| *byte == 0xa5));
    }
}

#[test]
fn pointers_that_cannot_be_right_are_refused() {
    let Some(device) = device() else { return };
    let memory = device.upload(&[1.0f32; 64]).unwrap();
    let start = address(&device, &memory);
    // SAFETY: nothing is ever done with what is borrowed here.
    unsafe {
        for off in 1..4 {
            let error = device.borrow::<f32>(start + off, 4).unwrap_err();
            let (what, pointer) = ("borrowed memory", start + off);
            assert_eq!(error, CudaError::Misaligned { what, pointer, alignment: 4 });
        }
        assert!(device.borrow::<f16>(start + 1, 4).is_err());
        assert!(device.borrow_mut::<f16>(start + 1, 4).is_err());
        assert!(device.borrow::<f16>(start + 2, 4).is_ok());
        assert!(device.borrow::<u8>(start + 3, 4).is_ok());
        for unknown in [0, 8, u64::MAX - 63] {
            let error = device.borrow::<u8>(unknown, 1).unwrap_err();
            assert!(matches!(error, CudaError::Argument(Error::InvalidValue { .. })), "{error}");
        }
        for len in [usize::MAX, usize::MAX / 4, isize::MAX as usize / 2] {
            let error = device.borrow::<f32>(start, len).unwrap_err();
            assert!(matches!(error, CudaError::Argument(Error::Overflow { .. })), "{error}");
        }
        // Of nothing there is nothing to be wrong.
        assert!(device.borrow::<f32>(0, 0).is_ok());
    }
}

/// A context beside the primary one, which cudarc takes for that of device `ordinal`.
fn another_context(device: &Device, ordinal: usize) -> std::sync::Arc<CudaContext> {
    type Create = unsafe extern "C" fn(*mut usize, u32, i32) -> u32;
    let cu_device = device.stream().context().cu_device();
    let mut context = 0usize;
    // SAFETY: the driver is loaded and the signature is that of its manual; the context is new and
    // given away once.
    unsafe {
        let driver = libloading::Library::new("libcuda.so.1").unwrap();
        let create = driver.get::<Create>(b"cuCtxCreate_v2").unwrap();
        assert_eq!(create(&mut context, 0, cu_device), 0);
        std::mem::forget(driver);
        CudaContext::from_raw_context(ordinal, cu_device, context as _).unwrap()
    }
}

#[test]
fn memory_of_other_contexts_is_refused() {
    let Some(device) = device() else { return };
    let quantize = Quantize::new(Profile::default_for(Format::MXFP4));
    for (ordinal, same_device) in [(0, true), (1, false)] {
        let other = another_context(&device, ordinal);
        let stream = other.default_stream();
        let x = stream.clone_htod(&[1.0f32; 64]).unwrap();
        let expected = |what| match same_device {
            true => CudaError::WrongContext { what },
            false => CudaError::WrongDevice { what, given: 1, expected: 0 },
        };
        let error = device.quantize(&quantize, &x, &[2, 32]).unwrap_err();
        assert_eq!(error, expected("x"));
        assert_eq!(device.amax(quantize.profile(), &x, &[64]).unwrap_err(), expected("x"));
        let own = device.upload(&[1.0f32; 64]).unwrap();
        let amax = x.slice(..1);
        let error = device.quantize_with_amax(&quantize, &own, &[2, 32], &amax).unwrap_err();
        assert_eq!(error, expected("the tensor amax"));
        let mut y = stream.clone_htod(&[0.0f32; 64]).unwrap();
        let q = device.quantize(&quantize, &own, &[2, 32]).unwrap();
        assert_eq!(q.dequantize_into::<f32>(&mut y).unwrap_err(), expected("y"));
        assert_eq!(
            device.upload_into(&[0.0; 64], &mut y).unwrap_err(),
            expected("the destination")
        );
        let error = device.download_into(&y, &mut vec![0.0; 64]).unwrap_err();
        assert_eq!(error, expected("the source"));
    }
}
