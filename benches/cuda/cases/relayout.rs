//! Scales from one layout into another. The safe layer allocates what it returns, so this goes
//! through the raw one.

use super::{COMPARED, ends, of_rows, of_set, read, same};
use crate::Result;
use crate::measure::{Bench, Name, Size, Work, allocated, filled};
use blockscale::cuda::Device;
use blockscale::cuda::raw::Kernels;
use blockscale::layout::{Linear, ScaleLayout, Scales, Tiled8x4, Tiled128x4};
use cudarc::driver::{CudaSlice, DevicePtr, DevicePtrMut};
use std::marker::PhantomData;

/// Scales of a row: of 4096 elements in blocks of 16.
const COLUMNS: usize = 256;

struct Relayout<F, L> {
    device: Device,
    kernels: Kernels,
    rows: usize,
    from: CudaSlice<u8>,
    to: CudaSlice<u8>,
    layouts: PhantomData<(F, L)>,
}

impl<F: ScaleLayout, L: ScaleLayout> Work for Relayout<F, L> {
    fn launch(&mut self, set: usize) -> Result<()> {
        let range = of_set(set, self.rows * COLUMNS);
        let stream = self.device.stream();
        let (from, mut to) = (self.from.slice(range.clone()), self.to.slice_mut(range));
        let (from, _from) = from.device_ptr(stream);
        let (to, _to) = to.device_ptr_mut(stream);
        let (from, to) = ((from, F::TILE), (to, L::TILE));
        // SAFETY: both are live, distinct and of the size of their layouts, whose rows are whole
        // tiles; the kernels are of the context that made them current.
        unsafe {
            self.kernels.relayout_scales(1, self.rows, COLUMNS, from, to, stream.cu_stream())?;
        }
        Ok(())
    }

    /// Whole tiles of rows lie behind each other in every layout.
    fn check(&self, set: usize) -> Result<()> {
        for range in ends(self.rows) {
            let within = of_rows(set, self.rows, &range, COLUMNS);
            let from = read(&self.device, &self.from.slice(within.clone()))?;
            let to = read(&self.device, &self.to.slice(within))?;
            let from = Scales::<F>::new(from, 1, range.len(), COLUMNS)?;
            let expected = from.relayout::<L>()?;
            same(&format!("scales of rows {range:?}"), &to, expected.as_bytes())?;
        }
        Ok(())
    }
}

fn case<F: ScaleLayout, L: ScaleLayout>(bench: &mut Bench, detail: &'static str) -> Result<()> {
    let [format, profile] = ["scales", "-"].map(str::to_owned);
    let name = Name { verb: "relayout", format, profile, dtype: "-", rounding: "-", detail };
    if !bench.wants(&name) {
        return Ok(());
    }
    let rows = bench.arguments.bytes() / COLUMNS;
    assert!(rows.is_multiple_of(COMPARED), "whole tiles");
    let (device, bytes) = (bench.device.clone(), rows * COLUMNS);
    device.stream().context().bind_to_thread()?;
    let values = filled::<f32>(&device, 1, bytes / 4)?;
    // SAFETY: every bit pattern of f32 is four bytes.
    let values = unsafe { values.transmute::<u8>(bytes) }.ok_or("a view of the bytes")?;
    let mut from = allocated(&device, bench.sets * bytes)?;
    for set in 0..bench.sets {
        device.stream().memcpy_dtod(&values, &mut from.slice_mut(of_set(set, bytes)))?;
    }
    let mut work = Relayout::<F, L> {
        // SAFETY: the device's context was made current above, and `device` holds it.
        kernels: unsafe { Kernels::load(bench.machine.capability)? },
        rows,
        from,
        to: allocated(&device, bench.sets * bytes)?,
        device,
        layouts: PhantomData,
    };
    bench.measure(name, Size { elements: bytes, read: bytes, written: bytes }, &mut work)
}

pub fn cases(bench: &mut Bench) -> Result<()> {
    case::<Linear, Tiled128x4>(bench, "linear-to-128x4")?;
    case::<Linear, Tiled8x4>(bench, "linear-to-8x4")?;
    case::<Tiled128x4, Linear>(bench, "128x4-to-linear")
}
