//! Four over six: 16 blocks at once, a lane each, so that sums go in the order of the elements.

use super::Level;
use super::encode::Input;
use super::pieces::Sizes;
use super::plan::{Plan, SearchSteps};
use super::quantize::{Piece, mask_padding, prefetch, specified};
use super::scale::{Chooser, NV};
use super::simd::{GROUP, Kernel, LANES, Simd, dispatch, e2m1_by_lines};
use crate::Real;
use crate::error::Result;
use crate::reference::Job;

/// Elements of a square: 16 blocks of 16, whose columns become vectors.
const SQUARE: usize = LANES * LANES;

/// The value of a magnitude code as a multiple of 1, or of 1.5 (the other table has 0 there): the rounding
/// of a product is the same for elements that differ by a power of two.
const OF_ONE: [u32; 16] = values([0.0, 0.5, 1.0, 0.0, 2.0, 0.0, 4.0, 0.0]);
const OF_ONE_AND_A_HALF: [u32; 16] = values([0.0, 0.0, 0.0, 1.0, 0.0, 2.0, 0.0, 4.0]);
const fn values(of_codes: [f32; 8]) -> [u32; 16] {
    let mut table = [0; 16];
    let mut i = 0;
    while i < 8 {
        table[i] = of_codes[i].to_bits();
        i += 1;
    }
    table
}

/// The piece, by the plan's search.
pub(super) fn run<T: Real + Input>(
    level: Level,
    plan: &Plan,
    search: SearchSteps,
    job: &Job,
    piece: Piece<'_, T>,
) -> Result<()> {
    match search.squared {
        true => dispatch(level, Squares::<T, true> { plan, search, job, piece }),
        false => dispatch(level, Squares::<T, false> { plan, search, job, piece }),
    }
}

/// A piece, square by square; the error is Σ d² if `SQUARED`, else Σ |d|.
struct Squares<'a, T, const SQUARED: bool> {
    plan: &'a Plan,
    search: SearchSteps,
    job: &'a Job<'a>,
    piece: Piece<'a, T>,
}

impl<T: Real + Input, const SQUARED: bool> Kernel for Squares<'_, T, SQUARED> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Result<()> {
        let chooser = Chooser::<S, NV>::new(simd, self.plan);
        let Piece { x, codes, scales, row, column, k } = self.piece;
        let row_sizes = Sizes::of_row(self.job.profile.format(), k)?;
        let rows = x
            .chunks(k)
            .zip(codes.chunks_mut(row_sizes.codes))
            .zip(scales.chunks_mut(row_sizes.scales));
        for (i, ((x, codes), scales)) in rows.enumerate() {
            let squares =
                x.chunks(SQUARE).zip(codes.chunks_mut(SQUARE / 2)).zip(scales.chunks_mut(LANES));
            for (j, ((x, codes), scales)) in squares.enumerate() {
                let mut all = [T::default(); SQUARE];
                let x_all = match <&[T; SQUARE]>::try_from(x) {
                    Ok(x) => x,
                    Err(_) => {
                        all[..x.len()].copy_from_slice(x);
                        &all
                    }
                };
                let (halves, _) = x_all.as_chunks::<GROUP>();
                prefetch(simd, &halves[0]);
                prefetch(simd, &halves[1]);
                match square::<S, T, SQUARED>(simd, &chooser, self.search, x_all) {
                    Some(square) => {
                        square.store(simd, codes, scales);
                        mask_padding(self.job.profile.format(), codes, x.len());
                    }
                    None => {
                        let (row, column, k) = (row + i, column + j * SQUARE, x.len());
                        specified(self.job, Piece { x, codes, scales, row, column, k })?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Scale codes and the eight bytes of codes of 16 blocks.
#[derive(Clone, Copy)]
struct Square<S: Simd> {
    scale: S::I,
    low: S::I,
    high: S::I,
}

impl<S: Simd> Square<S> {
    /// Writes as many as there are.
    #[inline(always)]
    fn store(&self, simd: S, codes: &mut [u8], scales: &mut [u8]) {
        let [mut scale, mut low, mut high] = [[0; LANES]; 3];
        simd.store_i(self.scale, &mut scale);
        simd.store_i(self.low, &mut low);
        simd.store_i(self.high, &mut high);
        let (mut all_codes, all_scales) = ([0; SQUARE / 2], scale.map(|scale| scale as u8));
        for (i, to) in all_codes.as_chunks_mut().0.iter_mut().enumerate() {
            *to = (u64::from(low[i]) | u64::from(high[i]) << 32).to_le_bytes();
        }
        match (
            <&mut [u8; SQUARE / 2]>::try_from(&mut *codes),
            <&mut [u8; LANES]>::try_from(&mut *scales),
        ) {
            (Ok(codes), Ok(scales)) => (*codes, *scales) = (all_codes, all_scales),
            _ => {
                codes.copy_from_slice(&all_codes[..codes.len()]);
                scales.copy_from_slice(&all_scales[..scales.len()]);
            }
        }
    }
}

/// 16 blocks; `None` where one is not ordinary.
#[inline(always)]
fn square<S: Simd, T: Input, const SQUARED: bool>(
    simd: S,
    chooser: &Chooser<'_, S, NV>,
    search: SearchSteps,
    x: &[T; SQUARE],
) -> Option<Square<S>> {
    let (blocks, _) = x.as_chunks::<LANES>();
    let mut rows = [simd.splat(0.0); LANES];
    for i in 0..LANES {
        rows[i] = T::load(simd, &blocks[i]);
    }
    let x = simd.transpose(rows);
    let magnitude = simd.splat_i(0x7fff_ffff);
    let mut amax = simd.splat_i(0);
    for x in x {
        amax = simd.max_i(amax, simd.and(simd.bits(x), magnitude));
    }
    let mut six = Candidate::new(simd, chooser, search, amax, 1.0)?;
    let mut four = Candidate::new(simd, chooser, search, amax, 1.5)?;
    for i in 0..LANES {
        // Both at once: neither has to wait for its own sum.
        let absolute = simd.float(simd.and(simd.bits(x[i]), magnitude));
        six.element::<SQUARED>(simd, search, i, x[i], absolute);
        four.element::<SQUARED>(simd, search, i, x[i], absolute);
    }
    let better = simd.lt(four.error, six.error);
    Some(Square {
        scale: simd.select(better, four.scale, six.scale),
        low: simd.select(better, four.codes[0], six.codes[0]),
        high: simd.select(better, four.codes[1], six.codes[1]),
    })
}

/// The blocks under one scale each, and what it leaves of them.
#[derive(Clone, Copy)]
struct Candidate<S: Simd> {
    scale: S::I,
    factor: S::F,
    /// The values of the elements 1 and 1.5.
    one: S::F,
    more: S::F,
    of_one: S::I,
    of_more: S::I,
    codes: [S::I; 2],
    error: S::F,
}

impl<S: Simd> Candidate<S> {
    /// The scale whose quotient is multiplied by `stretch`.
    #[inline(always)]
    fn new(
        simd: S,
        chooser: &Chooser<'_, S, NV>,
        search: SearchSteps,
        amax: S::I,
        stretch: f32,
    ) -> Option<Self> {
        let (code, scale, factor) = chooser.float(amax, stretch)?;
        // fl(fl(fl(q · s) · g) / T) of 1 and of 1.5.
        let (stored, target) = (simd.splat(search.stored), simd.splat(search.target));
        let one = simd.div(simd.mul(scale, stored), target);
        let more = simd.mul(simd.mul(scale, simd.splat(1.5)), stored);
        let more = simd.div(more, target);
        // Neither end of f32's range, where a power of two more or less would round. 0 is exact.
        let zero = simd.eq(scale, simd.splat(0.0));
        let (low, high) =
            (simd.splat(f32::from_bits(32 << 23)), simd.splat(f32::from_bits(222 << 23)));
        let checked = simd.float(simd.select(zero, simd.bits(high), simd.bits(one)));
        if simd.any(simd.lt(checked, low), simd.lt(high, more)) {
            return None;
        }
        let (of_one, of_more) = (simd.load_i(&OF_ONE), simd.load_i(&OF_ONE_AND_A_HALF));
        let (codes, error) = ([simd.splat_i(0); 2], simd.splat(0.0));
        Some(Self { scale: code, factor, one, more, of_one, of_more, codes, error })
    }

    /// Element i of every block.
    #[inline(always)]
    fn element<const SQUARED: bool>(
        &mut self,
        simd: S,
        search: SearchSteps,
        i: usize,
        x: S::F,
        absolute: S::F,
    ) {
        let y = simd.mul(x, self.factor);
        let code = simd.and(e2m1_by_lines(simd, y), simd.splat_i(7));
        let of_one = simd.float(simd.lookup_lanes(self.of_one, code));
        let of_more = simd.float(simd.lookup_lanes(self.of_more, code));
        let decoded = simd.mul_add_exact(self.one, of_one, simd.mul(self.more, of_more));
        // Both have the sign of x.
        let difference = simd.sub(decoded, absolute);
        let term = match SQUARED {
            true => simd.mul(difference, difference),
            false => simd.float(simd.and(simd.bits(difference), simd.splat_i(0x7fff_ffff))),
        };
        self.error = simd.add(self.error, term);
        let signed = if search.keeps_zero_sign { x } else { simd.add(y, simd.splat(0.0)) };
        let sign = simd.and(simd.shr::<28>(simd.bits(signed)), simd.splat_i(8));
        let shifted = simd.shl_by(simd.or(code, sign), 4 * (i as u32 % 8));
        self.codes[i / 8] = simd.or(self.codes[i / 8], shifted);
    }
}
