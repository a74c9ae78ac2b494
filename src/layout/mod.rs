//! Where bits lie: how codes are packed and how scales are ordered. Pure functions of bytes.
//!
//! Each layout is a type of its own, so that a swizzled scale cannot be taken for a linear one;
//! padding is zero in all of them.

mod codes;
mod scales;

pub(crate) use codes::Packing;
pub use codes::{Bytes, CodeLayout, CodePacking, Codes, Dense, Raw, SplitHalves};
#[cfg(feature = "cuda")]
pub(crate) use scales::length;
pub use scales::{Linear, ScaleLayout, Scales, Tiled, Tiled8x4, Tiled128x4};
