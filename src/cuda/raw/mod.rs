//! Kernels on raw device pointers: no allocation, no synchronization, no change of the current
//! context, so that calls can be captured into a graph.
//!
//! All buffers of a call must be distinct; each verb says what it reads and writes. Lengths and
//! alignment are checked on the host before the launch, what the pointers point to cannot be.

mod amax;
mod dequantize;
mod grouped;
mod load;
mod quantize;
mod relayout;
mod rotate;

pub use grouped::{GroupedOutput, Groups, grouped_scale_rows};
pub use load::Kernels;
pub(super) use quantize::check_rotation;
pub use quantize::{MOST_ROTATED, Output};
pub use relayout::CodeShape;
pub use rotate::Turn;

use super::CudaError;
use super::arguments::DevicePointer;
use crate::shape::Extents;

/// f32, bf16 or f16 in device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// 32 bits.
    F32,
    /// bfloat16.
    Bf16,
    /// IEEE half.
    F16,
}

impl Dtype {
    /// Every type, with its suffix in entry names.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::F32, "f32"), (Self::Bf16, "bf16"), (Self::F16, "f16")];

    /// Bytes of a value.
    pub const fn size(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }
}

/// Where a tensor's amax comes from. It never passes through the host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amax {
    /// Known to the host. Where the profile has no tensor scale it does not matter.
    Host(f32),
    /// One f32 in device memory, for instance all-reduced over shards (max of the bits as u32).
    Device(DevicePointer),
    /// One f32 a group in device memory, for [grouped](Kernels::quantize_grouped) calls only.
    DeviceArray(DevicePointer),
    /// Computed from `x` into a workspace of [`WORKSPACE`] bytes (of four bytes a group, and at
    /// least that many, in grouped calls).
    Compute {
        /// Aligned to 256 bytes; its contents on entry do not matter.
        workspace: DevicePointer,
    },
}

/// Bytes of a workspace.
pub const WORKSPACE: usize = 256;

/// A tensor of `shape` with its strides, in elements; the last axis is contiguous.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Input<'a> {
    /// Where the first element lies.
    pub pointer: DevicePointer,
    /// What it is made of.
    pub dtype: Dtype,
    /// `[.., rows, K]`.
    pub shape: &'a [usize],
    /// From a row to the next; K where `None`.
    pub row_stride: Option<usize>,
    /// From a matrix to the next; rows × row stride where `None`.
    pub batch_stride: Option<usize>,
}

/// Bits of a status word. A word is cleared by the caller; calls only set bits.
pub mod status {
    /// A block holds NaN.
    pub const NAN: u32 = 1;
    /// A block holds Inf.
    pub const INF: u32 = 2;
    /// A group reaches beyond the rows of the input; what lies beyond was left out.
    pub const GROUP_BEYOND_ROWS: u32 = 4;
}

fn aligned(what: &'static str, pointer: DevicePointer, alignment: u64) -> Result<(), CudaError> {
    match pointer.is_multiple_of(alignment) {
        true => Ok(()),
        false => Err(CudaError::Misaligned { what, pointer, alignment }),
    }
}

/// The extents of an input, its row stride and its batch stride.
fn strided(x: Input<'_>) -> Result<(Extents, u64, u64), CudaError> {
    let extents = Extents::of(x.shape)?;
    let row_stride = x.row_stride.unwrap_or(extents.k);
    let batch_stride = x.batch_stride.unwrap_or(row_stride.saturating_mul(extents.rows));
    let reach = (extents.rows.saturating_sub(1) as u128 * row_stride as u128)
        + (extents.batches.saturating_sub(1) as u128 * batch_stride as u128)
        + extents.k as u128;
    if row_stride < extents.k && extents.rows > 1 {
        return Err(crate::Error::InvalidValue {
            what: "the row stride",
            given: row_stride.to_string(),
            rule: "rows must not overlap: at least K elements",
        }
        .into());
    }
    if reach > (isize::MAX as u128) / 4 {
        return Err(crate::Error::Overflow {
            what: "the last element's offset",
            given: reach,
            limit: isize::MAX as u64 / 4,
        }
        .into());
    }
    Ok((extents, row_stride as u64, batch_stride as u64))
}
