//! Quantized tensors in safetensors files.
//!
//! A [`Reader`] maps a file and gives views of its tensors; a [`Writer`] takes a [`Plan`] and
//! then tensor after tensor, so that neither ever holds a whole model.
//!
//! **The raw layout** of a quantized tensor NAME, whose shape with the block axis moved behind
//! all others is `[.., K]`, in blocks of B:
//!
//! ```text
//! NAME.codes         U8  [.., ⌈K/2⌉]   4-bit elements, the even one in the low nibble
//!                    U8  [.., K]       6- and 8-bit elements, one a byte
//! NAME.scales        U8  [.., ⌈K/B⌉]
//! NAME.tensor_amax   F32 [1]           where the profile stores the tensor's amax,
//! NAME.decode_scale  F32 [1]           or a multiplier on decode,
//! NAME.encode_scale  F32 [1]           or a divisor on decode
//! __metadata__       "blockscale.version": "1", or "2" where a record needs it
//!                    "blockscale.tensor.NAME": the Record, in JSON
//! ```
//!
//! Everything else in the file stays what it is: other tensors, and other metadata.

mod axis;
mod error;
mod float;
mod header;
mod map;
mod raw;
mod reader;
mod rotation;
mod temporary;
mod writer;

pub use error::{Error, Result};
pub use float::{Float, Values};
pub use raw::{Part, Record, StoredRounding};
pub use reader::{Entry, Reader, Stored};
pub use rotation::StoredRotation;
/// The type of a stored tensor, as a safetensors header names it.
pub use safetensors::Dtype;
pub use writer::{Existing, Plan, Writer};
