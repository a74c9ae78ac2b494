//! Loads, stores, atomics, asynchronous copies.

use super::{Operand, Result, Statement};
use crate::isa::{
    Address, AsyncCopy, Atomic, AtomicOp, Base, Load, Op, SourceBytes, Space, Store, Type,
};
use crate::ptx::body::AddressedSpace;
use crate::target::Feature;

impl<'s> Statement<'_, '_, '_, 's> {
    fn space(&mut self) -> Space {
        self.modifiers
            .take_one(&[
                ("global", Space::Global),
                ("shared", Space::Shared),
                ("shared::cta", Space::Shared),
                ("local", Space::Local),
                ("const", Space::Const),
                ("param", Space::Param),
                ("param::entry", Space::Param),
                ("param::func", Space::Param),
            ])
            .unwrap_or(Space::Generic)
    }

    /// An address operand in a space. Parameters of calls live in the frame.
    fn address_in(&mut self, index: usize, space: Space) -> Result<(Address, Space)> {
        let operand = self.at(index).clone();
        let (address, found) = self.body.address(&operand)?;
        let fits = match (space, found) {
            (_, None) => space,
            (Space::Param, Some(AddressedSpace::Frame)) => Space::Local,
            (Space::Param, Some(AddressedSpace::Argument)) => space,
            (Space::Local, Some(AddressedSpace::Frame)) => space,
            (Space::Shared, Some(AddressedSpace::Shared)) => space,
            (Space::Global | Space::Const | Space::Generic, Some(AddressedSpace::Memory)) => space,
            // A shared or local symbol without a state space would need its generic address.
            _ => return self.error("the symbol is in another state space"),
        };
        Ok((address, fits))
    }

    /// Takes memory ordering and scope; true for strong accesses.
    fn ordering(&mut self, allowed: &[&str]) -> Result<bool> {
        let mut strong = false;
        for word in ["volatile", "relaxed", "acquire", "release", "acq_rel"] {
            if self.modifiers.take(word) {
                if !allowed.contains(&word) {
                    return self
                        .error(format!("unknown modifier .{word} of {}", self.modifiers.opcode));
                }
                strong = true;
            }
        }
        let weak = self.modifiers.take("weak");
        let mmio = self.modifiers.take("mmio");
        let scoped =
            ["cta", "gpu", "sys", "cluster"].iter().any(|scope| self.modifiers.take(scope));
        if (weak && strong) || ((scoped || mmio) && !strong) {
            return self.unsupported();
        }
        Ok(strong)
    }

    /// Takes cache operators and hints; true if a cache policy operand follows.
    fn cache_modifiers(&mut self, operators: &[&str]) -> bool {
        for operator in operators {
            self.modifiers.take(operator);
        }
        for level in ["L1", "L2"] {
            for hint in
                ["evict_normal", "evict_unchanged", "evict_first", "evict_last", "no_allocate"]
            {
                if level == "L2" && matches!(hint, "evict_unchanged" | "no_allocate") {
                    continue;
                }
                let found = self
                    .modifiers
                    .parts
                    .iter()
                    .position(|part| part.strip_prefix(level) == Some(&format!("::{hint}")));
                if let Some(index) = found {
                    self.modifiers.parts.remove(index);
                }
            }
        }
        for size in ["L2::64B", "L2::128B", "L2::256B"] {
            self.modifiers.take(size);
        }
        self.modifiers.take("L2::cache_hint")
    }

    fn vector_length(&mut self, ty: Type, space: Space) -> Result<usize> {
        let length = self.modifiers.take_one(&[("v2", 2), ("v4", 4), ("v8", 8)]).unwrap_or(1);
        let bits = length as u32 * ty.bits();
        if bits > 256 || (length == 8 && ty.bits() != 32) {
            return self.unsupported();
        }
        if bits > 128 {
            if space != Space::Global {
                return self.error("256-bit accesses go to global memory only");
            }
            self.body.require(Feature::Sm(100))?;
        }
        Ok(length)
    }

    fn memory_type(&mut self) -> Result<Type> {
        let ty = self.required_type()?;
        let legal =
            (ty.integer().is_some() || matches!(ty, Type::F32 | Type::F64)) && ty.bits() <= 64;
        if legal { Ok(ty) } else { self.unsupported() }
    }

    fn elements(&self, index: usize, length: usize) -> Result<Vec<Operand<'s>>> {
        let list = match self.at(index) {
            Operand::Vector(parts) => parts.clone(),
            single => vec![single.clone()],
        };
        if list.len() != length {
            return self.error(format!("{length} elements expected, {} given", list.len()));
        }
        Ok(list)
    }

    /// Checks the operand count, which a cache policy raises by one.
    fn check_policy(&self, operands: usize, hinted: bool) -> Result<()> {
        let wanted = operands + usize::from(hinted);
        self.count(wanted..=wanted)
    }

    pub fn ld(&mut self) -> Result<Op> {
        let space = self.space();
        let strong = self.ordering(&["volatile", "relaxed", "acquire"])?;
        let non_coherent = self.modifiers.take("nc");
        if non_coherent && (space != Space::Global || strong) {
            return self.unsupported();
        }
        let hinted = self.cache_modifiers(&["ca", "cg", "cs", "lu", "cv"]);
        self.check_policy(2, hinted)?;
        let ty = self.memory_type()?;
        let length = self.vector_length(ty, space)?;
        let (address, space) = self.address_in(1, space)?;
        let mut destinations = Vec::new();
        for element in self.elements(0, length)? {
            destinations.push(match element {
                Operand::Sink => None,
                operand => Some(self.body.sized_destination(&operand)?),
            });
        }
        Ok(Op::Load(Box::new(Load { space, ty, destinations, address, strong })))
    }

    pub fn st(&mut self) -> Result<Op> {
        let space = self.space();
        if space == Space::Const {
            return self.unsupported();
        }
        let strong = self.ordering(&["volatile", "relaxed", "release"])?;
        let hinted = self.cache_modifiers(&["wb", "cg", "cs", "wt"]);
        self.check_policy(2, hinted)?;
        let ty = self.memory_type()?;
        let length = self.vector_length(ty, space)?;
        let (address, space) = self.address_in(0, space)?;
        if space == Space::Param {
            return self.error("kernel parameters cannot be written");
        }
        let mut sources = Vec::new();
        for element in self.elements(1, length)? {
            sources.push(self.body.source(&element, ty)?);
        }
        Ok(Op::Store(Box::new(Store { space, ty, sources, address, strong })))
    }

    pub fn atomic(&mut self, returns: bool) -> Result<Op> {
        let space = self.space();
        if !matches!(space, Space::Generic | Space::Global | Space::Shared) {
            return self.unsupported();
        }
        self.ordering_or_scope()?;
        let op = self.modifiers.take_one(&[
            ("and", AtomicOp::And),
            ("or", AtomicOp::Or),
            ("xor", AtomicOp::Xor),
            ("exch", AtomicOp::Exchange),
            ("cas", AtomicOp::CompareSwap),
            ("add", AtomicOp::Add),
            ("inc", AtomicOp::Inc),
            ("dec", AtomicOp::Dec),
            ("min", AtomicOp::Min),
            ("max", AtomicOp::Max),
        ]);
        let no_flush = self.modifiers.take("noftz");
        let hinted = self.modifiers.take("L2::cache_hint");
        let ty = self.required_type()?;
        let Some(op) = op else { return self.unsupported() };
        self.check_atomic(op, ty, no_flush, returns)?;
        let first = usize::from(returns);
        self.check_policy(first + if op == AtomicOp::CompareSwap { 3 } else { 2 }, hinted)?;
        let destination = if returns { self.body.optional_destination(self.at(0))? } else { None };
        let (address, space) = self.address_in(first, space)?;
        let b = self.source(first + 1, ty)?;
        let c = if op == AtomicOp::CompareSwap { Some(self.source(first + 2, ty)?) } else { None };
        Ok(Op::Atomic(Box::new(Atomic { op, space, ty, destination, address, b, c })))
    }

    /// Atomics may have a scope without an ordering.
    fn ordering_or_scope(&mut self) -> Result<()> {
        for word in ["relaxed", "acquire", "release", "acq_rel", "cta", "gpu", "sys", "cluster"] {
            self.modifiers.take(word);
        }
        Ok(())
    }

    fn check_atomic(&self, op: AtomicOp, ty: Type, no_flush: bool, returns: bool) -> Result<()> {
        let bits = matches!(ty, Type::B32 | Type::B64);
        let integers = matches!(ty, Type::U32 | Type::U64 | Type::S32 | Type::S64);
        let halves = matches!(ty, Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2);
        let legal = match op {
            AtomicOp::And | AtomicOp::Or | AtomicOp::Xor => bits,
            AtomicOp::Exchange => bits && returns,
            AtomicOp::CompareSwap => (bits || ty == Type::B16) && returns,
            AtomicOp::Add => {
                (integers && ty != Type::S64)
                    || matches!(ty, Type::F32 | Type::F64)
                    || (halves && no_flush)
            }
            AtomicOp::Inc | AtomicOp::Dec => ty == Type::U32,
            AtomicOp::Min | AtomicOp::Max => integers,
        };
        if matches!(ty, Type::Bf16 | Type::Bf16x2) {
            self.body.require(Feature::Sm(90))?;
        }
        if legal && no_flush == halves { Ok(()) } else { self.unsupported() }
    }

    pub fn cp(&mut self) -> Result<Op> {
        if !self.modifiers.take("async") {
            return self.unsupported();
        }
        if self.modifiers.take("commit_group") {
            self.count(0..=0)?;
            return Ok(Op::AsyncCommit);
        }
        if self.modifiers.take("wait_all") {
            self.count(0..=0)?;
            return Ok(Op::AsyncWait { pending: None });
        }
        if self.modifiers.take("wait_group") {
            self.count(1..=1)?;
            return Ok(Op::AsyncWait { pending: Some(self.literal(0)? as u32) });
        }
        let cached_everywhere = match self.modifiers.take_one(&[("ca", true), ("cg", false)]) {
            Some(choice) => choice,
            None => return self.unsupported(),
        };
        let to_shared = self.modifiers.take("shared") || self.modifiers.take("shared::cta");
        if !to_shared || !self.modifiers.take("global") {
            return self.unsupported();
        }
        let hinted = self.cache_modifiers(&[]);
        let plain = 3 + usize::from(hinted);
        self.count(plain..=plain + 1)?;
        let bytes = self.literal(2)? as u32;
        if !(bytes == 16 || (cached_everywhere && matches!(bytes, 4 | 8))) {
            return self.error("cp.async copies 4, 8 or 16 bytes (.ca) or 16 (.cg)");
        }
        let source_bytes = if self.operands.len() == plain {
            SourceBytes::All
        } else if self.body.is_predicate(self.at(3)) {
            SourceBytes::IgnoreIf(self.guard(3)?)
        } else {
            SourceBytes::Register(self.source(3, Type::B32)?)
        };
        let (destination, _) = self.address_in(0, Space::Shared)?;
        let (source, _) = self.address_in(1, Space::Global)?;
        Ok(Op::AsyncCopy(Box::new(AsyncCopy { destination, source, bytes, source_bytes })))
    }

    pub fn cache_hint(&mut self, root: &str) -> Result<Op> {
        let levels: &[&str] = match root {
            "prefetch" => &["L1", "L2", "L2::evict_last", "L2::evict_normal"],
            "prefetchu" => &["L1"],
            "discard" => &["L2"],
            _ => &["L2::evict_normal"],
        };
        let space = self.space();
        if !matches!(space, Space::Generic | Space::Global | Space::Local) {
            return self.unsupported();
        }
        if !levels.iter().any(|level| self.modifiers.take(level)) {
            return self.unsupported();
        }
        if root == "discard" {
            // It makes the memory's content undefined, which is more than a hint.
            return self.unsupported();
        }
        let (address, _) = self.address_in(0, space)?;
        debug_assert!(matches!(address.base, Base::Register(_) | Base::Absolute | Base::Frame));
        Ok(Op::Nothing)
    }
}
