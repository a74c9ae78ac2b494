//! The largest magnitude: bits of magnitudes are ordered as integers, NaN above Inf.

use super::encode::Input;
use super::pieces::PREFETCH_BYTES;
use super::simd::{Kernel, LANES, Simd, dispatch};
use super::threads::for_each;
use super::{Cpu, Level};
use crate::Real;
use crate::format::canonical;
use crate::numerics::NonFinite;
use crate::reference;
use core::sync::atomic::{AtomicU32, Ordering};
use half::{bf16, f16};

/// Elements that a thread takes at a time.
const PIECE: usize = 1 << 18;

/// Floats whose magnitudes are compared as they are.
pub(super) trait Ordered: Real + Input {
    /// Elements of a vector.
    const PER_VECTOR: usize;
    /// The larger magnitudes, lane by lane, of a vector's elements and those of `largest`.
    fn larger<S: Simd>(simd: S, largest: S::I, x: &[Self]) -> S::I;
    /// The largest of the lanes.
    fn largest(lanes: [u32; LANES]) -> Self;
}

impl Ordered for f32 {
    const PER_VECTOR: usize = LANES;

    #[inline(always)]
    fn larger<S: Simd>(simd: S, largest: S::I, x: &[Self]) -> S::I {
        let Ok(x) = x.try_into() else { return largest };
        let magnitude = simd.and(simd.bits(simd.load(x)), simd.splat_i(0x7fff_ffff));
        simd.max_i(largest, magnitude)
    }
    fn largest(lanes: [u32; LANES]) -> Self {
        Self::from_bits(lanes.into_iter().fold(0, u32::max))
    }
}

/// 16-bit floats, two to a lane.
macro_rules! ordered {
    ($($half:ty),*) => {$(
        impl Ordered for $half {
            const PER_VECTOR: usize = 2 * LANES;

            #[inline(always)]
            fn larger<S: Simd>(simd: S, largest: S::I, x: &[Self]) -> S::I {
                let Ok(x) = x.try_into() else { return largest };
                let magnitude = simd.and(simd.load_halves::<Self>(x), simd.splat_i(0x7fff_7fff));
                simd.max_i16(largest, magnitude)
            }
            fn largest(lanes: [u32; LANES]) -> Self {
                let halves = lanes.into_iter().flat_map(|lane| [lane as u16, (lane >> 16) as u16]);
                Self::from_bits(halves.fold(0, u16::max))
            }
        }
    )*};
}
ordered!(bf16, f16);

/// max |x|, NaN if any x is; 0 of nothing.
pub(super) fn amax<T: Ordered>(cpu: Cpu, nonfinite: NonFinite, x: &[T]) -> f32 {
    let level = cpu.chosen_level();
    let largest = AtomicU32::new(0);
    // The work cannot fail, and a maximum does not depend on the order.
    let _ = for_each(cpu, x.len(), x.chunks(PIECE), |x| {
        largest.fetch_max(amax_of(level, nonfinite, x).to_bits(), Ordering::Relaxed);
        Ok(())
    });
    canonical(f32::from_bits(largest.into_inner()))
}

/// Of a piece, with a NaN of any bits.
pub(super) fn amax_of<T: Ordered>(level: Level, nonfinite: NonFinite, x: &[T]) -> f32 {
    let amax = dispatch(level, Amax { x });
    match amax.is_finite() || nonfinite != NonFinite::Drop {
        true => amax,
        false => reference::amax(nonfinite, x),
    }
}

struct Amax<'a, T> {
    x: &'a [T],
}

impl<T: Ordered> Kernel for Amax<'_, T> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        const AT_ONCE: usize = 4;
        let mut largest = [simd.splat_i(0); AT_ONCE];
        let groups = self.x.chunks_exact(AT_ONCE * T::PER_VECTOR);
        let rest = groups.remainder();
        for x in groups {
            for i in 0..AT_ONCE {
                let x = &x[i * T::PER_VECTOR..(i + 1) * T::PER_VECTOR];
                simd.prefetch(x.as_ptr().cast::<u8>().wrapping_add(PREFETCH_BYTES));
                largest[i] = T::larger(simd, largest[i], x);
            }
        }
        let mut lanes = [0; LANES];
        let mut amax = T::default();
        for largest in largest {
            simd.store_i(largest, &mut lanes);
            // Bits of magnitudes, so that the larger is that of the larger bits, NaN included.
            amax = if T::largest(lanes).to_f32().to_bits() > amax.to_f32().to_bits() {
                T::largest(lanes)
            } else {
                amax
            };
        }
        let rest = reference::amax(NonFinite::NanScale, rest);
        f32::from_bits(rest.to_bits().max(amax.to_f32().to_bits()))
    }
}
