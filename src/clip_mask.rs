//! Clip masks: which elements a quantization left within the grid, for the backward pass of training.

use crate::cpu::FloatEnvironment;
use crate::error::{Error, Result};
use crate::reference::{Pass, RotateJob};
use crate::shape::Extents;
use crate::{Quantize, QuantizedTensor, Real};

/// One bit for each element: 1 where it was within the grid, 0 where it was clipped.
///
/// ```text
/// bit of (row, k) = 1 iff |y| < max      y = scaled(x), rotated before if the quantization rotates
/// place           = bit k mod 8 of byte ⌊k/8⌋ of the row, rows of ⌈K/8⌉ bytes; padding bits are 0
/// ```
///
/// with the block's scale, the profile's [map](crate::numerics::ElementMap) from x to y (a headroom of 3/4
/// included) and the element's largest value, max (6 for E2M1). The bound is strict: an element at ±max itself
/// counts as clipped, as a block's amax may do under scales fitted to it. How elements round does not matter.
/// **Rows** are those of all matrices, one behind the other. **Special values**: a zero is within the grid, NaN
/// and Inf are not, and nothing is in a block whose scale NaN or Inf made NaN or neutral (its codes are 0).
/// Under `map=nearest-product` (ggml) y is that of stochastic rounding, x / s.
///
/// The gradient of a clipped element is 0: [`apply`](Self::apply) makes it so. Where the quantization rotates,
/// the gradient that is masked is that of the rotated values, and its inverse rotation comes after.
///
/// Source: QuEST (Panferov et al., *QuEST: Stable Training of LLMs with 1-Bit Weights and Activations*, ICML
/// 2025), whose scales are the knobs `scale=rms-floor` (as released) and `scale=rms-nearest`.
///
/// ```
/// use blockscale::Quantize;
/// use blockscale::format::Format;
/// use blockscale::numerics::Profile;
/// let quest = Profile::parse(Format::MXFP4, "rceil+scale=rms-nearest")?;
/// let mut x = [1.0f32; 32];
/// x[1] = -8.0; // far from the others: scale 1 reaches to 6
/// let (q, mask) = Quantize::new(quest).run_with_clip_mask(&x, &[32])?;
/// assert_eq!(q.dequantize::<f32>()[..3], [1.0, -6.0, 1.0]);
/// assert_eq!(mask.bytes(), [0b1111_1101, 255, 255, 255]);
/// assert_eq!((mask.get(0, 1), mask.get(0, 2), mask.get(1, 0)), (Some(false), Some(true), None));
/// let mut gradient = [0.5f32; 32];
/// mask.apply(&mut gradient)?;
/// assert_eq!(gradient[..3], [0.5, 0.0, 0.5]);
/// # Ok::<(), blockscale::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClipMask {
    shape: Vec<usize>,
    k: usize,
    bytes: Vec<u8>,
}

impl ClipMask {
    /// The bits, rows of ⌈K/8⌉ bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
    /// The shape of the tensor.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }
    /// Whether element `k` of row `row` (of all matrices) was within the grid; `None` where there is no such
    /// element.
    pub fn get(&self, row: usize, k: usize) -> Option<bool> {
        let bits = self.bytes.chunks(self.k.div_ceil(8).max(1)).nth(row).filter(|_| k < self.k)?;
        Some(bits[k / 8] >> (k % 8) & 1 == 1)
    }
    /// How many elements were clipped.
    pub fn clipped(&self) -> usize {
        let within: usize = self.bytes.iter().map(|byte| byte.count_ones() as usize).sum();
        self.shape.iter().product::<usize>() - within
    }

    /// Makes every value of `gradient`, row-major, +0 where its element was clipped, whatever it was.
    ///
    /// # Errors
    /// [`Error::WrongLength`] for another length than the tensor's.
    pub fn apply<T: Real>(&self, gradient: &mut [T]) -> Result<()> {
        let expected = self.shape.iter().product();
        if gradient.len() != expected {
            return Err(Error::WrongLength {
                what: "the gradient",
                given: gradient.len(),
                unit: "elements",
                shape: self.shape.clone(),
                expected,
            });
        }
        let rows =
            gradient.chunks_mut(self.k.max(1)).zip(self.bytes.chunks(self.k.div_ceil(8).max(1)));
        for (row, bits) in rows {
            for (k, value) in row.iter_mut().enumerate() {
                if bits[k / 8] >> (k % 8) & 1 == 0 {
                    *value = T::from_f32(0.0);
                }
            }
        }
        Ok(())
    }
}

impl Quantize {
    /// Quantizes `x` as [`run`](Self::run) does, to the same bytes, and tells which elements were within the
    /// grid ([`ClipMask`]).
    ///
    /// Every profile, rounding, blocks and rotation. Where it rotates, a rotated copy of the tensor is made. The
    /// bits are found by the scalar reference, on threads on the host path.
    ///
    /// # Errors
    /// Those of [`run`](Self::run).
    pub fn run_with_clip_mask<T: Real>(
        &self,
        x: &[T],
        shape: &[usize],
    ) -> Result<(QuantizedTensor, ClipMask)> {
        let extents = self.check(x.len(), shape)?;
        match self.rotation() {
            None => self.masked(x, shape, extents),
            Some(hadamard) => {
                let mut rotated = vec![0.0f32; x.len()];
                self.chosen_backend().rotate(
                    &RotateJob::forward(hadamard, extents),
                    x,
                    &mut rotated,
                );
                self.unrotated().masked(&rotated, shape, extents)
            }
        }
    }

    fn masked<T: Real>(
        &self,
        x: &[T],
        shape: &[usize],
        extents: Extents,
    ) -> Result<(QuantizedTensor, ClipMask)> {
        let _ieee = FloatEnvironment::ieee();
        let amax = self.amax(x, extents);
        let tensor = self.tensor_amax(amax).run(x, shape)?;
        let Pass { job, .. } = self.pass(amax, extents);
        let mut bytes = vec![0; extents.k.div_ceil(8) * extents.all_rows()];
        self.chosen_backend().clip_mask(&job, x, &mut bytes);
        Ok((tensor, ClipMask { shape: shape.to_vec(), k: extents.k, bytes }))
    }
}
