//! What a rotation multiplies blocks by.

use super::{Hadamard, Kronecker, Matrix};

/// What [`Rotate`](crate::Rotate) multiplies blocks by; any of the three converts into it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Rotation<'a> {
    /// Signs and a Hadamard transform.
    Hadamard(Hadamard),
    /// A matrix of any entries.
    Matrix(&'a Matrix),
    /// Two matrices, one along each axis of a block.
    Kronecker(&'a Kronecker),
}

impl Rotation<'_> {
    /// Values of a block.
    pub fn size(self) -> usize {
        match self {
            Self::Hadamard(hadamard) => hadamard.size(),
            Self::Matrix(matrix) => matrix.size(),
            Self::Kronecker(kronecker) => kronecker.size(),
        }
    }
}

impl From<Hadamard> for Rotation<'_> {
    fn from(hadamard: Hadamard) -> Self {
        Self::Hadamard(hadamard)
    }
}

impl<'a> From<&'a Matrix> for Rotation<'a> {
    fn from(matrix: &'a Matrix) -> Self {
        Self::Matrix(matrix)
    }
}

impl<'a> From<&'a Kronecker> for Rotation<'a> {
    fn from(kronecker: &'a Kronecker) -> Self {
        Self::Kronecker(kronecker)
    }
}
