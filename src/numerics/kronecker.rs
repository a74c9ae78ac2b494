//! Two small matrices in the place of one large one.

use super::Matrix;
use crate::cpu::FloatEnvironment;
use crate::error::{Error, Result};

/// The product of two matrices, P1 of n1 and P2 of n2, that blocks of n1 · n2 values are multiplied by,
/// after a scale for each value if there is one.
///
/// ```text
/// x'      = fl(x ⊙ scale)                  x' as n1 rows of n2 values
/// Z[i][b] = Σ_j x'[i][j] · P2[j][b]        sums as those of Matrix: fma in f32, ascending, from +0
/// Y[a][b] = Σ_i Z[i][b] · P1[i][a]         Y = P1ᵀ X' P2
/// ```
///
/// That is x' (P1 ⊗ P2) in n1 + n2 products a value, where one matrix would take n1 · n2. The rotated axis
/// is one block: its length is n1 · n2. **Source**: the steps of FlatQuant (arXiv 2410.09426) with an order
/// of sums of our own.
///
/// ```
/// use blockscale::Rotate;
/// use blockscale::numerics::{Kronecker, Matrix};
/// let diagonal = |value: f32| -> Vec<f32> {
///     (0..256).map(|i| if i % 17 == 0 { value } else { 0.0 }).collect()
/// };
/// let (two, three) = (Matrix::new(16, &diagonal(2.0))?, Matrix::new(16, &diagonal(3.0))?);
/// let six = Kronecker::new(two, three);
/// assert_eq!(Rotate::new(&six).run(&[1.0f32; 256], &[256])?, [6.0; 256]);
/// # Ok::<(), blockscale::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Kronecker {
    left: Matrix,
    right: Matrix,
    scale: Option<Vec<f32>>,
}

impl Kronecker {
    /// P1 and P2, without a scale.
    pub fn new(left: Matrix, right: Matrix) -> Self {
        Self { left, right, scale: None }
    }

    /// The same with values multiplied by these first.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for another number of scales than the size, or one that is 0 or not finite.
    pub fn with_scale(self, scale: &[f32]) -> Result<Self> {
        if scale.len() != self.size() {
            return Err(Error::InvalidValue {
                what: "the number of scales",
                given: format!("{} for a rotation of {}", scale.len(), self.size()),
                rule: "there is one a value",
            });
        }
        let usable = |scale: &f32| scale.is_finite() && scale.to_bits() << 1 != 0;
        if let Some(at) = scale.iter().position(|scale| !usable(scale)) {
            return Err(Error::InvalidValue {
                what: "a scale of a rotation",
                given: format!("{} at {at}", scale[at]),
                rule: "scales are finite and not 0",
            });
        }
        Ok(Self { scale: Some(scale.to_vec()), ..self })
    }

    /// Values of a block: n1 · n2.
    pub fn size(&self) -> usize {
        self.left.size() * self.right.size()
    }
    /// P1.
    pub fn left(&self) -> &Matrix {
        &self.left
    }
    /// P2.
    pub fn right(&self) -> &Matrix {
        &self.right
    }
    /// The scale of each value, if there are any.
    pub fn scale(&self) -> Option<&[f32]> {
        self.scale.as_deref()
    }

    /// P1⁻ᵀ, P2⁻ᵀ and fl(1/scale), by which the other operand of a product along K is to be multiplied, so
    /// that the product stays what it was up to rounding.
    ///
    /// # Errors
    /// Those of [`Matrix::inverse`]; [`Error::InvalidValue`] for a scale whose reciprocal is beyond f32.
    pub fn inverse_transpose(&self) -> Result<Self> {
        let _ieee = FloatEnvironment::ieee();
        let inverse = Self::new(self.left.inverse_transpose()?, self.right.inverse_transpose()?);
        match &self.scale {
            None => Ok(inverse),
            Some(scale) => {
                inverse.with_scale(&scale.iter().map(|scale| 1.0 / scale).collect::<Vec<_>>())
            }
        }
    }
}
