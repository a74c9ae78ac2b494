//! Elements of a group: from x and a factor to codes.

use super::draws::{Fields, GroupDraws};
use super::plan::{Kind, Map, Plan, Steps};
use super::scale::{ANY, nearest_even};
use super::simd::{GROUP, Half, LANES, Simd};
use crate::numerics::SignRule;
use half::{bf16, f16};

/// What is quantized: f32, bf16 or f16.
pub(super) trait Input: Copy + Default + Send + Sync {
    fn load<S: Simd>(simd: S, x: &[Self; LANES]) -> S::F;

    /// The bits of the largest magnitudes of the blocks of a group, as f32: of eight blocks of 16 if they
    /// are `short`, else of four of 32.
    fn maxima<S: Simd>(simd: S, x: &[Self; GROUP], short: bool) -> S::I;

    /// The groups themselves, if this is f32: what rotated values are.
    fn of_f32(_: &[[f32; GROUP]]) -> &[[Self; GROUP]] {
        &[]
    }
}

impl Input for f32 {
    fn of_f32(x: &[[f32; GROUP]]) -> &[[Self; GROUP]] {
        x
    }

    #[inline(always)]
    fn load<S: Simd>(simd: S, x: &[Self; LANES]) -> S::F {
        simd.load(x)
    }

    #[inline(always)]
    fn maxima<S: Simd>(simd: S, x: &[Self; GROUP], short: bool) -> S::I {
        let x = load_group(simd, x);
        let mut magnitudes = [simd.splat_i(0); 8];
        for i in 0..8 {
            magnitudes[i] = simd.and(simd.bits(x[i]), simd.splat_i(0x7fff_ffff));
        }
        maxima(simd, magnitudes, short)
    }
}

/// The largest lanes of the blocks of eight vectors.
#[inline(always)]
pub(super) fn maxima<S: Simd>(simd: S, x: [S::I; 8], short: bool) -> S::I {
    if short {
        return simd.maxima_of_8(x);
    }
    let [a, b, c, d, e, f, g, h] = x;
    simd.maxima_of_4([simd.max_i(a, b), simd.max_i(c, d), simd.max_i(e, f), simd.max_i(g, h)])
}

/// The same of 16-bit floats: bits of their magnitudes are ordered as those of f32, two to a lane.
#[inline(always)]
fn maxima_of_halves<S: Simd, H: Half>(simd: S, x: &[H; GROUP], short: bool) -> S::I {
    let (vectors, _) = x.as_chunks::<{ 2 * LANES }>();
    let mut magnitudes = [simd.splat_i(0); 4];
    for i in 0..4 {
        magnitudes[i] = simd.and(simd.load_halves(&vectors[i]), simd.splat_i(0x7fff_7fff));
    }
    simd.larger_half(match short {
        true => simd.maxima_of_8_halves(magnitudes),
        false => simd.maxima_of_4_halves(magnitudes),
    })
}

impl Input for bf16 {
    #[inline(always)]
    fn load<S: Simd>(simd: S, x: &[Self; LANES]) -> S::F {
        simd.load_bf16(x)
    }
    #[inline(always)]
    fn maxima<S: Simd>(simd: S, x: &[Self; GROUP], short: bool) -> S::I {
        maxima_of_halves(simd, x, short)
    }
}
impl Input for f16 {
    #[inline(always)]
    fn load<S: Simd>(simd: S, x: &[Self; LANES]) -> S::F {
        simd.load_f16(x)
    }
    #[inline(always)]
    fn maxima<S: Simd>(simd: S, x: &[Self; GROUP], short: bool) -> S::I {
        simd.bits(simd.widen_f16(maxima_of_halves(simd, x, short)))
    }
}

/// The kinds of elements, for kernels of their own. All but E2M1 and INT4 are bytes.
pub(super) const E2M1: usize = 0;
pub(super) const FLOAT: usize = 1;
pub(super) const INTEGER: usize = 2;
pub(super) const INT4: usize = 3;

/// Ways to round that few profiles have: to the nearest product, with ties that [`Simd::e2m1`] tells, and away
/// from zero by addition.
const COMMON: usize = 0;
const PRODUCTS: usize = 1;
const TIES_TOLD: usize = 2;
const BY_ADDITION: usize = 3;
/// Products of x and its factor that are below 8.
const SMALL: usize = 4;

/// Encodes with what a plan says, its constants in registers.
///
/// `KIND` is the plan's kind of element, `EVEN` whether rounding is to nearest even, and `FORM` that of
/// [`Chooser`](super::scale::Chooser): all but [`ANY`] multiply elements and keep the signs of x.
#[derive(Clone, Copy)]
pub(super) struct Encoder<'a, S: Simd, const KIND: usize, const EVEN: bool, const FORM: usize> {
    simd: S,
    plan: &'a Plan,
    magnitude: S::I,
    max: S::F,
    /// Makes integers fixed point with 16 bits for a draw: steps in a value of 1, times 2^16.
    fixed: S::F,
    fields: Option<Fields>,
    away: Away<S>,
}

/// Of rounding away from zero by addition: a float's smallest normal, half a step in a normal's bits, where the
/// bits of its codes begin and what they begin with, and steps in 1.
#[derive(Clone, Copy)]
struct Away<S: Simd> {
    first: S::I,
    half: S::I,
    cut: u32,
    base: S::I,
    steps: S::F,
}

impl<S: Simd> Away<S> {
    #[inline(always)]
    fn new(simd: S, kind: Kind) -> Self {
        let (mantissa_bits, first) = match kind {
            Kind::E2M1 => (1, 1.0f32.to_bits() as i32),
            Kind::Float { mantissa_bits, first } => (mantissa_bits, first),
            // Integers have subnormals only.
            Kind::Integer { fraction_bits } => (fraction_bits, 1.0f32.to_bits() as i32),
        };
        let cut = 23 - mantissa_bits;
        let steps = ((254 + mantissa_bits) << 23).wrapping_sub(first as u32);
        Self {
            first: simd.splat_i(first),
            half: simd.splat_i(1 << (cut - 1)),
            cut,
            base: simd.splat_i((first - (1 << 23)) >> cut),
            steps: simd.splat(f32::from_bits(steps)),
        }
    }
}

impl<'a, S: Simd, const KIND: usize, const EVEN: bool, const FORM: usize>
    Encoder<'a, S, KIND, EVEN, FORM>
{
    #[inline(always)]
    pub(super) fn new(simd: S, plan: &'a Plan) -> Self {
        let fixed = match plan.element.kind {
            Kind::E2M1 | Kind::Float { .. } => 0.0,
            Kind::Integer { fraction_bits } => (1u32 << (fraction_bits + 16)) as f32,
        };
        Self {
            simd,
            plan,
            magnitude: simd.splat_i(0x7fff_ffff),
            max: simd.splat(plan.element.max),
            fixed: simd.splat(fixed),
            fields: plan.rounding.fields(),
            away: Away::new(simd, plan.element.kind),
        }
    }

    /// The bits of |x|.
    #[inline(always)]
    pub(super) fn magnitude_bits(&self, x: S::F) -> S::I {
        self.simd.and(self.simd.bits(x), self.magnitude)
    }

    /// Codes of a group whose vectors have these factors; 64 bytes with two codes a byte, else 128. `BELOW_8` says
    /// that products are below 8, which spares E2M1 its clamp.
    #[inline(always)]
    pub(super) fn encode<const BELOW_8: bool>(
        &self,
        x: &[S::F; 8],
        factors: &[S::F; 8],
        draws: &GroupDraws<S>,
        codes: &mut [u8],
    ) {
        let simd = self.simd;
        let both = [
            self.half::<BELOW_8>(0, x, factors, draws),
            self.half::<BELOW_8>(4, x, factors, draws),
        ];
        let (codes, _) = codes.as_chunks_mut::<64>();
        match codes {
            [all] if KIND == E2M1 || KIND == INT4 => simd.store_nibbles(both, all),
            [first, second] => {
                simd.store_bytes(both[0], first);
                simd.store_bytes(both[1], second);
            }
            _ => {}
        }
    }

    /// The codes of four vectors, by the way that the plan's rounding has.
    #[inline(always)]
    pub(super) fn half<const BELOW_8: bool>(
        &self,
        first: usize,
        x: &[S::F; 8],
        factors: &[S::F; 8],
        draws: &GroupDraws<S>,
    ) -> S::B {
        let rounding = &self.plan.rounding;
        // Asked once for four vectors, and not for each.
        match (FORM, EVEN) {
            (ANY, false) if KIND == E2M1 && self.plan.map == Map::Product => {
                self.four::<PRODUCTS>(first, x, factors, draws)
            }
            (ANY, false) if KIND == E2M1 && S::TELLS_TIES && *rounding == Steps::Zero => {
                self.four::<TIES_TOLD>(first, x, factors, draws)
            }
            (ANY, false) if *rounding == Steps::AwayByAddition => {
                self.four::<BY_ADDITION>(first, x, factors, draws)
            }
            (_, true) if BELOW_8 && KIND == E2M1 => self.four::<SMALL>(first, x, factors, draws),
            _ => self.four::<COMMON>(first, x, factors, draws),
        }
    }

    #[inline(always)]
    fn four<const WAY: usize>(
        &self,
        first: usize,
        x: &[S::F; 8],
        factors: &[S::F; 8],
        draws: &GroupDraws<S>,
    ) -> S::B {
        let simd = self.simd;
        let y = self.scaled::<WAY>(first, x, factors);
        let draw = match self.fields {
            Some(fields) if !EVEN && WAY == COMMON => draws.four(simd, fields, first),
            // Ties away from zero are a draw of a half, and those to zero, where `round` sees to them.
            _ => [simd.splat_i(0x8000); 4],
        };
        let mut magnitudes = [simd.splat_i(0); 4];
        for i in 0..4 {
            let a = simd.float(self.magnitude_bits(y[i]));
            magnitudes[i] = match WAY {
                // `e2m1` does not mind the sign.
                SMALL => simd.e2m1(y[i]),
                PRODUCTS => self.nearest_product(a, factors[first + i]),
                TIES_TOLD => simd.e2m1(simd.min(a, simd.splat(7.0))),
                BY_ADDITION => self.away_by_addition(simd.min(a, self.max)),
                _ => self.round(a, draw[i]),
            };
        }
        let magnitude = match self.float() {
            Some((first, mantissa_bits)) if !EVEN && WAY == COMMON => {
                simd.narrow_drawn(magnitudes, first, mantissa_bits)
            }
            _ => simd.narrow(magnitudes),
        };
        let magnitude = match WAY {
            COMMON | SMALL if KIND == E2M1 && EVEN => simd.e2m1_codes(magnitude),
            TIES_TOLD => simd.e2m1_codes_ties_zero(magnitude),
            _ => magnitude,
        };
        self.join(magnitude, simd.narrow_signs(self.signs(first, x, &y)))
    }

    /// Four vectors scaled. What a plan says is asked once for all.
    #[inline(always)]
    fn scaled<const WAY: usize>(
        &self,
        first: usize,
        x: &[S::F; 8],
        factors: &[S::F; 8],
    ) -> [S::F; 4] {
        let mut y = [self.max; 4];
        let map = if FORM == ANY { self.plan.map } else { Map::Times };
        match map {
            Map::Times => {
                for i in 0..4 {
                    y[i] = self.simd.mul(x[first + i], factors[first + i]);
                }
            }
            Map::Over => {
                for i in 0..4 {
                    y[i] = self.simd.div(x[first + i], factors[first + i]);
                }
            }
            Map::Product => y.copy_from_slice(&x[first..first + 4]),
        }
        y
    }

    /// What has the signs of four vectors' codes.
    #[inline(always)]
    fn signs(&self, first: usize, x: &[S::F; 8], y: &[S::F; 4]) -> [S::I; 4] {
        let simd = self.simd;
        let sign = if FORM == ANY { self.plan.sign } else { SignRule::Bit };
        let mut signs = [simd.splat_i(0); 4];
        match sign {
            SignRule::Bit | SignRule::NonZero => {
                for i in 0..4 {
                    signs[i] = simd.bits(x[first + i]);
                }
            }
            // y + 0 has no −0.
            SignRule::Negative => {
                for i in 0..4 {
                    signs[i] = simd.bits(simd.add(y[i], simd.splat(0.0)));
                }
            }
            // One less than +0 is negative, and no other sign changes.
            SignRule::NotPositive => {
                for i in 0..4 {
                    let positive_zero = simd.bits(simd.add(y[i], simd.splat(0.0)));
                    signs[i] = simd.sub_i(positive_zero, simd.splat_i(1));
                }
            }
        }
        signs
    }

    /// The magnitude codes of a = |y|.
    #[inline(always)]
    fn round(&self, a: S::F, draw: S::I) -> S::I {
        let simd = self.simd;
        if EVEN {
            return match (KIND, self.plan.element.kind) {
                (E2M1, _) => simd.e2m1(simd.min(a, simd.splat(7.0))),
                (FLOAT, Kind::Float { mantissa_bits, first }) => {
                    nearest_even(simd, simd.min(a, self.max), first, mantissa_bits)
                }
                (_, Kind::Integer { fraction_bits }) => {
                    // A power of two whose ulp is the step.
                    let magic = (1u32 << (23 - fraction_bits)) as f32;
                    let sum = simd.add(simd.min(a, self.max), simd.splat(magic));
                    simd.strip(simd.bits(sum), simd.splat_i(magic.to_bits() as i32))
                }
                _ => simd.splat_i(0),
            };
        }
        let a = simd.min(a, self.max);
        // Where ties go to zero all that is not above one is below it.
        let a = match self.plan.rounding {
            Steps::Zero if FORM == ANY => {
                let below = simd.sub_i(simd.bits(a), simd.splat_i(1));
                simd.float(simd.max_i(below, simd.splat_i(0)))
            }
            _ => a,
        };
        match self.float() {
            Some((first, mantissa_bits)) => simd.drawn(a, draw, first, mantissa_bits),
            None => {
                let fixed = simd.truncate(simd.mul(a, self.fixed));
                simd.shr::<16>(simd.add_i(fixed, draw))
            }
        }
    }

    /// Of floats the bits of the smallest normal, and mantissa bits.
    #[inline(always)]
    fn float(&self) -> Option<(i32, u32)> {
        match (KIND, self.plan.element.kind) {
            (E2M1, _) => Some((1.0f32.to_bits() as i32, 1)),
            (FLOAT, Kind::Float { mantissa_bits, first }) => Some((first, mantissa_bits)),
            _ => None,
        }
    }

    /// ⌊fl(a / step + 0.5)⌋: from the smallest normal on half a step more, cut, which is the same there.
    #[inline(always)]
    fn away_by_addition(&self, a: S::F) -> S::I {
        let simd = self.simd;
        let Away { first, half, cut, base, steps } = self.away;
        let small = simd.truncate(simd.mul_add_exact(a, steps, simd.splat(0.5)));
        if KIND == INTEGER || KIND == INT4 {
            return small;
        }
        let bits = simd.bits(a);
        let normal = simd.sub_i(simd.shr_by(simd.add_i(bits, half), cut), base);
        simd.select(simd.gt_i(first, bits), small, normal)
    }

    /// How many products lie nearer to `a` than those before them: a tie is the smaller's.
    #[inline(always)]
    fn nearest_product(&self, a: S::F, scale: S::F) -> S::I {
        let simd = self.simd;
        let mut code = simd.splat_i(0);
        for middle in [0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0] {
            let above = simd.lt(simd.mul(scale, simd.splat(middle)), a);
            code = simd.select(above, simd.add_i(code, simd.splat_i(1)), code);
        }
        code
    }

    /// Gives magnitudes their signs.
    #[inline(always)]
    fn join(&self, magnitude: S::B, sign: S::B) -> S::B {
        let simd = self.simd;
        let bits = if KIND == E2M1 || KIND == INT4 { 4 } else { self.plan.element.bits };
        if KIND == INTEGER || KIND == INT4 {
            return simd.and_b(simd.negate_b(magnitude, sign), simd.splat_b(0xff >> (8 - bits)));
        }
        let sign = match FORM != ANY || self.plan.sign != SignRule::NonZero {
            true => sign,
            false => simd.where_nonzero_b(sign, magnitude),
        };
        let sign = if bits == 8 { sign } else { simd.shr_b(sign, 8 - bits) };
        simd.or_b(magnitude, simd.and_b(sign, simd.splat_b(1 << (bits - 1))))
    }
}

/// The eight vectors of a group.
#[inline(always)]
pub(super) fn load_group<S: Simd, T: Input>(simd: S, x: &[T; GROUP]) -> [S::F; 8] {
    let (vectors, _) = x.as_chunks::<LANES>();
    let mut loaded = [simd.splat(0.0); 8];
    for i in 0..8 {
        loaded[i] = T::load(simd, &vectors[i]);
    }
    loaded
}
