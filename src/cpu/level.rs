//! Which instructions the host path uses.

use crate::error::{Error, Result};
use core::fmt;
use core::str::FromStr;
use std::sync::OnceLock;

/// A set of instructions that the host path is compiled for.
///
/// | level | instructions | vector |
/// |---|---|---|
/// | `portable` | what the target always has | the compiler's |
/// | `avx2` | AVX2, FMA, F16C | 32 bytes |
/// | `avx512` | AVX-512 F, BW, DQ, VL, VBMI | 64 bytes |
///
/// All levels write the same bytes. The best one that the processor has is taken unless
/// [`Cpu::level`](crate::Cpu::level) or the variable `BLOCKSCALE_CPU_LEVEL` says otherwise.
///
/// ```
/// use blockscale::Level;
/// assert!(Level::Portable.is_available());
/// assert_eq!("avx2".parse::<Level>()?, Level::Avx2);
/// assert!(Level::best() >= Level::Portable);
/// # Ok::<(), blockscale::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// What every processor of the target has.
    Portable,
    /// AVX2, FMA and F16C.
    Avx2,
    /// AVX-512 F, BW, DQ, VL and VBMI.
    Avx512,
}

impl Level {
    /// Every level with its name, the slowest first.
    pub const NAMED: [(&'static str, Self); 3] =
        [("portable", Self::Portable), ("avx2", Self::Avx2), ("avx512", Self::Avx512)];

    /// The variable that names [`Level::default`].
    pub const VARIABLE: &'static str = "BLOCKSCALE_CPU_LEVEL";

    /// Whether this processor has it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                Self::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vbmi")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => false,
        }
    }

    /// The best that this processor has.
    pub fn best() -> Self {
        let mut levels = Self::NAMED.into_iter().rev();
        levels.find(|(_, level)| level.is_available()).map_or(Self::Portable, |(_, level)| level)
    }

    /// What [`VARIABLE`](Self::VARIABLE) asks for, `None` where it is not set or empty.
    ///
    /// # Errors
    /// [`Error::UnknownName`]; [`Error::InvalidValue`] for a level that this processor lacks.
    pub fn from_environment() -> Result<Option<Self>> {
        let name = std::env::var_os(Self::VARIABLE).filter(|name| !name.is_empty());
        let Some(name) = name else { return Ok(None) };
        name.to_string_lossy().parse::<Self>()?.require().map(Some)
    }

    /// The level itself, where the processor has it.
    pub(crate) fn require(self) -> Result<Self> {
        match self.is_available() {
            true => Ok(self),
            false => Err(Error::InvalidValue {
                what: "the level of the CPU backend",
                given: self.to_string(),
                rule: "this processor lacks its instructions; 'portable' always works",
            }),
        }
    }
}

/// The best level, or what [`Level::VARIABLE`] names; read once. A name that is none, or that the
/// processor lacks, counts as not given ([`Level::from_environment`] tells).
impl Default for Level {
    fn default() -> Self {
        static DEFAULT: OnceLock<Level> = OnceLock::new();
        *DEFAULT.get_or_init(|| Self::from_environment().ok().flatten().unwrap_or_else(Self::best))
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMED[*self as usize].0)
    }
}

impl FromStr for Level {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let named = Self::NAMED.iter().find(|(name, _)| *name == text);
        named.map(|(_, level)| *level).ok_or_else(|| Error::UnknownName {
            kind: "level of the CPU backend",
            given: text.to_owned(),
            known: Self::NAMED.map(|(name, _)| name).join(", "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for (name, level) in Level::NAMED {
            assert_eq!(level.to_string(), name);
            assert_eq!(name.parse::<Level>().unwrap(), level);
            assert_eq!(level.require().is_ok(), level <= Level::best());
        }
        assert!("sse2".parse::<Level>().is_err());
    }
}
