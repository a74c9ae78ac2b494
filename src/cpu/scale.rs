//! Scales of several blocks at once, a lane each.

use super::plan::{Map, Plan, ScaleSteps};
use super::simd::Simd;

/// The forms of scales, for kernels of their own: [`Form`](super::plan::Form).
pub(super) const MX: usize = 0;
pub(super) const NV: usize = 1;
pub(super) const ANY: usize = 2;

/// Chooses with what a plan says, its constants in registers.
#[derive(Clone, Copy)]
pub(super) struct Chooser<'a, S: Simd, const FORM: usize> {
    simd: S,
    plan: &'a Plan,
    /// Whether `divisor` and `over` are not 1: divisions are slow.
    divides: [bool; 2],
    divisor: S::F,
    multiplier: S::F,
    over: S::F,
    /// Of E8M0; `most` is the largest ordinary quotient, as bits.
    add: S::I,
    subtract: S::I,
    most: S::I,
    /// Of floats; quotients are kept within `lowest` and `highest`.
    lowest: S::F,
    highest: S::F,
    first: S::I,
    magic: S::I,
    cut: u32,
    zero_becomes: u8,
    numerator: S::F,
    product: S::F,
}

/// What the scales of a group make of its elements.
#[derive(Clone, Copy)]
pub(super) struct GroupScales {
    /// Codes of the blocks: eight, or four with zeros behind them.
    pub codes: [u8; 8],
    /// Factors of the vectors, but where the form is [`ANY`]: they are looked up by code.
    factors: [f32; 8],
    /// Whether every product of an element and its factor is known to be below 8, as E2M1 has it unless a scale
    /// is 0 or beyond its range.
    pub below_8: bool,
}

impl GroupScales {
    pub(super) const NONE: Self = Self { codes: [0; 8], factors: [0.0; 8], below_8: false };
}

impl<'a, S: Simd, const FORM: usize> Chooser<'a, S, FORM> {
    #[inline(always)]
    pub(super) fn new(simd: S, plan: &'a Plan) -> Self {
        let (zero_i, zero) = (simd.splat_i(0), simd.splat(0.0));
        let new = Self {
            simd,
            plan,
            divides: [false; 2],
            divisor: zero,
            multiplier: zero,
            over: zero,
            add: zero_i,
            subtract: zero_i,
            most: zero_i,
            lowest: zero,
            highest: zero,
            first: zero_i,
            magic: zero_i,
            cut: 0,
            zero_becomes: 0,
            numerator: zero,
            product: zero,
        };
        match plan.scale {
            ScaleSteps::Exponent { divisor, multiplier, add, subtract, .. } => {
                // The factor of code 254 would be subnormal; the sum stays finite.
                let below = i64::from(254 + subtract) << 23;
                let most = below.min(INFINITE.into()) - 1 - i64::from(add);
                Self {
                    divides: [divisor != 1.0, false],
                    divisor: simd.splat(divisor),
                    multiplier: simd.splat(multiplier),
                    add: simd.splat_i(add),
                    subtract: simd.splat_i(subtract),
                    most: simd.splat_i(most.max(0) as i32),
                    ..new
                }
            }
            ScaleSteps::Float {
                divisor,
                multiplier,
                over,
                least,
                most,
                first,
                mantissa_bits,
                zero_becomes,
                numerator,
                product,
                ..
            } => Self {
                divides: [divisor != 1.0, over != 1.0],
                divisor: simd.splat(divisor),
                multiplier: simd.splat(multiplier),
                over: simd.splat(over),
                lowest: simd.splat(least),
                highest: simd.splat(most),
                first: simd.splat_i(first),
                magic: simd.splat_i(((23 - mantissa_bits) << 23) as i32),
                cut: 23 - mantissa_bits,
                zero_becomes,
                numerator: simd.splat(numerator),
                product: simd.splat(product),
                ..new
            },
        }
    }

    /// Whether blocks are of 16 elements, not 32.
    #[inline(always)]
    pub(super) fn short(&self) -> bool {
        FORM == NV || FORM == ANY && self.plan.block == 16
    }

    /// Scale codes and factors of 16 blocks with these amaxes, and whether all products are below 8; `None` where
    /// a block is not ordinary. Not of the form [`ANY`].
    #[inline(always)]
    pub(super) fn lanes(&self, amax: S::I) -> Option<(S::I, S::F, bool)> {
        match FORM {
            MX => self.exponent(amax).map(|(code, factors)| (code, factors, true)),
            _ => {
                let (code, _, factors) = self.float(amax, 1.0)?;
                Some((code, factors, self.below_8(amax, factors)))
            }
        }
    }

    /// Whether every product of elements and their factor is below 8. Rounding keeps the order: no product is
    /// larger than that of an amax.
    #[inline(always)]
    fn below_8(&self, amax: S::I, factors: S::F) -> bool {
        let simd = self.simd;
        let below = simd.splat_i(8.0f32.to_bits() as i32 - 1);
        let large = simd.gt_i(simd.bits(simd.mul(simd.float(amax), factors)), below);
        !simd.any(large, large)
    }

    /// Scales for the blocks of a group with these amaxes; `None` where one is not ordinary.
    #[inline(always)]
    pub(super) fn choose(&self, amax: S::I) -> Option<GroupScales> {
        let simd = self.simd;
        match FORM {
            MX => {
                let (code, factors) = self.exponent(amax)?;
                let codes = u64::from(simd.bytes_of_4(code)).to_le_bytes();
                Some(GroupScales { codes, factors: simd.lanes_of_4(factors), below_8: true })
            }
            NV => {
                let (code, _, factors) = self.float(amax, 1.0)?;
                let codes = simd.bytes_of_8(code).to_le_bytes();
                let below_8 = self.below_8(amax, factors);
                Some(GroupScales { codes, factors: simd.lanes_of_8(factors), below_8 })
            }
            _ => {
                let code = scale_codes(simd, self.plan, amax)?;
                let codes = match self.short() {
                    true => simd.bytes_of_8(code),
                    false => simd.bytes_of_4(code).into(),
                };
                Some(GroupScales { codes: codes.to_le_bytes(), ..GroupScales::NONE })
            }
        }
    }

    /// Of two groups at once, where their blocks fill a vector.
    #[inline(always)]
    pub(super) fn choose_two(&self, first: S::I, second: S::I) -> Option<[GroupScales; 2]> {
        let simd = self.simd;
        let amax = simd.beside(first, second);
        let (code, _, factors) = self.float(amax, 1.0)?;
        let (codes, below_8) = (simd.bytes_of_16(code), self.below_8(amax, factors));
        let [first, second] = simd.lanes_of_16(factors);
        Some([
            GroupScales { codes: codes[0].to_le_bytes(), factors: first, below_8 },
            GroupScales { codes: codes[1].to_le_bytes(), factors: second, below_8 },
        ])
    }

    /// The factors of eight vectors.
    #[inline(always)]
    pub(super) fn factors(&self, scales: &GroupScales) -> [S::F; 8] {
        let mut factors = [self.multiplier; 8];
        let shift = if self.short() { 0 } else { 1 };
        for i in 0..8 {
            let factor = match FORM {
                ANY => self.plan.factors[usize::from(scales.codes[i >> shift])],
                _ => scales.factors[i],
            };
            factors[i] = self.simd.splat(factor);
        }
        factors
    }

    /// Codes and factors 2^(127 − code).
    #[inline(always)]
    fn exponent(&self, amax: S::I) -> Option<(S::I, S::F)> {
        let simd = self.simd;
        let zero = simd.eq_i(amax, simd.splat_i(0));
        let amax = simd.float(amax);
        let d = match self.divides[0] {
            true => simd.div(amax, self.divisor),
            false => simd.mul(amax, self.multiplier),
        };
        let d = simd.bits(d);
        // Zero is ordinary, subnormals are not.
        let subnormal =
            simd.lt_u(simd.sub_i(d, simd.splat_i(1)), simd.splat_i(SMALLEST_NORMAL - 1));
        if simd.any(subnormal, simd.gt_i(d, self.most)) {
            return None;
        }
        let chosen = simd.sub_i(simd.shr::<23>(simd.add_i(d, self.add)), self.subtract);
        let code = simd.max_i(chosen, simd.splat_i(0));
        // A rule that adds to the exponent would give a block of zeros more than 0.
        let code = simd.select(zero, simd.splat_i(0), code);
        Some((code, simd.float(simd.shl::<23>(simd.sub_i(simd.splat_i(254), code)))))
    }

    /// Codes, their values, and factors numerator / (value · product), with quotients multiplied by `stretch`.
    #[inline(always)]
    pub(super) fn float(&self, amax: S::I, stretch: f32) -> Option<(S::I, S::F, S::F)> {
        let simd = self.simd;
        let odd = simd.gt_i(amax, simd.splat_i(INFINITE - 1));
        if simd.any(odd, odd) {
            return None;
        }
        let mut d = simd.float(amax);
        if self.divides[0] {
            d = simd.div(d, self.divisor);
        }
        d = simd.mul(d, self.multiplier);
        if self.divides[1] {
            d = simd.div(d, self.over);
        }
        if stretch != 1.0 {
            d = simd.mul(d, simd.splat(stretch));
        }
        let d = simd.min(simd.max(d, self.lowest), self.highest);
        // As in `nearest_even`, whose sum less its power of two is the value of the code.
        let binade =
            simd.and(simd.bits(simd.max(d, simd.float(self.first))), simd.splat_i(INFINITE));
        let magic = simd.add_i(binade, self.magic);
        let sum = simd.add(d, simd.float(magic));
        let steps = simd.sub_i(simd.bits(sum), magic);
        let mut code = simd.add_i(steps, simd.shr_by(simd.sub_i(binade, self.first), self.cut));
        let mut scale = simd.sub(sum, simd.float(magic));
        if self.zero_becomes != 0 {
            let zero = simd.eq_i(code, simd.splat_i(0));
            code = simd.select(zero, simd.splat_i(self.zero_becomes.into()), code);
            let becomes = simd.splat(self.plan.zero_becomes);
            scale = simd.float(simd.select(zero, simd.bits(becomes), simd.bits(scale)));
            let zero = simd.eq_i(amax, simd.splat_i(0));
            code = simd.select(zero, simd.splat_i(self.plan.zero_code.into()), code);
        }
        let factor = simd.div(self.numerator, simd.mul(scale, self.product));
        let factor = simd.bits(simd.min(factor, simd.splat(f32::MAX)));
        // Elements under a scale of 0 have a factor of their own.
        let zero = simd.eq(scale, simd.splat(0.0));
        let factor = simd.select(zero, simd.bits(simd.splat(self.plan.factors[0])), factor);
        Some((code, scale, simd.float(factor)))
    }
}

const INFINITE: i32 = 0x7f80_0000;
const SMALLEST_NORMAL: i32 = 0x0080_0000;

/// The codes of blocks with these amaxes (as bits) by the steps of any plan; `None` where one is not
/// ordinary.
#[inline(always)]
pub(super) fn scale_codes<S: Simd>(simd: S, plan: &Plan, amax: S::I) -> Option<S::I> {
    let zero = simd.eq_i(amax, simd.splat_i(0));
    // A block of zeros counts as 1 until its code is known.
    let one = simd.splat_i(1.0f32.to_bits() as i32);
    let infinite = simd.gt_i(amax, simd.splat_i(INFINITE - 1));
    if simd.any(infinite, infinite) {
        return None;
    }
    let amax = simd.float(simd.select(zero, one, amax));
    let code = match plan.scale {
        ScaleSteps::Exponent { divisor, multiplier, add, subtract, near, most, wraps } => {
            let d = match divisor == 1.0 {
                true => simd.mul(amax, simd.splat(multiplier)),
                false => simd.div(amax, simd.splat(divisor)),
            };
            let d = simd.bits(d);
            let mut added = simd.add_i(d, simd.splat_i(add));
            if let Some(near) = &near {
                let exponent = simd.sub_i(simd.shr::<23>(d), simd.splat_i(127));
                let magnitude = simd.max_i(exponent, simd.sub_i(simd.splat_i(-1), exponent));
                // The exponent of a float is the bit length of its integer part.
                let float = simd.bits(simd.convert(magnitude));
                let length = simd.sub_i(simd.shr::<23>(float), simd.splat_i(126));
                let length = simd.max_i(length, simd.splat_i(0));
                added = simd.add_i(added, simd.lookup(near, length));
            }
            // d is normal and finite, and still so after the additions.
            let chosen = simd.sub_i(simd.shr::<23>(added), simd.splat_i(subtract));
            let finite = simd.splat_i(INFINITE - 1);
            let (small, large) =
                (simd.gt_i(simd.splat_i(SMALLEST_NORMAL), d), simd.gt_i(d, finite));
            let (carried, beyond) =
                (simd.gt_i(added, finite), simd.gt_i(chosen, simd.splat_i(most)));
            if simd.any(small, large) || simd.any(carried, beyond) {
                return None;
            }
            let negative = simd.gt_i(simd.splat_i(0), chosen);
            if wraps && simd.any(negative, negative) {
                return None;
            }
            simd.max_i(chosen, simd.splat_i(0))
        }
        ScaleSteps::Float { divisor, multiplier, over, most, .. } => {
            // So far above all products, one is as near as the other.
            let above = simd.lt(simd.splat(12.0 * most), amax);
            if plan.map == Map::Product && simd.any(above, above) {
                return None;
            }
            let mut d = amax;
            if divisor != 1.0 {
                d = simd.div(d, simd.splat(divisor));
            }
            if multiplier != 1.0 {
                d = simd.mul(d, simd.splat(multiplier));
            }
            if over != 1.0 {
                d = simd.div(d, simd.splat(over));
            }
            cast(simd, &plan.scale, d)?
        }
    };
    let zero_code = simd.splat_i(plan.zero_code.into());
    let code = simd.select(zero, zero_code, code);
    let zero_code = simd.eq_i(code, simd.splat_i(0));
    (!plan.zero_scale_is_odd || !simd.any(zero_code, zero_code)).then_some(code)
}

/// The codes of quotients that are not negative.
#[inline(always)]
fn cast<S: Simd>(simd: S, scale: &ScaleSteps, d: S::F) -> Option<S::I> {
    let ScaleSteps::Float {
        least,
        most,
        first,
        mantissa_bits,
        zero_becomes,
        refuses_zero,
        half_up,
        ..
    } = *scale
    else {
        return None;
    };
    let zero = simd.eq(d, simd.splat(0.0));
    if refuses_zero && simd.any(zero, zero) {
        return None;
    }
    let d = simd.min(simd.max(d, simd.splat(least)), simd.splat(most));
    let mut code = match half_up {
        // Nothing above a scale's byte is ignored, so what `strip` leaves is masked.
        false => simd.and(nearest_even(simd, d, first, mantissa_bits), simd.splat_i(0xff)),
        true => half_up_e4m3(simd, d),
    };
    if zero_becomes != 0 {
        let zero = simd.eq_i(code, simd.splat_i(0));
        code = simd.select(zero, simd.splat_i(zero_becomes.into()), code);
    }
    Some(code)
}

/// The magnitude codes of floats up to the largest value, where what [`Simd::strip`] leaves is ignored.
/// `first` has the bits of the smallest normal.
#[inline(always)]
pub(super) fn nearest_even<S: Simd>(simd: S, a: S::F, first: i32, mantissa_bits: u32) -> S::I {
    let cut = 23 - mantissa_bits;
    let first_normal = simd.splat_i(first);
    let binade = simd.bits(simd.max(a, simd.float(first_normal)));
    let binade = simd.and(binade, simd.splat_i(INFINITE));
    // A power of two whose ulp is the step: the addition rounds.
    let magic = simd.add_i(binade, simd.splat_i((cut << 23) as i32));
    let sum = simd.bits(simd.add(a, simd.float(magic)));
    let steps = simd.strip(sum, magic);
    simd.add_i(steps, simd.shr_by(simd.sub_i(binade, first_normal), cut))
}

/// ggml's cast, of at most 448.
#[inline(always)]
fn half_up_e4m3<S: Simd>(simd: S, d: S::F) -> S::I {
    let bits = simd.bits(d);
    let carried = simd.shr::<1>(simd.add_i(simd.shr::<19>(bits), simd.splat_i(1)));
    let normal = simd.sub_i(carried, simd.splat_i(120 << 3));
    let normal = simd.select(simd.gt_i(simd.splat_i(15 << 3), normal), normal, simd.splat_i(0x7e));
    let steps = simd.add(simd.mul(d, simd.splat(512.0)), simd.splat(0.5));
    let small = simd.min_i(simd.truncate(steps), simd.splat_i(7));
    // Exponent fields up to 120 are below E4M3's normal range.
    simd.select(simd.gt_i(simd.splat_i(121 << 23), bits), small, normal)
}
