//! Columns of a tile that are quantized as they stand, to nearest even: a lane is a column, the rows of a block
//! follow each other, and nothing but codes is turned.
#![allow(unsafe_code)]

use super::Level;
use super::draws::GroupDraws;
use super::encode::{E2M1, Encoder, FLOAT, INT4, INTEGER, Input};
use super::plan::{Form, Kind, Plan, Steps};
use super::quantize::{Piece, specified};
use super::scale::{Chooser, MX, NV};
use super::simd::{GROUP, Kernel, LANES, Simd, dispatch};
use crate::error::Result;
use crate::reference::Job;
use crate::{Blocks, Real};

/// Rows of `width` elements, whole groups of them and whole vectors, and what becomes of the columns, one behind
/// the other. The first column is the row `row` of the transposed tensor, the first row its column `column`.
pub(super) struct Columns<'a, T> {
    pub x: &'a [T],
    pub width: usize,
    pub codes: &'a mut [u8],
    pub scales: &'a mut [u8],
    pub row: usize,
    pub column: usize,
}

impl<T> Columns<'_, T> {
    /// Whether so many rows and columns can be taken.
    pub(super) fn fit(height: usize, width: usize) -> bool {
        height.is_multiple_of(GROUP) && width.is_multiple_of(LANES)
    }
}

pub(super) type ColumnsKernel<T> = fn(Level, &Plan, &Job, Columns<'_, T>) -> Result<()>;

/// The kernel for a plan: of the common forms, to nearest even.
pub(super) fn kernel<T: Real + Input>(plan: &Plan, job: &Job) -> Option<ColumnsKernel<T>> {
    let suits = job.blocks == Blocks::Row && plan.search.is_none() && plan.rounding == Steps::Even;
    Some(match (plan.form(), plan.element.kind, plan.element.bits) {
        _ if !suits => return None,
        (Form::Mx, Kind::E2M1, _) => run::<T, E2M1, MX>,
        (Form::Mx, Kind::Float { .. }, _) => run::<T, FLOAT, MX>,
        (Form::Mx, Kind::Integer { .. }, 4) => run::<T, INT4, MX>,
        (Form::Mx, Kind::Integer { .. }, _) => run::<T, INTEGER, MX>,
        (Form::Nv, Kind::E2M1, _) => run::<T, E2M1, NV>,
        (Form::Nv, Kind::Integer { .. }, 4) => run::<T, INT4, NV>,
        _ => return None,
    })
}

fn run<T: Real + Input, const KIND: usize, const FORM: usize>(
    level: Level,
    plan: &Plan,
    job: &Job,
    columns: Columns<'_, T>,
) -> Result<()> {
    dispatch(level, Work::<T, KIND, FORM> { plan, job, columns })
}

struct Work<'a, T, const KIND: usize, const FORM: usize> {
    plan: &'a Plan,
    job: &'a Job<'a>,
    columns: Columns<'a, T>,
}

impl<T: Real + Input, const KIND: usize, const FORM: usize> Kernel for Work<'_, T, KIND, FORM> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Result<()> {
        let Self { plan, job, columns } = self;
        let Columns { x, width, codes, scales, row, column } = columns;
        let strip = Strip::<S, KIND, FORM> {
            simd,
            encoder: Encoder::new(simd, plan),
            chooser: Chooser::new(simd, plan),
            width,
        };
        let (group_codes, group_scales) = (strip.codes(), GROUP / strip.block());
        let groups = x.len() / (width * GROUP);
        for (group, x) in x.chunks_exact(width * GROUP).enumerate() {
            for first in (0..width).step_by(LANES) {
                let made = strip.quantize(&x[first..]);
                if let Some(made) = &made {
                    let codes = &mut codes[(first * groups + group) * group_codes..];
                    let scales = &mut scales[(first * groups + group) * group_scales..];
                    strip.store(made, groups, codes, scales);
                    continue;
                }
                for i in 0..LANES {
                    let at = (first + i) * groups + group;
                    let codes = &mut codes[at * group_codes..][..group_codes];
                    let scales = &mut scales[at * group_scales..][..group_scales];
                    let x: Vec<T> = x[first + i..].iter().step_by(width).copied().collect();
                    let (row, column) = (row + first + i, column + group * GROUP);
                    specified(job, Piece { x: &x, codes, scales, row, column, k: GROUP })?;
                }
            }
        }
        Ok(())
    }
}

/// Codes and scale codes of the columns of a strip, a lane for each column: four bytes, one vector behind the
/// other.
struct Made<S: Simd> {
    codes: [S::I; GROUP / 4],
    scales: [S::I; 2],
}

/// A vector of columns, a group of rows.
#[derive(Clone, Copy)]
struct Strip<'a, S: Simd, const KIND: usize, const FORM: usize> {
    simd: S,
    encoder: Encoder<'a, S, KIND, true, FORM>,
    chooser: Chooser<'a, S, FORM>,
    width: usize,
}

impl<S: Simd, const KIND: usize, const FORM: usize> Strip<'_, S, KIND, FORM> {
    /// Elements of a block.
    #[inline(always)]
    fn block(&self) -> usize {
        if FORM == NV { 16 } else { 32 }
    }

    /// Whether codes are two a byte.
    const PAIRS: bool = KIND == E2M1 || KIND == INT4;
    /// Codes in a lane of 32 bits.
    const IN_LANE: usize = if Self::PAIRS { 8 } else { 4 };

    /// Bytes of a group's codes.
    #[inline(always)]
    fn codes(&self) -> usize {
        if Self::PAIRS { GROUP / 2 } else { GROUP }
    }

    /// Quantizes the strip whose first element is that of `x`; `None` where one of its blocks is not ordinary.
    #[inline(always)]
    fn quantize<T: Input>(&self, x: &[T]) -> Option<Made<S>> {
        let (simd, block) = (self.simd, self.block());
        assert!(x.len() >= (GROUP - 1) * self.width + LANES);
        let zero = simd.splat_i(0);
        let mut made = Made { codes: [zero; GROUP / 4], scales: [zero; 2] };
        for i in 0..GROUP / block {
            let mut amax = simd.splat_i(0);
            for row in i * block..(i + 1) * block {
                // SAFETY: the group has these rows.
                let x = unsafe { self.load(x, row) };
                let magnitude = self.encoder.magnitude_bits(x);
                amax = simd.max_i(amax, magnitude);
            }
            let (code, factor, below_8) = self.chooser.lanes(amax)?;
            let scales = &mut made.scales[i / 4];
            *scales = simd.add_i(*scales, simd.shl_by(code, 8 * (i % 4) as u32));
            let lanes = block / Self::IN_LANE;
            let codes = &mut made.codes[i * lanes..][..lanes];
            // SAFETY: as above.
            unsafe {
                match KIND == E2M1 && below_8 {
                    true => self.encode::<T, true>(x, i * block, factor, codes),
                    false => self.encode::<T, false>(x, i * block, factor, codes),
                }
            }
        }
        Some(made)
    }

    /// Writes what was made to columns, of which each has so many groups.
    #[inline(always)]
    fn store(&self, made: &Made<S>, groups: usize, codes: &mut [u8], scales: &mut [u8]) {
        let (simd, group_codes, group_scales) = (self.simd, self.codes(), GROUP / self.block());
        for (half, of_four) in made.scales[..group_scales / 4].iter().enumerate() {
            let mut words = [0; LANES];
            simd.store_i(*of_four, &mut words);
            for i in 0..LANES {
                let at = i * groups * group_scales + 4 * half;
                scales[at..][..4].copy_from_slice(&words[i].to_le_bytes());
            }
        }
        let (squares, _) = made.codes[..group_codes / 4].as_chunks::<LANES>();
        for (part, lanes) in squares.iter().enumerate() {
            let mut square = [simd.splat(0.0); LANES];
            for i in 0..LANES {
                square[i] = simd.float(lanes[i]);
            }
            let turned = simd.transpose(square);
            for i in 0..LANES {
                let to = &mut codes[i * groups * group_codes + 64 * part..][..64];
                // SAFETY: 64 bytes of the slice.
                unsafe { simd.write(simd.bits(turned[i]), to.as_mut_ptr()) };
            }
        }
    }

    /// A row of the strip.
    ///
    /// # Safety
    /// `x` has 16 elements from `row * width` on.
    #[inline(always)]
    unsafe fn load<T: Input>(&self, x: &[T], row: usize) -> S::F {
        // SAFETY: the caller's.
        T::load(self.simd, unsafe { &*x.as_ptr().add(row * self.width).cast() })
    }

    /// The codes of the rows of a block from `first` on, in lanes.
    ///
    /// # Safety
    /// As of [`load`](Self::load) for each of them.
    #[inline(always)]
    unsafe fn encode<T: Input, const BELOW_8: bool>(
        &self,
        values: &[T],
        first: usize,
        factor: S::F,
        lanes: &mut [S::I],
    ) {
        let simd = self.simd;
        let (factors, draws) = ([factor; 8], GroupDraws::none(simd));
        for i in 0..self.block() / 8 {
            let mut x = [factor; 8];
            for j in 0..8 {
                // Rows that share bytes come from either half.
                let row = if Self::PAIRS { j % 4 * 2 + j / 4 } else { j };
                // SAFETY: the caller's.
                x[j] = unsafe { self.load(values, first + 8 * i + row) };
            }
            let codes = [
                self.encoder.half::<BELOW_8>(0, &x, &factors, &draws),
                self.encoder.half::<BELOW_8>(4, &x, &factors, &draws),
            ];
            if Self::PAIRS {
                lanes[i] = simd.stacked(simd.pairs(codes[0], codes[1]));
            } else {
                lanes[2 * i] = simd.stacked(codes[0]);
                lanes[2 * i + 1] = simd.stacked(codes[1]);
            }
        }
    }
}
