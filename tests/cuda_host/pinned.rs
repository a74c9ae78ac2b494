//! Page-locked host memory.

use crate::support::*;
use blockscale::Error;
use blockscale::cuda::CudaError;

#[test]
fn pinned_memory_goes_there_and_back() {
    let Some(device) = device() else { return };
    let x: Vec<f32> = values(300, 2);
    let mut from = device.pinned::<f32>(300).unwrap();
    assert_eq!(from.as_slice().unwrap(), [0.0; 300]);
    from.as_mut_slice().unwrap().copy_from_slice(&x);
    let mut uploaded = device.upload(&from).unwrap();
    let mut to = device.pinned::<f32>(300).unwrap();
    device.download_into(&uploaded, &mut to).unwrap();
    assert_eq!(to.as_slice().unwrap(), x);
    from.as_mut_slice().unwrap().reverse();
    device.upload_into(&from, &mut uploaded).unwrap();
    device.download_into(&uploaded, &mut to).unwrap();
    let reversed: Vec<f32> = x.iter().rev().copied().collect();
    assert_eq!(to.as_slice().unwrap(), reversed);
    // A view of the device's, and plain memory of the host.
    device.upload_into(&x[..100], &mut uploaded.slice_mut(200..)).unwrap();
    let mut plain = vec![0.0f32; 200];
    device.download_into(&uploaded.slice(100..), &mut plain).unwrap();
    assert_eq!((&plain[..100], &plain[100..]), (&reversed[100..200], &x[..100]));
}

#[test]
fn tensors_are_downloaded_beside_other_work() {
    let Some(device) = device() else { return };
    for quantize in quantizations() {
        for shape in [[5, 48], [0, 48]] {
            let x: Vec<f32> = values(shape[0] * 48, 9);
            let expected = quantize.run(&x, &shape).unwrap();
            let on_device = device.upload_tensor(&expected).unwrap();
            let (got, on_device) = on_device.start_download().unwrap().finish().unwrap();
            assert_eq!(got, expected);
            assert_eq!(on_device.download().unwrap(), expected);
        }
    }
}

#[test]
fn lengths_must_agree() {
    let Some(device) = device() else { return };
    let mut pinned = device.pinned::<f32>(4).unwrap();
    let mut there = device.upload(&[0.0f32; 5]).unwrap();
    let wrong = |result: Result<(), CudaError>| {
        assert!(matches!(result, Err(CudaError::Argument(Error::WrongLength { .. }))));
    };
    wrong(device.upload_into(&pinned, &mut there));
    wrong(device.download_into(&there, &mut pinned));
    wrong(device.upload_into(&[0.0f32; 6], &mut there));
    wrong(device.download_into(&there, &mut vec![0.0f32; 6]));
    assert!(matches!(device.pinned::<f32>(0), Err(CudaError::Argument(_))));
    assert!(matches!(device.pinned::<f32>(usize::MAX / 2), Err(CudaError::Argument(_))));
}
