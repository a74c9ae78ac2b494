//! The rotation of a stored tensor: how it is made again, measured and undone.

use super::float::{Float, Values};
use super::raw::Record;
use crate::analysis::Metrics;
use crate::numerics::Hadamard;
use crate::{Backend, QuantizedTensor, Result, Rotate};

/// How a stored tensor was rotated before it was quantized: by a [`Hadamard`] along its block axis.
///
/// Signs depend on the seed and not on the tensor's name: tensors that are multiplied with the same
/// activations need the same ones, so that these are rotated once for all.
///
/// ```
/// use blockscale::checkpoint::StoredRotation;
/// use blockscale::numerics::Hadamard;
/// let rotation = StoredRotation::new(64, Some(7))?;
/// assert_eq!(rotation.hadamard(), Hadamard::new(64)?.with_drawn_signs(7, ""));
/// assert!(StoredRotation::new(63, None).is_err());
/// # Ok::<(), blockscale::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StoredRotation {
    hadamard: Hadamard,
    signs: Option<u64>,
}

impl StoredRotation {
    /// Of blocks of `size`, with signs that the seed `signs` draws, or without.
    ///
    /// # Errors
    /// Those of [`Hadamard::new`].
    pub fn new(size: usize, signs: Option<u64>) -> Result<Self> {
        let hadamard = Hadamard::new(size)?;
        let hadamard = signs.map_or(hadamard, |seed| hadamard.with_drawn_signs(seed, ""));
        Ok(Self { hadamard, signs })
    }
    /// The rotation itself.
    pub const fn hadamard(self) -> Hadamard {
        self.hadamard
    }
    /// Values that are rotated together.
    pub const fn size(self) -> usize {
        self.hadamard.size()
    }
    /// The seed of the signs.
    pub const fn signs(self) -> Option<u64> {
        self.signs
    }
}

impl Record {
    /// The values of `tensor`, stored with this record: rotated back if it is rotated, the block axis last.
    ///
    /// # Errors
    /// Those of [`Rotate::in_place`].
    ///
    /// ```
    /// use blockscale::checkpoint::{Float, Record, StoredRotation, Values};
    /// use blockscale::numerics::Profile;
    /// use blockscale::{Backend, format::Format};
    /// let mut record = Record::new(Profile::default_for(Format::MXFP4), Float::F32, &[32]);
    /// record.rotation = Some(StoredRotation::new(16, None)?);
    /// let mut x = [0.0f32; 32];
    /// x[3] = 8.0; // ±2 in 16 places
    /// let q = record.quantize("w").run(&x, &[32])?;
    /// let restored = record.restored(Float::F32, &q, Backend::default())?;
    /// assert_eq!(restored, Values::F32(x.to_vec()));
    /// # Ok::<(), blockscale::Error>(())
    /// ```
    pub fn restored<S: AsRef<[u8]> + Sync>(
        &self,
        float: Float,
        tensor: &QuantizedTensor<S>,
        backend: Backend,
    ) -> Result<Values> {
        let Some(rotation) = self.rotation else {
            return Ok(Values::dequantized(float, tensor, backend));
        };
        // Rounded once, behind the rotation.
        let mut y: Vec<f32> = tensor.dequantize_with(backend);
        let back = Rotate::new(rotation.hadamard()).inverse().backend(backend);
        back.in_place(&mut y, tensor.shape())?;
        Ok(Values::rounded(float, y))
    }

    /// Measures what `tensor` made of `values`, whose block axis is the last: of the rotated ones, if it is
    /// rotated. What is lost is nearly the same behind the inverse, whose rows are orthogonal.
    ///
    /// # Errors
    /// Those of [`Metrics::of`] and of [`Rotate::run_as`].
    pub fn metrics<S: AsRef<[u8]> + Sync>(
        &self,
        values: &Values,
        tensor: &QuantizedTensor<S>,
    ) -> Result<Metrics> {
        match self.rotation {
            None => values.metrics(tensor),
            Some(rotation) => {
                let rotate = Rotate::new(rotation.hadamard());
                let rotated = match values {
                    Values::F32(x) => rotate.run_as::<f32, _>(x, tensor.shape()),
                    Values::Bf16(x) => rotate.run_as(x, tensor.shape()),
                    Values::F16(x) => rotate.run_as(x, tensor.shape()),
                };
                Metrics::of(&rotated?, tensor)
            }
        }
    }
}
