//! Every case, and how its bytes are compared with the host's.

mod amax;
mod dequantize;
mod grouped;
mod quantize;
mod relayout;

use crate::Result;
use crate::measure::Bench;
use blockscale::cuda::{Device, DeviceReal};
use cudarc::driver::{DevicePtr, DeviceRepr};
use half::{bf16, f16};
use std::ops::Range;

/// Rows that are compared at each end of a tensor: a tile of scales.
const COMPARED: usize = 128;

pub fn all(bench: &mut Bench) -> Result<()> {
    of_type::<f32>(bench, "f32")?;
    of_type::<bf16>(bench, "bf16")?;
    of_type::<f16>(bench, "f16")?;
    relayout::cases(bench)
}

fn of_type<T: DeviceReal>(bench: &mut Bench, dtype: &'static str) -> Result<()> {
    amax::cases::<T>(bench, dtype)?;
    quantize::cases::<T>(bench, dtype)?;
    dequantize::cases::<T>(bench, dtype)?;
    grouped::cases::<T>(bench, dtype)
}

/// The first and the last rows of so many.
fn ends(rows: usize) -> impl Iterator<Item = Range<usize>> {
    let first = 0..rows.min(COMPARED);
    let last = rows.saturating_sub(COMPARED).max(first.end)..rows;
    [first, last].into_iter().filter(|range| !range.is_empty())
}

/// Where those rows of set `set` lie among sets of `all` rows of `width` values.
fn of_rows(set: usize, all: usize, rows: &Range<usize>, width: usize) -> Range<usize> {
    (set * all + rows.start) * width..(set * all + rows.end) * width
}

/// Where set `set` lies among sets of `len` values.
fn of_set(set: usize, len: usize) -> Range<usize> {
    set * len..(set + 1) * len
}

/// What lies there.
fn read<T: DeviceRepr>(device: &Device, memory: &impl DevicePtr<T>) -> Result<Vec<T>> {
    Ok(device.stream().clone_dtoh(memory)?)
}

/// Fails where bytes differ.
fn same(what: &str, got: &[u8], expected: &[u8]) -> Result<()> {
    if got.len() != expected.len() {
        return Err(format!("{what}: {} bytes, not {}", got.len(), expected.len()).into());
    }
    match got.iter().zip(expected).position(|(got, expected)| got != expected) {
        None => Ok(()),
        Some(at) => {
            Err(format!("{what}: byte {at} is {:#04x}, not {:#04x}", got[at], expected[at]).into())
        }
    }
}

/// Fails where values differ in a bit.
fn same_values<T: DeviceReal>(what: &str, got: &[T], expected: &[T]) -> Result<()> {
    let bytes = |values: &[T]| -> Vec<u8> {
        values.iter().flat_map(|value| value.to_f32().to_bits().to_le_bytes()).collect()
    };
    same(what, &bytes(got), &bytes(expected))
}
