//! lib
#![deny(missing_docs)]
#![deny(unsafe_code)]
pub mod analysis;
mod backend;
mod cpu;
mod dequantize;
pub mod error;
pub mod format;
pub mod layout;
pub mod numerics;
mod quantize;
mod real;
mod reference;
mod shape;
mod tensor;

#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod fixtures;

pub use backend::Backend;
pub use error::{Error, Result};
pub use quantize::{Quantize, amax, quantize};
pub use real::Real;
pub use tensor::{Blocks, QuantizedTensor};
