//! Branches, calls, fences, barriers.

use super::{Operand, Result, Statement};
use crate::isa::{Barrier, BarrierKind, Call, Op, Type};
use crate::target::Feature;

impl<'s> Statement<'_, '_, '_, 's> {
    fn label(&self, index: usize) -> Result<&'s str> {
        match self.at(index) {
            Operand::Name(label) => Ok(label),
            _ => self.error("a label expected"),
        }
    }

    pub fn bra(&mut self) -> Result<Op> {
        self.modifiers.take("uni");
        self.count(1..=1)?;
        self.body.refer(self.label(0)?, 0);
        Ok(Op::Branch { target: 0 })
    }

    pub fn brx(&mut self) -> Result<Op> {
        if !self.modifiers.take("idx") {
            return self.unsupported();
        }
        self.modifiers.take("uni");
        self.count(2..=2)?;
        let index = self.source(0, Type::B32)?;
        self.body.refer_list(self.label(1)?);
        Ok(Op::BranchIndexed { index, targets: Vec::new() })
    }

    pub fn call(&mut self) -> Result<Op> {
        self.modifiers.take("uni");
        let mut operands = self.operands.iter().peekable();
        let results = match operands.peek() {
            Some(Operand::List(list)) => {
                operands.next();
                list.clone()
            }
            _ => Vec::new(),
        };
        let Some(Operand::Name(name)) = operands.next() else {
            return self.error("a function name expected");
        };
        let arguments = match operands.next() {
            Some(Operand::List(list)) => list.clone(),
            None => Vec::new(),
            _ => return self.error("an argument list expected"),
        };
        if name.starts_with('%') || operands.next().is_some() {
            return self.error("indirect calls are not supported");
        }
        if *name == "vprintf" || name.starts_with("__assert") || matches!(*name, "malloc" | "free")
        {
            return self.error(format!("the system function {name} is not supported"));
        }
        let offsets = |list: &[Operand<'s>]| {
            list.iter().map(|operand| self.body.frame_offset(operand)).collect::<Result<Vec<_>>>()
        };
        let (arguments, results) = (offsets(&arguments)?, offsets(&results)?);
        if !self.body.builder.functions.iter().any(|f| f.name == *name && f.entry.is_none()) {
            return self.error(format!("no function {name} is declared"));
        }
        let function = self.body.builder.function_index(name);
        let callee = &self.body.builder.functions[function];
        if callee.parameters.len() != arguments.len() || callee.results.len() != results.len() {
            return self.error(format!("wrong number of arguments or results for {name}"));
        }
        Ok(Op::Call(Box::new(Call { function, arguments, results })))
    }

    pub fn leave(&mut self, op: Op) -> Result<Op> {
        self.modifiers.take("uni");
        self.count(0..=0)?;
        Ok(op)
    }

    /// Fences order memory accesses; those of one launch are executed in order anyway.
    pub fn fence(&mut self, root: &str) -> Result<Op> {
        self.count(0..=0)?;
        if root == "membar" {
            return match self.modifiers.take_one(&[("cta", ()), ("gl", ()), ("sys", ())]) {
                Some(()) => Ok(Op::Nothing),
                None => self.unsupported(),
            };
        }
        let semantics = ["sc", "acq_rel", "acquire", "release"];
        let _ = semantics.iter().any(|word| self.modifiers.take(word));
        match self.modifiers.take_one(&[("cta", 70), ("gpu", 70), ("sys", 70), ("cluster", 90)]) {
            Some(number) => self.body.require(Feature::Sm(number)).map(|()| Op::Nothing),
            None => self.unsupported(),
        }
    }

    pub fn hint(&mut self, root: &str) -> Result<Op> {
        match root {
            "griddepcontrol" => {
                self.body.require(Feature::Sm(90))?;
                self.count(0..=0)?;
                if !self.modifiers.take("launch_dependents") && !self.modifiers.take("wait") {
                    return self.unsupported();
                }
            }
            "setmaxnreg" => {
                self.body.require(Feature::RegisterReallocation)?;
                self.count(1..=1)?;
                if !self.modifiers.take("inc") && !self.modifiers.take("dec") {
                    return self.unsupported();
                }
                self.modifiers.take("sync");
                self.modifiers.take("aligned");
                self.required_type()?;
            }
            "nanosleep" => {
                self.count(1..=1)?;
                self.required_type()?;
                self.source(0, Type::U32)?;
            }
            _ => {
                self.count(1..=1)?;
                self.modifiers.take("mask");
            }
        }
        Ok(Op::Nothing)
    }

    pub fn barrier(&mut self, root: &str) -> Result<Op> {
        if root == "bar" && self.modifiers.take("warp") {
            return self.sync_warp();
        }
        self.modifiers.take("cta");
        let aligned = self.modifiers.take("aligned") || root == "bar";
        if self.modifiers.take("sync") {
            self.count(1..=2)?;
            return self.barrier_op(BarrierKind::Sync, 0, 2, aligned);
        }
        if self.modifiers.take("arrive") {
            self.count(2..=2)?;
            return self.barrier_op(BarrierKind::Arrive, 0, 2, aligned);
        }
        if !self.modifiers.take("red") {
            return self.unsupported();
        }
        self.count(3..=4)?;
        let kind = if self.modifiers.take("popc") {
            BarrierKind::Count { dst: self.destination(0)? }
        } else {
            let dst = self.body.predicate(self.at(0))?;
            match self.modifiers.take_one(&[("and", true), ("or", false)]) {
                Some(true) => BarrierKind::All { dst },
                Some(false) => BarrierKind::Any { dst },
                None => return self.unsupported(),
            }
        };
        match (self.required_type()?, kind) {
            (Type::U32, BarrierKind::Count { .. })
            | (Type::Pred, BarrierKind::All { .. } | BarrierKind::Any { .. }) => {}
            _ => return self.unsupported(),
        }
        self.barrier_op(kind, 1, self.operands.len() - 1, aligned)
    }

    /// Operands `first` and, before `end`, `first + 1` are the barrier and the thread count.
    fn barrier_op(
        &mut self,
        kind: BarrierKind,
        first: usize,
        end: usize,
        aligned: bool,
    ) -> Result<Op> {
        let end = end.min(self.operands.len());
        let id = self.source(first, Type::B32)?;
        let threads = if first + 1 < end { Some(self.source(first + 1, Type::B32)?) } else { None };
        let condition = match kind {
            BarrierKind::Sync | BarrierKind::Arrive => None,
            _ => Some(self.guard(end)?),
        };
        Ok(Op::Barrier(Box::new(Barrier { kind, id, threads, aligned, condition })))
    }
}
