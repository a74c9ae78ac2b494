//! The rules of E8M0 scales in numbers, for kernels.

use super::log2::{ULPS_ABOVE, ULPS_BELOW};
use super::{Profile, ScaleRule};
use crate::format::Element;

/// What [`Profile::block_scale`] does to an amax of which neither a subnormal nor Inf comes:
///
/// ```text
/// d    = fl(fl(amax / divisor) · multiplier), of which at most one is not 1
/// code = (bits(d) + add + near[bit length of d's exponent]) >> 23 − subtract
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ExponentSteps {
    pub divisor: f32,
    pub multiplier: f32,
    pub add: i32,
    pub subtract: i32,
    /// Of rules that go through a rounded logarithm: a negative exponent e has the length of −e − 1.
    pub near: Option<[u32; 9]>,
}

impl Profile {
    /// The steps of the scale rule; `None` where it is none of E8M0 scales or looks at more than an amax.
    pub(crate) fn exponent_steps(&self) -> Option<ExponentSteps> {
        let element = self.format().element();
        let floor = ExponentSteps {
            divisor: 1.0,
            multiplier: 1.0,
            add: 0,
            subtract: element.emax(),
            near: None,
        };
        // All but a power of two is carried into the next one.
        let ceil = ExponentSteps { add: 0x7f_ffff, ..floor };
        Some(match self.scale {
            ScaleRule::Floor => floor,
            ScaleRule::Ceil => ceil,
            ScaleRule::Even => ExponentSteps { add: 1 << (22 - element.mantissa_bits()), ..floor },
            ScaleRule::Rceil => {
                ExponentSteps { multiplier: 1.0 / element.max(), subtract: 0, ..ceil }
            }
            ScaleRule::IntegerCeil => {
                let Element::Int(int) = element else { return None };
                let subtract = -i32::from(int.fraction_bits());
                ExponentSteps { divisor: int.max_code().into(), subtract, ..ceil }
            }
            ScaleRule::FloorLog2 | ScaleRule::FloorLog2Wrap => {
                ExponentSteps { near: Some(ULPS_BELOW), ..floor }
            }
            ScaleRule::CeilLog2 => {
                let near = Some(ULPS_ABOVE.map(u32::wrapping_neg));
                ExponentSteps { divisor: element.max(), subtract: 0, near, ..ceil }
            }
            ScaleRule::RmsFloor
            | ScaleRule::RmsNearest
            | ScaleRule::Plain
            | ScaleRule::FoldedEncode
            | ScaleRule::TimesEncode
            | ScaleRule::OverDecode
            | ScaleRule::OverProduct => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Format, Scale};
    use crate::numerics::{BlockStatistics, ScaleChoice};

    /// The code, and whether it needs no clamp.
    fn code(steps: &ExponentSteps, amax: f32) -> i32 {
        let bits = (amax / steps.divisor * steps.multiplier).to_bits();
        let exponent = (bits >> 23) as i32 - 127;
        let length = 32 - exponent.max(-1 - exponent).leading_zeros();
        let near = steps.near.map_or(0, |near| near[length as usize]);
        let sum = bits.wrapping_add(near).wrapping_add_signed(steps.add);
        (sum >> 23) as i32 - steps.subtract
    }

    /// Every rule at, below and above what it moves on at, in every binade that needs no clamp.
    #[test]
    fn steps_are_the_rule() {
        for (name, format) in Format::NAMED.into_iter().filter(|(_, f)| f.scale() == Scale::E8M0) {
            for profile in Profile::all(format) {
                let steps = profile.exponent_steps().unwrap();
                let tensor = profile.tensor_factors(1.0);
                let powers = (16..240).map(|exponent| f32::from_bits(exponent << 23));
                let places =
                    powers.flat_map(|x| [x, 1.25 * x, 1.5 * x, 1.75 * x, 1.875 * x, 1.9375 * x]);
                for (place, ulps) in places.flat_map(|x| (-100..=100).map(move |ulps| (x, ulps))) {
                    let amax = f32::from_bits(place.to_bits().wrapping_add_signed(ulps));
                    let expected = profile.block_scale(&tensor, BlockStatistics { amax, std: 0.0 });
                    let ScaleChoice::Scale(expected) = expected else { panic!("{name} {amax}") };
                    assert_eq!(
                        code(&steps, amax),
                        i32::from(expected.code),
                        "{name} {profile} {amax}"
                    );
                }
            }
        }
    }

    #[test]
    fn others_have_no_steps() {
        for (format, profile) in
            [("mxfp4", "rceil+scale=rms-floor"), ("nvfp4", "torchao"), ("fp4-ue5m3", "direct")]
        {
            let profile = Profile::parse(format.parse().unwrap(), profile).unwrap();
            assert_eq!(profile.exponent_steps(), None, "{format} {profile}");
        }
    }
}
