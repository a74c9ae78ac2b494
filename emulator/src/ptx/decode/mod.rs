//! Opcode and operands to a typed instruction.
//!
//! Each decoder takes the modifiers it knows; whatever is left over is refused by name.

mod arithmetic;
mod collective;
mod control;
mod convert;
mod matrix;
mod memory;
mod movement;
mod predicate;

use super::body::{Body, Operand};
use super::parse::Result;
use crate::isa::{FloatMode, FloatType, IntType, Op, Type};
use crate::numeric::Rounding;

/// The dot-separated parts behind the root of an opcode.
struct Modifiers<'a> {
    opcode: &'a str,
    parts: Vec<&'a str>,
}

impl<'a> Modifiers<'a> {
    /// Takes a modifier if it is there.
    fn take(&mut self, name: &str) -> bool {
        let found = self.parts.iter().position(|part| *part == name);
        if let Some(index) = found {
            self.parts.remove(index);
        }
        found.is_some()
    }

    /// Takes the first of several modifiers that is there.
    fn take_one<T: Copy>(&mut self, choices: &[(&str, T)]) -> Option<T> {
        choices.iter().find(|(name, _)| self.take(name)).map(|(_, value)| *value)
    }

    /// Takes the first remaining modifier that is a type.
    fn take_type(&mut self) -> Option<Type> {
        let index = self.parts.iter().position(|part| Type::parse(part).is_some())?;
        Type::parse(self.parts.remove(index))
    }

    fn take_rounding(&mut self) -> Option<Rounding> {
        self.take_one(&[
            ("rn", Rounding::Nearest),
            ("rz", Rounding::Zero),
            ("rm", Rounding::Down),
            ("rp", Rounding::Up),
        ])
    }

    /// Removes every modifier that starts with a prefix.
    fn drop_prefixed(&mut self, prefix: &str) -> bool {
        let before = self.parts.len();
        self.parts.retain(|part| !part.starts_with(prefix));
        self.parts.len() != before
    }
}

/// What every decoder gets.
struct Statement<'x, 'b, 'p, 's> {
    body: &'x mut Body<'b, 'p, 's>,
    modifiers: Modifiers<'s>,
    operands: &'x [Operand<'s>],
}

impl<'s> Statement<'_, '_, '_, 's> {
    fn error<T>(&self, reason: impl Into<String>) -> Result<T> {
        Err(self.body.parser.error(reason))
    }

    fn unsupported<T>(&self) -> Result<T> {
        self.error(format!("unknown form of instruction {}", self.modifiers.opcode))
    }

    /// The operand at a place; the count has been checked.
    fn at(&self, index: usize) -> &Operand<'s> {
        self.operands.get(index).unwrap_or(&Operand::Sink)
    }

    fn count(&self, allowed: std::ops::RangeInclusive<usize>) -> Result<()> {
        if allowed.contains(&self.operands.len()) {
            return Ok(());
        }
        self.error(format!("{} operands, {allowed:?} expected", self.operands.len()))
    }

    /// Refuses modifiers that no one took.
    fn finish(&self) -> Result<()> {
        match self.modifiers.parts.first() {
            None => Ok(()),
            Some(part) => {
                self.error(format!("unknown modifier .{part} of {}", self.modifiers.opcode))
            }
        }
    }

    fn required_type(&mut self) -> Result<Type> {
        match self.modifiers.take_type() {
            Some(ty) => Ok(ty),
            None => self.error(format!("{} needs a type", self.modifiers.opcode)),
        }
    }

    fn integer_type(&mut self) -> Result<(Type, IntType)> {
        let ty = self.required_type()?;
        match ty.integer() {
            Some(integer) => Ok((ty, integer)),
            None => self.unsupported(),
        }
    }

    fn source(&mut self, index: usize, ty: Type) -> Result<crate::isa::Reg> {
        let operand = self.at(index).clone();
        self.body.source(&operand, ty)
    }

    fn destination(&self, index: usize) -> Result<crate::isa::Reg> {
        self.body.destination(self.at(index))
    }

    fn guard(&mut self, index: usize) -> Result<crate::isa::Guard> {
        let operand = self.at(index).clone();
        self.body.guard(&operand)
    }

    /// A number that must be known now.
    fn literal(&self, index: usize) -> Result<u64> {
        match self.at(index) {
            Operand::Integer(value) => Ok(*value),
            _ => self.error("a literal expected"),
        }
    }

    /// Takes the modifiers of floating-point arithmetic.
    fn float_mode(&mut self, ty: FloatType, count: u32) -> FloatMode {
        FloatMode {
            ty,
            count,
            rounding: self.modifiers.take_rounding().unwrap_or(Rounding::Nearest),
            flush: self.modifiers.take("ftz"),
            saturate: self.modifiers.take("sat"),
            relu: self.modifiers.take("relu"),
        }
    }
}

/// Decodes one instruction.
pub(super) fn instruction<'s>(
    body: &mut Body<'_, '_, 's>,
    opcode: &'s str,
    operands: &[Operand<'s>],
) -> Result<Op> {
    let mut parts = opcode.split('.');
    let root = parts.next().unwrap_or_default();
    let mut statement =
        Statement { body, modifiers: Modifiers { opcode, parts: parts.collect() }, operands };
    let op = match root {
        "mov" => statement.mov(),
        "selp" => statement.selp(),
        "slct" => statement.slct(),
        "cvta" => statement.cvta(),
        "isspacep" => statement.isspacep(),
        "prmt" => statement.prmt(),

        "add" | "sub" => statement.add_sub(root == "sub"),
        "addc" | "subc" => statement.carry(root == "subc"),
        "mul" => statement.mul(),
        "mad" | "madc" => statement.mad(root == "madc"),
        "fma" => statement.fma(),
        "mul24" | "mad24" => statement.mul24(root == "mad24"),
        "sad" => statement.sad(),
        "div" => statement.div(),
        "rem" => statement.rem(),
        "abs" | "neg" => statement.abs_neg(root == "neg"),
        "min" | "max" => statement.min_max(root == "max"),
        "sqrt" | "rcp" | "rsqrt" | "ex2" | "lg2" | "sin" | "cos" | "tanh" => {
            statement.unary_float(root)
        }
        "copysign" => statement.copysign(),
        "testp" => statement.testp(),

        "and" | "or" | "xor" => statement.logic(root),
        "not" => statement.not(),
        "cnot" | "popc" | "clz" | "brev" | "bfind" => statement.bits(root),
        "shl" | "shr" => statement.shift(root == "shl"),
        "shf" => statement.funnel_shift(),
        "bfe" | "bfi" => statement.bit_field(root == "bfi"),
        "szext" | "bmsk" => statement.bit_range(root == "szext"),
        "fns" => statement.fns(),
        "lop3" => statement.lop3(),
        "dp4a" | "dp2a" => statement.dot(root == "dp4a"),

        "setp" => statement.setp(),
        "set" => statement.set(),
        "cvt" => statement.cvt(),

        "ld" | "ldu" => statement.ld(),
        "st" => statement.st(),
        "atom" | "red" => statement.atomic(root == "atom"),
        "cp" => statement.cp(),
        "prefetch" | "prefetchu" | "discard" | "applypriority" => statement.cache_hint(root),
        "createpolicy" => statement.create_policy(),

        "bra" => statement.bra(),
        "brx" => statement.brx(),
        "call" => statement.call(),
        "ret" => statement.leave(Op::Return),
        "exit" => statement.leave(Op::Exit),
        "trap" => statement.leave(Op::Trap),
        "membar" | "fence" => statement.fence(root),
        "griddepcontrol" | "nanosleep" | "setmaxnreg" | "pmevent" => statement.hint(root),
        "bar" | "barrier" => statement.barrier(root),

        "shfl" => statement.shfl(),
        "vote" => statement.vote(),
        "match" => statement.match_(),
        "redux" => statement.redux(),
        "activemask" => statement.activemask(),
        "elect" => statement.elect(),
        "ldmatrix" => statement.matrix_memory(true),
        "stmatrix" => statement.matrix_memory(false),
        "movmatrix" => statement.movmatrix(),
        "mma" => statement.mma(),
        _ => statement.error(format!("unknown instruction {root}")),
    }?;
    statement.finish()?;
    Ok(op)
}
