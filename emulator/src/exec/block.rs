//! Blocks: warps in turn, barriers between them.

use super::collective;
use super::grid::Launch;
use super::shared::SharedMemory;
use super::stop::{Cause, Step, Stop, stop};
use super::warp::{Fragment, Wait, Warp};
use crate::counters::Counters;
use crate::error::{Fault, FaultKind};
use crate::isa::{BarrierKind, Op};
use crate::memory::Window;
use crate::ptx::{Prefill, Special};

/// Instructions of one warp before another gets its turn: warps may wait for each other in loops.
const WARP_TURN: u64 = 1 << 16;
/// The same among the fragments of a warp.
pub(super) const FRAGMENT_TURN: u64 = 1 << 20;

/// How a warp's turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Finished,
    /// All its threads wait for other warps.
    Blocked,
    /// There is more to do.
    Interrupted,
}

/// A host thread that runs blocks, and the state of the block it runs.
pub(super) struct Worker<'l> {
    pub launch: &'l Launch<'l>,
    pub shared: SharedMemory,
    pub counters: Counters,
    pub index: [u32; 3],
    /// The allocation touched last.
    pub window: Option<Window>,
    pub steps: u64,
    /// How often warps came to each instruction, over all blocks; empty unless profiled.
    pub profile: Vec<u64>,
    /// The warps of the latest block, to be used again.
    warps: Vec<Warp>,
    /// Warps that executed `bar.arrive`, by barrier.
    arrived: [Vec<usize>; 16],
    /// The instruction being executed, for messages.
    pub pc: usize,
    pub warp: usize,
}

impl<'l> Worker<'l> {
    pub fn new(launch: &'l Launch<'l>) -> Self {
        Self {
            launch,
            shared: SharedMemory::default(),
            counters: Counters::default(),
            index: [0; 3],
            window: None,
            steps: 0,
            profile: vec![0; if launch.profiled { launch.module.code.len() } else { 0 }],
            warps: Vec::new(),
            arrived: Default::default(),
            pc: 0,
            warp: 0,
        }
    }

    /// Runs one block and adds its counts.
    pub fn run_block(
        &mut self,
        index: [u32; 3],
        counters: &mut Counters,
    ) -> Result<(), Box<Fault>> {
        self.index = index;
        self.steps = 0;
        self.counters = Counters::default();
        self.arrived.iter_mut().for_each(Vec::clear);
        let threads = self.launch.threads_per_block();
        let count = threads.div_ceil(32) as usize;
        self.shared.reset(self.launch.shared_bytes() as usize, count);
        let mut warps = std::mem::take(&mut self.warps);
        warps.resize_with(count, Warp::new);
        for (index, warp) in warps.iter_mut().enumerate() {
            warp.reset(index, threads);
        }
        self.run_warps(&mut warps).map_err(|stop| self.fault(*stop))?;
        self.warps = warps;
        self.counters.blocks = 1;
        counters.add(&self.counters);
        Ok(())
    }

    fn run_warps(&mut self, warps: &mut [Warp]) -> Step<()> {
        for warp in warps.iter_mut() {
            self.warp = warp.index;
            self.start(warp)?;
        }
        let turn_steps = if warps.len() == 1 { u64::MAX } else { WARP_TURN };
        loop {
            let (mut finished, mut interrupted) = (0, false);
            for place in 0..warps.len() {
                let place =
                    if self.launch.limits.reversed { warps.len() - 1 - place } else { place };
                self.warp = place;
                match self.run_warp(&mut warps[place], turn_steps)? {
                    Turn::Finished => finished += 1,
                    Turn::Interrupted => interrupted = true,
                    Turn::Blocked => {}
                }
            }
            if finished == warps.len() {
                return Ok(());
            }
            if !self.release_barriers(warps)? && !interrupted {
                return self.stuck(warps);
            }
        }
    }

    /// Gives a warp its first fragment and the registers that have values from the start.
    fn start(&mut self, warp: &mut Warp) -> Step<()> {
        let function = &self.launch.module.functions[self.launch.function];
        let fragment = Fragment {
            pc: function.start,
            mask: warp.exists,
            function: self.launch.function,
            register_base: 0,
            predicate_base: 0,
            local_base: 0,
            calls: Vec::new(),
            wait: Wait::Ready,
            turns: 0,
        };
        self.enter(warp, &fragment)?;
        warp.fragments.push(fragment);
        Ok(())
    }

    /// Prepares the frame of the fragment's function.
    pub fn enter(&mut self, warp: &mut Warp, fragment: &Fragment) -> Step<()> {
        let function = &self.launch.module.functions[fragment.function];
        let (registers, predicates) = (function.registers.len(), function.predicates.len());
        warp.registers.enter(
            fragment.register_base,
            registers,
            fragment.predicate_base,
            predicates,
            fragment.mask,
        );
        warp.grow_local(fragment.mask, fragment.local_base + function.frame_bytes as usize)?;
        for (register, value) in &function.prefilled {
            let first = warp.index as u32 * 32;
            match *value {
                Prefill::Constant(bits) => warp.registers.write(fragment.mask, *register, |_| bits),
                Prefill::DynamicShared(offset) => {
                    let start = u64::from(self.launch.dynamic_shared_start());
                    warp.registers.write(fragment.mask, *register, |_| start + offset);
                }
                Prefill::Special(special) => {
                    warp.registers.write(fragment.mask, *register, |lane| {
                        self.special(special, first + lane as u32)
                    });
                }
            }
        }
        for (predicate, value) in &function.constant_predicates {
            let lanes = if *value { u32::MAX } else { 0 };
            warp.registers.set_predicate(fragment.mask, crate::isa::PredReg(*predicate), lanes);
        }
        Ok(())
    }

    /// The value of a special register for a thread of the block.
    fn special(&self, special: Special, thread: u32) -> u64 {
        let block = self.launch.block;
        let lane = thread % 32;
        let wide = match special {
            Special::ThreadIndex(axis) => thread_index(block, thread)[axis],
            Special::BlockSize(axis) => block[axis],
            Special::BlockIndex(axis) => self.index[axis],
            Special::GridSize(axis) => self.launch.grid[axis],
            Special::Lane => lane,
            Special::Warp => thread / 32,
            Special::WarpCount => self.launch.threads_per_block().div_ceil(32),
            Special::Multiprocessor => {
                let [x, y, z] = self.index;
                let [width, height, _] = self.launch.grid;
                x.wrapping_add(width.wrapping_mul(y.wrapping_add(height.wrapping_mul(z))))
                    % self.launch.multiprocessors
            }
            Special::MultiprocessorCount => self.launch.multiprocessors,
            Special::GridId | Special::Zero => 0,
            Special::One => 1,
            Special::LaneMaskEq => 1 << lane,
            Special::LaneMaskLt => (1 << lane) - 1,
            Special::LaneMaskLe => u32::MAX >> (31 - lane),
            Special::LaneMaskGt => !(u32::MAX >> (31 - lane)),
            Special::LaneMaskGe => u32::MAX << lane,
            Special::DynamicSharedBytes => self.launch.dynamic_shared,
            Special::TotalSharedBytes => self.launch.shared_bytes(),
        };
        u64::from(wide)
    }

    /// Notes that a warp has arrived at a barrier without waiting there.
    pub fn arrive(&mut self, id: u32, warp: usize) {
        self.arrived[id as usize].push(warp);
        // What the warp did so far is covered; what follows gets a later stamp.
        self.shared.races.arrive(warp);
    }

    /// Lets the warps go on whose barrier is complete.
    fn release_barriers(&mut self, warps: &mut [Warp]) -> Step<bool> {
        let mut released = false;
        for id in 0..16u32 {
            let waiting: Vec<usize> =
                warps.iter().filter(|w| waits_whole(w, id)).map(|w| w.index).collect();
            let Some(&first) = waiting.first() else { continue };
            let expected = expected_threads(&warps[first], id);
            for &other in &waiting {
                if expected_threads(&warps[other], id) != expected {
                    return self.divergent(
                        &warps[other],
                        format!("warps wait for different numbers of threads at barrier {id}"),
                    );
                }
            }
            let arrived = waiting.len() + self.arrived[id as usize].len();
            let wanted = expected.div_ceil(32);
            if arrived as u32 > wanted {
                return self.divergent(
                    &warps[first],
                    format!(
                        "{} threads arrived at barrier {id}, which waits for {expected}",
                        arrived * 32
                    ),
                );
            }
            if arrived as u32 == wanted {
                self.release(warps, id, &waiting)?;
                released = true;
            }
        }
        Ok(released)
    }

    fn release(&mut self, warps: &mut [Warp], id: u32, waiting: &[usize]) -> Step<()> {
        let module = self.launch.module;
        let (mut holds, mut threads) = (0, 0);
        for &place in waiting {
            let warp = &mut warps[place];
            for fragment in warp.fragments.clone() {
                let Op::Barrier(barrier) = &module.code[fragment.pc].op else { continue };
                let Some(condition) = barrier.condition else { continue };
                (warp.registers.base, warp.registers.predicate_base) =
                    (fragment.register_base, fragment.predicate_base);
                holds +=
                    (warp.registers.test(condition, fragment.mask)? & fragment.mask).count_ones();
                threads += fragment.mask.count_ones();
            }
        }
        for &place in waiting {
            let warp = &mut warps[place];
            for mut fragment in std::mem::take(&mut warp.fragments) {
                if let Op::Barrier(barrier) = &module.code[fragment.pc].op {
                    let registers = &mut warp.registers;
                    (registers.base, registers.predicate_base) =
                        (fragment.register_base, fragment.predicate_base);
                    let all = |holds: bool| if holds { u32::MAX } else { 0 };
                    match barrier.kind {
                        BarrierKind::Count { dst } => {
                            registers.write(fragment.mask, dst, |_| u64::from(holds))
                        }
                        BarrierKind::All { dst } => {
                            registers.set_predicate(fragment.mask, dst, all(holds == threads))
                        }
                        BarrierKind::Any { dst } => {
                            registers.set_predicate(fragment.mask, dst, all(holds > 0))
                        }
                        BarrierKind::Sync | BarrierKind::Arrive => {}
                    }
                }
                fragment.wait = Wait::Ready;
                fragment.pc += 1;
                warp.add(fragment);
            }
        }
        let arrived = std::mem::take(&mut self.arrived[id as usize]);
        self.shared.races.barrier(waiting, &arrived);
        Ok(())
    }

    fn divergent<T>(&self, warp: &Warp, reason: String) -> Step<T> {
        let fragment = &warp.fragments[0];
        Err(Box::new(Stop {
            cause: Cause::Fault(FaultKind::Divergent(reason)),
            lane: fragment.mask.trailing_zeros(),
            pc: Some(fragment.pc),
            warp: Some(warp.index),
        }))
    }

    /// Nobody can go on: says who waits for what.
    fn stuck(&self, warps: &[Warp]) -> Step<()> {
        for warp in warps {
            let partial = warp.fragments.iter().find(|f| f.mask != warp.exists);
            if let Some(fragment) = partial {
                return self
                    .divergent(warp, collective::who_waits(self.launch.module, warp, fragment));
            }
        }
        let Some(warp) = warps.iter().find(|w| !w.fragments.is_empty()) else {
            return stop(0, FaultKind::Deadlock("no warp left".into()));
        };
        let fragment = &warp.fragments[0];
        let others = warps.iter().map(|w| match w.fragments.first() {
            None => format!("warp {} has finished", w.index),
            Some(f) => format!("warp {} waits at `{}`", w.index, self.launch.module.text(f.pc)),
        });
        let others = others
            .filter(|text| !text.ends_with(&format!("`{}`", self.launch.module.text(fragment.pc))));
        let list: Vec<_> = others.take(4).collect();
        self.divergent(warp, format!("not all threads come to this barrier: {}", list.join("; ")))
    }

    /// Puts a stop into words.
    fn fault(&self, stop: Stop) -> Box<Fault> {
        let pc = stop.pc.unwrap_or(self.pc);
        let module = self.launch.module;
        // Registers belong to the function around the instruction.
        let function = module.functions.iter().filter(|f| f.start <= pc).max_by_key(|f| f.start);
        let kind = match (stop.cause, function) {
            (Cause::Fault(kind), _) => kind,
            (Cause::Register(register), Some(function)) => FaultKind::UninitialisedRegister {
                register: function.registers[register.0 as usize].clone(),
            },
            (Cause::Predicate(predicate), Some(function)) => FaultKind::UninitialisedRegister {
                register: function.predicates[predicate.0 as usize].clone(),
            },
            (cause, None) => FaultKind::UninitialisedRegister { register: format!("{cause:?}") },
        };
        let thread = stop.warp.unwrap_or(self.warp) as u32 * 32 + stop.lane;
        Box::new(Fault {
            entry: module.functions[self.launch.function].name.clone(),
            block: self.index,
            thread: thread_index(self.launch.block, thread),
            line: module.code[pc].line,
            text: module.text(pc),
            kind,
        })
    }
}

/// Where a thread stands in its block.
fn thread_index(block: [u32; 3], thread: u32) -> [u32; 3] {
    let [x, y, _] = block;
    [thread % x, thread / x % y, thread / (x * y)]
}

/// Whether every lane of a warp waits at a barrier: for an aligned one at the same instruction.
fn waits_whole(warp: &Warp, id: u32) -> bool {
    let mut mask = 0;
    for fragment in &warp.fragments {
        match fragment.wait {
            Wait::Barrier { id: at, aligned, .. }
                if at == id && !(aligned && warp.fragments.len() > 1) =>
            {
                mask |= fragment.mask;
            }
            _ => return false,
        }
    }
    mask != 0 && mask == warp.exists
}

fn expected_threads(warp: &Warp, id: u32) -> u32 {
    let found = warp.fragments.iter().find_map(|f| match f.wait {
        Wait::Barrier { id: at, threads, .. } if at == id => Some(threads),
        _ => None,
    });
    found.unwrap_or(0)
}
