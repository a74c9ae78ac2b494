//! Floating-point arithmetic.

use super::registers::Registers;
use super::stop::Step;
use crate::isa::{Float1, Float2, Float3, FloatMode, FloatType, Property, Reg};
use crate::numeric::directed::{self, Exact};
use crate::numeric::format::{BF16, F16, FloatFormat};
use crate::numeric::{NAN32, Rounding, canonical32, flush32};

fn format(ty: FloatType) -> FloatFormat {
    if ty == FloatType::Bf16 { BF16 } else { F16 }
}

/// A 16-bit float as f32, which holds it exactly.
pub(super) fn widen(ty: FloatType, code: u64) -> f32 {
    if ty == FloatType::Bf16 {
        f32::from_bits((code as u32) << 16)
    } else {
        F16.decode(code as u32 & 0xffff) as f32
    }
}

fn narrow(ty: FloatType, value: f32) -> u64 {
    u64::from(format(ty).encode(f64::from(value), Rounding::Nearest, false))
}

/// `.ftz`, `.sat` and `.relu` of a result.
fn finish(mode: FloatMode, value: f32) -> f32 {
    if mode.saturate {
        // NaN becomes +0.
        return if value > 0.0 { value.min(1.0) } else { 0.0 };
    }
    if mode.relu && value <= 0.0 {
        return 0.0;
    }
    if mode.flush { flush32(value) } else { value }
}

fn input(mode: FloatMode, value: f32) -> f32 {
    if mode.flush { flush32(value) } else { value }
}

/// Applies a function of two f32 numbers to every element. For 16-bit types the f32 result is
/// rounded again, which is harmless for one add, multiply or comparison: f32 has more than twice
/// their digits.
#[inline(always)]
fn elements2(
    r: &mut Registers,
    active: u32,
    mode: FloatMode,
    dst: Reg,
    ab: (Reg, Reg),
    f: impl Fn(f32, f32) -> f32,
) -> Step<()> {
    let g = |a: f32, b: f32| finish(mode, f(input(mode, a), input(mode, b)));
    let single = |a: u64, b: u64| {
        u64::from(canonical32(g(f32::from_bits(a as u32), f32::from_bits(b as u32))))
    };
    let half =
        |a: u64, b: u64| narrow(mode.ty, half_range(mode, g(widen(mode.ty, a), widen(mode.ty, b))));
    match (mode.ty, mode.count) {
        (FloatType::F32, 1) => r.map2(active, dst, ab, single),
        (FloatType::F32, _) => {
            r.map2(active, dst, ab, |a, b| single(a, b) | single(a >> 32, b >> 32) << 32)
        }
        (_, 1) => r.map2(active, dst, ab, half),
        _ => r.map2(active, dst, ab, |a, b| half(a, b) | half(a >> 16, b >> 16) << 16),
    }
}

/// `.ftz` of f16 flushes what is subnormal as f16.
fn half_range(mode: FloatMode, value: f32) -> f32 {
    if mode.flush && mode.ty == FloatType::F16 && value.abs() < 2f32.powi(-14) {
        0f32.copysign(value)
    } else {
        value
    }
}

#[inline(always)]
fn elements1(
    r: &mut Registers,
    active: u32,
    mode: FloatMode,
    dst: Reg,
    a: Reg,
    f: impl Fn(f32) -> f32,
) -> Step<()> {
    elements2(r, active, mode, dst, (a, a), |a, _| f(a))
}

fn double2(
    r: &mut Registers,
    active: u32,
    dst: Reg,
    ab: (Reg, Reg),
    f: impl Fn(f64, f64) -> f64,
) -> Step<()> {
    r.map2(active, dst, ab, |a, b| f(f64::from_bits(a), f64::from_bits(b)).to_bits())
}

pub(super) fn float1(
    r: &mut Registers,
    active: u32,
    op: Float1,
    mode: FloatMode,
    dst: Reg,
    a: Reg,
) -> Step<()> {
    let rounding = mode.rounding;
    if matches!(op, Float1::Neg | Float1::Abs) {
        return sign_only(r, active, op, mode, dst, a);
    }
    if mode.ty == FloatType::F64 {
        return r.map1(active, dst, a, |a| {
            let a = f64::from_bits(a);
            let result = match op {
                Float1::Sqrt => directed::sqrt64(a, rounding),
                Float1::Reciprocal => directed::div64(1.0, a, rounding),
                _ => 1.0 / a.sqrt(),
            };
            result.to_bits()
        });
    }
    match op {
        Float1::Sqrt => elements1(r, active, mode, dst, a, |a| directed::sqrt32(a, rounding)),
        Float1::Reciprocal => {
            elements1(r, active, mode, dst, a, |a| directed::div32(1.0, a, rounding))
        }
        Float1::ReciprocalSqrt => elements1(r, active, mode, dst, a, |a| {
            if a == 0.0 { f32::INFINITY.copysign(a) } else { (1.0 / f64::from(a).sqrt()) as f32 }
        }),
        Float1::Exp2 => elements1(r, active, mode, dst, a, |a| f64::from(a).exp2() as f32),
        Float1::Log2 => elements1(r, active, mode, dst, a, |a| {
            if a == 0.0 { f32::NEG_INFINITY } else { f64::from(a).log2() as f32 }
        }),
        Float1::Sine => elements1(r, active, mode, dst, a, |a| f64::from(a).sin() as f32),
        Float1::Cosine => elements1(r, active, mode, dst, a, |a| f64::from(a).cos() as f32),
        Float1::Tanh | Float1::Neg | Float1::Abs => {
            elements1(r, active, mode, dst, a, |a| f64::from(a).tanh() as f32)
        }
    }
}

/// Negation and magnitude change the sign bit, of NaN too.
fn sign_only(
    r: &mut Registers,
    active: u32,
    op: Float1,
    mode: FloatMode,
    dst: Reg,
    a: Reg,
) -> Step<()> {
    let signs: u64 = match (mode.ty, mode.count) {
        (FloatType::F64, _) => 1 << 63,
        (FloatType::F32, 1) => 1 << 31,
        (FloatType::F32, _) => 1 << 63 | 1 << 31,
        (_, 1) => 1 << 15,
        _ => 1 << 31 | 1 << 15,
    };
    let change = move |a: u64| if op == Float1::Neg { a ^ signs } else { a & !signs };
    if !mode.flush {
        return r.map1(active, dst, a, change);
    }
    let flush = move |bits: u64| match mode.ty {
        FloatType::F32 => u64::from(flush32(f32::from_bits(bits as u32)).to_bits()),
        _ if bits & 0x7c00 == 0 => bits & 0x8000,
        _ => bits & 0xffff,
    };
    let width = if mode.ty == FloatType::F32 { 32 } else { 16 };
    r.map1(active, dst, a, move |a| {
        let changed = change(a);
        let low = flush(changed & (u64::MAX >> (64 - width)));
        if mode.count == 1 { low } else { low | flush(changed >> width) << width }
    })
}

pub(super) fn float2(
    r: &mut Registers,
    active: u32,
    op: Float2,
    mode: FloatMode,
    dst: Reg,
    ab: (Reg, Reg),
) -> Step<()> {
    let rounding = mode.rounding;
    if mode.ty == FloatType::F64 {
        return match op {
            Float2::Add => double2(r, active, dst, ab, |a, b| directed::add64(a, b, rounding)),
            Float2::Sub => double2(r, active, dst, ab, |a, b| directed::add64(a, -b, rounding)),
            Float2::Mul => double2(r, active, dst, ab, |a, b| directed::mul64(a, b, rounding)),
            Float2::Div => double2(r, active, dst, ab, |a, b| directed::div64(a, b, rounding)),
            Float2::Min { .. } => double2(r, active, dst, ab, |a, b| pick64(a, b, false)),
            Float2::Max { .. } => double2(r, active, dst, ab, |a, b| pick64(a, b, true)),
            Float2::CopySign => r.map2(active, dst, ab, |a, b| b & !(1 << 63) | a & 1 << 63),
        };
    }
    let plain = mode.ty == FloatType::F32 && mode.count == 1 && !mode.flush && !mode.saturate;
    let nearest = rounding == Rounding::Nearest;
    let single = |f: fn(f32, f32) -> f32| {
        move |a: u64, b: u64| {
            u64::from(canonical32(f(f32::from_bits(a as u32), f32::from_bits(b as u32))))
        }
    };
    match op {
        Float2::Add if plain && nearest => r.map2(active, dst, ab, single(|a, b| a + b)),
        Float2::Sub if plain && nearest => r.map2(active, dst, ab, single(|a, b| a - b)),
        Float2::Mul if plain && nearest => r.map2(active, dst, ab, single(|a, b| a * b)),
        Float2::Add => elements2(r, active, mode, dst, ab, |a, b| directed::add32(a, b, rounding)),
        Float2::Sub => elements2(r, active, mode, dst, ab, |a, b| directed::add32(a, -b, rounding)),
        Float2::Mul => elements2(r, active, mode, dst, ab, |a, b| directed::mul32(a, b, rounding)),
        Float2::Div => elements2(r, active, mode, dst, ab, |a, b| directed::div32(a, b, rounding)),
        Float2::Min { nan, xor_sign, magnitude } => elements2(r, active, mode, dst, ab, |a, b| {
            choose(a, b, false, nan, xor_sign, magnitude)
        }),
        Float2::Max { nan, xor_sign, magnitude } => {
            elements2(r, active, mode, dst, ab, |a, b| choose(a, b, true, nan, xor_sign, magnitude))
        }
        // The sign of a with the magnitude of b.
        Float2::CopySign => r.map2(active, dst, ab, |a, b| b & 0x7fff_ffff | a & 0x8000_0000),
    }
}

/// Minimum or maximum: a NaN loses unless `.NaN`; +0 is above -0.
fn choose(a: f32, b: f32, maximum: bool, nan: bool, xor_sign: bool, magnitude: bool) -> f32 {
    let sign = a.is_sign_negative() != b.is_sign_negative();
    let (a, b) = if magnitude { (a.abs(), b.abs()) } else { (a, b) };
    let result = pick32(a, b, maximum, nan);
    if xor_sign && !result.is_nan() {
        result.abs().copysign(if sign { -1.0 } else { 1.0 })
    } else {
        result
    }
}

pub(super) fn pick32(a: f32, b: f32, maximum: bool, nan: bool) -> f32 {
    if a.is_nan() || b.is_nan() {
        return match (nan, a.is_nan(), b.is_nan()) {
            (true, ..) | (_, true, true) => f32::from_bits(NAN32),
            (_, true, _) => b,
            _ => a,
        };
    }
    let less = a < b || (a == b && a.is_sign_negative());
    if less == maximum { b } else { a }
}

fn pick64(a: f64, b: f64, maximum: bool) -> f64 {
    if a.is_nan() || b.is_nan() {
        return if a.is_nan() { b } else { a };
    }
    let less = a < b || (a == b && a.is_sign_negative());
    if less == maximum { b } else { a }
}

pub(super) fn float3(
    r: &mut Registers,
    active: u32,
    op: Float3,
    mode: FloatMode,
    dst: Reg,
    abc: (Reg, Reg, Reg),
) -> Step<()> {
    let rounding = mode.rounding;
    let single = |f: &dyn Fn(f32, f32, f32) -> f32, a: u64, b: u64, c: u64| {
        let element = |bits: u64| input(mode, f32::from_bits(bits as u32));
        u64::from(canonical32(finish(mode, f(element(a), element(b), element(c)))))
    };
    match op {
        Float3::Fma if mode.ty == FloatType::F64 => r.map3(active, dst, abc, |a, b, c| {
            f64::from_bits(a).mul_add(f64::from_bits(b), f64::from_bits(c)).to_bits()
        }),
        Float3::Fma if mode.ty == FloatType::F32 && mode.count == 1 => {
            r.map3(active, dst, abc, |a, b, c| {
                single(&|a, b, c| directed::fma32(a, b, c, rounding), a, b, c)
            })
        }
        Float3::Fma if mode.ty == FloatType::F32 => r.map3(active, dst, abc, |a, b, c| {
            let f = |a, b, c| directed::fma32(a, b, c, rounding);
            single(&f, a, b, c) | single(&f, a >> 32, b >> 32, c >> 32) << 32
        }),
        Float3::Fma if mode.count == 1 => {
            r.map3(active, dst, abc, |a, b, c| half_fma(mode, a, b, c))
        }
        Float3::Fma => r.map3(active, dst, abc, |a, b, c| {
            half_fma(mode, a, b, c) | half_fma(mode, a >> 16, b >> 16, c >> 16) << 16
        }),
        Float3::Min { nan, magnitude } | Float3::Max { nan, magnitude } => {
            let maximum = matches!(op, Float3::Max { .. });
            let f = move |a: f32, b: f32, c: f32| {
                let size = |x: f32| if magnitude { x.abs() } else { x };
                pick32(pick32(size(a), size(b), maximum, nan), size(c), maximum, nan)
            };
            r.map3(active, dst, abc, |a, b, c| single(&f, a, b, c))
        }
    }
}

/// A 16-bit fused multiply-add, rounded once.
fn half_fma(mode: FloatMode, a: u64, b: u64, c: u64) -> u64 {
    let element = |code: u64| half_range(mode, input(mode, widen(mode.ty, code & 0xffff)));
    let exact = Exact::fma32(element(a), element(b), element(c)).to_odd();
    let exact = if mode.relu && exact < 0.0 { 0.0 } else { exact };
    let exact = if mode.saturate { if exact > 0.0 { exact.min(1.0) } else { 0.0 } } else { exact };
    let code = format(mode.ty).encode(exact, Rounding::Nearest, false);
    let code = if mode.relu && code == 0x8000 { 0 } else { code };
    let subnormal = mode.flush && mode.ty == FloatType::F16 && code & 0x7c00 == 0;
    u64::from(if subnormal { code & 0x8000 } else { code })
}

/// Whether a number has a property.
pub(super) fn has_property(property: Property, value: f64, subnormal: bool) -> bool {
    match property {
        Property::Finite => value.is_finite(),
        Property::Infinite => value.is_infinite(),
        Property::Number => !value.is_nan(),
        Property::NotANumber => value.is_nan(),
        Property::Normal => value.is_finite() && !subnormal && value != 0.0,
        Property::Subnormal => subnormal,
    }
}
