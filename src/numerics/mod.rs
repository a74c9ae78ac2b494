//! What bytes come out: profiles and the arithmetic that their knobs name.
//!
//! All arithmetic is IEEE f32, round to nearest even, without fused operations but where a formula
//! says fma; exponents come from bits, not from `log2`. The functions here work on one tensor's, one
//! block's or one element's numbers; `reference` walks tensors with them.

mod block_scale;
mod decode;
mod element_map;
mod exponent;
mod hadamard;
mod knobs;
mod kronecker;
mod log2;
mod matrix;
mod ms_eden;
mod neighbours;
mod philox;
mod profile;
mod rotation;
mod rotation_matrix;
mod rounding;
mod search;
mod sum;
mod tensor_scale;

pub(crate) use block_scale::{
    BlockScale, BlockStatistics, ScaleChoice, max_magnitude, standard_deviation,
};
pub(crate) use element_map::Scaling;
pub(crate) use exponent::ExponentSteps;
pub use hadamard::Hadamard;
#[cfg(all(test, feature = "cuda"))]
pub(crate) use knobs::knob_names;
pub use knobs::{
    DecodeRule, ElementMap, Headroom, NonFinite, ScaleCast, ScaleRange, ScaleRule, Search,
    SignRule, TensorRule,
};
pub use kronecker::Kronecker;
pub(crate) use ms_eden::{EDEN_BLOCK, EDEN_GROUP, EdenFactors, eden_amax, eden_correction};
pub(crate) use neighbours::Between;
pub use philox::philox4x32_10;
pub(crate) use philox::{MULTIPLIERS as PHILOX_MULTIPLIERS, WEYL as PHILOX_WEYL};
pub use profile::Profile;
pub use rotation::Rotation;
pub use rotation_matrix::Matrix;
pub use rounding::{Domain, DrawBits, DrawRule, Rounding, Stochastic};
pub(crate) use sum::folded_sum;
pub(crate) use sum::ordered_sum;
pub(crate) use tensor_scale::TensorFactors;
pub use tensor_scale::TensorScale;
