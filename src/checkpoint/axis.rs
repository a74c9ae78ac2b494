//! Moving the block axis behind all others and back.
//!
//! ```text
//! [outer, n, inner] ↔ [outer, inner, n]    outer and inner: the products of the axes around n
//! ```

/// The shape with axis `axis` moved behind all others.
pub(super) fn shape_to_last(shape: &[usize], axis: usize) -> Vec<usize> {
    let (before, rest) = shape.split_at(axis);
    let Some((n, after)) = rest.split_first() else { return shape.to_vec() };
    [before, after, &[*n]].concat()
}

/// The values of a tensor of `shape` with axis `axis` moved behind all others.
pub(super) fn to_last<T: Copy>(x: Vec<T>, shape: &[usize], axis: usize) -> Vec<T> {
    let (n, inner) = extents(shape, axis);
    swap(x, n, inner)
}

/// Undoes [`to_last`]; `shape` is the one to come back to.
pub(super) fn from_last<T: Copy>(x: Vec<T>, shape: &[usize], axis: usize) -> Vec<T> {
    let (n, inner) = extents(shape, axis);
    swap(x, inner, n)
}

fn extents(shape: &[usize], axis: usize) -> (usize, usize) {
    let after = shape.iter().skip(axis + 1).product();
    (shape.get(axis).copied().unwrap_or(1), after)
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
            let moved = to_last(x.clone(), &shape, axis);
            let last = shape_to_last(&shape, axis);
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
            assert_eq!(from_last(moved, &shape, axis), x, "axis {axis}");
        }
        assert!(to_last(Vec::<u8>::new(), &[0, 4], 0).is_empty());
        assert!(shape_to_last(&[], 0).is_empty());
    }
}
