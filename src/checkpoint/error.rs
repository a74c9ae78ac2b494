//! What can be wrong with a file.

use safetensors::Dtype;
use std::io;
use std::path::PathBuf;

/// The result of a fallible call on a checkpoint.
pub type Result<T> = core::result::Result<T, Error>;

/// What was wrong with a file. Each message is one line and names the file, and the tensor where
/// there is one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Its answer.
        source: io::Error,
    },
    /// The operating system refused bytes of a tensor.
    #[error("{}: tensor '{tensor}': cannot write: {source}", path.display())]
    Write {
        /// The output.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its answer.
        source: io::Error,
    },
    /// A plan whose header no reader would accept.
    #[error(
        "{}: its header would have {bytes} bytes, and at most {limit} are possible: fewer tensors, \
         shorter names or less metadata would do",
        path.display()
    )]
    LongHeader {
        /// The output.
        path: PathBuf,
        /// The header's bytes.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A path that names something other than a file.
    #[error("{}: {rule}", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// What would do.
        rule: &'static str,
    },
    /// The output exists and may not be replaced.
    #[error("{}: already exists", path.display())]
    Exists {
        /// The output.
        path: PathBuf,
    },
    /// Bytes that are no safetensors file, or no quantized one.
    #[error("{}: not a valid safetensors file: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor that contradicts itself or another.
    #[error("{}: tensor '{tensor}': {reason}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor that is not in the file.
    #[error("{}: no {kind} tensor '{tensor}'", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        kind: &'static str,
        /// The name.
        tensor: String,
    },
    /// A tensor whose values are of another type than was asked for.
    #[error("{}: tensor '{tensor}' is {dtype}: expected F32, BF16 or F16", path.display())]
    NotFloat {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its type.
        dtype: Dtype,
    },
    /// A tensor that the library refuses.
    #[error("{}: tensor '{tensor}': {source}", path.display())]
    Quantization {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Why.
        source: Box<crate::Error>,
    },
    /// The caller of a [`Writer`](super::Writer) did not keep to its plan.
    #[error("{}: tensor '{tensor}' {rule}", path.display())]
    Plan {
        /// The output.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Which rule was broken.
        rule: &'static str,
    },
}
