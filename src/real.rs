//! The three types that tensors come from and go to: f32, bf16 and f16.

use crate::format::canonical;
use half::vec::HalfBitsVecExt;
use half::{bf16, f16};

/// f32, bf16 or f16.
///
/// Widening to f32 is exact. Narrowing rounds to nearest even, overflows to Inf, and writes
/// every NaN as 0x7FFFFFFF (f32) or 0x7FFF (bf16, f16).
pub trait Real: Copy + Send + Sync + sealed::Sealed + 'static {
    /// The exact value in f32.
    fn to_f32(self) -> f32;
    /// The nearest value, ties to even.
    fn from_f32(value: f32) -> Self;
    /// Zeros, from memory that the system hands out as such where it can.
    #[doc(hidden)]
    fn zeros(len: usize) -> Vec<Self>;
}

/// A slice by its type, so that what is compiled for each type is compiled in this crate.
pub(crate) use sealed::{Slice, SliceMut};

mod sealed {
    use half::{bf16, f16};

    #[derive(Clone, Copy)]
    pub enum Slice<'a> {
        F32(&'a [f32]),
        Bf16(&'a [bf16]),
        F16(&'a [f16]),
    }
    pub enum SliceMut<'a> {
        F32(&'a mut [f32]),
        Bf16(&'a mut [bf16]),
        F16(&'a mut [f16]),
    }

    pub trait Sealed: Sized {
        fn slice(x: &[Self]) -> Slice<'_>;
        fn slice_mut(x: &mut [Self]) -> SliceMut<'_>;
    }
    macro_rules! sealed {
        ($($real:ty: $name:ident),*) => {$(
            impl Sealed for $real {
                fn slice(x: &[Self]) -> Slice<'_> {
                    Slice::$name(x)
                }
                fn slice_mut(x: &mut [Self]) -> SliceMut<'_> {
                    SliceMut::$name(x)
                }
            }
        )*};
    }
    sealed!(f32: F32, bf16: Bf16, f16: F16);
}

impl Real for f32 {
    fn to_f32(self) -> f32 {
        self
    }
    fn from_f32(value: f32) -> Self {
        canonical(value)
    }
    fn zeros(len: usize) -> Vec<Self> {
        vec![0.0; len]
    }
}

impl Real for bf16 {
    fn to_f32(self) -> f32 {
        self.to_f32()
    }
    fn from_f32(value: f32) -> Self {
        if value.is_nan() { Self::from_bits(0x7fff) } else { Self::from_f32(value) }
    }
    fn zeros(len: usize) -> Vec<Self> {
        vec![0u16; len].reinterpret_into()
    }
}

impl Real for f16 {
    fn to_f32(self) -> f32 {
        self.to_f32()
    }
    fn from_f32(value: f32) -> Self {
        if value.is_nan() { Self::from_bits(0x7fff) } else { Self::from_f32(value) }
    }
    fn zeros(len: usize) -> Vec<Self> {
        vec![0u16; len].reinterpret_into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_nan_is_written_as_the_canonical_one() {
        for bits in [0x7f80_0001, 0xffc0_0000, 0x7fff_ffff] {
            let nan = f32::from_bits(bits);
            assert_eq!(<f32 as Real>::from_f32(nan).to_bits(), 0x7fff_ffff);
            assert_eq!(<bf16 as Real>::from_f32(nan).to_bits(), 0x7fff);
            assert_eq!(<f16 as Real>::from_f32(nan).to_bits(), 0x7fff);
        }
    }

    #[test]
    fn narrowing_rounds_ties_to_even_and_overflows_to_inf() {
        assert_eq!(<bf16 as Real>::from_f32(1.0 + 1.0 / 256.0).to_bits(), 0x3f80);
        assert_eq!(<bf16 as Real>::from_f32(1.0 + 3.0 / 256.0).to_bits(), 0x3f82);
        assert_eq!(<f16 as Real>::from_f32(65520.0), f16::INFINITY);
        assert_eq!(<bf16 as Real>::from_f32(f32::MAX), bf16::INFINITY);
        for x in [0.0f32, -0.0, 1.5, f32::MIN_POSITIVE] {
            assert_eq!(Real::to_f32(<bf16 as Real>::from_f32(x)).to_bits(), x.to_bits());
        }
        assert_eq!(Real::to_f32(<f16 as Real>::from_f32(-1.5)), -1.5);
        assert_eq!(Real::to_f32(<f32 as Real>::from_f32(-1.5)), -1.5);
    }
}
