//! Which calls the kernels for whole blocks (`kernels/quantize_blocks.cu`) take, and what they are
//! told of a profile. The generic kernel takes all others.

use super::raw::{Dtype, Input};
use crate::Blocks;
use crate::format::{Element, Format, Scale, Ties};
use crate::numerics::{
    BlockStatistics, DecodeRule, DrawRule, ElementMap, ExponentSteps, Headroom, NonFinite, Profile,
    Rounding, ScaleCast, ScaleChoice, ScaleRange, ScaleRule, Search, SignRule,
};
use crate::shape::Extents;

/// The kernels: the element, its block length, whether scales are E8M0, and the name in entries.
pub(super) const KERNELS: [(Element, usize, bool, &str); 10] = [
    (Element::E2M1, 16, false, "e2m1x16"),
    (Element::E2M1, 32, true, "e2m1x32"),
    (Element::INT4_WHOLE, 16, false, "int4wx16"),
    (Element::INT4, 32, true, "int4x32"),
    (Element::E4M3, 32, true, "e4m3x32"),
    (Element::E5M2, 32, true, "e5m2x32"),
    (Element::E2M3, 32, true, "e2m3x32"),
    (Element::E3M2, 32, true, "e3m2x32"),
    (Element::INT8, 32, true, "int8x32"),
    (Element::INT6, 32, true, "int6x32"),
];

/// `FastScale` of `kernels/include/fast.cuh`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub(super) struct FastScale {
    divisor: f32,
    reciprocal: f32,
    multiplier: f32,
    add: u32,
    subtract: i32,
    near: [u32; 9],
    uses_near: u32,
    zero_code: u32,
    drops_zero_sign: u32,
}

impl From<ExponentSteps> for FastScale {
    fn from(steps: ExponentSteps) -> Self {
        Self {
            divisor: steps.divisor,
            multiplier: steps.multiplier,
            add: steps.add as u32,
            subtract: steps.subtract,
            near: steps.near.unwrap_or_default(),
            uses_near: steps.near.is_some().into(),
            ..Self::default()
        }
    }
}

/// A division by a constant for dividends below 2³¹.
///
/// ```text
/// n / d = floor(n · m / 2^s),  s = 31 + ceil(log2 d),  m = floor(2^s / d) + 1
/// ```
///
/// since m · d − 2^s is in 1 ..= d ≤ 2^(s − 31), so the product is too large by less than n / 2³¹ < 1
/// part in d. m is below 2³².
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub(super) struct Divider {
    multiplier: u32,
    shift: u32,
    divisor: u32,
}

impl Divider {
    fn new(divisor: u32) -> Self {
        let shift = 31 + divisor.next_power_of_two().trailing_zeros();
        let multiplier = (1u64 << shift) / u64::from(divisor) + 1;
        Self { multiplier: multiplier as u32, shift, divisor }
    }
}

/// A call that such a kernel takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct FastCall {
    /// Index into [`KERNELS`].
    pub kernel: usize,
    /// Whether rounding draws (half away is a draw of a half).
    pub drawn: bool,
    pub scale: FastScale,
    pub columns: Divider,
    pub blocks: u32,
    pub dense: bool,
    /// Half of the smallest step where ties go [`Ties::AwayByAddition`], else 0.
    pub carried_up: f32,
}

impl FastCall {
    /// What the kernel needs, or `None` where the generic kernel has to do it.
    pub(super) fn new(
        profile: &Profile,
        rounding: Rounding,
        blocks_of: Blocks,
        x: Input<'_>,
        extents: Extents,
        codes: u64,
    ) -> Option<Self> {
        let format = profile.format();
        let kernel = kernel_of(format)?;
        let scale = fast_scale(profile)?;
        // A call of Philox draws for 16 elements (two calls, with 16 bits) from a multiple of 16 on.
        if let Rounding::Stochastic(draws) = rounding
            && (draws.column_offset() % 16 != 0 || draws.rule() != DrawRule::Truncated)
        {
            return None;
        }
        let drawn = match (rounding, profile.ties) {
            (Rounding::Nearest, Ties::Even) => false,
            (Rounding::Nearest, Ties::Zero) => return None,
            _ => true,
        };
        let carried_up = match (rounding, profile.ties) {
            (Rounding::Nearest, Ties::AwayByAddition) => format.element().min_positive() * 0.5,
            _ => 0.0,
        };
        let row_stride = x.row_stride.unwrap_or(extents.k);
        let rows = extents.rows;
        let one_matrix = extents.batches == 1
            || x.batch_stride.is_none_or(|stride| row_stride.checked_mul(rows) == Some(stride));
        let columns = extents.k / format.block();
        let total = columns.checked_mul(extents.all_rows())?;
        let whole = total > 0 && extents.k.is_multiple_of(format.block()) && total < 1 << 31;
        let aligned = x.pointer.is_multiple_of(16)
            && codes.is_multiple_of(16)
            && (row_stride as u64 * x.dtype.size()).is_multiple_of(16);
        (blocks_of == Blocks::Row && one_matrix && whole && aligned).then(|| Self {
            kernel,
            drawn,
            scale,
            columns: Divider::new(columns as u32),
            blocks: total as u32,
            dense: row_stride == extents.k,
            carried_up,
        })
    }
}

fn kernel_of(format: Format) -> Option<usize> {
    let e8m0 = format.scale() == Scale::E8M0;
    KERNELS.iter().position(|(element, block, power_of_two, _)| {
        (*element, *block, *power_of_two) == (format.element(), format.block(), e8m0)
    })
}

/// The scale rule of a profile whose other knobs the kernels know, too.
fn fast_scale(profile: &Profile) -> Option<FastScale> {
    let known = matches!(profile.sign, SignRule::Bit | SignRule::Negative)
        && profile.nonfinite != NonFinite::Drop
        && profile.search == Search::None
        && profile.cast == ScaleCast::Rne
        && profile.range != ScaleRange::MinPositive
        && (profile.map == ElementMap::Exponent) == (profile.format().scale() == Scale::E8M0)
        && profile.headroom != Headroom::ThreeQuarters
        && matches!(
            profile.map,
            ElementMap::Exponent
                | ElementMap::ReciprocalMax
                | ElementMap::ReciprocalZero
                | ElementMap::EncodeOverScale
        );
    if !known {
        return None;
    }
    let one = FastScale { divisor: 1.0, multiplier: 1.0, ..FastScale::default() };
    let rule = match profile.scale {
        ScaleRule::FoldedEncode => one,
        ScaleRule::Plain | ScaleRule::TimesEncode | ScaleRule::OverDecode => {
            FastScale { divisor: profile.target(), ..one }
        }
        ScaleRule::FloorLog2Wrap | ScaleRule::OverProduct => return None,
        _ => profile.exponent_steps()?.into(),
    };
    let zeros = BlockStatistics { amax: 0.0, std: 0.0 };
    let ScaleChoice::Scale(zero) = profile.block_scale(&profile.tensor_factors(1.0), zeros) else {
        return None;
    };
    let drops_zero_sign = (profile.sign == SignRule::Negative).into();
    // With a factor over a scale of 0 there is no factor.
    if profile.map == ElementMap::EncodeOverScale && zero.code == 0 {
        return None;
    }
    let reciprocal = 1.0 / rule.divisor;
    Some(FastScale { reciprocal, zero_code: zero.code.into(), drops_zero_sign, ..rule })
}

/// The kernels of `kernels/dequantize_blocks.cu`: the element, whether the tensor's amax comes last
/// ([`DecodeRule::AmaxLast`]), and the name in entries.
pub(super) const DECODERS: [(Element, bool, &str); 11] = [
    (Element::E2M1, false, "e2m1"),
    (Element::E2M3, false, "e2m3"),
    (Element::E3M2, false, "e3m2"),
    (Element::E4M3, false, "e4m3"),
    (Element::E5M2, false, "e5m2"),
    (Element::INT8, false, "int8"),
    (Element::INT6, false, "int6"),
    (Element::INT4, false, "int4"),
    (Element::INT4_WHOLE, false, "int4"),
    (Element::E2M1, true, "e2m1_amax_last"),
    (Element::INT4_WHOLE, true, "int4_amax_last"),
];

/// `DequantizeBlocksArguments` of `kernels/dequantize_blocks.cu`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub(super) struct DequantizeBlocksArguments {
    codes: u64,
    scales: u64,
    tensor_scale: u64,
    y: u64,
    pub vectors: u64,
    block_shift: u32,
    form: u32,
    target: f32,
    inverse: f32,
    plus_zero: u32,
    unit: f32,
    e8m0: u32,
    scale_sign: u32,
    scale_max: u32,
    scale_shift: u32,
    scale_unit: f32,
    reserved: u32,
}

impl DequantizeBlocksArguments {
    /// An index into [`DECODERS`] and the arguments, or `None` where the generic kernel has to do
    /// it: rows that end within a block, other blocks, unaligned buffers, ggml's arithmetic.
    pub(super) fn new(
        profile: &Profile,
        dtype: Dtype,
        extents: Extents,
        [codes, scales, tensor_scale, y]: [u64; 4],
    ) -> Option<(usize, Self)> {
        let format = profile.format();
        let element = format.element();
        let last = profile.decode == DecodeRule::AmaxLast;
        let decoder = DECODERS
            .iter()
            .position(|(known, amax_last, _)| (*known, *amax_last) == (element, last))?;
        let form = match profile.decode {
            DecodeRule::Halved => return None,
            DecodeRule::Scale if profile.headroom == Headroom::ThreeQuarters => 1,
            DecodeRule::Scale => 0,
            DecodeRule::TimesDecode | DecodeRule::TimesDecodePlusZero => 1,
            DecodeRule::FoldedAmax => 2,
            DecodeRule::OverEncode => 3,
            DecodeRule::AmaxLast => 4,
        };
        let per_vector = 16 / dtype.size() as usize;
        let bytes = per_vector * if element.bits() == 4 { 4 } else { 8 } / 8;
        let suits = [16, 32].contains(&format.block())
            && extents.k.is_multiple_of(format.block())
            && y.is_multiple_of(16)
            && codes.is_multiple_of(bytes as u64);
        let scale = match format.scale() {
            Scale::E8M0 => Self { e8m0: 1, ..Self::default() },
            Scale::F32 | Scale::UE5M3Ieee => return None,
            Scale::E4M3 | Scale::UE5M3 => {
                let float = format.scale().float()?;
                let magnitude_bits = float.bits() - u8::from(float.is_signed());
                Self {
                    scale_sign: if float.is_signed() { 1 << magnitude_bits } else { 0 },
                    scale_max: float.max_code().into(),
                    scale_shift: 23 - u32::from(float.mantissa_bits()),
                    scale_unit: 2.0f32.powi(127 - i32::from(float.bias())),
                    ..Self::default()
                }
            }
        };
        let target = profile.tensor_target();
        let arguments = Self {
            codes,
            scales,
            tensor_scale,
            y,
            vectors: (extents.elements() / per_vector) as u64,
            block_shift: (format.block() / per_vector).trailing_zeros(),
            form,
            target,
            inverse: 1.0 / target,
            plus_zero: (profile.decode == DecodeRule::TimesDecodePlusZero).into(),
            unit: match element {
                Element::Int(int) => 2.0f32.powi(-i32::from(int.fraction_bits())),
                Element::Float(_) => 1.0,
            },
            ..scale
        };
        suits.then_some((decoder, arguments))
    }
}

/// `QuantizeBlocksArguments` of `kernels/quantize_blocks.cu`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct QuantizeBlocksArguments {
    pub x: u64,
    pub codes: u64,
    pub scales: u64,
    pub amax: u64,
    pub tensor_scale: u64,
    pub row_stride: u64,
    pub blocks: u32,
    pub dense: u32,
    pub columns: Divider,
    pub amax_value: f32,
    pub carried_up: f32,
    pub scale: FastScale,
    pub draws: super::arguments::Draws,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::Stochastic;

    #[test]
    fn dividers_divide() {
        for divisor in
            [1, 2, 3, 5, 7, 64, 90, 255, 256, 257, 65535, 65537, (1 << 30) + 1, (1 << 31) - 1]
        {
            let Divider { multiplier, shift, .. } = Divider::new(divisor);
            let top = (1u32 << 31) - 1;
            let multiples = (0..40).map(|i| top / divisor / 40 * i * divisor);
            let near = multiples.flat_map(|n| [n, n + 1, n + divisor - 1, n.wrapping_sub(1)]);
            for n in near.chain([top, top / divisor * divisor]).filter(|n| *n <= top) {
                let quotient = (u64::from(n) * u64::from(multiplier)) >> shift;
                assert_eq!(quotient, u64::from(n / divisor), "{n} / {divisor}");
            }
        }
    }

    /// Every named profile is fast but those that search, drop, or divide element by element.
    #[test]
    fn named_profiles_are_fast() {
        let slow = ["ggml", "four-over-six-mse", "four-over-six-mae"];
        let slow_here =
            [("nvfp4", "modelopt"), ("nvfp4", "compressed-tensors"), ("mxfp4", "modelopt")];
        for (name, format) in Format::NAMED {
            assert!(kernel_of(format).is_some(), "{name}");
            for profile in Profile::all(format) {
                let expected =
                    !slow.contains(&profile.name()) && !slow_here.contains(&(name, profile.name()));
                assert_eq!(fast_scale(&profile).is_some(), expected, "{name} {profile}");
            }
        }
    }

    /// A shard that begins within the 16 elements of a call of Philox is not for the fast kernels.
    #[test]
    fn draws_begin_at_calls() {
        let profile = Profile::default_for(Format::MXFP4);
        let shape = [4, 64];
        let extents = Extents::of(&shape).unwrap();
        let x = Input {
            pointer: 256,
            dtype: Dtype::F32,
            shape: &shape,
            row_stride: None,
            batch_stride: None,
        };
        for (offset, fast) in [(0, true), (32, true), (16, true), (8, false), (33, false)] {
            let draws = Rounding::Stochastic(Stochastic::new(1, "x").with_offset(3, offset));
            let call = FastCall::new(&profile, draws, Blocks::Row, x, extents, 512);
            assert_eq!(call.is_some(), fast, "{offset}");
        }
    }

    #[test]
    fn structs_have_the_kernels_sizes() {
        assert_eq!(size_of::<FastScale>(), 68);
        assert_eq!(size_of::<QuantizeBlocksArguments>(), 176);
        assert_eq!(size_of::<DequantizeBlocksArguments>(), 88);
    }
}
