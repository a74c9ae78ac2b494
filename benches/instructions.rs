//! One operation, once, for scripts/instructions to count the instructions of.
//!
//! ```text
//! instructions OPERATION FORMAT ROUNDING TYPE    e.g. quantize nvfp4 nearest f32, amax - - bf16
//! ```
//!
//! Only what `measured` calls is of interest. The level is that of `BLOCKSCALE_CPU_LEVEL`. Without
//! arguments (`cargo test --benches`) it does nothing.
#![allow(unsafe_code)] // a name for the counter to find

use blockscale::format::Format;
use blockscale::numerics::{Profile, Rounding, Stochastic};
use blockscale::{Cpu, Level, Quantize, Real, amax, amax_with};
use half::bf16;
use std::hint::black_box;
use std::num::NonZeroUsize;

const SHAPE: [usize; 2] = [4, 4096];

/// What is counted begins and ends with it.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
#[inline(never)]
fn measured(work: &mut dyn FnMut()) {
    work();
}

fn run<T: Real>(operation: &str, format: &str, rounding: &str) -> Result<(), String> {
    let value = |i: usize| (i as f32 * 0.37).sin() * (i as f32 * 0.011).cos();
    let x: Vec<T> = (0..SHAPE.iter().product()).map(|i| T::from_f32(value(i))).collect();
    let cpu = Cpu::new().threads(NonZeroUsize::MIN);
    if operation == "amax" {
        measured(&mut || _ = black_box(amax_with(black_box(&x), cpu)));
        return Ok(());
    }
    let text = |error: blockscale::Error| error.to_string();
    let profile = Profile::default_for(format.parse::<Format>().map_err(text)?);
    let mut quantize = Quantize::new(profile).backend(cpu);
    if rounding == "stochastic" {
        quantize = quantize.rounding(Rounding::Stochastic(Stochastic::new(7, "instructions")));
    }
    if profile.tensor_scale_name().is_some() {
        quantize = quantize.tensor_amax(amax(&x));
    }
    let [mut codes, mut scales] = quantize.output_bytes(&SHAPE).map_err(text)?.map(|n| vec![0; n]);
    let mut result = Ok(());
    if operation == "quantize" {
        measured(&mut || {
            result = quantize.run_into(black_box(&x), &SHAPE, &mut codes, &mut scales).map(drop);
        });
        return result.map_err(text);
    }
    let tensor = quantize.run_into(&x, &SHAPE, &mut codes, &mut scales).map_err(text)?;
    let mut values = x.clone();
    measured(&mut || result = black_box(&tensor).dequantize_into(cpu, &mut values));
    result.map_err(text)
}

fn main() -> Result<(), String> {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|text| text != "--bench").collect();
    let [operation, format, rounding, float] = arguments.as_slice() else { return Ok(()) };
    Level::from_environment().map_err(|error| error.to_string())?;
    match float.as_str() {
        "bf16" => run::<bf16>(operation, format, rounding)?,
        _ => run::<f32>(operation, format, rounding)?,
    }
    println!("{} {}", Cpu::new().chosen_level(), SHAPE.iter().product::<usize>());
    Ok(())
}
