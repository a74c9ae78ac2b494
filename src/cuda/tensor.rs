//! Quantized tensors that own their device memory.

use super::device::sizes;
use super::memory::{Buffers, downloaded};
use super::raw::CodeShape;
use super::{
    CudaError, Device, DeviceInput, DeviceOutput, DeviceReal, QuantizedMut, QuantizedRef, Strided,
    TensorAmax,
};
use crate::layout::{self, CodeLayout, Codes, Packing, Raw, ScaleLayout, Scales};
use crate::numerics::{Profile, TensorScale};
use crate::shape::Extents;
use crate::{Blocks, Error, Quantize, QuantizedTensor, tensor};
use cudarc::driver::{CudaSlice, PinnedHostSlice};
use std::marker::PhantomData;

type Result<T> = std::result::Result<T, CudaError>;

/// A quantized tensor in device memory.
#[derive(Debug)]
pub struct DeviceTensor {
    profile: Profile,
    blocks: Blocks,
    shape: Vec<usize>,
    // A part of no bytes is one byte that nobody reads.
    codes: CudaSlice<u8>,
    scales: CudaSlice<u8>,
    /// Where the profile stores one.
    tensor_scale: Option<CudaSlice<f32>>,
    device: Device,
}

impl Device {
    /// Uploads a quantized tensor.
    ///
    /// # Errors
    /// [`CudaError::OutOfMemory`], [`CudaError::Driver`].
    pub fn upload_tensor<S: AsRef<[u8]>>(
        &self,
        tensor: &QuantizedTensor<S>,
    ) -> Result<DeviceTensor> {
        // A byte that nobody reads stands for nothing, which cannot be uploaded.
        let some = |bytes: &[u8]| self.upload(if bytes.is_empty() { &[0u8][..] } else { bytes });
        let scale = tensor.tensor_scale().map(TensorScale::value);
        Ok(DeviceTensor {
            profile: *tensor.profile(),
            blocks: tensor.blocks(),
            shape: tensor.shape().to_vec(),
            codes: some(tensor.codes().as_bytes())?,
            scales: some(tensor.scales().as_bytes())?,
            tensor_scale: scale.map(|scale| self.upload(&[scale])).transpose()?,
            device: self.clone(),
        })
    }

    /// A tensor of `shape` whose codes and scales are all zero, to be
    /// [overwritten](DeviceTensor::overwrite).
    ///
    /// # Errors
    /// [`CudaError::Argument`] for a profile or a shape that no tensor has,
    /// [`CudaError::OutOfMemory`], [`CudaError::Driver`].
    pub fn zeros(
        &self,
        profile: &Profile,
        blocks: Blocks,
        shape: &[usize],
    ) -> Result<DeviceTensor> {
        profile.check()?;
        let mut tensor = DeviceTensor::unset(self, profile, blocks, shape)?;
        let stream = self.stream();
        let cleared = stream.memset_zeros(&mut tensor.codes);
        let cleared = cleared.and_then(|()| stream.memset_zeros(&mut tensor.scales));
        let cleared = cleared.and_then(|()| match &mut tensor.tensor_scale {
            Some(scale) => stream.memset_zeros(scale),
            None => Ok(()),
        });
        cleared.map_err(CudaError::driver("cuMemsetD8Async"))?;
        Ok(tensor)
    }
}

impl DeviceTensor {
    /// Memory that the caller has a kernel write.
    pub(super) fn unset(
        device: &Device,
        profile: &Profile,
        blocks: Blocks,
        shape: &[usize],
    ) -> Result<Self> {
        let extents = tensor::extents(profile.format(), blocks, shape)?;
        let (codes, scales) = sizes(profile, extents)?;
        let tensor_scale = profile.tensor_scale_name().map(|_| device.allocate(1)).transpose()?;
        Ok(Self {
            profile: *profile,
            blocks,
            shape: shape.to_vec(),
            codes: device.allocate(codes)?,
            scales: device.allocate(scales)?,
            tensor_scale,
            device: device.clone(),
        })
    }

    /// The profile that made the codes and that decodes them.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }
    /// Which elements share a scale.
    pub fn blocks(&self) -> Blocks {
        self.blocks
    }
    /// The shape of the decoded tensor.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }
    /// The packed codes in the raw layout.
    pub fn codes(&self) -> &CudaSlice<u8> {
        &self.codes
    }
    /// The block scales, row by row.
    pub fn scales(&self) -> &CudaSlice<u8> {
        &self.scales
    }
    /// The tensor scale, one f32, where the profile stores one.
    pub fn tensor_scale(&self) -> Option<&CudaSlice<f32>> {
        self.tensor_scale.as_ref()
    }
    /// The parts, to be decoded.
    pub fn parts(&self) -> QuantizedRef<'_> {
        QuantizedRef {
            profile: &self.profile,
            shape: &self.shape,
            codes: &self.codes,
            scales: &self.scales,
            tensor_scale: self.tensor_scale.as_ref().map(|scale| scale as _),
        }
    }
    pub(super) fn parts_mut(&mut self) -> QuantizedMut<'_> {
        QuantizedMut {
            codes: &mut self.codes,
            scales: &mut self.scales,
            status: None,
            tensor_scale: self.tensor_scale.as_mut().map(|scale| scale as _),
        }
    }

    /// Quantizes another input into this tensor's memory; allocates nothing.
    ///
    /// # Errors
    /// Those of [`Device::quantize_into`]; [`CudaError::Argument`] where profile, blocks or shape
    /// are not those of the tensor.
    ///
    /// ```no_run
    /// use blockscale::cuda::{Device, TensorAmax, raw::WORKSPACE};
    /// # use blockscale::{Blocks, Quantize, format::Format, numerics::Profile};
    /// let device = Device::new(0)?;
    /// let quantize = Quantize::new(Profile::default_for(Format::NVFP4));
    /// let mut q = device.zeros(quantize.profile(), Blocks::Row, &[2, 32])?;
    /// let mut workspace = device.upload(&[0u8; WORKSPACE])?;
    /// for step in 0..8 {
    ///     let x = device.upload(&[step as f32; 64])?;
    ///     q.overwrite(&quantize, &x, &[2, 32], TensorAmax::Computed(&mut workspace))?;
    /// }
    /// # Ok::<(), blockscale::cuda::CudaError>(())
    /// ```
    pub fn overwrite<'s, T: DeviceReal>(
        &mut self,
        quantize: &Quantize,
        x: &impl DeviceInput<T>,
        shape: impl Into<Strided<'s>>,
        amax: TensorAmax<'_>,
    ) -> Result<()> {
        let (shape, (_, blocks)) = (shape.into(), quantize.choices());
        let same = (quantize.profile(), blocks, shape.shape())
            == (&self.profile, self.blocks, &self.shape[..]);
        if !same {
            let what = |profile: &Profile, blocks: Blocks, shape: &[usize]| {
                format!("{} {profile} in {blocks:?}s, shape {shape:?}", profile.format())
            };
            return Err(Error::InvalidTensor {
                format: self.profile.format().to_string(),
                rule: format!(
                    "it is {}, and cannot become {}",
                    what(&self.profile, self.blocks, &self.shape),
                    what(quantize.profile(), blocks, shape.shape()),
                ),
            }
            .into());
        }
        let device = self.device.clone();
        device.quantize_into(quantize, x, shape, amax, self.parts_mut())
    }

    /// The block scales in another layout, padded with zero, on the device.
    ///
    /// # Errors
    /// [`CudaError::Argument`] where the padded size is no address, [`CudaError::OutOfMemory`],
    /// [`CudaError::Driver`].
    pub fn scales_in<L: ScaleLayout>(&self) -> Result<DeviceScales<L>> {
        let (device, extents) = (&self.device, self.extents()?);
        let columns = self.profile.format().scales_per_row(extents.k);
        let (batches, rows) = (extents.batches, extents.rows);
        let len = layout::length::<L>(batches, rows, columns)?;
        let mut bytes = device.allocate::<u8>(len)?;
        {
            let mut buffers = Buffers::new(device.stream())?;
            let from = buffers.read("the scales", &self.scales, batches * rows * columns)?;
            let to = buffers.write("the new scales", &mut bytes, len)?;
            buffers.ready()?;
            let ((from, to), stream) = (((from, 0), (to, L::TILE)), device.stream().cu_stream());
            // SAFETY: `buffers` holds both, live, distinct, on this device and of the sizes of
            // their layouts.
            unsafe { device.kernels().relayout_scales(batches, rows, columns, from, to, stream)? };
        }
        Ok(DeviceScales { bytes, batches, rows, columns, layout: PhantomData })
    }

    /// The codes in another packing, on the device.
    ///
    /// # Errors
    /// [`CudaError::Argument`] where the packing does not take them (split halves need 4 bits and
    /// whole blocks), [`CudaError::OutOfMemory`], [`CudaError::Driver`].
    pub fn codes_in<L: CodeLayout>(&self) -> Result<DeviceCodes<L>> {
        let (device, extents) = (&self.device, self.extents()?);
        let (element, block) = (self.profile.format().element(), self.profile.format().block());
        let (rows, k, bits) = (extents.all_rows(), extents.k, element.bits());
        let len = rows * L::row_bytes(k, bits, block)?;
        let mut bytes = device.allocate::<u8>(len)?;
        {
            let mut buffers = Buffers::new(device.stream())?;
            let held = rows * Raw::row_bytes(k, bits, block)?;
            let from = buffers.read("the codes", &self.codes, held)?;
            let to = buffers.write("the new codes", &mut bytes, len)?;
            buffers.ready()?;
            let ((from, to), stream) =
                (((from, Raw::packing(bits)), (to, L::packing(bits))), device.stream().cu_stream());
            let shape = CodeShape { rows, k, bits, block };
            // SAFETY: `buffers` holds both, live, distinct, on this device and of the sizes of
            // their packings.
            unsafe { device.kernels().relayout_codes(shape, from, to, stream)? };
        }
        Ok(DeviceCodes { bytes, rows, k, bits, block, layout: PhantomData })
    }

    fn extents(&self) -> Result<Extents> {
        Ok(tensor::extents(self.profile.format(), self.blocks, &self.shape)?)
    }

    /// Decodes on the device.
    ///
    /// # Errors
    /// [`CudaError::OutOfMemory`], [`CudaError::Driver`].
    pub fn dequantize<T: DeviceReal>(&self) -> Result<CudaSlice<T>> {
        let mut y = self.device.allocate::<T>(self.extents()?.elements())?;
        self.dequantize_into(&mut y)?;
        Ok(y)
    }

    /// Decodes into memory of the caller's; allocates nothing.
    ///
    /// # Errors
    /// Those of [`Device::dequantize_into`].
    pub fn dequantize_into<T: DeviceReal>(&self, y: &mut impl DeviceOutput<T>) -> Result<()> {
        self.device.dequantize_into(self.parts(), y)
    }

    /// Copies the tensor to the host, waiting for it.
    ///
    /// # Errors
    /// [`CudaError::Driver`].
    pub fn download(&self) -> Result<QuantizedTensor> {
        let stream = self.device.stream();
        let stored = self.tensor_scale.as_ref().map(|scale| downloaded(scale, stream));
        let stored = stored.transpose()?.map(|scale| scale[0]);
        self.on_host(downloaded(&self.codes, stream)?, downloaded(&self.scales, stream)?, stored)
    }

    /// Starts to copy the tensor to page-locked memory of the host.
    ///
    /// # Errors
    /// [`CudaError::OutOfMemory`], [`CudaError::Driver`].
    ///
    /// ```no_run
    /// # use blockscale::{Quantize, cuda::Device, format::Format, numerics::Profile};
    /// # let device = Device::new(0)?;
    /// # let quantize = Quantize::new(Profile::default_for(Format::NVFP4));
    /// # let x = device.upload(&[0.5f32; 64])?;
    /// let download = device.quantize(&quantize, &x, &[2, 32])?.start_download()?;
    /// // … other work of the host …
    /// let (q, on_device) = download.finish()?;
    /// # Ok::<(), blockscale::cuda::CudaError>(())
    /// ```
    pub fn start_download(self) -> Result<Download> {
        let device = &self.device;
        let mut codes = device.pinned(self.codes.len())?;
        let mut scales = device.pinned(self.scales.len())?;
        device.download_into(&self.codes, &mut codes)?;
        device.download_into(&self.scales, &mut scales)?;
        let mut tensor_scale = None;
        if let Some(scale) = &self.tensor_scale {
            let pinned = tensor_scale.insert(device.pinned(1)?);
            device.download_into(scale, pinned)?;
        }
        Ok(Download { tensor: self, codes, scales, tensor_scale })
    }

    fn on_host(
        &self,
        mut codes: Vec<u8>,
        mut scales: Vec<u8>,
        stored: Option<f32>,
    ) -> Result<QuantizedTensor> {
        let extents = self.extents()?;
        let (code_bytes, scale_bytes) = sizes(&self.profile, extents)?;
        codes.truncate(code_bytes); // nothing is one byte there
        scales.truncate(scale_bytes);
        let stored = stored.and_then(|scale| self.profile.stored_tensor_scale(scale));
        let (blocks, shape) = (self.blocks, &self.shape);
        Ok(QuantizedTensor::trusted(self.profile, blocks, shape, extents, codes, scales, stored))
    }
}

/// A tensor on its way to the host.
#[derive(Debug)]
pub struct Download {
    tensor: DeviceTensor,
    codes: PinnedHostSlice<u8>,
    scales: PinnedHostSlice<u8>,
    tensor_scale: Option<PinnedHostSlice<f32>>,
}

impl Download {
    /// Waits for the tensor; returns it and the one on the device.
    ///
    /// # Errors
    /// [`CudaError::Driver`].
    pub fn finish(self) -> Result<(QuantizedTensor, DeviceTensor)> {
        let failed = CudaError::driver("a download");
        let codes = self.codes.as_slice().map_err(&failed)?.to_vec();
        let scales = self.scales.as_slice().map_err(&failed)?.to_vec();
        let stored = self.tensor_scale.as_ref().map(|scale| scale.as_slice()).transpose();
        let stored = stored.map_err(&failed)?.map(|scale| scale[0]);
        Ok((self.tensor.on_host(codes, scales, stored)?, self.tensor))
    }
}

/// Codes in device memory in packing `L`.
#[derive(Debug)]
pub struct DeviceCodes<L> {
    bytes: CudaSlice<u8>,
    rows: usize,
    k: usize,
    bits: u8,
    block: usize,
    layout: PhantomData<L>,
}

impl<L: CodeLayout> DeviceCodes<L> {
    /// The codes as they lie.
    pub fn bytes(&self) -> &CudaSlice<u8> {
        &self.bytes
    }

    /// Copies the codes to the host, waiting for them.
    ///
    /// # Errors
    /// [`CudaError::InCapture`], [`CudaError::Driver`].
    pub fn download(&self) -> Result<Codes<L>> {
        let mut bytes = downloaded(&self.bytes, self.bytes.stream())?;
        bytes.truncate(self.rows * L::row_bytes(self.k, self.bits, self.block)?);
        Ok(Codes::new(bytes, self.rows, self.k, self.bits, self.block)?)
    }
}

/// Block scales in device memory in layout `L`.
#[derive(Debug)]
pub struct DeviceScales<L> {
    bytes: CudaSlice<u8>,
    batches: usize,
    rows: usize,
    columns: usize,
    layout: PhantomData<L>,
}

impl<L: ScaleLayout> DeviceScales<L> {
    /// The scales as they lie, padding included.
    pub fn bytes(&self) -> &CudaSlice<u8> {
        &self.bytes
    }

    /// Copies the scales to the host, waiting for them.
    ///
    /// # Errors
    /// [`CudaError::Driver`].
    pub fn download(&self) -> Result<Scales<L>> {
        let mut bytes = downloaded(&self.bytes, self.bytes.stream())?;
        bytes.truncate(layout::length::<L>(self.batches, self.rows, self.columns)?);
        Ok(Scales::new(bytes, self.batches, self.rows, self.columns)?)
    }
}
