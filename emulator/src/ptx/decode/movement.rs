//! Moves, selections and address conversions.

use super::{Operand, Result, Statement};
use crate::isa::{Int3, IntType, Op, PermuteMode, Space, Type};
use crate::target::Feature;

impl<'s> Statement<'_, '_, '_, 's> {
    pub fn mov(&mut self) -> Result<Op> {
        self.count(2..=2)?;
        let ty = self.required_type()?;
        if ty == Type::Pred {
            let src = self.guard(1)?;
            return Ok(Op::CopyPred { dst: self.body.predicate(self.at(0))?, src });
        }
        if ty.bits() == 128 {
            return self.unsupported();
        }
        match (self.at(0).clone(), self.at(1).clone()) {
            (Operand::Vector(parts), source) => {
                let bits = self.part_bits(ty, parts.len())?;
                let src = self.body.source(&source, ty)?;
                let destinations = parts
                    .iter()
                    .map(|part| self.body.optional_destination(part))
                    .collect::<Result<_>>()?;
                Ok(Op::Unpack { destinations, src, bits })
            }
            (destination, Operand::Vector(parts)) => {
                let bits = self.part_bits(ty, parts.len())?;
                let part_type = [Type::B8, Type::B16, Type::B32][bits.ilog2() as usize - 3];
                let dst = self.body.destination(&destination)?;
                let sources = parts
                    .iter()
                    .map(|part| self.body.source(part, part_type))
                    .collect::<Result<_>>()?;
                Ok(Op::Pack { dst, sources, bits })
            }
            (destination, source) => {
                let dst = self.body.destination(&destination)?;
                Ok(Op::Copy { dst, src: self.body.source(&source, ty)? })
            }
        }
    }

    /// The width of one part of a packed value.
    fn part_bits(&self, ty: Type, parts: usize) -> Result<u32> {
        let bits = ty.bits() / parts.max(1) as u32;
        if matches!(parts, 2 | 4) && bits >= 8 && bits * parts as u32 == ty.bits() {
            return Ok(bits);
        }
        self.error(format!("{parts} parts do not make a value of {} bits", ty.bits()))
    }

    pub fn selp(&mut self) -> Result<Op> {
        self.count(4..=4)?;
        let ty = self.required_type()?;
        if ty.bits() < 16 || ty.bits() > 64 {
            return self.unsupported();
        }
        Ok(Op::Select {
            dst: self.destination(0)?,
            a: self.source(1, ty)?,
            b: self.source(2, ty)?,
            condition: self.guard(3)?,
        })
    }

    pub fn slct(&mut self) -> Result<Op> {
        self.count(4..=4)?;
        let flush = self.modifiers.take("ftz");
        let (ty, selector) = (self.required_type()?, self.required_type()?);
        if !matches!(selector, Type::S32 | Type::F32) || (flush && selector != Type::F32) {
            return self.unsupported();
        }
        Ok(Op::SelectBySign {
            dst: self.destination(0)?,
            a: self.source(1, ty)?,
            b: self.source(2, ty)?,
            c: self.source(3, selector)?,
            float: selector == Type::F32,
            flush,
        })
    }

    fn window(&mut self) -> Option<Space> {
        self.modifiers.take_one(&[
            ("global", Space::Global),
            ("shared", Space::Shared),
            ("shared::cta", Space::Shared),
            ("local", Space::Local),
            ("const", Space::Const),
            ("param", Space::Param),
            ("param::entry", Space::Param),
        ])
    }

    pub fn cvta(&mut self) -> Result<Op> {
        self.count(2..=2)?;
        let to_generic = !self.modifiers.take("to");
        let Some(space) = self.window() else { return self.error("cvta needs a state space") };
        let ty = self.required_type()?;
        if ty != Type::U64 {
            return self.unsupported();
        }
        Ok(Op::ConvertAddress {
            dst: self.destination(0)?,
            src: self.source(1, ty)?,
            space,
            to_generic,
        })
    }

    pub fn isspacep(&mut self) -> Result<Op> {
        self.count(2..=2)?;
        let Some(space) = self.window() else { return self.error("isspacep needs a state space") };
        Ok(Op::IsSpace {
            dst: self.body.predicate(self.at(0))?,
            src: self.source(1, Type::B64)?,
            space,
        })
    }

    pub fn prmt(&mut self) -> Result<Op> {
        self.count(4..=4)?;
        if self.required_type()? != Type::B32 {
            return self.unsupported();
        }
        let mode = self.modifiers.take_one(&[
            ("f4e", PermuteMode::Forward4),
            ("b4e", PermuteMode::Backward4),
            ("rc8", PermuteMode::Replicate8),
            ("ecl", PermuteMode::EdgeLeft),
            ("ecr", PermuteMode::EdgeRight),
            ("rc16", PermuteMode::Replicate16),
        ]);
        Ok(Op::Int3 {
            op: Int3::Permute(mode.unwrap_or(PermuteMode::Selected)),
            ty: IntType { bits: 32, signed: false },
            dst: self.destination(0)?,
            a: self.source(1, Type::B32)?,
            b: self.source(2, Type::B32)?,
            c: self.source(3, Type::B32)?,
        })
    }

    pub fn create_policy(&mut self) -> Result<Op> {
        // A policy steers the caches only: any value will do.
        self.body.require(Feature::Sm(80))?;
        if self.modifiers.take("range") {
            return self.unsupported();
        }
        self.modifiers.take("fractional");
        self.modifiers.take("cvt");
        self.modifiers.take("L2");
        self.modifiers.drop_prefixed("L2::");
        if self.required_type()? != Type::B64 {
            return self.unsupported();
        }
        let src = self.body.constant(0);
        Ok(Op::Copy { dst: self.destination(0)?, src })
    }
}
