//! Comparisons.

use super::float::widen;
use super::registers::Registers;
use super::stop::Step;
use crate::isa::{Compare, CompareType, FloatType, Guard, Reg, SetPredicate};
use crate::numeric::flush32;

/// The result for two numbers; the u-forms are true also for NaN.
fn holds(compare: Compare, a: f64, b: f64) -> bool {
    let unordered = a.is_nan() || b.is_nan();
    match compare {
        Compare::Eq => a == b,
        Compare::Ne => a != b && !unordered,
        Compare::Lt => a < b,
        Compare::Le => a <= b,
        Compare::Gt => a > b,
        Compare::Ge => a >= b,
        Compare::Equ => a == b || unordered,
        Compare::Neu => a != b || unordered,
        Compare::Ltu => a < b || unordered,
        Compare::Leu => a <= b || unordered,
        Compare::Gtu => a > b || unordered,
        Compare::Geu => a >= b || unordered,
        Compare::Num => !unordered,
        Compare::Nan => unordered,
    }
}

#[inline(always)]
fn lanes_where(
    r: &Registers,
    active: u32,
    a: Reg,
    b: Reg,
    f: impl Fn(u64, u64) -> bool,
) -> Step<u32> {
    let (a, b) = (r.read(a, active)?, r.read(b, active)?);
    let mut result = 0;
    for lane in 0..32 {
        result |= u32::from(f(a[lane], b[lane])) << lane;
    }
    Ok(result)
}

/// The lanes where a comparison holds, and for packed types those of the upper halves.
fn compared(r: &Registers, active: u32, s: &SetPredicate) -> Step<(u32, Option<u32>)> {
    let (a, b) = (s.a, s.b);
    let whole = match s.ty {
        CompareType::Int(ty) if ty.signed => {
            let v = move |x: u64| ty.sign_extend(x);
            match s.compare {
                Compare::Eq => lanes_where(r, active, a, b, |a, b| a == b),
                Compare::Ne => lanes_where(r, active, a, b, |a, b| a != b),
                Compare::Lt => lanes_where(r, active, a, b, |a, b| v(a) < v(b)),
                Compare::Le => lanes_where(r, active, a, b, |a, b| v(a) <= v(b)),
                Compare::Gt => lanes_where(r, active, a, b, |a, b| v(a) > v(b)),
                _ => lanes_where(r, active, a, b, |a, b| v(a) >= v(b)),
            }
        }
        CompareType::Int(_) => match s.compare {
            Compare::Eq => lanes_where(r, active, a, b, |a, b| a == b),
            Compare::Ne => lanes_where(r, active, a, b, |a, b| a != b),
            Compare::Lt => lanes_where(r, active, a, b, |a, b| a < b),
            Compare::Le => lanes_where(r, active, a, b, |a, b| a <= b),
            Compare::Gt => lanes_where(r, active, a, b, |a, b| a > b),
            _ => lanes_where(r, active, a, b, |a, b| a >= b),
        },
        CompareType::Float { ty, flush } => {
            let value = move |bits: u64| match ty {
                FloatType::F64 => f64::from_bits(bits),
                FloatType::F32 if flush => f64::from(flush32(f32::from_bits(bits as u32))),
                FloatType::F32 => f64::from(f32::from_bits(bits as u32)),
                _ => f64::from(widen(ty, bits & 0xffff)),
            };
            lanes_where(r, active, a, b, |a, b| holds(s.compare, value(a), value(b)))
        }
        CompareType::Half2(ty) => {
            let value = move |bits: u64| f64::from(widen(ty, bits & 0xffff));
            let low = lanes_where(r, active, a, b, |a, b| holds(s.compare, value(a), value(b)))?;
            let high = lanes_where(r, active, a, b, |a, b| {
                holds(s.compare, value(a >> 16), value(b >> 16))
            })?;
            return Ok((low, Some(high)));
        }
    };
    Ok((whole?, None))
}

/// The two results of `setp`: the comparison and its negation (for packed types the upper half),
/// each combined with the predicate operand.
pub(super) fn evaluate(r: &Registers, active: u32, s: &SetPredicate) -> Step<(u32, u32)> {
    let (first, upper) = compared(r, active, s)?;
    let second = upper.unwrap_or(!first);
    let Some((op, guard)) = s.combine else { return Ok((first, second)) };
    let operand = r.test(guard as Guard, active)?;
    Ok((op.apply(first, operand), op.apply(second, operand)))
}
