//! Launches: blocks over worker threads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::block::Worker;
use crate::counters::Counters;
use crate::error::Fault;
use crate::memory::View;
use crate::ptx::{Entry, Module};

/// Settings that bound a launch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Worker threads.
    pub threads: usize,
    /// Warp instructions of one block before it is taken for an endless loop.
    pub steps: u64,
    /// Run blocks and warps from the last to the first.
    pub reversed: bool,
}

/// A kernel with its arguments.
pub(crate) struct Launch<'l> {
    pub module: &'l Module,
    /// Index of the kernel among the module's functions.
    pub function: usize,
    pub entry: &'l Entry,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub dynamic_shared: u32,
    pub arguments: &'l [u8],
    pub memory: View,
    pub multiprocessors: u32,
    /// Virtual time at the start, in nanoseconds.
    pub start_time: u64,
    pub limits: Limits,
    /// Count each instruction's executions.
    pub profiled: bool,
}

impl Launch<'_> {
    /// The index of the n-th block, x fastest.
    fn block_index(&self, number: u64) -> [u32; 3] {
        let [x, y, _] = self.grid.map(u64::from);
        [(number % x) as u32, (number / x % y) as u32, (number / (x * y)) as u32]
    }

    fn blocks(&self) -> u64 {
        self.grid.iter().map(|extent| u64::from(*extent)).product()
    }

    /// Where dynamic shared memory starts.
    pub fn dynamic_shared_start(&self) -> u32 {
        self.entry.shared_bytes.next_multiple_of(16)
    }

    pub fn shared_bytes(&self) -> u32 {
        if self.dynamic_shared == 0 {
            self.entry.shared_bytes
        } else {
            self.dynamic_shared_start() + self.dynamic_shared
        }
    }

    pub fn threads_per_block(&self) -> u32 {
        self.block.iter().product()
    }
}

/// What a launch executed.
#[derive(Default)]
pub(crate) struct Executed {
    pub counters: Counters,
    /// How often warps came to each instruction of the module; empty unless profiled.
    pub profile: Vec<u64>,
}

/// The counts so far, and the first fault with its block.
type Outcome = (Executed, Option<(u64, Box<Fault>)>);

/// Runs all blocks; the first fault ends the launch.
pub(crate) fn run(launch: &Launch<'_>) -> Result<Executed, Box<Fault>> {
    let (blocks, next, failed) = (launch.blocks(), AtomicU64::new(0), AtomicBool::new(false));
    let outcome: Mutex<Outcome> = Mutex::default();
    let work = || {
        let mut worker = Worker::new(launch);
        let mut counters = Counters::default();
        while !failed.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= blocks {
                break;
            }
            let place = if launch.limits.reversed { blocks - 1 - number } else { number };
            if let Err(fault) = worker.run_block(launch.block_index(place), &mut counters) {
                failed.store(true, Ordering::Relaxed);
                let mut outcome = outcome.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                // Of several faults report the one of the first block.
                if outcome.1.as_ref().is_none_or(|(first, _)| place < *first) {
                    outcome.1 = Some((place, fault));
                }
                break;
            }
        }
        let mut outcome = outcome.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        outcome.0.counters.add(&counters);
        let profile = &mut outcome.0.profile;
        profile.resize(worker.profile.len(), 0);
        profile.iter_mut().zip(&worker.profile).for_each(|(sum, count)| *sum += count);
    };
    let threads = (launch.limits.threads as u64).min(blocks).max(1);
    if threads == 1 {
        work();
    } else {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(work);
            }
        });
    }
    let (executed, fault) = outcome.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    match fault {
        Some((_, fault)) => Err(fault),
        None => Ok(executed),
    }
}
