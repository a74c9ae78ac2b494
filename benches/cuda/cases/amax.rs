//! The largest magnitude of a tensor.

use super::{of_set, read, same_values};
use crate::Result;
use crate::measure::{Bench, K, Name, Size, Work, allocated, amax, filled};
use blockscale::cuda::{Device, DeviceReal};
use blockscale::format::Format;
use blockscale::numerics::Profile;
use cudarc::driver::CudaSlice;

struct Amax<T> {
    device: Device,
    profile: Profile,
    shape: [usize; 2],
    x: CudaSlice<T>,
    amax: CudaSlice<f32>,
}

impl<T: DeviceReal> Work for Amax<T> {
    fn launch(&mut self, set: usize) -> Result<()> {
        let x = self.x.slice(of_set(set, self.shape.iter().product()));
        Ok(self.device.amax_into(&self.profile, &x, &self.shape, &mut self.amax)?)
    }

    fn check(&self, _: usize) -> Result<()> {
        let expected = amax::<T>(self.shape.iter().product());
        same_values("the amax", &read(&self.device, &self.amax)?, &[expected])
    }
}

pub fn cases<T: DeviceReal>(bench: &mut Bench, dtype: &'static str) -> Result<()> {
    let [none, profile] = ["-", "-"].map(str::to_owned);
    let name = Name { verb: "amax", format: none, profile, dtype, rounding: "-", detail: "-" };
    if !bench.wants(&name) {
        return Ok(());
    }
    let shape = [bench.rows::<T>(), K];
    let elements = shape.iter().product();
    let device = bench.device.clone();
    let mut work = Amax::<T> {
        profile: Profile::default_for(Format::NVFP4),
        shape,
        x: filled(&device, bench.sets, elements)?,
        amax: allocated(&device, 1)?,
        device,
    };
    let size = Size { elements, read: elements * size_of::<T>(), written: 4 };
    bench.measure(name, size, &mut work)
}
