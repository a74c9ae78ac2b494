//! MS-EDEN: NVFP4 for gradients, unbiased by rotation and corrected scales in place of drawn elements.

use crate::cpu::FloatEnvironment;
use crate::error::{Error, Result};
use crate::format::Format;
use crate::numerics::{
    DecodeRule, EDEN_BLOCK, EDEN_GROUP, EdenFactors, ElementMap, Hadamard, NonFinite, Profile,
    ScaleRange, Stochastic, TensorScale,
};
use crate::reference::EdenJob;
use crate::rotate::check_axis;
use crate::shape::Extents;
use crate::{Axis, Backend, Blocks, QuantizedTensor, Real};

/// A quantization to NVFP4 by MS-EDEN: values are rotated in groups of 128, their codes are nearest, and the
/// block scales of a group, rounded by draws, give back the length that rounding took.
///
/// ```text
/// y      = x rotated along K, f32                   by the Hadamard rotation of 128 that is given
/// v      = fl(6 / so)                               so: the scale override
/// t      = fl(fl(g / 255.99) / v), or 1 if 0 or Inf     g = max |y| of the tensor; stored as decode scale
/// s      = E4M3(fl(fl(a / v) / t)), or 1 if 0       a = max |y| of the block of 16; nearest even, saturating
/// z      = fl(y / fl(s · t))
/// q      = E2M1(z)                                  nearest even, saturating, with the sign bit of y
/// c      = fl(Σ fl(z²) / Σ fl(z · q)), or 1 if not finite     over the group, both sums folded in halves
/// scale  = E4M3(fl(s · c))                          stochastic, saturating
/// value  = fl(q · fl(t · scale))                    rotated as y is
/// ```
///
/// A sum folded in halves adds term i and term i + n/2 for n = 128, 64, …, 2. **Scales are drawn** with 16 bits by
/// [`Stochastic::scale_draw`], under the [rule](crate::numerics::DrawRule) of the draws; their width for elements
/// is not looked at. **Shapes**: `[.., rows, K]`, K a multiple of 128. **The scale override** so is
/// [`BACKWARD`](Self::BACKWARD) unless another is [chosen](Self::scale_override): below 1 a block's largest
/// element may clip, which costs less than a coarser grid and is corrected with the rest. **NaN** in the tensor:
/// every scale 0xFF, codes 0. **Inf**: t = 1, and the formula as it stands. A group whose largest magnitude is
/// below about g · 2⁻¹⁸ comes out as zeros.
///
/// **Unbiased** is the mean over drawn signs: with a rotation that stays the same, nearest codes are as biased as
/// they are elsewhere, so that [`unbiased`](Self::unbiased) demands a rotation whose signs are
/// [drawn](Hadamard::with_signs_drawn_at). It is up to the caller to draw them again at each step. As c weighs
/// blocks alike whatever their scales, about 5e-4 of the values remain, measured on Gaussian data.
///
/// Source: Quartet II (*Quartet II: Accurate LLM Pre-Training in NVFP4 by Improved Unbiased Gradient
/// Estimation*). Its rotation sums in no specified order, so that no parity of bytes is claimed.
///
/// ```
/// use blockscale::numerics::{Hadamard, Stochastic};
/// use blockscale::{MsEden, Rotate};
/// let x: Vec<f32> = (0..256).map(|i| (i as f32 * 0.37).sin()).collect();
/// let signs = Hadamard::new(128)?.with_signs_drawn_at(7, "layer 3, dgrad", 41);
/// let quantize = MsEden::new(Stochastic::new(7, "layer 3, dy").with_step(41)).rotated(signs).unbiased();
/// let q = quantize.run(&x, &[2, 128])?;
/// assert_eq!(q.stored_bytes(), 2 * 64 + 2 * 8 + 4);
/// let y = Rotate::new(signs).inverse().run(&q.dequantize::<f32>(), &[2, 128])?;
/// let error: f32 = x.iter().zip(&y).map(|(x, y)| (x - y).powi(2)).sum();
/// assert!(error < 0.015 * x.iter().map(|x| x * x).sum::<f32>());
/// # Ok::<(), blockscale::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MsEden {
    draws: Stochastic,
    rotation: Option<Hadamard>,
    scale_override: f32,
    tensor_amax: Option<f32>,
    unbiased: bool,
    backend: Backend,
}

impl MsEden {
    /// The scale override of the backward pass: 17/16 · 0.93.
    pub const BACKWARD: f32 = 17.0 / 16.0 * 0.93;
    /// That of the forward pass.
    pub const FORWARD: f32 = 1.0;

    /// With these draws of scales, for the backward pass, the amax computed, the default backend; a rotation is
    /// still [to be given](Self::rotated).
    pub fn new(draws: Stochastic) -> Self {
        let (rotation, tensor_amax, unbiased) = (None, None, false);
        let (scale_override, backend) = (Self::BACKWARD, Backend::default());
        Self { draws, rotation, scale_override, tensor_amax, unbiased, backend }
    }
    /// The rotation along K, of 128 values.
    pub fn rotated(self, hadamard: Hadamard) -> Self {
        Self { rotation: Some(hadamard), ..self }
    }
    /// The amax of a block is mapped to 6 / `scale_override`, a number from 1/4 to 4.
    pub fn scale_override(self, scale_override: f32) -> Self {
        Self { scale_override, ..self }
    }
    /// The largest magnitude of the rotated tensor, of which `x` is a shard.
    pub fn tensor_amax(self, amax: f32) -> Self {
        Self { tensor_amax: Some(amax), ..self }
    }
    /// Demands that the expectation over signs and draws is the value itself.
    pub fn unbiased(self) -> Self {
        Self { unbiased: true, ..self }
    }
    /// Who computes it. The bytes are the same.
    pub fn backend(self, backend: impl Into<Backend>) -> Self {
        Self { backend: backend.into(), ..self }
    }
    /// The rotation, if one was given.
    pub fn rotation(&self) -> Option<Hadamard> {
        self.rotation
    }

    /// The profile that tensors of MS-EDEN carry: it says how they decode (`times-decode`). Quantizing by it
    /// gives none of their bytes, as no profile corrects scales.
    ///
    /// ```
    /// use blockscale::MsEden;
    /// assert_eq!(MsEden::profile().to_string(), "torchao+bound=255.99+range=plain+map=over-product");
    /// ```
    pub fn profile() -> Profile {
        let mut named = Profile::all(Format::NVFP4).into_iter();
        let torchao = named.find(|profile| profile.decode == DecodeRule::TimesDecode);
        Profile {
            bound: EdenFactors::BOUND,
            range: ScaleRange::Plain,
            map: ElementMap::OverProduct,
            ..torchao.unwrap_or(Profile::default_for(Format::NVFP4))
        }
    }

    /// Whether a tensor of `shape` can be quantized so.
    ///
    /// # Errors
    /// Those of [`run`](Self::run) but [`Error::WrongLength`].
    pub fn check_shape(&self, shape: &[usize]) -> Result<()> {
        self.check(Extents::of(shape)?.elements(), shape).map(drop)
    }

    /// Quantizes `x`, row-major, of `shape`.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] without a rotation, or with one of another size than 128; for a scale override
    /// outside 1/4 to 4, a negative tensor amax, and a shard that does not begin at a group.
    /// [`Error::NotUnbiased`] where that was demanded of a rotation without drawn signs.
    /// [`Error::WrongLength`], [`Error::InvalidShape`], [`Error::RotationSize`] for a K that is no multiple of
    /// 128; [`Error::Overflow`] for coordinates beyond 32 bits.
    pub fn run<T: Real>(&self, x: &[T], shape: &[usize]) -> Result<QuantizedTensor> {
        let (hadamard, extents) = self.check(x.len(), shape)?;
        let _ieee = FloatEnvironment::ieee();
        let amax = match self.tensor_amax {
            Some(amax) => amax,
            None => self.backend.amax_rotated(hadamard, NonFinite::NanScale, x, extents),
        };
        let factors = EdenFactors::new(self.scale_override, amax);
        let (mut codes, mut scales) = (vec![0; x.len() / 2], vec![0; x.len() / EDEN_BLOCK]);
        if !x.is_empty() {
            let row_groups = extents.k / EDEN_GROUP;
            let job = EdenJob { factors, draws: self.draws, row_groups };
            self.backend.ms_eden(hadamard, &job, x, extents, &mut codes, &mut scales)?;
        }
        let stored = Some(TensorScale::Decode(factors.stored()));
        let (profile, blocks) = (Self::profile(), Blocks::Row);
        Ok(QuantizedTensor::trusted(profile, blocks, shape, extents, codes, scales, stored))
    }

    /// Checks all that can be told before the values are looked at.
    fn check(&self, len: usize, shape: &[usize]) -> Result<(Hadamard, Extents)> {
        let extents = Extents::of(shape)?;
        if len != extents.elements() {
            return Err(Error::WrongLength {
                what: "the input",
                given: len,
                unit: "elements",
                shape: shape.to_vec(),
                expected: extents.elements(),
            });
        }
        let hadamard = match self.rotation {
            Some(hadamard) if hadamard.size() == EDEN_GROUP => hadamard,
            other => {
                return Err(Error::InvalidValue {
                    what: "the rotation of MS-EDEN",
                    given: other
                        .map_or("none".to_owned(), |it| format!("Hadamard of {}", it.size())),
                    rule: "a Hadamard rotation of 128, over which its scales are corrected; see \
                           MsEden::rotated",
                });
            }
        };
        if self.unbiased && !hadamard.has_drawn_signs() {
            return Err(Error::NotUnbiased {
                profile: "ms-eden".to_owned(),
                format: Format::NVFP4.to_string(),
                reason: "its codes are nearest, which only the mean over drawn signs makes up for",
                instead: "Hadamard::with_signs_drawn_at, with another step at each call",
            });
        }
        check_axis(hadamard.into(), Axis::K, shape, extents)?;
        let invalid = |what, given, rule| Err(Error::InvalidValue { what, given, rule });
        if !(0.25..=4.0).contains(&self.scale_override) {
            let given = self.scale_override.to_string();
            return invalid("the scale override of MS-EDEN", given, "a number from 1/4 to 4");
        }
        if let Some(amax) = self.tensor_amax.filter(|amax| *amax < 0.0) {
            let rule = "a largest magnitude is not negative";
            return invalid("the tensor amax", amax.to_string(), rule);
        }
        let (row, column) = (self.draws.row_offset(), self.draws.column_offset());
        if column % EDEN_GROUP as u64 != 0 {
            let given = format!("row {row}, column {column}");
            let rule = "a shard of MS-EDEN starts at a group: a multiple of 128 along K";
            return invalid("the offset of a shard", given, rule);
        }
        if extents.elements() > 0 {
            let last = (extents.k / EDEN_BLOCK) as u64 - 1;
            self.draws.scale_draw(extents.all_rows() as u64 - 1, last)?;
        }
        Ok((hadamard, extents))
    }
}
