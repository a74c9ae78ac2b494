//! Warp-wide instructions other than matrix ones.

use super::{Operand, Result, Statement};
use crate::isa::{
    Collective, CollectiveKind, Compare, IntType, Members, Op, ReduceOp, ShuffleMode, Type,
    VoteMode,
};
use crate::target::Feature;

impl<'s> Statement<'_, '_, '_, 's> {
    fn collective(&mut self, kind: CollectiveKind, mask: usize) -> Result<Collective> {
        Ok(Collective {
            kind,
            members: Members::Mask(self.source(mask, Type::B32)?),
            destinations: Vec::new(),
            sources: Vec::new(),
            predicate: None,
            condition: None,
            address: None,
        })
    }

    /// The forms without `.sync` died with sm_70.
    fn need_sync(&mut self) -> Result<()> {
        if self.modifiers.take("sync") { Ok(()) } else { self.unsupported() }
    }

    pub fn sync_warp(&mut self) -> Result<Op> {
        self.need_sync()?;
        self.count(1..=1)?;
        Ok(Op::Collective(Box::new(self.collective(CollectiveKind::SyncWarp, 0)?)))
    }

    pub fn shfl(&mut self) -> Result<Op> {
        self.need_sync()?;
        self.count(5..=5)?;
        let mode = self.modifiers.take_one(&[
            ("up", ShuffleMode::Up),
            ("down", ShuffleMode::Down),
            ("bfly", ShuffleMode::Butterfly),
            ("idx", ShuffleMode::Index),
        ]);
        let (Some(mode), Type::B32) = (mode, self.required_type()?) else {
            return self.unsupported();
        };
        let mut collective = self.collective(CollectiveKind::Shuffle(mode), 4)?;
        for operand in 1..4 {
            collective.sources.push(self.source(operand, Type::B32)?);
        }
        let (dst, predicate) = match self.at(0).clone() {
            Operand::Pair(dst, predicate) => (*dst, self.body.predicate_destination(&predicate)?),
            dst => (dst, None),
        };
        collective.destinations.push(self.body.optional_destination(&dst)?);
        collective.predicate = predicate;
        Ok(Op::Collective(Box::new(collective)))
    }

    pub fn vote(&mut self) -> Result<Op> {
        self.need_sync()?;
        self.count(3..=3)?;
        let mode = self.modifiers.take_one(&[
            ("all", VoteMode::All),
            ("any", VoteMode::Any),
            ("uni", VoteMode::Uniform),
            ("ballot", VoteMode::Ballot),
        ]);
        let Some(mode) = mode else { return self.unsupported() };
        let mut collective = self.collective(CollectiveKind::Vote(mode), 2)?;
        collective.condition = Some(self.guard(1)?);
        match (mode, self.required_type()?) {
            (VoteMode::Ballot, Type::B32) => {
                collective.destinations.push(Some(self.destination(0)?))
            }
            (VoteMode::Ballot, _) => return self.unsupported(),
            (_, Type::Pred) => collective.predicate = Some(self.body.predicate(self.at(0))?),
            _ => return self.unsupported(),
        }
        Ok(Op::Collective(Box::new(collective)))
    }

    pub fn match_(&mut self) -> Result<Op> {
        let all = self.modifiers.take_one(&[("any", false), ("all", true)]);
        self.need_sync()?;
        self.count(3..=3)?;
        let ty = self.required_type()?;
        let (Some(all), Type::B32 | Type::B64) = (all, ty) else { return self.unsupported() };
        let kind = if all { CollectiveKind::MatchAll } else { CollectiveKind::MatchAny };
        let mut collective = self.collective(kind, 2)?;
        collective.sources.push(self.source(1, ty)?);
        let dst = match self.at(0).clone() {
            Operand::Pair(dst, predicate) if all => {
                collective.predicate = self.body.predicate_destination(&predicate)?;
                *dst
            }
            dst => dst,
        };
        collective.destinations.push(self.body.optional_destination(&dst)?);
        Ok(Op::Collective(Box::new(collective)))
    }

    pub fn redux(&mut self) -> Result<Op> {
        self.need_sync()?;
        self.count(3..=3)?;
        let op = self
            .modifiers
            .parts
            .iter()
            .position(|part| matches!(*part, "add" | "min" | "max" | "and" | "or" | "xor"));
        let Some(op) = op.map(|index| self.modifiers.parts.remove(index)) else {
            return self.unsupported();
        };
        let ty = self.required_type()?;
        let integer = IntType { bits: 32, signed: ty == Type::S32 };
        let reduce = match (op, ty) {
            ("add", Type::U32 | Type::S32) => ReduceOp::Add,
            ("min", Type::U32 | Type::S32) => ReduceOp::Min(integer),
            ("max", Type::U32 | Type::S32) => ReduceOp::Max(integer),
            ("and", Type::B32) => ReduceOp::And,
            ("or", Type::B32) => ReduceOp::Or,
            ("xor", Type::B32) => ReduceOp::Xor,
            ("min" | "max", Type::F32) => {
                self.body.require(Feature::FloatReduction)?;
                let compare = if op == "min" { Compare::Lt } else { Compare::Gt };
                let magnitude = self.modifiers.take("abs");
                ReduceOp::Float { compare, magnitude, nan: self.modifiers.take("NaN") }
            }
            _ => return self.unsupported(),
        };
        let mut collective = self.collective(CollectiveKind::Reduce(reduce), 2)?;
        collective.sources.push(self.source(1, ty)?);
        collective.destinations.push(Some(self.destination(0)?));
        Ok(Op::Collective(Box::new(collective)))
    }

    pub fn activemask(&mut self) -> Result<Op> {
        self.count(1..=1)?;
        if self.required_type()? != Type::B32 {
            return self.unsupported();
        }
        Ok(Op::ActiveMask { dst: self.destination(0)? })
    }

    pub fn elect(&mut self) -> Result<Op> {
        self.body.require(Feature::Sm(90))?;
        self.need_sync()?;
        self.count(2..=2)?;
        let Operand::Pair(dst, predicate) = self.at(0).clone() else { return self.unsupported() };
        let mut collective = self.collective(CollectiveKind::Elect, 1)?;
        collective.destinations.push(self.body.optional_destination(&dst)?);
        collective.predicate = self.body.predicate_destination(&predicate)?;
        Ok(Op::Collective(Box::new(collective)))
    }
}
