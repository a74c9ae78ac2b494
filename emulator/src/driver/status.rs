//! The driver's result codes.

use std::ffi::CStr;

/// A `CUresult` other than success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status(pub u32);

pub(super) type Result<T> = std::result::Result<T, Status>;

macro_rules! statuses {
    ($($name:ident $code:literal $text:literal)*) => {
        impl Status {
            $(
                #[allow(dead_code, reason = "some codes come from faults, as numbers")]
                pub const $name: Self = Self($code);
            )*
        }

        /// The code's name and meaning.
        pub(super) fn describe(code: u32) -> Option<(&'static CStr, &'static CStr)> {
            let (name, text) = match code {
                0 => ("CUDA_SUCCESS\0", "no error\0"),
                $($code => (concat!("CUDA_ERROR_", stringify!($name), "\0"), concat!($text, "\0")),)*
                _ => return None,
            };
            Some((CStr::from_bytes_with_nul(name.as_bytes()).ok()?, CStr::from_bytes_with_nul(text.as_bytes()).ok()?))
        }
    };
}

statuses! {
    INVALID_VALUE 1 "invalid argument"
    OUT_OF_MEMORY 2 "out of memory"
    NOT_INITIALIZED 3 "initialization error"
    DEINITIALIZED 4 "driver shutting down"
    NO_DEVICE 100 "no CUDA-capable device is detected"
    INVALID_DEVICE 101 "invalid device ordinal"
    INVALID_IMAGE 200 "device kernel image is invalid"
    INVALID_CONTEXT 201 "invalid device context"
    NO_BINARY_FOR_GPU 209 "no kernel image is available for execution on the device"
    INVALID_PTX 218 "a PTX JIT compilation failed"
    UNSUPPORTED_PTX_VERSION 222 "the provided PTX was compiled with an unsupported toolchain."
    FILE_NOT_FOUND 301 "file not found"
    INVALID_HANDLE 400 "invalid resource handle"
    NOT_FOUND 500 "named symbol not found"
    NOT_READY 600 "device not ready"
    ILLEGAL_ADDRESS 700 "an illegal memory access was encountered"
    LAUNCH_OUT_OF_RESOURCES 701 "too many resources requested for launch"
    LAUNCH_TIMEOUT 702 "the launch timed out and was terminated"
    ILLEGAL_INSTRUCTION 715 "an illegal instruction was encountered"
    MISALIGNED_ADDRESS 716 "misaligned address"
    LAUNCH_FAILED 719 "unspecified launch failure"
    NOT_SUPPORTED 801 "operation not supported"
    STREAM_CAPTURE_UNSUPPORTED 900 "operation not permitted when stream is capturing"
    STREAM_CAPTURE_INVALIDATED 901 "operation failed due to a previous error during capture"
    STREAM_CAPTURE_MERGE 902 "operation would result in a merge of separate capture sequences"
    STREAM_CAPTURE_UNMATCHED 903 "capture was not ended in the same stream as it began"
    STREAM_CAPTURE_UNJOINED 904 "capturing stream has unjoined work"
    STREAM_CAPTURE_ISOLATION 905 "dependency created on uncaptured work in another stream"
    CAPTURED_EVENT 907 "operation not permitted on an event last recorded in a capturing stream"
    UNKNOWN 999 "unknown error"
}
