//! What can go wrong on the device's side, each its own case.

use cudarc::driver::{DriverError, sys};

/// Why a CUDA call failed. Nothing of it is a panic, and nothing was launched where an argument
/// was wrong.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CudaError {
    /// There is no `libcuda`.
    #[error("no CUDA driver: {0}; install the driver, or use another backend")]
    NoDriver(String),
    /// The driver is there, the device is not.
    #[error("no CUDA device {ordinal}: the driver sees {count}")]
    NoDevice {
        /// Which device was asked for.
        ordinal: usize,
        /// How many there are.
        count: usize,
    },
    /// The crate was built without nvcc.
    #[error(
        "this build has no CUDA kernels: it was compiled without nvcc; set CUDA_HOME or NVCC and \
         build again with feature `cuda`"
    )]
    KernelsNotCompiled,
    /// No image runs on the device.
    #[error(
        "no kernels for compute capability {}.{}: compiled are {compiled}; set \
         BLOCKSCALE_CUDA_ARCHS and build again", capability.0, capability.1
    )]
    NoImage {
        /// The device's compute capability.
        capability: (u32, u32),
        /// The architectures there are.
        compiled: String,
    },
    /// The driver cannot load the image, being older than the toolkit.
    #[error("the driver refuses the kernels ({name}): a driver for CUDA 13.0 or later is needed")]
    DriverTooOld {
        /// The driver's name for its refusal.
        name: String,
    },
    /// The device's memory is used up.
    #[error("out of device memory while allocating {bytes} bytes")]
    OutOfMemory {
        /// How much was asked for.
        bytes: usize,
    },
    /// No context is current on the thread, where the caller has to choose one.
    #[error(
        "no CUDA context is current on this thread: call cuCtxSetCurrent, or anything of the CUDA \
         runtime that needs a device, and try again"
    )]
    NoContext,
    /// Memory or a stream of another device.
    #[error("{what} belongs to device {given}, the call to device {expected}")]
    WrongDevice {
        /// What belongs elsewhere.
        what: &'static str,
        /// Where it belongs.
        given: usize,
        /// Where the call runs.
        expected: usize,
    },
    /// Memory or a stream of another context of the same device.
    #[error("{what} belongs to another context than the call's, of the same device")]
    WrongContext {
        /// What belongs elsewhere.
        what: &'static str,
    },
    /// A buffer whose uses cudarc orders by events, in a call on a capturing stream.
    #[error(
        "{what} is ordered by events, which a capture cannot wait for: disable event tracking of \
         the context before, or borrow the memory"
    )]
    TrackedInCapture {
        /// Which buffer.
        what: &'static str,
    },
    /// A call that a graph must not hold: an allocation, or a copy from or to host memory that may be
    /// gone when the graph is launched.
    #[error("{what} cannot be captured into a graph: {instead}")]
    InCapture {
        /// What was asked for.
        what: &'static str,
        /// What would do.
        instead: &'static str,
    },
    /// A pointer that is not a multiple of its type's size (256 bytes for a workspace).
    #[error("{what} at {pointer:#x} is not aligned to {alignment} bytes")]
    Misaligned {
        /// Which pointer.
        what: &'static str,
        /// Its value.
        pointer: u64,
        /// The alignment that would do.
        alignment: u64,
    },
    /// Two buffers of a call share bytes.
    #[error("{0} and {1} overlap")]
    Overlap(&'static str, &'static str),
    /// An argument that no backend would take.
    #[error(transparent)]
    Argument(#[from] crate::Error),
    /// Any other failure that the driver reports.
    #[error("{call} failed: {name}")]
    Driver {
        /// The call.
        call: &'static str,
        /// The driver's name for the failure.
        name: String,
    },
}

impl CudaError {
    /// A driver's failure in `call`.
    pub(super) fn driver(call: &'static str) -> impl Fn(DriverError) -> Self {
        move |error| {
            // The enum's own name: asking the driver for a text could fail in turn.
            let name = format!("{:?}", error.0);
            match error.0 {
                sys::cudaError_enum::CUDA_ERROR_UNSUPPORTED_PTX_VERSION => {
                    Self::DriverTooOld { name }
                }
                _ => Self::Driver { call, name },
            }
        }
    }

    /// A driver's failure to allocate `bytes`.
    pub(super) fn allocation(bytes: usize) -> impl Fn(DriverError) -> Self {
        move |error| match error.0 {
            sys::cudaError_enum::CUDA_ERROR_OUT_OF_MEMORY => Self::OutOfMemory { bytes },
            _ => Self::driver("an allocation")(error),
        }
    }
}
