//! Quantize in both directions: the rows as they are, and of a band of rows a strip of columns at a time,
//! transposed into a buffer, so that no transposed copy of a tensor exists.
//!
//! The rows of a band are elements of the transposed rows that follow each other: whole blocks, bytes and
//! rotations of each, whose codes go to as many places as the strip has columns.

use super::Cpu;
use super::amax::amax_of;
use super::encode::Input;
use super::pieces::{PIECE, Sizes};
use super::quantize::{Piece, Worker, bands, row_pieces};
use super::rotate::Steps;
use super::rotated::{Buffer, Rotator};
use super::threads::for_each;
use crate::error::Result;
use crate::format::canonical;
use crate::numerics::{Hadamard, NonFinite};
use crate::reference::{Output, Pass};
use crate::shape::Extents;
use crate::{Blocks, Real};
use core::ops::Range;
use core::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// Columns that are transposed together: a line of 16-bit floats.
const STRIP: usize = 32;
/// Rows whose elements of a column are written together, so that lines of the buffer are filled at once.
const SQUARE: usize = 16;
/// Rows of a band that only an amax is taken of: whole blocks of any rotation.
const BAND: usize = 256;

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
    let (along, across) = (Hand::new(cpu, rows), Hand::new(cpu, columns));
    let extents = rows.job.extents;
    let shape = Strips { extents, band: across.unit(), width: strip_width(columns) };
    let places = places(columns, shape, column_wise)?;
    let pieces = along.pieces(x, row_wise)?;
    let row_work = pieces.map(|piece| (piece.row * extents.k + piece.column, Work::Rows(piece)));
    let column_work = shape.spans().map(|span| (shape.start(&span), Work::Columns(span)));
    for_each(cpu, 2 * x.len(), in_order(row_work, column_work), |work| match work {
        Work::Rows(piece) => along.piece(&mut along.buffer(), piece),
        Work::Columns(span) => quantize_span(&across, shape, x, &places, span),
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
    let (level, steps) = (cpu.chosen_level(), Steps::new(hadamard, false));
    let shape = Strips { extents, band: BAND, width: STRIP };
    let largest = AtomicU32::new(0);
    // The work cannot fail, and a maximum does not depend on the order.
    let _ = for_each(cpu, x.len(), shape.spans(), |span| {
        let (mut strip, mut buffer) = (Vec::new(), Buffer::new(level, &steps));
        for columns in shape.columns(&span) {
            shape.transpose(x, &span, &columns, &mut strip);
            let amax = amax_of(level, nonfinite, buffer.rotated(&strip));
            // Bits of magnitudes are ordered as integers, NaN above Inf.
            largest.fetch_max(amax.to_bits(), Ordering::Relaxed);
        }
        Ok(())
    });
    canonical(f32::from_bits(largest.into_inner()))
}

/// What a thread does with the pieces of a pass.
enum Hand<'a> {
    Plain(Box<Worker<'a>>, &'a Pass),
    Rotated(Box<Rotator<'a>>, &'a Pass),
}

impl<'a> Hand<'a> {
    fn new(cpu: Cpu, pass: &'a Pass) -> Self {
        match pass.rotation {
            None => Self::Plain(Box::new(Worker::new(cpu, &pass.job)), pass),
            Some(hadamard) => Self::Rotated(Box::new(Rotator::new(cpu, hadamard, &pass.job)), pass),
        }
    }

    fn pass(&self) -> &'a Pass {
        match self {
            Self::Plain(_, pass) | Self::Rotated(_, pass) => pass,
        }
    }

    /// Elements that parts of rows are multiples of.
    fn unit(&self) -> usize {
        match self {
            Self::Plain(worker, _) => worker.unit(),
            Self::Rotated(rotator, _) => rotator.unit(),
        }
    }

    /// The pieces of a tensor, in order.
    fn pieces<'b, T: Sync>(
        &'b self,
        x: &'b [T],
        to: Output<'b>,
    ) -> Result<Box<dyn Iterator<Item = Piece<'b, T>> + Send + 'b>> {
        let (job, Output { codes, scales }) = (&self.pass().job, to);
        if job.blocks == Blocks::Tile {
            return Ok(Box::new(bands(job, x, codes, scales)?));
        }
        let k = match self {
            Self::Plain(worker, _) => worker.row(x.len()),
            Self::Rotated(rotator, _) => rotator.row(x.len()),
        };
        Ok(Box::new(row_pieces(job, k, PIECE, self.unit(), x, codes, scales)?))
    }

    /// Room for rotated values, if there are any.
    fn buffer(&self) -> Option<Buffer<'_>> {
        match self {
            Self::Plain(..) => None,
            Self::Rotated(rotator, _) => Some(rotator.buffer()),
        }
    }

    fn piece<'b, T: Real + Input>(
        &'b self,
        buffer: &mut Option<Buffer<'b>>,
        piece: Piece<'_, T>,
    ) -> Result<()> {
        match self {
            Self::Plain(worker, _) => worker.piece(piece),
            Self::Rotated(rotator, _) => {
                rotator.piece(buffer.get_or_insert_with(|| rotator.buffer()), piece)
            }
        }
    }
}

/// What a thread takes at a time.
enum Work<'a, T> {
    Rows(Piece<'a, T>),
    Columns(Span),
}

/// Both in the order of where they begin in the tensor, so that what one has read the other finds in a cache.
fn in_order<W>(
    a: impl Iterator<Item = (usize, W)>,
    b: impl Iterator<Item = (usize, W)>,
) -> impl Iterator<Item = W> {
    let (mut a, mut b) = (a.peekable(), b.peekable());
    core::iter::from_fn(move || {
        let first = match (a.peek(), b.peek()) {
            (Some((at_a, _)), Some((at_b, _))) => at_a <= at_b,
            (a, _) => a.is_some(),
        };
        let next = if first { a.next() } else { b.next() };
        next.map(|(_, work)| work)
    })
}

/// Columns of a strip: with tiles those of a row of tiles of the transposed tensor, which share scales.
fn strip_width(pass: &Pass) -> usize {
    match pass.job.blocks {
        Blocks::Row => STRIP,
        Blocks::Tile => pass.job.band_rows(),
    }
}

/// How matrices are cut: into bands of rows, and these into strips of columns.
#[derive(Clone, Copy, Debug)]
struct Strips {
    extents: Extents,
    band: usize,
    width: usize,
}

/// Strips of a band.
#[derive(Clone, Debug, PartialEq)]
struct Span {
    matrix: usize,
    /// Rows of the matrix.
    rows: Range<usize>,
    strips: Range<usize>,
}

impl Strips {
    /// Strips of a matrix.
    fn of_matrix(self) -> usize {
        self.extents.k.div_ceil(self.width)
    }

    /// All strips of a tensor that is not empty, band by band, as many at a time as make a piece.
    fn spans(self) -> impl Iterator<Item = Span> + Send {
        let Extents { batches, rows, .. } = self.extents;
        let all = self.of_matrix();
        let several = (PIECE / (self.band.min(rows) * self.width)).max(1);
        let bands = (0..batches).flat_map(move |matrix| {
            let bands = (0..rows).step_by(self.band);
            bands.map(move |first| (matrix, first..rows.min(first.saturating_add(self.band))))
        });
        bands.flat_map(move |(matrix, rows)| {
            (0..all).step_by(several).map(move |first| Span {
                matrix,
                rows: rows.clone(),
                strips: first..all.min(first + several),
            })
        })
    }

    /// Where the band of a span begins.
    fn start(self, span: &Span) -> usize {
        (span.matrix * self.extents.rows + span.rows.start) * self.extents.k
    }

    /// The columns of each strip of a span.
    fn columns(self, span: &Span) -> impl Iterator<Item = Range<usize>> + use<> {
        let (k, width) = (self.extents.k, self.width);
        span.strips.clone().map(move |strip| strip * width..k.min((strip + 1) * width))
    }

    /// The elements of these columns, column by column.
    fn transpose<T: Copy + Default>(
        self,
        x: &[T],
        span: &Span,
        columns: &Range<usize>,
        strip: &mut Vec<T>,
    ) {
        let (k, height) = (self.extents.k, span.rows.len());
        strip.resize(height * columns.len(), T::default());
        let band = &x[self.start(span)..][..height * k];
        for first in (0..height).step_by(SQUARE) {
            for (values, column) in strip.chunks_mut(height).zip(columns.clone()) {
                let values = &mut values[first..height.min(first + SQUARE)];
                for (i, value) in values.iter_mut().enumerate() {
                    *value = band[(first + i) * k + column];
                }
            }
        }
    }
}

/// Where the rows of each strip of the transposed tensor go. Bands of a strip are done by different threads,
/// each of which has it as long as it takes to copy what it has made.
fn places<'a>(pass: &Pass, shape: Strips, to: Output<'a>) -> Result<Vec<Mutex<Output<'a>>>> {
    let row = Sizes::of_row(pass.job.profile.format(), pass.job.extents.k)?;
    let (matrix, strip) = (row.times(shape.extents.k), row.times(shape.width));
    let matrices = to.codes.chunks_mut(matrix.codes).zip(to.scales.chunks_mut(matrix.scales));
    let strips = matrices.flat_map(|(codes, scales)| {
        codes.chunks_mut(strip.codes).zip(scales.chunks_mut(strip.scales))
    });
    Ok(strips.map(|(codes, scales)| Mutex::new(Output { codes, scales })).collect())
}

/// Quantizes the columns of some strips.
fn quantize_span<T: Real + Input>(
    hand: &Hand<'_>,
    shape: Strips,
    x: &[T],
    places: &[Mutex<Output<'_>>],
    span: Span,
) -> Result<()> {
    let format = hand.pass().job.profile.format();
    let whole = Sizes::of_row(format, shape.extents.rows)?;
    let before = Sizes::of_row(format, span.rows.start)?;
    let part = Sizes::of_row(format, span.rows.len())?;
    let (mut strip, mut buffer) = (Vec::new(), hand.buffer());
    let (mut codes, mut scales) = (Vec::new(), Vec::new());
    let places = &places[span.matrix * shape.of_matrix() + span.strips.start..];
    for (columns, place) in shape.columns(&span).zip(places) {
        shape.transpose(x, &span, &columns, &mut strip);
        let all = part.times(columns.len());
        codes.resize(all.codes, 0);
        scales.resize(all.scales, 0);
        let piece = Piece {
            x: &strip[..],
            codes: &mut codes[..],
            scales: &mut scales[..],
            row: span.matrix * shape.extents.k + columns.start,
            column: span.rows.start,
            k: span.rows.len(),
        };
        hand.piece(&mut buffer, piece)?;
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        scatter(&codes, part.codes, place.codes, whole.codes, before.codes);
        scatter(&scales, part.scales, place.scales, whole.scales, before.scales);
    }
    Ok(())
}

/// Copies parts of rows, which follow each other, to where they begin in whole rows.
fn scatter(parts: &[u8], part: usize, rows: &mut [u8], row: usize, first: usize) {
    for (from, to) in parts.chunks(part).zip(rows.chunks_mut(row)) {
        to[first..first + part].copy_from_slice(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strips(batches: usize, rows: usize, k: usize) -> Strips {
        Strips { extents: Extents { batches, rows, k }, band: 256, width: 32 }
    }

    #[test]
    fn spans_are_every_element_once() {
        for (batches, rows, k) in [(1, 1, 1), (2, 300, 70), (1, 256, 1 << 13), (3, 513, 33)] {
            let shape = strips(batches, rows, k);
            let mut times = vec![0; batches * rows * k];
            let mut last = 0;
            for span in shape.spans() {
                assert!(shape.start(&span) >= last && span.rows.start.is_multiple_of(256));
                last = shape.start(&span);
                for columns in shape.columns(&span) {
                    for row in span.rows.clone() {
                        let first = (span.matrix * rows + row) * k;
                        times[first + columns.start..first + columns.end]
                            .iter_mut()
                            .for_each(|times| *times += 1);
                    }
                }
            }
            assert!(times.iter().all(|times| *times == 1), "{batches} {rows} {k}");
        }
    }

    #[test]
    fn works_are_merged_by_their_place() {
        let merged = in_order([(0, 'a'), (5, 'b')].into_iter(), [(0, 'c'), (3, 'd')].into_iter());
        assert_eq!(merged.collect::<String>(), "acdb");
        let rest = in_order([].into_iter(), [(0, 'c')].into_iter());
        assert_eq!(rest.collect::<String>(), "c");
    }
}
