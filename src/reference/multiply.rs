//! Rotate by matrices of any entries: blocks as row vectors on their left.

use super::axis_blocks::AxisBlocks;
use crate::error::Result;
use crate::numerics::{Kronecker, Matrix};
use crate::shape::Extents;
use crate::{Axis, Real};

/// What a block is multiplied by, inverses worked out.
#[derive(Clone, Debug)]
pub(crate) enum Factors {
    Matrix(Matrix),
    /// The scale comes first.
    Kronecker(Kronecker),
    /// The inverses of both matrices; the scale is divided by, last.
    Back {
        left: Matrix,
        right: Matrix,
        scale: Option<Vec<f32>>,
    },
}

impl Factors {
    pub(crate) fn of_matrix(matrix: &Matrix, inverse: bool) -> Result<Self> {
        Ok(Self::Matrix(if inverse { matrix.inverse()? } else { matrix.clone() }))
    }

    pub(crate) fn of_kronecker(kronecker: &Kronecker, inverse: bool) -> Result<Self> {
        if !inverse {
            return Ok(Self::Kronecker(kronecker.clone()));
        }
        let (left, right) = (kronecker.left().inverse()?, kronecker.right().inverse()?);
        Ok(Self::Back { left, right, scale: kronecker.scale().map(<[f32]>::to_vec) })
    }

    fn size(&self) -> usize {
        match self {
            Self::Matrix(matrix) => matrix.size(),
            Self::Kronecker(kronecker) => kronecker.size(),
            Self::Back { left, right, .. } => left.size() * right.size(),
        }
    }
}

/// Everything about a call but its data. The axis is whole blocks.
#[derive(Clone, Debug)]
pub(crate) struct MultiplyJob {
    pub factors: Factors,
    pub axis: Axis,
    pub extents: Extents,
}

impl MultiplyJob {
    fn blocks(&self) -> AxisBlocks {
        AxisBlocks::new(self.axis, self.factors.size(), self.extents)
    }

    fn multiply(&self, block: &mut [f32]) {
        match &self.factors {
            Factors::Matrix(matrix) => block.copy_from_slice(&times(block, matrix)),
            Factors::Kronecker(kronecker) => {
                if let Some(scale) = kronecker.scale() {
                    block.iter_mut().zip(scale).for_each(|(x, scale)| *x *= scale);
                }
                times_both(block, kronecker.left(), kronecker.right());
            }
            Factors::Back { left, right, scale } => {
                times_both(block, left, right);
                if let Some(scale) = scale {
                    block.iter_mut().zip(scale).for_each(|(x, scale)| *x /= scale);
                }
            }
        }
    }
}

/// y_j = Σ_i x_i · P[i][j], by fma in ascending order from +0.
fn times(x: &[f32], matrix: &Matrix) -> Vec<f32> {
    let column = |j| x.iter().enumerate().fold(0.0, |acc, (i, x)| x.mul_add(matrix.at(i, j), acc));
    (0..matrix.size()).map(column).collect()
}

/// Y = P1ᵀ X P2: every row by P2, then every column by P1.
fn times_both(block: &mut [f32], left: &Matrix, right: &Matrix) {
    let width = right.size();
    for row in block.chunks_mut(width) {
        row.copy_from_slice(&times(row, right));
    }
    for b in 0..width {
        let column: Vec<f32> = block.iter().skip(b).step_by(width).copied().collect();
        for (a, y) in times(&column, left).into_iter().enumerate() {
            block[a * width + b] = y;
        }
    }
}

/// Multiplies `x` into `values`, which has its length.
pub(crate) fn multiply<T: Real, U: Real>(job: &MultiplyJob, x: &[T], values: &mut [U]) {
    job.blocks().map(x, values, |block| job.multiply(block));
}

/// Multiplies `x` where it stands.
pub(crate) fn multiply_in_place<T: Real>(job: &MultiplyJob, x: &mut [T]) {
    job.blocks().map_in_place(x, |block| job.multiply(block));
}
