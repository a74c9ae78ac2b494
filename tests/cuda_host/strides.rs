//! Inputs with gaps between rows and matrices.

use crate::support::*;
use blockscale::cuda::{Device, DeviceReal, Strided};
use blockscale::format::Format;
use blockscale::numerics::Profile;
use blockscale::{Backend, Blocks, Quantize};
use half::{bf16, f16};

/// Shape, row stride, batch stride.
type Case = (&'static [usize], Option<usize>, Option<usize>);

const CASES: [Case; 9] = [
    (&[5, 48], Some(64), None),
    (&[17, 33], Some(40), None),
    (&[1, 20], Some(3), None), // one row: its stride does not matter
    (&[3, 4, 32], Some(40), Some(200)),
    (&[3, 4, 32], None, Some(131)),
    (&[2, 2, 3, 16], Some(16), Some(64)),
    (&[4, 6, 16], Some(64), Some(16)), // heads beside each other in a row of tokens
    (&[3, 2, 16], None, Some(0)),      // one matrix three times
    (&[2, 0, 16], Some(99), Some(7)),
];

/// The elements of the case, one after the other.
fn gathered<T: Copy>(memory: &[T], (shape, row_stride, batch_stride): Case) -> Vec<T> {
    let [batches @ .., rows, k] = shape else { panic!("{shape:?}") };
    let row_stride = row_stride.unwrap_or(*k);
    let batch_stride = batch_stride.unwrap_or(rows * row_stride);
    let starts = (0..batches.iter().product())
        .flat_map(|batch| (0..*rows).map(move |row| batch * batch_stride + row * row_stride));
    starts.flat_map(|start| &memory[start..start + k]).copied().collect()
}

fn strided((shape, row_stride, batch_stride): Case) -> Strided<'static> {
    let strided = Strided::new(shape);
    let strided = row_stride.map_or(strided, |stride| strided.row_stride(stride));
    batch_stride.map_or(strided, |stride| strided.batch_stride(stride))
}

fn compare<T: DeviceReal>(device: &Device, quantize: &Quantize, case: Case, seed: u32) {
    // Values of the case, NaN in the gaps: reading one would be seen.
    let len = strided(case).elements_spanned().unwrap() + 5;
    let indices = gathered(&(0..len).collect::<Vec<_>>(), case);
    let mut memory = vec![T::from_f32(f32::NAN); len];
    for (at, value) in indices.iter().zip(values::<T>(indices.len(), seed)) {
        memory[*at] = value;
    }
    let x = gathered(&memory, case);
    let expected = quantize.backend(Backend::Reference).run(&x, case.0).unwrap();
    let uploaded = device.upload(&memory).unwrap();
    let label = format!("{} {} {case:?}", quantize.profile().format(), quantize.profile());
    let got = device.quantize(quantize, &uploaded, strided(case)).unwrap();
    assert_eq!(got.download().unwrap(), expected, "{label}");
    // Exactly as much memory as the case spans will do, and no element less.
    let spanned = uploaded.slice(..len - 5);
    let got = device.quantize(quantize, &spanned, strided(case)).unwrap();
    assert_eq!(got.download().unwrap(), expected, "{label}");
    if !x.is_empty() {
        let short = uploaded.slice(..len - 6);
        assert!(device.quantize(quantize, &short, strided(case)).is_err(), "{label}");
    }
    let amax = device.amax(quantize.profile(), &uploaded, strided(case)).unwrap();
    assert_eq!(read(device, &amax)[0].to_bits(), blockscale::amax(&x).to_bits(), "{label}");
}

#[test]
fn gaps_are_skipped() {
    let Some(device) = device() else { return };
    for (seed, quantize) in quantizations().iter().enumerate() {
        for case in CASES {
            let tiles = quantize.profile().format().block() == 16 && seed % 2 == 0;
            let quantize = quantize.blocks(if tiles { Blocks::Tile } else { Blocks::Row });
            match seed % 3 {
                0 => compare::<f32>(&device, &quantize, case, seed as u32),
                1 => compare::<bf16>(&device, &quantize, case, seed as u32),
                _ => compare::<f16>(&device, &quantize, case, seed as u32),
            }
        }
    }
}

#[test]
fn every_type_and_every_stride_meet() {
    let Some(device) = device() else { return };
    let quantize = Quantize::new(Profile::default_for(Format::NVFP4));
    for case in CASES {
        compare::<f32>(&device, &quantize, case, 91);
        compare::<bf16>(&device, &quantize, case, 92);
        compare::<f16>(&device, &quantize, case, 93);
    }
}
