//! The specification: scalar, obvious, one function per operation.
//!
//! What these functions write is what a profile means; the other backends equal them to the
//! byte. They are written to be read: a block is gathered, its scale chosen, its elements
//! rounded, with the formulas in [`crate::numerics`] beside the knobs that name them.

mod amax;
mod axis_blocks;
mod block;
mod clip_mask;
mod dequantize;
mod ms_eden;
mod multiply;
mod neighbours;
mod quantize;
mod quantize_both;
mod requantize;
mod rotate;
mod search;

pub(crate) use amax::amax;
pub(crate) use block::{Block, chosen_scale, coded_block, quantize_block};
pub(crate) use clip_mask::{clip_mask, clip_mask_band, mask_bands};
pub(crate) use dequantize::dequantize;
pub(crate) use ms_eden::{EdenJob, ms_eden, ms_eden_group};
pub(crate) use multiply::{Factors, MultiplyJob, multiply, multiply_in_place};
pub(crate) use neighbours::{Found, neighbours};
pub(crate) use quantize::quantize_band;
pub(crate) use quantize::{Job, quantize};
pub(crate) use quantize_both::{Output, Pass, amax_of_columns, quantize_both};
pub(crate) use requantize::{RequantizeJob, Shift, requantize};
pub(crate) use rotate::{RotateJob, rotate, rotate_in_place, rotated};
