//! Names of formats and profiles, and the parts of a tensor: refused with an error or sound.
#![no_main]

use blockscale::numerics::TensorScale;
use blockscale::{Error, QuantizedTensor};
use blockscale_fuzz::{Numerics, exercise, told};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    numerics: Numerics<'a>,
    shape: Vec<Axis>,
    tensor_scale: Option<(u8, f32)>,
    /// Gives the parts the lengths that the shape needs.
    fit: bool,
    codes: &'a [u8],
    scales: &'a [u8],
}

#[derive(Arbitrary, Debug)]
enum Axis {
    Small(u8),
    Any(usize),
}

fuzz_target!(|input: Input<'_>| {
    let Some(profile) = input.numerics.profile() else { return };
    let axis = |axis: &Axis| match *axis {
        Axis::Small(n) => usize::from(n),
        Axis::Any(n) => n,
    };
    let shape: Vec<usize> = input.shape.iter().map(axis).collect();
    let tensor_scale = input.tensor_scale.map(|(kind, value)| match kind % 3 {
        0 => TensorScale::Amax(value),
        1 => TensorScale::Decode(value),
        _ => TensorScale::Encode(value),
    });
    let (mut codes, mut scales) = (input.codes.to_vec(), input.scales.to_vec());
    let blocks = input.numerics.blocks();
    loop {
        let (codes_, scales_) = (codes.as_slice(), scales.as_slice());
        match QuantizedTensor::from_parts(profile, blocks, &shape, codes_, scales_, tensor_scale) {
            Err(Error::WrongLength { what, expected, .. }) if input.fit && expected < 1 << 12 => {
                let part = if what == "the codes" { &mut codes } else { &mut scales };
                part.resize(expected, 0);
            }
            result => {
                if let Some(tensor) = told(result) {
                    exercise(&tensor);
                    exercise(&tensor.view());
                }
                return;
            }
        }
    }
});
