//! Quantize in both directions, tile by tile: stripes of a tile's rows are read once and copied, so that no
//! transposed copy of a tensor exists. The kernels of one direction take the rows from the copy. The columns are
//! taken as they stand ([`columns`](super::columns)), rotated before if they are to be; where there is no kernel
//! for that the copy is transposed.
//!
//! What is made of a tile are parts of rows, of the tensor and of the transposed one: whole blocks, bytes and
//! rotations of each, which go to as many places as the tile has rows and columns.

use super::amax::amax_of;
use super::columns::Columns;
use super::encode::Input;
use super::pieces::Sizes;
use super::quantize::{self, Ahead, Piece, Upright, Worker};
use super::rotate::Steps;
use super::rotated::{self, Rotator};
use super::simd::{GROUP, LANES, ask};
use super::threads::for_each;
use super::transpose::{Across, Copies, Window, turn};
use super::{Cpu, Level};
use crate::error::Result;
use crate::format::canonical;
use crate::numerics::{Hadamard, NonFinite};
use crate::reference::{Job, Output, Pass};
use crate::shape::Extents;
use crate::{Blocks, Real};
use core::ops::Range;
use core::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// Rows and columns of a tile, as far as blocks allow: a quarter of a MiB of f32, which second caches hold.
const TILE: usize = 256;

/// Fills both outputs: of `x`, and of each of its matrices transposed.
pub(super) fn quantize<T: Real + Input>(
    cpu: Cpu,
    [rows, columns]: [&Pass; 2],
    x: &[T],
    [row_wise, column_wise]: [Output<'_>; 2],
) -> Result<()> {
    if x.is_empty() {
        return Ok(());
    }
    let worker = Box::new(Worker::new(cpu, &columns.job));
    let turning = Turning::new(cpu, columns.rotation);
    let extents = rows.job.extents;
    let tiles = Tiles::new(extents, turning.height(worker.unit()), columns.job.band_rows());
    let across = Direction::new(Hand::Plain(worker), &columns.job, tiles.width, column_wise)?;
    // Of values as they are, or of rotated ones.
    let (plain, rotated) = match columns.rotation {
        None => (across.hand.columns::<T>(), None),
        Some(_) => (None, across.hand.columns::<f32>()),
    };
    let hand = Hand::new(cpu, rows);
    let stripe = turning.block().max(rows.job.band_rows());
    let (along, stripe) = match tiles.holds(stripe, rows.job.band_rows(), hand.unit()) {
        true => (Some(Direction::new(hand, &rows.job, stripe, row_wise)?), stripe),
        // Blocks that do not fit tiles: by themselves.
        false => {
            quantize_rows(cpu, rows, x, row_wise)?;
            (None, turning.block())
        }
    };
    let spare = Spare::default();
    for_each(cpu, 2 * x.len(), tiles.all(), |tile| {
        spare.with(|Buffers { along: copied, across: second, codes, scales }| {
            let Tile { matrix, rows, columns } = tile.clone();
            let (height, width) = (rows.len(), columns.len());
            let fit = Columns::<T>::fit(height, width);
            let (plain, rotated) =
                (plain.as_ref().filter(|_| fit), rotated.as_ref().filter(|_| fit));
            let copied = room(copied, height * width);
            let second = room(second, if plain.is_some() { 0 } else { height * width });
            for (first, window, next) in tiles.stripes(x, &tile, stripe) {
                let before = first - rows.start;
                // Only columns that are taken as they are need the copies of all stripes.
                let at = if plain.is_some() { before } else { 0 };
                let copied = &mut copied[at * width..][..window.rows * width];
                let to = match (plain, rotated) {
                    (Some(_), _) => Across::None,
                    (_, Some(_)) => Across::Rows(&mut second[before * width..]),
                    _ => Across::Columns(&mut second[before..], height),
                };
                // What comes next is asked for while these rows are quantized; before, the places of these rows
                // and of a share of the columns.
                let size = size_of::<T>();
                let ahead = Ahead::runs(next.addr(), width * size, window.k * size, GROUP * size);
                let share = |row: usize| columns.start + row * width / height;
                across.ask(
                    matrix,
                    share(before)..share(before + window.rows),
                    rows.start,
                    height,
                )?;
                if let Some(along) = &along {
                    along.ask(matrix, first..first + window.rows, columns.start, width)?;
                }
                turning.turn(window, copied, to);
                if let Some(along) = &along {
                    let place = Place { matrix, row: first, column: columns.start, k: width };
                    along.quantize(copied, place, Some(ahead), codes, scales)?;
                }
            }
            let place = Place { matrix, row: columns.start, column: rows.start, k: height };
            match (plain, rotated) {
                (Some(upright), _) => across.upright(upright, copied, width, place, codes, scales),
                (_, Some(upright)) => across.upright(upright, second, width, place, codes, scales),
                _ => across.quantize(second, place, None, codes, scales),
            }
        })
    })
}

/// max |y| of the columns' rotated values y, NaN if any is; 0 of nothing.
pub(super) fn amax_of_columns<T: Real + Input>(
    cpu: Cpu,
    hadamard: Hadamard,
    nonfinite: NonFinite,
    x: &[T],
    extents: Extents,
) -> f32 {
    if x.is_empty() {
        return 0.0;
    }
    let turning = Turning::new(cpu, Some(hadamard));
    let tiles = Tiles::new(extents, TILE, 1);
    let largest = AtomicU32::new(0);
    let spare = Spare::default();
    // The work cannot fail, and a maximum does not depend on the order.
    let _ = for_each(cpu, x.len(), tiles.all(), |tile| {
        spare.with(|Buffers { along: copied, across: turned, .. }| {
            let height = tile.rows.len();
            let turned = room(turned, height * tile.columns.len());
            for (first, window, _) in tiles.stripes(x, &tile, turning.block()) {
                let copied = room(copied, window.rows * window.columns);
                let across = Across::Columns(&mut turned[first - tile.rows.start..], height);
                turning.turn(window, copied, across);
            }
            let amax = amax_of(turning.level, nonfinite, turned);
            // Bits of magnitudes are ordered as integers, NaN above Inf.
            largest.fetch_max(amax.to_bits(), Ordering::Relaxed);
        });
        Ok(())
    });
    canonical(f32::from_bits(largest.into_inner()))
}

/// The rows on their own.
fn quantize_rows<T: Real + Input>(cpu: Cpu, pass: &Pass, x: &[T], to: Output<'_>) -> Result<()> {
    let Output { codes, scales } = to;
    match pass.rotation {
        None => quantize::quantize(cpu, &pass.job, x, codes, scales),
        Some(hadamard) => rotated::quantize(cpu, hadamard, &pass.job, x, codes, scales),
    }
}

/// How columns are transposed: rotated before, if they are to be.
struct Turning {
    level: Level,
    steps: Option<Steps>,
}

impl Turning {
    fn new(cpu: Cpu, rotation: Option<Hadamard>) -> Self {
        let steps = rotation.map(|hadamard| Steps::new(hadamard, false));
        Self { level: cpu.chosen_level(), steps }
    }

    /// Rows that are transposed together: a square, or a block of the rotation, which is squares.
    fn block(&self) -> usize {
        self.steps.as_ref().map_or(LANES, Steps::size)
    }

    /// Rows of a tile whose columns are multiples of `unit`. Sizes of rotations are powers of two.
    fn height(&self, unit: usize) -> usize {
        let mut height = unit;
        while self.steps.is_some() && !height.is_multiple_of(self.block()) {
            height *= 2;
        }
        height
    }

    fn turn<T: Input>(&self, window: Window<'_, T>, along: &mut [T], across: Across<'_>) {
        turn(self.level, self.steps.as_ref(), window, Copies { along, across });
    }
}

/// What quantizes parts of rows.
enum Hand<'a> {
    Plain(Box<Worker<'a>>),
    Rotated(Box<Rotator<'a>>),
}

impl<'a> Hand<'a> {
    fn new(cpu: Cpu, pass: &'a Pass) -> Self {
        match pass.rotation {
            None => Self::Plain(Box::new(Worker::new(cpu, &pass.job))),
            Some(hadamard) => Self::Rotated(Box::new(Rotator::new(cpu, hadamard, &pass.job))),
        }
    }

    /// What takes columns as they stand, if there is a kernel.
    fn columns<T: Real + Input>(&self) -> Option<Upright<'_, T>> {
        match self {
            Self::Plain(worker) => worker.columns(),
            Self::Rotated(_) => None,
        }
    }

    /// Elements that parts of rows are multiples of.
    fn unit(&self) -> usize {
        match self {
            Self::Plain(worker) => worker.unit(),
            Self::Rotated(rotator) => rotator.unit(),
        }
    }

    /// The length of parts of rows of k elements, `elements` in all, where they may follow each other like one.
    fn row_of(&self, k: usize, elements: usize) -> usize {
        match self {
            Self::Plain(worker) => worker.row_of(k, elements),
            Self::Rotated(rotator) => rotator.row_of(k, elements),
        }
    }

    fn piece<T: Real + Input>(&self, piece: Piece<'_, T>, ahead: Option<Ahead>) -> Result<()> {
        match self {
            Self::Plain(worker) => worker.piece_before(piece, ahead),
            Self::Rotated(rotator) => rotator.piece(&mut rotator.buffer(), piece),
        }
    }
}

/// One of the directions: rows of the tensor, or of the transposed one.
struct Direction<'a> {
    hand: Hand<'a>,
    job: &'a Job<'a>,
    /// Sizes of a row, and where the first one's codes and scales are.
    row: Sizes,
    first: [usize; 2],
    /// Rows of each of the places, of which a matrix has so many. Different threads write to a place, each of
    /// which has it as long as it takes to copy what it has made.
    several: usize,
    of_matrix: usize,
    places: Vec<Mutex<Output<'a>>>,
}

impl<'a> Direction<'a> {
    fn new(hand: Hand<'a>, job: &'a Job, several: usize, to: Output<'a>) -> Result<Self> {
        let Extents { rows, k, .. } = job.extents;
        let row = Sizes::of_row(job.profile.format(), k)?;
        let (matrix, place) = (row.times(rows), row.times(several));
        let first = [to.codes.as_ptr().addr(), to.scales.as_ptr().addr()];
        let matrices = to.codes.chunks_mut(matrix.codes).zip(to.scales.chunks_mut(matrix.scales));
        let places = matrices.flat_map(|(codes, scales)| {
            codes.chunks_mut(place.codes).zip(scales.chunks_mut(place.scales))
        });
        let places = places.map(|(codes, scales)| Mutex::new(Output { codes, scales })).collect();
        Ok(Self { hand, job, row, first, several, of_matrix: rows.div_ceil(several), places })
    }

    /// Asks for the places of parts of rows, k elements each.
    fn ask(&self, matrix: usize, rows: Range<usize>, column: usize, k: usize) -> Result<()> {
        let format = self.job.profile.format();
        let (part, before) = (Sizes::of_row(format, k)?, Sizes::of_row(format, column)?);
        for row in rows {
            let row = matrix * self.job.extents.rows + row;
            let codes = self.first[0] + row * self.row.codes + before.codes;
            (0..part.codes).step_by(64).for_each(|byte| ask(codes + byte));
            ask(self.first[1] + row * self.row.scales + before.scales);
        }
        Ok(())
    }

    /// Quantizes parts of rows.
    fn quantize<T: Real + Input>(
        &self,
        x: &[T],
        place: Place,
        ahead: Option<Ahead>,
        codes: &mut Vec<u8>,
        scales: &mut Vec<u8>,
    ) -> Result<()> {
        let (job, k) = (self.job, place.k);
        self.put(place, x.len() / k, codes, scales, |part, row, codes, scales| {
            let (band, row_of) = match job.blocks {
                Blocks::Row => (part.times(x.len() / k), self.hand.row_of(k, x.len())),
                Blocks::Tile => (part.times(job.band_rows()), k),
            };
            let bands = x
                .chunks(band.elements)
                .zip(codes.chunks_mut(band.codes))
                .zip(scales.chunks_mut(band.scales));
            for (i, ((x, codes), scales)) in bands.enumerate() {
                let (row, column) = (row + i * job.band_rows(), place.column);
                self.hand.piece(Piece { x, codes, scales, row, column, k: row_of }, ahead)?;
            }
            Ok(())
        })
    }

    /// Quantizes columns of a tile, `width` of them.
    fn upright<T>(
        &self,
        upright: &Upright<'_, T>,
        x: &[T],
        width: usize,
        place: Place,
        codes: &mut Vec<u8>,
        scales: &mut Vec<u8>,
    ) -> Result<()> {
        self.put(place, width, codes, scales, |_, row, codes, scales| {
            upright.columns(Columns { x, width, codes, scales, row, column: place.column })
        })
    }

    /// Copies what `work` has made of parts of rows to their place: it is told their sizes, and the first of the
    /// rows among those of all matrices.
    fn put(
        &self,
        place: Place,
        rows: usize,
        codes: &mut Vec<u8>,
        scales: &mut Vec<u8>,
        work: impl FnOnce(Sizes, usize, &mut [u8], &mut [u8]) -> Result<()>,
    ) -> Result<()> {
        let Place { matrix, row, column, k } = place;
        let format = self.job.profile.format();
        let (part, before) = (Sizes::of_row(format, k)?, Sizes::of_row(format, column)?);
        let all = part.times(rows);
        let (codes, scales) = (room(codes, all.codes), room(scales, all.scales));
        work(part, matrix * self.job.extents.rows + row, codes, scales)?;
        let place = &self.places[matrix * self.of_matrix + row / self.several];
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        scatter(codes, part.codes, place.codes, self.row.codes, before.codes);
        scatter(scales, part.scales, place.scales, self.row.scales, before.scales);
        Ok(())
    }
}

/// Where parts of rows belong, k elements each: the first of the rows, which is that of a place, and the column.
#[derive(Clone, Copy)]
struct Place {
    matrix: usize,
    row: usize,
    column: usize,
    k: usize,
}

/// Copies parts of rows, which follow each other, to where they begin in whole rows.
fn scatter(parts: &[u8], part: usize, rows: &mut [u8], row: usize, first: usize) {
    // Of a few bytes, a call for each would take longer than they do.
    match part {
        _ if part.is_multiple_of(64) => scatter_chunks::<64>(parts, part, rows, row, first),
        _ if part.is_multiple_of(8) => scatter_chunks::<8>(parts, part, rows, row, first),
        _ => scatter_chunks::<1>(parts, part, rows, row, first),
    }
}

fn scatter_chunks<const N: usize>(
    parts: &[u8],
    part: usize,
    rows: &mut [u8],
    row: usize,
    first: usize,
) {
    for (from, to) in parts.chunks(part).zip(rows.chunks_mut(row)) {
        let (from, _) = from.as_chunks::<N>();
        let (to, _) = to[first..first + part].as_chunks_mut::<N>();
        from.iter().zip(to).for_each(|(from, to)| *to = *from);
    }
}

/// How matrices are cut into tiles.
#[derive(Clone, Copy, Debug)]
struct Tiles {
    extents: Extents,
    height: usize,
    width: usize,
}

#[derive(Clone, Debug, PartialEq)]
struct Tile {
    matrix: usize,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Tiles {
    /// Of so many rows, and of columns that are multiples of `band`: more where a matrix has fewer rows.
    fn new(extents: Extents, height: usize, band: usize) -> Self {
        let width = TILE * (height / extents.rows.max(1)).max(1);
        Self { extents, height, width: width.next_multiple_of(band) }
    }

    /// Whether tiles are whole stripes, these whole bands of rows, and parts of rows multiples of `unit`.
    fn holds(self, stripe: usize, band: usize, unit: usize) -> bool {
        self.height.is_multiple_of(stripe)
            && stripe.is_multiple_of(band)
            && self.width.is_multiple_of(unit)
    }

    /// All tiles of a tensor that is not empty, in the order of their rows, then of their columns.
    fn all(self) -> impl Iterator<Item = Tile> + Send {
        let Extents { batches, rows, k } = self.extents;
        let end = move |first: usize, step, of: usize| first..of.min(first.saturating_add(step));
        (0..batches).flat_map(move |matrix| {
            (0..rows).step_by(self.height).flat_map(move |row| {
                (0..k).step_by(self.width).map(move |column| Tile {
                    matrix,
                    rows: end(row, self.height, rows),
                    columns: end(column, self.width, k),
                })
            })
        })
    }

    /// Stripes of a tile, each with its first row, and where the one begins that comes next: that of the next
    /// rows, or the first one of the next columns, which need not exist.
    fn stripes<'a, T>(
        self,
        x: &'a [T],
        tile: &Tile,
        stripe: usize,
    ) -> impl Iterator<Item = (usize, Window<'a, T>, *const T)> {
        let Extents { rows, k, .. } = self.extents;
        let Tile { matrix, rows: Range { start, end }, columns } = tile.clone();
        let at = move |row: usize, column: usize| (matrix * rows + row) * k + column;
        (start..end).step_by(stripe).map(move |first| {
            let last = end.min(first + stripe);
            let next = if last < end { at(last, columns.start) } else { at(start, columns.end) };
            let window = Window {
                x: &x[at(first, columns.start)..],
                k,
                rows: last - first,
                columns: columns.len(),
            };
            (first, window, x.as_ptr().wrapping_add(next))
        })
    }
}

/// What a thread needs for a tile.
#[derive(Default)]
struct Buffers<T> {
    along: Vec<T>,
    across: Vec<f32>,
    codes: Vec<u8>,
    scales: Vec<u8>,
}

/// Buffers that no thread has at the moment.
#[derive(Default)]
struct Spare<B>(Mutex<Vec<B>>);

impl<B: Default> Spare<B> {
    fn with<R>(&self, work: impl FnOnce(&mut B) -> R) -> R {
        let list = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = list().pop();
        let mut buffers = taken.unwrap_or_default();
        let result = work(&mut buffers);
        list().push(buffers);
        result
    }
}

/// So many elements of a buffer, from the beginning of a line on; what is in them does not matter.
fn room<T: Copy + Default>(buffer: &mut Vec<T>, elements: usize) -> &mut [T] {
    const LINE: usize = 64;
    if buffer.len() < elements + LINE {
        buffer.resize(elements + LINE, T::default());
    }
    let first = buffer.as_ptr().align_offset(LINE).min(LINE);
    &mut buffer[first..first + elements]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_every_element_once() {
        for (batches, rows, k) in [(1, 1, 70_000), (2, 300, 70), (1, 256, 1 << 13), (3, 513, 33)] {
            let extents = Extents { batches, rows, k };
            let tiles = Tiles::new(extents, 256, 32);
            let x: Vec<usize> = (0..extents.elements()).collect();
            let mut times = vec![0; x.len()];
            let mut last = 0;
            for tile in tiles.all() {
                assert!(tile.rows.start.is_multiple_of(256) && tile.columns.start % 256 == 0);
                let first = (tile.matrix * rows + tile.rows.start) * k + tile.columns.start;
                assert!(first >= last);
                last = first;
                for (row, window, _) in tiles.stripes(&x, &tile, 16) {
                    assert_eq!(window.columns, tile.columns.len());
                    for i in 0..window.rows {
                        for j in 0..window.columns {
                            let element = window.x[i * window.k + j];
                            assert_eq!(element / k % rows, row + i);
                            times[element] += 1;
                        }
                    }
                }
            }
            assert!(times.iter().all(|times| *times == 1), "{batches} {rows} {k}");
        }
    }

    #[test]
    fn low_tiles_are_wide() {
        let width = |rows| Tiles::new(Extents { batches: 1, rows, k: 1 }, 256, 15).width;
        assert_eq!((width(256), width(100), width(1)), (270, 525, 65_550));
    }

    #[test]
    fn rooms_begin_at_a_line() {
        let mut buffer = Vec::<f32>::new();
        for elements in [3, 100, 20] {
            let room = room(&mut buffer, elements);
            assert_eq!((room.len(), room.as_ptr().addr() % 64), (elements, 0));
        }
    }
}
