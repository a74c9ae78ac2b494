//! Integer arithmetic, logic and bits.

use super::registers::Registers;
use super::stop::{Step, bad_operand, lanes};
use crate::isa::{CarryOp, Int1, Int2, Int3, IntType, PermuteMode, Reg};

type Two = (Reg, Reg);
type Three = (Reg, Reg, Reg);

pub(super) fn int1(
    r: &mut Registers,
    active: u32,
    op: Int1,
    ty: IntType,
    dst: Reg,
    a: Reg,
) -> Step<()> {
    let (mask, bits) = (ty.mask(), ty.bits);
    match op {
        Int1::Neg => r.map1(active, dst, a, |a| a.wrapping_neg() & mask),
        Int1::Abs => r.map1(active, dst, a, |a| ty.sign_extend(a).unsigned_abs() & mask),
        Int1::Not => r.map1(active, dst, a, |a| !a & mask),
        Int1::Cnot => r.map1(active, dst, a, |a| u64::from(a & mask == 0)),
        Int1::PopCount => r.map1(active, dst, a, |a| u64::from(a.count_ones())),
        Int1::LeadingZeros => {
            r.map1(active, dst, a, |a| u64::from(a.leading_zeros()) - u64::from(64 - bits))
        }
        Int1::Reverse => r.map1(active, dst, a, |a| a.reverse_bits() >> (64 - bits)),
        Int1::FindBit { shift_amount } => r.map1(active, dst, a, |a| {
            let flipped = if ty.signed && ty.sign_extend(a) < 0 { !a & mask } else { a & mask };
            if flipped == 0 {
                return u64::from(u32::MAX);
            }
            let position = 63 - flipped.leading_zeros();
            u64::from(if shift_amount { bits - 1 - position } else { position })
        }),
    }
}

/// Amounts of more than the width shift everything out.
fn shift_right(ty: IntType, a: u64, amount: u64) -> u64 {
    if ty.signed {
        (ty.sign_extend(a) >> amount.min(63)) as u64 & ty.mask()
    } else if amount >= 64 {
        0
    } else {
        a >> amount
    }
}

fn clamp_signed(value: i128, bits: u32) -> u64 {
    let limit = 1i128 << (bits - 1);
    value.clamp(-limit, limit - 1) as u64 & (u64::MAX >> (64 - bits))
}

pub(super) fn int2(
    r: &mut Registers,
    active: u32,
    op: Int2,
    ty: IntType,
    dst: Reg,
    ab: Two,
) -> Step<()> {
    let (mask, bits) = (ty.mask(), ty.bits);
    let sx = move |value: u64| ty.sign_extend(value);
    match op {
        Int2::Add => r.map2(active, dst, ab, |a, b| a.wrapping_add(b) & mask),
        Int2::Sub => r.map2(active, dst, ab, |a, b| a.wrapping_sub(b) & mask),
        Int2::AddSaturating => {
            r.map2(active, dst, ab, |a, b| clamp_signed(ty.wide(a) + ty.wide(b), bits))
        }
        Int2::SubSaturating => {
            r.map2(active, dst, ab, |a, b| clamp_signed(ty.wide(a) - ty.wide(b), bits))
        }
        Int2::MulLow => r.map2(active, dst, ab, |a, b| a.wrapping_mul(b) & mask),
        Int2::MulHigh => r.map2(active, dst, ab, |a, b| mul_high(ty, a, b)),
        Int2::MulWide if ty.signed => {
            r.map2(active, dst, ab, |a, b| (sx(a) * sx(b)) as u64 & (u64::MAX >> (64 - 2 * bits)))
        }
        Int2::MulWide => r.map2(active, dst, ab, |a, b| a * b),
        Int2::Mul24 { high } => r.map2(active, dst, ab, |a, b| mul24(ty, a, b, high)),
        Int2::Div | Int2::Rem => divide(r, active, op == Int2::Rem, ty, dst, ab),
        Int2::Min if ty.signed => r.map2(active, dst, ab, |a, b| if sx(b) < sx(a) { b } else { a }),
        Int2::Max if ty.signed => r.map2(active, dst, ab, |a, b| if sx(b) > sx(a) { b } else { a }),
        Int2::Min => r.map2(active, dst, ab, |a, b| a.min(b)),
        Int2::Max => r.map2(active, dst, ab, |a, b| a.max(b)),
        Int2::MinRelu => r.map2(active, dst, ab, |a, b| sx(a).min(sx(b)).max(0) as u64),
        Int2::MaxRelu => r.map2(active, dst, ab, |a, b| sx(a).max(sx(b)).max(0) as u64),
        Int2::And => r.map2(active, dst, ab, |a, b| a & b),
        Int2::Or => r.map2(active, dst, ab, |a, b| a | b),
        Int2::Xor => r.map2(active, dst, ab, |a, b| a ^ b),
        Int2::Shl => r.map2(active, dst, ab, |a, b| if b >= 64 { 0 } else { a << b & mask }),
        Int2::Shr => r.map2(active, dst, ab, |a, b| shift_right(ty, a, b)),
        Int2::ExtendBits { wrap } => r.map2(active, dst, ab, |a, b| {
            let kept = if wrap { b & 31 } else { b.min(32) } as u32;
            if kept == 0 {
                return 0;
            }
            IntType { bits: kept, ..ty }.wide(a) as u64 & mask
        }),
        Int2::BitMask { wrap } => r.map2(active, dst, ab, |a, b| {
            let (start, width) = if wrap { (a & 31, b & 31) } else { (a.min(32), b.min(32)) };
            ((1u64 << width) - 1) << start & mask
        }),
    }
}

/// The upper half of a product.
fn mul_high(ty: IntType, a: u64, b: u64) -> u64 {
    let high = if ty.signed {
        ((ty.wide(a) * ty.wide(b)) >> ty.bits) as u64
    } else {
        ((u128::from(a & ty.mask()) * u128::from(b & ty.mask())) >> ty.bits) as u64
    };
    high & ty.mask()
}

fn mul24(ty: IntType, a: u64, b: u64, high: bool) -> u64 {
    let narrow = IntType { bits: 24, ..ty };
    let product = narrow.wide(a) * narrow.wide(b);
    (if high { product >> 16 } else { product }) as u64 & ty.mask()
}

fn divide(
    r: &mut Registers,
    active: u32,
    remainder: bool,
    ty: IntType,
    dst: Reg,
    ab: Two,
) -> Step<()> {
    let divisor = r.read(ab.1, active)?;
    if let Some(lane) = lanes(active).find(|lane| divisor[*lane] & ty.mask() == 0) {
        return bad_operand(lane as u32, "division by zero");
    }
    match (ty.signed, remainder) {
        (true, false) => r.map2(active, dst, ab, |a, b| {
            ty.sign_extend(a).wrapping_div(ty.sign_extend(b)) as u64 & ty.mask()
        }),
        (true, true) => r.map2(active, dst, ab, |a, b| {
            ty.sign_extend(a).wrapping_rem(ty.sign_extend(b)) as u64 & ty.mask()
        }),
        (false, false) => r.map2(active, dst, ab, |a, b| a.checked_div(b).unwrap_or(0)),
        (false, true) => r.map2(active, dst, ab, |a, b| a.checked_rem(b).unwrap_or(0)),
    }
}

/// Two 16-bit integers a register.
pub(super) fn half2(
    r: &mut Registers,
    active: u32,
    op: Int2,
    signed: bool,
    relu: bool,
    dst: Reg,
    ab: Two,
) -> Step<()> {
    let ty = IntType { bits: 16, signed };
    let one = move |a: u64, b: u64| {
        let (a, b) = (ty.wide(a), ty.wide(b));
        let result = match op {
            Int2::Min => a.min(b),
            Int2::Max => a.max(b),
            _ => a + b,
        };
        (if relu { result.max(0) } else { result }) as u64 & 0xffff
    };
    r.map2(active, dst, ab, |a, b| one(a, b) | one(a >> 16, b >> 16) << 16)
}

pub(super) fn int3(
    r: &mut Registers,
    active: u32,
    op: Int3,
    ty: IntType,
    dst: Reg,
    abc: Three,
) -> Step<()> {
    let (mask, bits) = (ty.mask(), ty.bits);
    let sx = move |value: u64| ty.sign_extend(value);
    match op {
        Int3::MadLow => {
            r.map3(active, dst, abc, |a, b, c| a.wrapping_mul(b).wrapping_add(c) & mask)
        }
        Int3::MadHigh => {
            r.map3(active, dst, abc, |a, b, c| mul_high(ty, a, b).wrapping_add(c) & mask)
        }
        Int3::MadHighSaturating => r.map3(active, dst, abc, |a, b, c| {
            clamp_signed(((ty.wide(a) * ty.wide(b)) >> bits) + ty.wide(c), bits)
        }),
        Int3::MadWide if ty.signed => r.map3(active, dst, abc, |a, b, c| {
            ((sx(a) * sx(b)) as u64).wrapping_add(c) & (u64::MAX >> (64 - 2 * bits))
        }),
        Int3::MadWide => r.map3(active, dst, abc, |a, b, c| {
            (a * b).wrapping_add(c) & (u64::MAX >> (64 - 2 * bits))
        }),
        Int3::Mad24 { high } => {
            r.map3(active, dst, abc, |a, b, c| mul24(ty, a, b, high).wrapping_add(c) & mask)
        }
        Int3::SumOfAbsoluteDifferences => r.map3(active, dst, abc, |a, b, c| {
            c.wrapping_add((ty.wide(a) - ty.wide(b)).unsigned_abs() as u64) & mask
        }),
        Int3::ExtractField => r.map3(active, dst, abc, |a, b, c| extract(ty, a, b & 255, c & 255)),
        Int3::FunnelShift { left, wrap } => r.map3(active, dst, abc, |a, b, c| {
            let amount = if wrap { c & 31 } else { c.min(32) };
            let both = b << 32 | a;
            (if left { both << amount >> 32 } else { both >> amount }) & mask
        }),
        Int3::Permute(mode) => r.map3(active, dst, abc, |a, b, c| permute(mode, a, b, c)),
        Int3::Dot4 { a_signed, b_signed } => r.map3(active, dst, abc, |a, b, c| {
            let byte = |word: u64, index: u32, signed| {
                IntType { bits: 8, signed }.wide(word >> (8 * index))
            };
            let sum: i128 = (0..4).map(|i| byte(a, i, a_signed) * byte(b, i, b_signed)).sum();
            c.wrapping_add(sum as u64) & mask
        }),
        Int3::Dot2 { a_signed, b_signed, high } => r.map3(active, dst, abc, |a, b, c| {
            let half = |index: u32| IntType { bits: 16, signed: a_signed }.wide(a >> (16 * index));
            let byte = |index: u32| {
                IntType { bits: 8, signed: b_signed }.wide(b >> (8 * (index + 2 * u32::from(high))))
            };
            c.wrapping_add((half(0) * byte(0) + half(1) * byte(1)) as u64) & mask
        }),
        Int3::FindNthSet => r.map3(active, dst, abc, find_nth_set),
    }
}

/// `bfe`: the field beyond the register's end is filled with the sign.
fn extract(ty: IntType, a: u64, position: u64, length: u64) -> u64 {
    let last = u64::from(ty.bits) - 1;
    let sign_bit =
        if !ty.signed || length == 0 { 0 } else { a >> (position + length - 1).min(last) & 1 };
    let fill = if sign_bit == 1 { ty.mask() } else { 0 };
    let shifted = if position > last { 0 } else { a >> position };
    let known = length.min((last + 1).saturating_sub(position));
    let ones = if known >= 64 { u64::MAX } else { (1 << known) - 1 };
    (shifted & ones | fill & !ones) & ty.mask()
}

/// `bfi`: puts the low bits of a into b.
pub(super) fn insert_field(
    r: &mut Registers,
    active: u32,
    ty: IntType,
    dst: Reg,
    (a, b): Two,
    (position, length): Two,
) -> Step<()> {
    let (a, b) = (*r.read(a, active)?, *r.read(b, active)?);
    let (position, length) = (*r.read(position, active)?, *r.read(length, active)?);
    r.write(active, dst, |lane| {
        let (position, length) = (position[lane] & 255, length[lane] & 255);
        if position >= u64::from(ty.bits) {
            return b[lane];
        }
        let ones = if length >= 64 { u64::MAX } else { (1 << length) - 1 };
        let field = ones << position & ty.mask();
        b[lane] & !field | a[lane] << position & field
    });
    Ok(())
}

fn permute(mode: PermuteMode, a: u64, b: u64, selector: u64) -> u64 {
    let bytes = a | b << 32;
    let pick = |index: u64| bytes >> (8 * (index & 7)) & 255;
    let s = selector & 3;
    let word =
        |choose: &dyn Fn(u64) -> u64| (0..4).fold(0, |word, i| word | pick(choose(i)) << (8 * i));
    match mode {
        PermuteMode::Selected => (0..4).fold(0, |word, i| {
            let nibble = selector >> (4 * i) & 15;
            let byte = pick(nibble);
            let byte = match (nibble & 8 != 0, byte & 128 != 0) {
                (false, _) => byte,
                (true, true) => 255,
                (true, false) => 0,
            };
            word | byte << (8 * i)
        }),
        PermuteMode::Forward4 => word(&|i| s + i),
        PermuteMode::Backward4 => word(&|i| s.wrapping_sub(i)),
        PermuteMode::Replicate8 => word(&|_| s),
        PermuteMode::EdgeLeft => word(&|i| i.max(s)),
        PermuteMode::EdgeRight => word(&|i| i.min(s)),
        PermuteMode::Replicate16 => word(&|i| 2 * (s & 1) + (i & 1)),
    }
}

fn find_nth_set(mask: u64, base: u64, offset: u64) -> u64 {
    let offset = offset as u32 as i32;
    let set = |bit: &i32| mask >> bit & 1 == 1;
    let base = (base & 31) as i32;
    let found = match offset {
        0 => Some(base).filter(set),
        1.. => (base..32).filter(set).nth(offset as usize - 1),
        _ => (0..=base).rev().filter(set).nth(offset.unsigned_abs() as usize - 1),
    };
    found.map_or(u64::from(u32::MAX), |bit| bit as u64)
}

/// Arithmetic that reads or writes the carry. `carry` holds one bit a lane.
#[expect(clippy::too_many_arguments, reason = "the fields of one instruction")]
pub(super) fn carry_op(
    r: &mut Registers,
    carry: &mut u32,
    active: u32,
    op: CarryOp,
    ty: IntType,
    dst: Reg,
    (a, b, c): (Reg, Reg, Option<Reg>),
    (reads, writes): (bool, bool),
) -> Step<()> {
    let (a, b) = (*r.read(a, active)?, *r.read(b, active)?);
    let c = match c {
        Some(c) => *r.read(c, active)?,
        None => [0; 32],
    };
    let carry_in = if reads { *carry } else { 0 };
    let unsigned = IntType { signed: false, ..ty };
    let exact = |lane: usize| {
        let bit = i128::from(carry_in >> lane & 1);
        let (x, y, z) = (unsigned.wide(a[lane]), unsigned.wide(b[lane]), unsigned.wide(c[lane]));
        match op {
            CarryOp::Add => x + y + bit,
            // The carry of a subtraction is its borrow.
            CarryOp::Sub => x - y - bit,
            CarryOp::MadLow | CarryOp::MadHigh => {
                let part = if op == CarryOp::MadLow {
                    a[lane].wrapping_mul(b[lane])
                } else {
                    mul_high(ty, a[lane], b[lane])
                };
                unsigned.wide(part) + z + bit
            }
        }
    };
    if writes {
        for lane in lanes(active) {
            let out = u32::from(exact(lane) >> ty.bits != 0);
            *carry = *carry & !(1 << lane) | out << lane;
        }
    }
    r.write(active, dst, |lane| exact(lane) as u64 & ty.mask());
    Ok(())
}

/// The bitwise function of three inputs that a truth table names.
pub(super) fn lop3(table: u8, a: u64, b: u64, c: u64) -> u64 {
    let mut result = 0;
    for index in 0..8 {
        if table >> index & 1 == 1 {
            let pick = |bit: u32, word: u64| if index >> bit & 1 == 1 { word } else { !word };
            result |= pick(2, a) & pick(1, b) & pick(0, c);
        }
    }
    result & 0xffff_ffff
}
