//! What bits mean: elements, scales and block formats, and the code of one value.
//!
//! Nothing here chooses a scale or knows where bits lie: that is `numerics` and `layout`.

mod block;
mod element;
mod integer;
mod minifloat;
mod round;
mod scale;

pub use block::Format;
pub use element::Element;
pub use integer::Integer;
pub use minifloat::{Minifloat, Specials};
pub(crate) use round::significand_and_exponent;
pub use round::{Round, Ties};
pub use scale::Scale;
pub(crate) use scale::{e8m0_reciprocal, e8m0_value};

/// The NaN that every decode writes: 0x7FFFFFFF, as the device's arithmetic gives it.
pub const CANONICAL_NAN: f32 = f32::from_bits(0x7fff_ffff);

/// `x`, with any NaN made the canonical one.
pub(crate) fn canonical(x: f32) -> f32 {
    if x.is_nan() { CANONICAL_NAN } else { x }
}

/// 2^exponent, exact; `exponent` within f64's normal range.
pub(crate) fn exp2(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}
