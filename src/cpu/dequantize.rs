//! Dequantize: groups of 128 codes, written past the cache where they do not fit it.
//!
//! 4-bit codes are looked up: a table has, for each scale code, the 16 values as the reference decodes
//! them. Codes of a byte are widened and multiplied; a group in which that is not all (NaN, Inf, scales
//! near the ends of f32's range) is decoded as the reference has it.

use super::Cpu;
use super::output::{Output, STREAMED_BYTES, Source, put, write};
use super::pieces::{Cut, Sizes, is_whole, piece};
use super::simd::{GROUP, Kernel, LANES, Simd, dispatch};
use super::threads::for_each;
use crate::format::{Element, Format, Scale, Specials, exp2};
use crate::layout::{Packing, Raw};
use crate::numerics::{DecodeRule, Profile, TensorScale};
use crate::{QuantizedTensor, Real};

/// Tensors above this many elements are taken to have most scale codes: their table is made of all, without
/// a look.
const MOST_SCALES: usize = 1 << 22;

/// A tensor's decoding in numbers.
struct Plan<'a> {
    profile: &'a Profile,
    format: Format,
    tensor_scale: Option<TensorScale>,
    decoder: Decoder,
    /// Values as bf16 are the upper halves of those as f32, without rounding.
    exact: bool,
}

/// Kinds of factors: those that are not finite and exact, and those whose products may be subnormal.
const ODD: u8 = 2;
const SMALL: u8 = 1;

enum Decoder {
    /// By scale code and code, the bits of values.
    Table(Box<[[u32; 16]; 256]>),
    /// A code of up to 8 bits, times the factor of its scale code, which is of a kind.
    Factors(Box<([f32; 256], [u8; 256])>),
    /// As the reference has it.
    Specified,
}

impl<'a> Plan<'a> {
    fn new<T: Output, S: AsRef<[u8]>>(tensor: &'a QuantizedTensor<S>) -> Self {
        let (profile, format) = (tensor.profile(), tensor.format());
        let (element, tensor_scale) = (format.element(), tensor.tensor_scale());
        let multiplied = !matches!(
            profile.decode,
            DecodeRule::AmaxLast | DecodeRule::Halved | DecodeRule::TimesDecodePlusZero
        );
        // The kernel takes codes for integers, or for the f16 that has their bits: the element that it
        // takes for 1.
        let (unit, moderate) = match element {
            Element::Int(int) => (exp2(-i32::from(int.fraction_bits())), true),
            Element::Float(float) => {
                // The largest exponent field of f16 is of Inf and NaN.
                let fits = match float.exponent_bits() {
                    2..=4 => true,
                    5 => float.specials() == Specials::Ieee,
                    _ => false,
                };
                let bias = i32::from(float.bias());
                (exp2((15 - bias).clamp(-100, 100)), fits && (-15..=15).contains(&bias))
            }
        };
        // An element of at most 8 significant bits times a power of two needs no rounding.
        let exact = T::UPPER && format.scale() == Scale::E8M0 && tensor_scale.is_none();
        let decoder = match (format.block(), element.bits()) {
            (16 | 32, 4) => Decoder::Table(table::<T, S>(tensor)),
            (16 | 32, _) if multiplied && moderate => {
                let mut factors = Box::new(([0.0; 256], [ODD; 256]));
                for code in 0..=255 {
                    // What the element 1 becomes is what all elements are multiplied with.
                    let factor = profile.decoded(tensor_scale, profile.stored_scale(code), 1.0);
                    // Both products are the same number, rounded once, where this one is exact.
                    let both = factor * unit as f32;
                    if both.is_finite() && both / unit as f32 == factor {
                        factors.0[usize::from(code)] = both;
                        factors.1[usize::from(code)] = if both > 1e-30 { 0 } else { SMALL };
                    }
                }
                Decoder::Factors(factors)
            }
            _ => Decoder::Specified,
        };
        Self { profile, format, tensor_scale, decoder, exact }
    }

    fn kernel(&self) -> usize {
        match (&self.decoder, self.format.element()) {
            (Decoder::Table(_), _) => LOOKUP,
            (Decoder::Factors(_), Element::Float(_)) => FLOAT,
            (Decoder::Factors(_), Element::Int(_)) => INTEGER,
            (Decoder::Specified, _) => SPECIFIED,
        }
    }

    fn rows<T: Real>(&self, piece: Piece<'_, T>) {
        for ((values, codes), scales) in piece.rows() {
            self.specified(codes, scales, values);
        }
    }

    /// Values as the reference has them.
    #[cold]
    #[inline(never)]
    fn specified<T: Real>(&self, codes: &[u8], scales: &[u8], values: &mut [T]) {
        let (element, block) = (self.format.element(), self.format.block());
        let mut unpacked = vec![0; values.len()];
        Raw::unpack_row(codes, element.bits(), block, &mut unpacked);
        for (i, (value, code)) in values.iter_mut().zip(unpacked).enumerate() {
            let scale = self.profile.stored_scale(scales[i / block]);
            let q = element.decode(code);
            *value = T::from_f32(self.profile.decoded(self.tensor_scale, scale, q));
        }
    }
}

/// The values of all codes under the scales that the tensor has.
fn table<T: Output, S: AsRef<[u8]>>(tensor: &QuantizedTensor<S>) -> Box<[[u32; 16]; 256]> {
    let (profile, element) = (tensor.profile(), tensor.format().element());
    let mut present = [tensor.extents().elements() > MOST_SCALES; 256];
    if !present[0] {
        for code in tensor.scales().as_bytes() {
            present[usize::from(*code)] = true;
        }
    }
    let mut table = Box::new([[0; 16]; 256]);
    for scale in (0..=255).filter(|code| present[usize::from(*code)]) {
        for code in 0..16 {
            let stored = profile.stored_scale(scale);
            let value = profile.decoded(tensor.tensor_scale(), stored, element.decode(code));
            table[usize::from(scale)][usize::from(code)] = T::bits(value);
        }
    }
    table
}

/// Decodes all rows.
pub(super) fn dequantize<T: Output, S: AsRef<[u8]> + Sync>(
    cpu: Cpu,
    tensor: &QuantizedTensor<S>,
    values: &mut [T],
) {
    if values.is_empty() {
        return;
    }
    let plan = Plan::new::<T, S>(tensor);
    let level = cpu.chosen_level();
    let (format, elements, k) = (tensor.format(), values.len(), tensor.extents().k);
    let streams = size_of_val(values) >= STREAMED_BYTES;
    let k = if is_whole(format, k) { elements } else { k };
    let unit = if plan.kernel() != SPECIFIED { GROUP } else { 8 * format.block() };
    let Ok(Cut { several, part, .. }) = Cut::new(format, k, piece(cpu, elements), unit) else {
        return;
    };
    let several = values
        .chunks_mut(several.elements)
        .zip(tensor.codes().as_bytes().chunks(several.codes))
        .zip(tensor.scales().as_bytes().chunks(several.scales));
    let pieces = several.flat_map(move |((values, codes), scales)| {
        let parts = values
            .chunks_mut(part.elements)
            .zip(codes.chunks(part.codes))
            .zip(scales.chunks(part.scales));
        parts.filter_map(move |((values, codes), scales)| {
            let row = Sizes::of_row(format, k.min(values.len())).ok()?;
            Some(Piece { codes, scales, values, row })
        })
    });
    // Nothing here can fail.
    let _ = for_each(cpu, elements, pieces, |piece| {
        match plan.kernel() {
            LOOKUP => dispatch(level, Rows::<T, LOOKUP> { plan: &plan, piece, streams }),
            FLOAT => dispatch(level, Rows::<T, FLOAT> { plan: &plan, piece, streams }),
            INTEGER => dispatch(level, Rows::<T, INTEGER> { plan: &plan, piece, streams }),
            _ => plan.rows(piece),
        }
        Ok(())
    });
}

/// The kernels: how a group is decoded.
const LOOKUP: usize = 0;
const FLOAT: usize = 1;
const INTEGER: usize = 2;
const SPECIFIED: usize = 3;

/// Rows and their values.
struct Piece<'a, T> {
    codes: &'a [u8],
    scales: &'a [u8],
    values: &'a mut [T],
    row: Sizes,
}

impl<'a, T> Piece<'a, T> {
    /// Each row.
    fn rows(self) -> impl Iterator<Item = ((&'a mut [T], &'a [u8]), &'a [u8])> {
        let Self { codes, scales, values, row } = self;
        values.chunks_mut(row.elements).zip(codes.chunks(row.codes)).zip(scales.chunks(row.scales))
    }
}

struct Rows<'a, T, const KERNEL: usize> {
    plan: &'a Plan<'a>,
    piece: Piece<'a, T>,
    streams: bool,
}

impl<T: Output, const KERNEL: usize> Kernel for Rows<'_, T, KERNEL> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let plan = self.plan;
        let group = Group::<S, KERNEL>::new(simd, plan);
        let (codes_of, scales_of) = (Group::<S, KERNEL>::CODES, GROUP / plan.format.block());
        for ((values, codes), scales) in self.piece.rows() {
            let whole = values.len() / GROUP;
            let (groups, tail) = values.split_at_mut(whole * GROUP);
            let (group_codes, tail_codes) = codes.split_at(whole * codes_of);
            let (group_scales, tail_scales) = scales.split_at(whole * scales_of);
            let (groups, _) = groups.as_chunks_mut::<GROUP>();
            let source = Groups { group: &group, plan, codes: group_codes, scales: group_scales };
            put(simd, &source, groups, self.streams);
            if tail.is_empty() {
                continue;
            }
            let (mut all_codes, mut all_scales) = ([0; GROUP], [0; 8]);
            all_codes[..tail_codes.len()].copy_from_slice(tail_codes);
            // The scales behind are not looked at, but must be some that are there.
            all_scales.fill(tail_scales[0]);
            all_scales[..tail_scales.len()].copy_from_slice(tail_scales);
            let (codes, scales) = (&all_codes[..codes_of], &all_scales[..scales_of]);
            let Some(lines) = group.lines::<T>(codes, scales) else {
                plan.specified(tail_codes, tail_scales, tail);
                continue;
            };
            let mut all = [T::default(); GROUP];
            write(simd, &lines[..T::LINES], &mut all, false);
            tail.copy_from_slice(&all[..tail.len()]);
        }
        if self.streams {
            simd.fence();
        }
    }
}

/// Whole groups of a row.
struct Groups<'a, S: Simd, const KERNEL: usize> {
    group: &'a Group<'a, S, KERNEL>,
    plan: &'a Plan<'a>,
    codes: &'a [u8],
    scales: &'a [u8],
}

impl<S: Simd, T: Output, const KERNEL: usize> Source<T> for Groups<'_, S, KERNEL> {
    #[inline(always)]
    fn fill(&self, first: usize, values: &mut [[T; GROUP]], streams: bool) {
        let codes_of = Group::<S, KERNEL>::CODES;
        let scales_of = GROUP / self.plan.format.block();
        let codes = self.codes[first * codes_of..].chunks_exact(codes_of);
        let scales = self.scales[first * scales_of..].chunks_exact(scales_of);
        for ((codes, scales), values) in codes.zip(scales).zip(values) {
            match self.group.lines::<T>(codes, scales) {
                Some(lines) => write(self.group.simd, &lines[..T::LINES], values, streams),
                None => self.plan.specified(codes, scales, values),
            }
        }
    }
}

/// Decodes groups, its constants in registers.
struct Group<'a, S: Simd, const KERNEL: usize> {
    simd: S,
    table: &'a [[u32; 16]; 256],
    factors: &'a [f32; 256],
    kinds: &'a [u8; 256],
    /// Vectors of a block: 2^shift.
    shift: usize,
    exact: bool,
    bits: u32,
    /// The bits of a float's code but its sign, and the largest magnitude code that is a number.
    magnitude: u8,
    last: u8,
    /// How the code becomes an f16: see [`Simd::widen_codes`].
    left: u32,
    right: u32,
    place: u16,
}

impl<'a, S: Simd, const KERNEL: usize> Group<'a, S, KERNEL> {
    const CODES: usize = if KERNEL == LOOKUP { GROUP / 2 } else { GROUP };

    #[inline(always)]
    fn new(simd: S, plan: &'a Plan) -> Self {
        const NO_TABLE: &[[u32; 16]; 256] = &[[0; 16]; 256];
        const NO_FACTORS: &([f32; 256], [u8; 256]) = &([0.0; 256], [0; 256]);
        let element = plan.format.element();
        let (table, factors) = match &plan.decoder {
            Decoder::Table(table) => (&**table, NO_FACTORS),
            Decoder::Factors(factors) => (NO_TABLE, &**factors),
            Decoder::Specified => (NO_TABLE, NO_FACTORS),
        };
        let bits = u32::from(element.bits());
        let (mantissa_bits, last) = match element {
            Element::Float(float) => (u32::from(float.mantissa_bits()), float.max_code()),
            Element::Int(_) => (0, 0),
        };
        let magnitude = 0x7f >> (8 - bits);
        Self {
            simd,
            table,
            factors: &factors.0,
            kinds: &factors.1,
            shift: plan.format.block() / (2 * LANES),
            exact: plan.exact,
            bits,
            magnitude,
            last,
            // The sign comes to bit 15, the mantissa to the upper ones of ten bits.
            left: 16 - bits,
            right: (6 + mantissa_bits).saturating_sub(bits),
            place: 0x8000 | u16::from(magnitude) << 10u32.saturating_sub(mantissa_bits),
        }
    }

    /// The lines of a group's values; `None` where the group is not for these steps.
    #[inline(always)]
    fn lines<T: Output>(&self, codes: &[u8], scales: &[u8]) -> Option<[S::I; 8]> {
        let simd = self.simd;
        let mut bits = [simd.splat_i(0); 8];
        if KERNEL == LOOKUP {
            let nibbles = simd.nibbles(codes.try_into().ok()?);
            for i in 0..8 {
                let scale = usize::from(scales[i >> self.shift]);
                bits[i] = simd.lookup(&self.table[scale], nibbles[i]);
            }
            return Some(T::lines(simd, &bits));
        }
        let kinds = scales.iter().fold(0, |kinds, scale| kinds | self.kinds[usize::from(*scale)]);
        if kinds & ODD != 0 {
            return None;
        }
        let exact = T::UPPER && self.exact && kinds & SMALL == 0;
        let (halves, _) = codes.as_chunks::<64>();
        let special = |codes: &[u8; 64]| simd.any_above(codes, self.magnitude, self.last);
        if KERNEL == FLOAT && (special(&halves[0]) || special(&halves[1])) {
            return None;
        }
        let (vectors, _) = codes.as_chunks::<LANES>();
        let mut values = [simd.splat(0.0); 8];
        for i in 0..8 {
            let factor = simd.splat(self.factors[usize::from(scales[i >> self.shift])]);
            values[i] = simd.mul(self.elements(&vectors[i]), factor);
        }
        if exact {
            for i in 0..4 {
                let (low, high) = (simd.bits(values[2 * i]), simd.bits(values[2 * i + 1]));
                bits[i] = simd.upper_halves(low, high);
            }
            return Some(bits);
        }
        for i in 0..8 {
            bits[i] = T::narrow(simd, values[i]);
        }
        Some(T::lines(simd, &bits))
    }

    /// Values of codes, those of floats as the f16 in whose place they are.
    #[inline(always)]
    fn elements(&self, codes: &[u8; LANES]) -> S::F {
        let simd = self.simd;
        if KERNEL == FLOAT {
            return simd.widen_codes(codes, self.left, self.right, self.place);
        }
        let sign = simd.splat_i(1 << (self.bits - 1));
        let flipped = simd.xor3(simd.load_u8(codes), sign, simd.splat_i(0));
        simd.convert(simd.sub_i(flipped, sign))
    }
}
