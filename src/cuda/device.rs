//! The safe layer: contexts, streams and slices of cudarc.

use super::driver::require_driver;
use super::raw::{Amax, Dtype, Input, Kernels, WORKSPACE};
use super::report::device_count;
use super::{CudaError, Image};
use crate::layout::{self, Packing, Raw, ScaleLayout, Scales};
use crate::numerics::{Profile, TensorScale};
use crate::shape::Extents;
use crate::{Blocks, Error, Quantize, QuantizedTensor, Real, tensor};
use cudarc::driver::{
    CudaContext, CudaSlice, CudaStream, DevicePtr, DevicePtrMut, DeviceRepr, ValidAsZeroBits,
};
use half::{bf16, f16};
use std::marker::PhantomData;
use std::sync::{Arc, Mutex};

type Result<T> = std::result::Result<T, CudaError>;

/// f32, bf16 or f16 that may lie in device memory.
pub trait DeviceReal: Real + DeviceRepr + ValidAsZeroBits {
    /// The same type as the kernels name it.
    const DTYPE: Dtype;
}
impl DeviceReal for f32 {
    const DTYPE: Dtype = Dtype::F32;
}
impl DeviceReal for bf16 {
    const DTYPE: Dtype = Dtype::Bf16;
}
impl DeviceReal for f16 {
    const DTYPE: Dtype = Dtype::F16;
}

/// A stream of a device and the kernels loaded there; cheap to clone, shared between threads.
///
/// ```no_run
/// use blockscale::cuda::Device;
/// use blockscale::format::Format;
/// use blockscale::{Quantize, numerics::Profile};
/// let device = Device::new(0)?;
/// let x = device.upload(&[0.5f32; 64])?;
/// let quantize = Quantize::new(Profile::default_for(Format::NVFP4));
/// let q = device.quantize(&quantize, &x, &[2, 32])?;
/// assert_eq!(q.download()?, quantize.run(&[0.5f32; 64], &[2, 32])?); // the same bytes
/// # Ok::<(), blockscale::cuda::CudaError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Device {
    stream: Arc<CudaStream>,
    kernels: Arc<Kernels>,
}

/// A quantized tensor in device memory.
#[derive(Debug)]
pub struct DeviceTensor {
    profile: Profile,
    blocks: Blocks,
    shape: Vec<usize>,
    codes: CudaSlice<u8>,
    scales: CudaSlice<u8>,
    /// What the profile stores; one f32 that nobody reads where it stores none.
    tensor_scale: CudaSlice<f32>,
    device: Device,
}

impl Device {
    /// A new stream on device `ordinal`, kernels loaded.
    ///
    /// # Errors
    /// [`CudaError::NoDriver`], [`CudaError::NoDevice`], [`CudaError::KernelsNotCompiled`],
    /// [`CudaError::NoImage`], [`CudaError::DriverTooOld`], [`CudaError::Driver`].
    pub fn new(ordinal: usize) -> Result<Self> {
        require_driver()?;
        let count = device_count()?;
        if ordinal >= count {
            return Err(CudaError::NoDevice { ordinal, count });
        }
        let context = CudaContext::new(ordinal).map_err(CudaError::driver("a context"))?;
        Self::on(context.new_stream().map_err(CudaError::driver("cuStreamCreate"))?)
    }

    /// The caller's stream; every call of this value runs there, in order.
    ///
    /// # Errors
    /// As [`Device::new`].
    pub fn on(stream: Arc<CudaStream>) -> Result<Self> {
        let kernels = kernels_of(stream.context())?;
        Ok(Self { stream, kernels })
    }

    /// The stream.
    pub fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    /// The image of each unit that was chosen for this device.
    pub fn images(&self) -> Vec<&'static Image> {
        let units =
            ["amax", "dequantize", "dequantize_blocks", "quantize", "quantize_blocks", "relayout"];
        let capability = self.kernels.capability();
        units.iter().filter_map(|unit| super::image_for(unit, capability)).collect()
    }

    /// Copies host values to the device.
    ///
    /// # Errors
    /// [`CudaError::OutOfMemory`], [`CudaError::Driver`].
    pub fn upload<T: DeviceRepr>(&self, values: &[T]) -> Result<CudaSlice<T>> {
        self.stream.clone_htod(values).map_err(CudaError::allocation(size_of_val(values)))
    }

    fn allocate<T: DeviceRepr>(&self, len: usize) -> Result<CudaSlice<T>> {
        // SAFETY: every caller has a kernel write all of it before anything reads it. A length of
        // 0 is no allocation that drivers accept.
        unsafe { self.stream.alloc(len.max(1)) }
            .map_err(CudaError::allocation(len * size_of::<T>()))
    }

    /// Whether memory belongs to this device.
    fn check_device<T>(&self, what: &'static str, slice: &impl DevicePtr<T>) -> Result<()> {
        let (given, expected) =
            (slice.stream().context().ordinal(), self.stream.context().ordinal());
        match given == expected {
            true => Ok(()),
            false => Err(CudaError::WrongDevice { what, given, expected }),
        }
    }

    /// The largest magnitude of `x`, left on the device: NaN if any value is.
    ///
    /// # Errors
    /// [`CudaError::Argument`], [`CudaError::WrongDevice`], [`CudaError::OutOfMemory`],
    /// [`CudaError::Driver`].
    pub fn amax<T: DeviceReal>(
        &self,
        profile: &Profile,
        x: &impl DevicePtr<T>,
        shape: &[usize],
    ) -> Result<CudaSlice<f32>> {
        self.check_device("x", x)?;
        check_length(x.len(), shape)?;
        let mut amax = self.allocate::<f32>(1)?;
        let (pointer, _x) = x.device_ptr(&self.stream);
        let input = dense::<T>(pointer, shape);
        {
            let (amax, _amax) = amax.device_ptr_mut(&self.stream);
            // SAFETY: both pointers are of live slices on this device, long enough by the checks.
            unsafe { self.kernels.amax(profile, input, amax, self.stream.cu_stream())? };
        }
        Ok(amax)
    }

    /// Quantizes `x` of `shape`; where the profile has a tensor scale and `quantize` was given no
    /// amax, that of `x` is computed and used on the device.
    ///
    /// # Errors
    /// [`CudaError::Argument`] with whatever [`Quantize::run`] refuses, [`CudaError::WrongDevice`],
    /// [`CudaError::OutOfMemory`], [`CudaError::Driver`].
    pub fn quantize<T: DeviceReal>(
        &self,
        quantize: &Quantize,
        x: &impl DevicePtr<T>,
        shape: &[usize],
    ) -> Result<DeviceTensor> {
        let profile = *quantize.profile();
        let workspace = match quantize.given_amax() {
            None if profile.tensor_scale_name().is_some() => Some(self.allocate::<u8>(WORKSPACE)?),
            _ => None,
        };
        match &workspace {
            Some(workspace) => {
                let (workspace, _held) = workspace.device_ptr(&self.stream);
                self.quantize_from(quantize, x, shape, Amax::Compute { workspace })
            }
            None => {
                let amax = quantize.given_amax().unwrap_or(0.0);
                self.quantize_from(quantize, x, shape, Amax::Host(amax))
            }
        }
    }

    /// Quantizes `x` of `shape`, a shard of a tensor whose amax lies on the device.
    ///
    /// # Errors
    /// As [`Device::quantize`].
    pub fn quantize_with_amax<T: DeviceReal>(
        &self,
        quantize: &Quantize,
        x: &impl DevicePtr<T>,
        shape: &[usize],
        amax: &CudaSlice<f32>,
    ) -> Result<DeviceTensor> {
        self.check_device("the tensor amax", amax)?;
        if amax.len() != 1 {
            return Err(Error::InvalidValue {
                what: "the length of the tensor amax",
                given: amax.len().to_string(),
                rule: "one f32",
            }
            .into());
        }
        let (amax, _held) = amax.device_ptr(&self.stream);
        self.quantize_from(quantize, x, shape, Amax::Device(amax))
    }

    fn quantize_from<T: DeviceReal>(
        &self,
        quantize: &Quantize,
        x: &impl DevicePtr<T>,
        shape: &[usize],
        amax: Amax,
    ) -> Result<DeviceTensor> {
        self.check_device("x", x)?;
        let extents = quantize.check(x.len(), shape)?;
        let (profile, (rounding, blocks)) = (*quantize.profile(), quantize.choices());
        let format = profile.format();
        let code_bytes = Raw::row_bytes(extents.k, format.element().bits(), format.block())?;
        let rows = extents.all_rows();
        let mut codes = self.allocate::<u8>(rows * code_bytes)?;
        let mut scales = self.allocate::<u8>(rows * format.scales_per_row(extents.k))?;
        let mut tensor_scale = self.allocate::<f32>(1)?;
        {
            let (pointer, _x) = x.device_ptr(&self.stream);
            let (codes, _codes) = codes.device_ptr_mut(&self.stream);
            let (scales, _scales) = scales.device_ptr_mut(&self.stream);
            let (scale, _scale) = tensor_scale.device_ptr_mut(&self.stream);
            let input = dense::<T>(pointer, shape);
            let stream = self.stream.cu_stream();
            // SAFETY: the pointers are of live, distinct slices on this device, of the sizes that
            // the layout states.
            unsafe {
                self.kernels.quantize(
                    &profile, rounding, blocks, input, amax, codes, scales, scale, stream,
                )?
            };
        }
        let device = self.clone();
        Ok(DeviceTensor {
            profile,
            blocks,
            shape: shape.to_vec(),
            codes,
            scales,
            tensor_scale,
            device,
        })
    }

    /// Quantizes values of the host on the device: upload, quantize, download.
    ///
    /// # Errors
    /// As [`Device::quantize`].
    ///
    /// ```no_run
    /// # use blockscale::{Quantize, cuda::Device, format::Format, numerics::Profile};
    /// let quantize = Quantize::new(Profile::default_for(Format::MXFP4));
    /// let q = Device::new(0)?.run(&quantize, &[0.5f32; 64], &[2, 32])?;
    /// assert_eq!(q, quantize.run(&[0.5f32; 64], &[2, 32])?); // the same bytes
    /// # Ok::<(), blockscale::cuda::CudaError>(())
    /// ```
    pub fn run<T: DeviceReal>(
        &self,
        quantize: &Quantize,
        x: &[T],
        shape: &[usize],
    ) -> Result<QuantizedTensor> {
        quantize.check(x.len(), shape)?;
        if x.is_empty() {
            // Nothing cannot be uploaded, and there is nothing to compute.
            return Ok(quantize.run(x, shape)?);
        }
        self.quantize(quantize, &self.upload(x)?, shape)?.download()
    }

    /// Uploads a quantized tensor.
    ///
    /// # Errors
    /// [`CudaError::OutOfMemory`], [`CudaError::Driver`].
    pub fn upload_tensor<S: AsRef<[u8]>>(
        &self,
        tensor: &QuantizedTensor<S>,
    ) -> Result<DeviceTensor> {
        let scale = tensor.tensor_scale().map_or(1.0, TensorScale::value);
        Ok(DeviceTensor {
            profile: *tensor.profile(),
            blocks: tensor.blocks(),
            shape: tensor.shape().to_vec(),
            codes: self.upload_some(tensor.codes().as_bytes())?,
            scales: self.upload_some(tensor.scales().as_bytes())?,
            tensor_scale: self.upload(&[scale])?,
            device: self.clone(),
        })
    }

    /// As `upload`, of a byte that nobody reads where there is nothing.
    fn upload_some(&self, bytes: &[u8]) -> Result<CudaSlice<u8>> {
        self.upload(if bytes.is_empty() { &[0] } else { bytes })
    }
}

impl DeviceTensor {
    /// The profile that made the codes and that decodes them.
    pub fn profile(&self) -> &Profile {
        &self.profile
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

    /// The block scales in another layout, padded with zero, on the device.
    ///
    /// # Errors
    /// [`CudaError::Argument`] where the padded size is no address, [`CudaError::OutOfMemory`],
    /// [`CudaError::Driver`].
    pub fn scales_in<L: ScaleLayout>(&self) -> Result<DeviceScales<L>> {
        let (device, extents) = (&self.device, self.extents()?);
        let columns = self.profile.format().scales_per_row(extents.k);
        let (batches, rows) = (extents.batches, extents.rows);
        let mut bytes = device.allocate::<u8>(layout::length::<L>(batches, rows, columns)?)?;
        {
            let (from, _from) = self.scales.device_ptr(&device.stream);
            let (to, _to) = bytes.device_ptr_mut(&device.stream);
            let stream = device.stream.cu_stream();
            // SAFETY: both pointers are of live, distinct slices on this device, of the sizes of
            // their layouts.
            unsafe {
                device.kernels.relayout_scales(
                    batches,
                    rows,
                    columns,
                    (from, 0),
                    (to, L::TILE),
                    stream,
                )?
            };
        }
        Ok(DeviceScales { bytes, batches, rows, columns, layout: PhantomData })
    }

    fn extents(&self) -> Result<Extents> {
        Ok(tensor::extents(self.profile.format(), self.blocks, &self.shape)?)
    }

    /// Decodes on the device.
    ///
    /// # Errors
    /// [`CudaError::OutOfMemory`], [`CudaError::Driver`].
    pub fn dequantize<T: DeviceReal>(&self) -> Result<CudaSlice<T>> {
        let device = &self.device;
        let mut y = device.allocate::<T>(self.extents()?.elements())?;
        let (codes, _codes) = self.codes.device_ptr(&device.stream);
        let (scales, _scales) = self.scales.device_ptr(&device.stream);
        let (scale, _scale) = self.tensor_scale.device_ptr(&device.stream);
        {
            let (y, _y) = y.device_ptr_mut(&device.stream);
            let stream = device.stream.cu_stream();
            // SAFETY: the pointers are of live, distinct slices on this device, of the sizes that
            // the shape states.
            unsafe {
                device.kernels.dequantize(
                    &self.profile,
                    &self.shape,
                    codes,
                    scales,
                    scale,
                    y,
                    T::DTYPE,
                    stream,
                )?
            };
        }
        Ok(y)
    }

    /// Copies the tensor to the host, waiting for it.
    ///
    /// # Errors
    /// [`CudaError::Driver`].
    pub fn download(&self) -> Result<QuantizedTensor> {
        let extents = self.extents()?;
        let format = self.profile.format();
        let code_bytes = Raw::row_bytes(extents.k, format.element().bits(), format.block())?;
        let stream = &self.device.stream;
        let get = |slice: &CudaSlice<u8>, len: usize| {
            let mut bytes = stream.clone_dtoh(slice).map_err(CudaError::driver("a download"))?;
            bytes.truncate(len); // an empty buffer is one byte there
            Ok::<_, CudaError>(bytes)
        };
        let codes = get(&self.codes, extents.all_rows() * code_bytes)?;
        let scales = get(&self.scales, extents.all_rows() * format.scales_per_row(extents.k))?;
        let stored =
            stream.clone_dtoh(&self.tensor_scale).map_err(CudaError::driver("a download"))?;
        let stored = self.profile.stored_tensor_scale(stored[0]);
        let (blocks, shape) = (self.blocks, &self.shape);
        Ok(QuantizedTensor::trusted(self.profile, blocks, shape, extents, codes, scales, stored))
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
        let stream = self.bytes.stream();
        let mut bytes = stream.clone_dtoh(&self.bytes).map_err(CudaError::driver("a download"))?;
        bytes.truncate(layout::length::<L>(self.batches, self.rows, self.columns)?);
        Ok(Scales::new(bytes, self.batches, self.rows, self.columns)?)
    }
}

/// The kernels of a context, loaded once; the context is kept as long as the process lives.
fn kernels_of(context: &Arc<CudaContext>) -> Result<Arc<Kernels>> {
    static LOADED: Mutex<Vec<(Arc<CudaContext>, Arc<Kernels>)>> = Mutex::new(Vec::new());
    let mut loaded = LOADED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some((_, kernels)) = loaded.iter().find(|(held, _)| held.cu_ctx() == context.cu_ctx()) {
        return Ok(kernels.clone());
    }
    context.bind_to_thread().map_err(CudaError::driver("cuCtxSetCurrent"))?;
    let (major, minor) =
        context.compute_capability().map_err(CudaError::driver("cuDeviceGetAttribute"))?;
    // SAFETY: the context was made current above and is kept beside the kernels.
    let kernels = Arc::new(unsafe { Kernels::load((major as u32, minor as u32))? });
    loaded.push((context.clone(), kernels.clone()));
    Ok(kernels)
}

fn check_length(given: usize, shape: &[usize]) -> Result<()> {
    let expected = Extents::of(shape)?.elements();
    match given == expected || expected == 0 {
        true => Ok(()),
        false => Err(Error::WrongLength {
            what: "the input",
            given,
            unit: "elements",
            shape: shape.to_vec(),
            expected,
        }
        .into()),
    }
}

/// `x` without gaps.
fn dense<T: DeviceReal>(pointer: u64, shape: &[usize]) -> Input<'_> {
    Input { pointer, dtype: T::DTYPE, shape, row_stride: None, batch_stride: None }
}
