//! Scales that differ by powers of two only.

use super::{check_rows, simulate};
use crate::cpu::FloatEnvironment;
use crate::error::{Error, Result};
use crate::format::{Element, Round, Scale};
use crate::numerics::{Profile, Rounding, ScaleChoice, Search};
use crate::reference::{Block, amax, chosen_scale, coded_block};

/// What the F32 scales of a row are held to, so that one operand's codes become another's by shifts of exponents.
///
/// ```text
/// M1  PowerOfTwo       s_i → 2^⌈log2 s_i⌉
/// M2  LargestOverTwos  s_i → s_max / 2^k, the largest k that keeps it at s_i or above; s_max that of the row
/// ```
///
/// Neither makes a scale smaller, so that nothing clips that did not before. Exponents are found in the bits,
/// without a logarithm. **Special values**: 0, Inf and NaN stay, and Inf and NaN are no largest scale; above
/// 2¹²⁷ M1 stops there; M2 halves only where that is exact.
///
/// Source: ZeroQuant-FP (arXiv 2307.09782), M1 and M2.
///
/// ```
/// use blockscale::analysis::ScaleConstraint;
/// let held = |constraint: ScaleConstraint| {
///     let mut scales = [0.75f32, 0.3, 0.09375, 0.0];
///     constraint.apply(&mut scales);
///     scales
/// };
/// assert_eq!(held(ScaleConstraint::Free), [0.75, 0.3, 0.09375, 0.0]);
/// assert_eq!(held(ScaleConstraint::PowerOfTwo), [1.0, 0.5, 0.125, 0.0]);
/// assert_eq!(held(ScaleConstraint::LargestOverTwos), [0.75, 0.375, 0.09375, 0.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum ScaleConstraint {
    /// To nothing.
    #[default]
    Free,
    /// M1: powers of two.
    PowerOfTwo,
    /// M2: the row's largest scale over powers of two.
    LargestOverTwos,
}

impl ScaleConstraint {
    /// Holds the scales of a row, magnitudes, to it.
    pub fn apply(self, scales: &mut [f32]) {
        let _ieee = FloatEnvironment::ieee();
        match self {
            Self::Free => {}
            Self::PowerOfTwo => scales.iter_mut().for_each(|s| *s = power_of_two_above(*s)),
            Self::LargestOverTwos => {
                let finite = scales.iter().copied().filter(|s| s.is_finite());
                let largest = finite.fold(0.0, f32::max);
                scales.iter_mut().for_each(|s| *s = halved_down_to(largest, *s));
            }
        }
    }
}

/// 2^⌈log2 s⌉, at most 2^127.
fn power_of_two_above(s: f32) -> f32 {
    if !s.is_finite() || s <= 0.0 {
        return s;
    }
    let bits = match s.is_normal() {
        true => (s.to_bits() + 0x007f_ffff) & 0x7f80_0000,
        // Powers of two below the normal ones have one bit.
        false => s.to_bits().next_power_of_two(),
    };
    f32::from_bits(bits).min(2f32.powi(127))
}

/// largest / 2^k, the largest k that keeps it at `s` or above and exact.
fn halved_down_to(largest: f32, s: f32) -> f32 {
    if !s.is_finite() || s <= 0.0 {
        return s;
    }
    let mut held = largest;
    while 0.5 * held >= s && 2.0 * (0.5 * held) == held {
        held *= 0.5;
    }
    held
}

/// As [`simulate`], with the scales of each row held to a constraint.
///
/// # Errors
/// Those of [`simulate`]; [`Error::InvalidFormat`] where scales are held and are not F32, or are not all that
/// scales a block: tensor scales and searches.
///
/// ```
/// use blockscale::analysis::{ScaleConstraint, simulate_constrained};
/// use blockscale::numerics::{Profile, Rounding};
/// let profile = Profile::default_for("e2m1x2:f32".parse()?);
/// let x = [4.5f32, 2.0, 1.0, 0.9]; // scales 0.75 and 1/6
/// let held = |by| simulate_constrained(&profile, by, Rounding::Nearest, &x, 4);
/// assert_eq!(held(ScaleConstraint::PowerOfTwo)?, [4.0, 2.0, 1.0, 1.0]); // 1 and 0.25
/// assert_eq!(held(ScaleConstraint::LargestOverTwos)?, [4.5, 2.25, 1.125, 0.75]); // 0.75 and 0.1875
/// # Ok::<(), blockscale::Error>(())
/// ```
pub fn simulate_constrained(
    profile: &Profile,
    constraint: ScaleConstraint,
    rounding: Rounding,
    x: &[f32],
    k: usize,
) -> Result<Vec<f32>> {
    if constraint == ScaleConstraint::Free {
        return simulate(profile, rounding, x, k);
    }
    let _ieee = FloatEnvironment::ieee();
    profile.check()?;
    let format = profile.format();
    if format.scale() != Scale::F32 || format.has_tensor_scale() || profile.search != Search::None {
        return Err(Error::InvalidFormat {
            given: format.to_string(),
            rule: "scales are held to a constraint where they are F32, with no tensor scale and no search",
        });
    }
    check_rows(x.len(), k)?;
    let tensor = profile.tensor_factors(amax(profile.nonfinite, x));
    let width = format.block();
    let mut decoded = Vec::with_capacity(x.len());
    for (row, values) in x.chunks(k.max(1)).enumerate() {
        let block = |values: &[f32]| {
            let mut block = Block { width, values: values.to_vec(), importance: None };
            block.values.resize(width, 0.0);
            block
        };
        let blocks: Vec<Block> = values.chunks(width).map(block).collect();
        let mut chosen: Vec<_> =
            blocks.iter().map(|block| chosen_scale(profile, &tensor, block)).collect();
        let mut scales: Vec<f32> = chosen
            .iter_mut()
            .filter_map(|choice| match choice {
                ScaleChoice::Scale(scale) => Some(scale.value),
                ScaleChoice::Dead(_) => None,
            })
            .collect();
        constraint.apply(&mut scales);
        let mut held = scales.into_iter();
        for (column, (block, choice)) in blocks.iter().zip(chosen).enumerate() {
            let choice = match choice {
                ScaleChoice::Scale(mut scale) => {
                    scale.value = held.next().unwrap_or(scale.value);
                    ScaleChoice::Scale(scale)
                }
                dead => dead,
            };
            let draw = |i| rounding.at(profile.ties, row as u64, (column * width + i) as u64);
            let rounds: Vec<Round> = (0..width).map(draw).collect::<Result<_>>()?;
            let quantized = coded_block(profile, &tensor, block, choice, &rounds);
            let value = |code: &u8| {
                profile.decoded(tensor.stored, quantized.scale, format.element().decode(*code))
            };
            let used = width.min(k - column * width);
            decoded.extend(quantized.codes[..used].iter().map(value));
        }
    }
    Ok(decoded)
}

/// The largest k for which every value of one element, times 2^−j for every j up to k, is a value of another:
/// how far an exponent can be shifted when codes of the one are made such of the other. `None` where not even
/// the values themselves are.
///
/// ```
/// use blockscale::analysis::exact_shift;
/// use blockscale::format::Element;
/// assert_eq!(exact_shift(Element::E2M1, Element::E4M3), Some(8));
/// assert_eq!(exact_shift(Element::E2M1, Element::E5M2), Some(15));
/// assert_eq!(exact_shift(Element::E4M3, Element::E2M1), None);
/// ```
pub fn exact_shift(of: Element, into: Element) -> Option<u32> {
    let _ieee = FloatEnvironment::ieee();
    let exact = |k: &u32| {
        let shifted = (0..=of.max_code()).map(|code| of.decode(code) * 2f32.powi(-(*k as i32)));
        let mut finite = shifted.filter(|x| x.is_finite());
        finite.all(|x| into.decode(into.encode(x, Round::RNE)) == x)
    };
    // 2^-149 is the smallest f32, and no element of eight bits spans as much.
    (0..150).take_while(exact).last()
}
