//! What quantization did to a tensor.
mod simulate;
pub use simulate::simulate;
