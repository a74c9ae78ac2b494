//! `mma.sync`: the fragments of the manual's tables, summed exactly and rounded once.

use super::collective::Group;
use super::float::widen;
use super::stop::{Step, bad_operand, lanes};
use super::warp::Warp;
use crate::isa::{Accumulator, BlockScale, MmaElement, MmaShape, Type};
use crate::numeric::directed::Exact;
use crate::numeric::format::{E2M1, E2M3, E3M2, E4M3, E5M2, F16, e8m0_decode};
use crate::numeric::{Rounding, canonical32};

/// A row-major table of numbers.
struct Table {
    columns: usize,
    values: Vec<f64>,
}

impl Table {
    fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.columns..(row + 1) * self.columns]
    }
}

fn byte_value(ty: Type, byte: u32) -> f64 {
    match ty {
        Type::E4m3 => E4M3.decode(byte),
        Type::E5m2 => E5M2.decode(byte),
        Type::E2m3 => E2M3.decode(byte & 63),
        Type::E3m2 => E3M2.decode(byte & 63),
        // FP4 sits in the middle of its container.
        _ => E2M1.decode(byte >> 2 & 15),
    }
}

/// The element at a place in a register.
fn element(kind: MmaElement, word: u64, index: usize) -> f64 {
    match kind {
        MmaElement::Half(ty) => f64::from(widen(ty, word >> (16 * index) & 0xffff)),
        MmaElement::Tf32 => f64::from(f32::from_bits(word as u32 & 0xffff_e000)),
        MmaElement::Int(ty) => ty.wide(word >> (8 * index)) as f64,
        MmaElement::Byte(ty) => byte_value(ty, (word >> (8 * index)) as u32 & 255),
        MmaElement::Nibble => E2M1.decode((word >> (4 * index)) as u32 & 15),
    }
}

/// Gathers A or B^T. A lane holds, with `g = lane / 4` and `t = lane % 4`, in register r the elements
/// `t*p ..` of a run of `4*p` along K, where p elements fit a register. For A registers 0 and 1 are
/// rows g and g+8, and each further pair the next run; for B every register is the next run of
/// column g.
fn gather(
    warp: &mut Warp,
    group: &Group<'_>,
    kind: MmaElement,
    first: usize,
    rows: usize,
    k: usize,
) -> Step<Table> {
    let per_register = kind.per_register();
    let registers = rows * k / 32 / per_register;
    let row_blocks = rows / 8;
    let mut table = Table { columns: k, values: vec![0.0; rows * k] };
    for register in 0..registers {
        let words = group.source(warp, first + register)?;
        for (lane, word) in words.iter().enumerate() {
            let row = lane / 4 + 8 * (register % row_blocks);
            let start = (register / row_blocks) * 4 * per_register + (lane % 4) * per_register;
            for index in 0..per_register {
                table.values[row * k + start + index] = element(kind, *word, index);
            }
        }
    }
    Ok(table)
}

/// Multiplies rows by their scale factors. The scale of row r comes, for A, from lane `4*(r%8) +
/// r/8`, two lanes further if the thread selector is 1; for B of column n from lane `4*n +` selector.
/// Scale v of the row is byte `byte selector + v` and covers the v-th part of K.
fn scale(
    warp: &mut Warp,
    group: &Group<'_>,
    table: &mut Table,
    scales: BlockScale,
    first: usize,
    is_a: bool,
) -> Step<()> {
    let words = group.source(warp, first)?;
    let (bytes, threads) = (group.source(warp, first + 1)?, group.source(warp, first + 2)?);
    let lane = group.first();
    let (byte, thread) = (bytes[lane as usize] as usize, threads[lane as usize] as usize);
    let uniform =
        lanes(group.members).all(|l| bytes[l] as usize == byte && threads[l] as usize == thread);
    let bytes_allowed = byte < 4 && byte.is_multiple_of(scales.vectors);
    if !uniform || !bytes_allowed || thread >= if is_a { 2 } else { 4 } {
        return bad_operand(lane, format!("scale selectors: byte {byte}, thread {thread}"));
    }
    let part = table.columns / scales.vectors;
    for row in 0..table.values.len() / table.columns {
        let lane = if is_a { 4 * (row % 8) + row / 8 + 2 * thread } else { 4 * row + thread };
        for column in 0..table.columns {
            let code = (words[lane] >> (8 * (byte + column / part))) as u32 & 255;
            let factor =
                if scales.ty == Type::Ue8m0 { e8m0_decode(code) } else { E4M3.decode(code & 0x7f) };
            table.values[row * table.columns + column] *= factor;
        }
    }
    Ok(())
}

/// The sum of products and an addend: exact as far as two f64 reach, then rounded to odd, so that
/// the final rounding to f32 or f16 is the only one.
fn dot(a: &[f64], b: &[f64], c: f64) -> f64 {
    // Every product of scaled elements has at most 24 significant bits and so is exact.
    let (mut sum, mut rest) = (c, 0.0f64);
    for (x, y) in a.iter().zip(b) {
        let product = x * y;
        let next = sum + product;
        if !next.is_finite() {
            return next;
        }
        let back = next - sum;
        rest += (sum - (next - back)) + (product - back);
        sum = next;
    }
    Exact::sum(sum, rest).to_odd()
}

pub(super) fn multiply(warp: &mut Warp, group: &Group<'_>, shape: MmaShape) -> Step<()> {
    let a_registers = shape.m * shape.k / 32 / shape.a.per_register();
    let b_registers = shape.n * shape.k / 32 / shape.b.per_register();
    let c_first = a_registers + b_registers;
    let c_registers = if shape.accumulator == Accumulator::F16 { 2 } else { 4 };
    let mut a = gather(warp, group, shape.a, 0, shape.m, shape.k)?;
    let mut b = gather(warp, group, shape.b, a_registers, shape.n, shape.k)?;
    if let Some(scales) = shape.scales {
        scale(warp, group, &mut a, scales, c_first + c_registers, true)?;
        scale(warp, group, &mut b, scales, c_first + c_registers + 3, false)?;
    }
    let mut c = Vec::with_capacity(4);
    for register in 0..c_registers {
        c.push(group.source(warp, c_first + register)?);
    }
    let mut d = vec![[0u64; 32]; c_registers];
    for lane in 0..32 {
        // Element i of a lane: row g or g+8, column 2t or 2t+1.
        for i in 0..4 {
            let (row, column) = (lane / 4 + 8 * (i / 2), 2 * (lane % 4) + i % 2);
            let (x, y) = (a.row(row), b.row(column));
            match shape.accumulator {
                Accumulator::F32 => {
                    let sum = dot(x, y, f64::from(f32::from_bits(c[i][lane] as u32)));
                    d[i][lane] = u64::from(canonical32(sum as f32));
                }
                Accumulator::F16 => {
                    let place = 16 * (i % 2);
                    let addend = F16.decode((c[i / 2][lane] >> place) as u32 & 0xffff);
                    let code = F16.encode(dot(x, y, addend), Rounding::Nearest, false);
                    d[i / 2][lane] |= u64::from(code) << place;
                }
                Accumulator::S32 { saturate } => {
                    // 32 products of bytes: exact in f64.
                    let products: f64 = x.iter().zip(y).map(|(x, y)| x * y).sum();
                    let sum = products as i64 + i64::from(c[i][lane] as u32 as i32);
                    let sum =
                        if saturate { sum.clamp(i32::MIN.into(), i32::MAX.into()) } else { sum };
                    d[i][lane] = sum as u64 & 0xffff_ffff;
                }
            }
        }
    }
    for (register, values) in d.iter().enumerate() {
        group.set(warp, register, values);
    }
    Ok(())
}
