//! Rotate: blocks of a tensor by an orthogonal matrix, or by any other.

use crate::error::{Error, Result};
use crate::numerics::Rotation;
use crate::reference::{Factors, MultiplyJob, RotateJob};
use crate::shape::Extents;
use crate::{Axis, Backend, Real};

/// A rotation of a tensor: by what, back or forth, along which axis, and who computes it.
///
/// ```text
/// y = fl(H(s ⊙ x) · c)    for each block of x     forward
/// x = s ⊙ fl(H(y) · c)    for each block of y     inverse
/// ```
///
/// with the exact steps of [`Hadamard`](crate::numerics::Hadamard); [`Matrix`](crate::numerics::Matrix)
/// and [`Kronecker`](crate::numerics::Kronecker) have their own. **Shapes**: `[.., rows, K]`; along [`Axis::K`] a block is
/// consecutive elements of a row, along [`Axis::Rows`] consecutive elements of a column of one matrix.
/// The axis must be a multiple of the size, and with two matrices of that size. **Rounding**: inputs of 16 bits widen exactly, all steps are
/// f32, and a result of 16 bits is rounded once more, to nearest even. **Special values**: subnormals are
/// kept; a NaN, or infinities that a sum cancels, make NaN of results of their block, which is written as
/// 0x7FFFFFFF or 0x7FFF.
///
/// Both operands of a product along K may be rotated by the same rotation: up to rounding the product
/// stays what it was, as the matrix is orthogonal, while outliers of a block spread over it.
///
/// ```
/// use blockscale::numerics::Hadamard;
/// use blockscale::{Axis, Rotate};
/// let rotate = Rotate::new(Hadamard::new(16)?);
/// let mut x = [0.0f32; 32];
/// x[16] = 8.0; // an outlier: the largest value is 4 times the root mean square of its block
/// let y = rotate.run(&x, &[2, 16])?;
/// assert_eq!(y, [[0.0; 16], [2.0; 16]].concat()); // no longer
/// assert_eq!(rotate.inverse().run(&y, &[2, 16])?, x);
/// assert_eq!(rotate.along(Axis::Rows).run(&x, &[16, 2])?[..2], [2.0, 0.0]);
/// # Ok::<(), blockscale::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rotate<'a> {
    rotation: Rotation<'a>,
    inverse: bool,
    axis: Axis,
    backend: Backend,
}

/// A checked call.
enum Job {
    Rotate(RotateJob),
    Multiply(MultiplyJob),
}

impl<'a> Rotate<'a> {
    /// Forward, along K, by the default backend. A [`Hadamard`](crate::numerics::Hadamard) is given as it
    /// is, a [`Matrix`](crate::numerics::Matrix) or a [`Kronecker`](crate::numerics::Kronecker) borrowed.
    pub fn new(rotation: impl Into<Rotation<'a>>) -> Self {
        let (rotation, backend) = (rotation.into(), Backend::default());
        Self { rotation, inverse: false, axis: Axis::K, backend }
    }
    /// The rotation that undoes the forward one, up to rounding. Matrices are inverted at each call:
    ///
    /// ```text
    /// Matrix       y P⁻¹
    /// Kronecker    fl(Y / scale), Y = P1⁻ᵀ X P2⁻¹
    /// ```
    pub fn inverse(self) -> Self {
        Self { inverse: true, ..self }
    }
    /// Along rows of length K, or along the rows of a matrix.
    pub fn along(self, axis: Axis) -> Self {
        Self { axis, ..self }
    }
    /// Who computes it. The bytes are the same.
    pub fn backend(self, backend: impl Into<Backend>) -> Self {
        Self { backend: backend.into(), ..self }
    }

    /// Rotates `x`, row-major, of `shape`, into values of the same type.
    ///
    /// # Errors
    /// [`Error::WrongLength`] where `x` and `shape` disagree; [`Error::InvalidShape`] for a shape
    /// without axes, or of one axis along rows; [`Error::RotationSize`] for an axis that is no multiple
    /// of the rotation's size, or not of that size with two matrices; for an inverse, those of
    /// [`Matrix::inverse`](crate::numerics::Matrix::inverse).
    pub fn run<T: Real>(&self, x: &[T], shape: &[usize]) -> Result<Vec<T>> {
        self.run_as(x, shape)
    }

    /// Rotates `x` into values of another type.
    ///
    /// # Errors
    /// Those of [`run`](Self::run).
    ///
    /// ```
    /// # use blockscale::{Rotate, numerics::Hadamard};
    /// use half::bf16;
    /// let x = [bf16::from_f32(1.0); 16];
    /// let y: Vec<f32> = Rotate::new(Hadamard::new(16)?).run_as(&x, &[16])?;
    /// assert_eq!(y[..2], [4.0, 0.0]);
    /// # Ok::<(), blockscale::Error>(())
    /// ```
    pub fn run_as<U: Real, T: Real>(&self, x: &[T], shape: &[usize]) -> Result<Vec<U>> {
        let job = self.check(x.len(), shape)?;
        let mut values = U::zeros(x.len());
        self.fill(&job, x, &mut values);
        Ok(values)
    }

    /// Rotates `x` into the caller's buffer, whose contents do not matter.
    ///
    /// # Errors
    /// Those of [`run`](Self::run), and [`Error::WrongLength`] for a buffer of another length than `x`.
    ///
    /// ```
    /// # use blockscale::{Rotate, numerics::Hadamard};
    /// let mut y = [f32::NAN; 16];
    /// Rotate::new(Hadamard::new(16)?).run_into(&[0.5f32; 16], &[16], &mut y)?;
    /// assert_eq!(y[..2], [2.0, 0.0]);
    /// # Ok::<(), blockscale::Error>(())
    /// ```
    pub fn run_into<T: Real, U: Real>(
        &self,
        x: &[T],
        shape: &[usize],
        values: &mut [U],
    ) -> Result<()> {
        let job = self.check(x.len(), shape)?;
        check_length("the buffer of the values", values.len(), shape, x.len())?;
        self.fill(&job, x, values);
        Ok(())
    }

    /// Rotates `x` where it stands.
    ///
    /// # Errors
    /// Those of [`run`](Self::run); `x` is then as it was.
    ///
    /// ```
    /// # use blockscale::{Rotate, numerics::Hadamard};
    /// let mut x = [0.5f32; 16];
    /// Rotate::new(Hadamard::new(16)?).in_place(&mut x, &[16])?;
    /// assert_eq!(x[..2], [2.0, 0.0]);
    /// # Ok::<(), blockscale::Error>(())
    /// ```
    pub fn in_place<T: Real>(&self, x: &mut [T], shape: &[usize]) -> Result<()> {
        match self.check(x.len(), shape)? {
            Job::Rotate(job) => self.backend.rotate_in_place(&job, x),
            Job::Multiply(job) => self.backend.multiply_in_place(&job, x),
        }
        Ok(())
    }

    fn fill<T: Real, U: Real>(&self, job: &Job, x: &[T], values: &mut [U]) {
        match job {
            Job::Rotate(job) => self.backend.rotate(job, x, values),
            Job::Multiply(job) => self.backend.multiply(job, x, values),
        }
    }

    /// A checked call for backends that know Hadamard rotations only; `None` where it is of others.
    #[cfg(feature = "cuda")]
    pub(crate) fn check_hadamard(&self, len: usize, shape: &[usize]) -> Result<Option<RotateJob>> {
        match self.rotation {
            Rotation::Hadamard(_) => match self.check(len, shape)? {
                Job::Rotate(job) => Ok(Some(job)),
                Job::Multiply(_) => Ok(None),
            },
            _ => Ok(None),
        }
    }

    fn check(&self, len: usize, shape: &[usize]) -> Result<Job> {
        let extents = Extents::of(shape)?;
        if self.axis == Axis::Rows && shape.len() < 2 {
            return Err(Error::InvalidShape {
                shape: shape.to_vec(),
                rule: "a rotation along rows needs rows and columns: at least two axes",
            });
        }
        check_length("the input", len, shape, extents.elements())?;
        let Self { rotation, inverse, axis, .. } = *self;
        check_axis(rotation, axis, shape, extents)?;
        let factors = match rotation {
            Rotation::Hadamard(hadamard) => {
                return Ok(Job::Rotate(RotateJob { hadamard, inverse, axis, extents }));
            }
            Rotation::Matrix(matrix) => Factors::of_matrix(matrix, inverse)?,
            Rotation::Kronecker(kronecker) => Factors::of_kronecker(kronecker, inverse)?,
        };
        Ok(Job::Multiply(MultiplyJob { factors, axis, extents }))
    }
}

fn check_length(what: &'static str, given: usize, shape: &[usize], expected: usize) -> Result<()> {
    match given == expected {
        true => Ok(()),
        false => {
            let (unit, shape) = ("elements", shape.to_vec());
            Err(Error::WrongLength { what, given, unit, shape, expected })
        }
    }
}

/// The axis must hold whole blocks, or be one.
pub(crate) fn check_axis(
    rotation: Rotation<'_>,
    axis: Axis,
    shape: &[usize],
    extents: Extents,
) -> Result<()> {
    let (given, axis) = match axis {
        Axis::K => (extents.k, "elements along K"),
        Axis::Rows => (extents.rows, "rows"),
    };
    let size = rotation.size();
    let (fits, rule) = match rotation {
        Rotation::Kronecker(_) => (given == size, "the axis must be as long as the rotation"),
        _ => (given.is_multiple_of(size), "the axis must be a multiple of the rotation"),
    };
    match fits {
        true => Ok(()),
        false => Err(Error::RotationSize { shape: shape.to_vec(), axis, given, size, rule }),
    }
}
