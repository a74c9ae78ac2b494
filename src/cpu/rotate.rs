//! Rotate: Hadamard transforms in registers along K, and of strips of columns along rows.

use super::encode::{Input, load_group};
use super::output::{Output, STREAMED_BYTES, Source, put, write};
use super::pieces;
use super::quantize::prefetch;
use super::simd::{GROUP, Kernel, LANES, Simd, dispatch};
use super::threads::for_each;
use super::{Cpu, Level};
use crate::Axis;
use crate::numerics::Hadamard;
use crate::real::Slice;
use crate::reference::RotateJob;

/// Columns that are rotated together along rows: a line of 16-bit floats.
const STRIP: usize = 2 * LANES;

/// Rotates `x` into `values`, which has its length.
pub(super) fn rotate<U: Input + Output>(cpu: Cpu, job: &RotateJob, x: Slice<'_>, values: &mut [U]) {
    // Of nothing, the extents may be anything.
    if values.is_empty() {
        return;
    }
    let (elements, streams) = (values.len(), size_of_val(values) >= STREAMED_BYTES);
    let piece = piece(cpu, job, elements);
    let pieces = values
        .chunks_mut(piece)
        .enumerate()
        .map(|(i, values)| (Some(part(x, i * piece, values.len())), values));
    each(cpu, job, elements, streams, pieces);
}

/// Rotates `values` where they stand.
pub(super) fn rotate_in_place<U: Input + Output>(cpu: Cpu, job: &RotateJob, values: &mut [U]) {
    if values.is_empty() {
        return;
    }
    let elements = values.len();
    let pieces = values.chunks_mut(piece(cpu, job, elements)).map(|values| (None, values));
    each(cpu, job, elements, false, pieces);
}

/// Rotates pieces: what is given, or what is there.
fn each<'a, U: Input + Output>(
    cpu: Cpu,
    job: &RotateJob,
    elements: usize,
    streams: bool,
    pieces: impl Iterator<Item = (Option<Slice<'a>>, &'a mut [U])> + Send,
) {
    let (level, steps) = (cpu.chosen_level(), &Steps::new(job.hadamard, job.inverse));
    // Nothing here can fail.
    let _ = for_each(cpu, elements, pieces, |(x, values)| {
        match job.axis {
            Axis::K => dispatch(level, AlongK { steps, x, values, streams }),
            Axis::Rows => dispatch(level, AlongRows { steps, k: job.extents.k, x, values }),
        }
        Ok(())
    });
}

/// Rotates `x`, whole blocks, along K into `values`, in the caller's thread.
pub(super) fn rotate_row(level: Level, steps: &Steps, x: Slice<'_>, values: &mut [f32]) {
    dispatch(level, AlongK { steps, x: Some(x), values, streams: false });
}

/// Elements that a thread takes at a time: rows are whole blocks, and so follow each other like one.
fn piece(cpu: Cpu, job: &RotateJob, elements: usize) -> usize {
    match job.axis {
        Axis::K => pieces::piece(cpu, elements),
        Axis::Rows => job.hadamard.size() * job.extents.k,
    }
}

/// A Hadamard rotation in numbers, worked out once for all pieces.
pub(super) struct Steps {
    size: usize,
    inverse: bool,
    to_bf16: bool,
    scale: f32,
    /// Whether a sign is negative, and the sign bits of 256 values.
    signed: bool,
    signs: [u32; 2 * GROUP],
}

impl Steps {
    pub(super) fn new(hadamard: Hadamard, inverse: bool) -> Self {
        Self {
            size: hadamard.size(),
            inverse,
            to_bf16: hadamard.is_rounded_to_bf16() && !inverse,
            scale: hadamard.scale(),
            signed: hadamard.sign_mask() != [0; 4],
            signs: core::array::from_fn(|i| hadamard.sign(i).to_bits() & 0x8000_0000),
        }
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }
}

/// The rotation in registers.
#[derive(Clone, Copy)]
pub(super) struct Rotation<'a, S: Simd> {
    simd: S,
    steps: &'a Steps,
    scale: S::F,
}

impl<'a, S: Simd> Rotation<'a, S> {
    #[inline(always)]
    pub(super) fn new(simd: S, steps: &'a Steps) -> Self {
        Self { simd, steps, scale: simd.splat(steps.scale) }
    }

    pub(super) fn size(&self) -> usize {
        self.steps.size
    }

    /// Fills groups with the `elements` values of `x` from `first` on, rotated, and zeros behind them; a NaN has
    /// any bits.
    #[inline(always)]
    pub(super) fn fill(
        &self,
        x: Slice<'_>,
        first: usize,
        elements: usize,
        values: &mut [[f32; GROUP]],
    ) {
        match self.steps.size {
            256 => self.fill_blocks::<2>(x, first, elements, values),
            _ => self.fill_blocks::<1>(x, first, elements, values),
        }
    }

    #[inline(always)]
    fn fill_blocks<const G: usize>(
        &self,
        x: Slice<'_>,
        first: usize,
        elements: usize,
        values: &mut [[f32; GROUP]],
    ) {
        let simd = self.simd;
        let (blocks, _) = values.as_chunks_mut::<G>();
        for (i, values) in blocks.iter_mut().enumerate() {
            let mut loaded = [[self.scale; 8]; G];
            for g in 0..G {
                let before = (i * G + g) * GROUP;
                loaded[g] = load_span(simd, x, first + before, GROUP.min(elements - before));
            }
            let rotated = self.groups(loaded);
            for g in 0..G {
                let (rounded, mut bits) = (self.rounded(&rotated[g]), [simd.splat_i(0); 8]);
                for i in 0..8 {
                    bits[i] = simd.bits(rounded[i]);
                }
                write(simd, &bits, &mut values[g], false);
            }
        }
    }

    /// Rotates the blocks of `G` groups: one, or the two of a block of 256.
    #[inline(always)]
    fn groups<const G: usize>(&self, x: [[S::F; 8]; G]) -> [[S::F; 8]; G] {
        let simd = self.simd;
        let mut values = x;
        for g in 0..G {
            let mut x = x[g];
            if !self.steps.inverse {
                self.flip(&mut x, g);
            }
            for i in 0..8 {
                x[i] = simd.butterflies::<0>(x[i]);
                x[i] = simd.butterflies::<1>(x[i]);
                x[i] = simd.butterflies::<2>(x[i]);
                x[i] = simd.butterflies::<3>(x[i]);
            }
            if self.steps.size >= 32 {
                self.vectors(&mut x, 1);
            }
            if self.steps.size >= 64 {
                self.vectors(&mut x, 2);
            }
            if self.steps.size >= 128 {
                self.vectors(&mut x, 4);
            }
            values[g] = x;
        }
        if G == 2 {
            for i in 0..8 {
                let (a, b) = (values[0][i], values[1][i]);
                (values[0][i], values[1][i]) = (simd.add(a, b), simd.sub(a, b));
            }
        }
        for g in 0..G {
            for i in 0..8 {
                values[g][i] = simd.mul(values[g][i], self.scale);
            }
            if self.steps.inverse {
                self.flip(&mut values[g], g);
            }
        }
        values
    }

    /// Butterflies of vectors that are `stride` apart.
    #[inline(always)]
    fn vectors(&self, x: &mut [S::F; 8], stride: usize) {
        for i in 0..8 {
            if i & stride == 0 {
                let (a, b) = (x[i], x[i + stride]);
                (x[i], x[i + stride]) = (self.simd.add(a, b), self.simd.sub(a, b));
            }
        }
    }

    /// Gives group `g` of a block its signs.
    #[inline(always)]
    fn flip(&self, x: &mut [S::F; 8], g: usize) {
        if self.steps.signed {
            let (signs, _) = self.steps.signs.as_chunks::<LANES>();
            for i in 0..8 {
                x[i] = self.flipped(x[i], self.simd.load_i(&signs[8 * g + i]));
            }
        }
    }

    #[inline(always)]
    fn flipped(&self, x: S::F, signs: S::I) -> S::F {
        let simd = self.simd;
        simd.float(simd.xor3(simd.bits(x), signs, simd.splat_i(0)))
    }

    /// Rounded to bf16 if so asked, once for all vectors; NaN stays NaN.
    #[inline(always)]
    pub(super) fn rounded<const N: usize>(&self, x: &[S::F; N]) -> [S::F; N] {
        let (simd, mut x) = (self.simd, *x);
        if self.steps.to_bf16 {
            for i in 0..N {
                let rounded = simd.shl::<16>(simd.to_bf16(x[i]));
                x[i] = simd.float(simd.select(simd.nan(x[i]), simd.bits(x[i]), rounded));
            }
        }
        x
    }

    /// The lines of a group's values, NaN as it is written.
    #[inline(always)]
    fn lines<U: Output>(&self, x: &[S::F; 8]) -> [S::I; 8] {
        let simd = self.simd;
        let (x, mut bits) = (self.rounded(x), [simd.splat_i(0); 8]);
        for i in 0..8 {
            bits[i] = simd.select(simd.nan(x[i]), simd.splat_i(U::NAN), U::narrow(simd, x[i]));
        }
        U::lines(simd, &bits)
    }
}

/// Blocks behind each other; without `x` where they stand.
struct AlongK<'a, U> {
    steps: &'a Steps,
    x: Option<Slice<'a>>,
    values: &'a mut [U],
    streams: bool,
}

impl<U: Input + Output> Kernel for AlongK<'_, U> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { steps, x, values, streams } = self;
        let rotation = Rotation::new(simd, steps);
        let (values, tail) = values.as_chunks_mut::<GROUP>();
        let whole = values.len() * GROUP;
        put(simd, &Groups { rotation, x }, values, streams);
        if !tail.is_empty() {
            let mut all = padded(tail);
            // A block of 256 is whole groups.
            let x = match x {
                Some(x) => load_span(simd, x, whole, tail.len()),
                None => load_group(simd, &all),
            };
            let [rotated] = rotation.groups([x]);
            write(simd, &rotation.lines::<U>(&rotated)[..U::LINES], &mut all, false);
            tail.copy_from_slice(&all[..tail.len()]);
        }
        if streams {
            simd.fence();
        }
    }
}

struct Groups<'a, S: Simd> {
    rotation: Rotation<'a, S>,
    x: Option<Slice<'a>>,
}

impl<S: Simd, U: Input + Output> Source<U> for Groups<'_, S> {
    #[inline(always)]
    fn fill(&self, first: usize, values: &mut [[U; GROUP]], streams: bool) {
        match self.rotation.steps.size {
            256 => self.blocks::<U, 2>(first, values, streams),
            _ => self.blocks::<U, 1>(first, values, streams),
        }
    }
}

impl<S: Simd> Groups<'_, S> {
    #[inline(always)]
    fn blocks<U: Input + Output, const G: usize>(
        &self,
        first: usize,
        values: &mut [[U; GROUP]],
        streams: bool,
    ) {
        let simd = self.rotation.simd;
        let (blocks, _) = values.as_chunks_mut::<G>();
        for (i, values) in blocks.iter_mut().enumerate() {
            let mut x = [[self.rotation.scale; 8]; G];
            for g in 0..G {
                x[g] = match self.x {
                    Some(x) => load_span(simd, x, (first + i * G + g) * GROUP, GROUP),
                    None => {
                        prefetch(simd, &values[g]);
                        load_group(simd, &values[g])
                    }
                };
            }
            let rotated = self.rotation.groups(x);
            for g in 0..G {
                let lines = self.rotation.lines::<U>(&rotated[g]);
                write(simd, &lines[..U::LINES], &mut values[g], streams);
            }
        }
    }
}

/// The group from `first` on, of which there are so many elements and +0 behind them.
#[inline(always)]
fn load_span<S: Simd>(simd: S, x: Slice<'_>, first: usize, elements: usize) -> [S::F; 8] {
    match x {
        Slice::F32(x) => load_part(simd, &x[first..first + elements]),
        Slice::Bf16(x) => load_part(simd, &x[first..first + elements]),
        Slice::F16(x) => load_part(simd, &x[first..first + elements]),
    }
}

#[inline(always)]
fn load_part<S: Simd, T: Input>(simd: S, x: &[T]) -> [S::F; 8] {
    match x.try_into() {
        Ok(x) => {
            prefetch(simd, x);
            load_group(simd, x)
        }
        Err(_) => load_group(simd, &padded(x)),
    }
}

/// So many elements from `first` on.
fn part(x: Slice<'_>, first: usize, elements: usize) -> Slice<'_> {
    match x {
        Slice::F32(x) => Slice::F32(&x[first..first + elements]),
        Slice::Bf16(x) => Slice::Bf16(&x[first..first + elements]),
        Slice::F16(x) => Slice::F16(&x[first..first + elements]),
    }
}

/// Elements, and +0 behind them.
#[inline(always)]
fn padded<T: Input>(x: &[T]) -> [T; GROUP] {
    let mut all = [T::default(); GROUP];
    all[..x.len()].copy_from_slice(x);
    all
}

/// A block of whole rows, of which every column is rotated; without `x` where it stands.
struct AlongRows<'a, U> {
    steps: &'a Steps,
    k: usize,
    x: Option<Slice<'a>>,
    values: &'a mut [U],
}

impl<U: Input + Output> Kernel for AlongRows<'_, U> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { steps, k, x, values } = self;
        let rotation = Rotation::new(simd, steps);
        let mut strip = [[rotation.scale; 2]; 256];
        let strip = &mut strip[..rotation.steps.size];
        for column in (0..k).step_by(STRIP) {
            let columns = STRIP.min(k - column);
            for (row, vectors) in strip.iter_mut().enumerate() {
                let first = row * k + column;
                *vectors = match x {
                    Some(Slice::F32(x)) => load_strip(simd, &x[first..first + columns]),
                    Some(Slice::Bf16(x)) => load_strip(simd, &x[first..first + columns]),
                    Some(Slice::F16(x)) => load_strip(simd, &x[first..first + columns]),
                    None => load_strip(simd, &values[first..first + columns]),
                };
            }
            rotation.columns(strip);
            for (i, rows) in strip.as_chunks::<4>().0.iter().enumerate() {
                let [[a, b], [c, d], [e, f], [g, h]] = *rows;
                let lines = rotation.lines::<U>(&[a, b, c, d, e, f, g, h]);
                let mut all = [U::default(); GROUP];
                write(simd, &lines[..U::LINES], &mut all, false);
                for (j, from) in all.as_chunks::<STRIP>().0.iter().enumerate() {
                    let first = (4 * i + j) * k + column;
                    values[first..first + columns].copy_from_slice(&from[..columns]);
                }
            }
        }
    }
}

#[inline(always)]
fn load_strip<S: Simd, T: Input>(simd: S, x: &[T]) -> [S::F; 2] {
    let mut all = [T::default(); STRIP];
    all[..x.len()].copy_from_slice(x);
    let (vectors, _) = all.as_chunks::<LANES>();
    [T::load(simd, &vectors[0]), T::load(simd, &vectors[1])]
}

impl<S: Simd> Rotation<'_, S> {
    /// Rotates each lane of a block of 16 and rounds it.
    #[inline(always)]
    pub(super) fn square(&self, x: [S::F; LANES]) -> [S::F; LANES] {
        let (simd, mut x) = (self.simd, x);
        if self.steps.signed {
            for i in 0..LANES {
                x[i] = self.flipped(x[i], simd.splat_i(self.steps.signs[i] as i32));
            }
        }
        for stride in [1, 2, 4, 8] {
            for i in 0..LANES {
                if i & stride == 0 {
                    (x[i], x[i + stride]) =
                        (simd.add(x[i], x[i + stride]), simd.sub(x[i], x[i + stride]));
                }
            }
        }
        for i in 0..LANES {
            x[i] = simd.mul(x[i], self.scale);
        }
        self.rounded(&x)
    }

    /// Rotates each lane of a strip.
    #[inline(always)]
    pub(super) fn columns(&self, strip: &mut [[S::F; 2]]) {
        let simd = self.simd;
        if !self.steps.inverse {
            self.flip_rows(strip);
        }
        let mut stride = 1;
        while stride < strip.len() {
            for halves in strip.chunks_exact_mut(2 * stride) {
                let (first, second) = halves.split_at_mut(stride);
                for (a, b) in first.iter_mut().zip(second) {
                    for i in 0..2 {
                        (a[i], b[i]) = (simd.add(a[i], b[i]), simd.sub(a[i], b[i]));
                    }
                }
            }
            stride *= 2;
        }
        for row in strip.iter_mut() {
            *row = [simd.mul(row[0], self.scale), simd.mul(row[1], self.scale)];
        }
        if self.steps.inverse {
            self.flip_rows(strip);
        }
    }

    #[inline(always)]
    fn flip_rows(&self, strip: &mut [[S::F; 2]]) {
        if self.steps.signed {
            for (row, sign) in strip.iter_mut().zip(&self.steps.signs) {
                let sign = self.simd.splat_i(*sign as i32);
                *row = [self.flipped(row[0], sign), self.flipped(row[1], sign)];
            }
        }
    }
}
