//! Moving the block axis behind all others and back.
//!
//! ```text
//! [outer, n, inner] ↔ [outer, inner, n]    outer and inner: the products of the axes around n
//! ```

use crate::{Error, Result};

/// The shape with axis `axis` moved behind all others.
pub(super) fn shape_to_last(shape: &[usize], axis: usize) -> Result<Vec<usize>> {
    let (before, n, after) = around(shape, axis)?;
    Ok([before, after, &[n]].concat())
}

/// The axes before `axis`, its length, and the axes behind it.
fn around(shape: &[usize], axis: usize) -> Result<(&[usize], usize, &[usize])> {
    let split = shape.split_at_checked(axis);
    let around = split.and_then(|(before, rest)| Some((before, rest.split_first()?)));
    let (before, (n, after)) = around.ok_or_else(|| Error::InvalidValue {
        what: "the axis",
        given: format!("{axis} of shape {shape:?}"),
        rule: "axes count from 0 and end below the number of axes",
    })?;
    Ok((before, *n, after))
}

/// The values of a tensor of `shape` with axis `axis` moved behind all others.
pub(super) fn to_last<T: Copy>(x: Vec<T>, shape: &[usize], axis: usize) -> Result<Vec<T>> {
    let (n, inner) = extents(x.len(), shape, axis)?;
    Ok(swap(x, n, inner))
}

/// Undoes [`to_last`]; `shape` is the one to come back to.
pub(super) fn from_last<T: Copy>(x: Vec<T>, shape: &[usize], axis: usize) -> Result<Vec<T>> {
    let (n, inner) = extents(x.len(), shape, axis)?;
    Ok(swap(x, inner, n))
}

/// The length of `axis` and the product of the axes behind it, for `length` values of `shape`.
fn extents(length: usize, shape: &[usize], axis: usize) -> Result<(usize, usize)> {
    let (_, n, after) = around(shape, axis)?;
    let product = |axes: &[usize]| axes.iter().try_fold(1usize, |n, axis| n.checked_mul(*axis));
    // The other axes of an empty tensor may have any product.
    let elements = if shape.contains(&0) { Some(0) } else { product(shape) };
    match elements {
        Some(0) if length == 0 => Ok((0, 0)),
        Some(elements) if elements == length => Ok((n, after.iter().product())),
        Some(expected) => Err(Error::WrongLength {
            what: "the tensor",
            given: length,
            unit: "values",
            shape: shape.to_vec(),
            expected,
        }),
        None => Err(Error::InvalidShape {
            shape: shape.to_vec(),
            rule: "the number of elements must fit the address space",
        }),
    }
}

/// Rows of a square that fits the first cache, so that neither side is walked in long strides.
const SQUARE: usize = 32;

/// Transposes each matrix of `rows` × `columns`.
fn swap<T: Copy>(x: Vec<T>, rows: usize, columns: usize) -> Vec<T> {
    if rows <= 1 || columns <= 1 || x.is_empty() {
        return x;
    }
    let mut swapped = x.clone();
    let matrices = x.chunks(rows * columns).zip(swapped.chunks_mut(rows * columns));
    for (from, to) in matrices {
        for top in (0..rows).step_by(SQUARE) {
            for left in (0..columns).step_by(SQUARE) {
                for row in top..rows.min(top + SQUARE) {
                    for column in left..columns.min(left + SQUARE) {
                        to[column * rows + row] = from[row * columns + column];
                    }
                }
            }
        }
    }
    swapped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_axis_moves_and_comes_back() {
        let shape = [2, 3, 70, 5];
        let x: Vec<u32> = (0..shape.iter().product::<usize>() as u32).collect();
        for axis in 0..4 {
            let moved = to_last(x.clone(), &shape, axis).unwrap();
            let last = shape_to_last(&shape, axis).unwrap();
            let mut expected = Vec::new();
            let strides = [1050, 350, 5, 1];
            let order: Vec<usize> = (0..4).filter(|a| *a != axis).chain([axis]).collect();
            assert_eq!(last, order.iter().map(|a| shape[*a]).collect::<Vec<_>>());
            for a in 0..last[0] {
                for b in 0..last[1] {
                    for c in 0..last[2] {
                        for d in 0..last[3] {
                            let at = [a, b, c, d];
                            let offset: usize = (0..4).map(|i| at[i] * strides[order[i]]).sum();
                            expected.push(offset as u32);
                        }
                    }
                }
            }
            assert_eq!(moved, expected, "axis {axis}");
            assert_eq!(from_last(moved, &shape, axis).unwrap(), x, "axis {axis}");
        }
        assert!(to_last(Vec::<u8>::new(), &[0, 4], 0).unwrap().is_empty());
        assert!(from_last(Vec::<u8>::new(), &[usize::MAX, usize::MAX, 0], 1).unwrap().is_empty());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let max = usize::MAX;
        for (values, shape, axis, says) in [
            (4, &[2, 2][..], 7, "the axis is 7 of shape [2, 2]"),
            (4, &[2, 2], 2, "the axis is 2"),
            (4, &[2, 2], max, "the axis is"),
            (1, &[], 0, "the axis is 0 of shape []"),
            (4, &[3, 5], 0, "has 4 values, but the shape [3, 5] needs 15"),
            (4, &[0, 5], 0, "has 4 values, but the shape [0, 5] needs 0"),
            (0, &[3, 5], 1, "needs 15"),
            (4, &[max, max, 4], 0, "address space"),
        ] {
            for moved in
                [to_last(vec![0u8; values], shape, axis), from_last(vec![0; values], shape, axis)]
            {
                let error = moved.unwrap_err().to_string();
                assert!(error.contains(says), "{error}");
            }
        }
        assert!(shape_to_last(&[1, 16], 2).is_err() && shape_to_last(&[], 0).is_err());
    }
}
