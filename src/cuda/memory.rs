//! Device memory that verbs take: cudarc's, and that of other owners.

use super::{CudaError, Device, DevicePointer};
use crate::Error;
use cudarc::driver::sys::{self, CUdeviceptr};
use cudarc::driver::{
    CudaContext, CudaSlice, CudaStream, CudaView, CudaViewMut, DevicePtr, DevicePtrMut, DeviceRepr,
    DeviceSlice, SyncOnDrop,
};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

type Result<T> = std::result::Result<T, CudaError>;

/// What may be read: [`CudaSlice`], [`CudaView`], [`CudaViewMut`], [`BorrowedDevice`],
/// [`BorrowedDeviceMut`]. Nothing else can be, because verbs believe the length.
pub trait DeviceInput<T>: DevicePtr<T> + sealed::Memory {}

/// What may be written: [`CudaSlice`], [`CudaViewMut`], [`BorrowedDeviceMut`].
pub trait DeviceOutput<T>: DevicePtrMut<T> + sealed::Memory {}

mod sealed {
    pub trait Memory {
        /// Whether cudarc may order its uses by events.
        fn is_tracked(&self) -> bool;
    }
}

macro_rules! memory {
    ($($memory:ty, $tracked:literal, $($verb:ident)+;)+) => {$(
        impl<T> sealed::Memory for $memory {
            fn is_tracked(&self) -> bool {
                $tracked
            }
        }
        $(impl<T> $verb<T> for $memory {})+
    )+};
}
memory! {
    CudaSlice<T>, true, DeviceInput DeviceOutput;
    CudaView<'_, T>, true, DeviceInput;
    CudaViewMut<'_, T>, true, DeviceInput DeviceOutput;
    BorrowedDevice<'_, T>, false, DeviceInput;
    BorrowedDeviceMut<'_, T>, false, DeviceInput DeviceOutput;
}

/// `len` values of device memory that another library owns, to be read.
///
/// Made by [`Device::borrow`]. It implements cudarc's [`DevicePtr`] too. Nothing is freed when it is
/// dropped, and no event orders its uses: that is the owner's business.
pub struct BorrowedDevice<'a, T> {
    pointer: DevicePointer,
    len: usize,
    stream: Arc<CudaStream>,
    owner: PhantomData<&'a T>,
}

/// `len` values of device memory that another library owns, to be read and written.
///
/// Made by [`Device::borrow_mut`]; otherwise as [`BorrowedDevice`].
pub struct BorrowedDeviceMut<'a, T> {
    pointer: DevicePointer,
    len: usize,
    stream: Arc<CudaStream>,
    owner: PhantomData<&'a mut T>,
}

macro_rules! borrowed {
    ($($memory:ident)+) => {$(
        impl<T> DeviceSlice<T> for $memory<'_, T> {
            fn len(&self) -> usize {
                self.len
            }
            fn stream(&self) -> &Arc<CudaStream> {
                &self.stream
            }
        }
        impl<T> DevicePtr<T> for $memory<'_, T> {
            fn device_ptr<'a>(&'a self, _: &'a CudaStream) -> (CUdeviceptr, SyncOnDrop<'a>) {
                (self.pointer, SyncOnDrop::Record(None))
            }
        }
        impl<T> fmt::Debug for $memory<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:#x}, {})", stringify!($memory), self.pointer, self.len)
            }
        }
    )+};
}
borrowed!(BorrowedDevice BorrowedDeviceMut);

impl<T> DevicePtrMut<T> for BorrowedDeviceMut<'_, T> {
    fn device_ptr_mut<'a>(&'a mut self, _: &'a CudaStream) -> (CUdeviceptr, SyncOnDrop<'a>) {
        (self.pointer, SyncOnDrop::Record(None))
    }
}

impl Device {
    /// Borrows memory of another owner (candle, PyTorch, a C runtime) to be read by verbs.
    ///
    /// # Errors
    /// [`CudaError::Misaligned`]; [`CudaError::WrongDevice`] where the driver knows the memory as
    /// another device's; [`CudaError::Argument`] for null, for a length without addresses, and for
    /// a pointer that the driver does not know; [`CudaError::Driver`].
    ///
    /// # Safety
    /// - `pointer` points to `len` initialized values that stay valid for `'a` and until this
    ///   device's [stream](Device::stream) has run what was given them.
    /// - Whoever writes them on another stream has finished, or this stream waits for it.
    ///
    /// ```no_run
    /// use blockscale::{Quantize, cuda::Device, format::Format, numerics::Profile};
    /// # let (pointer, device) = (0u64, Device::new(0)?);
    /// // SAFETY: the owner keeps 64 values there, and nobody writes them.
    /// let x = unsafe { device.borrow::<half::bf16>(pointer, 64)? };
    /// let quantize = Quantize::new(Profile::default_for(Format::MXFP4));
    /// let q = device.quantize(&quantize, &x, &[2, 32])?;
    /// # Ok::<(), blockscale::cuda::CudaError>(())
    /// ```
    pub unsafe fn borrow<'a, T: DeviceRepr>(
        &self,
        pointer: DevicePointer,
        len: usize,
    ) -> Result<BorrowedDevice<'a, T>> {
        self.check_foreign::<T>(pointer, len)?;
        let stream = self.stream().clone();
        Ok(BorrowedDevice { pointer, len, stream, owner: PhantomData })
    }

    /// Borrows memory of another owner to be written, and read, by verbs.
    ///
    /// # Errors
    /// As [`Device::borrow`].
    ///
    /// # Safety
    /// As [`Device::borrow`], and for `'a` nobody else reads or writes the values; they need not be
    /// initialized where they are only written.
    pub unsafe fn borrow_mut<'a, T: DeviceRepr>(
        &self,
        pointer: DevicePointer,
        len: usize,
    ) -> Result<BorrowedDeviceMut<'a, T>> {
        self.check_foreign::<T>(pointer, len)?;
        let stream = self.stream().clone();
        Ok(BorrowedDeviceMut { pointer, len, stream, owner: PhantomData })
    }

    /// What can be told about a pointer.
    fn check_foreign<T>(&self, pointer: DevicePointer, len: usize) -> Result<()> {
        let alignment = align_of::<T>() as u64;
        if !pointer.is_multiple_of(alignment) {
            return Err(CudaError::Misaligned { what: "borrowed memory", pointer, alignment });
        }
        let bytes = len as u128 * size_of::<T>() as u128;
        if bytes > isize::MAX as u128 || u128::from(pointer) + bytes > u64::MAX.into() {
            let (given, limit) = (bytes, isize::MAX as u64);
            return Err(
                Error::Overflow { what: "the size of borrowed memory", given, limit }.into()
            );
        }
        if len == 0 {
            return Ok(());
        }
        let context = self.stream().context();
        context.bind_to_thread().map_err(CudaError::driver("cuCtxSetCurrent"))?;
        let mut ordinal = 0i32;
        let attribute = sys::CUpointer_attribute::CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL;
        // SAFETY: the driver writes one i32; it may be asked about any pointer.
        let answer = unsafe {
            sys::cuPointerGetAttribute((&raw mut ordinal).cast(), attribute, pointer).result()
        };
        let expected = context.ordinal();
        match answer {
            Ok(()) if ordinal == expected as i32 => Ok(()),
            Ok(()) => {
                let given = ordinal.max(0) as usize;
                Err(CudaError::WrongDevice { what: "borrowed memory", given, expected })
            }
            Err(error) if error.0 == sys::cudaError_enum::CUDA_ERROR_INVALID_VALUE => {
                Err(Error::InvalidValue {
                    what: "the pointer of borrowed memory",
                    given: format!("{pointer:#x}"),
                    rule: "memory that the CUDA driver allocated or mapped, and has not freed",
                }
                .into())
            }
            Err(error) => Err(CudaError::driver("cuPointerGetAttribute")(error)),
        }
    }
}

/// The buffers of one call: each checked when it comes, held until the launch.
pub(super) struct Buffers<'a> {
    stream: &'a CudaStream,
    capturing: bool,
    held: Vec<Held<'a>>,
}

struct Held<'a> {
    what: &'static str,
    bytes: Range<u64>,
    written: bool,
    /// Records the use when it is dropped.
    _use: SyncOnDrop<'a>,
}

impl<'a> Buffers<'a> {
    /// For a call on `stream`, whose context becomes current.
    pub(super) fn new(stream: &'a CudaStream) -> Result<Self> {
        let context = stream.context();
        context.bind_to_thread().map_err(CudaError::driver("cuCtxSetCurrent"))?;
        // Without events nothing of a buffer can disturb a capture.
        let capturing = context.is_managing_stream_synchronization() && is_capturing(stream)?;
        Ok(Self { stream, capturing, held: Vec::new() })
    }

    /// A buffer of which the call reads the first `len` values.
    pub(super) fn read<T: 'a>(
        &mut self,
        what: &'static str,
        memory: &'a (impl DeviceInput<T> + ?Sized),
        len: usize,
    ) -> Result<DevicePointer> {
        self.check(what, memory.stream().context(), memory.is_tracked())?;
        let (pointer, held) = memory.device_ptr(self.stream);
        self.hold::<T>(what, pointer, len, false, held)
    }

    /// A buffer of which the call writes the first `len` values.
    pub(super) fn write<T: 'a>(
        &mut self,
        what: &'static str,
        memory: &'a mut (impl DeviceOutput<T> + ?Sized),
        len: usize,
    ) -> Result<DevicePointer> {
        self.check(what, memory.stream().context(), memory.is_tracked())?;
        let (pointer, held) = memory.device_ptr_mut(self.stream);
        self.hold::<T>(what, pointer, len, true, held)
    }

    fn check(&self, what: &'static str, context: &CudaContext, tracked: bool) -> Result<()> {
        same_context(what, context, self.stream.context())?;
        match self.capturing && tracked {
            true => Err(CudaError::TrackedInCapture { what }),
            false => Ok(()),
        }
    }

    fn hold<T>(
        &mut self,
        what: &'static str,
        pointer: DevicePointer,
        len: usize,
        written: bool,
        held: SyncOnDrop<'a>,
    ) -> Result<DevicePointer> {
        let alignment = align_of::<T>() as u64;
        if !pointer.is_multiple_of(alignment) {
            return Err(CudaError::Misaligned { what, pointer, alignment });
        }
        let bytes = pointer..pointer + (len * size_of::<T>()) as u64;
        let shares = |other: &&Held<'_>| {
            let both = bytes.start.max(other.bytes.start)..bytes.end.min(other.bytes.end);
            (written || other.written) && !both.is_empty()
        };
        if let Some(other) = self.held.iter().find(shares) {
            return Err(CudaError::Overlap(other.what, what));
        }
        self.held.push(Held { what, bytes, written, _use: held });
        Ok(pointer)
    }

    /// Fails where waiting for an earlier use of a buffer failed.
    pub(super) fn ready(&self) -> Result<()> {
        self.stream.context().check_err().map_err(CudaError::driver("waiting for a buffer"))
    }
}

/// Whether what is put on the stream goes into a graph.
pub(super) fn is_capturing(stream: &CudaStream) -> Result<bool> {
    let status = stream.capture_status().map_err(CudaError::driver("cuStreamIsCapturing"))?;
    Ok(status != sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE)
}

/// Refuses a copy between host and device inside a capture: the graph would keep the host's
/// address.
pub(super) fn no_capture(stream: &CudaStream, what: &'static str) -> Result<()> {
    let instead = "copy before the capture, or between launches of the graph";
    match is_capturing(stream)? {
        true => Err(CudaError::InCapture { what, instead }),
        false => Ok(()),
    }
}

/// A copy of device memory on the host.
pub(super) fn downloaded<T: DeviceRepr>(
    memory: &CudaSlice<T>,
    stream: &Arc<CudaStream>,
) -> Result<Vec<T>> {
    no_capture(stream, "a download")?;
    stream.clone_dtoh(memory).map_err(CudaError::driver("a download"))
}

/// Whether memory belongs to the context of the call.
pub(super) fn same_context(
    what: &'static str,
    given: &CudaContext,
    expected: &CudaContext,
) -> Result<()> {
    let (device, other) = (expected.ordinal(), given.ordinal());
    match given.cu_ctx() == expected.cu_ctx() {
        true => Ok(()),
        false if device == other => Err(CudaError::WrongContext { what }),
        false => Err(CudaError::WrongDevice { what, given: other, expected: device }),
    }
}

/// Whether a buffer has the length that the call needs. Where it needs nothing, any will do.
pub(super) fn check_length(
    what: &'static str,
    given: usize,
    unit: &'static str,
    shape: &[usize],
    expected: usize,
) -> Result<()> {
    match given == expected || expected == 0 {
        true => Ok(()),
        false => {
            Err(Error::WrongLength { what, given, unit, shape: shape.to_vec(), expected }.into())
        }
    }
}
