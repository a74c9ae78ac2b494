//! Quantize: floats to codes and scales.

use crate::cpu::FloatEnvironment;
use crate::error::{Error, Result};
use crate::format::Format;
use crate::layout::{Packing, Raw};
use crate::numerics::{Hadamard, NonFinite, Profile, Rounding, TensorScale};
use crate::reference::{Job, Pass};
use crate::rotate::check_axis;
use crate::shape::Extents;
use crate::tensor::extents;
use crate::{Axis, Backend, Blocks, QuantizedTensor, Real};

/// Quantizes `x` of `shape` with the format's default profile, along the last axis, to nearest.
///
/// [`Quantize`] has every choice.
///
/// # Errors
/// Those of [`Quantize::run`].
///
/// ```
/// use blockscale::format::Format;
/// let q = blockscale::quantize(&[0.5f32, -3.0], &[2], Format::MXFP8_E4M3)?;
/// assert_eq!(q.scales().as_bytes(), [120]); // 2^-7, as 448 · 2^-7 = 3.5 is the first above 3
/// assert_eq!(q.dequantize::<f32>(), [0.5, -3.0]);
/// # Ok::<(), blockscale::Error>(())
/// ```
pub fn quantize<T: Real>(x: &[T], shape: &[usize], format: Format) -> Result<QuantizedTensor> {
    Quantize::new(Profile::default_for(format)).run(x, shape)
}

/// A quantization: which profile, rounding, blocks and backend.
///
/// ```text
/// block scale s = scale rule(max |x| over the block, tensor scale)
/// code          = round(scaled(x, s, tensor scale))
/// ```
///
/// with the exact steps of the [`Profile`]. **Shapes**: `[.., rows, K]`, blocks along K; a K that
/// is no multiple of the block is padded with +0 inside the last block. **NaN and Inf** are
/// handled by the profile and are never an error. **Results** depend on nothing but these
/// choices, the values and the coordinates: not on the backend, nor on threads.
///
/// ```
/// use blockscale::format::Format;
/// use blockscale::numerics::{Profile, Rounding, Stochastic};
/// use blockscale::{Blocks, Quantize};
/// let x: Vec<f32> = (0..512).map(|i| (i as f32 * 0.37).sin()).collect();
/// let q = Quantize::new(Profile::named(Format::NVFP4, "torchao")?)
///     .rounding(Rounding::Stochastic(Stochastic::new(7, "weight")))
///     .blocks(Blocks::Tile)
///     .run(&x, &[16, 32])?;
/// assert_eq!(q.scales().as_bytes()[..2], q.scales().as_bytes()[2..4]); // one scale a tile
/// # Ok::<(), blockscale::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantize {
    profile: Profile,
    rounding: Rounding,
    blocks: Blocks,
    rotation: Option<Hadamard>,
    tensor_amax: Option<f32>,
    unbiased: bool,
    backend: Backend,
}

impl Quantize {
    /// Nearest rounding in rows, the amax computed, the default backend.
    pub fn new(profile: Profile) -> Self {
        Self {
            profile,
            rounding: Rounding::Nearest,
            blocks: Blocks::Row,
            rotation: None,
            tensor_amax: None,
            unbiased: false,
            backend: Backend::default(),
        }
    }
    /// Nearest or stochastic.
    pub fn rounding(self, rounding: Rounding) -> Self {
        Self { rounding, ..self }
    }
    /// Rows or square tiles.
    pub fn blocks(self, blocks: Blocks) -> Self {
        Self { blocks, ..self }
    }
    /// Rotates along K first: what is quantized are the values of [`Rotate`](crate::Rotate) in f32.
    ///
    /// ```text
    /// y      = rotated x, f32              blocks of the rotation's size along K, a multiple of it
    /// result = that of y without rotation  its tensor amax, its draws, its blocks and tiles
    /// ```
    ///
    /// The host path rotates a part of the tensor at a time, and makes no rotated copy of all of it. The
    /// result holds rotated values and does not say so: [`Rotate::inverse`](crate::Rotate::inverse) of
    /// what it decodes to is close to `x`, and so is a product along K with a tensor of the same rotation
    /// close to that without. [`unbiased`](Self::unbiased) speaks of the rotated values.
    ///
    /// ```
    /// use blockscale::format::Format;
    /// use blockscale::numerics::{Hadamard, Profile};
    /// use blockscale::{Quantize, Rotate};
    /// let mut x = [0.0f32; 32];
    /// x[3] = 8.0;
    /// let hadamard = Hadamard::new(16)?.with_drawn_signs(7, "x");
    /// let q = Quantize::new(Profile::default_for(Format::MXFP4)).rotated(hadamard).run(&x, &[32])?;
    /// let y = q.dequantize::<f32>();
    /// assert!(y[..16].iter().all(|y| y.abs() == 2.0));
    /// assert_eq!(Rotate::new(hadamard).inverse().run(&y, &[32])?, x);
    /// # Ok::<(), blockscale::Error>(())
    /// ```
    pub fn rotated(self, hadamard: Hadamard) -> Self {
        Self { rotation: Some(hadamard), ..self }
    }
    /// The largest magnitude of the whole tensor, of which `x` is a shard; of its rotated values, if
    /// they are rotated. Without it, that of `x` is computed where the profile needs one.
    pub fn tensor_amax(self, amax: f32) -> Self {
        Self { tensor_amax: Some(amax), ..self }
    }
    /// Demands that the expectation of stochastic rounding is the value itself.
    pub fn unbiased(self) -> Self {
        Self { unbiased: true, ..self }
    }
    /// Who computes it. The bytes are the same.
    pub fn backend(self, backend: impl Into<Backend>) -> Self {
        Self { backend: backend.into(), ..self }
    }

    /// The same of values that are rotated already.
    pub(crate) fn unrotated(self) -> Self {
        Self { rotation: None, ..self }
    }

    /// The same with draws of the column pass, for a transposed tensor.
    pub(crate) fn in_column_pass(self) -> Self {
        let rounding = match self.rounding {
            Rounding::Nearest => Rounding::Nearest,
            Rounding::Stochastic(draws) => Rounding::Stochastic(draws.with_column_pass()),
        };
        Self { rounding, ..self }
    }

    /// The profile.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }
    /// The rotation, if there is one.
    pub fn rotation(&self) -> Option<Hadamard> {
        self.rotation
    }
    pub(crate) fn chosen_rounding(&self) -> Rounding {
        self.rounding
    }
    pub(crate) fn chosen_backend(&self) -> Backend {
        self.backend
    }
    /// The amax that was given.
    #[cfg(feature = "cuda")]
    pub(crate) fn given_amax(&self) -> Option<f32> {
        self.tensor_amax
    }
    /// The rounding and the blocks that were chosen.
    #[cfg(feature = "cuda")]
    pub(crate) fn choices(&self) -> (Rounding, Blocks) {
        (self.rounding, self.blocks)
    }

    /// Whether a tensor of `shape` can be quantized so: all that [`run`](Self::run) would say of it
    /// before it looks at the values.
    ///
    /// # Errors
    /// Those of [`run`](Self::run) but [`Error::WrongLength`].
    ///
    /// ```
    /// # use blockscale::{Blocks, Quantize, format::Format, numerics::Profile};
    /// let tiles = Quantize::new(Profile::default_for(Format::NVFP4)).blocks(Blocks::Tile);
    /// assert!(tiles.check_shape(&[16, 32]).is_ok());
    /// assert!(tiles.check_shape(&[32]).is_err());
    /// ```
    pub fn check_shape(&self, shape: &[usize]) -> Result<()> {
        self.check(Extents::of(shape)?.elements(), shape).map(drop)
    }

    /// Quantizes `x`, row-major, of `shape`.
    ///
    /// # Errors
    /// [`Error::WrongLength`] where `x` and `shape` disagree; [`Error::InvalidShape`] for a shape
    /// without axes, or of one axis with tiles; [`Error::RotationSize`] for a K that is no multiple of
    /// the rotation's size; [`Error::InvalidFormat`] for F32 scales;
    /// [`Error::InvalidProfile`]; [`Error::InvalidValue`] for a negative tensor amax
    /// or shard offsets that split a block or a rotation; [`Error::NotUnbiased`];
    /// [`Error::Overflow`] for coordinates beyond 32 bits in stochastic rounding.
    pub fn run<T: Real>(&self, x: &[T], shape: &[usize]) -> Result<QuantizedTensor> {
        let extents = self.check(x.len(), shape)?;
        self.filled(x, shape, extents, None)
    }

    /// Quantizes `x`, the errors of columns weighing as much as `importance` says, for profiles that
    /// search by squared errors: `search=sweep` and `search=clip`.
    ///
    /// ```text
    /// error of a scale = Σ fl(w · fl(d²)),  d = fl(decoded − x)     w the importance of the column
    /// ```
    ///
    /// summed in the order of the columns, and over the rows of a tile folded in halves. **Shapes**:
    /// `importance` has one f32 for each of the K columns, the same for every row: for a weight, for
    /// instance, the mean square of what the column is multiplied with. Of rotated values it is that of
    /// the rotated columns. Importance 1 gives the bytes of [`run`](Self::run); a product with a d² of
    /// Inf is NaN where the importance is 0, and then the rule's scale stays.
    ///
    /// # Errors
    /// Those of [`run`](Self::run); [`Error::WrongLength`] for another number of columns;
    /// [`Error::InvalidValue`] for an importance that is negative, NaN or Inf, and for a profile that
    /// does not weigh errors.
    ///
    /// Source: weighted squared errors are the objective of activation-aware quantization (AWQ,
    /// arXiv 2306.00978) and of llama.cpp's importance matrices.
    ///
    /// ```
    /// # use blockscale::{Quantize, format::Format, numerics::Profile};
    /// let profile = Profile::parse(Format::MXFP4, "rceil+search=sweep")?;
    /// let quantize = Quantize::new(profile);
    /// let x = [6.5f32, 0.5, 0.5, 0.5];
    /// // The rule's scale is 2, under which 6.5 becomes 6 and the others 0. Scale 1 clips, and is better.
    /// assert_eq!(quantize.run(&x, &[4])?.dequantize::<f32>(), [6.0, 0.5, 0.5, 0.5]);
    /// let q = quantize.run_with_importance(&x, &[4], &[1.0, 0.0, 0.0, 0.0])?;
    /// assert_eq!(q.dequantize::<f32>(), [6.0, 0.0, 0.0, 0.0]); // no better, so the rule's stays
    /// # Ok::<(), blockscale::Error>(())
    /// ```
    pub fn run_with_importance<T: Real>(
        &self,
        x: &[T],
        shape: &[usize],
        importance: &[f32],
    ) -> Result<QuantizedTensor> {
        let extents = self.check_weighted(x.len(), shape, importance)?;
        self.filled(x, shape, extents, Some(importance))
    }

    fn filled<T: Real>(
        &self,
        x: &[T],
        shape: &[usize],
        extents: Extents,
        importance: Option<&[f32]>,
    ) -> Result<QuantizedTensor> {
        let mut codes = vec![0; self.code_bytes(extents)?];
        let mut scales = vec![0; self.scale_bytes(extents)];
        let stored = self.fill(x, extents, importance, &mut codes, &mut scales)?;
        Ok(self.tensor(shape, extents, codes, scales, stored))
    }

    /// Quantizes `x` into the caller's buffers, whose contents do not matter, and returns them as a
    /// tensor.
    ///
    /// # Errors
    /// Those of [`run`](Self::run), and [`Error::WrongLength`] for a buffer of another size than
    /// [`output_bytes`](Self::output_bytes) tells.
    ///
    /// ```
    /// # use blockscale::{Quantize, format::Format, numerics::Profile};
    /// let quantize = Quantize::new(Profile::default_for(Format::MXFP4));
    /// let shape = [2, 32];
    /// let [code_bytes, scale_bytes] = quantize.output_bytes(&shape)?;
    /// let (mut codes, mut scales) = (vec![0xaa; code_bytes], vec![0xaa; scale_bytes]);
    /// let q = quantize.run_into(&[1.0f32; 64], &shape, &mut codes, &mut scales)?;
    /// assert_eq!(q.scales().as_bytes(), [125, 125]); // 2^-2, at which 1 is the element 4
    /// assert_eq!(codes, [0x66; 32]);
    /// # Ok::<(), blockscale::Error>(())
    /// ```
    pub fn run_into<'a, T: Real>(
        &self,
        x: &[T],
        shape: &[usize],
        codes: &'a mut [u8],
        scales: &'a mut [u8],
    ) -> Result<QuantizedTensor<&'a [u8]>> {
        let extents = self.check(x.len(), shape)?;
        self.filled_into(x, shape, extents, None, codes, scales)
    }

    /// As [`run_with_importance`](Self::run_with_importance) into the caller's buffers.
    ///
    /// # Errors
    /// Those of both.
    pub fn run_into_with_importance<'a, T: Real>(
        &self,
        x: &[T],
        shape: &[usize],
        importance: &[f32],
        codes: &'a mut [u8],
        scales: &'a mut [u8],
    ) -> Result<QuantizedTensor<&'a [u8]>> {
        let extents = self.check_weighted(x.len(), shape, importance)?;
        self.filled_into(x, shape, extents, Some(importance), codes, scales)
    }

    fn filled_into<'a, T: Real>(
        &self,
        x: &[T],
        shape: &[usize],
        extents: Extents,
        importance: Option<&[f32]>,
        codes: &'a mut [u8],
        scales: &'a mut [u8],
    ) -> Result<QuantizedTensor<&'a [u8]>> {
        check_buffer("the buffer of the codes", codes, shape, self.code_bytes(extents)?)?;
        check_buffer("the buffer of the scales", scales, shape, self.scale_bytes(extents))?;
        let stored = self.fill(x, extents, importance, codes, scales)?;
        let (codes, scales): (&[u8], &[u8]) = (codes, scales);
        Ok(self.tensor(shape, extents, codes, scales, stored))
    }

    /// Bytes of the codes and of the scales of a tensor of `shape`.
    ///
    /// # Errors
    /// Those of [`check_shape`](Self::check_shape).
    pub fn output_bytes(&self, shape: &[usize]) -> Result<[usize; 2]> {
        let extents = self.check(Extents::of(shape)?.elements(), shape)?;
        Ok([self.code_bytes(extents)?, self.scale_bytes(extents)])
    }

    pub(crate) fn code_bytes(&self, extents: Extents) -> Result<usize> {
        let format = self.profile.format();
        let row = Raw::row_bytes(extents.k, format.element().bits(), format.block())?;
        Ok(row * extents.all_rows())
    }

    pub(crate) fn scale_bytes(&self, extents: Extents) -> usize {
        self.profile.format().scales_per_row(extents.k) * extents.all_rows()
    }

    /// Filled buffers as the tensor that they are.
    pub(crate) fn tensor<S: AsRef<[u8]>>(
        &self,
        shape: &[usize],
        extents: Extents,
        codes: S,
        scales: S,
        stored: Option<TensorScale>,
    ) -> QuantizedTensor<S> {
        let Self { profile, blocks, .. } = *self;
        QuantizedTensor::trusted(profile, blocks, shape, extents, codes, scales, stored)
    }

    /// Fills buffers of checked sizes and returns what is stored beside them.
    fn fill<T: Real>(
        &self,
        x: &[T],
        extents: Extents,
        importance: Option<&[f32]>,
        codes: &mut [u8],
        scales: &mut [u8],
    ) -> Result<Option<TensorScale>> {
        let _ieee = FloatEnvironment::ieee();
        let amax = self.amax(x, extents);
        let Pass { job, rotation } = self.pass(amax, extents);
        let job = Job { importance, ..job };
        match rotation {
            None => self.backend.quantize(&job, x, codes, scales)?,
            Some(hadamard) => self.backend.quantize_rotated(hadamard, &job, x, codes, scales)?,
        }
        Ok(job.tensor.stored)
    }

    /// Whether the profile needs a tensor amax that was not given.
    pub(crate) fn needs_amax(&self) -> bool {
        self.tensor_amax.is_none() && self.profile.tensor_scale_name().is_some()
    }

    /// The amax that was given, or that of the values if the profile needs one, or 0.
    pub(crate) fn amax<T: Real>(&self, x: &[T], extents: Extents) -> f32 {
        let nonfinite = self.profile.nonfinite;
        match (self.needs_amax(), self.rotation) {
            (false, _) => self.tensor_amax.unwrap_or(0.0),
            (true, None) => self.backend.amax(nonfinite, x),
            (true, Some(hadamard)) => self.backend.amax_rotated(hadamard, nonfinite, x, extents),
        }
    }

    /// All of a call but its data, the amax found.
    pub(crate) fn pass(&self, amax: f32, extents: Extents) -> Pass<'static> {
        let Self { profile, rounding, blocks, rotation, .. } = *self;
        let tensor = profile.tensor_factors(amax);
        let importance = None;
        Pass { job: Job { profile, rounding, blocks, tensor, extents, importance }, rotation }
    }

    /// As [`check`](Self::check), for kernels that cannot rotate.
    #[cfg(feature = "cuda")]
    pub(crate) fn check_unrotated(&self, len: usize, shape: &[usize]) -> Result<Extents> {
        match self.rotation {
            None => self.check(len, shape),
            Some(hadamard) => Err(Error::InvalidValue {
                what: "the rotation of a quantization of groups",
                given: format!("Hadamard of {}", hadamard.size()),
                rule: "no kernel rotates groups yet; give values that Device::rotate has rotated",
            }),
        }
    }

    /// Checks all that can be told before the values are looked at.
    pub(crate) fn check(&self, len: usize, shape: &[usize]) -> Result<Extents> {
        let _ieee = FloatEnvironment::ieee();
        let profile = self.profile;
        profile.check()?;
        let format = profile.format();
        let extents = extents(format, self.blocks, shape)?;
        if len != extents.elements() {
            return Err(Error::WrongLength {
                what: "the input",
                given: len,
                unit: "elements",
                shape: shape.to_vec(),
                expected: extents.elements(),
            });
        }
        if let Some(hadamard) = self.rotation {
            check_axis(hadamard.into(), Axis::K, shape, extents)?;
        }
        // Rows are at most one byte an element: nothing here can overflow.
        Raw::row_bytes(extents.k, format.element().bits(), format.block())?;
        if self.unbiased {
            profile.require_unbiased()?;
            if self.rounding == Rounding::Nearest {
                return Err(Error::InvalidValue {
                    what: "the rounding of an unbiased quantization",
                    given: "nearest".to_owned(),
                    rule: "only stochastic rounding is right on average",
                });
            }
        }
        self.check_offsets(format, extents.all_rows(), extents.k)?;
        match self.tensor_amax {
            Some(amax) if amax < 0.0 => Err(Error::InvalidValue {
                what: "the tensor amax",
                given: amax.to_string(),
                rule: "a largest magnitude is not negative",
            }),
            _ => Ok(extents),
        }
    }

    /// [`check`](Self::check), and whether `importance` can weigh the columns.
    fn check_weighted(&self, len: usize, shape: &[usize], importance: &[f32]) -> Result<Extents> {
        let extents = self.check(len, shape)?;
        if !self.profile.search.is_weighted() {
            return Err(Error::InvalidValue {
                what: "the importance of columns",
                given: format!("for profile {}", self.profile),
                rule: "it weighs the errors of search=sweep and search=clip only",
            });
        }
        if importance.len() != extents.k {
            return Err(Error::WrongLength {
                what: "the importance",
                given: importance.len(),
                unit: "columns",
                shape: shape.to_vec(),
                expected: extents.k,
            });
        }
        match importance.iter().position(|w| !(w.is_finite() && *w >= 0.0)) {
            None => Ok(extents),
            Some(column) => Err(Error::InvalidValue {
                what: "an importance",
                given: format!("{} of column {column}", importance[column]),
                rule: "it is finite and not negative",
            }),
        }
    }

    /// A shard must hold whole blocks, and its last element must have a draw.
    fn check_offsets(&self, format: Format, rows: usize, k: usize) -> Result<()> {
        let Rounding::Stochastic(draws) = self.rounding else { return Ok(()) };
        let block = format.block() as u64;
        let rotation = self.rotation.map_or(1, Hadamard::size) as u64;
        let whole_rows = self.blocks == Blocks::Row || draws.row_offset() % block == 0;
        let column = draws.column_offset();
        if column % block != 0 || column % rotation != 0 || !whole_rows {
            return Err(Error::InvalidValue {
                what: "the offset of a shard",
                given: format!("row {}, column {}", draws.row_offset(), draws.column_offset()),
                rule: "a shard starts at a block: a multiple of the block length along K, and along \
                       the rows of 2-D blocks too, and of the rotation's size along K",
            });
        }
        match rows > 0 && k > 0 {
            true => draws.draw(rows as u64 - 1, k as u64 - 1).map(drop),
            false => Ok(()),
        }
    }
}

/// A buffer of the caller's must have the size that is told.
pub(crate) fn check_buffer(
    what: &'static str,
    buffer: &[u8],
    shape: &[usize],
    expected: usize,
) -> Result<()> {
    match buffer.len() == expected {
        true => Ok(()),
        false => {
            let (given, unit, shape) = (buffer.len(), "bytes", shape.to_vec());
            Err(Error::WrongLength { what, given, unit, shape, expected })
        }
    }
}

/// The largest magnitude of `x`: NaN if any value is, 0 of nothing. Max over shards is
/// [`f32::max`] on the bits as u32.
///
/// ```
/// assert_eq!(blockscale::amax(&[0.5f32, -3.0]), 3.0);
/// assert!(blockscale::amax(&[1.0f32, f32::NAN]).is_nan());
/// ```
pub fn amax<T: Real>(x: &[T]) -> f32 {
    amax_with(x, Backend::default())
}

/// [`amax`] by a chosen backend.
pub fn amax_with<T: Real>(x: &[T], backend: impl Into<Backend>) -> f32 {
    backend.into().amax(NonFinite::NanScale, x)
}

#[cfg(all(test, feature = "cuda"))]
mod tests {
    use super::*;

    #[test]
    fn groups_are_not_rotated() {
        let plain = Quantize::new(Profile::default_for(Format::MXFP4));
        assert_eq!(plain.check_unrotated(64, &[2, 32]), plain.check(64, &[2, 32]));
        let error = plain.rotated(Hadamard::TRANSFORMER_ENGINE).check_unrotated(64, &[2, 32]);
        assert!(
            error.unwrap_err().to_string().contains("Hadamard of 16: no kernel rotates groups")
        );
    }
}
