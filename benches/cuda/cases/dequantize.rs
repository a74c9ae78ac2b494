//! Decoding into memory that is there.

use super::{ends, of_rows, of_set, read, same_values};
use crate::Result;
use crate::measure::{Bench, K, Name, Size, Work, allocated, filled, repeated};
use blockscale::cuda::{Device, DeviceReal, QuantizedRef};
use blockscale::format::Format;
use blockscale::numerics::{Profile, TensorScale};
use blockscale::{Backend, Blocks, Quantize, QuantizedTensor};
use cudarc::driver::CudaSlice;

struct Dequantizing<'a, T> {
    device: Device,
    profile: Profile,
    shape: [usize; 2],
    codes: CudaSlice<u8>,
    scales: CudaSlice<u8>,
    tensor_scale: Option<CudaSlice<f32>>,
    /// Bytes of a set's codes and scales.
    bytes: (usize, usize),
    y: &'a mut CudaSlice<T>,
}

impl<T: DeviceReal> Work for Dequantizing<'_, T> {
    fn launch(&mut self, set: usize) -> Result<()> {
        let from = QuantizedRef {
            profile: &self.profile,
            shape: &self.shape,
            codes: &self.codes.slice(of_set(set, self.bytes.0)),
            scales: &self.scales.slice(of_set(set, self.bytes.1)),
            tensor_scale: self.tensor_scale.as_ref().map(|scale| scale as _),
        };
        let mut y = self.y.slice_mut(of_set(set, self.shape.iter().product()));
        Ok(self.device.dequantize_into(from, &mut y)?)
    }

    fn check(&self, set: usize) -> Result<()> {
        let [rows, k] = self.shape;
        for range in ends(rows) {
            let of = |width| of_rows(set, rows, &range, width);
            let y = read(&self.device, &self.y.slice(of(k)))?;
            let part = QuantizedTensor::from_parts(
                self.profile,
                Blocks::Row,
                &[range.len(), k],
                read(&self.device, &self.codes.slice(of(self.bytes.0 / rows)))?,
                read(&self.device, &self.scales.slice(of(self.bytes.1 / rows)))?,
                self.stored()?,
            )?;
            let expected = part.dequantize_with::<T>(Backend::default());
            same_values(&format!("values of rows {range:?}"), &y, &expected)?;
        }
        Ok(())
    }
}

impl<T> Dequantizing<'_, T> {
    /// The tensor scale on the host, in the profile's convention.
    fn stored(&self) -> Result<Option<TensorScale>> {
        let Some(scale) = &self.tensor_scale else { return Ok(None) };
        let value = read(&self.device, scale)?[0];
        let empty = Quantize::new(self.profile).run::<f32>(&[], &[0, 1])?;
        Ok(empty.tensor_scale().map(|scale| match scale {
            TensorScale::Amax(_) => TensorScale::Amax(value),
            TensorScale::Decode(_) => TensorScale::Decode(value),
            TensorScale::Encode(_) => TensorScale::Encode(value),
        }))
    }
}

fn name(format: &str, profile: &Profile, dtype: &'static str) -> Name {
    let (format, profile) = (format.to_owned(), profile.to_string());
    Name { verb: "dequantize", format, profile, dtype, rounding: "-", detail: "-" }
}

pub fn cases<T: DeviceReal>(bench: &mut Bench, dtype: &'static str) -> Result<()> {
    let mut formats =
        Format::NAMED.map(|(name, value)| (name, Profile::default_for(value))).to_vec();
    formats.retain(|(format, profile)| bench.wants(&name(format, profile, dtype)));
    if formats.is_empty() {
        return Ok(());
    }
    let shape = [bench.rows::<T>(), K];
    let elements = shape.iter().product();
    let (device, sets) = (bench.device.clone(), bench.sets);
    let x = filled::<T>(&device, 1, elements)?;
    let mut y = allocated::<T>(&device, sets * elements)?;
    for (format, profile) in formats {
        let q = device.quantize(&Quantize::new(profile), &x, &shape)?;
        let bytes = (q.codes().len(), q.scales().len());
        let mut work = Dequantizing {
            device: device.clone(),
            profile,
            shape,
            codes: repeated(&device, q.codes(), sets, bytes.0)?,
            scales: repeated(&device, q.scales(), sets, bytes.1)?,
            tensor_scale: q.tensor_scale().cloned(),
            bytes,
            y: &mut y,
        };
        let written = elements * size_of::<T>();
        let size = Size { elements, read: bytes.0 + bytes.1, written };
        bench.measure(name(format, &profile, dtype), size, &mut work)?;
    }
    Ok(())
}
