//! Columns as rows: squares of 16 x 16, turned in registers and, where it is asked for, rotated along the
//! columns before.
#![allow(unsafe_code)]

use super::Level;
use super::encode::Input;
use super::rotate::{Rotation, Steps};
use super::simd::{Kernel, LANES, Simd, dispatch};

/// Columns that are rotated together where a block is more than a square.
const STRIP: usize = 2 * LANES;

/// Some columns of some rows of a matrix.
#[derive(Clone, Copy)]
pub(super) struct Window<'a, T> {
    /// From the first element on.
    pub x: &'a [T],
    /// From a row to the next.
    pub k: usize,
    pub rows: usize,
    pub columns: usize,
}

/// Where a window goes: as it is, row by row, and once more.
pub(super) struct Copies<'a, T> {
    pub along: &'a mut [T],
    pub across: Across<'a>,
}

/// The second copy, rotated if there are steps.
pub(super) enum Across<'a> {
    None,
    /// Row by row.
    Rows(&'a mut [f32]),
    /// Column by column, each so many elements behind the one before it.
    Columns(&'a mut [f32], usize),
}

/// Copies a window; its columns rotated if there are steps, and then it has whole blocks of rows. A NaN that is
/// rotated has any bits.
pub(super) fn turn<T: Input>(
    level: Level,
    steps: Option<&Steps>,
    window: Window<'_, T>,
    to: Copies<'_, T>,
) {
    dispatch(level, Turn { steps, window, to });
}

struct Turn<'a, T> {
    steps: Option<&'a Steps>,
    window: Window<'a, T>,
    to: Copies<'a, T>,
}

impl<T: Input> Kernel for Turn<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { steps, window, mut to } = self;
        match steps.map(|steps| Rotation::new(simd, steps)) {
            None => squares::<S, T, false>(simd, None, &window, &mut to),
            Some(rotation) if rotation.size() == LANES => {
                squares::<S, T, true>(simd, Some(rotation), &window, &mut to);
            }
            Some(rotation) => {
                let mut strip = [[simd.splat(0.0); 2]; 256];
                let strip = &mut strip[..rotation.size()];
                for row in (0..window.rows).step_by(strip.len()) {
                    for column in (0..window.columns).step_by(STRIP) {
                        blocks(simd, &rotation, &window, &mut to, [row, column], strip);
                    }
                }
            }
        }
    }
}

/// All squares, `ROTATED` or not before they are turned. Whole ones stay in registers.
#[inline(always)]
fn squares<S: Simd, T: Input, const ROTATED: bool>(
    simd: S,
    rotation: Option<Rotation<'_, S>>,
    window: &Window<'_, T>,
    to: &mut Copies<'_, T>,
) {
    for row in (0..window.rows).step_by(LANES) {
        for column in (0..window.columns).step_by(LANES) {
            let at = [row, column];
            if window.rows - row >= LANES && window.columns - column >= LANES {
                let mut square = load_whole(simd, window, to, at);
                if ROTATED && let Some(rotation) = &rotation {
                    square = rotation.square(square);
                }
                store_whole(simd, window, &mut to.across, at, square);
            } else {
                let mut square = load_part(simd, window, to, at);
                if ROTATED && let Some(rotation) = &rotation {
                    square = rotation.square(square);
                }
                store_part(simd, window, &mut to.across, at, square);
            }
        }
    }
}

/// Blocks of the columns of a strip.
#[inline(always)]
fn blocks<S: Simd, T: Input>(
    simd: S,
    rotation: &Rotation<'_, S>,
    window: &Window<'_, T>,
    to: &mut Copies<'_, T>,
    [row, column]: [usize; 2],
    strip: &mut [[S::F; 2]],
) {
    let halves = (column..window.columns.min(column + STRIP)).step_by(LANES).enumerate();
    for (half, column) in halves.clone() {
        for (i, rows) in strip.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            let at = [row + i * LANES, column];
            let square = match window.columns - column >= LANES {
                true => load_whole(simd, window, to, at),
                false => load_part(simd, window, to, at),
            };
            for j in 0..LANES {
                rows[j][half] = square[j];
            }
        }
    }
    rotation.columns(strip);
    for (half, column) in halves {
        for (i, rows) in strip.as_chunks::<LANES>().0.iter().enumerate() {
            let mut square = [simd.splat(0.0); LANES];
            for j in 0..LANES {
                square[j] = rows[j][half];
            }
            let square = rotation.rounded(&square);
            let at = [row + i * LANES, column];
            match window.columns - column >= LANES {
                true => store_whole(simd, window, &mut to.across, at, square),
                false => store_part(simd, window, &mut to.across, at, square),
            }
        }
    }
}

/// A square of the window, copied as it is.
#[inline(always)]
fn load_whole<S: Simd, T: Input>(
    simd: S,
    window: &Window<'_, T>,
    to: &mut Copies<'_, T>,
    [row, column]: [usize; 2],
) -> [S::F; LANES] {
    let Window { x, k, columns, .. } = *window;
    let x = &x[row * k + column..][..(LANES - 1) * k + LANES];
    let along = &mut to.along[row * columns + column..][..(LANES - 1) * columns + LANES];
    let mut square = [simd.splat(0.0); LANES];
    for i in 0..LANES {
        // SAFETY: the last of 16 rows ends with the slice, of the window and of its copy.
        let (from, to) = unsafe {
            let from = &*x.as_ptr().add(i * k).cast::<[T; LANES]>();
            (from, &mut *along.as_mut_ptr().add(i * columns).cast::<[T; LANES]>())
        };
        square[i] = T::load(simd, from);
        *to = *from;
    }
    square
}

/// The same of a square that the window ends in, +0 behind its end.
#[inline(always)]
fn load_part<S: Simd, T: Input>(
    simd: S,
    window: &Window<'_, T>,
    to: &mut Copies<'_, T>,
    [row, column]: [usize; 2],
) -> [S::F; LANES] {
    let Window { x, k, rows, columns, .. } = *window;
    let mut square = [simd.splat(0.0); LANES];
    let width = LANES.min(columns - column);
    for i in 0..LANES.min(rows - row) {
        let from = &x[(row + i) * k + column..][..width];
        to.along[(row + i) * columns + column..][..width].copy_from_slice(from);
        let mut all = [T::default(); LANES];
        all[..width].copy_from_slice(from);
        square[i] = T::load(simd, &all);
    }
    square
}

/// Writes a square to the second copy.
#[inline(always)]
fn store_whole<S: Simd, T: Input>(
    simd: S,
    window: &Window<'_, T>,
    across: &mut Across<'_>,
    [row, column]: [usize; 2],
    square: [S::F; LANES],
) {
    let (to, stride, square) = match across {
        Across::None => return,
        Across::Rows(to) => (&mut to[row * window.columns + column..], window.columns, square),
        Across::Columns(to, height) => {
            (&mut to[column * *height + row..], *height, simd.transpose(square))
        }
    };
    let to = &mut to[..(LANES - 1) * stride + LANES];
    for i in 0..LANES {
        // SAFETY: the last of 16 runs ends with the slice.
        simd.store(square[i], unsafe { &mut *to.as_mut_ptr().add(i * stride).cast() });
    }
}

/// The same of a square that the window ends in.
#[inline(always)]
fn store_part<S: Simd, T: Input>(
    simd: S,
    window: &Window<'_, T>,
    across: &mut Across<'_>,
    [row, column]: [usize; 2],
    square: [S::F; LANES],
) {
    let (height, width) = (LANES.min(window.rows - row), LANES.min(window.columns - column));
    let (to, stride, [runs, length], square) = match across {
        Across::None => return,
        Across::Rows(to) => {
            let columns = window.columns;
            (&mut to[row * columns + column..], columns, [height, width], square)
        }
        Across::Columns(to, stride) => {
            let turned = simd.transpose(square);
            (&mut to[column * *stride + row..], *stride, [width, height], turned)
        }
    };
    for i in 0..runs {
        let mut all = [0.0; LANES];
        simd.store(square[i], &mut all);
        to[i * stride..][..length].copy_from_slice(&all[..length]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::bf16;

    /// Every element at its place, whatever the sizes; what lies around stays as it is.
    #[test]
    fn windows_are_copied_both_ways() {
        let k = 70;
        let x: Vec<bf16> = (0..80 * k).map(|i| bf16::from_f32((i % 251) as f32)).collect();
        for level in Level::NAMED.map(|(_, level)| level).into_iter().filter(|l| l.is_available()) {
            for (rows, columns) in [(1, 1), (15, 33), (16, 16), (17, 48), (33, 31), (64, 65)] {
                let window = Window { x: &x[3..], k, rows, columns };
                let height = rows + 2;
                let mut along = vec![bf16::NAN; rows * columns];
                let mut across = vec![-1.0; columns * height];
                let mut straight = vec![-1.0; rows * columns];
                turn(
                    level,
                    None,
                    window,
                    Copies { along: &mut along, across: Across::Rows(&mut straight) },
                );
                assert!(straight.iter().zip(&along).all(|(a, b)| *a == b.to_f32()));
                along.fill(bf16::NAN);
                let columns_of = Across::Columns(&mut across, height);
                turn(level, None, window, Copies { along: &mut along, across: columns_of });
                for row in 0..rows {
                    for column in 0..columns {
                        let from = x[3 + row * k + column];
                        assert_eq!(along[row * columns + column], from);
                        assert_eq!(across[column * height + row], from.to_f32());
                    }
                }
                let between = across.chunks(height).flat_map(|column| &column[rows..]);
                assert!(between.copied().all(|x| x == -1.0), "{level} {rows} {columns}");
            }
        }
    }
}
