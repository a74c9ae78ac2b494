//! A warp: its threads, in as many groups as control flow has split them into.
//!
//! Threads at the same instruction with the same callers form a fragment. Of several fragments the
//! one deepest in calls and then the lowest in the code runs, until it meets another one and the
//! two become one again. Fragments that wait for other lanes are parked.

use super::registers::Registers;
use super::stop::{Step, lanes, stop};
use crate::error::FaultKind;

/// A caller to return to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// The call instruction.
    pub call: usize,
    pub function: usize,
    pub register_base: usize,
    pub predicate_base: usize,
    pub local_base: usize,
}

/// What a fragment is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    Ready,
    /// At a collective of these lanes.
    Collective {
        members: u32,
    },
    /// At a barrier of the block.
    Barrier {
        id: u32,
        threads: u32,
        aligned: bool,
    },
}

/// Lanes that run together.
#[derive(Clone, Debug)]
pub(super) struct Fragment {
    pub pc: usize,
    pub mask: u32,
    pub function: usize,
    pub register_base: usize,
    pub predicate_base: usize,
    pub local_base: usize,
    pub calls: Vec<Frame>,
    pub wait: Wait,
    /// How often it used up its turn while others waited.
    pub turns: u32,
}

impl Fragment {
    /// Whether two fragments can run as one.
    fn meets(&self, other: &Self) -> bool {
        self.pc == other.pc
            && self.wait == other.wait
            && self.function == other.function
            && self.calls == other.calls
    }

    /// The same place with other lanes.
    pub fn with(&self, mask: u32) -> Self {
        Self { mask, ..self.clone() }
    }
}

/// A `cp.async` that has not been waited for.
pub(super) struct PendingCopy {
    pub lane: u32,
    /// The number of the lane's group it belongs to.
    pub group: u32,
    pub to: usize,
    pub data: [u8; 16],
    pub bytes: u32,
}

/// The threads of a warp.
pub(super) struct Warp {
    pub index: usize,
    /// Lanes that have a thread.
    pub exists: u32,
    pub exited: u32,
    pub registers: Registers,
    pub carry: u32,
    pub fragments: Vec<Fragment>,
    /// Local memory of each lane.
    pub local: Vec<Vec<u8>>,
    pub copies: Vec<PendingCopy>,
    /// Groups that each lane has committed.
    pub committed: [u32; 32],
}

impl Warp {
    /// A warp with no threads yet.
    pub fn new() -> Self {
        Self {
            index: 0,
            exists: 0,
            exited: 0,
            registers: Registers::default(),
            carry: 0,
            fragments: Vec::new(),
            local: vec![Vec::new(); 32],
            copies: Vec::new(),
            committed: [0; 32],
        }
    }

    /// Makes it a warp of a new block. Registers keep their storage, which is large; what they
    /// hold counts as undefined once a frame is entered.
    pub fn reset(&mut self, index: usize, threads: u32) {
        let here = threads - index as u32 * 32;
        self.index = index;
        self.exists = if here >= 32 { u32::MAX } else { (1 << here) - 1 };
        self.exited = 0;
        self.carry = 0;
        self.fragments.clear();
        self.local.iter_mut().for_each(Vec::clear);
        self.copies.clear();
        self.committed = [0; 32];
    }

    /// Lanes that still run.
    pub fn alive(&self) -> u32 {
        self.exists & !self.exited
    }

    /// The fragment to run next.
    pub fn pick(&self) -> Option<usize> {
        let ready = self.fragments.iter().enumerate().filter(|(_, f)| f.wait == Wait::Ready);
        ready
            .min_by_key(|(_, f)| (f.turns, usize::MAX - f.calls.len(), f.pc))
            .map(|(index, _)| index)
    }

    /// The place before which the running fragment may meet another one.
    pub fn limit(&self, running: &Fragment) -> usize {
        let others = self
            .fragments
            .iter()
            .filter(|f| f.wait == Wait::Ready && f.calls.len() == running.calls.len());
        others.map(|f| f.pc).filter(|pc| *pc > running.pc).min().unwrap_or(usize::MAX)
    }

    /// Whether a fragment that has just jumped should let another one, at or before its place, run.
    pub fn must_yield(&self, running: &Fragment) -> bool {
        let others = self
            .fragments
            .iter()
            .filter(|f| f.wait == Wait::Ready && f.calls.len() >= running.calls.len());
        others.into_iter().any(|f| f.pc <= running.pc && f.turns <= running.turns)
    }

    /// Adds a fragment, joining it with one at the same place.
    pub fn add(&mut self, fragment: Fragment) {
        if fragment.mask == 0 {
            return;
        }
        match self.fragments.iter_mut().find(|other| other.meets(&fragment)) {
            Some(other) => {
                other.mask |= fragment.mask;
                other.turns = other.turns.max(fragment.turns);
            }
            None => self.fragments.push(fragment),
        }
        if self.fragments.len() == 1 {
            self.fragments[0].turns = 0;
        }
    }

    /// Local memory up to a size, for the lanes of a fragment.
    pub fn grow_local(&mut self, mask: u32, bytes: usize) -> Step<()> {
        if bytes > 512 << 10 {
            return stop(
                mask.trailing_zeros(),
                FaultKind::Deadlock("calls nest too deep: local memory exhausted".into()),
            );
        }
        for lane in lanes(mask) {
            if self.local[lane].len() < bytes {
                self.local[lane].resize(bytes, 0xa5);
            }
        }
        Ok(())
    }
}
