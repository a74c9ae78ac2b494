//! Quantization of groups of rows, each with a tensor scale of its own.

use super::{COMPARED, of_rows, of_set, read, same, same_values};
use crate::Result;
use crate::measure::{Bench, K, Name, Size, Work, allocated, amax, filled};
use blockscale::Quantize;
use blockscale::cuda::raw::{WORKSPACE, grouped_scale_rows};
use blockscale::cuda::{Device, DeviceReal, GroupRows, GroupedMut, TensorAmax, part_bytes};
use blockscale::format::Format;
use blockscale::layout::{Linear, ScaleLayout, Tiled128x4};
use blockscale::numerics::Profile;
use cudarc::driver::CudaSlice;
use std::marker::PhantomData;
use std::ops::Range;

/// Of 32 parts of the rows, those of each group: the tokens of a mixture's experts.
const PARTS: [usize; 8] = [1, 3, 0, 7, 2, 11, 4, 4];

struct Grouped<'a, L, T> {
    device: Device,
    quantize: Quantize,
    shape: [usize; 2],
    /// First row and rows of each group.
    groups: Vec<(usize, usize)>,
    x: &'a CudaSlice<T>,
    first_rows: CudaSlice<u32>,
    counts: CudaSlice<u32>,
    codes: CudaSlice<u8>,
    scales: CudaSlice<u8>,
    /// Bytes of a set's codes and scales.
    bytes: (usize, usize),
    scale_rows: CudaSlice<u32>,
    tensor_scales: Option<CudaSlice<f32>>,
    amax: CudaSlice<f32>,
    workspace: Option<CudaSlice<u8>>,
    layout: PhantomData<L>,
}

impl<L: ScaleLayout, T: DeviceReal> Work for Grouped<'_, L, T> {
    fn launch(&mut self, set: usize) -> Result<()> {
        let x = self.x.slice(of_set(set, self.shape.iter().product()));
        let groups = GroupRows { first_rows: &self.first_rows, counts: &self.counts };
        let amax = match (&mut self.workspace, &self.tensor_scales) {
            (Some(workspace), _) => TensorAmax::Computed(workspace),
            (None, Some(_)) => TensorAmax::DeviceArray(&self.amax),
            (None, None) => TensorAmax::Given,
        };
        let to = GroupedMut {
            codes: &mut self.codes.slice_mut(of_set(set, self.bytes.0)),
            scales: &mut self.scales.slice_mut(of_set(set, self.bytes.1)),
            scale_rows: &mut self.scale_rows,
            tensor_scales: self.tensor_scales.as_mut().map(|scales| scales as _),
            status: None,
        };
        let (quantize, shape) = (&self.quantize, &self.shape);
        Ok(self.device.quantize_grouped_into::<L, T>(quantize, &x, shape, groups, amax, to)?)
    }

    /// The first rows of each group, up to a tile of them.
    fn check(&self, set: usize) -> Result<()> {
        let [rows, k] = self.shape;
        let code_bytes = self.bytes.0 / rows;
        let columns = self.quantize.profile().format().scales_per_row(k);
        let scale_rows = self.bytes.1 / columns;
        let mut tiled = 0;
        for (g, (first, count)) in self.groups.iter().enumerate() {
            let range = *first..first + count.min(&COMPARED);
            let start = if L::TILE == 0 { *first } else { tiled };
            let tiles = start..start + padded::<L>(range.len());
            tiled += padded::<L>(*count);
            if range.is_empty() {
                continue;
            }
            let x = read(&self.device, &self.x.slice(of_rows(set, rows, &range, k)))?;
            let expected = self.expected(set, *first..first + count)?.run(&x, &[range.len(), k])?;
            let codes = of_rows(set, rows, &range, code_bytes);
            let codes = read(&self.device, &self.codes.slice(codes))?;
            same(&format!("codes of rows {range:?}"), &codes, expected.codes().as_bytes())?;
            if let (Some(got), Some(stored)) = (&self.tensor_scales, expected.tensor_scale()) {
                let got = read(&self.device, &got.slice(g..=g))?;
                same_values("a tensor scale", &got, &[stored.value()])?;
            }
            let scales = of_rows(set, scale_rows, &tiles, columns);
            let scales = read(&self.device, &self.scales.slice(scales))?;
            let expected = expected.scales().relayout::<L>()?;
            same(&format!("scales of rows {range:?}"), &scales, expected.as_bytes())?;
        }
        Ok(())
    }
}

impl<L, T: DeviceReal> Grouped<'_, L, T> {
    /// What the host does with a group.
    fn expected(&self, set: usize, group: Range<usize>) -> Result<Quantize> {
        let [rows, k] = self.shape;
        let amax = match (&self.tensor_scales, &self.workspace) {
            (None, _) => return Ok(self.quantize),
            (_, None) => read(&self.device, &self.amax)?[0],
            (_, Some(_)) => {
                let group = of_rows(set, rows, &group, k);
                blockscale::amax(&read(&self.device, &self.x.slice(group))?)
            }
        };
        Ok(self.quantize.tensor_amax(amax))
    }
}

/// Rows that the scales of so many take.
fn padded<L: ScaleLayout>(rows: usize) -> usize {
    match L::TILE {
        0 => rows,
        tile => rows.next_multiple_of(tile as usize),
    }
}

/// Groups of these parts of the rows; the last takes what remains.
fn groups(rows: usize) -> Vec<(usize, usize)> {
    let mut first = 0;
    let mut groups: Vec<_> = PARTS
        .iter()
        .map(|part| {
            let count = rows * part / 32;
            first += count;
            (first - count, count)
        })
        .collect();
    if let Some((first, count)) = groups.last_mut() {
        *count = rows - *first;
    }
    groups
}

fn case<L: ScaleLayout, T: DeviceReal>(
    bench: &mut Bench,
    x: &CudaSlice<T>,
    profile: Profile,
    computes: bool,
    name: Name,
) -> Result<()> {
    let shape = [bench.rows::<T>(), K];
    let (rows, elements) = (shape[0], shape.iter().product());
    let (device, sets) = (bench.device.clone(), bench.sets);
    let groups = groups(rows);
    let columns = profile.format().scales_per_row(K);
    let room = grouped_scale_rows(rows, groups.len(), L::TILE).ok_or("no address")? * columns;
    let bytes = (part_bytes(&profile, &shape)?.0, room);
    let to_u32 = |of: fn(&(usize, usize)) -> usize| -> Vec<u32> {
        groups.iter().map(|group| of(group) as u32).collect()
    };
    let written = groups.iter().map(|(_, count)| padded::<L>(*count) * columns).sum::<usize>();
    let stores = profile.tensor_scale_name().is_some();
    let mut work = Grouped::<L, T> {
        quantize: Quantize::new(profile),
        shape,
        x,
        first_rows: device.upload(&to_u32(|(first, _)| *first))?,
        counts: device.upload(&to_u32(|(_, count)| *count))?,
        codes: allocated(&device, sets * bytes.0)?,
        scales: allocated(&device, sets * bytes.1)?,
        bytes,
        scale_rows: allocated(&device, groups.len() + 1)?,
        tensor_scales: stores.then(|| allocated(&device, groups.len())).transpose()?,
        amax: device.upload(&vec![amax::<T>(elements); groups.len()])?,
        workspace: computes.then(|| allocated(&device, WORKSPACE)).transpose()?,
        layout: PhantomData,
        groups,
        device,
    };
    let passes = if computes { 2 } else { 1 };
    let read = passes * elements * size_of::<T>();
    bench.measure(name, Size { elements, read, written: bytes.0 + written }, &mut work)
}

/// The cases of a type: format, tiled or linear, whether the amax is computed.
const KINDS: [(&str, bool, bool, &str); 5] = [
    ("mxfp8-e4m3", false, false, "linear"),
    ("mxfp8-e4m3", true, false, "128x4"),
    ("nvfp4", false, false, "linear"),
    ("nvfp4", true, false, "128x4"),
    ("nvfp4", true, true, "128x4-computed-amax"),
];

pub fn cases<T: DeviceReal>(bench: &mut Bench, dtype: &'static str) -> Result<()> {
    let mut x = None;
    for (format, tiled, computes, detail) in KINDS {
        let profile = Profile::default_for(format.parse::<Format>()?);
        let name = Name {
            verb: "quantize-grouped",
            format: format.to_owned(),
            profile: profile.to_string(),
            dtype,
            rounding: "nearest",
            detail,
        };
        if !bench.wants(&name) {
            continue;
        }
        let x = match &mut x {
            Some(x) => x,
            none => none.insert(filled::<T>(&bench.device, bench.sets, bench.rows::<T>() * K)?),
        };
        match tiled {
            true => case::<Tiled128x4, T>(bench, x, profile, computes, name)?,
            false => case::<Linear, T>(bench, x, profile, computes, name)?,
        }
    }
    Ok(())
}
