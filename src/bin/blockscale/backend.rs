//! Who computes, by the name that the user gave.

use crate::failure::Failure;
use blockscale::checkpoint::Values;
use blockscale::{Backend, Level, Quantize, QuantizedTensor};
use std::str::FromStr;

/// Whether the level that the environment asks for is one that this processor has. The library would
/// take its best one instead; whoever names a level wants to know.
pub fn check_level() -> Result<(), Failure> {
    level_of_environment().map(drop).map_err(Failure::User)
}

/// The level that the environment asks for, or what is wrong with it.
pub fn level_of_environment() -> Result<Option<Level>, String> {
    Level::from_environment().map_err(|error| format!("{}: {error}", Level::VARIABLE))
}

/// The argument of `--backend`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendName {
    Auto,
    Reference,
    Cpu,
    Cuda(usize),
}

impl FromStr for BackendName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || format!("'{text}' is no backend; known: auto, cpu, reference, cuda, cuda:N");
        match (text, text.strip_prefix("cuda:")) {
            ("auto", _) => Ok(Self::Auto),
            ("reference", _) => Ok(Self::Reference),
            ("cpu", _) => Ok(Self::Cpu),
            ("cuda", _) => Ok(Self::Cuda(0)),
            (_, Some(ordinal)) => ordinal.parse().map(Self::Cuda).map_err(|_| known()),
            _ => Err(known()),
        }
    }
}

/// A backend, ready to work.
pub enum Worker {
    Host(Backend),
    #[cfg(feature = "cuda")]
    Cuda(blockscale::cuda::Device),
}

/// Why a tensor was not quantized.
pub enum Refusal {
    /// The tensor or the arguments are wrong.
    Argument(blockscale::Error),
    /// The backend failed.
    #[cfg(feature = "cuda")]
    Backend(Failure),
}

impl Worker {
    /// Opens the device, where one is named.
    pub fn new(name: BackendName) -> Result<Self, Failure> {
        match name {
            BackendName::Auto => Ok(Self::Host(Backend::default())),
            BackendName::Reference => Ok(Self::Host(Backend::Reference)),
            BackendName::Cpu => Ok(Self::Host(Backend::default())),
            #[cfg(feature = "cuda")]
            BackendName::Cuda(ordinal) => {
                Ok(Self::Cuda(blockscale::cuda::Device::new(ordinal).map_err(failure)?))
            }
            #[cfg(not(feature = "cuda"))]
            BackendName::Cuda(_) => Err(Failure::User(
                "--backend cuda: this build is without feature `cuda`; install it with --features \
                 cli,cuda, or use --backend cpu"
                    .to_owned(),
            )),
        }
    }

    /// Quantizes the values of one tensor.
    pub fn quantize(
        &self,
        values: &Values,
        how: &Quantize,
        shape: &[usize],
    ) -> Result<QuantizedTensor, Refusal> {
        match self {
            Self::Host(backend) => {
                values.quantize(&how.backend(*backend), shape).map_err(Refusal::Argument)
            }
            #[cfg(feature = "cuda")]
            Self::Cuda(device) => {
                let quantized = match values {
                    Values::F32(x) => device.run(how, x, shape),
                    Values::Bf16(x) => device.run(how, x, shape),
                    Values::F16(x) => device.run(how, x, shape),
                };
                quantized.map_err(|error| match error {
                    blockscale::cuda::CudaError::Argument(error) => Refusal::Argument(error),
                    error => Refusal::Backend(failure(error)),
                })
            }
        }
    }
}

/// A driver that fails in a call of ours is our failure, everything else is the user's to mend.
#[cfg(feature = "cuda")]
fn failure(error: blockscale::cuda::CudaError) -> Failure {
    let message = format!("--backend cuda: {error}");
    match error {
        blockscale::cuda::CudaError::Driver { .. } => Failure::Internal(message),
        _ => Failure::User(message),
    }
}
