//! What QSNR the crest factor of a block lets expect, and from which one on floats win.

use super::normal::{density, distribution};
use crate::format::Minifloat;

/// How a block's scale relates to its largest magnitude.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ScaleModel {
    /// A power of two that is `ratio` times as large as needed, 1 to 2; 1.5 on average.
    PowerOfTwo {
        /// Scale over the exact one.
        ratio: f64,
    },
    /// Taken as exact, as with E4M3: the largest of the block's elements has no error.
    Fine {
        /// Elements of a block.
        block: usize,
    },
}

impl ScaleModel {
    const fn ratio(self) -> f64 {
        match self {
            Self::PowerOfTwo { ratio } => ratio,
            Self::Fine { .. } => 1.0,
        }
    }
}

/// The QSNR in dB of a `bits`-bit integer at a crest factor.
///
/// ```text
/// noise / signal = (ratio · crest)² / (3 · 4^bits)              power-of-two scale
///                = crest² / (3 · 4^bits) · (block − 1) / block  fine scale
/// ```
///
/// Every element is taken to have the error of a uniform step.
///
/// Source: *INT v.s. FP: A Comprehensive Study of Fine-Grained Low-bit Quantization Formats*
/// (2025), which prints the first as 4.78 + 6.02 bits − 20 log10(ratio · crest).
///
/// ```
/// use blockscale::analysis::{ScaleModel, integer_qsnr};
/// let model = ScaleModel::PowerOfTwo { ratio: 1.5 };
/// assert_eq!(integer_qsnr(8, 2.363, model).round(), 42.0);
/// ```
pub fn integer_qsnr(bits: u8, crest: f64, scale: ScaleModel) -> f64 {
    let spread = scale.ratio() * crest;
    let noise = spread * spread / (3.0 * 4f64.powi(bits.into()));
    let noise = match scale {
        ScaleModel::PowerOfTwo { .. } => noise,
        ScaleModel::Fine { block } => noise * (1.0 - 1.0 / block as f64),
    };
    -10.0 * noise.log10()
}

/// The QSNR in dB of a float at a crest factor, for Gaussian elements.
///
/// ```text
/// noise / signal = w / (24 · 4^y) + p · (ratio · crest)² · 4^(1 − bias − y) / (12 max²)
/// t = ratio · crest · 2^(1 − bias) / max      where normals begin, in units of the RMS
/// p = 2Φ(t) − 1                               share of subnormals
/// w = 1 − (p − 2t φ(t))                       share of the energy in normals
/// ```
///
/// with y mantissa bits; a fine scale takes the largest element's energy, crest² / block, off w
/// (not below 0).
///
/// Source: as [`integer_qsnr`].
///
/// ```
/// use blockscale::analysis::{ScaleModel, float_qsnr};
/// use blockscale::format::Minifloat;
/// let model = ScaleModel::PowerOfTwo { ratio: 1.5 };
/// assert_eq!(float_qsnr(Minifloat::E4M3, 2.363, model).round(), 32.0);
/// ```
pub fn float_qsnr(element: Minifloat, crest: f64, scale: ScaleModel) -> f64 {
    let max = f64::from(element.max());
    let mantissa_bits = i32::from(element.mantissa_bits());
    let min_normal = 2f64.powi(1 - i32::from(element.bias()));
    let spread = scale.ratio() * crest / max;
    let threshold = spread * min_normal;
    let subnormals = 2.0 * distribution(threshold) - 1.0;
    let normal_energy = 1.0 - (subnormals - 2.0 * threshold * density(threshold));
    let normal_energy = match scale {
        ScaleModel::PowerOfTwo { .. } => normal_energy,
        ScaleModel::Fine { block } => (normal_energy - crest * crest / block as f64).max(0.0),
    };
    let step = spread * min_normal * 2f64.powi(-mantissa_bits);
    let noise = normal_energy / (24.0 * 4f64.powi(mantissa_bits)) + subnormals * step * step / 12.0;
    -10.0 * noise.log10()
}

/// The crest factor above which the float has the higher QSNR: where the two formulas meet
/// between 1 and 2⁷. `None` where they do not.
///
/// ```
/// use blockscale::analysis::{ScaleModel, crossover};
/// use blockscale::format::Minifloat;
/// let model = ScaleModel::PowerOfTwo { ratio: 1.5 };
/// let crest = crossover(4, Minifloat::E2M1, model).unwrap();
/// assert_eq!((crest * 100.0).round(), 204.0);
/// ```
pub fn crossover(integer_bits: u8, float: Minifloat, scale: ScaleModel) -> Option<f64> {
    let integer_wins =
        |crest| integer_qsnr(integer_bits, crest, scale) > float_qsnr(float, crest, scale);
    // In steps of 1/64 octave, so that the first crossing is found, then by halving.
    let crest = |step: i32| (f64::from(step) / 64.0).exp2();
    let step =
        (1..=448).find(|&step| integer_wins(crest(step - 1)) && !integer_wins(crest(step)))?;
    let (mut low, mut high) = (crest(step - 1), crest(step));
    for _ in 0..52 {
        let middle = 0.5 * (low + high);
        *(if integer_wins(middle) { &mut low } else { &mut high }) = middle;
    }
    Some(0.5 * (low + high))
}
