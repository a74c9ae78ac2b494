//! Comparisons.

use super::{Operand, Result, Statement};
use crate::isa::{BoolOp, Compare, CompareType, FloatType, Op, SetPredicate, Type};
use crate::target::Feature;

impl<'s> Statement<'_, '_, '_, 's> {
    /// Takes the operator. `.lo`, `.ls`, `.hi`, `.hs` are the unsigned spellings.
    fn compare(&mut self) -> Result<Compare> {
        let choice = self.modifiers.take_one(&[
            ("eq", Compare::Eq),
            ("ne", Compare::Ne),
            ("lt", Compare::Lt),
            ("le", Compare::Le),
            ("gt", Compare::Gt),
            ("ge", Compare::Ge),
            ("lo", Compare::Lt),
            ("ls", Compare::Le),
            ("hi", Compare::Gt),
            ("hs", Compare::Ge),
            ("equ", Compare::Equ),
            ("neu", Compare::Neu),
            ("ltu", Compare::Ltu),
            ("leu", Compare::Leu),
            ("gtu", Compare::Gtu),
            ("geu", Compare::Geu),
            ("num", Compare::Num),
            ("nan", Compare::Nan),
        ]);
        match choice {
            Some(compare) => Ok(compare),
            None => self.error("a comparison expected"),
        }
    }

    fn compare_type(&mut self, ty: Type, compare: Compare) -> Result<CompareType> {
        let flush = self.modifiers.take("ftz");
        if let Some((float, count)) = ty.float() {
            if float == FloatType::Bf16 {
                self.body.require(Feature::Sm(90))?;
            }
            return match (float, count) {
                (FloatType::F32, 2) => self.unsupported(),
                (_, 2) if flush => self.unsupported(),
                (_, 2) => Ok(CompareType::Half2(float)),
                _ => Ok(CompareType::Float { ty: float, flush }),
            };
        }
        let ordered = matches!(
            compare,
            Compare::Eq | Compare::Ne | Compare::Lt | Compare::Le | Compare::Gt | Compare::Ge
        );
        match ty.integer() {
            Some(integer) if ordered && !flush && integer.bits >= 16 => {
                Ok(CompareType::Int(integer))
            }
            _ => self.unsupported(),
        }
    }

    fn comparison(&mut self, first: usize, ty: Type, compare: Compare) -> Result<SetPredicate> {
        let op = self.modifiers.take_one(&[
            ("and", BoolOp::And),
            ("or", BoolOp::Or),
            ("xor", BoolOp::Xor),
        ]);
        self.count(if op.is_some() { 4..=4 } else { 3..=3 })?;
        let combine = match op {
            Some(op) => Some((op, self.guard(first + 2)?)),
            None => None,
        };
        Ok(SetPredicate {
            compare,
            ty: self.compare_type(ty, compare)?,
            dst: None,
            complement: None,
            a: self.source(first, ty)?,
            b: self.source(first + 1, ty)?,
            combine,
        })
    }

    pub fn setp(&mut self) -> Result<Op> {
        let compare = self.compare()?;
        let ty = self.required_type()?;
        let mut comparison = self.comparison(1, ty, compare)?;
        match self.at(0).clone() {
            Operand::Pair(dst, complement) => {
                comparison.dst = self.body.predicate_destination(&dst)?;
                comparison.complement = self.body.predicate_destination(&complement)?;
            }
            dst => comparison.dst = self.body.predicate_destination(&dst)?,
        }
        Ok(Op::SetPredicate(Box::new(comparison)))
    }

    pub fn set(&mut self) -> Result<Op> {
        let compare = self.compare()?;
        let result = self.required_type()?;
        let float_result = match result {
            Type::F32 => true,
            Type::U32 | Type::S32 => false,
            _ => return self.unsupported(),
        };
        let ty = self.required_type()?;
        let comparison = self.comparison(1, ty, compare)?;
        if matches!(comparison.ty, CompareType::Half2(_)) {
            return self.unsupported();
        }
        Ok(Op::Set { comparison: Box::new(comparison), float_result, dst: self.destination(0)? })
    }
}
