//! Requantize: a tensor of more bits to one of fewer, without the values that it was made from.

use crate::cpu::FloatEnvironment;
use crate::error::{Error, Result};
use crate::format::{Element, Format, Scale};
use crate::numerics::Profile;
use crate::quantize::check_buffer;
use crate::reference::RequantizeJob;
use crate::{Backend, Quantize, QuantizedTensor};

/// A switch of a quantized tensor to fewer bits: to which profile, and by which backend.
///
/// | from | to | how |
/// |---|---|---|
/// | integers of E8M0 scales (`mxint8`, `mxint6`) | integers of fewer bits (`mxint6`, `mxint4`) | by a shift |
/// | floats of E8M0 scales (`mxfp8-*`, `mxfp6-*`) | floats of fewer bits (`mxfp6-*`, `mxfp4`) | by value |
///
/// Built formats too, as long as blocks have one length and neither has a tensor scale.
///
/// **By a shift** (Double Rounding): with h and l bits of an element, f_h and f_l of them behind the point,
///
/// ```text
/// q_l = clamp(round(q_h / 2^(h−l)), ±(2^(l−1) − 1))          ties to even
/// s_l = s_h · 2^(h−l), as stored 2^(exponent + (h − l) − (f_h − f_l))
/// ```
///
/// which leaves stored scales of MXINT8, MXINT6 and MXINT4 as they are: their elements lose as many bits behind
/// the point as they lose at all. Rounding is always so, whatever the profile says of ties; the profile is what
/// the result is stored as, and no parity is claimed for it. **A scale beyond E8M0** (which takes a built format)
/// stops at 2⁻¹²⁷ or 2¹²⁷, and codes are rounded for the scale that they get. **The NaN scale** stays, its codes
/// become 0.
///
/// **By value**: elements are decoded, which is exact in f32 unless the product passes its largest value and
/// becomes Inf, and quantized to nearest by the profile. That is what [`Quantize`] makes of the decoded values,
/// NaN and Inf included.
///
/// Either rounds a second time: [`DoubleRounding`](crate::analysis::DoubleRounding) tells what that costs.
/// **Shape and blocks** stay. **Results** do not depend on the backend.
///
/// Source: Double Rounding of "Nearly Lossless Adaptive Bit Switching" (arXiv 2502.01199).
///
/// ```
/// use blockscale::format::Format;
/// use blockscale::numerics::Profile;
/// use blockscale::{Requantize, quantize};
/// let q = quantize(&[1.0f32, 0.6, -0.25, 0.125], &[4], Format::MXINT8)?;
/// assert_eq!(q.codes().as_bytes(), [64, 38, 0xf0, 8]); // of 64
/// let q4 = Requantize::new(Profile::default_for(Format::MXINT4)).run(&q)?;
/// assert_eq!(q4.scales().as_bytes(), q.scales().as_bytes());
/// assert_eq!(q4.dequantize::<f32>(), [1.0, 0.5, -0.25, 0.0]); // 2.375 rounds to 2, 0.5 to 0
///
/// let q = quantize(&[1.0f32, 0.6], &[2], Format::MXFP8_E4M3)?;
/// let q4 = Requantize::new(Profile::default_for(Format::MXFP4)).run(&q)?;
/// assert_eq!(q4.dequantize::<f32>(), [1.0, 0.5]);
/// assert!(Requantize::new(Profile::default_for(Format::NVFP4)).run(&q).is_err());
/// # Ok::<(), blockscale::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Requantize {
    profile: Profile,
    backend: Backend,
}

/// Pairs of formats that there are.
const OFFERED: &str = "integers (mxint8, mxint6 and built ones) to integers of fewer bits, and floats (mxfp8-*, \
                       mxfp6-* and built ones) to floats of fewer bits, both with E8M0 scales, blocks of one \
                       length and no tensor scale";

/// How a pair of formats is requantized.
enum Way {
    Shift(RequantizeJob),
    Value,
}

impl Requantize {
    /// To a profile, by the default backend.
    pub fn new(profile: Profile) -> Self {
        Self { profile, backend: Backend::default() }
    }
    /// Who computes it. The bytes are the same.
    pub fn backend(self, backend: impl Into<Backend>) -> Self {
        Self { backend: backend.into(), ..self }
    }
    /// The profile of the result.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The tensor in fewer bits.
    ///
    /// # Errors
    /// [`Error::NotRequantized`] for formats that are no such pair; [`Error::InvalidProfile`].
    pub fn run<S: AsRef<[u8]> + Sync>(
        &self,
        tensor: &QuantizedTensor<S>,
    ) -> Result<QuantizedTensor> {
        let [mut codes, mut scales] = self.output_bytes(tensor)?.map(|bytes| vec![0; bytes]);
        self.fill(tensor, &mut codes, &mut scales)?;
        Ok(self.tensor(tensor, codes, scales))
    }

    /// The tensor in fewer bits, in the caller's buffers, whose contents do not matter.
    ///
    /// # Errors
    /// Those of [`run`](Self::run), and [`Error::WrongLength`] for a buffer of another size than
    /// [`output_bytes`](Self::output_bytes) tells.
    ///
    /// ```
    /// # use blockscale::{Requantize, format::Format, numerics::Profile, quantize};
    /// let q = quantize(&[1.0f32, -0.75], &[2], Format::MXINT8)?;
    /// let requantize = Requantize::new(Profile::default_for(Format::MXINT4));
    /// let [mut codes, mut scales] = requantize.output_bytes(&q)?.map(|bytes| vec![0xaa; bytes]);
    /// requantize.run_into(&q, &mut codes, &mut scales)?;
    /// assert_eq!((codes, scales), (vec![0xd4], vec![127])); // 4 and −3, of 4
    /// # Ok::<(), blockscale::Error>(())
    /// ```
    pub fn run_into<'a, S: AsRef<[u8]> + Sync>(
        &self,
        tensor: &QuantizedTensor<S>,
        codes: &'a mut [u8],
        scales: &'a mut [u8],
    ) -> Result<QuantizedTensor<&'a [u8]>> {
        let [code_bytes, scale_bytes] = self.output_bytes(tensor)?;
        check_buffer("the buffer of the codes", codes, tensor.shape(), code_bytes)?;
        check_buffer("the buffer of the scales", scales, tensor.shape(), scale_bytes)?;
        self.fill(tensor, codes, scales)?;
        let (codes, scales): (&[u8], &[u8]) = (codes, scales);
        Ok(self.tensor(tensor, codes, scales))
    }

    /// Bytes of the codes and of the scales that a tensor becomes.
    ///
    /// # Errors
    /// Those of [`run`](Self::run).
    pub fn output_bytes<S: AsRef<[u8]>>(&self, tensor: &QuantizedTensor<S>) -> Result<[usize; 2]> {
        self.way(tensor)?;
        self.quantize(tensor).output_bytes(tensor.shape())
    }

    /// What the decoded values are quantized by.
    fn quantize<S: AsRef<[u8]>>(&self, tensor: &QuantizedTensor<S>) -> Quantize {
        Quantize::new(self.profile).blocks(tensor.blocks()).backend(self.backend)
    }

    fn fill<S: AsRef<[u8]> + Sync>(
        &self,
        tensor: &QuantizedTensor<S>,
        codes: &mut [u8],
        scales: &mut [u8],
    ) -> Result<()> {
        let _ieee = FloatEnvironment::ieee();
        match self.way(tensor)? {
            Way::Shift(job) => {
                let from = [tensor.codes().as_bytes(), tensor.scales().as_bytes()];
                self.backend.requantize(&job, from, codes, scales)
            }
            Way::Value => {
                let x = tensor.dequantize_with::<f32>(self.backend);
                self.quantize(tensor).run_into(&x, tensor.shape(), codes, scales).map(drop)
            }
        }
    }

    fn tensor<S: AsRef<[u8]>, T: AsRef<[u8]>>(
        &self,
        from: &QuantizedTensor<S>,
        codes: T,
        scales: T,
    ) -> QuantizedTensor<T> {
        let (blocks, extents) = (from.blocks(), from.extents());
        QuantizedTensor::trusted(self.profile, blocks, from.shape(), extents, codes, scales, None)
    }

    fn way<S: AsRef<[u8]>>(&self, tensor: &QuantizedTensor<S>) -> Result<Way> {
        self.profile.check()?;
        let (from, to) = (tensor.format(), self.profile.format());
        if let Some(job) = RequantizeJob::new(from, to, tensor.extents()) {
            return Ok(Way::Shift(job));
        }
        let plain = |format: Format| format.scale() == Scale::E8M0 && !format.has_tensor_scale();
        let is_float = |format: Format| !matches!(format.element(), Element::Int(_));
        let suits = [from, to].into_iter().all(|format| plain(format) && is_float(format))
            && from.block() == to.block()
            && from.element().bits() > to.element().bits();
        match suits {
            true => Ok(Way::Value),
            false => Err(Error::NotRequantized {
                from: from.to_string(),
                to: to.to_string(),
                offered: OFFERED,
            }),
        }
    }
}
