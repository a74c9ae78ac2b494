//! Dequantize: groups of 128 codes, written past the cache where they do not fit it.
//!
//! 4-bit codes are looked up: a table has, for each scale code, the 16 values as the reference decodes them.
//! Codes of a byte are widened and multiplied; a group in which that is not all (NaN, Inf) is decoded as the
//! reference has it.
#![allow(unsafe_code)]

use super::Cpu;
use super::pieces::{Cut, Sizes};
use super::simd::{GROUP, Kernel, LANES, Simd, dispatch};
use super::threads::for_each;
use crate::format::{Element, Format, Specials, exp2};
use crate::layout::{Packing, Raw};
use crate::numerics::{DecodeRule, Profile, TensorScale};
use crate::{QuantizedTensor, Real};
use half::{bf16, f16};

/// Outputs from this size on do not fit a cache, so that writing past it saves reading their lines.
const STREAMED_BYTES: usize = 16 << 20;

/// Outputs above this many elements have most scales, so that their table is made without a look at them.
const MOST_SCALES: usize = 1 << 22;

/// What is written: f32, bf16 or f16.
pub(super) trait Output: Real + Default {
    /// Lines of 64 bytes of a group.
    const LINES: usize;
    /// The bits.
    fn bits(x: f32) -> u32;
    /// The bits of lanes that are not NaN.
    fn narrow<S: Simd>(simd: S, x: S::F) -> S::I;
    /// The lines of a group's bits.
    fn lines<S: Simd>(simd: S, bits: &[S::I; 8]) -> [S::I; 8];
}

impl Output for f32 {
    const LINES: usize = 8;
    fn bits(x: f32) -> u32 {
        <Self as Real>::from_f32(x).to_bits()
    }
    #[inline(always)]
    fn narrow<S: Simd>(simd: S, x: S::F) -> S::I {
        simd.bits(x)
    }
    #[inline(always)]
    fn lines<S: Simd>(_: S, bits: &[S::I; 8]) -> [S::I; 8] {
        *bits
    }
}

macro_rules! output {
    ($($half:ty: $narrow:ident),*) => {$(
        impl Output for $half {
            const LINES: usize = 4;
            fn bits(x: f32) -> u32 {
                <Self as Real>::from_f32(x).to_bits().into()
            }
            #[inline(always)]
            fn narrow<S: Simd>(simd: S, x: S::F) -> S::I {
                simd.$narrow(x)
            }
            #[inline(always)]
            fn lines<S: Simd>(simd: S, bits: &[S::I; 8]) -> [S::I; 8] {
                let mut lines = *bits;
                for i in 0..4 {
                    lines[i] = simd.halves(bits[2 * i], bits[2 * i + 1]);
                }
                lines
            }
        }
    )*};
}
output!(bf16: to_bf16, f16: to_f16);

/// A tensor's decoding in numbers.
struct Plan<'a> {
    profile: &'a Profile,
    format: Format,
    tensor_scale: Option<TensorScale>,
    decoder: Decoder,
}

enum Decoder {
    /// By scale code and code, the bits of values.
    Table(Box<[[u32; 16]; 256]>),
    /// A code of up to 8 bits, times the factor of its scale code, which is NaN where a product may be.
    Factors(Box<[f32; 256]>),
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
        let moderate = match element {
            Element::Float(float) => (64..192).contains(&(128 - i32::from(float.bias()))),
            Element::Int(_) => true,
        };
        let decoder = match (format.block(), element.bits()) {
            (16 | 32, 4) => Decoder::Table(table::<T, S>(tensor)),
            (16 | 32, _) if multiplied && moderate => {
                let mut factors = Box::new([f32::NAN; 256]);
                for code in 0..=255 {
                    // What the element 1 becomes is what all elements are multiplied with.
                    let factor = profile.decoded(tensor_scale, profile.stored_scale(code), 1.0);
                    if factor.is_finite() {
                        factors[usize::from(code)] = factor;
                    }
                }
                Decoder::Factors(factors)
            }
            _ => Decoder::Specified,
        };
        Self { profile, format, tensor_scale, decoder }
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
        for ((values, codes), scales) in piece.rows(self.format) {
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
    // Whole blocks follow each other from row to row.
    let k = if k.is_multiple_of(format.block()) { elements } else { k };
    let unit = if plan.kernel() != SPECIFIED { GROUP } else { 8 * format.block() };
    let Ok(Cut { several, part, .. }) = Cut::new(format, k, unit) else { return };
    let several = values
        .chunks_mut(several.elements)
        .zip(tensor.codes().as_bytes().chunks(several.codes))
        .zip(tensor.scales().as_bytes().chunks(several.scales));
    let pieces = several.flat_map(move |((values, codes), scales)| {
        let parts = values
            .chunks_mut(part.elements)
            .zip(codes.chunks(part.codes))
            .zip(scales.chunks(part.scales));
        parts.map(move |((values, codes), scales)| {
            let k = k.min(values.len());
            Piece { codes, scales, values, k }
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

/// Rows of k elements and their values.
struct Piece<'a, T> {
    codes: &'a [u8],
    scales: &'a [u8],
    values: &'a mut [T],
    k: usize,
}

impl<'a, T> Piece<'a, T> {
    /// Each row.
    fn rows(self, format: Format) -> impl Iterator<Item = ((&'a mut [T], &'a [u8]), &'a [u8])> {
        let row = Sizes::of_row(format, self.k).unwrap_or(Sizes {
            elements: self.k,
            codes: self.k,
            scales: self.k,
        });
        self.values
            .chunks_mut(row.elements)
            .zip(self.codes.chunks(row.codes))
            .zip(self.scales.chunks(row.scales))
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
        for ((values, codes), scales) in self.piece.rows(plan.format) {
            // Groups that begin at a line can be written past the cache.
            let streams = self.streams && values.as_ptr().addr().is_multiple_of(64);
            let whole = values.len() / GROUP;
            let (groups, tail) = values.split_at_mut(whole * GROUP);
            let (group_codes, tail_codes) = codes.split_at(whole * codes_of);
            let (group_scales, tail_scales) = scales.split_at(whole * scales_of);
            let groups = groups
                .as_chunks_mut::<GROUP>()
                .0
                .iter_mut()
                .zip(group_codes.chunks_exact(codes_of))
                .zip(group_scales.chunks_exact(scales_of));
            for ((values, codes), scales) in groups {
                if group.odd(codes, scales) {
                    plan.specified(codes, scales, values);
                    continue;
                }
                let lines = group.lines::<T>(codes, scales);
                write(simd, &lines[..T::LINES], values, streams);
            }
            if tail.is_empty() {
                continue;
            }
            let (mut all_codes, mut all_scales) = ([0; GROUP], [0; 8]);
            all_codes[..tail_codes.len()].copy_from_slice(tail_codes);
            // The scales behind are not looked at, but must be some that are there.
            all_scales.fill(tail_scales[0]);
            all_scales[..tail_scales.len()].copy_from_slice(tail_scales);
            let (codes, scales) = (&all_codes[..codes_of], &all_scales[..scales_of]);
            if group.odd(codes, scales) {
                plan.specified(tail_codes, tail_scales, tail);
                continue;
            }
            let mut all = [T::default(); GROUP];
            write(simd, &group.lines::<T>(codes, scales)[..T::LINES], &mut all, false);
            tail.copy_from_slice(&all[..tail.len()]);
        }
        if self.streams {
            simd.fence();
        }
    }
}

/// Writes the lines of a group.
#[inline(always)]
fn write<S: Simd, T: Output>(simd: S, lines: &[S::I], values: &mut [T; GROUP], streams: bool) {
    debug_assert_eq!(size_of_val(lines).max(64 * lines.len()), size_of_val(values));
    let to = values.as_mut_ptr().cast::<u8>();
    for (i, line) in lines.iter().enumerate() {
        // SAFETY: a group of T has T::LINES lines of 64 bytes. Groups are written past the cache only
        // from a multiple of 64 on, and a fence comes at the end of the kernel.
        unsafe {
            match streams {
                true => simd.stream(*line, to.add(64 * i)),
                false => simd.write(*line, to.add(64 * i)),
            }
        }
    }
}

/// Decodes groups, its constants in registers.
struct Group<'a, S: Simd, const KERNEL: usize> {
    simd: S,
    table: &'a [[u32; 16]; 256],
    factors: &'a [f32; 256],
    /// Vectors of a block: 2^shift.
    shift: usize,
    bits: u32,
    mantissa_bits: u32,
    /// The largest magnitude code of a float that is a number, if there are others.
    last: Option<u8>,
    /// 2^(1 − bias), or the value of the integer 1.
    unit: S::F,
    /// What turns a float's code into the f32 of a normal one, and of one binade more.
    normal: S::I,
    subnormal: S::I,
}

impl<'a, S: Simd, const KERNEL: usize> Group<'a, S, KERNEL> {
    const CODES: usize = if KERNEL == LOOKUP { GROUP / 2 } else { GROUP };

    #[inline(always)]
    fn new(simd: S, plan: &'a Plan) -> Self {
        const NO_TABLE: &[[u32; 16]; 256] = &[[0; 16]; 256];
        const NO_FACTORS: &[f32; 256] = &[0.0; 256];
        let element = plan.format.element();
        let (table, factors) = match &plan.decoder {
            Decoder::Table(table) => (&**table, NO_FACTORS),
            Decoder::Factors(factors) => (NO_TABLE, &**factors),
            Decoder::Specified => (NO_TABLE, NO_FACTORS),
        };
        let (mantissa_bits, last, unit, bias) = match element {
            Element::Float(float) => {
                let bias = i32::from(float.bias());
                let numbers_only = float.specials() == Specials::None;
                let last = (!numbers_only).then_some(float.max_code());
                (float.mantissa_bits(), last, exp2(1 - bias) as f32, bias)
            }
            Element::Int(int) => (0, None, exp2(-i32::from(int.fraction_bits())) as f32, 0),
        };
        Self {
            simd,
            table,
            factors,
            shift: plan.format.block() / (2 * LANES),
            bits: element.bits().into(),
            mantissa_bits: mantissa_bits.into(),
            last,
            unit: simd.splat(unit),
            normal: simd.splat_i((127 - bias) << 23),
            subnormal: simd.splat_i((128 - bias) << 23),
        }
    }

    /// Whether the group is not for these steps.
    #[inline(always)]
    fn odd(&self, codes: &[u8], scales: &[u8]) -> bool {
        if KERNEL == LOOKUP {
            return false;
        }
        let bad_scale = scales.iter().any(|scale| self.factors[usize::from(*scale)].is_nan());
        // Without an early end, for the compiler to make vectors of it.
        let magnitudes = codes.iter().map(|code| code & (0x7f >> (8 - self.bits)));
        bad_scale || self.last.is_some_and(|last| magnitudes.fold(0, u8::max) > last)
    }

    /// The lines of a group's values.
    #[inline(always)]
    fn lines<T: Output>(&self, codes: &[u8], scales: &[u8]) -> [S::I; 8] {
        let simd = self.simd;
        let mut bits = [simd.splat_i(0); 8];
        if KERNEL == LOOKUP {
            let Ok(codes) = codes.try_into() else { return bits };
            let nibbles = simd.nibbles(codes);
            for i in 0..8 {
                let scale = usize::from(scales[i >> self.shift]);
                bits[i] = simd.lookup(&self.table[scale], nibbles[i]);
            }
            return T::lines(simd, &bits);
        }
        let (vectors, _) = codes.as_chunks::<LANES>();
        for i in 0..8 {
            let factor = simd.splat(self.factors[usize::from(scales[i >> self.shift])]);
            let q = self.element(simd.load_u8(&vectors[i]));
            bits[i] = T::narrow(simd, simd.mul(q, factor));
        }
        T::lines(simd, &bits)
    }

    /// Values of codes in the low bits of lanes.
    #[inline(always)]
    fn element(&self, code: S::I) -> S::F {
        let simd = self.simd;
        let sign = 1 << (self.bits - 1);
        if KERNEL == INTEGER {
            let flipped = simd.xor3(code, simd.splat_i(sign), simd.splat_i(0));
            return simd.mul(simd.convert(simd.sub_i(flipped, simd.splat_i(sign))), self.unit);
        }
        // Where the exponent and the mantissa of an f32 are, and its bias. A subnormal one is taken a binade
        // higher with a leading bit, which is then taken away.
        let magnitude = simd.and(code, simd.splat_i(sign - 1));
        let placed = simd.shl_by(magnitude, 23 - self.mantissa_bits);
        let normal = simd.add_i(placed, self.normal);
        let subnormal = simd.sub(simd.float(simd.add_i(placed, self.subnormal)), self.unit);
        let is_normal = simd.gt_i(magnitude, simd.splat_i((1 << self.mantissa_bits) - 1));
        let value = simd.select(is_normal, normal, simd.bits(subnormal));
        let sign = simd.and(simd.shl_by(code, 32 - self.bits), simd.splat_i(i32::MIN));
        simd.float(simd.or(value, sign))
    }
}
