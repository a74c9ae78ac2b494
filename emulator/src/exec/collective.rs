//! What the lanes of a warp do together, in groups as small as their masks say.

use super::block::Worker;
use super::float::pick32;
use super::registers::Lanes;
use super::stop::{Step, bad_operand, describe, lanes, stop};
use super::warp::{Fragment, Wait, Warp};
use crate::error::FaultKind;
use crate::isa::{
    Collective, CollectiveKind, Compare, Members, Op, ReduceOp, ShuffleMode, VoteMode,
};
use crate::numeric::canonical32;
use crate::ptx::Module;

/// Lanes that take part in a collective at one instruction.
struct Part<'c> {
    mask: u32,
    register_base: usize,
    predicate_base: usize,
    collective: &'c Collective,
}

/// All that take part.
pub(super) struct Group<'c> {
    parts: Vec<Part<'c>>,
    pub members: u32,
}

impl Group<'_> {
    /// An operand of every lane.
    pub fn source(&self, warp: &mut Warp, index: usize) -> Step<Lanes> {
        let mut all = [0; 32];
        for part in &self.parts {
            (warp.registers.base, warp.registers.predicate_base) =
                (part.register_base, part.predicate_base);
            let value = warp.registers.read(part.collective.sources[index], part.mask)?;
            for lane in lanes(part.mask) {
                all[lane] = value[lane];
            }
        }
        Ok(all)
    }

    fn condition(&self, warp: &mut Warp) -> Step<u32> {
        let mut all = 0;
        for part in &self.parts {
            (warp.registers.base, warp.registers.predicate_base) =
                (part.register_base, part.predicate_base);
            if let Some(guard) = part.collective.condition {
                all |= warp.registers.test(guard, part.mask)? & part.mask;
            }
        }
        Ok(all)
    }

    pub fn set(&self, warp: &mut Warp, index: usize, value: &Lanes) {
        for part in &self.parts {
            if let Some(Some(dst)) = part.collective.destinations.get(index) {
                (warp.registers.base, warp.registers.predicate_base) =
                    (part.register_base, part.predicate_base);
                warp.registers.write(part.mask, *dst, |lane| value[lane]);
            }
        }
    }

    fn set_predicate(&self, warp: &mut Warp, value: u32) {
        for part in &self.parts {
            if let Some(dst) = part.collective.predicate {
                (warp.registers.base, warp.registers.predicate_base) =
                    (part.register_base, part.predicate_base);
                warp.registers.set_predicate(part.mask, dst, value);
            }
        }
    }

    pub fn first(&self) -> u32 {
        self.members.trailing_zeros()
    }

    pub fn collective(&self) -> &Collective {
        self.parts[0].collective
    }
}

/// Says which lanes a fragment waits for and where those are.
pub(super) fn who_waits(module: &Module, warp: &Warp, fragment: &Fragment) -> String {
    let wanted = match fragment.wait {
        Wait::Collective { members } => members,
        _ => warp.exists,
    };
    let mut text =
        format!("{} wait for {}", describe(fragment.mask), describe(wanted & !fragment.mask));
    if warp.exited & wanted != 0 {
        text += &format!("; {} have exited", describe(warp.exited & wanted));
    }
    for other in warp.fragments.iter().filter(|other| other.mask != fragment.mask) {
        text += &format!("; {} wait at `{}`", describe(other.mask), module.text(other.pc));
    }
    text
}

impl Worker<'_> {
    /// Executes a collective or parks the lanes. True if all lanes of the fragment executed it.
    pub fn collective(
        &mut self,
        warp: &mut Warp,
        fragment: &Fragment,
        active: u32,
        c: &Collective,
    ) -> Step<bool> {
        let masks = match c.members {
            Members::Mask(register) => *warp.registers.read(register, active)?,
            Members::Warp => [u64::from(u32::MAX); 32],
        };
        if let Some(lane) = lanes(active).find(|lane| masks[*lane] >> lane & 1 == 0) {
            return bad_operand(
                lane as u32,
                format!("the lane is not in its own member mask {:#010x}", masks[lane]),
            );
        }
        if c.members == Members::Warp && (warp.alive() != u32::MAX || active != fragment.mask) {
            let missing = describe(!(warp.alive() & active));
            let reason =
                format!("the instruction needs all 32 lanes, but {missing} do not take part");
            return stop(active.trailing_zeros(), FaultKind::Divergent(reason));
        }
        let members = masks[active.trailing_zeros() as usize] as u32;
        let uniform = lanes(active).all(|lane| masks[lane] as u32 == members);
        if uniform && members & warp.alive() == active {
            let part = Part {
                mask: active,
                register_base: fragment.register_base,
                predicate_base: fragment.predicate_base,
                collective: c,
            };
            self.perform(warp, &Group { parts: vec![part], members: active })?;
            (warp.registers.base, warp.registers.predicate_base) =
                (fragment.register_base, fragment.predicate_base);
            return Ok(true);
        }
        let mut rest = fragment.with(fragment.mask & !active);
        rest.pc += 1;
        warp.add(rest);
        for lane in lanes(active) {
            let mut parked = fragment.with(1 << lane);
            parked.wait = Wait::Collective { members: masks[lane] as u32 };
            warp.add(parked);
        }
        Ok(false)
    }

    /// Performs a collective whose lanes have all come, though perhaps to different places.
    /// False if there is none.
    pub fn resolve_collectives(&mut self, warp: &mut Warp) -> Step<bool> {
        let module = self.launch.module;
        let at = |pc: usize| match &module.code[pc].op {
            Op::Collective(collective) => Some(&**collective),
            _ => None,
        };
        for index in 0..warp.fragments.len() {
            let fragment = warp.fragments[index].clone();
            let Wait::Collective { members } = fragment.wait else { continue };
            let Some(collective) = at(fragment.pc) else { continue };
            let joins = |other: &Fragment| {
                let equal = at(other.pc).is_some_and(|c| c.kind == collective.kind);
                other.wait == fragment.wait
                    && equal
                    && (collective.members != Members::Warp || other.pc == fragment.pc)
            };
            let here: Vec<Fragment> =
                warp.fragments.iter().filter(|other| joins(other)).cloned().collect();
            let mask = here.iter().fold(0, |mask, part| mask | part.mask);
            if mask != members & warp.alive() {
                continue;
            }
            self.pc = fragment.pc;
            let parts = here.iter().filter_map(|part| {
                let (register_base, predicate_base) = (part.register_base, part.predicate_base);
                Some(Part {
                    mask: part.mask,
                    register_base,
                    predicate_base,
                    collective: at(part.pc)?,
                })
            });
            let group = Group { parts: parts.collect(), members: mask };
            self.perform(warp, &group)?;
            warp.fragments.retain(|other| !joins(other));
            for mut part in here {
                part.wait = Wait::Ready;
                part.pc += 1;
                warp.add(part);
            }
            return Ok(true);
        }
        match warp.fragments.iter().find(|f| matches!(f.wait, Wait::Collective { .. })) {
            // Lanes at a barrier stay there: a barrier needs the whole warp.
            Some(stuck) => {
                self.pc = stuck.pc;
                stop(
                    stuck.mask.trailing_zeros(),
                    FaultKind::Divergent(who_waits(module, warp, stuck)),
                )
            }
            None => Ok(false),
        }
    }

    fn perform(&mut self, warp: &mut Warp, group: &Group<'_>) -> Step<()> {
        let kind = group.collective().kind;
        match kind {
            CollectiveKind::SyncWarp => {
                self.shared.races.sync_lanes(warp.index, group.members, warp.alive());
                Ok(())
            }
            CollectiveKind::Shuffle(mode) => shuffle(warp, group, mode),
            CollectiveKind::Vote(mode) => vote(warp, group, mode),
            CollectiveKind::MatchAny => {
                let values = group.source(warp, 0)?;
                let equal = |value: u64| {
                    lanes(group.members)
                        .filter(|lane| values[*lane] == value)
                        .fold(0, |m, lane| m | 1 << lane)
                };
                let result = std::array::from_fn(|lane| equal(values[lane]));
                group.set(warp, 0, &result);
                Ok(())
            }
            CollectiveKind::MatchAll => {
                let values = group.source(warp, 0)?;
                let first = values[group.first() as usize];
                let all = lanes(group.members).all(|lane| values[lane] == first);
                group.set(warp, 0, &[if all { u64::from(group.members) } else { 0 }; 32]);
                group.set_predicate(warp, if all { u32::MAX } else { 0 });
                Ok(())
            }
            CollectiveKind::Reduce(op) => {
                let values = group.source(warp, 0)?;
                let result =
                    lanes(group.members).map(|lane| values[lane]).reduce(|a, b| combine(op, a, b));
                group.set(warp, 0, &[finish(op, result.unwrap_or(0)); 32]);
                Ok(())
            }
            CollectiveKind::Elect => {
                group.set(warp, 0, &[u64::from(group.first()); 32]);
                group.set_predicate(warp, 1 << group.first());
                Ok(())
            }
            CollectiveKind::LoadMatrix { count, transpose } => {
                self.load_matrix(warp, group, count as usize, transpose)
            }
            CollectiveKind::StoreMatrix { count, transpose } => {
                self.store_matrix(warp, group, count as usize, transpose)
            }
            CollectiveKind::MoveMatrix => move_matrix(warp, group),
            CollectiveKind::Mma(shape) => super::matrix::multiply(warp, group, shape),
        }
    }

    /// Matrix j has its rows at the addresses of lanes 8j to 8j+7; lane l gets of each matrix row
    /// l/4, elements 2(l%4) and the next (transposed: column instead of row).
    fn load_matrix(
        &mut self,
        warp: &mut Warp,
        group: &Group<'_>,
        count: usize,
        transpose: bool,
    ) -> Step<()> {
        let addresses = self.matrix_addresses(warp, group, count)?;
        for matrix in 0..count {
            let mut rows = [[0u16; 8]; 8];
            for (row, cells) in rows.iter_mut().enumerate() {
                let lane = 8 * matrix + row;
                *cells = self.load_row(warp.index as u32 * 32 + lane as u32, addresses[lane])?;
            }
            group.set(warp, matrix, &fragment_of(&rows, transpose));
        }
        self.count_rows(&addresses[..8 * count], true);
        Ok(())
    }

    fn store_matrix(
        &mut self,
        warp: &mut Warp,
        group: &Group<'_>,
        count: usize,
        transpose: bool,
    ) -> Step<()> {
        let addresses = self.matrix_addresses(warp, group, count)?;
        for matrix in 0..count {
            let rows = rows_of(&group.source(warp, matrix)?, transpose);
            for (row, cells) in rows.iter().enumerate() {
                let lane = 8 * matrix + row;
                self.store_row(warp.index as u32 * 32 + lane as u32, addresses[lane], *cells)?;
            }
        }
        self.count_rows(&addresses[..8 * count], false);
        Ok(())
    }

    /// The row addresses; only the first 8 lanes a matrix need to have one.
    fn matrix_addresses(
        &mut self,
        warp: &mut Warp,
        group: &Group<'_>,
        count: usize,
    ) -> Step<Lanes> {
        let part = &group.parts[0];
        (warp.registers.base, warp.registers.predicate_base) =
            (part.register_base, part.predicate_base);
        let used = if count == 4 { u32::MAX } else { (1 << (8 * count)) - 1 };
        match part.collective.address {
            Some(address) => self.shared_addresses(warp, used, address),
            None => bad_operand(0, "no address"),
        }
    }
}

/// How lanes hold an 8x8 matrix of 16-bit elements: two neighbours of a row each.
fn fragment_of(rows: &[[u16; 8]; 8], transpose: bool) -> Lanes {
    std::array::from_fn(|lane| {
        let (row, column) = (lane / 4, 2 * (lane % 4));
        let element = |column: usize| {
            u64::from(if transpose { rows[column][row] } else { rows[row][column] })
        };
        element(column) | element(column + 1) << 16
    })
}

fn rows_of(fragment: &Lanes, transpose: bool) -> [[u16; 8]; 8] {
    let mut rows = [[0; 8]; 8];
    for (lane, word) in fragment.iter().enumerate() {
        for half in 0..2 {
            let (row, column) = (lane / 4, 2 * (lane % 4) + half);
            let value = (word >> (16 * half)) as u16;
            if transpose { rows[column][row] = value } else { rows[row][column] = value }
        }
    }
    rows
}

fn move_matrix(warp: &mut Warp, group: &Group<'_>) -> Step<()> {
    let rows = rows_of(&group.source(warp, 0)?, false);
    group.set(warp, 0, &fragment_of(&rows, true));
    Ok(())
}

/// The manual's shuffle: c holds the clamp in bits 0-4 and the segment mask in bits 8-12.
fn shuffle(warp: &mut Warp, group: &Group<'_>, mode: ShuffleMode) -> Step<()> {
    let (values, b, c) = (group.source(warp, 0)?, group.source(warp, 1)?, group.source(warp, 2)?);
    let mut result = [0; 32];
    let mut in_range = 0;
    for lane in lanes(group.members) {
        let (shift, clamp, segment) =
            ((b[lane] & 31) as i64, (c[lane] & 31) as i64, (c[lane] >> 8 & 31) as i64);
        let here = lane as i64;
        let highest = here & segment | clamp & !segment;
        let lowest = here & segment;
        let (from, fits) = match mode {
            ShuffleMode::Up => (here - shift, here - shift >= highest),
            ShuffleMode::Down => (here + shift, here + shift <= highest),
            ShuffleMode::Butterfly => (here ^ shift, here ^ shift <= highest),
            ShuffleMode::Index => {
                let from = lowest | shift & !segment;
                (from, from <= highest)
            }
        };
        let from = if fits { from } else { here };
        if group.members >> from & 1 == 0 {
            return bad_operand(
                lane as u32,
                format!(
                    "shuffle from lane {from}, which is not among the executing {}",
                    describe(group.members)
                ),
            );
        }
        result[lane] = values[from as usize];
        in_range |= u32::from(fits) << lane;
    }
    group.set(warp, 0, &result);
    group.set_predicate(warp, in_range);
    Ok(())
}

fn vote(warp: &mut Warp, group: &Group<'_>, mode: VoteMode) -> Step<()> {
    let holds = group.condition(warp)?;
    let all = |truth: bool| if truth { u32::MAX } else { 0 };
    match mode {
        VoteMode::Ballot => group.set(warp, 0, &[u64::from(holds); 32]),
        VoteMode::All => group.set_predicate(warp, all(holds == group.members)),
        VoteMode::Any => group.set_predicate(warp, all(holds != 0)),
        VoteMode::Uniform => group.set_predicate(warp, all(holds == 0 || holds == group.members)),
    }
    Ok(())
}

fn combine(op: ReduceOp, a: u64, b: u64) -> u64 {
    match op {
        ReduceOp::Add => a.wrapping_add(b) & 0xffff_ffff,
        ReduceOp::And => a & b,
        ReduceOp::Or => a | b,
        ReduceOp::Xor => a ^ b,
        ReduceOp::Min(ty) => {
            if ty.wide(b) < ty.wide(a) {
                b
            } else {
                a
            }
        }
        ReduceOp::Max(ty) => {
            if ty.wide(b) > ty.wide(a) {
                b
            } else {
                a
            }
        }
        ReduceOp::Float { compare, magnitude, nan } => {
            let value = |bits: u64| {
                let value = f32::from_bits(bits as u32);
                if magnitude { value.abs() } else { value }
            };
            u64::from(canonical32(pick32(value(a), value(b), compare == Compare::Gt, nan)))
        }
    }
}

/// A single operand has not been through `combine`.
fn finish(op: ReduceOp, value: u64) -> u64 {
    match op {
        ReduceOp::Float { .. } => combine(op, value, value),
        _ => value,
    }
}
