//! The parts of a quantized tensor in the caller's device memory, and where its amax comes from.

use super::memory::{DeviceInput, DeviceOutput};
use crate::numerics::Profile;
use std::fmt;

/// Where [`Device::quantize_into`](super::Device::quantize_into) takes the amax of the whole tensor
/// from. A profile without a tensor scale needs none.
pub enum TensorAmax<'a> {
    /// The host: [`Quantize::tensor_amax`](crate::Quantize::tensor_amax) was given it.
    Given,
    /// One f32 of the device, read when the stream comes to it.
    Device(&'a dyn DeviceInput<f32>),
    /// One f32 a group, for [grouped](super::Device::quantize_grouped_into) calls only.
    DeviceArray(&'a dyn DeviceInput<f32>),
    /// Computed from the input, in a workspace of [`WORKSPACE`](super::raw::WORKSPACE) bytes or
    /// more, aligned to 256 bytes. Its contents do not matter.
    Computed(&'a mut dyn DeviceOutput<u8>),
}

/// The parts of a quantized tensor of `shape`, to be decoded.
#[derive(Clone, Copy)]
pub struct QuantizedRef<'a> {
    /// The profile that made the codes and that decodes them.
    pub profile: &'a Profile,
    /// The shape of the decoded tensor.
    pub shape: &'a [usize],
    /// The codes in the raw layout, as [`QuantizedTensor`](crate::QuantizedTensor) has them.
    pub codes: &'a dyn DeviceInput<u8>,
    /// The block scales, row by row.
    pub scales: &'a dyn DeviceInput<u8>,
    /// One f32 where the profile stores a tensor scale, and nowhere else.
    pub tensor_scale: Option<&'a dyn DeviceInput<f32>>,
}

/// Where the parts of a quantized tensor go.
pub struct QuantizedMut<'a> {
    /// The codes in the raw layout, as [`QuantizedTensor`](crate::QuantizedTensor) has them.
    pub codes: &'a mut dyn DeviceOutput<u8>,
    /// The block scales, row by row.
    pub scales: &'a mut dyn DeviceOutput<u8>,
    /// One f32 where the profile stores a tensor scale, and nowhere else.
    pub tensor_scale: Option<&'a mut dyn DeviceOutput<f32>>,
    /// One word that gets the bits of [`status`](super::raw::status): NaN or Inf found. It is only
    /// added to.
    pub status: Option<&'a mut dyn DeviceOutput<u32>>,
}

impl fmt::Debug for TensorAmax<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Given => "Given",
            Self::Device(_) => "Device",
            Self::DeviceArray(_) => "DeviceArray",
            Self::Computed(_) => "Computed",
        })
    }
}

impl fmt::Debug for QuantizedRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QuantizedRef({}, {:?})", self.profile, self.shape)
    }
}

impl fmt::Debug for QuantizedMut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QuantizedMut({}, {})", self.codes.len(), self.scales.len())
    }
}
