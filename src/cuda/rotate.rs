//! Rotations on a device.

use super::memory::{Buffers, check_length};
use super::raw::Turn;
use super::{CudaError, Device, DeviceInput, DeviceOutput, DeviceReal, Strided};
use crate::numerics::{Hadamard, Profile};
use crate::reference::RotateJob;
use crate::shape::Extents;
use crate::{Error, Rotate};
use cudarc::driver::CudaSlice;

type Result<T> = std::result::Result<T, CudaError>;

impl Device {
    /// Rotates `x` of `shape` into values of the same type, with the bytes of [`Rotate::run`]. The backend
    /// of `rotate` does not matter.
    ///
    /// ```text
    /// y = fl(H(s ⊙ x) · c)    for each block of x     forward
    /// x = s ⊙ fl(H(y) · c)    for each block of y     inverse
    /// ```
    ///
    /// **Shapes**, **rounding** and **special values** are those of [`Rotate`]; the input may have
    /// [strides](Strided), the result is dense.
    ///
    /// # Errors
    /// [`CudaError::Argument`] with whatever [`Rotate::run`] refuses, and for rotations that are no
    /// [`Hadamard`]; [`CudaError::WrongDevice`], [`CudaError::OutOfMemory`], [`CudaError::Driver`].
    ///
    /// ```no_run
    /// use blockscale::{Rotate, cuda::Device, numerics::Hadamard};
    /// let device = Device::new(0)?;
    /// let rotate = Rotate::new(Hadamard::new(16)?.with_drawn_signs(7, "x"));
    /// let x = device.upload(&[0.5f32; 64])?;
    /// let y = device.rotate(&rotate, &x, &[2, 32])?;
    /// let y = device.stream().clone_dtoh(&y).unwrap();
    /// assert_eq!(y, rotate.run(&[0.5f32; 64], &[2, 32])?); // the same bytes
    /// # Ok::<(), blockscale::cuda::CudaError>(())
    /// ```
    pub fn rotate<'s, T: DeviceReal>(
        &self,
        rotate: &Rotate<'_>,
        x: &impl DeviceInput<T>,
        shape: impl Into<Strided<'s>>,
    ) -> Result<CudaSlice<T>> {
        self.rotate_as(rotate, x, shape)
    }

    /// Rotates `x` into values of another type.
    ///
    /// # Errors
    /// As [`Device::rotate`].
    pub fn rotate_as<'s, U: DeviceReal, T: DeviceReal>(
        &self,
        rotate: &Rotate<'_>,
        x: &impl DeviceInput<T>,
        shape: impl Into<Strided<'s>>,
    ) -> Result<CudaSlice<U>> {
        let shape = shape.into();
        let (_, elements) = turn(rotate, shape.shape())?;
        let mut y = self.allocate::<U>(elements)?;
        self.rotate_into(rotate, x, shape, &mut y.slice_mut(..elements))?;
        Ok(y)
    }

    /// Rotates `x` into memory of the caller's; allocates nothing.
    ///
    /// # Errors
    /// [`CudaError::Argument`] also for a buffer of another length than the shape needs;
    /// [`CudaError::WrongDevice`], [`CudaError::WrongContext`], [`CudaError::Overlap`],
    /// [`CudaError::TrackedInCapture`], [`CudaError::Driver`].
    pub fn rotate_into<'s, T: DeviceReal, U: DeviceReal>(
        &self,
        rotate: &Rotate<'_>,
        x: &impl DeviceInput<T>,
        shape: impl Into<Strided<'s>>,
        y: &mut impl DeviceOutput<U>,
    ) -> Result<()> {
        let shape = shape.into();
        let used = shape.check(x.len())?;
        let (turn, elements) = turn(rotate, shape.shape())?;
        check_length("y", y.len(), "elements", shape.shape(), elements)?;
        let mut buffers = Buffers::new(self.stream())?;
        let x = buffers.read::<T>("x", x, used)?;
        let y = buffers.write::<U>("y", y, elements)?;
        buffers.ready()?;
        let (input, stream) = (shape.at(x, T::DTYPE), self.stream().cu_stream());
        // SAFETY: `buffers` holds both, live, distinct, on this device and as long as was checked.
        unsafe { self.kernels().rotate(turn, input, y, U::DTYPE, stream) }
    }

    /// Rotates dense `x` where it stands.
    ///
    /// # Errors
    /// As [`Device::rotate_into`].
    ///
    /// ```no_run
    /// use blockscale::{Rotate, cuda::Device, numerics::Hadamard};
    /// let device = Device::new(0)?;
    /// let mut x = device.upload(&[0.5f32; 16])?;
    /// device.rotate_in_place(&Rotate::new(Hadamard::new(16)?), &mut x, &[16])?;
    /// assert_eq!(device.stream().clone_dtoh(&x).unwrap()[..2], [2.0, 0.0]);
    /// # Ok::<(), blockscale::cuda::CudaError>(())
    /// ```
    pub fn rotate_in_place<T: DeviceReal>(
        &self,
        rotate: &Rotate<'_>,
        x: &mut impl DeviceOutput<T>,
        shape: &[usize],
    ) -> Result<()> {
        let shape = Strided::new(shape);
        let used = shape.check(x.len())?;
        let (turn, _) = turn(rotate, shape.shape())?;
        let mut buffers = Buffers::new(self.stream())?;
        let x = buffers.write::<T>("x", x, used)?;
        buffers.ready()?;
        let (input, stream) = (shape.at(x, T::DTYPE), self.stream().cu_stream());
        // SAFETY: `buffers` holds `x`, live, on this device and as long as was checked; the input is dense.
        unsafe { self.kernels().rotate(turn, input, x, T::DTYPE, stream) }
    }

    /// The largest magnitude of what `x` becomes when it is rotated along K, left on the device: that of a
    /// rotated [`Quantize`](crate::Quantize). No rotated value is written.
    ///
    /// # Errors
    /// [`CudaError::Argument`] for a K that is no multiple of the rotation's size;
    /// [`CudaError::WrongDevice`], [`CudaError::OutOfMemory`], [`CudaError::Driver`].
    pub fn amax_rotated<'s, T: DeviceReal>(
        &self,
        profile: &Profile,
        hadamard: Hadamard,
        x: &impl DeviceInput<T>,
        shape: impl Into<Strided<'s>>,
    ) -> Result<CudaSlice<f32>> {
        let mut amax = self.allocate::<f32>(1)?;
        self.amax_rotated_into(profile, hadamard, x, shape, &mut amax)?;
        Ok(amax)
    }

    /// As [`Device::amax_rotated`], into one f32 of the caller's.
    ///
    /// # Errors
    /// As [`Device::amax_into`], and for a K that is no multiple of the rotation's size.
    pub fn amax_rotated_into<'s, T: DeviceReal>(
        &self,
        profile: &Profile,
        hadamard: Hadamard,
        x: &impl DeviceInput<T>,
        shape: impl Into<Strided<'s>>,
        amax: &mut impl DeviceOutput<f32>,
    ) -> Result<()> {
        let shape = shape.into();
        let used = shape.check(x.len())?;
        super::device::one_f32("the length of the tensor amax", amax.len())?;
        let mut buffers = Buffers::new(self.stream())?;
        let x = buffers.read::<T>("x", x, used)?;
        let amax = buffers.write("the tensor amax", amax, 1)?;
        buffers.ready()?;
        let (input, stream) = (shape.at(x, T::DTYPE), self.stream().cu_stream());
        // SAFETY: `buffers` holds both, live, distinct, on this device and as long as was checked.
        unsafe { self.kernels().amax_rotated(profile, hadamard, input, amax, stream) }
    }
}

/// What the kernels know of a rotation, and the elements of a tensor that it can rotate.
fn turn(rotate: &Rotate<'_>, shape: &[usize]) -> Result<(Turn, usize)> {
    let elements = Extents::of(shape)?.elements();
    match rotate.check_hadamard(elements, shape)? {
        Some(RotateJob { hadamard, inverse, axis, .. }) => {
            Ok((Turn { hadamard, inverse, axis }, elements))
        }
        None => Err(Error::InvalidValue {
            what: "the rotation of a call on a device",
            given: "a matrix, or two".to_owned(),
            rule: "kernels rotate by Hadamard matrices only; Rotate does so by any, on the host",
        }
        .into()),
    }
}
