//! Scale search: 16 blocks at once, a lane each, so that sums go in the order of the elements.

use super::Level;
use super::draws::GroupDraws;
use super::encode::{E2M1, Encoder, Input, load_group};
use super::pieces::Sizes;
use super::plan::{Around, Candidates, Distance, Plan, SearchSteps};
use super::quantize::{Piece, mask_padding, prefetch, specified};
use super::scale::{ANY, Chooser, NV, scale_codes};
use super::simd::{GROUP, Kernel, LANES, Simd, dispatch};
use crate::Real;
use crate::error::Result;
use crate::reference::Job;

/// Elements of 16 of the longest blocks, which have 32.
const MOST: usize = LANES * 32;

/// Pairs of candidates: those of a sweep's 17.
const PAIRS: usize = 9;

/// What an error is made of: [`Distance`], or squares that are weighted.
const SQUARED: usize = 0;
const ABSOLUTE: usize = 1;
const LARGEST: usize = 2;
const WEIGHTED: usize = 3;

/// The piece, by the plan's search.
pub(super) fn run<T: Real + Input>(
    level: Level,
    plan: &Plan,
    search: &SearchSteps,
    job: &Job,
    piece: Piece<'_, T>,
) -> Result<()> {
    match (search.distance, job.importance, plan.block) {
        (Distance::Absolute, ..) => {
            dispatch(level, Squares::<T, ABSOLUTE, 16> { plan, search, job, piece })
        }
        (Distance::Largest, ..) => {
            dispatch(level, Squares::<T, LARGEST, 16> { plan, search, job, piece })
        }
        (Distance::Squared, None, 16) => {
            dispatch(level, Squares::<T, SQUARED, 16> { plan, search, job, piece })
        }
        (Distance::Squared, None, _) => {
            dispatch(level, Squares::<T, SQUARED, 32> { plan, search, job, piece })
        }
        (Distance::Squared, Some(_), 16) => {
            dispatch(level, Squares::<T, WEIGHTED, 16> { plan, search, job, piece })
        }
        (Distance::Squared, Some(_), _) => {
            dispatch(level, Squares::<T, WEIGHTED, 32> { plan, search, job, piece })
        }
    }
}

/// A piece, 16 blocks of `BLOCK` elements at a time; `ERROR` is what an error is made of.
struct Squares<'a, T, const ERROR: usize, const BLOCK: usize> {
    plan: &'a Plan,
    search: &'a SearchSteps,
    job: &'a Job<'a>,
    piece: Piece<'a, T>,
}

impl<T: Real + Input, const ERROR: usize, const BLOCK: usize> Kernel
    for Squares<'_, T, ERROR, BLOCK>
{
    type Output = Result<()>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Result<()> {
        let Self { plan, search, job, piece } = self;
        let chooser = Chooser::<S, NV>::new(simd, plan);
        let encoder = Encoder::<S, E2M1, true, ANY>::new(simd, plan);
        let Piece { x, codes, scales, row, column, k } = piece;
        let (format, square) = (job.profile.format(), LANES * BLOCK);
        let row_sizes = Sizes::of_row(format, k)?;
        let rows = x
            .chunks(k)
            .zip(codes.chunks_mut(row_sizes.codes))
            .zip(scales.chunks_mut(row_sizes.scales));
        for (i, ((x, codes), scales)) in rows.enumerate() {
            let squares =
                x.chunks(square).zip(codes.chunks_mut(square / 2)).zip(scales.chunks_mut(LANES));
            for (j, ((x, codes), scales)) in squares.enumerate() {
                let column = column + j * square;
                let is_whole = x.len() == square;
                let mut padded;
                let all = match is_whole {
                    true => x,
                    false => {
                        padded = [T::default(); MOST];
                        padded[..x.len()].copy_from_slice(x);
                        &padded[..square]
                    }
                };
                for group in all.as_chunks::<GROUP>().0 {
                    prefetch(simd, group);
                }
                let (columns, amax) = Columns::<S, BLOCK>::magnitudes(simd, all);
                // Only what plans ask for is compiled.
                let chosen = match &search.candidates {
                    Candidates::FourOverSix { stored, target }
                        if ERROR != WEIGHTED && BLOCK == 16 =>
                    {
                        let factors = [*stored, *target];
                        four_over_six::<S, ERROR, BLOCK>(simd, &chooser, factors, &columns, amax)
                    }
                    Candidates::Around(table) if ERROR == SQUARED || ERROR == WEIGHTED => {
                        let weights = match job.importance {
                            Some(importance) if ERROR == WEIGHTED => {
                                weights_of(simd, &importance[column..], x.len())
                            }
                            _ => columns,
                        };
                        let search = Neighbours { simd, plan, table, columns, weights };
                        search.best::<ERROR>(amax)
                    }
                    _ => None,
                };
                let Some(chosen) = chosen else {
                    let (row, k) = (row + i, x.len());
                    specified(job, Piece { x, codes, scales, row, column, k })?;
                    continue;
                };
                let mut scale_codes = [0; LANES];
                simd.store_i(chosen.code, &mut scale_codes);
                let scale_codes = scale_codes.map(|code| code as u8);
                scales.copy_from_slice(&scale_codes[..scales.len()]);
                let mut factors = [0; LANES];
                simd.store_i(simd.bits(chosen.factor), &mut factors);
                let factors = factors.map(f32::from_bits);
                if is_whole {
                    encode::<S, T, BLOCK>(simd, &encoder, all, &factors, codes);
                } else {
                    let mut all_codes = [0; MOST / 2];
                    let all_codes = &mut all_codes[..square / 2];
                    encode::<S, T, BLOCK>(simd, &encoder, all, &factors, all_codes);
                    codes.copy_from_slice(&all_codes[..codes.len()]);
                    mask_padding(format, codes, x.len());
                }
            }
        }
        Ok(())
    }
}

/// The codes of 16 blocks under a factor each.
#[inline(always)]
fn encode<S: Simd, T: Input, const BLOCK: usize>(
    simd: S,
    encoder: &Encoder<'_, S, E2M1, true, ANY>,
    x: &[T],
    factors: &[f32; LANES],
    codes: &mut [u8],
) {
    let draws = GroupDraws::none(simd);
    let groups = x.as_chunks::<GROUP>().0.iter().zip(codes.chunks_exact_mut(GROUP / 2));
    for (group, (x, codes)) in groups.enumerate() {
        let mut of_vectors = [simd.splat(0.0); 8];
        for i in 0..8 {
            of_vectors[i] = simd.splat(factors[(group * GROUP + i * LANES) / BLOCK]);
        }
        encoder.encode::<false>(&load_group(simd, x), &of_vectors, &draws, codes);
    }
}

/// Element i of each of 16 blocks, for every i.
#[derive(Clone, Copy)]
struct Columns<S: Simd, const BLOCK: usize>([S::F; BLOCK]);

impl<S: Simd, const BLOCK: usize> Columns<S, BLOCK> {
    #[inline(always)]
    fn transposed<T: Input>(simd: S, x: &[T]) -> Self {
        let (vectors, _) = x.as_chunks::<LANES>();
        let each = BLOCK / LANES;
        let mut columns = [simd.splat(0.0); BLOCK];
        for part in 0..each {
            let mut rows = [simd.splat(0.0); LANES];
            for i in 0..LANES {
                rows[i] = T::load(simd, &vectors[i * each + part]);
            }
            columns[part * LANES..][..LANES].copy_from_slice(&simd.transpose(rows));
        }
        Self(columns)
    }

    /// Magnitudes, and the bits of the largest of each block.
    #[inline(always)]
    fn magnitudes<T: Input>(simd: S, x: &[T]) -> (Self, S::I) {
        let mut columns = Self::transposed(simd, x);
        let magnitude = simd.splat_i(0x7fff_ffff);
        let mut amax = simd.splat_i(0);
        for i in 0..BLOCK {
            let bits = simd.and(simd.bits(columns.0[i]), magnitude);
            columns.0[i] = simd.float(bits);
            amax = simd.max_i(amax, bits);
        }
        (columns, amax)
    }
}

/// What weighs that many columns; those beyond weigh 1.
#[inline(always)]
fn weights_of<S: Simd, const BLOCK: usize>(
    simd: S,
    importance: &[f32],
    elements: usize,
) -> Columns<S, BLOCK> {
    let mut all = [1.0; MOST];
    all[..elements].copy_from_slice(&importance[..elements]);
    Columns::transposed(simd, &all)
}

/// What scales, one a block, make of elements: their factors, and the values of the elements -1 and -1.5. Those
/// of all others are powers of two times one of both.
#[derive(Clone, Copy)]
struct Values<S: Simd> {
    factor: S::F,
    minus_one: S::F,
    minus_more: S::F,
}

/// The errors that two candidates leave, at once: neither has to wait for its own sum.
#[inline(always)]
fn errors<S: Simd, const ERROR: usize, const BLOCK: usize>(
    simd: S,
    columns: &Columns<S, BLOCK>,
    weights: &Columns<S, BLOCK>,
    candidates: [Values<S>; 2],
) -> [S::F; 2] {
    let (exponent, half) = (simd.splat_i(INFINITE), simd.splat_i(1 << 22));
    let (one, largest) = (simd.splat(1.0), simd.splat(6.0));
    // Times the binade of y a power of two whose ulp is the step: the sum rounds.
    let (up, down) = (simd.splat(4_194_304.0), simd.splat(-4_194_304.0));
    let mut sums = [simd.splat(0.0); 2];
    for i in 0..BLOCK {
        let x = columns.0[i];
        for n in 0..2 {
            let Values { factor, minus_one, minus_more } = candidates[n];
            let y = simd.min(simd.mul(x, factor), largest);
            let binade = simd.float(simd.and(simd.bits(simd.max(y, one)), exponent));
            let sum = simd.mul_add_exact(binade, up, y);
            let q = simd.bits(simd.mul_add_exact(binade, down, sum));
            let is_power = simd.eq_i(simd.and(q, half), simd.splat_i(0));
            let minus = simd.select(is_power, simd.bits(minus_one), simd.bits(minus_more));
            let power = simd.float(simd.and(q, exponent));
            // Both have the sign of x, and that of the difference does not matter.
            let d = simd.mul_add_exact(power, simd.float(minus), x);
            let magnitude = simd.and(simd.bits(d), simd.splat_i(0x7fff_ffff));
            sums[n] = match ERROR {
                SQUARED => simd.add(sums[n], simd.mul(d, d)),
                ABSOLUTE => simd.add(sums[n], simd.float(magnitude)),
                LARGEST => simd.float(simd.max_i(simd.bits(sums[n]), magnitude)),
                _ => simd.add(sums[n], simd.mul(weights.0[i], simd.mul(d, d))),
            };
        }
    }
    sums
}

const INFINITE: i32 = 0x7f80_0000;

/// The scales that were chosen.
#[derive(Clone, Copy)]
struct Chosen<S: Simd> {
    code: S::I,
    factor: S::F,
    error: S::F,
}

impl<S: Simd> Chosen<S> {
    /// Takes what leaves a smaller error.
    #[inline(always)]
    fn consider(&mut self, simd: S, other: Self) {
        let better = simd.lt(other.error, self.error);
        let factor = simd.select(better, simd.bits(other.factor), simd.bits(self.factor));
        let error = simd.select(better, simd.bits(other.error), simd.bits(self.error));
        *self = Self {
            code: simd.select(better, other.code, self.code),
            factor: simd.float(factor),
            error: simd.float(error),
        };
    }
}

impl<S: Simd> Values<S> {
    /// fl(fl(fl(q · s) · stored) / target) of both; `None` where one is too near an end of f32's range, so that a
    /// power of two more or less would round. 0 is exact.
    #[inline(always)]
    fn divided(simd: S, scale: S::F, factor: S::F, [stored, target]: [f32; 2]) -> Option<Self> {
        let (stored, target) = (simd.splat(stored), simd.splat(target));
        let one = simd.div(simd.mul(scale, stored), target);
        let more = simd.mul(simd.mul(scale, simd.splat(1.5)), stored);
        let more = simd.div(more, target);
        let zero = simd.eq(scale, simd.splat(0.0));
        let (low, high) =
            (simd.splat(f32::from_bits(32 << 23)), simd.splat(f32::from_bits(222 << 23)));
        let checked = simd.float(simd.select(zero, simd.bits(high), simd.bits(one)));
        if simd.any(simd.lt(checked, low), simd.lt(high, more)) {
            return None;
        }
        let nothing = simd.splat(0.0);
        let (minus_one, minus_more) = (simd.sub(nothing, one), simd.sub(nothing, more));
        Some(Self { factor, minus_one, minus_more })
    }
}

/// The scale and 3/2 of it; `None` where a block is not ordinary.
#[inline(always)]
fn four_over_six<S: Simd, const ERROR: usize, const BLOCK: usize>(
    simd: S,
    chooser: &Chooser<'_, S, NV>,
    factors: [f32; 2],
    columns: &Columns<S, BLOCK>,
    amax: S::I,
) -> Option<Chosen<S>> {
    let (six, six_scale, six_factor) = chooser.float(amax, 1.0)?;
    let (four, four_scale, four_factor) = chooser.float(amax, 1.5)?;
    let of_six = Values::divided(simd, six_scale, six_factor, factors)?;
    let of_four = Values::divided(simd, four_scale, four_factor, factors)?;
    let [error, other] = errors::<S, ERROR, BLOCK>(simd, columns, columns, [of_six, of_four]);
    let mut chosen = Chosen { code: six, factor: six_factor, error };
    chosen.consider(simd, Chosen { code: four, factor: four_factor, error: other });
    Some(chosen)
}

/// A search among the codes around the rule's.
struct Neighbours<'a, S: Simd, const BLOCK: usize> {
    simd: S,
    plan: &'a Plan,
    table: &'a Around,
    columns: Columns<S, BLOCK>,
    weights: Columns<S, BLOCK>,
}

impl<S: Simd, const BLOCK: usize> Neighbours<'_, S, BLOCK> {
    /// `None` where a block is not ordinary.
    #[inline(always)]
    fn best<const ERROR: usize>(&self, amax: S::I) -> Option<Chosen<S>> {
        let (simd, table) = (self.simd, self.table);
        let first = scale_codes(simd, self.plan, amax)?;
        let mut codes = [0; LANES];
        simd.store_i(first, &mut codes);
        let (mut factor, mut minus_one, mut minus_more) =
            ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
        for i in 0..LANES {
            let code = codes[i] as usize & 0xff;
            if !table.sound[code] {
                return None;
            }
            factor[i] = self.plan.factors[code];
            minus_one[i] = table.minus_one[code];
            minus_more[i] = table.minus_more[code];
        }
        let (minus_one, minus_more) = (simd.load(&minus_one), simd.load(&minus_more));
        let of_first = Values { factor: simd.load(&factor), minus_one, minus_more };
        // The first, then the others, the largest first, and the first again where their number is odd.
        let mut tried = [(0, of_first); 2 * PAIRS];
        let mut count = 1;
        if table.looks_up {
            let above = Window::new(simd, table, &codes, 9);
            for i in 0..8 {
                tried[count + i] = (8 - i as i32, above.values(7 - i));
            }
            count += 8;
        }
        let below = Window::new(simd, table, &codes, 0);
        for i in 0..table.below {
            tried[count + i] = (-1 - i as i32, below.values(7 - i));
        }
        count += table.below;
        let mut chosen = Chosen { code: first, factor: of_first.factor, error: simd.splat(0.0) };
        for pair in 0..count.div_ceil(2) {
            let [(offset, values), (next_offset, next)] = [tried[2 * pair], tried[2 * pair + 1]];
            let (columns, weights) = (&self.columns, &self.weights);
            let [error, next_error] =
                errors::<S, ERROR, BLOCK>(simd, columns, weights, [values, next]);
            if pair == 0 {
                chosen.error = error;
            }
            let code = simd.add_i(first, simd.splat_i(offset));
            chosen.consider(simd, Chosen { code, factor: values.factor, error });
            let code = simd.add_i(first, simd.splat_i(next_offset));
            chosen.consider(simd, Chosen { code, factor: next.factor, error: next_error });
        }
        Some(chosen)
    }
}

/// The entries of codes that follow each other, a code of each block.
struct Window<S: Simd> {
    factor: [S::F; LANES],
    minus_one: [S::F; LANES],
    minus_more: [S::F; LANES],
}

impl<S: Simd> Window<S> {
    /// From `start` places behind the code less 8.
    #[inline(always)]
    fn new(simd: S, table: &Around, codes: &[u32; LANES], start: usize) -> Self {
        let [factor, minus_one, minus_more] = &table.tried;
        Self {
            factor: entries(simd, factor, codes, start),
            minus_one: entries(simd, minus_one, codes, start),
            minus_more: entries(simd, minus_more, codes, start),
        }
    }

    #[inline(always)]
    fn values(&self, at: usize) -> Values<S> {
        let Self { factor, minus_one, minus_more } = self;
        Values { factor: factor[at], minus_one: minus_one[at], minus_more: minus_more[at] }
    }
}

#[inline(always)]
fn entries<S: Simd>(
    simd: S,
    table: &[f32; Around::TRIED],
    codes: &[u32; LANES],
    start: usize,
) -> [S::F; LANES] {
    let mut rows = [simd.splat(0.0); LANES];
    for i in 0..LANES {
        let first = start + (codes[i] as usize & 0xff);
        if let Some((entries, _)) = table[first..].split_first_chunk() {
            rows[i] = simd.load(entries);
        }
    }
    simd.transpose(rows)
}
