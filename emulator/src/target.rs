//! Compute capabilities, PTX targets and which instruction exists on which of them.

use std::fmt;

/// A device's compute capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ComputeCapability {
    /// Before the dot.
    pub major: u32,
    /// After the dot.
    pub minor: u32,
}

impl ComputeCapability {
    /// Reads `9.0`.
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.trim().split_once('.')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }

    fn number(self) -> u32 {
        self.major * 10 + self.minor
    }
}

/// The suffix of a target: what the code may use beyond the portable set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Portable,
    Family,
    Exact,
}

/// The operand of a `.target` directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    number: u32,
    reach: Reach,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = match self.reach {
            Reach::Portable => "",
            Reach::Family => "f",
            Reach::Exact => "a",
        };
        write!(f, "sm_{}{suffix}", self.number)
    }
}

impl Target {
    /// Reads `sm_90a`.
    pub fn parse(text: &str) -> Option<Self> {
        let name = text.strip_prefix("sm_")?;
        let (digits, reach) = match name.as_bytes().last()? {
            b'a' => (&name[..name.len() - 1], Reach::Exact),
            b'f' => (&name[..name.len() - 1], Reach::Family),
            _ => (name, Reach::Portable),
        };
        Some(Self { number: digits.parse().ok()?, reach })
    }

    /// Whether a device can run code for this target: any later one the portable code, later
    /// minors of the same major the family code, and only the named one the `a` code.
    pub fn runs_on(self, device: ComputeCapability) -> bool {
        match self.reach {
            Reach::Portable => device.number() >= self.number,
            Reach::Family => device.number() >= self.number && device.major == self.number / 10,
            Reach::Exact => device.number() == self.number,
        }
    }

    /// Whether the target has a feature.
    pub fn has(self, feature: Feature) -> bool {
        let major = self.number / 10;
        let special = self.reach != Reach::Portable;
        let exact = self.reach == Reach::Exact;
        match feature {
            Feature::Sm(number) => self.number >= number,
            Feature::NarrowConversions => special && self.number >= 100,
            Feature::StochasticConversions => exact && matches!(self.number, 100 | 103 | 107),
            Feature::FloatReduction => special && matches!(self.number, 100 | 103 | 107),
            Feature::BlockScaledMma => special && major == 12,
            Feature::RegisterReallocation => special && self.number >= 90,
        }
    }
}

/// Groups of instructions that appear and disappear together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Everything from this target number on.
    Sm(u32),
    /// `cvt` from and to FP4, FP6 and UE8M0.
    NarrowConversions,
    /// `cvt.rs`.
    StochasticConversions,
    /// `redux.sync` of f32.
    FloatReduction,
    /// `mma.sync` with `.kind`.
    BlockScaledMma,
    /// `setmaxnreg`.
    RegisterReallocation,
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sm(number) => write!(f, "sm_{number} or later"),
            Self::NarrowConversions => f.write_str("an a or f target from sm_100 on"),
            Self::StochasticConversions => f.write_str("sm_100a, sm_103a or sm_107a"),
            Self::FloatReduction => f.write_str("an a or f target of sm_100, sm_103 or sm_107"),
            Self::BlockScaledMma => f.write_str("an a or f target of sm_120 or sm_121"),
            Self::RegisterReallocation => f.write_str("an a or f target from sm_90 on"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_code_runs_where() {
        let runs = |target: &str, device: &str| {
            Target::parse(target).unwrap().runs_on(ComputeCapability::parse(device).unwrap())
        };
        assert!(runs("sm_80", "9.0") && runs("sm_80", "12.0") && !runs("sm_90", "8.0"));
        assert!(runs("sm_90a", "9.0") && !runs("sm_90a", "10.0"));
        assert!(runs("sm_100f", "10.3") && !runs("sm_100f", "12.0") && !runs("sm_103f", "10.0"));
    }

    #[test]
    fn feature_table() {
        let has = |target: &str, feature| Target::parse(target).unwrap().has(feature);
        assert!(
            !has("sm_100", Feature::NarrowConversions)
                && has("sm_120f", Feature::NarrowConversions)
        );
        assert!(has("sm_103a", Feature::StochasticConversions));
        assert!(
            !has("sm_100f", Feature::StochasticConversions)
                && !has("sm_120a", Feature::StochasticConversions)
        );
        assert!(
            has("sm_120a", Feature::BlockScaledMma) && !has("sm_100a", Feature::BlockScaledMma)
        );
    }
}
