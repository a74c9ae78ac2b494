//! Any floats under any profile: the backends agree, and what they write is a valid tensor.
#![no_main]

use blockscale::numerics::{DrawBits, Profile, Rounding, Stochastic};
use blockscale::{Backend, Error, Quantize, QuantizedTensor, Real, Result};
use blockscale_fuzz::{Numerics, exercise, told};
use half::{bf16, f16};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    numerics: Numerics<'a>,
    draws: Option<Draws<'a>>,
    amax: Option<f32>,
    unbiased: bool,
    source: Source,
    batches: u8,
    rows: u8,
    k: u8,
    values: &'a [u8],
}

#[derive(Arbitrary, Debug)]
struct Draws<'a> {
    seed: u64,
    name: &'a str,
    sixteen: bool,
    stream: u32,
    step: u32,
    offset: Option<(u64, u64)>,
}

#[derive(Arbitrary, Debug, PartialEq)]
enum Source {
    F32,
    Bf16,
    F16,
}

fuzz_target!(|input: Input<'_>| {
    let Some(profile) = input.numerics.profile() else { return };
    let mut quantize = Quantize::new(profile).blocks(input.numerics.blocks());
    if let Some(draws) = &input.draws {
        let bits = if draws.sixteen { DrawBits::Sixteen } else { DrawBits::Eight };
        let (row, column) = draws.offset.unwrap_or_default();
        let stochastic = Stochastic::new(draws.seed, draws.name)
            .with_bits(bits)
            .with_stream(draws.stream)
            .with_step(draws.step)
            .with_offset(row, column);
        quantize = quantize.rounding(Rounding::Stochastic(stochastic));
    }
    if let Some(amax) = input.amax {
        quantize = quantize.tensor_amax(amax);
    }
    if input.unbiased {
        quantize = quantize.unbiased();
    }
    let shape = [input.batches % 4, input.rows % 64, input.k].map(usize::from);
    let n = shape.iter().product::<usize>().min(1 << 12);
    let mut bytes = input.values.iter().copied().cycle();
    let plain = input.draws.is_none() && input.amax.is_none();
    match input.source {
        Source::F32 => {
            let x: Vec<f32> = (0..n).map(|_| f32::from_le_bytes(word(&mut bytes))).collect();
            check(&quantize, &x, &shape, plain.then_some(profile));
        }
        Source::Bf16 => {
            let x: Vec<bf16> = (0..n).map(|_| bf16::from_le_bytes(word(&mut bytes))).collect();
            check(&quantize, &x, &shape, None);
        }
        Source::F16 => {
            let x: Vec<f16> = (0..n).map(|_| f16::from_le_bytes(word(&mut bytes))).collect();
            check(&quantize, &x, &shape, None);
        }
    }
});

/// Every promise about one call; with `stable` that of doing it twice, too.
fn check<T: Real>(quantize: &Quantize, x: &[T], shape: &[usize], stable: Option<Profile>) {
    let specified = quantize.backend(Backend::Reference).run(x, shape);
    let fast = quantize.backend(Backend::default()).run(x, shape);
    assert_eq!(bytes(&specified), bytes(&fast));
    let Some(q) = told(specified) else { return };
    let (codes, scales) = (q.codes().as_bytes(), q.scales().as_bytes());
    let (profile, scale) = (*q.profile(), q.tensor_scale());
    QuantizedTensor::from_parts(profile, q.blocks(), shape, codes, scales, scale).unwrap();
    exercise(&q);

    // A floor never moves the largest element out of its binade, so nothing changes any more.
    let floor = |p: &Profile| p.to_string() == "ocp" || p.to_string() == "even";
    if stable.is_some_and(|profile| floor(&profile)) {
        let again = quantize.run(&q.dequantize::<f32>(), shape);
        assert_eq!(bytes(&again), bytes(&Ok(q)));
    }
}

fn word<const N: usize>(bytes: &mut impl Iterator<Item = u8>) -> [u8; N] {
    std::array::from_fn(|_| bytes.next().unwrap_or(0))
}

/// What is stored; NaN is a number here.
fn bytes(q: &Result<QuantizedTensor>) -> std::result::Result<(Vec<u8>, Vec<u8>, Option<u32>), &Error> {
    let scale = |q: &QuantizedTensor| q.tensor_scale().map(|scale| scale.value().to_bits());
    let parts = |q: &QuantizedTensor| (q.codes().as_bytes().to_vec(), q.scales().as_bytes().to_vec(), scale(q));
    q.as_ref().map(parts)
}
