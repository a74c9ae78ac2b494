//! Pieces of work on threads.

use super::Cpu;
use crate::error::Result;

/// Below this many elements the work is not worth a second thread.
#[cfg(feature = "parallel")]
const SERIAL: usize = 1 << 17;

/// Threads for so many elements: as many as `cpu` and the pool at hand allow, or one.
pub(super) fn threads(cpu: Cpu, elements: usize) -> usize {
    #[cfg(feature = "parallel")]
    if elements > SERIAL && cpu.chosen_threads().is_none_or(|threads| threads.get() > 1) {
        let limit = cpu.chosen_threads().map_or(usize::MAX, core::num::NonZeroUsize::get);
        return rayon::current_num_threads().min(limit);
    }
    let _ = (cpu, elements);
    1
}

/// Does every piece, in any order, on the [`threads`] for so many elements: in the caller's own thread if that
/// is one.
pub(super) fn for_each<P: Send>(
    cpu: Cpu,
    elements: usize,
    pieces: impl Iterator<Item = P> + Send,
    work: impl Fn(P) -> Result<()> + Sync,
) -> Result<()> {
    let mut pieces = pieces;
    match threads(cpu, elements) {
        #[cfg(feature = "parallel")]
        threads @ 2.. => parallel::for_each(threads, pieces, work),
        _ => pieces.try_for_each(work),
    }
}

#[cfg(feature = "parallel")]
mod parallel {
    use crate::cpu::FloatEnvironment;
    use crate::error::Result;
    use rayon::prelude::*;
    use std::collections::VecDeque;
    use std::sync::{Mutex, PoisonError};

    /// Each of `threads` jobs takes pieces until there are none: those of its own part from the front, so that
    /// it goes through memory in order, and then those of others from their ends.
    pub(super) fn for_each<P: Send>(
        threads: usize,
        pieces: impl Iterator<Item = P> + Send,
        work: impl Fn(P) -> Result<()> + Sync,
    ) -> Result<()> {
        let mut pieces: VecDeque<P> = pieces.collect();
        let share = pieces.len().div_ceil(threads);
        let parts = (0..threads).map(|_| {
            let behind = pieces.split_off(share.min(pieces.len()));
            Mutex::new(core::mem::replace(&mut pieces, behind))
        });
        let parts: Vec<_> = parts.collect();
        let part = |i: usize| parts[i % threads].lock().unwrap_or_else(PoisonError::into_inner);
        (0..threads).into_par_iter().with_max_len(1).try_for_each(|own| {
            let _ieee = FloatEnvironment::ieee();
            let next = || {
                let first = part(own).pop_front();
                first.or_else(|| (1..threads).find_map(|other| part(own + other).pop_back()))
            };
            while let Some(piece) = next() {
                work(piece)?;
            }
            Ok(())
        })
    }
}
