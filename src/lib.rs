#![doc = include_str!("../README.md")]
//!
//! ## The house
//!
//! A tensor travels from [`mod@format`] (what bits mean) through [`numerics`] (what bytes come out)
//! and [`layout`] (where bits lie) into a [`QuantizedTensor`]. [`Quantize`] and
//! [`QuantizedTensor::dequantize`] check their arguments once and hand the work to a [`Backend`], as
//! do [`QuantizeBoth`], for a matrix and its transpose, [`Requantize`], to fewer bits, and [`Rotate`], which turns values before; [`analysis`] says what it did to the values.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod analysis;
mod backend;
#[cfg(feature = "checkpoint")]
pub mod checkpoint;
mod clip_mask;
mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
mod dequantize;
pub mod error;
pub mod format;
pub mod layout;
mod ms_eden;
pub mod numerics;
mod quantize;
mod quantize_both;
mod real;
mod reference;
mod requantize;
mod rotate;
mod shape;
mod tensor;

#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod fixtures;

pub use backend::Backend;
pub use clip_mask::ClipMask;
pub use cpu::{Cpu, Level};
pub use error::{Error, Result};
pub use ms_eden::MsEden;
pub use quantize::{Quantize, amax, amax_with, quantize};
pub use quantize_both::QuantizeBoth;
pub use real::Real;
pub use requantize::Requantize;
pub use rotate::Rotate;
pub use shape::Axis;
pub use tensor::{Blocks, QuantizedTensor};
