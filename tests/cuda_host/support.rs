//! The device, values, and buffers for the parts of a tensor.

use blockscale::cuda::raw::WORKSPACE;
use blockscale::cuda::{CudaError, Device, DeviceInput, QuantizedMut, QuantizedRef};
use blockscale::format::Format;
use blockscale::numerics::{Profile, Rounding, Stochastic, TensorScale, philox4x32_10};
use blockscale::{Quantize, QuantizedTensor, Real};
use cudarc::driver::{CudaSlice, DevicePtr};

/// The device, or `None` where this machine has none; `BLOCKSCALE_REQUIRE_DEVICE=1` insists.
pub fn device() -> Option<Device> {
    match Device::new(0) {
        Ok(device) => Some(device),
        Err(
            CudaError::NoDriver(_) | CudaError::NoDevice { .. } | CudaError::KernelsNotCompiled,
        ) if std::env::var("BLOCKSCALE_REQUIRE_DEVICE").is_ok_and(|v| v == "1") => {
            panic!("a device was promised")
        }
        Err(
            CudaError::NoDriver(_) | CudaError::NoDevice { .. } | CudaError::KernelsNotCompiled,
        ) => None,
        Err(error) => panic!("{error}"),
    }
}

/// A device whose context orders nothing by events.
pub fn untracked_device() -> Option<Device> {
    let device = device()?;
    // SAFETY: the tests that ask for it use one stream.
    unsafe { device.stream().context().disable_event_tracking() };
    Some(device)
}

/// Finite values over many octaves, zeros among them.
pub fn values<T: Real>(len: usize, seed: u32) -> Vec<T> {
    let value = |i: usize| {
        let words = philox4x32_10([i as u32, seed, 0, 0], [3, 4]);
        let uniform = words[0] as f32 / 4294967296.0 * 2.0 - 1.0;
        if words[1].is_multiple_of(9) {
            0.0
        } else {
            uniform * ((words[2] % 12) as f32 - 6.0).exp2()
        }
    };
    (0..len).map(|i| T::from_f32(value(i))).collect()
}

/// The profiles that take every way through the host layers: with and without a tensor scale of
/// each convention, 4, 6 and 8 bits.
pub fn quantizations() -> Vec<Quantize> {
    let default = [Format::MXFP8_E4M3, Format::MXFP6_E2M3, Format::MXFP4, Format::FP4_UE5M3];
    let default = default.map(Profile::default_for);
    let draws = Rounding::Stochastic(Stochastic::new(5, "w"));
    let all = default.into_iter().chain(Profile::all(Format::NVFP4)).map(Quantize::new);
    all.flat_map(|quantize| [quantize, quantize.rounding(draws)]).collect()
}

/// The buffers of a tensor, apart.
pub struct Parts {
    pub codes: CudaSlice<u8>,
    pub scales: CudaSlice<u8>,
    pub tensor_scale: Option<CudaSlice<f32>>,
    pub workspace: CudaSlice<u8>,
}

impl Parts {
    /// Of the size that the tensor has, full of something else.
    pub fn of(device: &Device, tensor: &QuantizedTensor) -> Self {
        let filled = |len| device.upload(&vec![0xa5u8; len]).unwrap();
        Self {
            codes: filled(tensor.codes().as_bytes().len()),
            scales: filled(tensor.scales().as_bytes().len()),
            tensor_scale: tensor.tensor_scale().map(|_| device.upload(&[-1.0f32]).unwrap()),
            workspace: filled(WORKSPACE),
        }
    }
    pub fn to(&mut self) -> (QuantizedMut<'_>, &mut CudaSlice<u8>) {
        let to = QuantizedMut {
            codes: &mut self.codes,
            scales: &mut self.scales,
            tensor_scale: self.tensor_scale.as_mut().map(|scale| scale as _),
            status: None,
        };
        (to, &mut self.workspace)
    }
    pub fn from<'a>(&'a self, profile: &'a Profile, shape: &'a [usize]) -> QuantizedRef<'a> {
        QuantizedRef {
            profile,
            shape,
            codes: &self.codes,
            scales: &self.scales,
            tensor_scale: self.tensor_scale.as_ref().map(|scale| scale as _),
        }
    }
    #[track_caller]
    pub fn hold(&self, device: &Device, expected: &QuantizedTensor) {
        assert_eq!(read(device, &self.codes), expected.codes().as_bytes(), "codes");
        assert_eq!(read(device, &self.scales), expected.scales().as_bytes(), "scales");
        let stored = self.tensor_scale.as_ref().map(|scale| read(device, scale)[0].to_bits());
        assert_eq!(stored, expected.tensor_scale().map(TensorScale::value).map(f32::to_bits));
    }
}

/// What lies there.
pub fn read<T: Copy + Default + cudarc::driver::DeviceRepr>(
    device: &Device,
    memory: &impl DeviceInput<T>,
) -> Vec<T> {
    let mut values = vec![T::default(); memory.len()];
    device.download_into(memory, &mut values).unwrap();
    values
}

/// Where a slice lies.
pub fn address<T>(device: &Device, slice: &CudaSlice<T>) -> u64 {
    slice.device_ptr(device.stream()).0
}
