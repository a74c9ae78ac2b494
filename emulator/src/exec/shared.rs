//! Shared memory of a block and the checks on it.

use super::stop::{Step, stop};
use crate::check::race::{Access, Races};
use crate::error::FaultKind;
use crate::isa::Space;

/// Per byte: whether it was written, and how many `cp.async` are on their way to it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct State {
    written: bool,
    in_flight: u8,
}

/// The memory and what is known of every byte.
#[derive(Default)]
pub(super) struct SharedMemory {
    bytes: Vec<u8>,
    states: Vec<State>,
    pub races: Races,
}

impl SharedMemory {
    pub fn reset(&mut self, bytes: usize, warps: usize) {
        self.bytes.clear();
        // Undefined content: reading it is refused, so the value is of no matter.
        self.bytes.resize(bytes, 0xff);
        self.states.clear();
        self.states.resize(bytes, State::default());
        self.races.reset(bytes, warps);
    }

    /// Checks bounds and alignment.
    pub fn check(
        &self,
        thread: u32,
        address: u64,
        bytes: u32,
        access: &'static str,
    ) -> Step<usize> {
        let lane = thread % 32;
        if address + u64::from(bytes) > self.bytes.len() as u64 {
            let hint = format!("; the block has {} bytes", self.bytes.len());
            return stop(
                lane,
                FaultKind::OutOfBounds { access, space: Space::Shared, address, bytes, hint },
            );
        }
        if !address.is_multiple_of(u64::from(bytes)) {
            return stop(lane, FaultKind::Misaligned { access, address, bytes });
        }
        Ok(address as usize)
    }

    fn record(&mut self, byte: usize, thread: u32, access: Access) -> Step<()> {
        let reads = matches!(access, Access::Read | Access::StrongRead);
        let this = if reads { "read" } else { "write" };
        if self.states[byte].in_flight > 0 {
            return stop(
                thread % 32,
                FaultKind::AsyncNotWaited { access: this, address: byte as u32 },
            );
        }
        self.races.access(byte, thread, access).or_else(|conflict| {
            let other = if conflict.wrote { "write" } else { "read" };
            stop(
                thread % 32,
                FaultKind::SharedRace {
                    address: byte as u32,
                    this,
                    other,
                    thread: conflict.thread,
                },
            )
        })
    }

    /// Reads up to eight bytes.
    pub fn load(&mut self, thread: u32, at: usize, bytes: u32, strong: bool) -> Step<u64> {
        let access = if strong { Access::StrongRead } else { Access::Read };
        let mut word = [0; 8];
        for (index, byte) in word[..bytes as usize].iter_mut().enumerate() {
            if !self.states[at + index].written && self.states[at + index].in_flight == 0 {
                return stop(
                    thread % 32,
                    FaultKind::UninitialisedShared { address: (at + index) as u32 },
                );
            }
            self.record(at + index, thread, access)?;
            *byte = self.bytes[at + index];
        }
        Ok(u64::from_le_bytes(word))
    }

    /// Writes up to eight bytes.
    pub fn store(
        &mut self,
        thread: u32,
        at: usize,
        bytes: u32,
        value: u64,
        strong: bool,
    ) -> Step<()> {
        for (index, byte) in value.to_le_bytes()[..bytes as usize].iter().enumerate() {
            let place = at + index;
            let same = self.states[place].written && self.bytes[place] == *byte;
            let access = if strong { Access::StrongWrite } else { Access::Write { same } };
            self.record(place, thread, access)?;
            self.states[place].written = true;
            self.bytes[place] = *byte;
        }
        Ok(())
    }

    /// A `cp.async` to these bytes has been issued: until it is waited for nobody may touch them.
    pub fn begin_copy(&mut self, thread: u32, at: usize, bytes: u32) -> Step<()> {
        for place in at..at + bytes as usize {
            self.record(place, thread, Access::Write { same: false })?;
            self.states[place].in_flight += 1;
        }
        Ok(())
    }

    /// The copy has been waited for.
    pub fn finish_copy(&mut self, thread: u32, at: usize, data: &[u8]) -> Step<()> {
        for (index, byte) in data.iter().enumerate() {
            let place = at + index;
            self.states[place].in_flight -= 1;
            self.record(place, thread, Access::Write { same: false })?;
            self.states[place].written = true;
            self.bytes[place] = *byte;
        }
        Ok(())
    }
}

/// How many passes through the 32 banks an access takes, and how many it would take without
/// conflicts. The hardware serves 128 bytes a pass: all lanes for words, half of them for 8-byte
/// accesses, a quarter for 16-byte ones. Lanes that read the same word share it.
pub(super) fn wavefronts(addresses: &[(u32, u64)], bytes: u32) -> (u64, u64) {
    let lanes_per_pass = 32 / (bytes / 4).max(1);
    let (mut passes, mut ideal) = (0, 0);
    for first in (0..32).step_by(lanes_per_pass as usize) {
        let group = first..first + lanes_per_pass;
        let members = addresses.iter().filter(|(lane, _)| group.contains(lane));
        // The distinct words of each bank.
        let mut words = [const { Vec::new() }; 32];
        let mut any = false;
        for (_, address) in members {
            any = true;
            for word in address / 4..(address + u64::from(bytes)).div_ceil(4) {
                let bank: &mut Vec<u64> = &mut words[word as usize % 32];
                if !bank.contains(&word) {
                    bank.push(word);
                }
            }
        }
        passes += words.iter().map(Vec::len).max().unwrap_or(0) as u64;
        ideal += u64::from(any);
    }
    (passes, ideal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(stride: u64, bytes: u32) -> (u64, u64) {
        let list: Vec<_> = (0..32).map(|lane| (lane, u64::from(lane) * stride)).collect();
        wavefronts(&list, bytes)
    }

    #[test]
    fn bank_conflicts_by_stride() {
        assert_eq!(passes(4, 4), (1, 1));
        assert_eq!(passes(8, 4), (2, 1));
        assert_eq!(passes(128, 4), (32, 1));
        assert_eq!(passes(0, 4), (1, 1));
        assert_eq!(passes(132, 4), (1, 1));
        assert_eq!(passes(1, 1), (1, 1));
        assert_eq!(passes(8, 8), (2, 2));
        assert_eq!(passes(16, 16), (4, 4));
        assert_eq!(passes(32, 16), (8, 4));
    }
}
