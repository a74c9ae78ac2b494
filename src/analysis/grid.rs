//! How well a grid of values can represent a Gaussian, in closed form.

use super::normal::{density, distribution};
use crate::error::{Error, Result};
use crate::format::Element;

/// The values that a quantizer rounds to, before scaling.
///
/// ```
/// use blockscale::analysis::Grid;
/// use blockscale::format::Element;
/// let optimum = Grid::of(Element::E2M1).gaussian_optimum();
/// assert_eq!((optimum.scale * 6.0 * 1e5).round(), 292248.0); // the largest code at 2.92248 σ
/// assert_eq!((optimum.mse * 1e7).round(), 126849.0);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    values: Vec<f64>,
}

/// The scale of a grid that leaves the least mean squared error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Optimum {
    /// Distance of two values of the scaled grid over their distance in the grid, in units of σ.
    pub scale: f64,
    /// The error that it leaves, in units of σ².
    pub mse: f64,
}

impl Grid {
    /// The finite values of an element that encode writes.
    pub fn of(element: Element) -> Self {
        let positive = (0..=element.max_code()).map(|code| f64::from(element.decode(code)));
        Self::sorted(positive.clone().map(|v| -v).chain(positive).collect())
    }

    /// Any values.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] where there are none, or where one is not finite.
    ///
    /// ```
    /// use blockscale::analysis::Grid;
    /// let one_bit = Grid::new(&[-1.0, 1.0])?.gaussian_optimum();
    /// assert_eq!((one_bit.scale * 1e6).round(), 797885.0); // √(2/π)
    /// # Ok::<(), blockscale::Error>(())
    /// ```
    pub fn new(values: &[f64]) -> Result<Self> {
        if values.is_empty() || !values.iter().all(|v| v.is_finite()) {
            return Err(Error::InvalidValue {
                what: "the grid",
                given: format!("{values:?}"),
                rule: "a grid has at least one value, and all are finite",
            });
        }
        Ok(Self::sorted(values.to_vec()))
    }

    fn sorted(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        values.dedup();
        Self { values }
    }

    /// The mean squared error of rounding a standard Gaussian to the nearest of `scale · value`.
    ///
    /// ```text
    /// Σ over values v of ∫ (x − v)² φ(x) dx  from a to b, the midpoints around v
    ///   = (1 + v²) (Φ(b) − Φ(a)) − (b φ(b) − a φ(a)) + 2v (φ(b) − φ(a))
    /// ```
    ///
    /// In units of σ². Only the magnitude of `scale` matters; a NaN gives NaN.
    ///
    /// ```
    /// use blockscale::analysis::Grid;
    /// assert_eq!(Grid::new(&[0.0])?.gaussian_mse(1.0), 1.0); // all of the variance
    /// # Ok::<(), blockscale::Error>(())
    /// ```
    pub fn gaussian_mse(&self, scale: f64) -> f64 {
        // The mirror image of a grid serves a symmetric density as well.
        let value = |i: usize| self.values[i] * scale.abs();
        let midpoint = |i: usize| 0.5 * (value(i - 1) + value(i));
        let last = self.values.len() - 1;
        let cell = |i: usize| {
            let v = value(i);
            let (below, above) = (
                if i == 0 { Edge::INFINITE } else { Edge::at(midpoint(i)) },
                if i == last {
                    Edge { mass: 1.0, ..Edge::INFINITE }
                } else {
                    Edge::at(midpoint(i + 1))
                },
            );
            (1.0 + v * v) * (above.mass - below.mass) - (above.moment - below.moment)
                + 2.0 * v * (above.density - below.density)
        };
        (0..=last).map(cell).sum()
    }

    /// The scale of the least [`gaussian_mse`](Self::gaussian_mse).
    ///
    /// The error of a float grid has several minima, about one an octave: the largest value is
    /// searched from 1/4 σ to 2¹⁸ σ in 32 steps an octave, the best step then narrowed down to
    /// the precision of f64.
    ///
    /// Source: QuEST, *Stable Training of LLMs with 1-Bit Weights and Activations* (2025), fits
    /// its scales so.
    pub fn gaussian_optimum(&self) -> Optimum {
        let largest = self.values.iter().fold(0.0, |max: f64, v| max.max(v.abs()));
        if largest == 0.0 {
            return Optimum { scale: 1.0, mse: self.gaussian_mse(1.0) };
        }
        let mse = |log2: f64| self.gaussian_mse(log2.exp2() / largest);
        let step = |i: i32| f64::from(i) / 32.0;
        let start = (-64..=576).map(step).min_by(|a, b| mse(*a).total_cmp(&mse(*b)));
        let start = start.unwrap_or(0.0);
        let log2 = golden_section(mse, start - step(1), start + step(1));
        Optimum { scale: log2.exp2() / largest, mse: mse(log2) }
    }
}

/// What the integrals over a cell need of one of its edges x.
#[derive(Clone, Copy)]
struct Edge {
    /// Φ(x).
    mass: f64,
    /// φ(x).
    density: f64,
    /// x φ(x).
    moment: f64,
}

impl Edge {
    const INFINITE: Self = Self { mass: 0.0, density: 0.0, moment: 0.0 };

    fn at(x: f64) -> Self {
        let density = density(x);
        Self { mass: distribution(x), density, moment: x * density }
    }
}

/// Where `f` is least between `low` and `high`, if it has one minimum there.
fn golden_section(f: impl Fn(f64) -> f64, mut low: f64, mut high: f64) -> f64 {
    let ratio = 0.5 * (5f64.sqrt() - 1.0);
    let (mut a, mut b) = (high - ratio * (high - low), low + ratio * (high - low));
    let (mut at_a, mut at_b) = (f(a), f(b));
    // 64 steps shrink the interval by 10^13.
    for _ in 0..64 {
        if at_a < at_b {
            (high, b, at_b) = (b, a, at_a);
            a = high - ratio * (high - low);
            at_a = f(a);
        } else {
            (low, a, at_a) = (a, b, at_b);
            b = low + ratio * (high - low);
            at_b = f(b);
        }
    }
    0.5 * (low + high)
}
