//! `cvt`.

use super::registers::Registers;
use super::stop::Step;
use crate::isa::{Convert, IntType, Type};
use crate::numeric::format::{
    BF16, E2M1, E2M3, E3M2, E4M3, E5M2, F16, FloatFormat, TF32, e8m0_decode, e8m0_encode,
};
use crate::numeric::{NAN32, Rounding, canonical32, flush32};

/// The element format of a packed type, the elements a register holds, and the bits of one's place.
fn packing(ty: Type) -> Option<(FloatFormat, u32, u32)> {
    Some(match ty {
        Type::F16x2 => (F16, 2, 16),
        Type::Bf16x2 => (BF16, 2, 16),
        Type::E4m3x2 => (E4M3, 2, 8),
        Type::E5m2x2 => (E5M2, 2, 8),
        Type::E2m3x2 => (E2M3, 2, 8),
        Type::E3m2x2 => (E3M2, 2, 8),
        Type::E2m1x2 => (E2M1, 2, 4),
        Type::E4m3x4 => (E4M3, 4, 8),
        Type::E5m2x4 => (E5M2, 4, 8),
        Type::E2m3x4 => (E2M3, 4, 8),
        Type::E3m2x4 => (E3M2, 4, 8),
        Type::E2m1x4 => (E2M1, 4, 4),
        _ => return None,
    })
}

pub(super) fn convert(r: &mut Registers, active: u32, c: &Convert) -> Step<()> {
    if c.stochastic {
        return stochastic(r, active, c);
    }
    match c.sources[..] {
        [a] => r.map1(active, c.dst.0, a, |a| one(c, a)),
        [a, b] => {
            let single = |bits: u64| f64::from(f32::from_bits(bits as u32));
            // The first operand goes to the upper half.
            r.map2(active, c.dst.0, (a, b), |a, b| pack(c, single(a), single(b)))
        }
        _ => Ok(()),
    }
}

/// `.relu` of an operand: NaN stays.
fn relu(c: &Convert, value: f64) -> f64 {
    if c.relu && value <= 0.0 { 0.0 } else { value }
}

fn pack(c: &Convert, high: f64, low: f64) -> u64 {
    let rounding = c.rounding.unwrap_or(Rounding::Nearest);
    if c.to == Type::Ue8m0x2 {
        let code = |value| e8m0_encode(value, rounding, c.finite);
        return u64::from(code(high) << 8 | code(low));
    }
    let Some((format, _, bits)) = packing(c.to) else { return 0 };
    let code = |value| {
        let code = format.encode(relu(c, value), rounding, c.finite);
        // What relu makes of a tiny negative number is +0.
        if c.relu && code == 1 << (format.bits() - 1) { 0 } else { code }
    };
    u64::from(code(high)) << bits | u64::from(code(low))
}

fn one(c: &Convert, a: u64) -> u64 {
    if c.from == Type::Ue8m0x2 {
        let code =
            |bits: u64| u64::from(BF16.encode(e8m0_decode(bits as u32), Rounding::Nearest, false));
        return code(a >> 8) << 16 | code(a);
    }
    if let Some((format, _, bits)) = packing(c.from) {
        let mask = (1 << bits) - 1;
        let value = |index: u32| format.decode((a >> (index * bits)) as u32 & mask);
        return pack(c, value(1), value(0));
    }
    if c.to == Type::Tf32 {
        let code = TF32.encode(
            relu(c, f64::from(f32::from_bits(a as u32))),
            c.rounding.unwrap_or(Rounding::Nearest),
            c.finite,
        );
        return if code == 0x3ffff { u64::from(NAN32) } else { u64::from(code) << 13 };
    }
    scalar(c, a)
}

fn scalar(c: &Convert, a: u64) -> u64 {
    let result_mask = u64::MAX >> (64 - c.dst.1);
    match (c.from.integer(), c.to.integer()) {
        (Some(from), Some(to)) => extend(to, integer_to_integer(c, from.wide(a), to), result_mask),
        (Some(from), None) => integer_to_float(c, from.wide(a)),
        (None, Some(to)) => extend(to, float_to_integer(c, value(c, a), to), result_mask),
        (None, None) => float_to_float(c, value(c, a), a),
    }
}

/// A narrow result is extended by its own type to the width of its register.
fn extend(to: IntType, value: i128, mask: u64) -> u64 {
    to.wide(value as u64) as u64 & mask
}

fn limits(to: IntType) -> (i128, i128) {
    if to.signed {
        (-(1 << (to.bits - 1)), (1 << (to.bits - 1)) - 1)
    } else {
        (0, (1 << to.bits) - 1)
    }
}

fn integer_to_integer(c: &Convert, value: i128, to: IntType) -> i128 {
    let (low, high) = limits(to);
    if c.saturate { value.clamp(low, high) } else { value }
}

/// The operand of a conversion from a floating-point type.
fn value(c: &Convert, a: u64) -> f64 {
    match c.from {
        Type::F64 => f64::from_bits(a),
        Type::F32 if c.flush => f64::from(flush32(f32::from_bits(a as u32))),
        Type::F32 => f64::from(f32::from_bits(a as u32)),
        Type::Bf16 => BF16.decode(a as u32 & 0xffff),
        _ => F16.decode(a as u32 & 0xffff),
    }
}

fn round_to_integer(x: f64, rounding: Option<Rounding>) -> f64 {
    match rounding {
        Some(Rounding::Zero) => x.trunc(),
        Some(Rounding::Down) => x.floor(),
        Some(Rounding::Up) => x.ceil(),
        _ => x.round_ties_even(),
    }
}

/// Out of range clamps always. NaN becomes 0 unless f64 or a 64-bit integer takes part; then it is the
/// number with only the top bit set.
fn float_to_integer(c: &Convert, x: f64, to: IntType) -> i128 {
    if x.is_nan() {
        let wide = to.bits == 64 || c.from == Type::F64;
        return if wide { 1 << (to.bits - 1) } else { 0 };
    }
    let (low, high) = limits(to);
    (round_to_integer(x, c.rounding) as i128).clamp(low, high)
}

/// Rounds an integer to f32 or f64 in any direction through its neighbours.
fn integer_to_float(c: &Convert, value: i128) -> u64 {
    let rounding = c.rounding.unwrap_or(Rounding::Nearest);
    let saturated = if c.saturate { value.clamp(0, 1) } else { value };
    match c.to {
        Type::F64 => directed_integer64(saturated, rounding).to_bits(),
        Type::F32 => u64::from(directed_integer32(saturated, rounding).to_bits()),
        to => {
            // 64-bit integers lose bits as f64, so leave a trace of what is cut off.
            let near = directed_integer64(saturated, Rounding::Zero);
            let odd =
                if near as i128 == saturated { near } else { f64::from_bits(near.to_bits() | 1) };
            let format = if to == Type::Bf16 { BF16 } else { F16 };
            u64::from(format.encode(odd, rounding, false))
        }
    }
}

fn directed_integer64(value: i128, rounding: Rounding) -> f64 {
    let near = value as f64;
    let back = near as i128;
    step(near, back.cmp(&value), near > 0.0, rounding, f64::next_up, f64::next_down)
}

fn directed_integer32(value: i128, rounding: Rounding) -> f32 {
    let near = value as f32;
    let back = near as i128;
    step(near, back.cmp(&value), near > 0.0, rounding, f32::next_up, f32::next_down)
}

/// Moves from the nearest value to the one the direction asks for.
fn step<T>(
    near: T,
    off: std::cmp::Ordering,
    positive: bool,
    rounding: Rounding,
    up: fn(T) -> T,
    down: fn(T) -> T,
) -> T {
    use std::cmp::Ordering::{Greater, Less};
    match (rounding, off) {
        (Rounding::Down, Greater) => down(near),
        (Rounding::Up, Less) => up(near),
        (Rounding::Zero, Greater) if positive => down(near),
        (Rounding::Zero, Less) if !positive => up(near),
        _ => near,
    }
}

fn float_to_float(c: &Convert, x: f64, bits: u64) -> u64 {
    let x = if c.to_integer { round_to_integer(x, c.rounding) } else { x };
    let x = if c.saturate { if x > 0.0 { x.min(1.0) } else { 0.0 } } else { relu(c, x) };
    let rounding =
        if c.to_integer { Rounding::Nearest } else { c.rounding.unwrap_or(Rounding::Nearest) };
    match c.to {
        Type::F64 => x.to_bits(),
        Type::F32 if c.from == Type::F32 && x.is_nan() && !c.to_integer && !c.saturate => bits,
        Type::F32 => {
            let narrow = narrow_to_f32(x, rounding);
            u64::from(canonical32(if c.flush { flush32(narrow) } else { narrow }))
        }
        to => {
            let format = if to == Type::Bf16 { BF16 } else { F16 };
            let code = format.encode(x, rounding, c.finite);
            u64::from(if c.relu && code == 0x8000 { 0 } else { code })
        }
    }
}

fn narrow_to_f32(x: f64, rounding: Rounding) -> f32 {
    let near = x as f32;
    match f64::from(near).partial_cmp(&x) {
        Some(off) if x.is_finite() => {
            step(near, off, x > 0.0, rounding, f32::next_up, f32::next_down)
        }
        _ => near,
    }
}

/// `cvt.rs`. Which random bits an element takes: with two elements each its own half (13 bits for
/// f16, 16 for bf16); with four 8- or 6-bit elements a, b the upper half and e, f the lower, 16 bits
/// each; with four 4-bit elements 8 bits each, where the manual says that a and b take the high
/// bytes of the two halves and e and f the low bytes, read here as a: byte 3, b: byte 1, e: byte 2,
/// f: byte 0.
fn stochastic(r: &mut Registers, active: u32, c: &Convert) -> Step<()> {
    let Some((format, count, place)) = packing(c.to) else { return Ok(()) };
    let count = count as usize;
    let mut operands = Vec::with_capacity(count + 1);
    for source in &c.sources {
        operands.push(*r.read(*source, active)?);
    }
    let random = operands[count];
    let share = |index: usize, word: u32| match (count, format.bits()) {
        (2, _) => (word >> (16 * (1 - index)), if format == F16 { 13 } else { 16 }),
        (_, 4) => (word >> [24, 8, 16, 0][index], 8),
        _ => (word >> (16 * (1 - index / 2)), 16),
    };
    r.write(active, c.dst.0, |lane| {
        let mut word = 0u64;
        for (index, operand) in operands[..count].iter().enumerate() {
            let (bits, width) = share(index, random[lane] as u32);
            let value = relu(c, f64::from(f32::from_bits(operand[lane] as u32)));
            let code = format.encode_stochastic(value, bits & ((1 << width) - 1), width, c.finite);
            let code = if c.relu && code == 1 << (format.bits() - 1) { 0 } else { code };
            word |= u64::from(code) << (place as usize * (count - 1 - index));
        }
        word
    });
    Ok(())
}
