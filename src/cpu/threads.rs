//! Pieces of work on threads.

use super::Cpu;
use crate::error::Result;

/// Below this many elements the work is not worth a second thread.
#[cfg(feature = "parallel")]
const SERIAL: usize = 1 << 17;

/// Does every piece, in any order, on as many threads as `cpu` and the pool at hand allow: in the caller's
/// own thread if that is one.
pub(super) fn for_each<P: Send>(
    cpu: Cpu,
    elements: usize,
    pieces: impl Iterator<Item = P> + Send,
    work: impl Fn(P) -> Result<()> + Sync,
) -> Result<()> {
    #[cfg(feature = "parallel")]
    if elements > SERIAL && cpu.chosen_threads().is_none_or(|threads| threads.get() > 1) {
        let limit = cpu.chosen_threads().map_or(usize::MAX, core::num::NonZeroUsize::get);
        let threads = rayon::current_num_threads().min(limit);
        if threads > 1 {
            return parallel::for_each(threads, pieces, work);
        }
    }
    #[cfg(not(feature = "parallel"))]
    let _ = (cpu, elements);
    let mut pieces = pieces;
    pieces.try_for_each(work)
}

#[cfg(feature = "parallel")]
mod parallel {
    use crate::cpu::FloatEnvironment;
    use crate::error::Result;
    use rayon::prelude::*;
    use std::sync::{Mutex, PoisonError};

    /// Each of `threads` jobs takes pieces until there are none.
    pub(super) fn for_each<P: Send>(
        threads: usize,
        pieces: impl Iterator<Item = P> + Send,
        work: impl Fn(P) -> Result<()> + Sync,
    ) -> Result<()> {
        let pieces = Mutex::new(pieces);
        let next = || pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
        (0..threads).into_par_iter().with_max_len(1).try_for_each(|_| {
            let _ieee = FloatEnvironment::ieee();
            while let Some(piece) = next() {
                work(piece)?;
            }
            Ok(())
        })
    }
}
