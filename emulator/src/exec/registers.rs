//! The registers of a warp: 32 lanes side by side, with a record of which lanes were written.

use super::stop::{Cause, Step, Stop, lanes};
use crate::isa::{Guard, PredReg, Reg};

/// One register of all lanes.
pub(super) type Lanes = [u64; 32];

/// Registers and predicates of all calls in progress. `base` and `predicate_base` are where those
/// of the running function start.
#[derive(Default)]
pub(super) struct Registers {
    values: Vec<Lanes>,
    defined: Vec<u32>,
    predicates: Vec<u32>,
    predicates_defined: Vec<u32>,
    pub base: usize,
    pub predicate_base: usize,
}

impl Registers {
    /// Makes a frame of undefined registers for some lanes.
    pub fn enter(
        &mut self,
        base: usize,
        count: usize,
        predicate_base: usize,
        predicates: usize,
        mask: u32,
    ) {
        if self.values.len() < base + count {
            self.values.resize(base + count, [0; 32]);
            self.defined.resize(base + count, 0);
        }
        if self.predicates.len() < predicate_base + predicates {
            self.predicates.resize(predicate_base + predicates, 0);
            self.predicates_defined.resize(predicate_base + predicates, 0);
        }
        self.defined[base..base + count].iter_mut().for_each(|defined| *defined &= !mask);
        self.predicates_defined[predicate_base..predicate_base + predicates]
            .iter_mut()
            .for_each(|defined| *defined &= !mask);
        (self.base, self.predicate_base) = (base, predicate_base);
    }

    /// The register's value in lanes that must have written it.
    #[inline(always)]
    pub fn read(&self, register: Reg, active: u32) -> Step<&Lanes> {
        let index = self.base + register.0 as usize;
        let undefined = active & !self.defined[index];
        if undefined != 0 {
            return Err(Self::undefined(Cause::Register(register), undefined));
        }
        Ok(&self.values[index])
    }

    #[cold]
    fn undefined(cause: Cause, mask: u32) -> Box<Stop> {
        Box::new(Stop { cause, lane: mask.trailing_zeros(), pc: None, warp: None })
    }

    /// Writes a register lane by lane.
    #[inline(always)]
    pub fn write(&mut self, active: u32, register: Reg, value: impl Fn(usize) -> u64) {
        let index = self.base + register.0 as usize;
        self.defined[index] |= active;
        let cells = &mut self.values[index];
        if active == u32::MAX {
            for (lane, cell) in cells.iter_mut().enumerate() {
                *cell = value(lane);
            }
        } else {
            for lane in lanes(active) {
                cells[lane] = value(lane);
            }
        }
    }

    /// `dst = f(a)`.
    #[inline(always)]
    pub fn map1(&mut self, active: u32, dst: Reg, a: Reg, f: impl Fn(u64) -> u64) -> Step<()> {
        let a = *self.read(a, active)?;
        self.write(active, dst, |lane| f(a[lane]));
        Ok(())
    }

    /// `dst = f(a, b)`.
    #[inline(always)]
    pub fn map2(
        &mut self,
        active: u32,
        dst: Reg,
        (a, b): (Reg, Reg),
        f: impl Fn(u64, u64) -> u64,
    ) -> Step<()> {
        let (a, b) = (*self.read(a, active)?, *self.read(b, active)?);
        self.write(active, dst, |lane| f(a[lane], b[lane]));
        Ok(())
    }

    /// `dst = f(a, b, c)`.
    #[inline(always)]
    pub fn map3(
        &mut self,
        active: u32,
        dst: Reg,
        (a, b, c): (Reg, Reg, Reg),
        f: impl Fn(u64, u64, u64) -> u64,
    ) -> Step<()> {
        let (a, b, c) = (*self.read(a, active)?, *self.read(b, active)?, *self.read(c, active)?);
        self.write(active, dst, |lane| f(a[lane], b[lane], c[lane]));
        Ok(())
    }

    /// Copies a register. Compilers move values that no path defines, so this is no use of one:
    /// the copy is undefined where the source is.
    pub fn copy(&mut self, active: u32, dst: Reg, src: Reg) {
        let (dst, src) = (self.base + dst.0 as usize, self.base + src.0 as usize);
        self.merge(active, dst, src);
    }

    /// `dst = condition ? a : b`, a copy of whichever is chosen.
    pub fn select(&mut self, active: u32, dst: Reg, a: Reg, b: Reg, condition: u32) {
        let base = self.base;
        let (dst, a, b) = (base + dst.0 as usize, base + a.0 as usize, base + b.0 as usize);
        if dst == b {
            self.merge(active & condition, dst, a);
        } else {
            self.merge(active & condition, dst, a);
            self.merge(active & !condition, dst, b);
        }
    }

    fn merge(&mut self, active: u32, dst: usize, src: usize) {
        self.defined[dst] = self.defined[dst] & !active | self.defined[src] & active;
        let value = self.values[src];
        let cells = &mut self.values[dst];
        if active == u32::MAX {
            *cells = value;
        } else {
            for lane in lanes(active) {
                cells[lane] = value[lane];
            }
        }
    }

    /// The lanes where a predicate holds.
    #[inline(always)]
    pub fn test(&self, guard: Guard, active: u32) -> Step<u32> {
        let index = self.predicate_base + guard.register.0 as usize;
        let undefined = active & !self.predicates_defined[index];
        if undefined != 0 {
            return Err(Self::undefined(Cause::Predicate(guard.register), undefined));
        }
        Ok(if guard.negated { !self.predicates[index] } else { self.predicates[index] })
    }

    /// Sets a predicate in the active lanes.
    #[inline(always)]
    pub fn set_predicate(&mut self, active: u32, register: PredReg, value: u32) {
        let index = self.predicate_base + register.0 as usize;
        self.predicates_defined[index] |= active;
        self.predicates[index] = self.predicates[index] & !active | value & active;
    }

    /// Copies a predicate; like [`copy`](Self::copy) no use of it.
    pub fn copy_predicate(&mut self, active: u32, dst: PredReg, src: Guard) {
        let from = self.predicate_base + src.register.0 as usize;
        let value = if src.negated { !self.predicates[from] } else { self.predicates[from] };
        let defined = self.predicates_defined[from];
        self.set_predicate(active, dst, value);
        let to = self.predicate_base + dst.0 as usize;
        self.predicates_defined[to] = self.predicates_defined[to] & !active | defined & active;
    }
}
