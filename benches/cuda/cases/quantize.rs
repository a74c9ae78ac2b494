//! Quantization into memory that is there.

use super::{ends, of_rows, of_set, read, same, same_values};
use crate::Result;
use crate::measure::{Bench, K, Name, Size, Work, allocated, amax, filled};
use blockscale::Quantize;
use blockscale::cuda::raw::WORKSPACE;
use blockscale::cuda::{Device, DeviceReal, QuantizedMut, TensorAmax, part_bytes};
use blockscale::format::Format;
use blockscale::numerics::{Profile, Rounding, Stochastic};
use cudarc::driver::CudaSlice;

/// Profiles of NVFP4 beside its default, which every format has.
const OTHERS: [&str; 5] =
    ["torchao", "compressed-tensors", "four-over-six-mse", "modelopt", "ggml"];

pub fn draws() -> Stochastic {
    Stochastic::new(7, "bench")
}

struct Quantizing<'a, T> {
    device: Device,
    quantize: Quantize,
    draws: bool,
    shape: [usize; 2],
    x: &'a CudaSlice<T>,
    codes: CudaSlice<u8>,
    scales: CudaSlice<u8>,
    tensor_scale: Option<CudaSlice<f32>>,
    /// Bytes of a set's codes and scales.
    bytes: (usize, usize),
    amax: CudaSlice<f32>,
    /// Where the amax is computed.
    workspace: Option<CudaSlice<u8>>,
}

impl<T: DeviceReal> Work for Quantizing<'_, T> {
    fn launch(&mut self, set: usize) -> Result<()> {
        let x = self.x.slice(of_set(set, self.shape.iter().product()));
        let mut codes = self.codes.slice_mut(of_set(set, self.bytes.0));
        let mut scales = self.scales.slice_mut(of_set(set, self.bytes.1));
        let amax = match (&mut self.workspace, &self.tensor_scale) {
            (Some(workspace), _) => TensorAmax::Computed(workspace),
            (None, Some(_)) => TensorAmax::Device(&self.amax),
            (None, None) => TensorAmax::Given,
        };
        let to = QuantizedMut {
            codes: &mut codes,
            scales: &mut scales,
            tensor_scale: self.tensor_scale.as_mut().map(|scale| scale as _),
            status: None,
        };
        Ok(self.device.quantize_into(&self.quantize, &x, &self.shape, amax, to)?)
    }

    fn check(&self, set: usize) -> Result<()> {
        let [rows, k] = self.shape;
        let amax = amax::<T>(rows * k);
        for range in ends(rows) {
            let of = |width| of_rows(set, rows, &range, width);
            let x = read(&self.device, &self.x.slice(of(k)))?;
            let codes = read(&self.device, &self.codes.slice(of(self.bytes.0 / rows)))?;
            let scales = read(&self.device, &self.scales.slice(of(self.bytes.1 / rows)))?;
            let mut quantize = self.quantize;
            if self.draws {
                let draws = draws().with_offset(range.start as u64, 0);
                quantize = quantize.rounding(Rounding::Stochastic(draws));
            }
            if self.tensor_scale.is_some() {
                quantize = quantize.tensor_amax(amax);
            }
            let expected = quantize.run(&x, &[range.len(), k])?;
            same(&format!("codes of rows {range:?}"), &codes, expected.codes().as_bytes())?;
            same(&format!("scales of rows {range:?}"), &scales, expected.scales().as_bytes())?;
            if let (Some(got), Some(stored)) = (&self.tensor_scale, expected.tensor_scale()) {
                let got = read(&self.device, got)?;
                same_values("the tensor scale", &got, &[stored.value()])?;
            }
        }
        Ok(())
    }
}

/// The profile of a case, and whether its amax is computed.
struct Kind {
    format: String,
    profile: Profile,
    draws: bool,
    computes: bool,
}

fn kinds() -> Result<Vec<Kind>> {
    let mut kinds = Vec::new();
    for (format, value) in Format::NAMED {
        let profile = Profile::default_for(value);
        for draws in [false, true] {
            kinds.push(Kind { format: format.to_owned(), profile, draws, computes: false });
        }
    }
    let nvfp4 = || "nvfp4".to_owned();
    for profile in OTHERS {
        let profile = Profile::named(Format::NVFP4, profile)?;
        kinds.push(Kind { format: nvfp4(), profile, draws: false, computes: false });
    }
    let profile = Profile::default_for(Format::NVFP4);
    kinds.push(Kind { format: nvfp4(), profile, draws: false, computes: true });
    Ok(kinds)
}

fn name(kind: &Kind, dtype: &'static str) -> Name {
    Name {
        verb: "quantize",
        format: kind.format.clone(),
        profile: kind.profile.to_string(),
        dtype,
        rounding: if kind.draws { "stochastic" } else { "nearest" },
        detail: if kind.computes { "computed-amax" } else { "-" },
    }
}

pub fn cases<T: DeviceReal>(bench: &mut Bench, dtype: &'static str) -> Result<()> {
    let mut kinds = kinds()?;
    kinds.retain(|kind| bench.wants(&name(kind, dtype)));
    if kinds.is_empty() {
        return Ok(());
    }
    let shape = [bench.rows::<T>(), K];
    let elements = shape.iter().product();
    let (device, sets) = (bench.device.clone(), bench.sets);
    let x = filled::<T>(&device, sets, elements)?;
    let amax = device.upload(&[amax::<T>(elements)])?;
    for kind in kinds {
        let bytes = part_bytes(&kind.profile, &shape)?;
        let rounding = match kind.draws {
            true => Rounding::Stochastic(draws()),
            false => Rounding::Nearest,
        };
        let stores = kind.profile.tensor_scale_name().is_some();
        let mut work = Quantizing {
            device: device.clone(),
            quantize: Quantize::new(kind.profile).rounding(rounding),
            draws: kind.draws,
            shape,
            x: &x,
            codes: allocated(&device, sets * bytes.0)?,
            scales: allocated(&device, sets * bytes.1)?,
            tensor_scale: stores.then(|| allocated(&device, 1)).transpose()?,
            bytes,
            amax: amax.clone(),
            workspace: kind.computes.then(|| allocated(&device, WORKSPACE)).transpose()?,
        };
        let passes = if kind.computes { 2 } else { 1 };
        let read = passes * elements * size_of::<T>();
        let size = Size { elements, read, written: bytes.0 + bytes.1 };
        bench.measure(name(&kind, dtype), size, &mut work)?;
    }
    Ok(())
}
