//! Integer, floating-point and bit instructions.

use super::{Operand, Result, Statement};
use crate::isa::{
    BoolOp, CarryOp, Float1, Float2, Float3, FloatMode, FloatType, Int1, Int2, Int3, Int4, IntType,
    Op, Property, Type,
};
use crate::numeric::Rounding;
use crate::target::Feature;

impl<'s> Statement<'_, '_, '_, 's> {
    fn int1(&mut self, op: Int1, ty: Type, integer: IntType) -> Result<Op> {
        self.count(2..=2)?;
        Ok(Op::Int1 { op, ty: integer, dst: self.destination(0)?, a: self.source(1, ty)? })
    }

    fn int2(&mut self, op: Int2, ty: Type, integer: IntType) -> Result<Op> {
        self.count(3..=3)?;
        Ok(Op::Int2 {
            op,
            ty: integer,
            dst: self.destination(0)?,
            a: self.source(1, ty)?,
            b: self.source(2, ty)?,
        })
    }

    fn int3(&mut self, op: Int3, ty: Type, integer: IntType, c_type: Type) -> Result<Op> {
        self.count(4..=4)?;
        Ok(Op::Int3 {
            op,
            ty: integer,
            dst: self.destination(0)?,
            a: self.source(1, ty)?,
            b: self.source(2, ty)?,
            c: self.source(3, c_type)?,
        })
    }

    fn float1(&mut self, op: Float1, mode: FloatMode, ty: Type) -> Result<Op> {
        self.count(2..=2)?;
        Ok(Op::Float1 { op, mode, dst: self.destination(0)?, a: self.source(1, ty)? })
    }

    fn float2(&mut self, op: Float2, mode: FloatMode, ty: Type) -> Result<Op> {
        self.count(3..=3)?;
        Ok(Op::Float2 {
            op,
            mode,
            dst: self.destination(0)?,
            a: self.source(1, ty)?,
            b: self.source(2, ty)?,
        })
    }

    fn float3(&mut self, op: Float3, mode: FloatMode, ty: Type) -> Result<Op> {
        self.count(4..=4)?;
        Ok(Op::Float3 {
            op,
            mode,
            dst: self.destination(0)?,
            a: self.source(1, ty)?,
            b: self.source(2, ty)?,
            c: self.source(3, ty)?,
        })
    }

    /// Checks what of rounding, `.ftz`, `.sat` and `.relu` the type's arithmetic knows.
    fn check_mode(&self, mode: FloatMode) -> Result<()> {
        let nearest = mode.rounding == Rounding::Nearest;
        let legal = match mode.ty {
            FloatType::F32 => !mode.relu && (mode.count == 1 || !mode.saturate),
            FloatType::F64 => !mode.relu && !mode.flush && !mode.saturate,
            FloatType::F16 => nearest,
            FloatType::Bf16 => nearest && !mode.flush && !mode.saturate,
        };
        if legal { Ok(()) } else { self.unsupported() }
    }

    /// What the target must have for arithmetic other than fma in a type.
    fn require_arithmetic(&self, ty: Type) -> Result<()> {
        match ty {
            Type::Bf16 | Type::Bf16x2 => self.body.require(Feature::Sm(90)),
            Type::F32x2 => self.body.require(Feature::Sm(100)),
            _ => Ok(()),
        }
    }

    pub fn add_sub(&mut self, subtract: bool) -> Result<Op> {
        let ty = self.required_type()?;
        if let Some((float, count)) = ty.float() {
            self.require_arithmetic(ty)?;
            let mode = self.float_mode(float, count);
            if mode.relu {
                return self.unsupported();
            }
            self.check_mode(mode)?;
            return self.float2(if subtract { Float2::Sub } else { Float2::Add }, mode, ty);
        }
        if matches!(ty, Type::U16x2 | Type::S16x2) && !subtract {
            self.body.require(Feature::Sm(90))?;
            return self.half2(Int2::Add, ty);
        }
        let Some(integer) = ty.integer().filter(|integer| integer.bits >= 16) else {
            return self.unsupported();
        };
        if self.modifiers.take("cc") {
            return self.carry_op(
                if subtract { CarryOp::Sub } else { CarryOp::Add },
                ty,
                integer,
                false,
                true,
            );
        }
        let saturating = self.modifiers.take("sat");
        if saturating && ty != Type::S32 {
            return self.unsupported();
        }
        let op = match (subtract, saturating) {
            (false, false) => Int2::Add,
            (false, true) => Int2::AddSaturating,
            (true, false) => Int2::Sub,
            (true, true) => Int2::SubSaturating,
        };
        self.int2(op, ty, integer)
    }

    fn half2(&mut self, op: Int2, ty: Type) -> Result<Op> {
        self.count(3..=3)?;
        let relu = self.modifiers.take("relu");
        if relu && (ty != Type::S16x2 || op == Int2::Add) {
            return self.unsupported();
        }
        Ok(Op::Half2 {
            op,
            signed: ty == Type::S16x2,
            relu,
            dst: self.destination(0)?,
            a: self.source(1, Type::B32)?,
            b: self.source(2, Type::B32)?,
        })
    }

    fn carry_op(
        &mut self,
        op: CarryOp,
        ty: Type,
        integer: IntType,
        reads: bool,
        writes: bool,
    ) -> Result<Op> {
        if integer.bits < 32 {
            return self.unsupported();
        }
        let multiply = matches!(op, CarryOp::MadLow | CarryOp::MadHigh);
        self.count(if multiply { 4..=4 } else { 3..=3 })?;
        Ok(Op::Carry {
            op,
            ty: integer,
            dst: self.destination(0)?,
            a: self.source(1, ty)?,
            b: self.source(2, ty)?,
            c: if multiply { Some(self.source(3, ty)?) } else { None },
            reads,
            writes,
        })
    }

    pub fn carry(&mut self, subtract: bool) -> Result<Op> {
        let (ty, integer) = self.integer_type()?;
        let writes = self.modifiers.take("cc");
        self.carry_op(if subtract { CarryOp::Sub } else { CarryOp::Add }, ty, integer, true, writes)
    }

    pub fn mul(&mut self) -> Result<Op> {
        let ty = self.required_type()?;
        if let Some((float, count)) = ty.float() {
            self.require_arithmetic(ty)?;
            let mode = self.float_mode(float, count);
            if mode.relu {
                return self.unsupported();
            }
            self.check_mode(mode)?;
            return self.float2(Float2::Mul, mode, ty);
        }
        let choice = self.modifiers.take_one(&[
            ("lo", Int2::MulLow),
            ("hi", Int2::MulHigh),
            ("wide", Int2::MulWide),
        ]);
        let (Some(integer), Some(op)) = (ty.integer(), choice) else { return self.unsupported() };
        if integer.bits < 16 || (op == Int2::MulWide && integer.bits == 64) {
            return self.unsupported();
        }
        self.int2(op, ty, integer)
    }

    pub fn mad(&mut self, with_carry: bool) -> Result<Op> {
        let ty = self.required_type()?;
        if let Some((float @ (FloatType::F32 | FloatType::F64), 1)) = ty.float() {
            // On every supported target mad is fma.
            let Some(rounding) = self.modifiers.take_rounding() else {
                return self.error("mad needs a rounding");
            };
            let mode = FloatMode { rounding, ..self.float_mode(float, 1) };
            self.check_mode(mode)?;
            return self.float3(Float3::Fma, mode, ty);
        }
        let choice = self.modifiers.take_one(&[
            ("lo", Int3::MadLow),
            ("hi", Int3::MadHigh),
            ("wide", Int3::MadWide),
        ]);
        let (Some(integer), Some(op)) = (ty.integer(), choice) else { return self.unsupported() };
        if integer.bits < 16 || (op == Int3::MadWide && integer.bits == 64) {
            return self.unsupported();
        }
        let writes = self.modifiers.take("cc");
        if with_carry || writes {
            let op = match op {
                Int3::MadLow => CarryOp::MadLow,
                Int3::MadHigh => CarryOp::MadHigh,
                _ => return self.unsupported(),
            };
            return self.carry_op(op, ty, integer, with_carry, writes);
        }
        if self.modifiers.take("sat") {
            if op != Int3::MadHigh || ty != Type::S32 {
                return self.unsupported();
            }
            return self.int3(Int3::MadHighSaturating, ty, integer, ty);
        }
        let c_type = match (op, integer.bits) {
            (Int3::MadWide, 16) => Type::B32,
            (Int3::MadWide, _) => Type::B64,
            _ => ty,
        };
        self.int3(op, ty, integer, c_type)
    }

    pub fn fma(&mut self) -> Result<Op> {
        let ty = self.required_type()?;
        let Some((float, count)) = ty.float() else { return self.unsupported() };
        if ty == Type::F32x2 {
            self.body.require(Feature::Sm(100))?;
        }
        let Some(rounding) = self.modifiers.take_rounding() else {
            return self.error("fma needs a rounding");
        };
        let mode = FloatMode { rounding, ..self.float_mode(float, count) };
        if float == FloatType::F64 && rounding != Rounding::Nearest {
            return self.unsupported();
        }
        self.check_mode(mode)?;
        self.float3(Float3::Fma, mode, ty)
    }

    pub fn mul24(&mut self, add: bool) -> Result<Op> {
        let (ty, integer) = self.integer_type()?;
        let high = match self.modifiers.take_one(&[("lo", false), ("hi", true)]) {
            Some(high) if integer.bits == 32 => high,
            _ => return self.unsupported(),
        };
        if add {
            return self.int3(Int3::Mad24 { high }, ty, integer, ty);
        }
        self.int2(Int2::Mul24 { high }, ty, integer)
    }

    pub fn sad(&mut self) -> Result<Op> {
        let (ty, integer) = self.integer_type()?;
        self.int3(Int3::SumOfAbsoluteDifferences, ty, integer, ty)
    }

    pub fn div(&mut self) -> Result<Op> {
        let ty = self.required_type()?;
        if let Some((float @ (FloatType::F32 | FloatType::F64), 1)) = ty.float() {
            // `.approx` and `.full` are computed exactly rounded, which is within their bounds.
            let approximate = self.modifiers.take("approx") || self.modifiers.take("full");
            let written = self.modifiers.take_rounding();
            if approximate == written.is_some() || (approximate && float == FloatType::F64) {
                return self.unsupported();
            }
            let mode = FloatMode {
                rounding: written.unwrap_or(Rounding::Nearest),
                ..self.float_mode(float, 1)
            };
            if mode.saturate {
                return self.unsupported();
            }
            self.check_mode(mode)?;
            return self.float2(Float2::Div, mode, ty);
        }
        match ty.integer() {
            Some(integer) if integer.bits >= 16 => self.int2(Int2::Div, ty, integer),
            _ => self.unsupported(),
        }
    }

    pub fn rem(&mut self) -> Result<Op> {
        let (ty, integer) = self.integer_type()?;
        self.int2(Int2::Rem, ty, integer)
    }

    pub fn abs_neg(&mut self, negate: bool) -> Result<Op> {
        let ty = self.required_type()?;
        if let Some((float, count)) = ty.float() {
            let mode = self.float_mode(float, count);
            if mode.saturate || mode.relu {
                return self.unsupported();
            }
            self.check_mode(mode)?;
            return self.float1(if negate { Float1::Neg } else { Float1::Abs }, mode, ty);
        }
        match ty.integer() {
            Some(integer) if integer.signed => {
                self.int1(if negate { Int1::Neg } else { Int1::Abs }, ty, integer)
            }
            _ => self.unsupported(),
        }
    }

    pub fn min_max(&mut self, maximum: bool) -> Result<Op> {
        let ty = self.required_type()?;
        if let Some((float, count)) = ty.float() {
            return self.float_min_max(maximum, ty, float, count);
        }
        let op = if maximum { Int2::Max } else { Int2::Min };
        if matches!(ty, Type::U16x2 | Type::S16x2) {
            self.body.require(Feature::Sm(90))?;
            return self.half2(op, ty);
        }
        let Some(integer) = ty.integer().filter(|integer| integer.bits >= 16) else {
            return self.unsupported();
        };
        if self.modifiers.take("relu") {
            if ty != Type::S32 {
                return self.unsupported();
            }
            self.body.require(Feature::Sm(90))?;
            return self.int2(if maximum { Int2::MaxRelu } else { Int2::MinRelu }, ty, integer);
        }
        self.int2(op, ty, integer)
    }

    fn float_min_max(
        &mut self,
        maximum: bool,
        ty: Type,
        float: FloatType,
        count: u32,
    ) -> Result<Op> {
        let mode = self.float_mode(float, count);
        let nan = self.modifiers.take("NaN");
        let xor_sign = self.modifiers.take("xorsign");
        let magnitude = self.modifiers.take("abs");
        if mode.saturate || mode.relu || mode.count == 2 && float == FloatType::F32 {
            return self.unsupported();
        }
        if float == FloatType::F64 && (nan || xor_sign || magnitude || mode.flush) {
            return self.unsupported();
        }
        if xor_sign {
            self.body.require(Feature::Sm(86))?;
        }
        if self.operands.len() == 4 {
            if float != FloatType::F32 || xor_sign {
                return self.unsupported();
            }
            self.body.require(Feature::Sm(100))?;
            let op = if maximum {
                Float3::Max { nan, magnitude }
            } else {
                Float3::Min { nan, magnitude }
            };
            return self.float3(op, mode, ty);
        }
        if magnitude != xor_sign {
            return self.unsupported();
        }
        let op = if maximum {
            Float2::Max { nan, xor_sign, magnitude }
        } else {
            Float2::Min { nan, xor_sign, magnitude }
        };
        self.float2(op, mode, ty)
    }

    pub fn unary_float(&mut self, root: &str) -> Result<Op> {
        let ty = self.required_type()?;
        let Some((float, count)) = ty.float() else { return self.unsupported() };
        let approximate = self.modifiers.take("approx");
        let written = self.modifiers.take_rounding();
        let mode = FloatMode {
            rounding: written.unwrap_or(Rounding::Nearest),
            ..self.float_mode(float, count)
        };
        if mode.saturate || mode.relu || approximate == written.is_some() {
            return self.unsupported();
        }
        let (op, exact_form) = match root {
            "sqrt" => (Float1::Sqrt, true),
            "rcp" => (Float1::Reciprocal, true),
            "rsqrt" => (Float1::ReciprocalSqrt, false),
            "ex2" => (Float1::Exp2, false),
            "lg2" => (Float1::Log2, false),
            "sin" => (Float1::Sine, false),
            "cos" => (Float1::Cosine, false),
            _ => (Float1::Tanh, false),
        };
        let half_form = matches!(op, Float1::Exp2 | Float1::Tanh)
            && matches!(float, FloatType::F16 | FloatType::Bf16);
        let legal = match float {
            FloatType::F32 => count == 1 && (approximate || exact_form),
            FloatType::F64 => {
                (exact_form && !approximate) || (op == Float1::ReciprocalSqrt && approximate)
            }
            _ => half_form && approximate,
        };
        if !legal {
            return self.unsupported();
        }
        if half_form && float == FloatType::Bf16 {
            self.body.require(Feature::Sm(90))?;
        }
        self.float1(op, mode, ty)
    }

    pub fn copysign(&mut self) -> Result<Op> {
        let ty = self.required_type()?;
        match ty.float() {
            Some((float @ (FloatType::F32 | FloatType::F64), 1)) => {
                let mode = self.float_mode(float, 1);
                self.float2(Float2::CopySign, mode, ty)
            }
            _ => self.unsupported(),
        }
    }

    pub fn testp(&mut self) -> Result<Op> {
        self.count(2..=2)?;
        let property = self.modifiers.take_one(&[
            ("finite", Property::Finite),
            ("infinite", Property::Infinite),
            ("number", Property::Number),
            ("notanumber", Property::NotANumber),
            ("normal", Property::Normal),
            ("subnormal", Property::Subnormal),
        ]);
        let ty = self.required_type()?;
        match (property, ty.float()) {
            (Some(property), Some((float @ (FloatType::F32 | FloatType::F64), 1))) => {
                Ok(Op::TestProperty {
                    property,
                    ty: float,
                    dst: self.body.predicate(self.at(0))?,
                    a: self.source(1, ty)?,
                })
            }
            _ => self.unsupported(),
        }
    }

    pub fn logic(&mut self, root: &str) -> Result<Op> {
        self.count(3..=3)?;
        let ty = self.required_type()?;
        if ty == Type::Pred {
            let op = match root {
                "and" => BoolOp::And,
                "or" => BoolOp::Or,
                _ => BoolOp::Xor,
            };
            return Ok(Op::PredLogic {
                op,
                dst: self.body.predicate(self.at(0))?,
                a: self.guard(1)?,
                b: self.guard(2)?,
            });
        }
        let Some(integer) = ty.integer().filter(|integer| !integer.signed) else {
            return self.unsupported();
        };
        let op = match root {
            "and" => Int2::And,
            "or" => Int2::Or,
            _ => Int2::Xor,
        };
        self.int2(op, ty, integer)
    }

    pub fn not(&mut self) -> Result<Op> {
        let ty = self.required_type()?;
        if ty == Type::Pred {
            self.count(2..=2)?;
            let src = self.guard(1)?;
            let negated = !src.negated;
            return Ok(Op::CopyPred {
                dst: self.body.predicate(self.at(0))?,
                src: crate::isa::Guard { negated, ..src },
            });
        }
        match ty.integer() {
            Some(integer) if !integer.signed => self.int1(Int1::Not, ty, integer),
            _ => self.unsupported(),
        }
    }

    pub fn bits(&mut self, root: &str) -> Result<Op> {
        let (ty, integer) = self.integer_type()?;
        let op = match root {
            "cnot" => Int1::Cnot,
            "popc" => Int1::PopCount,
            "clz" => Int1::LeadingZeros,
            "brev" => Int1::Reverse,
            _ => Int1::FindBit { shift_amount: self.modifiers.take("shiftamt") },
        };
        if integer.bits < 32 && op != Int1::Cnot {
            return self.unsupported();
        }
        self.int1(op, ty, integer)
    }

    pub fn shift(&mut self, left: bool) -> Result<Op> {
        self.count(3..=3)?;
        let (ty, integer) = self.integer_type()?;
        if integer.bits < 16 {
            return self.unsupported();
        }
        Ok(Op::Int2 {
            op: if left { Int2::Shl } else { Int2::Shr },
            ty: integer,
            dst: self.destination(0)?,
            a: self.source(1, ty)?,
            b: self.source(2, Type::B32)?,
        })
    }

    pub fn funnel_shift(&mut self) -> Result<Op> {
        let left = self.modifiers.take_one(&[("l", true), ("r", false)]);
        let wrap = self.modifiers.take_one(&[("wrap", true), ("clamp", false)]);
        match (left, wrap, self.required_type()?) {
            (Some(left), Some(wrap), ty @ Type::B32) => {
                let integer = IntType { bits: 32, signed: false };
                self.int3(Int3::FunnelShift { left, wrap }, ty, integer, ty)
            }
            _ => self.unsupported(),
        }
    }

    pub fn bit_field(&mut self, insert: bool) -> Result<Op> {
        let (ty, integer) = self.integer_type()?;
        if integer.bits < 32 {
            return self.unsupported();
        }
        if !insert {
            self.count(4..=4)?;
            return Ok(Op::Int3 {
                op: Int3::ExtractField,
                ty: integer,
                dst: self.destination(0)?,
                a: self.source(1, ty)?,
                b: self.source(2, Type::B32)?,
                c: self.source(3, Type::B32)?,
            });
        }
        self.count(5..=5)?;
        if integer.signed {
            return self.unsupported();
        }
        Ok(Op::Int4 {
            op: Int4::InsertField,
            ty: integer,
            dst: self.destination(0)?,
            a: self.source(1, ty)?,
            b: self.source(2, ty)?,
            c: self.source(3, Type::B32)?,
            d: self.source(4, Type::B32)?,
        })
    }

    pub fn bit_range(&mut self, extend: bool) -> Result<Op> {
        let Some(wrap) = self.modifiers.take_one(&[("wrap", true), ("clamp", false)]) else {
            return self.unsupported();
        };
        let (ty, integer) = self.integer_type()?;
        if integer.bits != 32 {
            return self.unsupported();
        }
        self.int2(
            if extend { Int2::ExtendBits { wrap } } else { Int2::BitMask { wrap } },
            ty,
            integer,
        )
    }

    pub fn fns(&mut self) -> Result<Op> {
        if self.required_type()? != Type::B32 {
            return self.unsupported();
        }
        self.int3(Int3::FindNthSet, Type::B32, IntType { bits: 32, signed: false }, Type::B32)
    }

    pub fn lop3(&mut self) -> Result<Op> {
        let combine = self.modifiers.take_one(&[("or", BoolOp::Or), ("and", BoolOp::And)]);
        if self.required_type()? != Type::B32 {
            return self.unsupported();
        }
        self.count(if combine.is_some() { 6..=6 } else { 5..=5 })?;
        let (dst, predicate) = match (combine, self.at(0).clone()) {
            (Some(op), Operand::Pair(dst, predicate)) => {
                let q = self.guard(5)?;
                let predicate = self.body.predicate(&predicate)?;
                (self.body.optional_destination(&dst)?, Some((op, predicate, q)))
            }
            (None, dst) => (Some(self.body.destination(&dst)?), None),
            _ => return self.unsupported(),
        };
        let table = self.literal(4)?;
        if table > 255 {
            return self.error("the table of lop3 has 8 bits");
        }
        Ok(Op::Lop3 {
            dst,
            a: self.source(1, Type::B32)?,
            b: self.source(2, Type::B32)?,
            c: self.source(3, Type::B32)?,
            table: table as u8,
            predicate,
        })
    }

    pub fn dot(&mut self, four: bool) -> Result<Op> {
        let half = self.modifiers.take_one(&[("lo", false), ("hi", true)]);
        let (a, b) = (self.required_type()?, self.required_type()?);
        if !matches!((a, b), (Type::U32 | Type::S32, Type::U32 | Type::S32))
            || half.is_none() != four
        {
            return self.unsupported();
        }
        let (a_signed, b_signed) = (a.signed(), b.signed());
        let op = match half {
            None => Int3::Dot4 { a_signed, b_signed },
            Some(high) => Int3::Dot2 { a_signed, b_signed, high },
        };
        self.int3(op, Type::B32, IntType { bits: 32, signed: false }, Type::B32)
    }
}
