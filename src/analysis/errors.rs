//! Element by element: what quantization left of the values.

use super::check_lengths;
use crate::Real;
use crate::error::Result;

/// The error of decoded values against the original ones, as sums that add up over parts.
///
/// ```text
/// signal = Σx²   noise = Σ(x − y)²   shortfall = Σx(x − y)   decoded = Σy²
/// over finite x and y, in f64, so that nothing overflows or underflows
/// ```
///
/// **Special values**: an x that is NaN or Inf is counted and left out of every sum; so is a
/// finite x whose y is not ([`lost`](Self::lost)), such as a neighbour of a NaN under its scale.
/// **Nothing, and nothing but zeros**, kept as they are, count as perfect: relative MSE 0, QSNR
/// and bits +∞, cosine 1, misalignment 0. Where there are elements and all are left out, these and
/// the largest error are NaN. What is left out is in no figure: ask [`lost`](Self::lost), or
/// [`is_exact`](Self::is_exact), before a QSNR is taken for that of the whole tensor.
///
/// Sources: QSNR as in the OCP MX papers, misalignment and bits as in Quartet and Quartet II.
///
/// ```
/// use blockscale::analysis::Errors;
/// let mut errors = Errors::of(&[3.0f32, 4.0, f32::NAN], &[3.0, 5.0, 0.0])?;
/// assert_eq!((errors.elements(), errors.nan()), (3, 1));
/// assert_eq!(errors.relative_mse(), 1.0 / 25.0);
/// errors.merge(&Errors::of(&[0.25f32], &[0.0])?);
/// assert_eq!((errors.max_error(), errors.flushed_share()), (1.0, 1.0 / 3.0));
/// # Ok::<(), blockscale::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Errors {
    finite: u64,
    nan: u64,
    inf: u64,
    lost: u64,
    flushed: u64,
    signal: f64,
    noise: f64,
    shortfall: f64,
    decoded: f64,
    max_error: f64,
}

impl Errors {
    /// Compares `x` with its decoded `y`.
    ///
    /// # Errors
    /// [`Error::WrongLength`](crate::Error::WrongLength) where the lengths differ.
    pub fn of<T: Real>(x: &[T], y: &[f32]) -> Result<Self> {
        check_lengths(x.len(), y.len())?;
        let mut errors = Self::default();
        x.iter().zip(y).for_each(|(x, y)| errors.add(x.to_f32(), *y));
        Ok(errors)
    }

    /// Takes in one element `x` that was decoded to `y`.
    pub fn add(&mut self, x: f32, y: f32) {
        match (x.is_finite(), x.is_nan()) {
            (true, _) => self.finite += 1,
            (_, true) => return self.nan += 1,
            _ => return self.inf += 1,
        }
        if !y.is_finite() {
            return self.lost += 1;
        }
        self.flushed += u64::from(x != 0.0 && y == 0.0);
        let (x, y) = (f64::from(x), f64::from(y));
        let error = x - y;
        self.signal += x * x;
        self.noise += error * error;
        self.shortfall += x * error;
        self.decoded += y * y;
        self.max_error = self.max_error.max(error.abs());
    }

    /// Takes in another part of the tensor, or another tensor.
    pub fn merge(&mut self, other: &Self) {
        self.finite += other.finite;
        self.nan += other.nan;
        self.inf += other.inf;
        self.lost += other.lost;
        self.flushed += other.flushed;
        self.signal += other.signal;
        self.noise += other.noise;
        self.shortfall += other.shortfall;
        self.decoded += other.decoded;
        self.max_error = self.max_error.max(other.max_error);
    }

    /// Elements, whatever their value.
    pub const fn elements(&self) -> u64 {
        self.finite + self.nan + self.inf
    }
    /// Elements that are neither NaN nor Inf.
    pub const fn finite(&self) -> u64 {
        self.finite
    }
    /// Elements that are NaN.
    pub const fn nan(&self) -> u64 {
        self.nan
    }
    /// Elements that are +Inf or −Inf.
    pub const fn inf(&self) -> u64 {
        self.inf
    }
    /// Finite elements that were decoded to NaN or Inf.
    pub const fn lost(&self) -> u64 {
        self.lost
    }
    /// Elements that the figures are about: finite ones that were decoded to a finite value.
    pub const fn measured(&self) -> u64 {
        self.finite - self.lost
    }
    /// Whether every element is finite and came back as it was, up to the sign of zero.
    ///
    /// ```
    /// use blockscale::analysis::Errors;
    /// assert!(Errors::of(&[1.0f32, 0.0], &[1.0, 0.0])?.is_exact());
    /// let lost = Errors::of(&[1.0f32, 0.0], &[f32::NAN, 0.0])?;
    /// assert!(!lost.is_exact() && lost.qsnr() == f64::INFINITY);
    /// # Ok::<(), blockscale::Error>(())
    /// ```
    pub fn is_exact(&self) -> bool {
        self.measured() == self.elements() && self.noise == 0.0
    }
    /// `figure`, or NaN where there are elements and none is measured.
    fn figure(&self, figure: f64) -> f64 {
        match (self.measured(), self.elements()) {
            (0, 1..) => f64::NAN,
            _ => figure,
        }
    }
    /// Σx².
    pub const fn signal(&self) -> f64 {
        self.signal
    }
    /// Σ(x − y)².
    pub const fn noise(&self) -> f64 {
        self.noise
    }

    /// Mean squared error, noise / measured elements; 0 of nothing.
    pub fn mse(&self) -> f64 {
        self.figure(self.noise / self.measured().max(1) as f64)
    }
    /// Relative mean squared error, noise / signal; +∞ where only the signal is 0.
    pub fn relative_mse(&self) -> f64 {
        self.figure(if self.noise == 0.0 { 0.0 } else { self.noise / self.signal })
    }
    /// Quantization signal-to-noise ratio in dB, −10 log10(relative MSE).
    pub fn qsnr(&self) -> f64 {
        -10.0 * self.relative_mse().log10()
    }
    /// Effective bits, −log2(relative MSE) / 2: one more halves the error.
    pub fn bits(&self) -> f64 {
        -0.5 * self.relative_mse().log2()
    }
    /// Cosine of the angle between x and y, (signal − shortfall) / √(signal · decoded); 0 where
    /// only one is zero.
    pub fn cosine(&self) -> f64 {
        self.figure(match (self.signal == 0.0, self.decoded == 0.0) {
            (true, true) => 1.0,
            (true, false) | (false, true) => 0.0,
            (false, false) => {
                (self.signal - self.shortfall) / (self.signal.sqrt() * self.decoded.sqrt())
            }
        })
    }
    /// 1 − ⟨x, y⟩ / ⟨x, x⟩ = shortfall / signal: how far y falls short of x along x. 0 on average
    /// where rounding is unbiased, positive where it shrinks.
    pub fn misalignment(&self) -> f64 {
        self.figure(if self.signal == 0.0 { 0.0 } else { self.shortfall / self.signal })
    }
    /// The largest |x − y|.
    pub fn max_error(&self) -> f64 {
        self.figure(self.max_error)
    }
    /// Share of the finite elements that were not 0 and became 0.
    pub fn flushed_share(&self) -> f64 {
        share(self.flushed, self.finite)
    }
}

/// `part / whole`, 0 of nothing.
pub(super) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
