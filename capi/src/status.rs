//! Status codes, and the message of the latest failure of a thread.

use blockscale::Error;
use blockscale::cuda::CudaError;
use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a call returns; `blockscale_status` of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Status {
    /// Done, or put on the stream.
    Ok = 0,
    /// An argument is wrong.
    Argument = 1,
    /// There is no CUDA driver.
    NoDriver = 2,
    /// There is no such device.
    NoDevice = 3,
    /// The library was built without nvcc.
    KernelsNotCompiled = 4,
    /// No image runs on the device.
    NoImage = 5,
    /// The driver is older than the kernels.
    DriverTooOld = 6,
    /// Memory is used up.
    OutOfMemory = 7,
    /// A pointer is not aligned.
    Misaligned = 8,
    /// Two buffers share bytes.
    Overlap = 9,
    /// No context is current, or another one than that of the memory.
    Context = 10,
    /// The call may not be captured into a graph.
    Capture = 11,
    /// The driver reports another failure.
    Driver = 12,
    /// The library is wrong.
    Internal = 13,
}

/// A status and its message.
#[derive(Debug)]
pub(crate) struct Failure {
    status: Status,
    /// `None` where the thread's message stands already.
    message: Option<String>,
}

impl Failure {
    /// A failure of an inner call, which left its message.
    pub(crate) fn again(status: Status) -> Self {
        Self { status, message: None }
    }
}

impl From<CudaError> for Failure {
    fn from(error: CudaError) -> Self {
        let status = match &error {
            CudaError::Argument(_) => Status::Argument,
            CudaError::NoDriver(_) => Status::NoDriver,
            CudaError::NoDevice { .. } => Status::NoDevice,
            CudaError::KernelsNotCompiled => Status::KernelsNotCompiled,
            CudaError::NoImage { .. } => Status::NoImage,
            CudaError::DriverTooOld { .. } => Status::DriverTooOld,
            CudaError::OutOfMemory { .. } => Status::OutOfMemory,
            CudaError::Misaligned { .. } => Status::Misaligned,
            CudaError::Overlap(..) => Status::Overlap,
            CudaError::NoContext
            | CudaError::WrongContext { .. }
            | CudaError::WrongDevice { .. } => Status::Context,
            CudaError::TrackedInCapture { .. } | CudaError::InCapture { .. } => Status::Capture,
            CudaError::Driver { .. } => Status::Driver,
            _ => Status::Internal,
        };
        Self { status, message: Some(error.to_string()) }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        CudaError::from(error).into()
    }
}

thread_local! {
    static MESSAGE: RefCell<CString> = RefCell::new(CString::default());
}

/// Runs a call: keeps the message of its failure, lets no panic out.
pub(crate) fn guarded(call: impl FnOnce() -> Result<(), Failure>) -> Status {
    let failure = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(())) => return Status::Ok,
        Ok(Err(failure)) => failure,
        Err(panic) => {
            let texts = (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>());
            let text = texts.0.copied().or(texts.1.map(String::as_str)).unwrap_or("a panic");
            let message = Some(format!("internal failure, please report it: {text}"));
            Failure { status: Status::Internal, message }
        }
    };
    if let Some(message) = failure.message {
        // Zeros inside would end the text early.
        let message = CString::new(message.replace('\0', "\u{fffd}")).unwrap_or_default();
        // A thread that is going away has nobody to read it.
        let _ = MESSAGE.try_with(|kept| kept.replace(message));
    }
    failure.status
}

pub(crate) fn last_error() -> *const c_char {
    // A thread that is going away has no message.
    MESSAGE.try_with(|kept| kept.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    fn message() -> String {
        // SAFETY: a C string, and nothing is called before it is copied.
        unsafe { CStr::from_ptr(last_error()) }.to_str().unwrap().to_owned()
    }

    #[test]
    fn panics_become_a_status() {
        assert_eq!(guarded(|| panic!("the {}", "end")), Status::Internal);
        assert_eq!(message(), "internal failure, please report it: the end");
        assert_eq!(guarded(|| panic!("plain")), Status::Internal);
        assert!(message().ends_with(": plain"));
        assert_eq!(guarded(|| std::panic::panic_any(7)), Status::Internal);
        assert!(message().ends_with(": a panic"));
    }

    #[test]
    fn messages_belong_to_the_thread_and_to_the_latest_failure() {
        assert_eq!(message(), "");
        let no_driver = || Err(CudaError::NoDriver("a\0b".to_owned()).into());
        assert_eq!(guarded(no_driver), Status::NoDriver);
        assert!(message().contains("a\u{fffd}b"), "{}", message());
        assert_eq!(guarded(|| Ok(())), Status::Ok);
        assert!(!message().is_empty());
        std::thread::spawn(|| assert_eq!(message(), "")).join().unwrap();
        assert_eq!(guarded(|| Err(CudaError::Overlap("x", "y").into())), Status::Overlap);
        assert_eq!(message(), "x and y overlap");
    }
}
