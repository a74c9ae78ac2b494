//! Quantize and decode at once, without storage.

use super::check_rows;
use crate::cpu::FloatEnvironment;
use crate::error::Result;
use crate::numerics::{Profile, Rounding};
use crate::reference::{Block, amax, quantize_block};

/// What rows of `k` elements become under a profile: quantized and decoded again.
///
/// The values are those of [`Quantize`](crate::Quantize) and
/// [`dequantize`](crate::QuantizedTensor::dequantize), but nothing is packed, so F32 scales work
/// too.
///
/// # Errors
/// [`Error::WrongLength`](crate::Error::WrongLength) where `x` is no whole number of rows,
/// [`Error::InvalidProfile`](crate::Error::InvalidProfile),
/// [`Error::Overflow`](crate::Error::Overflow) as in [`Stochastic::draw`](crate::numerics::Stochastic::draw).
///
/// ```
/// use blockscale::analysis::simulate;
/// use blockscale::format::{Element, Format, Scale};
/// use blockscale::numerics::{Profile, Rounding};
/// let format = Format::new(Element::E2M1, 4, Scale::F32, false)?;
/// let y = simulate(&Profile::default_for(format), Rounding::Nearest, &[3.0, 1.4, 0.1, 0.0], 4)?;
/// assert_eq!(y, [3.0, 1.5, 0.0, 0.0]); // scale 0.5
/// # Ok::<(), blockscale::Error>(())
/// ```
pub fn simulate(profile: &Profile, rounding: Rounding, x: &[f32], k: usize) -> Result<Vec<f32>> {
    let _ieee = FloatEnvironment::ieee();
    profile.check()?;
    check_rows(x.len(), k)?;
    let tensor = profile.tensor_factors(amax(profile.nonfinite, x));
    let (format, width) = (profile.format(), profile.format().block());
    let mut decoded = Vec::with_capacity(x.len());
    for (row, values) in x.chunks(k.max(1)).enumerate() {
        for (column, values) in values.chunks(width).enumerate() {
            let mut block = Block { width, values: values.to_vec(), importance: None };
            block.values.resize(width, 0.0);
            let draw = |i| rounding.at(profile.ties, row as u64, (column * width + i) as u64);
            let rounds = (0..width).map(draw).collect::<Result<Vec<_>>>()?;
            let quantized = quantize_block(profile, &tensor, &block, &rounds);
            let value = |code: &u8| {
                profile.decoded(tensor.stored, quantized.scale, format.element().decode(*code))
            };
            decoded.extend(quantized.codes[..values.len()].iter().map(value));
        }
    }
    Ok(decoded)
}
