//! Finds unordered accesses to shared memory.
//!
//! Every warp has a clock that advances whenever lanes of it synchronise. An access is stamped with
//! its thread and its warp's clock. It is ordered before a later access of another thread if that
//! thread has, through `bar.sync` or `bar.warp.sync`, learnt of the warp's clock at that time.
//! Shuffles, votes and the like order no memory accesses and so do not count.

/// Threads of a warp.
const LANES: usize = 32;
/// Marks a stamp of a strong access (atomic, volatile, relaxed ...).
const STRONG: u32 = 1 << 31;
/// A reader field with this bit is an index into the reader sets.
const SET: u32 = 1 << 30;

/// Two accesses that nothing orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// The thread of the earlier access.
    pub thread: u32,
    /// Whether that was a write.
    pub wrote: bool,
}

/// How an access takes part in races.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    /// `same`: the byte keeps its value, so the order among such writes does not matter.
    Write {
        same: bool,
    },
    /// Atomics and volatile or relaxed accesses do not race with each other.
    StrongRead,
    StrongWrite,
}

/// Last accesses of one byte. Thread fields hold the thread plus one; zero means none.
#[derive(Clone, Copy, Default)]
struct Cell {
    /// Accesses of older generations are ordered before everything now.
    generation: u32,
    writer: u32,
    written_at: u32,
    reader: u32,
    read_at: u32,
}

/// For each warp: the clock of its latest read and the lanes that read.
type ReaderSet = Vec<(u32, u32)>;

/// What the lanes of one warp know of each other after `bar.warp.sync` of parts of the warp.
type LaneKnowledge = Box<[[u32; LANES]; LANES]>;

/// The state of one block.
#[derive(Default)]
pub(crate) struct Races {
    cells: Vec<Cell>,
    generation: u32,
    clocks: Vec<u32>,
    /// `known[w * warps + v]`: the clock of warp v that warp w knows of.
    known: Vec<u32>,
    /// Accesses up to here are known to all lanes of the warp.
    floors: Vec<u32>,
    lanes: Vec<Option<LaneKnowledge>>,
    sets: Vec<ReaderSet>,
}

impl Races {
    /// Starts a block.
    pub fn reset(&mut self, bytes: usize, warps: usize) {
        self.cells.resize(bytes, Cell::default());
        self.clocks.clear();
        self.clocks.resize(warps, 1);
        self.known.clear();
        self.known.resize(warps * warps, 0);
        self.floors.clear();
        self.floors.resize(warps, 0);
        self.lanes.clear();
        self.lanes.resize_with(warps, || None);
        self.next_generation();
    }

    fn next_generation(&mut self) {
        self.sets.clear();
        self.generation = self.generation.wrapping_add(1);
        if self.generation == 0 {
            self.cells.fill(Cell::default());
            self.generation = 1;
        }
    }

    /// `bar.warp.sync` of some lanes.
    pub fn sync_lanes(&mut self, warp: usize, lanes: u32, alive: u32) {
        let now = self.clocks[warp];
        if lanes == alive {
            self.floors[warp] = now;
            if self.clocks.len() == 1 {
                self.next_generation();
            }
        } else {
            let table = self.lanes[warp].get_or_insert_with(|| Box::new([[0; LANES]; LANES]));
            let members = || (0..LANES).filter(|lane| lanes >> lane & 1 == 1);
            let mut joined = [0; LANES];
            for row in members() {
                for column in 0..LANES {
                    joined[column] = joined[column].max(table[row][column]);
                }
            }
            for column in members() {
                joined[column] = now;
            }
            for row in members() {
                table[row] = joined;
            }
        }
        self.clocks[warp] = now + 1;
    }

    /// A barrier: `waiting` warps learn what they and the `arrived` warps did.
    pub fn barrier(&mut self, waiting: &[usize], arrived: &[usize]) {
        let warps = self.clocks.len();
        let mut joined = vec![0; warps];
        for &warp in waiting.iter().chain(arrived) {
            let known = &self.known[warp * warps..(warp + 1) * warps];
            for (most, clock) in joined.iter_mut().zip(known) {
                *most = (*most).max(*clock);
            }
        }
        for &warp in waiting.iter().chain(arrived) {
            joined[warp] = joined[warp].max(self.clocks[warp]);
        }
        for &warp in waiting {
            self.known[warp * warps..(warp + 1) * warps].copy_from_slice(&joined);
            self.floors[warp] = self.clocks[warp];
            self.clocks[warp] += 1;
        }
        if waiting.len() == warps {
            self.next_generation();
        }
    }

    /// A warp arrives at a barrier without waiting: what it does next is not covered.
    pub fn arrive(&mut self, warp: usize) {
        self.clocks[warp] += 1;
    }

    #[inline]
    fn ordered(&self, earlier: u32, at: u32, thread: u32) -> bool {
        let (warp, other) = (thread as usize / LANES, earlier as usize / LANES);
        if warp != other {
            return self.known[warp * self.clocks.len() + other] >= at;
        }
        earlier == thread
            || at <= self.floors[warp]
            || self.lanes[warp]
                .as_ref()
                .is_some_and(|table| table[thread as usize % LANES][earlier as usize % LANES] >= at)
    }

    /// Records an access to one byte and checks it against earlier ones.
    #[inline]
    pub fn access(&mut self, byte: usize, thread: u32, access: Access) -> Result<(), Conflict> {
        let now = self.clocks[thread as usize / LANES];
        let mut cell = self.cells[byte];
        if cell.generation != self.generation {
            cell = Cell { generation: self.generation, ..Cell::default() };
        }
        let strong = matches!(access, Access::StrongRead | Access::StrongWrite);
        if cell.writer != 0 {
            let earlier = (cell.writer & !STRONG) - 1;
            let excused =
                (strong && cell.writer & STRONG != 0) || access == (Access::Write { same: true });
            if !excused && !self.ordered(earlier, cell.written_at, thread) {
                return Err(Conflict { thread: earlier, wrote: true });
            }
        }
        match access {
            Access::Read => self.note_read(&mut cell, thread, now),
            Access::StrongRead => {}
            Access::Write { .. } | Access::StrongWrite => {
                self.check_readers(&cell, thread)?;
                let mark = if strong { STRONG } else { 0 };
                cell = Cell {
                    writer: (thread + 1) | mark,
                    written_at: now,
                    reader: 0,
                    read_at: 0,
                    ..cell
                };
            }
        }
        self.cells[byte] = cell;
        Ok(())
    }

    fn note_read(&mut self, cell: &mut Cell, thread: u32, now: u32) {
        if cell.reader & SET == 0 {
            // A read that this one is ordered after needs no record of its own.
            if cell.reader == 0 || self.ordered(cell.reader - 1, cell.read_at, thread) {
                cell.reader = thread + 1;
                cell.read_at = now;
                return;
            }
            let mut set = vec![(0, 0); self.clocks.len()];
            let first = cell.reader - 1;
            set[first as usize / LANES] = (cell.read_at, 1 << (first as usize % LANES));
            cell.reader = SET | self.sets.len() as u32;
            self.sets.push(set);
        }
        let (latest, lanes) =
            &mut self.sets[(cell.reader & !SET) as usize][thread as usize / LANES];
        *latest = now;
        *lanes |= 1 << (thread as usize % LANES);
    }

    fn check_readers(&self, cell: &Cell, thread: u32) -> Result<(), Conflict> {
        if cell.reader == 0 {
            return Ok(());
        }
        if cell.reader & SET == 0 {
            let earlier = cell.reader - 1;
            let fine = self.ordered(earlier, cell.read_at, thread);
            return if fine { Ok(()) } else { Err(Conflict { thread: earlier, wrote: false }) };
        }
        for (warp, (at, lanes)) in self.sets[(cell.reader & !SET) as usize].iter().enumerate() {
            let mut rest = *lanes;
            while rest != 0 {
                let earlier = (warp * LANES) as u32 + rest.trailing_zeros();
                rest &= rest - 1;
                if !self.ordered(earlier, *at, thread) {
                    return Err(Conflict { thread: earlier, wrote: false });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITE: Access = Access::Write { same: false };

    fn block(warps: usize) -> Races {
        let mut races = Races::default();
        races.reset(16, warps);
        races
    }

    #[test]
    fn barrier_orders_write_before_read() {
        let mut races = block(2);
        races.access(0, 5, WRITE).unwrap();
        assert_eq!(races.access(0, 40, Access::Read), Err(Conflict { thread: 5, wrote: true }));
        races.barrier(&[0, 1], &[]);
        races.access(0, 40, Access::Read).unwrap();
        assert_eq!(races.access(0, 5, WRITE), Err(Conflict { thread: 40, wrote: false }));
    }

    #[test]
    fn warp_sync_orders_its_lanes_only() {
        let mut races = block(2);
        races.access(0, 0, WRITE).unwrap();
        races.sync_lanes(0, 0b11, u32::MAX);
        races.access(0, 1, Access::Read).unwrap();
        assert!(races.access(0, 2, Access::Read).is_err());
        races.sync_lanes(0, u32::MAX, u32::MAX);
        races.access(0, 2, Access::Read).unwrap();
        assert!(races.access(0, 32, Access::Read).is_err());
    }

    #[test]
    fn named_barrier_leaves_the_other_warps_unordered() {
        let mut races = block(3);
        races.access(0, 0, WRITE).unwrap();
        races.barrier(&[0, 1], &[]);
        races.access(0, 32, Access::Read).unwrap();
        assert!(races.access(0, 64, Access::Read).is_err());
        // What warp 1 learnt of warp 0 it passes on.
        races.barrier(&[1, 2], &[]);
        races.access(0, 64, Access::Read).unwrap();
    }

    #[test]
    fn many_readers_are_all_remembered() {
        let mut races = block(2);
        races.access(0, 0, WRITE).unwrap();
        races.barrier(&[0, 1], &[]);
        for thread in 0..64 {
            races.access(0, thread, Access::Read).unwrap();
        }
        assert!(races.access(0, 63, WRITE).is_err());
        races.barrier(&[0, 1], &[]);
        races.access(0, 63, WRITE).unwrap();
    }

    #[test]
    fn equal_values_and_atomics_do_not_race() {
        let mut races = block(1);
        races.access(0, 0, WRITE).unwrap();
        races.access(0, 1, Access::Write { same: true }).unwrap();
        races.access(1, 0, Access::StrongWrite).unwrap();
        races.access(1, 1, Access::StrongWrite).unwrap();
        assert!(races.access(1, 2, Access::Read).is_err());
    }
}
