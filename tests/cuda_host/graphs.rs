//! Verbs captured into a graph and launched again with other inputs.

use crate::support::*;
use blockscale::cuda::raw::WORKSPACE;
use blockscale::cuda::{
    CudaError, Device, GroupRows, GroupedMut, QuantizedMut, QuantizedRef, TensorAmax,
};
use blockscale::format::Format;
use blockscale::layout::Tiled128x4;
use blockscale::numerics::Profile;
use blockscale::{Backend, Quantize};
use cudarc::driver::CudaGraph;
use cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};

const SHAPE: [usize; 2] = [7, 48];

/// What `work` puts on the device's stream, as a graph.
fn capture(device: &Device, work: impl FnOnce()) -> CudaGraph {
    let stream = device.stream();
    stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).unwrap();
    work();
    stream.end_capture(CUgraphInstantiate_flags(0)).unwrap().unwrap()
}

#[test]
fn a_graph_reads_its_inputs_again_at_every_launch() {
    let Some(device) = untracked_device() else { return };
    for quantize in quantizations() {
        let (first, profile) = (values::<f32>(336, 0), quantize.profile());
        let expected = quantize.run(&first, &SHAPE).unwrap();
        let mut x = device.upload(&first).unwrap();
        let mut amax = device.upload(&[1.0f32]).unwrap();
        let mut y = device.upload(&[f32::NAN; 336]).unwrap();
        let (mut computed, mut given) =
            (Parts::of(&device, &expected), Parts::of(&device, &expected));
        let graph = capture(&device, || {
            let stores = profile.tensor_scale_name().is_some();
            let (to, workspace) = computed.to();
            let source = if stores { TensorAmax::Computed(workspace) } else { TensorAmax::Given };
            device.quantize_into(&quantize, &x, &SHAPE, source, to).unwrap();
            let (to, _) = given.to();
            device.quantize_into(&quantize, &x, &SHAPE, TensorAmax::Device(&amax), to).unwrap();
            device.dequantize_into(given.from(profile, &SHAPE), &mut y).unwrap();
        });
        // A capture runs nothing.
        assert!(read(&device, &y).iter().all(|y| y.is_nan()));
        for (seed, scale) in [(0, 1.0f32), (1, 64.0), (2, 0.0), (1, 64.0)] {
            let values: Vec<f32> = values(336, seed);
            device.upload_into(&values, &mut x).unwrap();
            device.upload_into(&[scale], &mut amax).unwrap();
            graph.launch().unwrap();
            let quantize = quantize.backend(Backend::Reference);
            computed.hold(&device, &quantize.run(&values, &SHAPE).unwrap());
            let expected = quantize.tensor_amax(scale).run(&values, &SHAPE).unwrap();
            given.hold(&device, &expected);
            let decoded = expected.dequantize_with::<f32>(Backend::Reference);
            let bits = |y: &[f32]| y.iter().map(|y| y.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&read(&device, &y)), bits(&decoded), "{profile} {seed}");
        }
    }
}

#[test]
fn tensors_of_the_device_are_captured_too() {
    let Some(device) = untracked_device() else { return };
    let quantize = Quantize::new(Profile::default_for(Format::NVFP4));
    let mut x = device.upload(&values::<f32>(336, 0)).unwrap();
    let mut workspace = device.upload(&[0u8; WORKSPACE]).unwrap();
    let mut q = device.zeros(quantize.profile(), Default::default(), &SHAPE).unwrap();
    let mut y = device.upload(&[f32::NAN; 336]).unwrap();
    let graph = capture(&device, || {
        q.overwrite(&quantize, &x, &SHAPE, TensorAmax::Computed(&mut workspace)).unwrap();
        q.dequantize_into(&mut y).unwrap();
    });
    for seed in 1..4 {
        let values: Vec<f32> = values(336, seed);
        device.upload_into(&values, &mut x).unwrap();
        graph.launch().unwrap();
        let expected = quantize.run(&values, &SHAPE).unwrap();
        assert_eq!(q.download().unwrap(), expected);
        assert_eq!(read(&device, &y), expected.dequantize::<f32>());
    }
}

/// Borrowed memory has no events, so a context that tracks them may capture its uses.
#[test]
fn events_and_captures_do_not_go_together() {
    let Some(device) = device() else { return };
    let quantize = Quantize::new(Profile::default_for(Format::MXFP4));
    let first = values::<f32>(336, 0);
    let expected = quantize.run(&first, &SHAPE).unwrap();
    let (mut x, mut parts) = (device.upload(&first).unwrap(), Parts::of(&device, &expected));
    let (code_bytes, scale_bytes) = (parts.codes.len(), parts.scales.len());
    let pointers =
        (address(&device, &x), address(&device, &parts.codes), address(&device, &parts.scales));
    device.stream().synchronize().unwrap();
    let graph = capture(&device, || {
        let (to, _) = parts.to();
        let error = device.quantize_into(&quantize, &x, &SHAPE, TensorAmax::Given, to).unwrap_err();
        assert_eq!(error, CudaError::TrackedInCapture { what: "x" });
        let mut y = device_memory(&device, pointers.0);
        let from = QuantizedRef {
            profile: quantize.profile(),
            shape: &SHAPE,
            codes: &parts.codes,
            scales: &parts.scales,
            tensor_scale: None,
        };
        let error = device.dequantize_into::<f32>(from, &mut y).unwrap_err();
        assert_eq!(error, CudaError::TrackedInCapture { what: "the codes" });
        // The refusals did not spoil the capture.
        // SAFETY: the slices live on, and are not used in this call.
        unsafe {
            let x = device.borrow::<f32>(pointers.0, 336).unwrap();
            let mut codes = device.borrow_mut::<u8>(pointers.1, code_bytes).unwrap();
            let mut scales = device.borrow_mut::<u8>(pointers.2, scale_bytes).unwrap();
            let to = QuantizedMut {
                codes: &mut codes,
                scales: &mut scales,
                tensor_scale: None,
                status: None,
            };
            device.quantize_into(&quantize, &x, &SHAPE, TensorAmax::Given, to).unwrap();
        }
    });
    for seed in 0..3 {
        let values: Vec<f32> = values(336, seed);
        device.upload_into(&values, &mut x).unwrap();
        graph.launch().unwrap();
        parts.hold(&device, &quantize.run(&values, &SHAPE).unwrap());
    }
}

/// Memory nodes, and addresses of the host that a launch would find gone.
#[test]
fn nothing_that_a_graph_must_not_hold_gets_into_it() {
    let Some(device) = untracked_device() else { return };
    let quantize = Quantize::new(Profile::default_for(Format::NVFP4));
    let mut x = device.upload(&values::<f32>(336, 0)).unwrap();
    let q = device.quantize(&quantize, &x, &SHAPE).unwrap();
    let tiled = q.scales_in::<Tiled128x4>().unwrap();
    let mut y = device.upload(&[1.0f32; 336]).unwrap();
    let graph = capture(&device, || {
        let refused = |error: CudaError, expected: &str| match error {
            CudaError::InCapture { what, .. } => assert_eq!(what, expected),
            other => panic!("{other}"),
        };
        refused(device.upload(&[0.0f32]).unwrap_err(), "an upload");
        refused(device.upload_into(&[0.0f32; 336], &mut x).unwrap_err(), "an upload");
        refused(
            device.upload_tensor(&quantize.run(&[0.5f32; 16], &[16]).unwrap()).unwrap_err(),
            "an upload",
        );
        refused(device.download_into(&x, &mut vec![0.0f32; 336]).unwrap_err(), "a download");
        refused(q.download().unwrap_err(), "a download");
        refused(tiled.download().unwrap_err(), "a download");
        refused(device.quantize(&quantize, &x, &SHAPE).unwrap_err(), "an allocation");
        refused(device.amax(quantize.profile(), &x, &SHAPE).unwrap_err(), "an allocation");
        refused(q.dequantize::<f32>().unwrap_err(), "an allocation");
        refused(q.scales_in::<Tiled128x4>().unwrap_err(), "an allocation");
        // The refusals did not spoil the capture.
        q.dequantize_into(&mut y).unwrap();
    });
    graph.launch().unwrap();
    assert_eq!(read(&device, &y), q.download().unwrap().dequantize::<f32>());
}

fn device_memory(
    device: &Device,
    pointer: u64,
) -> blockscale::cuda::BorrowedDeviceMut<'static, f32> {
    // SAFETY: the memory lives for the test, and the call is refused.
    unsafe { device.borrow_mut(pointer, 336).unwrap() }
}

/// Sizes of groups are read when the graph runs, not when it was captured.
#[test]
fn a_graph_reads_the_sizes_of_groups_again() {
    let Some(device) = untracked_device() else { return };
    const SHAPE: [usize; 2] = [40, 64];
    let profile = Profile::default_for(Format::NVFP4);
    let quantize = Quantize::new(profile);
    let x: Vec<f32> = values(40 * 64, 3);
    let on_device = device.upload(&x).unwrap();
    let mut first_rows = device.upload(&[0u32; 3]).unwrap();
    let mut counts = device.upload(&[0u32; 3]).unwrap();
    let mut codes = device.upload(&[0u8; 40 * 32]).unwrap();
    let mut scales = device.upload(&[0u8; 384 * 4]).unwrap();
    let mut scale_rows = device.upload(&[0u32; 4]).unwrap();
    let mut tensor_scales = device.upload(&[0f32; 3]).unwrap();
    let mut workspace = device.upload(&[0u8; WORKSPACE]).unwrap();
    let graph = capture(&device, || {
        let groups = GroupRows { first_rows: &first_rows, counts: &counts };
        let to = GroupedMut {
            codes: &mut codes,
            scales: &mut scales,
            scale_rows: &mut scale_rows,
            tensor_scales: Some(&mut tensor_scales),
            status: None,
        };
        let amax = TensorAmax::Computed(&mut workspace);
        device
            .quantize_grouped_into::<Tiled128x4, f32>(
                &quantize, &on_device, &SHAPE, groups, amax, to,
            )
            .unwrap();
    });
    for groups in
        [[(0u32, 10u32), (10, 0), (10, 30)], [(0, 0), (3, 1), (4, 2)], [(0, 40), (40, 0), (40, 0)]]
    {
        device.upload_into(&groups.map(|(first, _)| first), &mut first_rows).unwrap();
        device.upload_into(&groups.map(|(_, count)| count), &mut counts).unwrap();
        graph.launch().unwrap();
        let (codes, scales) = (read(&device, &codes), read(&device, &scales));
        let begins = read(&device, &scale_rows);
        for (g, (first, count)) in groups.into_iter().enumerate() {
            let (first, count) = (first as usize, count as usize);
            let expected = quantize.run(&x[first * 64..][..count * 64], &[count, 64]).unwrap();
            assert_eq!(&codes[first * 32..][..count * 32], expected.codes().as_bytes(), "{g}");
            let tiled = expected.scales().relayout::<Tiled128x4>().unwrap();
            let found = &scales[begins[g] as usize * 4..][..tiled.as_bytes().len()];
            assert_eq!(found, tiled.as_bytes(), "{g}");
        }
    }
}
