//! The safe layer: contexts, streams and slices of cudarc.

use super::driver::require_driver;
use super::memory::{Buffers, check_length, is_capturing, no_capture};
use super::raw::{Amax, Dtype, Kernels, Output, WORKSPACE, check_rotation};
use super::report::device_count;
use super::{
    CudaError, DeviceInput, DeviceOutput, DeviceTensor, Image, QuantizedMut, QuantizedRef, Strided,
    TensorAmax,
};
use crate::layout::{Packing, Raw};
use crate::numerics::Profile;
use crate::shape::Extents;
use crate::{Blocks, Error, Quantize, QuantizedTensor, Real, tensor};
use cudarc::driver::{
    CudaContext, CudaSlice, CudaStream, DeviceRepr, HostSlice, PinnedHostSlice, ValidAsZeroBits,
};
use half::{bf16, f16};
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
/// Verbs take device memory as [`DeviceInput`] and [`DeviceOutput`]: cudarc's slices and views, and
/// [borrowed](Device::borrow) memory of other owners. What they return is allocated on the stream;
/// the `_into` variants allocate nothing, load nothing and wait for nothing, so that they can be
/// captured into a graph. For that, either the context's event tracking is off or all memory is
/// borrowed; a graph keeps no memory alive, so what it uses must live as long as it is launched.
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

/// Bytes of codes and of scales that a tensor of `shape` has in the raw layout.
///
/// # Errors
/// Those of [`Profile::check`]; [`Error::InvalidFormat`] for F32 scales; [`Error::InvalidShape`].
///
/// ```
/// use blockscale::{cuda::part_bytes, format::Format, numerics::Profile};
/// let profile = Profile::default_for(Format::NVFP4);
/// assert_eq!(part_bytes(&profile, &[2, 3, 40])?, (2 * 3 * 20, 2 * 3 * 3));
/// # Ok::<(), blockscale::Error>(())
/// ```
pub fn part_bytes(profile: &Profile, shape: &[usize]) -> crate::Result<(usize, usize)> {
    profile.check()?;
    sizes(profile, tensor::extents(profile.format(), Blocks::Row, shape)?)
}

/// Bytes of codes and of scales.
pub(super) fn sizes(profile: &Profile, extents: Extents) -> crate::Result<(usize, usize)> {
    let (format, rows) = (profile.format(), extents.all_rows());
    let code_bytes = Raw::row_bytes(extents.k, format.element().bits(), format.block())?;
    Ok((rows * code_bytes, rows * format.scales_per_row(extents.k)))
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

    /// The same device, whose kernels run in at most that many blocks of threads (at least one): what
    /// is left of it is free for other work. The bytes do not depend on it.
    #[must_use]
    pub fn with_most_blocks(&self, most_blocks: u32) -> Self {
        let kernels = Arc::new(self.kernels.with_most_blocks(most_blocks));
        Self { stream: self.stream.clone(), kernels }
    }

    pub(super) fn kernels(&self) -> &Kernels {
        &self.kernels
    }

    /// The image of each unit that was chosen for this device.
    pub fn images(&self) -> Vec<&'static Image> {
        let mut units: Vec<_> = super::IMAGES.iter().map(|image| image.unit).collect();
        units.sort_unstable();
        units.dedup();
        let capability = self.kernels.capability();
        units.iter().filter_map(|unit| super::image_for(unit, capability)).collect()
    }

    /// Copies host values to new device memory; asynchronously from [pinned](Device::pinned) memory,
    /// which stays usable because reading or writing it waits.
    ///
    /// # Errors
    /// [`CudaError::OutOfMemory`], [`CudaError::Driver`].
    pub fn upload<T: DeviceRepr>(
        &self,
        values: &(impl HostSlice<T> + ?Sized),
    ) -> Result<CudaSlice<T>> {
        no_capture(&self.stream, "an upload")?;
        let bytes = values.len() * size_of::<T>();
        self.stream.clone_htod(values).map_err(CudaError::allocation(bytes))
    }

    /// Copies host values into device memory of the same length; asynchronously from
    /// [pinned](Device::pinned) memory.
    ///
    /// # Errors
    /// [`CudaError::Argument`] for another length, [`CudaError::WrongDevice`],
    /// [`CudaError::InCapture`], [`CudaError::Driver`].
    pub fn upload_into<T: DeviceRepr>(
        &self,
        values: &(impl HostSlice<T> + ?Sized),
        to: &mut impl DeviceOutput<T>,
    ) -> Result<()> {
        no_capture(&self.stream, "an upload")?;
        check_length("the destination", to.len(), "elements", &[values.len()], values.len())?;
        Buffers::new(&self.stream)?.write::<T>("the destination", to, values.len())?;
        match values.len() {
            0 => Ok(()),
            _ => self.stream.memcpy_htod(values, to).map_err(CudaError::driver("an upload")),
        }
    }

    /// Copies device memory into host values of the same length; asynchronously into
    /// [pinned](Device::pinned) memory, which waits for the copy when it is read.
    ///
    /// # Errors
    /// As [`Device::upload_into`].
    ///
    /// ```no_run
    /// # let device = blockscale::cuda::Device::new(0)?;
    /// let x = device.upload(&[1.0f32, 2.0])?;
    /// let mut y = device.pinned::<f32>(2)?;
    /// device.download_into(&x, &mut y)?; // returns at once
    /// assert_eq!(y.as_slice().unwrap(), [1.0, 2.0]); // waits
    /// # Ok::<(), blockscale::cuda::CudaError>(())
    /// ```
    pub fn download_into<T: DeviceRepr>(
        &self,
        from: &impl DeviceInput<T>,
        values: &mut (impl HostSlice<T> + ?Sized),
    ) -> Result<()> {
        no_capture(&self.stream, "a download")?;
        check_length("the host's memory", values.len(), "elements", &[from.len()], from.len())?;
        Buffers::new(&self.stream)?.read::<T>("the source", from, from.len())?;
        match from.len() {
            0 => Ok(()),
            _ => self.stream.memcpy_dtoh(from, values).map_err(CudaError::driver("a download")),
        }
    }

    /// Page-locked host memory of `len` zeros: copies from and to it run beside the host's work.
    ///
    /// # Errors
    /// [`CudaError::Argument`] for a length of 0, [`CudaError::OutOfMemory`],
    /// [`CudaError::Driver`].
    pub fn pinned<T: DeviceRepr + ValidAsZeroBits>(
        &self,
        len: usize,
    ) -> Result<PinnedHostSlice<T>> {
        let bytes = len.checked_mul(size_of::<T>()).filter(|bytes| *bytes < isize::MAX as usize);
        let Some(bytes @ 1..) = bytes else {
            return Err(Error::InvalidValue {
                what: "the length of pinned memory",
                given: len.to_string(),
                rule: "at least one value, and no more than can be addressed",
            }
            .into());
        };
        let (context, failed) = (self.stream.context(), CudaError::allocation(bytes));
        // Cached memory: the default of cudarc is write-combined, which is slow to read.
        // SAFETY: it is zeroed below, before anybody sees it.
        let mut memory = unsafe { context.alloc_pinned_with_flags(len, 0) }.map_err(&failed)?;
        let start: *mut T = memory.as_mut_ptr().map_err(&failed)?;
        // SAFETY: the allocation has `len` values, for which zero bits are valid.
        unsafe { start.write_bytes(0, len) };
        Ok(memory)
    }

    pub(super) fn allocate<T: DeviceRepr>(&self, len: usize) -> Result<CudaSlice<T>> {
        if is_capturing(&self.stream)? {
            let instead = "allocate before, and use the verb that ends in _into";
            return Err(CudaError::InCapture { what: "an allocation", instead });
        }
        let bytes = len.saturating_mul(size_of::<T>());
        // SAFETY: every caller has a kernel write all of it before anything reads it. A length of
        // 0 is no allocation that drivers accept.
        unsafe { self.stream.alloc(len.max(1)) }.map_err(CudaError::allocation(bytes))
    }

    /// The largest magnitude of `x`, left on the device: NaN if any value is.
    ///
    /// # Errors
    /// [`CudaError::Argument`], [`CudaError::WrongDevice`], [`CudaError::OutOfMemory`],
    /// [`CudaError::Driver`].
    pub fn amax<'s, T: DeviceReal>(
        &self,
        profile: &Profile,
        x: &impl DeviceInput<T>,
        shape: impl Into<Strided<'s>>,
    ) -> Result<CudaSlice<f32>> {
        let mut amax = self.allocate::<f32>(1)?;
        self.amax_into(profile, x, shape, &mut amax)?;
        Ok(amax)
    }

    /// As [`Device::amax`], into one f32 of the caller's.
    ///
    /// # Errors
    /// [`CudaError::Argument`], [`CudaError::WrongDevice`], [`CudaError::Misaligned`],
    /// [`CudaError::Overlap`], [`CudaError::TrackedInCapture`], [`CudaError::Driver`].
    pub fn amax_into<'s, T: DeviceReal>(
        &self,
        profile: &Profile,
        x: &impl DeviceInput<T>,
        shape: impl Into<Strided<'s>>,
        amax: &mut impl DeviceOutput<f32>,
    ) -> Result<()> {
        let shape = shape.into();
        let used = shape.check(x.len())?;
        one_f32("the length of the tensor amax", amax.len())?;
        let mut buffers = Buffers::new(&self.stream)?;
        let x = buffers.read::<T>("x", x, used)?;
        let amax = buffers.write("the tensor amax", amax, 1)?;
        buffers.ready()?;
        let (input, stream) = (shape.at(x, T::DTYPE), self.stream.cu_stream());
        // SAFETY: `buffers` holds both, live, distinct, on this device and as long as was checked.
        unsafe { self.kernels.amax(profile, input, amax, stream) }
    }

    /// Quantizes `x` of `shape`; where the profile has a tensor scale and `quantize` was given no
    /// amax, that of `x` is computed and used on the device. A rotation of at most
    /// [`MOST_ROTATED`](super::raw::MOST_ROTATED) values is computed within the kernels.
    ///
    /// # Errors
    /// [`CudaError::Argument`] with whatever [`Quantize::run`] refuses, [`CudaError::WrongDevice`],
    /// [`CudaError::OutOfMemory`], [`CudaError::Driver`].
    ///
    /// ```no_run
    /// # use blockscale::{Quantize, format::Format, numerics::Profile};
    /// use blockscale::cuda::{Device, Strided};
    /// let device = Device::new(0)?;
    /// let x = device.upload(&[0.5f32; 8 * 96])?;
    /// let quantize = Quantize::new(Profile::default_for(Format::MXFP8_E4M3));
    /// let columns = x.slice(32..); // the last 64 of 96 columns
    /// let q = device.quantize(&quantize, &columns, Strided::new(&[8, 64]).row_stride(96))?;
    /// # Ok::<(), blockscale::cuda::CudaError>(())
    /// ```
    pub fn quantize<'s, T: DeviceReal>(
        &self,
        quantize: &Quantize,
        x: &impl DeviceInput<T>,
        shape: impl Into<Strided<'s>>,
    ) -> Result<DeviceTensor> {
        let computed = quantize.given_amax().is_none();
        if computed && quantize.profile().tensor_scale_name().is_some() {
            let mut workspace = self.allocate::<u8>(WORKSPACE)?;
            self.quantize_new(quantize, x, shape.into(), TensorAmax::Computed(&mut workspace))
        } else {
            self.quantize_new(quantize, x, shape.into(), TensorAmax::Given)
        }
    }

    /// Quantizes `x` of `shape`, a shard of a tensor whose amax lies on the device.
    ///
    /// # Errors
    /// As [`Device::quantize`].
    pub fn quantize_with_amax<'s, T: DeviceReal>(
        &self,
        quantize: &Quantize,
        x: &impl DeviceInput<T>,
        shape: impl Into<Strided<'s>>,
        amax: &impl DeviceInput<f32>,
    ) -> Result<DeviceTensor> {
        self.quantize_new(quantize, x, shape.into(), TensorAmax::Device(amax))
    }

    fn quantize_new<T: DeviceReal>(
        &self,
        quantize: &Quantize,
        x: &impl DeviceInput<T>,
        shape: Strided<'_>,
        amax: TensorAmax<'_>,
    ) -> Result<DeviceTensor> {
        shape.check(x.len())?;
        let (_, blocks) = quantize.choices();
        let mut tensor = DeviceTensor::unset(self, quantize.profile(), blocks, shape.shape())?;
        self.quantize_into(quantize, x, shape, amax, tensor.parts_mut())?;
        Ok(tensor)
    }

    /// Quantizes `x` of `shape` into memory of the caller's; allocates nothing.
    ///
    /// # Errors
    /// [`CudaError::Argument`] with whatever [`Quantize::run`] refuses, for a buffer of another
    /// length than the shape needs, and for an amax that is missing or given twice;
    /// [`CudaError::WrongDevice`], [`CudaError::WrongContext`], [`CudaError::Misaligned`],
    /// [`CudaError::Overlap`], [`CudaError::TrackedInCapture`], [`CudaError::Driver`].
    ///
    /// ```no_run
    /// # use blockscale::{Quantize, format::Format, numerics::Profile};
    /// use blockscale::cuda::{Device, QuantizedMut, TensorAmax};
    /// let device = Device::new(0)?;
    /// let x = device.upload(&[0.5f32; 64])?;
    /// let (mut codes, mut scales) = (device.upload(&[0u8; 32])?, device.upload(&[0u8; 2])?);
    /// let to = QuantizedMut { codes: &mut codes, scales: &mut scales, tensor_scale: None, status: None };
    /// let quantize = Quantize::new(Profile::default_for(Format::MXFP4));
    /// device.quantize_into(&quantize, &x, &[2, 32], TensorAmax::Given, to)?;
    /// # Ok::<(), blockscale::cuda::CudaError>(())
    /// ```
    pub fn quantize_into<'s, T: DeviceReal>(
        &self,
        quantize: &Quantize,
        x: &impl DeviceInput<T>,
        shape: impl Into<Strided<'s>>,
        amax: TensorAmax<'_>,
        to: QuantizedMut<'_>,
    ) -> Result<()> {
        let shape = shape.into();
        let used = shape.check(x.len())?;
        let extents = quantize.check(Extents::of(shape.shape())?.elements(), shape.shape())?;
        let rotation = quantize.rotation();
        rotation.map_or(Ok(()), check_rotation)?;
        let (profile, (rounding, blocks)) = (quantize.profile(), quantize.choices());
        let (code_bytes, scale_bytes) = sizes(profile, extents)?;
        check_length("the codes", to.codes.len(), "bytes", shape.shape(), code_bytes)?;
        check_length("the scales", to.scales.len(), "bytes", shape.shape(), scale_bytes)?;
        check_tensor_scale(profile, to.tensor_scale.as_ref().map(|scale| scale.len()))?;
        check_amax(quantize, &amax)?;

        let mut buffers = Buffers::new(&self.stream)?;
        let x = buffers.read::<T>("x", x, used)?;
        let amax = match amax {
            TensorAmax::Given => Amax::Host(quantize.given_amax().unwrap_or(0.0)),
            TensorAmax::Device(amax) | TensorAmax::DeviceArray(amax) => {
                Amax::Device(buffers.read("the tensor amax", amax, 1)?)
            }
            TensorAmax::Computed(workspace) => {
                Amax::Compute { workspace: buffers.write("the workspace", workspace, WORKSPACE)? }
            }
        };
        let codes = buffers.write("the codes", to.codes, code_bytes)?;
        let scales = buffers.write("the scales", to.scales, scale_bytes)?;
        let tensor_scale = match to.tensor_scale {
            Some(scale) => buffers.write("the tensor scale", scale, 1)?,
            None => 0,
        };
        let status = match to.status {
            Some(status) => {
                check_length("the status word", status.len(), "values", &[1], 1)?;
                buffers.write("the status word", status, 1)?
            }
            None => 0,
        };
        let to = Output { codes, scales, tensor_scale, status };
        buffers.ready()?;
        let (input, stream) = (shape.at(x, T::DTYPE), self.stream.cu_stream());
        // SAFETY: `buffers` holds all of them, live, distinct, on this device and as long as was
        // checked.
        unsafe {
            match rotation {
                None => self.kernels.quantize(profile, rounding, blocks, input, amax, to, stream),
                Some(hadamard) => self
                    .kernels
                    .quantize_rotated(profile, rounding, blocks, hadamard, input, amax, to, stream),
            }
        }
    }

    /// Decodes a quantized tensor of the caller's into memory of the caller's; allocates nothing.
    ///
    /// # Errors
    /// [`CudaError::Argument`] for a buffer of another length than the shape needs;
    /// [`CudaError::WrongDevice`], [`CudaError::WrongContext`], [`CudaError::Misaligned`],
    /// [`CudaError::Overlap`], [`CudaError::TrackedInCapture`], [`CudaError::Driver`].
    pub fn dequantize_into<T: DeviceReal>(
        &self,
        from: QuantizedRef<'_>,
        y: &mut impl DeviceOutput<T>,
    ) -> Result<()> {
        let QuantizedRef { profile, shape, .. } = from;
        profile.check().map_err(CudaError::Argument)?;
        let extents = tensor::extents(profile.format(), Blocks::Row, shape)?;
        let (code_bytes, scale_bytes) = sizes(profile, extents)?;
        check_length("y", y.len(), "elements", shape, extents.elements())?;
        check_length("the codes", from.codes.len(), "bytes", shape, code_bytes)?;
        check_length("the scales", from.scales.len(), "bytes", shape, scale_bytes)?;
        check_tensor_scale(profile, from.tensor_scale.map(|scale| scale.len()))?;

        let mut buffers = Buffers::new(&self.stream)?;
        let codes = buffers.read("the codes", from.codes, code_bytes)?;
        let scales = buffers.read("the scales", from.scales, scale_bytes)?;
        let tensor_scale = match from.tensor_scale {
            Some(scale) => buffers.read("the tensor scale", scale, 1)?,
            None => 0,
        };
        let y = buffers.write::<T>("y", y, extents.elements())?;
        buffers.ready()?;
        let stream = self.stream.cu_stream();
        // SAFETY: as in `quantize_into`.
        unsafe {
            self.kernels.dequantize(
                profile,
                shape,
                codes,
                scales,
                tensor_scale,
                y,
                T::DTYPE,
                stream,
            )
        }
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
}

/// A tensor scale has its place where the profile stores one, and nowhere else.
fn check_tensor_scale(profile: &Profile, given: Option<usize>) -> Result<()> {
    match (profile.tensor_scale_name(), given) {
        (None, None) => Ok(()),
        (Some(_), Some(len)) => one_f32("the length of the tensor scale", len),
        (stored, _) => Err(Error::InvalidTensor {
            format: profile.format().to_string(),
            rule: format!(
                "profile {profile} stores {}, given {}",
                stored.unwrap_or("no tensor scale"),
                if given.is_some() { "memory for one" } else { "no memory for it" },
            ),
        }
        .into()),
    }
}

/// A tensor scale needs an amax, from one place.
fn check_amax(quantize: &Quantize, amax: &TensorAmax<'_>) -> Result<()> {
    let needed = quantize.profile().tensor_scale_name().is_some();
    let (what, given, rule) = match (amax, quantize.given_amax()) {
        (TensorAmax::Given, None) if needed => (
            "the tensor amax",
            "nowhere".to_owned(),
            "give Quantize::tensor_amax one, the device's, or a workspace",
        ),
        (TensorAmax::Given, _) => return Ok(()),
        (_, Some(host)) => {
            ("the tensor amax", format!("{host} and on the device"), "one of the two")
        }
        (TensorAmax::Device(amax) | TensorAmax::DeviceArray(amax), None) => {
            return one_f32("the length of the tensor amax", amax.len());
        }
        (TensorAmax::Computed(workspace), None) => match workspace.len() {
            WORKSPACE.. => return Ok(()),
            given => {
                let rule = "at least raw::WORKSPACE bytes";
                ("the length of the workspace", given.to_string(), rule)
            }
        },
    };
    Err(Error::InvalidValue { what, given, rule }.into())
}

pub(super) fn one_f32(what: &'static str, given: usize) -> Result<()> {
    match given {
        1 => Ok(()),
        _ => Err(Error::InvalidValue { what, given: given.to_string(), rule: "one f32" }.into()),
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
