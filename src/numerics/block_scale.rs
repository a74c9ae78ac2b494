//! The block level: from a block's amax (or RMS) to its scale.

use super::knobs::{Headroom, NonFinite, ScaleCast, ScaleRange, ScaleRule};
use super::log2::{ceil_of_rounded_log2, floor_of_rounded_log2};
use super::sum::folded_sum;
use super::{Profile, TensorFactors};
use crate::format::{Element, Minifloat, Round, Scale, canonical, e8m0_value};

/// A block's scale: its code (unused where scales are F32) and its value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct BlockScale {
    pub code: u8,
    pub value: f32,
}

/// What the scale of a block is chosen from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockStatistics {
    /// Largest magnitude; NaN if the block holds one.
    pub amax: f32,
    /// Standard deviation, where the rule asks for it.
    pub std: f32,
}

/// What became of a block's scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ScaleChoice {
    /// Elements are quantized with this scale.
    Scale(BlockScale),
    /// Every code of the block is 0, because of NaN or Inf.
    Dead(BlockScale),
}

/// The largest of two magnitudes, NaN if either is.
pub(crate) fn max_magnitude(a: f32, b: f32) -> f32 {
    let (a, b) = (a.to_bits() & 0x7fff_ffff, b.to_bits() & 0x7fff_ffff);
    // As integers the bits of magnitudes are ordered, NaN above Inf.
    f32::from_bits(a.max(b))
}

/// Standard deviation of a block, +0-padded values included.
///
/// ```text
/// mean = fl(Σx / n),  var = fl(fl(Σx² / n) − fl(mean²)),  std = fl(√max(var, 0))
/// ```
///
/// with each sum folded in halves. An overflow to NaN counts as Inf.
pub(crate) fn standard_deviation(values: &[f32]) -> f32 {
    let n = values.len() as f32;
    let mean = folded_sum(values.iter().copied()) / n;
    let mean_square = folded_sum(values.iter().map(|x| x * x)) / n;
    let variance = mean_square - mean * mean;
    if variance.is_nan() { f32::INFINITY } else { variance.max(0.0).sqrt() }
}

impl Profile {
    /// Whether [`BlockStatistics::std`] is looked at.
    pub(crate) fn needs_std(&self) -> bool {
        matches!(self.scale, ScaleRule::RmsFloor | ScaleRule::RmsNearest)
    }

    /// The block scale; with a search that of the first candidate.
    pub(crate) fn block_scale(
        &self,
        tensor: &TensorFactors,
        block: BlockStatistics,
    ) -> ScaleChoice {
        self.stretched_block_scale(tensor, block, 1.0)
    }

    /// The block scale with the quotient multiplied by `stretch` (1.5 is four over six's other
    /// candidate; E8M0 scales have none such).
    pub(crate) fn stretched_block_scale(
        &self,
        tensor: &TensorFactors,
        block: BlockStatistics,
        stretch: f32,
    ) -> ScaleChoice {
        let scale = self.format.scale();
        let nan_scale = BlockScale { code: Scale::NAN_CODE, value: canonical(f32::NAN) };
        if tensor.nan {
            return ScaleChoice::Dead(nan_scale);
        }
        let chosen = match (scale, scale.float()) {
            _ if block.amax.is_nan() => nan_scale,
            (Scale::E8M0, _) => {
                let code = match block.amax.is_infinite() {
                    true => Scale::NAN_CODE,
                    false => self.exponent_code(self.leveled(tensor, block)),
                };
                BlockScale { code, value: e8m0_value(code) }
            }
            (_, Some(float)) => {
                let quotient = self.quotient(tensor, block.amax) * stretch;
                let code = self.cast(float, quotient, block.amax);
                BlockScale { code, value: float.decode(code) }
            }
            // F32 scales have no such search either.
            (_, None) => BlockScale { code: 0, value: self.quotient(tensor, block.amax) },
        };
        match (chosen.value.is_nan(), self.nonfinite) {
            (false, _) => ScaleChoice::Scale(chosen),
            // ggml's byte wraps to 255 and is an exponent like any other there.
            (true, NonFinite::Drop) => ScaleChoice::Scale(chosen),
            (true, NonFinite::NanScale) => ScaleChoice::Dead(nan_scale),
            (true, NonFinite::Neutral) => ScaleChoice::Dead(neutral(scale)),
        }
    }

    /// What exponent rules look at: fl(a · S), kept finite; S is 1 without a tensor scale, and Inf for
    /// a tensor of zeros by some rules.
    fn leveled(&self, tensor: &TensorFactors, block: BlockStatistics) -> BlockStatistics {
        let level = |x: f32| if x == 0.0 { 0.0 } else { (x * tensor.encode).min(f32::MAX) };
        BlockStatistics { amax: level(block.amax), std: level(block.std) }
    }

    /// The E8M0 code of a block whose amax is not NaN.
    fn exponent_code(&self, block: BlockStatistics) -> u8 {
        let element = self.format.element();
        let (emax, amax) = (element.emax(), block.amax);
        let amax = match self.scale {
            ScaleRule::FloorLog2 if amax == 0.0 => f32::MIN_POSITIVE,
            _ if amax == 0.0 => return 0,
            _ => amax,
        };
        let biased = |x: f32| ((x.to_bits() >> 23) & 0xff) as i32;
        let mantissa = |x: f32| x.to_bits() & 0x7f_ffff;
        // ⌈log2 d⌉ + 127 by the bits; among subnormals E8M0 knows only 2^-127 and 2^-126.
        let ceil = |d: f32| match biased(d) {
            0 => i32::from(mantissa(d) > 0x40_0000),
            exponent => exponent + i32::from(mantissa(d) != 0),
        };
        let code = match self.scale {
            ScaleRule::Floor => biased(amax) - emax,
            ScaleRule::Ceil => biased(amax) + i32::from(mantissa(amax) != 0) - emax,
            ScaleRule::Even => {
                let half_step = 1 << (22 - element.mantissa_bits());
                match (amax.to_bits() + half_step) >> 23 {
                    255 => return Scale::NAN_CODE,
                    exponent => exponent as i32 - emax,
                }
            }
            ScaleRule::Rceil => ceil(amax * (1.0 / element.max())),
            ScaleRule::IntegerCeil => {
                let fraction_bits = match element {
                    Element::Int(int) => i32::from(int.fraction_bits()),
                    Element::Float(_) => 0,
                };
                ceil(amax / f32::from(element.max_code())) + fraction_bits
            }
            ScaleRule::FloorLog2 => match floor_of_rounded_log2(amax) + 127 - emax {
                255 => return Scale::NAN_CODE,
                code => code,
            },
            ScaleRule::FloorLog2Wrap => {
                return (floor_of_rounded_log2(amax) + 127 - emax) as u8;
            }
            ScaleRule::CeilLog2 => match amax / element.max() {
                0.0 => 0,
                quotient => ceil_of_rounded_log2(quotient) + 127,
            },
            ScaleRule::RmsFloor => biased(rms_scale(block.std, element)),
            ScaleRule::RmsNearest => {
                let fitted = rms_scale(block.std, element);
                // The mantissa of √2, cut to f32.
                biased(fitted) + i32::from(mantissa(fitted) > 0x35_04f3)
            }
            ScaleRule::Plain
            | ScaleRule::FoldedEncode
            | ScaleRule::TimesEncode
            | ScaleRule::OverDecode
            | ScaleRule::OverProduct => 0, // check() keeps these away from E8M0
        };
        code.clamp(0, 254) as u8
    }

    /// The real quotient that a float scale is cast from.
    fn quotient(&self, tensor: &TensorFactors, amax: f32) -> f32 {
        let target = self.target();
        if amax == 0.0 {
            return 0.0;
        }
        match self.scale {
            ScaleRule::FoldedEncode => (amax * (tensor.encode * (1.0 / target))).min(f32::MAX),
            ScaleRule::TimesEncode => amax / target * tensor.encode,
            ScaleRule::OverDecode => amax / target / tensor.decode,
            ScaleRule::OverProduct => amax / (target * tensor.decode),
            _ => amax / target,
        }
    }

    fn cast(&self, float: Minifloat, quotient: f32, amax: f32) -> u8 {
        let min_normal = float.min_normal().unwrap_or(float.min_positive());
        let quotient = match self.range {
            ScaleRange::MinPositive if quotient == 0.0 => 1.0,
            ScaleRange::MinPositive => quotient.max(float.min_positive()),
            ScaleRange::MinNormal => quotient.max(min_normal),
            _ => quotient,
        };
        let quotient = match self.headroom {
            Headroom::SixteenSeventeenths => quotient.max(min_normal),
            _ => quotient,
        };
        let code = match self.cast {
            ScaleCast::Rne => float.encode(quotient, Round::RNE),
            ScaleCast::HalfUp => half_up_e4m3(quotient),
        };
        match self.range {
            ScaleRange::NonZero if code == 0 && amax != 0.0 => 1,
            ScaleRange::ZeroToEighth if code == 0 => float.encode(0.125, Round::RNE),
            _ => code,
        }
    }
}

/// The scale of value 1.
fn neutral(scale: Scale) -> BlockScale {
    let code = match scale.float() {
        Some(float) => float.encode(1.0, Round::RNE),
        None => 127,
    };
    BlockScale { code, value: 1.0 }
}

/// fl(fl(fl(std · 2.92247856) / max) + 1e-8), the unquantized scale of QuEST.
fn rms_scale(std: f32, element: Element) -> f32 {
    std * 2.922_478_6 / element.max() + 1e-8
}

/// ggml's float to E4M3 of a non-negative d.
fn half_up_e4m3(d: f32) -> u8 {
    let bits = d.min(448.0).to_bits();
    let exponent = (bits >> 23) as i32 - 127 + 7;
    if exponent <= 0 {
        // Below the normal range in steps of 2^-9; the last step is not carried into it.
        return ((d * 512.0 + 0.5) as i32).min(7) as u8;
    }
    // Half a step up, cut, and the bias changed; a carry goes into the exponent.
    let code = (((bits >> 19) + 1) >> 1) - (120 << 3);
    if code >= 15 << 3 { 0x7e } else { code as u8 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;

    fn bits(bits: u32) -> f32 {
        f32::from_bits(bits)
    }

    /// The scale of a block with this amax and deviation, in a tensor whose amax is 2688.
    fn chosen(format: &str, profile: &str, amax: f32, std: f32) -> BlockScale {
        let profile = Profile::parse(format.parse::<Format>().unwrap(), profile).unwrap();
        let tensor = profile.tensor_factors(2688.0);
        match profile.block_scale(&tensor, BlockStatistics { amax, std }) {
            ScaleChoice::Scale(scale) => scale,
            ScaleChoice::Dead(scale) => panic!("dead under {scale:?}"),
        }
    }

    #[test]
    fn deviations_follow_the_formula() {
        assert_eq!(standard_deviation(&[1.0, 2.0, 3.0, 4.0]), 1.25f32.sqrt());
        assert_eq!(standard_deviation(&[3.0, 5.0, 7.0]), 1.632_993); // √(83/3 − 25)
        assert_eq!(standard_deviation(&[-2.0; 3]), 0.0);
        assert_eq!(standard_deviation(&[1e30, 1e30]), f32::INFINITY); // Inf − Inf
    }

    #[test]
    fn fitted_exponents_follow_the_deviation() {
        // std · 2.92247856 / 6 + 1e-8 is 0.487, 1.6e-8, 1e-8, and √2 but for an ulp.
        let rows = [
            (1.0, 125, 126),
            (1.25e-8, 101, 101),
            (0.0, 100, 100),
            (bits(0x4039_d22f), 127, 127),
            (bits(0x4039_d230), 127, 128),
        ];
        for (std, floor, nearest) in rows {
            assert_eq!(chosen("mxfp4", "rceil+scale=rms-floor", 1.0, std).code, floor, "{std}");
            assert_eq!(chosen("mxfp4", "rceil+scale=rms-nearest", 1.0, std).code, nearest, "{std}");
        }
    }

    #[test]
    fn exponents_at_the_ends() {
        let rows = [
            // Zero blocks.
            ("mxfp4", "rceil+scale=rms-floor", 0.0, 0),
            ("mxint8", "ceil", 0.0, 0),
            ("mxint8", "microxcaling", 0.0, 1),
            ("mxfp4", "ggml", 0.0, 0),
            ("mxfp4", "modelopt", 0.0, 0),
            // amax / 6 a subnormal: at 2^-127 and above it, and from 2^-126 on.
            ("mxfp4", "rceil", bits(0x00c0_0000), 0),
            ("mxfp4", "rceil", bits(0x0140_0000), 0),
            ("mxfp4", "rceil", bits(0x0140_3000), 1),
            ("mxfp4", "rceil", bits(0x01c0_0000), 1),
            ("mxfp4", "rceil", bits(0x01c0_000c), 2),
            // The logarithm of the largest float is 128.
            ("mxfp4", "microxcaling", f32::MAX, 253),
        ];
        for (format, profile, amax, code) in rows {
            assert_eq!(chosen(format, profile, amax, 0.0).code, code, "{format} {profile} {amax}");
        }
        let profile = Profile::parse(Format::MXINT8, "microxcaling").unwrap();
        let block = BlockStatistics { amax: f32::MAX, std: 0.0 };
        let dead = profile.block_scale(&profile.tensor_factors(0.0), block);
        assert!(matches!(dead, ScaleChoice::Dead(BlockScale { code: 255, .. })));
    }

    #[test]
    fn quotients_become_float_scales() {
        let rows = [
            // The tensor's amax is T, so S = t = 1 and the quotient is amax / 6.
            ("nvfp4", "torchao", 6.0, 0x38, 1.0),
            ("nvfp4", "torchao", 1e-9, 0x08, 0.015625),
            ("nvfp4", "modelopt", 1e-9, 0x01, 0.001953125),
            ("nvfp4", "transformer-engine", 1e-9, 0x00, 0.0),
            ("nvfp4", "compressed-tensors", 1e-9, 0x20, 0.125),
            // Headroom: 12.5 / 5.647, not 12.5 / 6; and never below the normal range.
            ("fp4-ue5m3", "direct+headroom=16/17", 12.5, 0x81, 2.25),
            ("nvfp4", "torchao+headroom=16/17", 96.0, 0x58, 16.0), // also in the tensor scale
            ("nvfp4", "transformer-engine+headroom=16/17", 1e-9, 0x08, 0.015625),
            ("fp4-ue5m3", "direct", 6.0, 0x78, 1.0),
            ("fp4-ue5m3", "direct", 1e-9, 0x01, 2f32.powi(-17)),
            ("fp4-ue5m3", "direct", 0.0, 0x00, 0.0),
            ("e2m1x16:f32", "direct", 7.5, 0x00, 1.25),
        ];
        for (format, profile, amax, code, value) in rows {
            let scale = chosen(format, profile, amax, 0.0);
            assert_eq!(scale, BlockScale { code, value }, "{format} {profile} {amax}");
        }
    }

    #[test]
    fn half_up_casts_are_those_of_ggml() {
        let rows = [
            (0.0, 0x00),
            (1.0 / 512.0, 0x01),
            (1.5 / 512.0, 0x02),
            (7.9 / 512.0, 0x07), // not carried into the normal range
            (1.0 / 64.0, 0x08),
            (1.0, 0x38),
            (1.0625, 0x39),
            (1.0624, 0x38),
            (1.9375, 0x40), // carried into the exponent
            (247.9, 0x77),
            (248.0, 0x7e),
            (256.0, 0x7e),
            (1e9, 0x7e),
        ];
        for (d, code) in rows {
            assert_eq!(half_up_e4m3(d), code, "{d}");
        }
    }
}
