//! Dequantize: codes and scales to floats.

use crate::error::{Error, Result};
use crate::{Backend, QuantizedTensor, Real};

impl<S: AsRef<[u8]> + Sync> QuantizedTensor<S> {
    /// Decodes into f32, bf16 or f16, row-major.
    ///
    /// ```text
    /// value = element · scale · tensor scale      products in the order that the profile names
    /// ```
    ///
    /// Each product rounds to nearest even in f32, the result once more into bf16 or f16.
    /// **Special values**: an element of a block with the NaN scale is NaN, even where its code is
    /// 0; NaN is written as 0x7FFFFFFF or 0x7FFF; overflow gives Inf.
    ///
    /// ```
    /// use blockscale::format::Format;
    /// use half::bf16;
    /// let q = blockscale::quantize(&[0.4f32, -7.0], &[2], Format::MXFP4)?;
    /// assert_eq!(q.dequantize::<f32>(), [0.0, -8.0]); // scale 2: 0.2 is nearer to 0 than to 0.5
    /// assert_eq!(q.dequantize::<bf16>()[1], bf16::from_f32(-8.0));
    /// # Ok::<(), blockscale::Error>(())
    /// ```
    pub fn dequantize<T: Real>(&self) -> Vec<T> {
        self.dequantize_with(Backend::default())
    }

    /// The same by a chosen backend; the bytes are the same.
    pub fn dequantize_with<T: Real>(&self, backend: impl Into<Backend>) -> Vec<T> {
        let mut values = T::zeros(self.extents().elements());
        backend.into().dequantize(self, &mut values);
        values
    }

    /// The same into the caller's buffer, whose contents do not matter.
    ///
    /// # Errors
    /// [`Error::WrongLength`] unless `values` has an element for each of the shape's.
    ///
    /// ```
    /// use blockscale::{Backend, format::Format};
    /// let q = blockscale::quantize(&[0.4f32, -7.0], &[2], Format::MXFP4)?;
    /// let mut values = [f32::NAN; 2];
    /// q.dequantize_into(Backend::default(), &mut values)?;
    /// assert_eq!(values, [0.0, -8.0]);
    /// assert!(q.dequantize_into(Backend::default(), &mut [0.0f32]).is_err());
    /// # Ok::<(), blockscale::Error>(())
    /// ```
    pub fn dequantize_into<T: Real>(
        &self,
        backend: impl Into<Backend>,
        values: &mut [T],
    ) -> Result<()> {
        let expected = self.extents().elements();
        if values.len() != expected {
            return Err(Error::WrongLength {
                what: "the buffer of the values",
                given: values.len(),
                unit: "elements",
                shape: self.shape().to_vec(),
                expected,
            });
        }
        backend.into().dequantize(self, values);
        Ok(())
    }
}
