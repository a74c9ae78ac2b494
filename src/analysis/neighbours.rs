//! Rounding that somebody else chooses: the two codes that each element lies between, and a bit for each that
//! takes one of them.

use crate::cpu::FloatEnvironment;
use crate::error::{Error, Result};
use crate::format::Ties;
use crate::layout::{Packing, Raw};
use crate::numerics::{Between, Rounding};
use crate::reference::{self, Found, Job, Pass};
use crate::shape::Extents;
use crate::{Quantize, QuantizedTensor, Real};

/// A quantization whose scales are chosen as ever, and whose elements are rounded as one is told: what methods
/// that learn a rounding after training ask for.
///
/// ```text
/// scale    = that of the block of x under Quantize, to nearest
/// y        = scaled(fl(x / d))                               d = 1 without divisors
/// lower    = the code of the largest magnitude of the element's grid that is not above |y|
/// upper    = that of the next magnitude, or lower itself where it is |y| or the largest there is
/// fraction = fl((|y| − |lower|) / (|upper| − |lower|))       0 where both are the same, below 1 always
/// code     = upper where the bit of the mask is 1, else lower
/// ```
///
/// "Lower" and "upper" are meant in magnitude, as in [`Round`](crate::format::Round): of a negative element the
/// upper neighbour is the smaller number. **Shapes** are those of [`Quantize`], rotations and tiles included.
/// **Rounding**: f32, to nearest even; the fraction is exact but where y underflows. **Special values**:
/// elements of a block that NaN or Inf spoils are 0, both neighbours alike, and so are those that the profile
/// drops; saturated ones have the largest code twice. Zeros have the sign that the profile gives them. Under
/// `map=nearest-product` (ggml) y is that of stochastic rounding, of which nearest rounding is not always the
/// nearer neighbour. **Computed** by the scalar reference, whatever the backend.
///
/// Sources: the divisors are FlexRound's (Lee et al., *FlexRound: Learnable Rounding based on Element-wise
/// Division for Post-Training Quantization*, ICML 2023), whose codes come from w / S and are decoded without
/// S; choosing between both neighbours is AdaRound's (Nagel et al., *Up or Down? Adaptive Rounding for
/// Post-Training Quantization*, ICML 2020).
///
/// ```
/// use blockscale::Quantize;
/// use blockscale::analysis::ChosenRounding;
/// use blockscale::format::Format;
/// use blockscale::numerics::Profile;
/// let chosen = ChosenRounding::new(Quantize::new(Profile::default_for(Format::MXFP4)));
/// let x = [5.0f32, -2.25, 1.5, 0.125]; // scale 1
/// let neighbours = chosen.neighbours(&x, &[4])?;
/// assert_eq!(neighbours.lower(), [6, 12, 3, 0]); // 4, -2, 1.5, 0
/// assert_eq!(neighbours.upper(), [7, 13, 3, 1]); // 6, -3, 1.5, 0.5
/// assert_eq!(neighbours.fraction(), [0.5, 0.25, 0.0, 0.25]);
/// let q = chosen.round_with_mask(&x, &[4], &[0b0110])?; // the second and the third up
/// assert_eq!(q.dequantize::<f32>(), [4.0, -3.0, 1.5, 0.0]);
/// # Ok::<(), blockscale::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChosenRounding<'a> {
    quantize: Quantize,
    divisors: Option<&'a [f32]>,
}

/// Between which codes each element lies, one code a byte, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbours {
    lower: Vec<u8>,
    upper: Vec<u8>,
    fraction: Vec<f32>,
}

impl<'a> ChosenRounding<'a> {
    /// With the profile, blocks, rotation and tensor amax of `quantize`, without divisors.
    pub fn new(quantize: Quantize) -> Self {
        Self { quantize, divisors: None }
    }
    /// Divides each element (rotated, if the quantization rotates) by its own divisor, after the scales are
    /// chosen: of the shape of the tensor, finite and positive.
    ///
    /// ```
    /// use blockscale::Quantize;
    /// use blockscale::analysis::ChosenRounding;
    /// use blockscale::format::Format;
    /// use blockscale::numerics::Profile;
    /// let chosen = ChosenRounding::new(Quantize::new(Profile::default_for(Format::MXFP4)));
    /// let q = chosen.divisors(&[1.0, 1.5]).round_with_mask(&[6.0f32, 6.0], &[2], &[0])?;
    /// assert_eq!(q.dequantize::<f32>(), [6.0, 4.0]);
    /// # Ok::<(), blockscale::Error>(())
    /// ```
    pub fn divisors(self, divisors: &'a [f32]) -> Self {
        Self { divisors: Some(divisors), ..self }
    }

    /// The neighbours of each element of `x`, row-major, of `shape`.
    ///
    /// # Errors
    /// Those of [`Quantize::run`]; [`Error::InvalidValue`] for stochastic rounding, and for a divisor that is
    /// not finite or not positive; [`Error::WrongLength`] for more or fewer divisors than elements.
    pub fn neighbours<T: Real>(&self, x: &[T], shape: &[usize]) -> Result<Neighbours> {
        let extents = self.check(x.len(), shape)?;
        let (_, found) = self.found(x, extents);
        let (neighbours, n) = (found.neighbours, x.len());
        let mut all = Neighbours {
            lower: Vec::with_capacity(n),
            upper: Vec::with_capacity(n),
            fraction: Vec::with_capacity(n),
        };
        for Between { lower, upper, fraction } in neighbours {
            all.lower.push(lower);
            all.upper.push(upper);
            all.fraction.push(fraction);
        }
        Ok(all)
    }

    /// Quantizes `x`, each element to the neighbour that its bit says: bit i mod 8 of byte ⌊i/8⌋ is that of
    /// element i, row-major; 1 is upper. Bits behind the last element do not matter.
    ///
    /// # Errors
    /// Those of [`neighbours`](Self::neighbours), and [`Error::WrongLength`] for a mask of another length than
    /// ⌈elements / 8⌉ bytes.
    pub fn round_with_mask<T: Real>(
        &self,
        x: &[T],
        shape: &[usize],
        mask: &[u8],
    ) -> Result<QuantizedTensor> {
        let extents = self.check(x.len(), shape)?;
        check_length("the mask", mask.len(), "bytes", shape, x.len().div_ceil(8))?;
        let (job, found) = self.found(x, extents);
        let chosen = found.neighbours.iter().enumerate().map(|(i, between)| {
            if mask[i / 8] >> (i % 8) & 1 == 1 { between.upper } else { between.lower }
        });
        let codes = packed(&job, &chosen.collect::<Vec<_>>())?;
        let stored = job.tensor.stored;
        Ok(self.quantize.tensor(shape, extents, codes, found.scales, stored))
    }

    fn check(&self, len: usize, shape: &[usize]) -> Result<Extents> {
        // A subnormal divisor is positive.
        let _ieee = FloatEnvironment::ieee();
        let extents = self.quantize.check(len, shape)?;
        if self.quantize.chosen_rounding() != Rounding::Nearest {
            return Err(Error::InvalidValue {
                what: "the rounding of a quantization whose rounding is chosen",
                given: "stochastic".to_owned(),
                rule: "leave it at nearest, which chooses the scales; a mask may hold draws",
            });
        }
        let divisors = self.divisors.unwrap_or_default();
        if self.divisors.is_some() {
            check_length("the divisors", divisors.len(), "elements", shape, len)?;
        }
        match divisors.iter().position(|divisor| !(divisor.is_finite() && *divisor > 0.0)) {
            None => Ok(extents),
            Some(at) => Err(Error::InvalidValue {
                what: "a divisor",
                given: format!("{} at {at}", divisors[at]),
                rule: "divisors are finite and positive",
            }),
        }
    }

    fn found<T: Real>(&self, x: &[T], extents: Extents) -> (Job<'static>, Found) {
        let _ieee = FloatEnvironment::ieee();
        let amax = self.quantize.amax(x, extents);
        let Pass { job, rotation } = self.quantize.pass(amax, extents);
        let x = match rotation {
            None => x.iter().map(|x| x.to_f32()).collect(),
            Some(hadamard) => reference::rotated(hadamard, extents, x),
        };
        let divisor = |i| self.divisors.map_or(1.0, |divisors: &[f32]| divisors[i]);
        let found = reference::neighbours(&job, &x, divisor);
        (job, found)
    }
}

impl Neighbours {
    /// The codes of smaller magnitude.
    pub fn lower(&self) -> &[u8] {
        &self.lower
    }
    /// The codes of larger magnitude, or the same.
    pub fn upper(&self) -> &[u8] {
        &self.upper
    }
    /// How far each element is from the lower to the upper one, from 0 to below 1.
    pub fn fraction(&self) -> &[f32] {
        &self.fraction
    }

    /// The mask that rounds to the nearer neighbour, which is that of nearest rounding: where learning begins.
    ///
    /// ```
    /// # use blockscale::{Quantize, analysis::ChosenRounding, format::Format, numerics::Profile};
    /// let profile = Profile::default_for(Format::MXFP4);
    /// let chosen = ChosenRounding::new(Quantize::new(profile));
    /// let x = [5.0f32, -2.25, 2.75, 0.75];
    /// let mask = chosen.neighbours(&x, &[4])?.nearest(profile.ties);
    /// assert_eq!(mask, [0b1100]); // of the ties 5 and 0.75 the second has its even code above
    /// assert_eq!(chosen.round_with_mask(&x, &[4], &mask)?, Quantize::new(profile).run(&x, &[4])?);
    /// # Ok::<(), blockscale::Error>(())
    /// ```
    pub fn nearest(&self, ties: Ties) -> Vec<u8> {
        let _ieee = FloatEnvironment::ieee();
        let up = |i: usize| match ties {
            Ties::Even => {
                self.fraction[i] > 0.5 || self.fraction[i] == 0.5 && self.lower[i] % 2 == 1
            }
            Ties::Away => self.fraction[i] >= 0.5,
            Ties::Zero => self.fraction[i] > 0.5,
            Ties::AwayByAddition => self.fraction[i] + 0.5 >= 1.0,
        };
        let mut mask = vec![0; self.lower.len().div_ceil(8)];
        for i in (0..self.lower.len()).filter(|i| up(*i)) {
            mask[i / 8] |= 1 << (i % 8);
        }
        mask
    }
}

/// Codes of whole rows as they are stored.
fn packed(job: &Job<'_>, codes: &[u8]) -> Result<Vec<u8>> {
    let (format, row_bytes) = (job.profile.format(), job.code_bytes()?);
    let mut bytes = vec![0; row_bytes * job.extents.all_rows()];
    if !codes.is_empty() {
        for (codes, row) in codes.chunks(job.extents.k).zip(bytes.chunks_mut(row_bytes)) {
            Raw::pack_row(codes, format.element().bits(), format.block(), row);
        }
    }
    Ok(bytes)
}

fn check_length(
    what: &'static str,
    given: usize,
    unit: &'static str,
    shape: &[usize],
    expected: usize,
) -> Result<()> {
    match given == expected {
        true => Ok(()),
        false => Err(Error::WrongLength { what, given, unit, shape: shape.to_vec(), expected }),
    }
}
