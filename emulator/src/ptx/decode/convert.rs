//! `cvt`.

use super::{Operand, Result, Statement};
use crate::isa::{Convert, Op, Type};
use crate::numeric::Rounding;
use crate::target::Feature;

/// Packed formats that exist on special targets only.
fn narrow(ty: Type) -> bool {
    matches!(ty, Type::E2m1x2 | Type::E2m3x2 | Type::E3m2x2 | Type::Ue8m0x2)
}

fn fp8(ty: Type) -> bool {
    matches!(ty, Type::E4m3x2 | Type::E5m2x2)
}

fn four(ty: Type) -> bool {
    matches!(ty, Type::E4m3x4 | Type::E5m2x4 | Type::E2m3x4 | Type::E3m2x4 | Type::E2m1x4)
}

fn scalar_float(ty: Type) -> bool {
    matches!(ty, Type::F16 | Type::Bf16 | Type::F32 | Type::F64)
}

impl<'s> Statement<'_, '_, '_, 's> {
    pub fn cvt(&mut self) -> Result<Op> {
        let stochastic = self.modifiers.take("rs");
        let to_integer = self.modifiers.take_one(&[
            ("rni", Rounding::Nearest),
            ("rzi", Rounding::Zero),
            ("rmi", Rounding::Down),
            ("rpi", Rounding::Up),
        ]);
        let away = self.modifiers.take("rna").then_some(Rounding::NearestAway);
        let rounding = to_integer.or(away).or_else(|| self.modifiers.take_rounding());
        let convert = Convert {
            rounding,
            to_integer: to_integer.is_some(),
            stochastic,
            flush: self.modifiers.take("ftz"),
            saturate: self.modifiers.take("sat"),
            finite: self.modifiers.take("satfinite"),
            relu: self.modifiers.take("relu"),
            to: self.required_type()?,
            from: self.required_type()?,
            dst: self.body.sized_destination(self.at(0))?,
            sources: Vec::new(),
        };
        if !self.legal(&convert)? {
            return self.unsupported();
        }
        let sources = self.convert_sources(&convert)?;
        Ok(Op::Convert(Box::new(Convert { sources, ..convert })))
    }

    fn convert_sources(&mut self, convert: &Convert) -> Result<Vec<crate::isa::Reg>> {
        if four(convert.to) {
            self.count(3..=3)?;
            let Operand::Vector(parts) = self.at(1).clone() else {
                return self.error("four operands in braces expected");
            };
            if parts.len() != 4 {
                return self.error("four operands in braces expected");
            }
            let mut sources = Vec::new();
            for part in &parts {
                sources.push(self.body.source(part, Type::F32)?);
            }
            sources.push(self.source(2, Type::B32)?);
            return Ok(sources);
        }
        let packs_two = convert.from == Type::F32
            && convert.to.bits() <= 32
            && !scalar_float(convert.to)
            && convert.to.integer().is_none()
            && convert.to != Type::Tf32;
        let count = 1 + usize::from(packs_two) + usize::from(convert.stochastic);
        self.count(count + 1..=count + 1)?;
        (1..=count)
            .map(|index| {
                let ty =
                    if convert.stochastic && index == count { Type::B32 } else { convert.from };
                self.source(index, ty)
            })
            .collect()
    }

    /// Whether the manual has this combination; refuses what the target lacks.
    fn legal(&self, convert: &Convert) -> Result<bool> {
        let Convert {
            to,
            from,
            rounding,
            to_integer,
            stochastic,
            flush,
            saturate,
            finite,
            relu,
            ..
        } = *convert;
        let nearest = rounding == Some(Rounding::Nearest) && !to_integer;
        let nearest_or_zero = nearest || (rounding == Some(Rounding::Zero) && !to_integer);
        let plain = !flush && !saturate;
        if four(to) {
            self.body.require(Feature::StochasticConversions)?;
            return Ok(from == Type::F32 && stochastic && finite && plain && rounding.is_none());
        }
        if stochastic {
            self.body.require(Feature::StochasticConversions)?;
            return Ok(matches!(to, Type::F16x2 | Type::Bf16x2)
                && from == Type::F32
                && plain
                && rounding.is_none());
        }
        if narrow(to) || narrow(from) {
            self.body.require(Feature::NarrowConversions)?;
        }
        if fp8(to) || fp8(from) {
            self.body.require(Feature::Sm(89))?;
        }
        if fp8(to) && from == Type::Bf16x2 {
            self.body.require(Feature::NarrowConversions)?;
            self.body.require_version(9, 1)?;
        }
        if to == Type::Bf16x2 && (fp8(from) || (narrow(from) && from != Type::Ue8m0x2)) {
            self.body.require(Feature::NarrowConversions)?;
            self.body.require_version(9, 2)?;
        }
        Ok(match (to, from) {
            (Type::Ue8m0x2, Type::F32 | Type::Bf16x2) => {
                matches!(rounding, Some(Rounding::Zero | Rounding::Up))
                    && !to_integer
                    && !relu
                    && plain
            }
            (Type::Bf16x2, Type::Ue8m0x2) => nearest && !relu && !finite && plain,
            (to, Type::F32 | Type::F16x2 | Type::Bf16x2) if fp8(to) || narrow(to) => {
                nearest && finite && plain
            }
            (Type::F16x2 | Type::Bf16x2, from) if fp8(from) || narrow(from) => {
                nearest && !finite && plain
            }
            (Type::F16x2 | Type::Bf16x2, Type::F32) => nearest_or_zero && plain,
            (Type::Tf32, Type::F32) => {
                plain && (nearest_or_zero || (rounding == Some(Rounding::NearestAway) && !relu))
            }
            _ => return self.legal_scalar(convert),
        })
    }

    fn legal_scalar(&self, convert: &Convert) -> Result<bool> {
        let Convert { to, from, rounding, to_integer, flush, saturate, finite, relu, .. } =
            *convert;
        if rounding == Some(Rounding::NearestAway) {
            return Ok(false);
        }
        let scalar = |ty: Type| {
            scalar_float(ty)
                || ty
                    .integer()
                    .is_some_and(|_| !matches!(ty, Type::B8 | Type::B16 | Type::B32 | Type::B64))
        };
        if !scalar(to) || !scalar(from) {
            return Ok(false);
        }
        if from == Type::Bf16 || (to == Type::Bf16 && from != Type::F32) {
            self.body.require(Feature::Sm(90))?;
        }
        let half_from_f32 = matches!(to, Type::F16 | Type::Bf16) && from == Type::F32;
        if (relu || finite) && !half_from_f32 {
            return Ok(false);
        }
        if flush && to != Type::F32 && from != Type::F32 {
            return Ok(false);
        }
        Ok(match (scalar_float(to), scalar_float(from)) {
            (false, false) => rounding.is_none(),
            (true, false) => rounding.is_some() && !to_integer,
            (false, true) => to_integer,
            (true, true) if to == from => rounding.is_none() || to_integer,
            (true, true) if to.bits() > from.bits() => {
                rounding.is_none() && (!saturate || to == Type::F32)
            }
            (true, true) => rounding.is_some() && !to_integer,
        })
    }
}
