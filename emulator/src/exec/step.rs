//! The inner loop: one fragment runs until it must give way.

use super::block::{FRAGMENT_TURN, Turn, Worker};
use super::stop::{Step, bad_operand, lanes, stop};
use super::warp::{Fragment, Frame, Wait, Warp};
use super::{compare, convert, float, integer};
use crate::error::FaultKind;
use crate::isa::{
    Barrier, BarrierKind, Call, Clock, FloatType, Instruction, Op, Reg, SetPredicate,
};

/// What happens to a fragment after an instruction.
enum Flow {
    /// The next instruction.
    Next,
    /// The fragment is gone or elsewhere: choose again.
    Choose,
}

impl Worker<'_> {
    /// Runs a warp until it finishes, waits for other warps, or has had its turn.
    pub fn run_warp(&mut self, warp: &mut Warp, turn_steps: u64) -> Step<Turn> {
        let end = self.steps.saturating_add(turn_steps);
        loop {
            let Some(index) = warp.pick() else {
                if self.resolve_collectives(warp)? {
                    continue;
                }
                return Ok(if warp.fragments.is_empty() { Turn::Finished } else { Turn::Blocked });
            };
            if self.steps >= end {
                return Ok(Turn::Interrupted);
            }
            let fragment = warp.fragments.swap_remove(index);
            self.run_fragment(warp, fragment, end)?;
        }
    }

    fn run_fragment(&mut self, warp: &mut Warp, mut fragment: Fragment, end: u64) -> Step<()> {
        let code = &self.launch.module.code;
        (warp.registers.base, warp.registers.predicate_base) =
            (fragment.register_base, fragment.predicate_base);
        let mut limit = warp.limit(&fragment);
        let mut end = end.min(self.launch.limits.steps.saturating_add(1));
        if !warp.fragments.is_empty() {
            end = end.min(self.steps + FRAGMENT_TURN);
        }
        loop {
            let instruction = &code[fragment.pc];
            self.pc = fragment.pc;
            self.steps += 1;
            if let Some(count) = self.profile.get_mut(fragment.pc) {
                *count += 1;
            }
            let active = match instruction.guard {
                None => fragment.mask,
                Some(guard) => warp.registers.test(guard, fragment.mask)? & fragment.mask,
            };
            self.counters.warp_instructions += 1;
            self.counters.thread_instructions += u64::from(active.count_ones());
            if let Op::Branch { target } = instruction.op {
                if active == fragment.mask {
                    fragment.pc = target;
                } else if active == 0 {
                    fragment.pc += 1;
                } else {
                    fragment = split(warp, fragment, active, target);
                }
                if !warp.fragments.is_empty() {
                    if warp.must_yield(&fragment) {
                        break;
                    }
                    limit = warp.limit(&fragment);
                }
            } else if active == 0 {
                fragment.pc += 1;
            } else {
                match self.execute(warp, &mut fragment, instruction, active)? {
                    Flow::Next => fragment.pc += 1,
                    Flow::Choose => return Ok(()),
                }
            }
            if fragment.pc == limit || self.steps >= end {
                break;
            }
        }
        if self.steps > self.launch.limits.steps {
            return stop(
                fragment.mask.trailing_zeros(),
                FaultKind::Budget(self.launch.limits.steps),
            );
        }
        if self.steps >= end {
            fragment.turns += 1;
        }
        warp.add(fragment);
        Ok(())
    }

    fn execute(
        &mut self,
        warp: &mut Warp,
        fragment: &mut Fragment,
        instruction: &Instruction,
        active: u32,
    ) -> Step<Flow> {
        let r = &mut warp.registers;
        match &instruction.op {
            Op::Nothing => {}
            Op::Copy { dst, src } => r.copy(active, *dst, *src),
            Op::CopyPred { dst, src } => r.copy_predicate(active, *dst, *src),
            Op::Int2 { op, ty, dst, a, b } => integer::int2(r, active, *op, *ty, *dst, (*a, *b))?,
            Op::Float2 { op, mode, dst, a, b } => {
                float::float2(r, active, *op, *mode, *dst, (*a, *b))?
            }
            Op::SetPredicate(s) => self.set_predicate(warp, active, s)?,
            Op::Select { dst, a, b, condition } => {
                let condition = r.test(*condition, active)?;
                r.select(active, *dst, *a, *b, condition);
            }
            Op::Int1 { op, ty, dst, a } => integer::int1(r, active, *op, *ty, *dst, *a)?,
            Op::Int3 { op, ty, dst, a, b, c } => {
                integer::int3(r, active, *op, *ty, *dst, (*a, *b, *c))?
            }
            Op::Int4 { ty, dst, a, b, c, d, .. } => {
                integer::insert_field(r, active, *ty, *dst, (*a, *b), (*c, *d))?
            }
            Op::Float1 { op, mode, dst, a } => float::float1(r, active, *op, *mode, *dst, *a)?,
            Op::Float3 { op, mode, dst, a, b, c } => {
                float::float3(r, active, *op, *mode, *dst, (*a, *b, *c))?
            }
            Op::Convert(c) => convert::convert(r, active, c)?,
            Op::Half2 { op, signed, relu, dst, a, b } => {
                integer::half2(r, active, *op, *signed, *relu, *dst, (*a, *b))?
            }
            Op::Carry { op, ty, dst, a, b, c, reads, writes } => {
                integer::carry_op(
                    r,
                    &mut warp.carry,
                    active,
                    *op,
                    *ty,
                    *dst,
                    (*a, *b, *c),
                    (*reads, *writes),
                )?;
            }
            Op::Lop3 { dst, a, b, c, table, predicate } => {
                let (a, b, c) = (*r.read(*a, active)?, *r.read(*b, active)?, *r.read(*c, active)?);
                let result = |lane: usize| integer::lop3(*table, a[lane], b[lane], c[lane]);
                if let Some((op, predicate, q)) = predicate {
                    let nonzero = lanes(active)
                        .fold(0, |mask, lane| mask | u32::from(result(lane) != 0) << lane);
                    let q = r.test(*q, active)?;
                    r.set_predicate(active, *predicate, op.apply(nonzero, q));
                }
                if let Some(dst) = dst {
                    r.write(active, *dst, result);
                }
            }
            Op::TestProperty { property, ty, dst, a } => {
                let a = r.read(*a, active)?;
                let mut mask = 0;
                for lane in lanes(active) {
                    let (value, subnormal) = match ty {
                        FloatType::F64 => {
                            (f64::from_bits(a[lane]), f64::from_bits(a[lane]).is_subnormal())
                        }
                        _ => (
                            f64::from(f32::from_bits(a[lane] as u32)),
                            f32::from_bits(a[lane] as u32).is_subnormal(),
                        ),
                    };
                    mask |= u32::from(float::has_property(*property, value, subnormal)) << lane;
                }
                r.set_predicate(active, *dst, mask);
            }
            Op::Set { comparison, float_result, dst } => {
                let (mask, _) = compare::evaluate(r, active, comparison)?;
                let truth = if *float_result { 1f32.to_bits() } else { u32::MAX };
                r.write(active, *dst, |lane| u64::from(truth * (mask >> lane & 1)));
            }
            Op::SelectBySign { dst, a, b, c, float, flush } => {
                let c = r.read(*c, active)?;
                let mut mask = 0;
                for lane in lanes(active) {
                    let bits = c[lane] as u32;
                    let value = f32::from_bits(bits);
                    let value = if *flush { crate::numeric::flush32(value) } else { value };
                    let positive = if *float { value >= 0.0 } else { bits as i32 >= 0 };
                    mask |= u32::from(positive) << lane;
                }
                r.select(active, *dst, *a, *b, mask);
            }
            Op::PredLogic { op, dst, a, b } => {
                let value = op.apply(r.test(*a, active)?, r.test(*b, active)?);
                r.set_predicate(active, *dst, value);
            }
            Op::Pack { dst, sources, bits } => pack(warp, active, *dst, sources, *bits)?,
            Op::Unpack { destinations, src, bits } => {
                let value = *r.read(*src, active)?;
                for (index, dst) in destinations.iter().enumerate() {
                    if let Some(dst) = dst {
                        r.write(active, *dst, |lane| {
                            value[lane] >> (*bits * index as u32) & (u64::MAX >> (64 - bits))
                        });
                    }
                }
            }
            Op::FrameAddress { dst, offset } => {
                let address = (fragment.local_base as u64).wrapping_add_signed(*offset);
                r.write(active, *dst, |_| address);
            }
            Op::ReadClock { dst, clock } => {
                let now = match clock {
                    Clock::Cycles { bits: 64, .. } => self.steps,
                    Clock::Cycles { high: true, .. } => self.steps >> 32,
                    Clock::Cycles { .. } => self.steps & 0xffff_ffff,
                    Clock::Nanoseconds => self.launch.start_time + self.steps,
                };
                r.write(active, *dst, |_| now);
            }
            Op::ActiveMask { dst } => r.write(active, *dst, |_| u64::from(active)),
            Op::Load(load) => self.load(warp, fragment, active, load)?,
            Op::Store(store) => self.store(warp, fragment, active, store)?,
            Op::Atomic(atomic) => self.atomic(warp, fragment, active, atomic)?,
            Op::ConvertAddress { dst, src, space, to_generic } => {
                self.convert_address(warp, active, *dst, *src, *space, *to_generic)?;
            }
            Op::IsSpace { dst, src, space } => self.is_space(warp, active, *dst, *src, *space)?,
            Op::AsyncCopy(copy) => self.async_copy(warp, active, copy)?,
            Op::AsyncCommit => lanes(active).for_each(|lane| warp.committed[lane] += 1),
            Op::AsyncWait { pending } => self.async_wait(warp, active, *pending)?,
            Op::Branch { .. } => {}
            Op::BranchIndexed { index, targets } => {
                return self.branch_indexed(warp, fragment, active, *index, targets);
            }
            Op::Call(call) => return self.call(warp, fragment, active, call),
            Op::Return if !fragment.calls.is_empty() => {
                return self.return_from(warp, fragment, active);
            }
            Op::Return | Op::Exit => {
                warp.exited |= active;
                return Ok(leave(warp, fragment, active));
            }
            Op::Trap => return stop(active.trailing_zeros(), FaultKind::Trap),
            Op::Barrier(barrier) => return self.barrier(warp, fragment, active, barrier),
            Op::Collective(collective) => {
                if self.collective(warp, fragment, active, collective)? {
                    return Ok(Flow::Next);
                }
                return Ok(Flow::Choose);
            }
        }
        Ok(Flow::Next)
    }

    fn set_predicate(&mut self, warp: &mut Warp, active: u32, s: &SetPredicate) -> Step<()> {
        let (first, second) = compare::evaluate(&warp.registers, active, s)?;
        if let Some(dst) = s.dst {
            warp.registers.set_predicate(active, dst, first);
        }
        if let Some(dst) = s.complement {
            warp.registers.set_predicate(active, dst, second);
        }
        Ok(())
    }

    fn branch_indexed(
        &mut self,
        warp: &mut Warp,
        fragment: &Fragment,
        active: u32,
        index: Reg,
        targets: &[usize],
    ) -> Step<Flow> {
        let index = *warp.registers.read(index, active)?;
        let mut next = fragment.with(fragment.mask & !active);
        next.pc += 1;
        warp.add(next);
        for lane in lanes(active) {
            let Some(&target) = targets.get(index[lane] as usize) else {
                return bad_operand(
                    lane as u32,
                    format!("brx.idx index {} of {} targets", index[lane], targets.len()),
                );
            };
            let mut part = fragment.with(1 << lane);
            part.pc = target;
            warp.add(part);
        }
        Ok(Flow::Choose)
    }

    fn call(
        &mut self,
        warp: &mut Warp,
        fragment: &Fragment,
        active: u32,
        call: &Call,
    ) -> Step<Flow> {
        let functions = &self.launch.module.functions;
        let (caller, callee) = (&functions[fragment.function], &functions[call.function]);
        let mut next = fragment.with(fragment.mask & !active);
        next.pc += 1;
        warp.add(next);
        let mut inner = fragment.with(active);
        inner.calls.push(Frame {
            call: fragment.pc,
            function: fragment.function,
            register_base: fragment.register_base,
            predicate_base: fragment.predicate_base,
            local_base: fragment.local_base,
        });
        inner.pc = callee.start;
        inner.function = call.function;
        inner.register_base += caller.registers.len();
        inner.predicate_base += caller.predicates.len();
        inner.local_base += caller.frame_bytes as usize;
        self.enter(warp, &inner)?;
        for (argument, parameter) in call.arguments.iter().zip(&callee.parameters) {
            let from = fragment.local_base + *argument as usize;
            let to = inner.local_base + parameter.offset as usize;
            for lane in lanes(active) {
                warp.local[lane].copy_within(from..from + parameter.bytes as usize, to);
            }
        }
        warp.add(inner);
        Ok(Flow::Choose)
    }

    fn return_from(&mut self, warp: &mut Warp, fragment: &Fragment, active: u32) -> Step<Flow> {
        let module = self.launch.module;
        let mut rest = fragment.with(fragment.mask & !active);
        rest.pc += 1;
        warp.add(rest);
        let mut outer = fragment.with(active);
        let Some(frame) = outer.calls.pop() else { return Ok(Flow::Choose) };
        if let Op::Call(call) = &module.code[frame.call].op {
            for (result, parameter) in
                call.results.iter().zip(&module.functions[fragment.function].results)
            {
                let from = fragment.local_base + parameter.offset as usize;
                let to = frame.local_base + *result as usize;
                for lane in lanes(active) {
                    warp.local[lane].copy_within(from..from + parameter.bytes as usize, to);
                }
            }
        }
        outer.pc = frame.call + 1;
        outer.function = frame.function;
        (outer.register_base, outer.predicate_base) = (frame.register_base, frame.predicate_base);
        outer.local_base = frame.local_base;
        warp.add(outer);
        Ok(Flow::Choose)
    }

    fn barrier(
        &mut self,
        warp: &mut Warp,
        fragment: &Fragment,
        active: u32,
        barrier: &Barrier,
    ) -> Step<Flow> {
        let lane = active.trailing_zeros();
        let uniform = |warp: &Warp, register: Reg| -> Step<u32> {
            let values = warp.registers.read(register, active)?;
            let first = values[lane as usize];
            match lanes(active).find(|other| values[*other] != first) {
                Some(other) => {
                    bad_operand(other as u32, "the lanes of a warp name different barriers")
                }
                None => Ok(first as u32),
            }
        };
        let id = uniform(warp, barrier.id)?;
        let threads = match barrier.threads {
            Some(register) => uniform(warp, register)?,
            None => self.launch.threads_per_block().next_multiple_of(32),
        };
        if id > 15 || threads == 0 || threads % 32 != 0 {
            return bad_operand(
                lane,
                format!("barrier {id} of {threads} threads: 16 barriers, a multiple of 32 threads"),
            );
        }
        if barrier.aligned && active != warp.exists {
            // Other lanes may still come to this instruction; if they cannot, nobody goes on.
            if warp.exited != 0 || active != fragment.mask {
                let missing = super::stop::describe(warp.exists & !active);
                return stop(
                    lane,
                    FaultKind::Divergent(format!(
                        "a barrier needs all threads of the warp, but {missing} do not take part"
                    )),
                );
            }
        }
        let mut rest = fragment.with(fragment.mask & !active);
        rest.pc += 1;
        warp.add(rest);
        if barrier.kind == BarrierKind::Arrive {
            if active != warp.exists {
                return stop(lane, FaultKind::Divergent("bar.arrive needs the whole warp".into()));
            }
            self.arrive(id, warp.index);
            let mut on = fragment.with(active);
            on.pc += 1;
            warp.add(on);
            return Ok(Flow::Choose);
        }
        let mut parked = fragment.with(active);
        parked.wait = Wait::Barrier { id, threads, aligned: barrier.aligned };
        warp.add(parked);
        Ok(Flow::Choose)
    }
}

/// Splits a fragment at a branch: the part lower in the code goes on, the other one waits.
fn split(warp: &mut Warp, fragment: Fragment, taken: u32, target: usize) -> Fragment {
    let mut jumped = fragment.with(taken);
    jumped.pc = target;
    let mut fell = fragment;
    fell.mask &= !taken;
    fell.pc += 1;
    let (run, wait) = if jumped.pc < fell.pc { (jumped, fell) } else { (fell, jumped) };
    warp.add(wait);
    run
}

/// Ends some lanes; the others go on behind the instruction.
fn leave(warp: &mut Warp, fragment: &Fragment, active: u32) -> Flow {
    let mut rest = fragment.with(fragment.mask & !active);
    rest.pc += 1;
    warp.add(rest);
    Flow::Choose
}

fn pack(warp: &mut Warp, active: u32, dst: Reg, sources: &[Reg], bits: u32) -> Step<()> {
    let mut word = [0u64; 32];
    for (index, source) in sources.iter().enumerate() {
        let part = warp.registers.read(*source, active)?;
        for lane in lanes(active) {
            word[lane] |= (part[lane] & (u64::MAX >> (64 - bits))) << (bits * index as u32);
        }
    }
    warp.registers.write(active, dst, |lane| word[lane]);
    Ok(())
}
