//! How the host path is to work: which instructions, how many threads.

use super::Level;
use crate::error::Result;
use core::num::NonZeroUsize;

/// The host path's choices; none of them changes a byte of any result.
///
/// ```
/// use blockscale::format::Format;
/// use blockscale::numerics::Profile;
/// use blockscale::{Cpu, Level, Quantize};
/// use core::num::NonZeroUsize;
/// let one = Cpu::new().level(Level::Portable)?.threads(NonZeroUsize::MIN);
/// let quantize = Quantize::new(Profile::default_for(Format::MXFP4));
/// let x = [0.4f32, -7.0];
/// assert_eq!(quantize.backend(one).run(&x, &[2])?, quantize.run(&x, &[2])?);
/// # Ok::<(), blockscale::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Cpu {
    level: Option<Level>,
    threads: Option<NonZeroUsize>,
}

impl Cpu {
    /// The default level, and all threads of the pool that the call is made in, or of the global one.
    pub const fn new() -> Self {
        Self { level: None, threads: None }
    }

    /// Forces a level.
    ///
    /// # Errors
    /// [`Error::InvalidValue`](crate::Error::InvalidValue) where the processor lacks it.
    pub fn level(self, level: Level) -> Result<Self> {
        Ok(Self { level: Some(level.require()?), ..self })
    }

    /// At most so many threads at once. With one the caller's own thread does the work, as it does for
    /// small tensors and without feature `parallel`. With several the work runs on the threads of rayon's
    /// pool that the call is made in
    /// ([`rayon::ThreadPool::install`](https://docs.rs/rayon/latest/rayon/struct.ThreadPool.html)), or of
    /// its global pool; a caller that is none of them waits.
    pub const fn threads(self, threads: NonZeroUsize) -> Self {
        Self { threads: Some(threads), ..self }
    }

    /// The level in use.
    pub fn chosen_level(self) -> Level {
        self.level.unwrap_or_default()
    }

    /// The limit of threads, if there is one.
    pub const fn chosen_threads(self) -> Option<NonZeroUsize> {
        self.threads
    }
}
