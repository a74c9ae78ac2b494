//! Quantize: groups of 128 elements, in one pass over the input.

use super::columns::{self, Columns, ColumnsKernel};
use super::draws::GroupDraws;
use super::encode::{E2M1, Encoder, FLOAT, INT4, INTEGER, Input, load_group, maxima};
use super::pieces::{Cut, PREFETCH_BYTES, Sizes, is_whole, piece};
use super::plan::{Form, Kind, Plan, Steps};
use super::rotate::{self, Rotation};
use super::scale::{ANY, Chooser, GroupScales, MX, NV};
use super::simd::{GROUP, Kernel, Simd, dispatch};
use super::threads::for_each;
use super::{Cpu, Level, search};
use crate::error::Result;
use crate::format::Format;
use crate::numerics::Rounding;
use crate::real::Slice;
use crate::reference::{self, Job};
use crate::shape::Extents;
use crate::{Blocks, Real};

/// Rows of k elements that begin at `row` (of all matrices) and `column`, and their outputs. With tiles
/// they are those of one row of tiles, and share their scales.
pub(super) struct Piece<'a, T> {
    pub x: &'a [T],
    pub codes: &'a mut [u8],
    pub scales: &'a mut [u8],
    pub row: usize,
    pub column: usize,
    pub k: usize,
}

/// Fills `codes` and `scales` with all rows of the job.
pub(super) fn quantize<T: Real + Input>(
    cpu: Cpu,
    job: &Job,
    x: &[T],
    codes: &mut [u8],
    scales: &mut [u8],
) -> Result<()> {
    if x.is_empty() {
        return Ok(());
    }
    let worker = Worker::new(cpu, job);
    let work = |piece| worker.piece(piece);
    match job.blocks {
        Blocks::Row => {
            let (k, piece, unit) = (worker.row(x.len()), piece(cpu, x.len()), worker.unit());
            for_each(cpu, x.len(), row_pieces(job, k, piece, unit, x, codes, scales)?, work)
        }
        Blocks::Tile => for_each(cpu, x.len(), bands(job, x, codes, scales)?, work),
    }
}

/// What each thread does with pieces.
pub(super) struct Worker<'a> {
    plan: Option<Plan>,
    level: Level,
    job: &'a Job<'a>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(cpu: Cpu, job: &'a Job<'a>) -> Self {
        Self { plan: Plan::new(job), level: cpu.chosen_level(), job }
    }

    /// Elements that pieces of rows are multiples of.
    pub(super) fn unit(&self) -> usize {
        match self.plan {
            Some(_) => 2 * GROUP,
            None => 8 * self.job.profile.format().block(),
        }
    }

    /// The length of rows of the job, `elements` in all: only draws and importance tell rows apart that follow
    /// each other.
    pub(super) fn row(&self, elements: usize) -> usize {
        self.row_of(self.job.extents.k, elements)
    }

    /// The same of parts of rows, k elements each.
    pub(super) fn row_of(&self, k: usize, elements: usize) -> usize {
        let alike = self.job.rounding == Rounding::Nearest && self.job.importance.is_none();
        match is_whole(self.job.profile.format(), k) && alike {
            true => elements,
            false => k,
        }
    }

    pub(super) fn piece<T: Real + Input>(&self, piece: Piece<'_, T>) -> Result<()> {
        self.piece_before(piece, None)
    }

    /// The same, with other memory asked for meanwhile than what is behind the piece.
    pub(super) fn piece_before<T: Real + Input>(
        &self,
        piece: Piece<'_, T>,
        ahead: Option<Ahead>,
    ) -> Result<()> {
        match &self.plan {
            Some(plan) => match &plan.search {
                Some(search) => search::run(self.level, plan, search, self.job, piece),
                None => run(self.level, Work { plan, job: self.job, piece, ahead, rotated: None }),
            },
            None => specified(self.job, piece),
        }
    }

    /// What quantizes columns as they stand, if there is a kernel for it.
    pub(super) fn columns<T: Real + Input>(&self) -> Option<Upright<'_, T>> {
        let (plan, job) = (self.plan.as_ref()?, self.job);
        let kernel = columns::kernel(plan, job)?;
        Some(Upright { kernel, plan, level: self.level, job })
    }

    /// What rotates rows in the kernel that quantizes them, if there is one for the plan.
    pub(super) fn rotating(&self) -> Option<Rotating<'_>> {
        let plan = self.plan.as_ref()?;
        match self.job.blocks == Blocks::Row && plan.search.is_none() {
            true => {
                Some(Rotating { kernel: rotating(plan)?, plan, level: self.level, job: self.job })
            }
            false => None,
        }
    }
}

/// A [`Worker`] whose kernel takes columns.
pub(super) struct Upright<'a, T> {
    kernel: ColumnsKernel<T>,
    plan: &'a Plan,
    level: Level,
    job: &'a Job<'a>,
}

impl<T> Upright<'_, T> {
    pub(super) fn columns(&self, columns: Columns<'_, T>) -> Result<()> {
        (self.kernel)(self.level, self.plan, self.job, columns)
    }
}

/// A [`Worker`] whose kernel rotates.
pub(super) struct Rotating<'a> {
    kernel: RotatingKernel,
    plan: &'a Plan,
    level: Level,
    job: &'a Job<'a>,
}

impl Rotating<'_> {
    /// The piece, made of the rotated values of its elements.
    pub(super) fn piece<T: Real>(&self, steps: &rotate::Steps, piece: Piece<'_, T>) -> Result<()> {
        let Piece { x, codes, scales, row, column, k } = piece;
        let (x, rotated) = (&[][..], Some(Rotated { x: T::slice(x), steps }));
        let piece = Piece { x, codes, scales, row, column, k };
        let (plan, job) = (self.plan, self.job);
        (self.kernel)(self.level, Work { plan, job, piece, ahead: None, rotated })
    }
}

/// What a kernel rotates before it quantizes.
#[derive(Clone, Copy)]
struct Rotated<'a> {
    x: Slice<'a>,
    steps: &'a rotate::Steps,
}

/// Several rows of k elements, or parts of one: of about `piece` elements, multiples of `unit`, which is whole
/// blocks and bytes.
pub(super) fn row_pieces<'a, T: Sync>(
    job: &Job,
    k: usize,
    piece: usize,
    unit: usize,
    x: &'a [T],
    codes: &'a mut [u8],
    scales: &'a mut [u8],
) -> Result<impl Iterator<Item = Piece<'a, T>> + Send + use<'a, T>> {
    let Cut { rows, several, part } = Cut::new(job.profile.format(), k, piece, unit)?;
    let several = x
        .chunks(several.elements)
        .zip(codes.chunks_mut(several.codes))
        .zip(scales.chunks_mut(several.scales));
    Ok(several.enumerate().flat_map(move |(i, ((x, codes), scales))| {
        let parts = x
            .chunks(part.elements)
            .zip(codes.chunks_mut(part.codes))
            .zip(scales.chunks_mut(part.scales));
        parts.enumerate().map(move |(j, ((x, codes), scales))| {
            let k = k.min(x.len());
            Piece { x, codes, scales, row: i * rows, column: j * part.elements, k }
        })
    }))
}

/// The rows of a row of tiles.
pub(super) fn bands<'a, T: Sync>(
    job: &Job,
    x: &'a [T],
    codes: &'a mut [u8],
    scales: &'a mut [u8],
) -> Result<impl Iterator<Item = Piece<'a, T>> + Send> {
    let Extents { rows, k, .. } = job.extents;
    let height = job.band_rows();
    let row = Sizes::of_row(job.profile.format(), k)?;
    let (matrix, band) = (row.times(rows), row.times(height));
    let matrices = x
        .chunks(matrix.elements)
        .zip(codes.chunks_mut(matrix.codes))
        .zip(scales.chunks_mut(matrix.scales));
    Ok(matrices.enumerate().flat_map(move |(matrix, ((x, codes), scales))| {
        let bands = x
            .chunks(band.elements)
            .zip(codes.chunks_mut(band.codes))
            .zip(scales.chunks_mut(band.scales));
        bands.enumerate().map(move |(band, ((x, codes), scales))| Piece {
            x,
            codes,
            scales,
            row: matrix * rows + band * height,
            column: 0,
            k,
        })
    }))
}

/// The piece as the reference has it.
#[cold]
#[inline(never)]
pub(super) fn specified<T: Real>(job: &Job, piece: Piece<'_, T>) -> Result<()> {
    let Piece { x, codes, scales, row, column, k } = piece;
    let rounding = match job.rounding {
        Rounding::Nearest => Rounding::Nearest,
        Rounding::Stochastic(draws) => Rounding::Stochastic(
            draws.with_offset(draws.row_offset(), draws.column_offset() + column as u64),
        ),
    };
    let importance = job.importance.map(|importance| &importance[column..][..k]);
    let job = Job { rounding, extents: Extents { k, ..job.extents }, importance, ..*job };
    let height = job.band_rows();
    let band = Sizes::of_row(job.profile.format(), k)?.times(height);
    let bands = x
        .chunks(band.elements)
        .zip(codes.chunks_mut(band.codes))
        .zip(scales.chunks_mut(band.scales));
    for (band, ((x, codes), scales)) in bands.enumerate() {
        reference::quantize_band(&job, row + band * height, x, codes, scales)?;
    }
    Ok(())
}

/// The piece by the kernel for its plan.
fn run<T: Real + Input>(level: Level, work: Work<'_, T>) -> Result<()> {
    match (work.plan.element.kind, work.plan.element.bits) {
        (Kind::E2M1, _) => of_kind::<T, E2M1>(level, work),
        (Kind::Float { .. }, _) => of_kind::<T, FLOAT>(level, work),
        (Kind::Integer { .. }, 4) => of_kind::<T, INT4>(level, work),
        (Kind::Integer { .. }, _) => of_kind::<T, INTEGER>(level, work),
    }
}

type RotatingKernel = fn(Level, Work<'_, f32>) -> Result<()>;

/// The kernel that rotates for the plan: those of the common forms do.
fn rotating(plan: &Plan) -> Option<RotatingKernel> {
    Some(match (plan.form(), plan.element.kind, plan.element.bits) {
        (Form::Mx, Kind::E2M1, _) => of_form::<f32, E2M1, MX, true>,
        (Form::Mx, Kind::Float { .. }, _) => of_form::<f32, FLOAT, MX, true>,
        (Form::Mx, Kind::Integer { .. }, 4) => of_form::<f32, INT4, MX, true>,
        (Form::Mx, Kind::Integer { .. }, _) => of_form::<f32, INTEGER, MX, true>,
        (Form::Nv, Kind::E2M1, _) => of_form::<f32, E2M1, NV, true>,
        (Form::Nv, Kind::Integer { .. }, 4) => of_form::<f32, INT4, NV, true>,
        _ => return None,
    })
}

fn of_kind<T: Real + Input, const KIND: usize>(level: Level, work: Work<'_, T>) -> Result<()> {
    let form = if work.job.blocks == Blocks::Tile { Form::Any } else { work.plan.form() };
    match form {
        Form::Mx => of_form::<T, KIND, MX, false>(level, work),
        // No other element of a named format has such scales; built formats take the general kernel.
        Form::Nv if KIND == E2M1 || KIND == INT4 => of_form::<T, KIND, NV, false>(level, work),
        Form::Nv | Form::Any => of_form::<T, KIND, ANY, false>(level, work),
    }
}

fn of_form<T: Real + Input, const KIND: usize, const FORM: usize, const ROTATED: bool>(
    level: Level,
    work: Work<'_, T>,
) -> Result<()> {
    match work.plan.rounding {
        Steps::Even => dispatch(level, Rows::<T, KIND, FORM, true, ROTATED>(work)),
        _ => dispatch(level, Rows::<T, KIND, FORM, false, ROTATED>(work)),
    }
}

/// A piece and how it is quantized.
struct Work<'a, T> {
    plan: &'a Plan,
    job: &'a Job<'a>,
    piece: Piece<'a, T>,
    /// What memory is asked for meanwhile, if not what is behind the piece.
    ahead: Option<Ahead>,
    /// In place of the elements of the piece.
    rotated: Option<Rotated<'a>>,
}

/// A piece, for an [`Encoder`] and a [`Chooser`].
struct Rows<'a, T, const KIND: usize, const FORM: usize, const EVEN: bool, const ROTATED: bool>(
    Work<'a, T>,
);

impl<T: Real + Input, const KIND: usize, const FORM: usize, const EVEN: bool, const ROTATED: bool>
    Kernel for Rows<'_, T, KIND, FORM, EVEN, ROTATED>
{
    type Output = Result<()>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Result<()> {
        let plan = self.0.plan;
        let group = Group::<S, KIND, FORM, EVEN> {
            simd,
            plan,
            encoder: Encoder::new(simd, plan),
            chooser: Chooser::new(simd, plan),
        };
        match self.0.job.blocks {
            Blocks::Tile if FORM == ANY => self.band(group),
            _ => self.rows(group),
        }
    }
}

/// Groups whose scales are chosen before one is encoded: their elements stay in the first cache.
const CHUNK: usize = 8;

/// Quantizes groups at a level.
#[derive(Clone, Copy)]
struct Group<'a, S: Simd, const KIND: usize, const FORM: usize, const EVEN: bool> {
    simd: S,
    plan: &'a Plan,
    encoder: Encoder<'a, S, KIND, EVEN, FORM>,
    chooser: Chooser<'a, S, FORM>,
}

impl<S: Simd, const KIND: usize, const FORM: usize, const EVEN: bool>
    Group<'_, S, KIND, FORM, EVEN>
{
    /// Bytes of a group's codes.
    const CODES: usize = if KIND == E2M1 || KIND == INT4 { GROUP / 2 } else { GROUP };

    /// Scales of a group.
    #[inline(always)]
    fn scales(&self) -> usize {
        match FORM {
            MX => 4,
            NV => 8,
            _ => GROUP / self.plan.block,
        }
    }

    /// The draws of the group at (`row`, `column`) of the shard.
    #[inline(always)]
    fn draws(&self, row: usize, column: usize) -> GroupDraws<S> {
        match &self.plan.rounding {
            Steps::Drawn(draws) if !EVEN => {
                GroupDraws::new(self.simd, draws, row as u64, column as u64)
            }
            _ => GroupDraws::none(self.simd),
        }
    }

    /// The scales of a group; `None` where one of its blocks is not ordinary.
    #[inline(always)]
    fn choose<T: Input>(&self, x: &[T; GROUP]) -> Option<GroupScales> {
        self.chooser.choose(T::maxima(self.simd, x, self.chooser.short()))
    }

    /// Of two groups.
    #[inline(always)]
    fn choose_two<T: Input>(&self, [first, second]: &[[T; GROUP]; 2]) -> [Option<GroupScales>; 2] {
        if FORM != NV {
            return [self.choose(first), self.choose(second)];
        }
        let short = self.chooser.short();
        let maxima = [T::maxima(self.simd, first, short), T::maxima(self.simd, second, short)];
        if let Some([first, second]) = self.chooser.choose_two(maxima[0], maxima[1]) {
            return [Some(first), Some(second)];
        }
        // One of them has a block that is not ordinary. The closure is compiled apart, which leaves the loop the
        // registers: a call of `choose` here makes it slower by a seventh.
        maxima.map(|maxima| self.chooser.choose(maxima))
    }

    /// The codes of a group under its scales.
    #[inline(always)]
    fn encode(&self, x: &[S::F; 8], scales: &GroupScales, draws: &GroupDraws<S>, codes: &mut [u8]) {
        let factors = self.chooser.factors(scales);
        // A branch that goes one way nearly always, and saves two operations an element.
        match KIND == E2M1 && EVEN && FORM != ANY && scales.below_8 {
            true => self.encoder.encode::<true>(x, &factors, draws, codes),
            false => self.encoder.encode::<false>(x, &factors, draws, codes),
        }
    }
}

impl<T: Real + Input, const KIND: usize, const FORM: usize, const EVEN: bool, const ROTATED: bool>
    Rows<'_, T, KIND, FORM, EVEN, ROTATED>
{
    /// Groups that follow each other: their scales, then their codes. Each is a loop whose turns do not wait for
    /// each other, while from a group's amax to its factors it is a long way.
    #[inline(always)]
    fn chunk<S: Simd>(
        job: &Job,
        group: &Group<'_, S, KIND, FORM, EVEN>,
        ahead: &mut Option<Ahead>,
        x: &[[T; GROUP]],
        codes: &mut [u8],
        scales: &mut [u8],
        [row, column]: [usize; 2],
    ) -> Result<()> {
        let (group_codes, group_scales) = (Group::<S, KIND, FORM, EVEN>::CODES, group.scales());
        // Once for the chunk: asked in the loop, whether there is one costs the loop a twentieth.
        if let Some(ahead) = ahead {
            x.iter().for_each(|_| ahead.prefetch(group.simd));
        }
        let mut chosen = [GroupScales::NONE; CHUNK];
        let mut odd = [false; CHUNK];
        let mut draws = [GroupDraws::none(group.simd); CHUNK];
        let mut keep = |i: usize, scales: Option<GroupScales>| match scales {
            Some(scales) => chosen[i] = scales,
            None => odd[i] = true,
        };
        let (pairs, last) = x.as_chunks::<2>();
        for (i, pair) in pairs.iter().enumerate() {
            for j in 0..2 {
                prefetch(group.simd, &pair[j]);
                draws[2 * i + j] = group.draws(row, column + (2 * i + j) * GROUP);
            }
            let [first, second] = group.choose_two(pair);
            keep(2 * i, first);
            keep(2 * i + 1, second);
        }
        for x in last {
            prefetch(group.simd, x);
            draws[2 * pairs.len()] = group.draws(row, column + 2 * pairs.len() * GROUP);
            keep(2 * pairs.len(), group.choose(x));
        }
        let outputs =
            codes.chunks_exact_mut(group_codes).zip(scales.chunks_exact_mut(group_scales));
        for (i, (x, (codes, scales))) in x.iter().zip(outputs).enumerate() {
            if odd[i] {
                let column = column + i * GROUP;
                specified(job, Piece { x, codes, scales, row, column, k: GROUP })?;
                continue;
            }
            scales.copy_from_slice(&chosen[i].codes[..group_scales]);
            group.encode(&load_group(group.simd, x), &chosen[i], &draws[i], codes);
        }
        Ok(())
    }

    #[inline(always)]
    fn rows<S: Simd>(self, group: Group<'_, S, KIND, FORM, EVEN>) -> Result<()> {
        let (group_codes, group_scales) = (Group::<S, KIND, FORM, EVEN>::CODES, group.scales());
        let Work { plan: _, job, piece, mut ahead, rotated } = self.0;
        let Piece { x, codes, scales, row, column, k } = piece;
        let rotation = match rotated {
            Some(rotated) if ROTATED => Some((Rotation::new(group.simd, rotated.steps), rotated.x)),
            _ => None,
        };
        let mut buffer = [[0.0; GROUP]; CHUNK];
        let sizes = Sizes::of_row(job.profile.format(), k)?;
        let rows = codes.chunks_mut(sizes.codes).zip(scales.chunks_mut(sizes.scales));
        for (i, (codes, scales)) in rows.enumerate() {
            let (row, first, whole) = (row + i, i * k, k / GROUP);
            let (whole_codes, codes) = codes.split_at_mut(whole * group_codes);
            let (whole_scales, scales) = scales.split_at_mut(whole * group_scales);
            let chunks = whole_codes
                .chunks_mut(CHUNK * group_codes)
                .zip(whole_scales.chunks_mut(CHUNK * group_scales));
            for (j, (codes, scales)) in chunks.enumerate() {
                let before = j * CHUNK * GROUP;
                let groups = codes.len() / group_codes;
                let x = match &rotation {
                    Some((rotation, x)) => {
                        let buffer = &mut buffer[..groups];
                        rotation.fill(*x, first + before, groups * GROUP, buffer);
                        T::of_f32(buffer)
                    }
                    None => x[first + before..][..groups * GROUP].as_chunks::<GROUP>().0,
                };
                Self::chunk(job, &group, &mut ahead, x, codes, scales, [row, column + before])?;
            }
            let (before, used) = (whole * GROUP, k % GROUP);
            if used > 0 {
                let column = column + before;
                let x = match &rotation {
                    Some((rotation, x)) => {
                        rotation.fill(*x, first + before, used, &mut buffer[..1]);
                        T::of_f32(&buffer)[0]
                    }
                    None => padded(&x[first + before..][..used]),
                };
                if let Some(chosen) = group.choose(&x) {
                    let draws = group.draws(row, column);
                    let mut all = [0; GROUP];
                    let all = &mut all[..group_codes];
                    group.encode(&load_group(group.simd, &x), &chosen, &draws, all);
                    codes.copy_from_slice(&all[..codes.len()]);
                    mask_padding(job.profile.format(), codes, used);
                    scales.copy_from_slice(&chosen.codes[..scales.len()]);
                } else {
                    let x = &x[..used];
                    specified(job, Piece { x, codes, scales, row, column, k: used })?;
                }
            }
        }
        Ok(())
    }

    /// Rows that share their scales.
    #[inline(always)]
    fn band<S: Simd>(self, group: Group<'_, S, KIND, FORM, EVEN>) -> Result<()> {
        let (group_codes, group_scales) = (Group::<S, KIND, FORM, EVEN>::CODES, group.scales());
        let Work { job, piece, .. } = self.0;
        let Piece { x, codes, scales, row, column, k } = piece;
        let format = job.profile.format();
        let Sizes { codes: row_codes, scales: row_scales, .. } = Sizes::of_row(format, k)?;
        let height = x.len() / k;
        let simd = group.simd;
        for start in (0..k).step_by(GROUP) {
            let used = GROUP.min(k - start);
            let span = |i: usize| &x[i * k + start..][..used];
            let mut magnitudes = [simd.splat_i(0); 8];
            for i in 0..height {
                let x = load_span(simd, span(i));
                for j in 0..8 {
                    let magnitude = group.encoder.magnitude_bits(x[j]);
                    magnitudes[j] = simd.max_i(magnitudes[j], magnitude);
                }
            }
            let Sizes { codes: used_codes, scales: used_scales, .. } = Sizes::of_row(format, used)?;
            let (codes_at, scales_at) = (start / GROUP * group_codes, start / GROUP * group_scales);
            if let Some(chosen) =
                group.chooser.choose(maxima(simd, magnitudes, group.chooser.short()))
            {
                for i in 0..height {
                    let draws = group.draws(row + i, column + start);
                    let mut all = [0; GROUP];
                    let x = load_span(simd, span(i));
                    group.encode(&x, &chosen, &draws, &mut all[..group_codes]);
                    mask_padding(format, &mut all[..used_codes], used);
                    codes[i * row_codes + codes_at..][..used_codes]
                        .copy_from_slice(&all[..used_codes]);
                    scales[i * row_scales + scales_at..][..used_scales]
                        .copy_from_slice(&chosen.codes[..used_scales]);
                }
                continue;
            }
            // The rows of these tiles behind each other, as the reference takes them.
            let x: Vec<T> = (0..height).flat_map(|i| span(i).iter().copied()).collect();
            let (mut tile_codes, mut tile_scales) =
                (vec![0; height * used_codes], vec![0; height * used_scales]);
            let piece = Piece {
                x: &x,
                codes: &mut tile_codes,
                scales: &mut tile_scales,
                row,
                column: column + start,
                k: used,
            };
            specified(job, piece)?;
            for i in 0..height {
                codes[i * row_codes + codes_at..][..used_codes]
                    .copy_from_slice(&tile_codes[i * used_codes..][..used_codes]);
                scales[i * row_scales + scales_at..][..used_scales]
                    .copy_from_slice(&tile_scales[i * used_scales..][..used_scales]);
            }
        }
        Ok(())
    }
}

/// Memory that is asked for group by group: runs of `run` bytes that begin `stride` bytes behind each other.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    at: usize,
    /// Where the run ends.
    end: usize,
    run: usize,
    stride: usize,
    /// Bytes for a group.
    step: usize,
}

impl Ahead {
    /// Runs of so many bytes, of which a group asks for `step`.
    pub(super) fn runs(at: usize, run: usize, stride: usize, step: usize) -> Self {
        Self { at, end: at.wrapping_add(run), run, stride, step }
    }

    #[inline(always)]
    fn prefetch<S: Simd>(&mut self, simd: S) {
        for line in (0..self.step).step_by(64) {
            simd.prefetch(core::ptr::without_provenance::<u8>(self.at.wrapping_add(line)));
        }
        self.at = self.at.wrapping_add(self.step);
        if self.at >= self.end {
            self.at = self.end.wrapping_sub(self.run).wrapping_add(self.stride);
            self.end = self.at.wrapping_add(self.run);
        }
    }
}

/// Clears the nibble behind an odd number of codes: what stands for +0 can have a sign.
pub(super) fn mask_padding(format: Format, codes: &mut [u8], elements: usize) {
    if let Some(last) = codes.last_mut()
        && format.element().bits() == 4
        && elements % 2 == 1
    {
        *last &= 0x0f;
    }
}

/// Asks for the memory of a group that is to come.
#[inline(always)]
pub(super) fn prefetch<S: Simd, T>(simd: S, x: &[T; GROUP]) {
    let ahead = x.as_ptr().cast::<u8>().wrapping_add(PREFETCH_BYTES);
    for line in (0..size_of_val(x)).step_by(64) {
        simd.prefetch(ahead.wrapping_add(line));
    }
}

/// A group, with +0 behind a short one.
#[inline(always)]
fn load_span<S: Simd, T: Input>(simd: S, x: &[T]) -> [S::F; 8] {
    match x.try_into() {
        Ok(x) => load_group(simd, x),
        Err(_) => load_group(simd, &padded(x)),
    }
}

/// The elements, and +0 behind them.
#[inline(always)]
fn padded<T: Input>(x: &[T]) -> [T; GROUP] {
    let mut all = [T::default(); GROUP];
    all[..x.len()].copy_from_slice(x);
    all
}
