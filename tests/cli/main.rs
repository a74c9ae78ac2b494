//! The command, run as a user runs it.

mod attacks;
mod cuda;
mod dequantize;
mod inspect;
mod level;
mod memory;
mod output;
mod quantize;
mod selection;
mod support;
mod tables;
