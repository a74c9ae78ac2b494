//! Blocks of consecutive values along an axis, gathered, changed and put back.

use crate::shape::Extents;
use crate::{Axis, Real};

/// Where the blocks of an axis lie, which is whole blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct AxisBlocks {
    /// Values of a block.
    size: usize,
    /// How far apart they lie.
    stride: usize,
    elements: usize,
}

impl AxisBlocks {
    pub(super) fn new(axis: Axis, size: usize, extents: Extents) -> Self {
        let stride = match axis {
            Axis::K => 1,
            Axis::Rows => extents.k,
        };
        Self { size, stride, elements: extents.elements() }
    }

    /// The first value of each block.
    ///
    /// As the axis is whole blocks, `size · stride` values in a row hold `stride` whole blocks, side
    /// by side.
    fn starts(self) -> impl Iterator<Item = usize> {
        // Of an empty tensor the other axis may be as long as it likes.
        let together = self.size.saturating_mul(self.stride).max(1);
        (0..self.elements).step_by(together).flat_map(move |first| first..first + self.stride)
    }

    fn gather<T: Real>(self, x: &[T], start: usize, block: &mut [f32]) {
        for (i, value) in block.iter_mut().enumerate() {
            *value = x[start + i * self.stride].to_f32();
        }
    }

    fn scatter<U: Real>(self, block: &[f32], start: usize, values: &mut [U]) {
        for (i, value) in block.iter().enumerate() {
            values[start + i * self.stride] = U::from_f32(*value);
        }
    }

    /// Changes every block of `x` into one of `values`, which has its length.
    pub(super) fn map<T: Real, U: Real>(
        self,
        x: &[T],
        values: &mut [U],
        mut change: impl FnMut(&mut [f32]),
    ) {
        let mut block = vec![0.0; self.size];
        for start in self.starts() {
            self.gather(x, start, &mut block);
            change(&mut block);
            self.scatter(&block, start, values);
        }
    }

    /// Changes every block of `x` where it stands.
    pub(super) fn map_in_place<T: Real>(self, x: &mut [T], mut change: impl FnMut(&mut [f32])) {
        let mut block = vec![0.0; self.size];
        for start in self.starts() {
            self.gather(x, start, &mut block);
            change(&mut block);
            self.scatter(&block, start, x);
        }
    }
}
