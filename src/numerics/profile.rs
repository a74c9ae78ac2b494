//! A profile: a format and every numerical decision that fixes its bytes.

use super::knobs::{
    DecodeRule, ElementMap, Headroom, Knob, NonFinite, ScaleCast, ScaleRange, ScaleRule, Search,
    SignRule, TensorRule,
};
use super::matrix;
use crate::error::{Error, Result};
use crate::format::{Element, Format, Scale, Ties};
use core::fmt;

/// What bytes come out: plain data, so that any decision can be altered, and a name.
///
/// A named profile equals, byte for byte on finite inputs with nearest rounding, the
/// implementation it is named after; docs/profiles.md has each one's steps, version and quirks.
/// Once a knob is altered the profile prints as `NAME+knob=value` and claims no such parity.
///
/// ```
/// use blockscale::format::Format;
/// use blockscale::numerics::{Profile, ScaleRule};
/// let mut profile = Profile::default_for(Format::MXFP4);
/// assert_eq!(profile.to_string(), "rceil");
/// profile.scale = ScaleRule::Even;
/// assert_eq!(profile.to_string(), "rceil+scale=even");
/// assert_eq!(Profile::parse(Format::MXFP4, "rceil+scale=even")?, profile);
///
/// let refused = Profile::named(Format::MXINT6, "even").unwrap_err();
/// assert_eq!(refused.to_string(), "mxint6 has no profile 'even'; it has: ceil, ocp");
/// # Ok::<(), blockscale::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Profile {
    /// The named profile that this one is, or was altered from.
    pub(crate) name: &'static str,
    /// What the bits mean.
    pub(crate) format: Format,
    /// How the tensor scale follows from the tensor's amax.
    pub tensor: TensorRule,
    /// The block scale of a block that holds the tensor's amax: T = fl(max · bound).
    pub bound: f32,
    /// How the block scale follows from the block's amax.
    pub scale: ScaleRule,
    /// How a quotient becomes the code of a float scale.
    pub cast: ScaleCast,
    /// What keeps a float scale away from zero.
    pub range: ScaleRange,
    /// Room kept between the block's amax and the largest element.
    pub headroom: Headroom,
    /// What NaN and Inf do.
    pub nonfinite: NonFinite,
    /// How an element is scaled before it is rounded.
    pub map: ElementMap,
    /// What nearest rounding does with ties.
    pub ties: Ties,
    /// When a code carries the sign bit.
    pub sign: SignRule,
    /// Whether several block scales are tried.
    pub search: Search,
    /// The order of products on decode.
    pub decode: DecodeRule,
}

/// One knob's place in a [`Profile`].
struct Entry {
    key: &'static str,
    get: fn(&Profile) -> String,
    set: fn(&mut Profile, &str) -> Result<()>,
}

macro_rules! entry {
    ($field:ident: $knob:ty) => {
        Entry {
            key: <$knob as Knob>::KEY,
            get: |profile| profile.$field.name().to_owned(),
            set: |profile, text| {
                profile.$field = <$knob as Knob>::parse(text)?;
                Ok(())
            },
        }
    };
}

/// Every knob, in the order in which altered ones print.
const KNOBS: [Entry; 12] = [
    entry!(tensor: TensorRule),
    Entry {
        key: "bound",
        get: |profile| profile.bound.to_string(),
        set: |profile, text| {
            profile.bound = text.parse().map_err(|_| Error::InvalidValue {
                what: "the knob 'bound'",
                given: format!("'{text}'"),
                rule: "expected a number such as 448 or 256",
            })?;
            Ok(())
        },
    },
    entry!(scale: ScaleRule),
    entry!(cast: ScaleCast),
    entry!(range: ScaleRange),
    entry!(headroom: Headroom),
    entry!(nonfinite: NonFinite),
    entry!(map: ElementMap),
    entry!(ties: Ties),
    entry!(sign: SignRule),
    entry!(search: Search),
    entry!(decode: DecodeRule),
];

impl Profile {
    /// The profiles of a format, the default first. A built format has those that name no
    /// implementation: with a tensor scale `two-level`; else `rceil`, `ocp`, `ceil`, `even`
    /// (integers: `ceil`, `ocp`) with E8M0 scales, and `direct` with others.
    pub fn all(format: Format) -> Vec<Self> {
        matrix::profiles(format)
    }

    /// The format's default profile.
    pub fn default_for(format: Format) -> Self {
        Self::all(format)[0]
    }

    /// The profile of that name.
    ///
    /// # Errors
    /// [`Error::UnknownProfile`], which lists those of the format.
    pub fn named(format: Format, name: &str) -> Result<Self> {
        let all = Self::all(format);
        let named = all.iter().find(|profile| profile.name == name);
        named.copied().ok_or_else(|| Error::UnknownProfile {
            format: format.to_string(),
            given: name.to_owned(),
            known: all.iter().map(|profile| profile.name).collect::<Vec<_>>().join(", "),
        })
    }

    /// Reads `NAME` or `NAME+knob=value+…`, as [`Profile`] prints.
    ///
    /// # Errors
    /// [`Error::UnknownProfile`], [`Error::UnknownName`] for a knob or a value, and those of
    /// [`Profile::check`].
    pub fn parse(format: Format, text: &str) -> Result<Self> {
        let mut parts = text.split('+');
        let mut profile = Self::named(format, parts.next().unwrap_or_default())?;
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let entry = KNOBS.iter().find(|entry| entry.key == key);
            let entry = entry.ok_or_else(|| Error::UnknownName {
                kind: "knob",
                given: key.to_owned(),
                known: KNOBS.iter().map(|entry| entry.key).collect::<Vec<_>>().join(", "),
            })?;
            (entry.set)(&mut profile, value)?;
        }
        profile.check()?;
        Ok(profile)
    }

    /// The named profile that this one is, or was altered from.
    pub const fn name(&self) -> &'static str {
        self.name
    }
    /// What the bits mean.
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Whether no knob differs from the named profile.
    pub fn is_named(&self) -> bool {
        Self::named(self.format, self.name).as_ref() == Ok(self)
    }

    /// Whether the knobs agree with each other and with the format.
    ///
    /// # Errors
    /// [`Error::InvalidProfile`] with the rule that is broken.
    pub fn check(&self) -> Result<()> {
        let element = self.format.element();
        let scale = self.format.scale();
        let e8m0 = scale == Scale::E8M0;
        let headroom_fits = match self.headroom {
            Headroom::None => true,
            Headroom::ThreeQuarters => {
                let binade = crate::format::exp2(element.emax()) as f32;
                e8m0 && self.scale == ScaleRule::Floor && element.max() >= 1.5 * binade
            }
            Headroom::SixteenSeventeenths => scale.float().is_some(),
        };
        let search_fits = match self.search {
            Search::None => true,
            Search::FourOverSixMse | Search::FourOverSixMae | Search::FourOverSixAbsmax => {
                element == Element::E2M1 && scale.float().is_some()
            }
            Search::Sweep => scale != Scale::F32,
            Search::Clip => e8m0,
        };
        let decode_fits = match self.decode {
            DecodeRule::Scale | DecodeRule::Halved => self.tensor == TensorRule::None,
            DecodeRule::FoldedAmax | DecodeRule::AmaxLast => self.tensor == TensorRule::Amax,
            DecodeRule::TimesDecode | DecodeRule::TimesDecodePlusZero => {
                self.tensor == TensorRule::Decode
            }
            DecodeRule::OverEncode => self.tensor == TensorRule::Encode,
        };
        let rules = [
            (
                self.scale.is_power_of_two() == e8m0,
                "an exponent rule goes with E8M0 scales, a quotient rule with the others",
            ),
            (
                self.scale != ScaleRule::IntegerCeil || matches!(element, Element::Int(_)),
                "scale=integer-ceil needs an integer element",
            ),
            (
                !matches!(self.scale, ScaleRule::RmsFloor | ScaleRule::RmsNearest)
                    || element == Element::E2M1,
                "scale=rms-* is fitted to E2M1 elements",
            ),
            (
                self.tensor == TensorRule::None || self.format.has_tensor_scale(),
                "a tensor rule needs a format that has a tensor scale",
            ),
            (
                self.tensor == TensorRule::None || self.scale != ScaleRule::Plain,
                "scale=plain leaves a tensor scale out; folded-encode, times-encode, over-decode and \
                 over-product use it",
            ),
            (
                self.tensor == TensorRule::None
                    || !matches!(self.map, ElementMap::Exponent | ElementMap::NearestProduct),
                "map=exponent and map=nearest-product leave a tensor scale out; the others use it",
            ),
            (
                self.bound > 0.0 && self.tensor_target().is_finite(),
                "bound must be above zero and bound · max finite",
            ),
            (self.cast == ScaleCast::Rne || scale == Scale::E4M3, "cast=half-up needs E4M3 scales"),
            (
                headroom_fits,
                "headroom=3/4 needs scale=floor and an element with max >= 1.5 · 2^emax, \
                 headroom=16/17 a float scale",
            ),
            (self.map != ElementMap::Exponent || e8m0, "map=exponent needs E8M0 scales"),
            (
                self.headroom != Headroom::ThreeQuarters || self.map == ElementMap::Exponent,
                "headroom=3/4 needs map=exponent",
            ),
            (
                search_fits,
                "search=four-over-six-* needs E2M1 elements and a float scale, search=sweep a scale of \
                 one byte, search=clip E8M0 scales",
            ),
            (
                decode_fits,
                "decode must use what the tensor rule stores: scale and halved with none, \
                 folded-amax and amax-last with amax, times-decode* with decode, over-encode with \
                 encode",
            ),
            (
                self.decode != DecodeRule::Halved || self.headroom == Headroom::None,
                "decode=halved goes without headroom",
            ),
            (
                self.decode != DecodeRule::Halved || matches!(scale, Scale::E8M0 | Scale::E4M3),
                "decode=halved needs E8M0 or E4M3 scales",
            ),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            None => Ok(()),
            Some((_, rule)) => Err(Error::InvalidProfile {
                profile: self.to_string(),
                format: self.format.to_string(),
                rule,
            }),
        }
    }

    /// Why stochastic rounding under this profile would be biased; `None` where it is not.
    ///
    /// What is left out of account, being below what a draw can express or at the ends of f32:
    /// the truncation of an n-bit draw (low by up to 2⁻ⁿ of a step); one ulp of f32 at a block's
    /// largest element; an amax beyond the largest element at scale 2¹²⁷; with a tensor scale, an
    /// amax below T / FLT_MAX (about 8e-36), which the tensor scale cannot express; a given amax
    /// that the tensor exceeds.
    ///
    /// ```
    /// use blockscale::format::Format;
    /// use blockscale::numerics::Profile;
    /// assert!(Profile::named(Format::MXFP4, "rceil")?.bias().is_none());
    /// assert!(Profile::named(Format::MXFP4, "ocp")?.bias().is_some());
    /// assert!(Profile::parse(Format::MXFP4, "ocp+headroom=3/4")?.bias().is_none());
    /// assert!(Profile::parse(Format::NVFP4, "torchao+headroom=16/17")?.bias().is_none());
    /// # Ok::<(), blockscale::Error>(())
    /// ```
    pub fn bias(&self) -> Option<&'static str> {
        if self.search != Search::None {
            return Some("it chooses the block scale by the error of nearest rounding");
        }
        let clips = match self.scale {
            ScaleRule::Rceil | ScaleRule::IntegerCeil => false,
            // With emax = 0 the scale of an amax above 2^127 does not exist, so it clips.
            ScaleRule::Ceil => self.format.element().emax() <= 0,
            ScaleRule::Floor => self.headroom != Headroom::ThreeQuarters,
            _ if self.format.scale() == Scale::F32 => false,
            // One level: nothing keeps amax/max below the largest scale; and no other rule of E8M0
            // scales rounds them up.
            _ if self.tensor == TensorRule::None => true,
            // amax/max · S is at most the bound.
            _ => {
                let most = self.format.scale().float().map_or(f32::INFINITY, |float| float.max());
                self.headroom != Headroom::SixteenSeventeenths
                    || self.cast != ScaleCast::Rne
                    || self.bound > most
            }
        };
        clips.then_some("its block scale can be smaller than amax/max, so large elements clip")
    }

    /// Fails where [`bias`](Self::bias) finds a reason.
    ///
    /// # Errors
    /// [`Error::NotUnbiased`].
    pub fn require_unbiased(&self) -> Result<()> {
        match self.bias() {
            None => Ok(()),
            Some(reason) => Err(Error::NotUnbiased {
                profile: self.to_string(),
                format: self.format.to_string(),
                reason,
                instead: match (self.format.scale(), self.format.element()) {
                    (Scale::E8M0, Element::Float(_)) => "rceil, ceil or ocp+headroom=3/4",
                    (Scale::E8M0, Element::Int(_)) => "ceil",
                    _ => "a profile with a tensor scale, without search, with +headroom=16/17",
                },
            }),
        }
    }

    /// The value that a block's amax is mapped to: the element's largest, less the headroom.
    pub(crate) fn target(&self) -> f32 {
        match self.headroom {
            Headroom::SixteenSeventeenths => self.format.element().max() * (16.0 / 17.0),
            Headroom::None | Headroom::ThreeQuarters => self.format.element().max(),
        }
    }

    /// T = fl(max · bound), what the tensor's amax is mapped to.
    pub(crate) fn tensor_target(&self) -> f32 {
        self.target() * self.bound
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        let Ok(named) = Self::named(self.format, self.name) else { return Ok(()) };
        for entry in &KNOBS {
            let value = (entry.get)(self);
            if value != (entry.get)(&named) {
                write!(f, "+{}={value}", entry.key)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_profile_is_sound_and_reads_back() {
        for (_, format) in Format::NAMED {
            for profile in Profile::all(format) {
                profile.check().unwrap();
                assert!(profile.is_named());
                assert_eq!(profile.format(), format);
                assert_eq!(profile.to_string(), profile.name());
                assert_eq!(Profile::parse(format, profile.name()).unwrap(), profile);
            }
            assert_eq!(Profile::default_for(format), Profile::all(format)[0]);
        }
    }

    #[test]
    fn every_knob_prints_and_reads_back() {
        let altered = "rceil+scale=floor+headroom=3/4+nonfinite=neutral+ties=away+sign=negative";
        let profile = Profile::parse(Format::MXFP4, altered).unwrap();
        assert_eq!(profile.to_string(), altered);
        assert!(!profile.is_named());
        let altered = "torchao+tensor=amax+bound=256+scale=over-product+cast=half-up+range=plain\
                       +headroom=16/17+map=over-product+search=four-over-six-mae+decode=amax-last";
        let profile = Profile::parse(Format::NVFP4, altered).unwrap();
        assert_eq!(profile.to_string(), altered);
        for text in ["rceil+ties=odd", "rceil+tie=even", "rceil+ties", "rceil+", "Rceil", ""] {
            assert!(Profile::parse(Format::MXFP4, text).is_err(), "{text}");
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let refused = [
            ("mxfp4", "rceil+scale=plain"),
            ("mxfp4", "rceil+scale=integer-ceil"),
            ("mxfp8-e4m3", "rceil+scale=rms-floor"),
            ("mxfp4", "rceil+tensor=amax"),
            ("mxfp4", "rceil+cast=half-up"),
            ("mxfp4", "rceil+headroom=3/4"),
            ("mxint8", "ocp+scale=ceil+headroom=3/4"),
            ("e3m0fx32:e8m0", "ocp+headroom=3/4"),
            ("mxfp4", "rceil+headroom=16/17"),
            ("mxfp4", "ocp+headroom=3/4+map=reciprocal-zero"),
            ("mxfp4", "rceil+search=four-over-six-mse"),
            ("mxfp4", "rceil+decode=times-decode"),
            ("mxfp4", "ocp+headroom=3/4+decode=halved"),
            ("nvfp4", "torchao+map=exponent"),
            ("nvfp4", "torchao+map=nearest-product"),
            ("nvfp4", "torchao+scale=plain"),
            ("e2m1x32:e8m0+tensor", "two-level+map=exponent"),
            ("nvfp4", "torchao+bound=0"),
            ("nvfp4", "torchao+bound=NaN"),
            ("nvfp4", "torchao+bound=inf"),
            ("nvfp4", "torchao+bound=1e38"),
            ("nvfp4", "torchao+bound=x"),
            ("nvfp4", "torchao+decode=scale"),
            ("nvfp4", "torchao+decode=folded-amax"),
            ("nvfp4", "torchao+decode=over-encode"),
            ("nvfp4", "torchao+tensor=none"),
            ("nvint4", "four-over-six+search=four-over-six-mse"),
            ("fp4-ue5m3", "direct+cast=half-up"),
            ("fp4-ue5m3", "direct+decode=halved"),
            ("e2m1x16:f32", "direct+headroom=16/17"),
            ("e2m1x16:f32", "direct+search=four-over-six-mse"),
        ];
        for (format, text) in refused {
            let refused = Profile::parse(format.parse().unwrap(), text);
            assert!(refused.is_err(), "{format} {text}");
        }
        let accepted = [
            ("mxfp4", "ocp+headroom=3/4"),
            ("mxint8", "ocp+headroom=3/4"),
            ("mxfp4", "rceil+map=reciprocal-zero"),
            ("mxfp4", "rceil+scale=rms-nearest"),
            ("mxfp4", "rceil+decode=halved"),
            ("nvfp4", "torchao+headroom=16/17"),
            ("fp4-ue5m3", "direct+headroom=16/17"),
            ("e2m1x16:f32", "direct"),
        ];
        for (format, text) in accepted {
            Profile::parse(format.parse().unwrap(), text).unwrap();
        }
    }

    #[test]
    fn bias_is_told_for_every_profile() {
        let unbiased: Vec<String> = Format::NAMED
            .iter()
            .flat_map(|(_, format)| Profile::all(*format))
            .filter(|profile| profile.require_unbiased().is_ok())
            .map(|profile| format!("{} {profile}", profile.format()))
            .collect();
        let mut expected = Vec::new();
        for format in ["mxfp8-e4m3", "mxfp8-e5m2", "mxfp6-e2m3", "mxfp6-e3m2", "mxfp4"] {
            expected.extend([format!("{format} rceil"), format!("{format} ceil")]);
        }
        for format in ["mxint8", "mxint6", "mxint4"] {
            expected.push(format!("{format} ceil"));
        }
        assert_eq!(unbiased, expected);

        let bias = |format, text| Profile::parse(format, text).unwrap().bias().is_some();
        assert!(!bias(Format::NVFP4, "transformer-engine+headroom=16/17"));
        assert!(bias(Format::NVFP4, "transformer-engine+headroom=16/17+cast=half-up"));
        assert!(bias(Format::NVFP4, "four-over-six-mse+headroom=16/17"));
        assert!(bias(Format::FP4_UE5M3, "direct+headroom=16/17"));
        assert!(!bias(Format::FP4_UE5M3_TENSOR, "two-level+headroom=16/17"));
        assert!(bias(Format::MXINT8, "ceil+scale=ceil"));
        assert!(bias(Format::MXFP4, "rceil+scale=rms-floor"));
        assert!(bias(Format::NVFP4, "torchao+headroom=16/17+bound=449"));
        assert!(!bias(Format::NVFP4, "torchao+headroom=16/17+bound=448"));
        assert!(bias(Format::FP4_UE5M3_TENSOR, "two-level+headroom=16/17+bound=1000000"));
        assert!(!bias("e2m1x32:e8m0+tensor".parse().unwrap(), "two-level"));
        assert!(bias(Format::MXFP4, "ocp"));
        assert!(!bias(Format::MXFP4, "ocp+headroom=3/4"));
        assert!(!bias("e2m1x16:f32".parse().unwrap(), "direct"));
        let rows = [
            (Format::NVFP4, "ggml", "use a profile with a tensor scale"),
            (Format::MXFP4, "even", "use rceil, ceil or ocp+headroom=3/4"),
            (Format::MXINT8, "ocp", "use ceil,"),
        ];
        for (format, name, advice) in rows {
            let refused = Profile::named(format, name).unwrap().require_unbiased().unwrap_err();
            assert!(refused.to_string().contains(advice), "{refused}");
        }
    }
}
