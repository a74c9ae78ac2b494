//! What rounding a second time costs.

use super::Errors;
use super::errors::share;
use crate::error::Result;
use crate::layout::Bytes;
use crate::{Quantize, QuantizedTensor, Real, Requantize};

/// A tensor that was switched to fewer bits beside the values quantized to as few at once.
///
/// ```text
/// direct = Quantize x by the profile of the switch, to nearest, in the blocks of the tensor
/// double = Requantize the tensor that was made of x
/// ```
///
/// Direct quantization chooses its scales from x, so that a scale can differ too: a code that is the same under
/// another scale counts as the same code, and not as the same value.
///
/// Source: "Nearly Lossless Adaptive Bit Switching" (arXiv 2502.01199) compares the two by their errors.
///
/// ```
/// use blockscale::analysis::DoubleRounding;
/// use blockscale::format::Format;
/// use blockscale::numerics::Profile;
/// use blockscale::{Requantize, quantize};
/// let x = [1.0f32, 0.3755, 0.25, -0.625];
/// let q = quantize(&x, &[4], Format::MXINT8)?; // 0.3755 becomes 24/64
/// let to = Requantize::new(Profile::default_for(Format::MXINT4));
/// let report = DoubleRounding::of(&x, &q, &to)?;
/// // 24/64 is a tie of quarters and goes to 2/4; so does 0.3755 itself.
/// assert_eq!((report.differing_codes(), report.differing_scales()), (0.0, 0.0));
/// assert_eq!(report.direct.mse(), report.double.mse());
/// # Ok::<(), blockscale::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DoubleRounding {
    /// Of the values quantized at once.
    pub direct: Errors,
    /// Of the tensor with fewer bits.
    pub double: Errors,
    codes: [u64; 2],
    scales: [u64; 2],
}

impl DoubleRounding {
    /// Measures a switch of `tensor`, which was made of `x`.
    ///
    /// # Errors
    /// Those of [`Requantize::run`], and [`Error::WrongLength`](crate::Error::WrongLength) where `x` has not the
    /// tensor's number of elements.
    pub fn of<T: Real, S: AsRef<[u8]> + Sync>(
        x: &[T],
        tensor: &QuantizedTensor<S>,
        requantize: &Requantize,
    ) -> Result<Self> {
        let double = requantize.run(tensor)?;
        let direct = Quantize::new(*requantize.profile()).blocks(tensor.blocks());
        let direct = direct.run(x, tensor.shape())?;
        let errors = |q: &QuantizedTensor| Errors::of(x, &q.dequantize::<f32>());
        let codes = |q: &QuantizedTensor| -> Result<Vec<u8>> {
            Ok(q.codes().relayout::<Bytes>()?.into_inner())
        };
        Ok(Self {
            direct: errors(&direct)?,
            double: errors(&double)?,
            codes: differing(&codes(&direct)?, &codes(&double)?),
            scales: differing(direct.scales().as_bytes(), double.scales().as_bytes()),
        })
    }

    /// Takes in another part of the tensor, or another tensor.
    pub fn merge(&mut self, other: &Self) {
        self.direct.merge(&other.direct);
        self.double.merge(&other.double);
        for i in 0..2 {
            self.codes[i] += other.codes[i];
            self.scales[i] += other.scales[i];
        }
    }

    /// The share of elements whose codes are not the same.
    pub fn differing_codes(&self) -> f64 {
        share(self.codes[0], self.codes[1])
    }
    /// The share of stored block scales that are not the same.
    pub fn differing_scales(&self) -> f64 {
        share(self.scales[0], self.scales[1])
    }
}

/// How many differ, and of how many.
fn differing(a: &[u8], b: &[u8]) -> [u64; 2] {
    [a.iter().zip(b).filter(|(a, b)| a != b).count() as u64, a.len() as u64]
}
