//! What the kernels of quantize are told: a profile worked out in numbers.

use super::draws::{Draws, Fields};
use crate::Blocks;
use crate::format::{Element, Round, Scale, Ties};
use crate::numerics::{
    BlockStatistics, DecodeRule, ElementMap, ExponentSteps, Headroom, Profile, Rounding, ScaleCast,
    ScaleChoice, ScaleRange, ScaleRule, Scaling, Search, SignRule, TensorFactors,
};
use crate::reference::Job;

/// A quantization that the kernels take, with what they need to know of it. "Not for these steps" and "odd"
/// say below which blocks they leave to the reference, besides those with NaN or Inf.
pub(super) struct Plan {
    pub scale: ScaleSteps,
    /// Scale code of a block of zeros.
    pub zero_code: u8,
    /// The value of the scale that a code of 0 becomes.
    pub zero_becomes: f32,
    /// The scale code 0 has no factor: blocks that get it are odd.
    pub zero_scale_is_odd: bool,
    /// By scale code: what elements are multiplied with or divided by, or, to find the nearest product,
    /// what the elements' values are multiplied with ([`Map`]). Kernels of the form Mx work theirs out, and
    /// so do those of Nv, but for code 0.
    pub factors: [f32; 256],
    pub map: Map,
    /// Elements of a block: 16 or 32.
    pub block: usize,
    pub element: ElementSteps,
    pub sign: SignRule,
    pub rounding: Steps,
    pub search: Option<SearchSteps>,
}

/// A search in numbers, of E2M1 elements.
pub(super) struct SearchSteps {
    pub distance: Distance,
    pub candidates: Candidates,
}

/// What an error is the sum or the largest of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Distance {
    /// Σ d², weighted where columns have an importance.
    Squared,
    /// Σ |d|.
    Absolute,
    /// max |d|.
    Largest,
}

pub(super) enum Candidates {
    /// The scale and 3/2 of it. Values are fl(fl(fl(q · s) · stored) / target).
    FourOverSix {
        stored: f32,
        target: f32,
    },
    Around(Box<Around>),
}

/// The scales around the rule's, by code.
pub(super) struct Around {
    /// The values of the elements -1 and -1.5.
    pub minus_one: [f32; 256],
    pub minus_more: [f32; 256],
    /// Factors and both values of codes that can be tried, from code -8 on. Of others the values are NaN, whose
    /// error is never smaller.
    pub tried: [[f32; Self::TRIED]; 3],
    /// Whether those of the code and of all that are tried with it are exact multiples of both.
    pub sound: [bool; 256],
    /// Whether the eight codes above are tried.
    pub looks_up: bool,
    /// How many codes below are tried, at most eight.
    pub below: usize,
}

/// Which kernels a plan goes to, by its scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// E8M0, blocks of 32, elements multiplied, signs those of x, no logarithm.
    Mx,
    /// Floats, blocks of 16, elements multiplied, signs those of x.
    Nv,
    /// All others.
    Any,
}

/// How factors are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Map {
    Times,
    Over,
    /// The nearest product of an E2M1 value and the factor.
    Product,
}

/// How elements are rounded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Steps {
    /// To nearest, ties to even.
    Even,
    /// To nearest, ties away from zero.
    Away,
    /// As ⌊fl(|y| / step + 0.5)⌋.
    AwayByAddition,
    /// To nearest, ties to zero.
    Zero,
    Drawn(Draws),
}

/// An element in numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ElementSteps {
    pub kind: Kind,
    pub bits: u32,
    /// The largest value.
    pub max: f32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    E2M1,
    Float {
        mantissa_bits: u32,
        /// The bits of the smallest normal as an f32.
        first: i32,
    },
    Integer {
        fraction_bits: u32,
    },
}

/// From a block's amax to the code of its scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum ScaleSteps {
    /// d = fl(amax · multiplier) or fl(amax / divisor);
    /// code = max((bits(d) + add + near) >> 23 − subtract, 0).
    Exponent {
        divisor: f32,
        multiplier: f32,
        add: i32,
        subtract: i32,
        /// Further addends by the bit length of d's exponent.
        near: Option<[u32; 16]>,
        /// The largest code for these steps.
        most: i32,
        /// Codes below 0 are not for these steps.
        wraps: bool,
    },
    /// d = fl(fl(fl(amax / divisor) · multiplier) / over), kept within `least` and `most`, cast.
    Float {
        divisor: f32,
        multiplier: f32,
        over: f32,
        least: f32,
        most: f32,
        /// The bits of the smallest normal as an f32.
        first: i32,
        mantissa_bits: u32,
        /// What the code 0 becomes.
        zero_becomes: u8,
        /// numerator / (scale · product) is what elements are multiplied with, in the form Nv.
        numerator: f32,
        product: f32,
        /// A quotient of 0 is not for these steps.
        refuses_zero: bool,
        /// ggml's cast in place of that to nearest even.
        half_up: bool,
    },
}

impl Plan {
    /// `None` where the reference has to do the whole job.
    pub(super) fn new(job: &Job<'_>) -> Option<Self> {
        let (profile, tensor) = (&job.profile, &job.tensor);
        let format = profile.format();
        let suits = matches!(format.block(), 16 | 32)
            && profile.headroom != Headroom::ThreeQuarters
            && !tensor.nan;
        let element = ElementSteps::new(format.element())?;
        let mut rounding = Steps::new(profile, job.rounding)?;
        let scale = ScaleSteps::new(profile, tensor)?;
        let nearest = !matches!(rounding, Steps::Drawn(_));
        let map = match profile.map {
            ElementMap::NearestProduct if nearest => {
                // Products are exact, and the first of two equal errors is the smaller magnitude: under a
                // power of two the nearest product is that of the nearest element.
                (element.kind == Kind::E2M1).then_some(())?;
                let power_of_two = format.scale() == Scale::E8M0;
                if power_of_two { Map::Times } else { Map::Product }
            }
            ElementMap::OverProduct | ElementMap::OverQuotient | ElementMap::NearestProduct => {
                Map::Over
            }
            _ => Map::Times,
        };
        if nearest && profile.map == ElementMap::NearestProduct {
            rounding = Steps::Zero;
        }
        let zeros = BlockStatistics { amax: 0.0, std: 0.0 };
        let ScaleChoice::Scale(zero) = profile.block_scale(tensor, zeros) else { return None };
        let last = format.scale().float().map_or(254, |float| float.max_code());
        let mut factors = [0.0; 256];
        // Of all codes, whatever the form: `all` below looks at them.
        for code in 0..=last {
            factors[usize::from(code)] = match profile.scaling(tensor, profile.stored_scale(code)) {
                Scaling::Times(factor) if map == Map::Times => factor,
                Scaling::Over(divisor) if map == Map::Times => 1.0 / divisor,
                // A factor of 0: dividing by Inf gives 0 as well, and no product but that of 0 is near.
                Scaling::Times(_) => f32::INFINITY,
                Scaling::Over(divisor) => divisor,
            };
        }
        let scales = |factor: f32| match map {
            Map::Times => factor.is_finite(),
            Map::Over => factor > 0.0,
            Map::Product => factor > 0.0,
        };
        let all = factors[1..=usize::from(last)].iter().all(|factor| scales(*factor));
        let search = match profile.search {
            Search::None => None,
            _ => Some(SearchSteps::new(job, map, &factors)?),
        };
        let reaches_zero = zero.code == 0 || scale.reaches_zero();
        let zero_scale_is_odd = !scales(factors[0]) && reaches_zero;
        let finds_by_division =
            matches!(search, Some(SearchSteps { candidates: Candidates::FourOverSix { .. }, .. }));
        let searchable = !finds_by_division || !zero_scale_is_odd;
        (suits && all && searchable).then_some(Self {
            search,
            scale,
            zero_code: zero.code,
            zero_becomes: match scale {
                ScaleSteps::Float { zero_becomes, .. } => profile.stored_scale(zero_becomes).value,
                ScaleSteps::Exponent { .. } => 0.0,
            },
            zero_scale_is_odd,
            factors,
            map,
            block: format.block(),
            element,
            // An integer has no −0 whose sign could be told from that of +0.
            sign: match element.kind {
                Kind::Integer { .. } => SignRule::Bit,
                // The first of equal errors is +0's.
                _ if nearest && profile.map == ElementMap::NearestProduct => SignRule::NonZero,
                _ => profile.sign,
            },
            rounding,
        })
    }

    /// The kernels for it.
    pub(super) fn form(&self) -> Form {
        let plain = self.sign == SignRule::Bit
            && self.map == Map::Times
            && !self.zero_scale_is_odd
            && matches!(self.rounding, Steps::Even | Steps::Drawn(_));
        match self.scale {
            ScaleSteps::Exponent { near: None, .. }
                if plain && self.block == 32 && self.zero_code == 0 =>
            {
                Form::Mx
            }
            ScaleSteps::Float { refuses_zero: false, half_up: false, .. }
                if plain && self.block == 16 =>
            {
                Form::Nv
            }
            _ => Form::Any,
        }
    }
}

impl SearchSteps {
    /// `None` where the reference has to search.
    fn new(job: &Job<'_>, map: Map, factors: &[f32; 256]) -> Option<Self> {
        let profile = &job.profile;
        let suits = job.blocks == Blocks::Row
            && job.rounding == Rounding::Nearest
            && profile.ties == Ties::Even
            && profile.format().element() == Element::E2M1
            && map == Map::Times;
        suits.then_some(())?;
        let candidates = match profile.search.is_weighted() {
            true => Candidates::Around(Box::new(Around::new(job, factors))),
            false => Self::four_over_six(job)?,
        };
        let distance = match profile.search {
            Search::FourOverSixMae => Distance::Absolute,
            Search::FourOverSixAbsmax => Distance::Largest,
            _ => Distance::Squared,
        };
        Some(Self { distance, candidates })
    }

    fn four_over_six(job: &Job<'_>) -> Option<Candidates> {
        let profile = &job.profile;
        // Far from the ends of f32's range, as values are then before they are divided by it.
        let target = profile.tensor_target();
        let suits = (1e-6..1e6).contains(&target)
            && profile.format().block() == 16
            && profile.decode == DecodeRule::AmaxLast
            && profile.range != ScaleRange::MinPositive
            && profile.cast == ScaleCast::Rne;
        suits.then_some(())?;
        Some(Candidates::FourOverSix { stored: job.tensor.stored?.value(), target })
    }
}

impl Around {
    /// Codes from -8 to 271: a vector behind the code after any.
    pub(super) const TRIED: usize = 8 + 256 + 16;

    fn new(job: &Job<'_>, factors: &[f32; 256]) -> Self {
        let profile = &job.profile;
        let ([above, below], (least, most)) = (profile.search.reach(), profile.searched_codes());
        let mut new = Self {
            minus_one: [f32::NAN; 256],
            minus_more: [f32::NAN; 256],
            tried: [[0.0; Self::TRIED], [f32::NAN; Self::TRIED], [f32::NAN; Self::TRIED]],
            sound: [false; 256],
            looks_up: above > 0,
            below: below.into(),
        };
        let mut exact = [false; 256];
        for code in 0..=most {
            let scale = profile.stored_scale(code);
            let value = |q: f32| profile.decoded(job.tensor.stored, scale, q);
            let (one, more) = (value(1.0), value(1.5));
            let is_exact = |power: f32, base: f32, q: f32| {
                base.is_finite() && f64::from(value(q)) == f64::from(power) * f64::from(base)
            };
            let at = usize::from(code);
            exact[at] = [(0.5, one, 0.5), (2.0, one, 2.0), (4.0, one, 4.0)]
                .into_iter()
                .chain([(2.0, more, 3.0), (4.0, more, 6.0)])
                .all(|(power, base, q)| is_exact(power, base, q));
            (new.minus_one[at], new.minus_more[at]) = (-one, -more);
            if code >= least {
                let entries = [factors[at], -one, -more];
                for (tried, entry) in new.tried.iter_mut().zip(entries) {
                    tried[at + 8] = entry;
                }
            }
        }
        for code in 0..=usize::from(most) {
            let lowest = code.saturating_sub(below.into()).max(least.into());
            let highest = (code + usize::from(above)).min(most.into());
            new.sound[code] = exact[code] && (lowest..=highest).all(|code| exact[code]);
        }
        new
    }
}

impl Steps {
    fn new(profile: &Profile, rounding: Rounding) -> Option<Self> {
        Some(match (rounding, profile.ties) {
            (Rounding::Stochastic(draws), _) => Self::Drawn(Draws::new(draws)?),
            (Rounding::Nearest, Ties::Even) => Self::Even,
            (Rounding::Nearest, Ties::Away) => Self::Away,
            (Rounding::Nearest, Ties::AwayByAddition) => Self::AwayByAddition,
            (Rounding::Nearest, Ties::Zero) => Self::Zero,
        })
    }

    /// What its draws are made of.
    pub(super) fn fields(&self) -> Option<Fields> {
        match self {
            Self::Drawn(draws) => Some(draws.fields),
            _ => None,
        }
    }
}

impl ElementSteps {
    fn new(element: Element) -> Option<Self> {
        let kind = match element {
            Element::E2M1 => Kind::E2M1,
            Element::Int(int) => Kind::Integer { fraction_bits: int.fraction_bits().into() },
            Element::Float(float) => {
                let field = 128 - i32::from(float.bias());
                // Far from both ends of f32's exponents, where the power of two exists whose ulp is the
                // largest step. Without mantissa bits a tie's even side changes from binade to binade.
                let suits = (64..192).contains(&field)
                    && float.emax() < 64
                    && float.mantissa_bits() > 0
                    && float.bits() != 4;
                suits.then_some(())?;
                Kind::Float { mantissa_bits: float.mantissa_bits().into(), first: field << 23 }
            }
        };
        Some(Self { kind, bits: element.bits().into(), max: element.max() })
    }
}

impl ScaleSteps {
    /// Whether a block that is not all zero can have the code 0.
    fn reaches_zero(&self) -> bool {
        match self {
            Self::Exponent { .. } => true,
            Self::Float { least, zero_becomes, .. } => *least == 0.0 && *zero_becomes == 0,
        }
    }

    fn new(profile: &Profile, tensor: &TensorFactors) -> Option<Self> {
        match profile.format().scale() {
            Scale::E8M0 => Self::exponent(profile),
            _ => Self::float(profile, tensor),
        }
    }

    fn exponent(profile: &Profile) -> Option<Self> {
        let known = matches!(profile.map, ElementMap::Exponent | ElementMap::NearestProduct);
        let steps = profile.exponent_steps().filter(|_| known)?;
        let ExponentSteps { divisor, multiplier, add, subtract, near } = steps;
        let near = near.map(|near| {
            let mut table = [0; 16];
            table[..near.len()].copy_from_slice(&near);
            table
        });
        // Products of larger scales could be Inf.
        let most = if profile.map == ElementMap::NearestProduct { 250 } else { 254 };
        let wraps = profile.scale == ScaleRule::FloorLog2Wrap;
        Some(Self::Exponent { divisor, multiplier, add, subtract, near, most, wraps })
    }

    fn float(profile: &Profile, tensor: &TensorFactors) -> Option<Self> {
        let float = profile.format().scale().float()?;
        let target = profile.target();
        let (divisor, multiplier, over) = match profile.scale {
            ScaleRule::Plain => (target, 1.0, 1.0),
            ScaleRule::FoldedEncode => (1.0, tensor.encode * (1.0 / target), 1.0),
            ScaleRule::TimesEncode => (target, tensor.encode, 1.0),
            ScaleRule::OverDecode => (target, 1.0, tensor.decode),
            ScaleRule::OverProduct => (target * tensor.decode, 1.0, 1.0),
            _ => return None,
        };
        let normal = float.min_normal().unwrap_or(float.min_positive());
        let guarded = profile.headroom == Headroom::SixteenSeventeenths;
        let least = match profile.range {
            ScaleRange::MinNormal => normal,
            _ if guarded => normal,
            ScaleRange::MinPositive => float.min_positive(),
            _ => 0.0,
        };
        let zero_becomes = match profile.range {
            ScaleRange::NonZero => 1,
            ScaleRange::ZeroToEighth => float.encode(0.125, Round::RNE),
            _ => 0,
        };
        let encodes = profile.map == ElementMap::EncodeOverScale;
        let sound = |x: f32| x.is_finite() && x > 0.0;
        (sound(divisor) && sound(multiplier) && sound(over)).then_some(Self::Float {
            divisor,
            multiplier,
            over,
            least,
            most: float.max(),
            first: (128 - i32::from(float.bias())) << 23,
            mantissa_bits: float.mantissa_bits().into(),
            zero_becomes,
            numerator: if encodes { tensor.encode } else { 1.0 },
            product: if encodes { 1.0 } else { tensor.decode },
            refuses_zero: profile.range == ScaleRange::MinPositive,
            half_up: profile.cast == ScaleCast::HalfUp,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;
    use crate::numerics::{DrawBits, DrawRule, Stochastic};
    use crate::shape::Extents;

    fn plan(profile: Profile, rounding: Rounding, blocks: Blocks, amax: f32) -> Option<Plan> {
        let tensor = profile.tensor_factors(amax);
        let extents = Extents::of(&[48, 160]).unwrap();
        Plan::new(&Job { profile, rounding, blocks, tensor, extents, importance: None })
    }

    fn roundings() -> [Rounding; 4] {
        let draws = Stochastic::new(1, "x");
        [
            Rounding::Nearest,
            Rounding::Stochastic(draws),
            Rounding::Stochastic(draws.with_rule(DrawRule::Midpoint)),
            Rounding::Stochastic(draws.with_bits(DrawBits::Sixteen)),
        ]
    }

    /// 16 bits and their middle are 17.
    #[test]
    fn sixteen_centred_bits_are_the_references() {
        let draws =
            Stochastic::new(1, "x").with_bits(DrawBits::Sixteen).with_rule(DrawRule::Midpoint);
        let profile = Profile::default_for(Format::MXFP4);
        assert!(plan(profile, Rounding::Stochastic(draws), Blocks::Row, 1.0).is_none());
    }

    /// Named profiles go to the kernels but for these exceptions, which docs/support.md lists.
    #[test]
    fn named_profiles_have_plans() {
        for profile in Format::NAMED.iter().flat_map(|(_, format)| Profile::all(*format)) {
            let searches = ["four-over-six-mse", "four-over-six-mae"].contains(&profile.name());
            let stores_decode = profile.format() == Format::NVFP4
                && ["torchao", "modelopt"].contains(&profile.name());
            let leveled = profile.tensor_scale_name().is_some();
            for amax in [2688.0, 0.337, 1e-30, 1e30, f32::MAX, f32::INFINITY, 0.0, f32::NAN] {
                for rounding in roundings() {
                    for blocks in [Blocks::Row, Blocks::Tile] {
                        let nearest_rows = rounding == Rounding::Nearest && blocks == Blocks::Row;
                        let specified = searches && !nearest_rows
                            || stores_decode && amax == 0.0
                            || leveled && amax.is_nan();
                        let planned = plan(profile, rounding, blocks, amax).is_some();
                        let format = profile.format();
                        let case = format!("{format} {profile} {rounding:?} {blocks:?} {amax}");
                        assert_eq!(planned, !specified, "{case}");
                    }
                }
            }
        }
    }

    /// Searches go to the kernels where docs/support.md says so.
    #[test]
    fn searches_have_plans() {
        for (format, text, planned) in [
            ("nvfp4", "four-over-six-mse+search=four-over-six-absmax", true),
            ("nvfp4", "four-over-six-mse+search=sweep", true),
            ("nvfp4", "transformer-engine+search=sweep", true),
            ("nvfp4", "torchao+search=sweep", true),
            ("fp4-ue5m3", "direct+search=sweep", true),
            ("mxfp4", "rceil+search=sweep", true),
            ("mxfp4", "ocp+search=clip", true),
            ("nvfp4", "transformer-engine+search=four-over-six-mse", false),
            ("nvfp4", "compressed-tensors+search=sweep", false),
            ("mxfp4", "microxcaling+search=sweep", false),
            ("mxfp8-e4m3", "ocp+search=sweep", false),
        ] {
            let profile = Profile::parse(format.parse().unwrap(), text).unwrap();
            let plan = |rounding, blocks| plan(profile, rounding, blocks, 2688.0).is_some();
            assert_eq!(plan(Rounding::Nearest, Blocks::Row), planned, "{format} {text}");
            assert!(!plan(Rounding::Nearest, Blocks::Tile), "{format} {text}");
            assert!(!plan(roundings()[1], Blocks::Row), "{format} {text}");
        }
    }

    /// The default profiles have kernels that were compiled for their kind of scales.
    #[test]
    fn default_profiles_have_a_form_of_their_own() {
        for (name, format) in Format::NAMED {
            let expected = if format.scale() == Scale::E8M0 { Form::Mx } else { Form::Nv };
            for rounding in roundings() {
                let profile = Profile::default_for(format);
                let plan = plan(profile, rounding, Blocks::Row, 2688.0).unwrap();
                assert_eq!(plan.form(), expected, "{name} {rounding:?}");
            }
        }
    }
}
