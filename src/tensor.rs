//! The quantized tensor: profile, shape, codes, scales and tensor scale in one checked value.

use crate::cpu::FloatEnvironment;
use crate::error::{Error, Result};
use crate::format::{Format, Scale};
use crate::layout::{Codes, Linear, Raw, Scales};
use crate::numerics::{Profile, TensorScale};
use crate::shape::Extents;

/// Which elements share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Blocks {
    /// `block` consecutive elements of a row.
    #[default]
    Row,
    /// A square of `block` rows × `block` elements, so that a matrix and its transpose have the
    /// same codes. The scale is stored for each of its rows.
    Tile,
}

/// A quantized tensor of shape `[.., rows, K]`, its parts owned (`Vec<u8>`) or borrowed
/// (`&[u8]`).
///
/// ```text
/// codes         [.., rows, ⌈K/2⌉] bytes with 4-bit elements (even element in the low nibble),
///               [.., rows, K] bytes with all others
/// scales        [.., rows, ⌈K/block⌉] bytes, row by row
/// tensor scale  one f32 where the profile stores one
/// ```
///
/// A K that is no multiple of the block is padded with +0 inside the last block, which changes no
/// scale, and cropped on decode.
///
/// ```
/// use blockscale::format::Format;
/// use blockscale::{QuantizedTensor, quantize};
/// let x = [1.0f32, -2.0, 3.0, 4.0, 6.0];
/// let q = quantize(&x, &[1, 5], Format::MXFP4)?;
/// assert_eq!(q.codes().as_bytes(), [0xc2, 0x65, 0x07]);
/// assert_eq!(q.scales().as_bytes(), [127]); // 2^0
///
/// // The same tensor over borrowed bytes, for instance of a memory map.
/// let (codes, scales) = (q.codes().as_bytes(), q.scales().as_bytes());
/// let view = QuantizedTensor::from_parts(*q.profile(), q.blocks(), &[1, 5], codes, scales, None)?;
/// assert_eq!(view.dequantize::<f32>(), x);
/// # Ok::<(), blockscale::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedTensor<S = Vec<u8>> {
    profile: Profile,
    blocks: Blocks,
    shape: Vec<usize>,
    codes: Codes<Raw, S>,
    scales: Scales<Linear, S>,
    tensor_scale: Option<TensorScale>,
}

impl<S: AsRef<[u8]>> QuantizedTensor<S> {
    /// Puts a tensor together from its parts, after checking that they fit.
    ///
    /// # Errors
    /// Those of [`Profile::check`]; [`Error::InvalidFormat`] for F32 scales, which have no codes;
    /// [`Error::InvalidShape`] for a shape without axes, or of one axis with [`Blocks::Tile`];
    /// [`Error::WrongLength`]; [`Error::InvalidTensor`] where padding is not zero, where a tensor
    /// scale is missing, superfluous or of another convention than the profile's, or where the
    /// rows of a tile differ in their scale, or where a scale is negative.
    pub fn from_parts(
        profile: Profile,
        blocks: Blocks,
        shape: &[usize],
        codes: S,
        scales: S,
        tensor_scale: Option<TensorScale>,
    ) -> Result<Self> {
        let _ieee = FloatEnvironment::ieee();
        profile.check()?;
        let format = profile.format();
        let extents = extents(format, blocks, shape)?;
        let (rows, columns) = (extents.all_rows(), format.scales_per_row(extents.k));
        let codes = Codes::new(codes, rows, extents.k, format.element().bits(), format.block())?;
        let scales = Scales::new(scales, extents.batches, extents.rows, columns)?;
        let shape = shape.to_vec();
        let tensor = Self { profile, blocks, shape, codes, scales, tensor_scale };
        tensor.check_tensor_scale()?;
        tensor.check_signs()?;
        tensor.check_tiles(extents)?;
        Ok(tensor)
    }

    /// A tensor made by a backend of this crate.
    pub(crate) fn trusted(
        profile: Profile,
        blocks: Blocks,
        shape: &[usize],
        extents: Extents,
        codes: S,
        scales: S,
        tensor_scale: Option<TensorScale>,
    ) -> Self {
        let format = profile.format();
        let (rows, columns) = (extents.all_rows(), format.scales_per_row(extents.k));
        let bits = format.element().bits();
        let codes = Codes::trusted(codes, rows, extents.k, bits, format.block());
        let scales = Scales::trusted(scales, extents.batches, extents.rows, columns);
        Self { profile, blocks, shape: shape.to_vec(), codes, scales, tensor_scale }
    }

    fn invalid(&self, rule: String) -> Error {
        Error::InvalidTensor { format: self.format().to_string(), rule }
    }

    fn check_tensor_scale(&self) -> Result<()> {
        let expected = self.profile.tensor_scale_name();
        let given = self.tensor_scale.map(TensorScale::name);
        match expected == given {
            true => Ok(()),
            false => Err(self.invalid(format!(
                "profile {} stores {}, given {}",
                self.profile,
                expected.unwrap_or("no tensor scale"),
                given.unwrap_or("no tensor scale"),
            ))),
        }
    }

    /// Scales are magnitudes: E4M3's sign bit belongs to NaN only, and a tensor scale is not negative.
    fn check_signs(&self) -> Result<()> {
        if let Some(scale) = self.tensor_scale.filter(|scale| scale.value() < 0.0) {
            return Err(self.invalid(format!("{} {} is negative", scale.name(), scale.value())));
        }
        let negative = |code: &u8| matches!(code, 0x80..=0xfe);
        match self.scales.as_bytes().iter().position(negative) {
            Some(at) if self.format().scale() == Scale::E4M3 => Err(self.invalid(format!(
                "scale {:#04x} at {at} is negative; E4M3 scales are 0x00 to 0x7f, or 0xff for NaN",
                self.scales.as_bytes()[at],
            ))),
            _ => Ok(()),
        }
    }

    fn check_tiles(&self, extents: Extents) -> Result<()> {
        if self.blocks == Blocks::Row || extents.elements() == 0 {
            return Ok(());
        }
        for batch in 0..extents.batches {
            for row in 0..extents.rows {
                let first = row - row % self.format().block();
                for column in 0..self.scales.columns() {
                    let (top, here) = (
                        self.scales.get(batch, first, column),
                        self.scales.get(batch, row, column),
                    );
                    if top != here {
                        return Err(self.invalid(format!(
                            "scale {here:#04x} of matrix {batch}, row {row}, block {column} differs \
                             from {top:#04x} in its tile's first row"
                        )));
                    }
                }
            }
        }
        Ok(())
    }

    /// The profile that made the codes and that decodes them.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }
    /// What the bits mean.
    pub fn format(&self) -> Format {
        self.profile.format()
    }
    /// Which elements share a scale.
    pub fn blocks(&self) -> Blocks {
        self.blocks
    }
    /// The shape of the decoded tensor; the last axis is the block axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }
    /// The packed codes.
    pub fn codes(&self) -> &Codes<Raw, S> {
        &self.codes
    }
    /// The block scales.
    pub fn scales(&self) -> &Scales<Linear, S> {
        &self.scales
    }
    /// The tensor scale, where the profile stores one.
    pub fn tensor_scale(&self) -> Option<TensorScale> {
        self.tensor_scale
    }
    /// Bytes of codes, scales and tensor scale.
    pub fn stored_bytes(&self) -> usize {
        let tensor = self.tensor_scale.map_or(0, |_| size_of::<f32>());
        self.codes.as_bytes().len() + self.scales.as_bytes().len() + tensor
    }
    /// The codes and the scales, moved out.
    pub fn into_parts(self) -> (S, S) {
        (self.codes.into_inner(), self.scales.into_inner())
    }
    /// The same tensor, borrowed.
    pub fn view(&self) -> QuantizedTensor<&[u8]> {
        QuantizedTensor {
            profile: self.profile,
            blocks: self.blocks,
            shape: self.shape.clone(),
            codes: self.codes.view(),
            scales: self.scales.view(),
            tensor_scale: self.tensor_scale,
        }
    }

    pub(crate) fn extents(&self) -> Extents {
        let rows = self.scales.rows();
        Extents { batches: self.scales.batches(), rows, k: self.codes.k() }
    }
}

/// The extents of a shape that a format can be stored in.
pub(crate) fn extents(format: Format, blocks: Blocks, shape: &[usize]) -> Result<Extents> {
    if format.scale() == Scale::F32 {
        return Err(Error::InvalidFormat {
            given: format.to_string(),
            rule: "F32 scales exist for analysis::simulate; a stored tensor needs one-byte scales",
        });
    }
    if blocks == Blocks::Tile && shape.len() < 2 {
        return Err(Error::InvalidShape {
            shape: shape.to_vec(),
            rule: "2-D blocks need rows and columns: at least two axes",
        });
    }
    Extents::of(shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(
        profile: &str,
        blocks: Blocks,
        shape: &[usize],
        codes: usize,
        scales: Vec<u8>,
        tensor_scale: Option<TensorScale>,
    ) -> Result<QuantizedTensor> {
        let profile = Profile::parse(Format::NVFP4, profile)?;
        QuantizedTensor::from_parts(profile, blocks, shape, vec![0; codes], scales, tensor_scale)
    }

    #[test]
    fn parts_that_fit_are_accepted() {
        let amax = Some(TensorScale::Amax(1.0));
        let tensor =
            parts("transformer-engine", Blocks::Row, &[2, 3, 17], 54, vec![0; 12], amax).unwrap();
        assert_eq!(tensor.shape(), [2, 3, 17]);
        assert_eq!(tensor.extents(), Extents { batches: 2, rows: 3, k: 17 });
        assert_eq!(tensor.stored_bytes(), 54 + 12 + 4);
        assert_eq!(tensor.view().stored_bytes(), 70);
        assert_eq!(tensor.into_parts(), (vec![0; 54], vec![0; 12]));
        parts("ggml", Blocks::Tile, &[2, 16], 16, vec![3, 3], None).unwrap();
        parts("ggml", Blocks::Row, &[2, 16], 16, vec![3, 4], None).unwrap();
        parts("ggml", Blocks::Row, &[0, 16], 0, vec![], None).unwrap();
        parts("ggml", Blocks::Tile, &[1 << 50, 0], 0, vec![], None).unwrap();
        parts("torchao", Blocks::Row, &[16], 8, vec![0], Some(TensorScale::Decode(1.0))).unwrap();
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let amax = Some(TensorScale::Amax(1.0));
        let refused = [
            parts("ggml", Blocks::Row, &[], 0, vec![], None),
            parts("ggml", Blocks::Tile, &[16], 8, vec![0], None),
            parts("ggml", Blocks::Row, &[16], 9, vec![0], None),
            parts("ggml", Blocks::Row, &[16], 8, vec![0; 2], None),
            parts("ggml", Blocks::Row, &[16], 8, vec![0], amax),
            parts("torchao", Blocks::Row, &[16], 8, vec![0], amax),
            parts("torchao", Blocks::Row, &[16], 8, vec![0], None),
            parts("ggml", Blocks::Tile, &[2, 16], 16, vec![3, 4], None),
            parts("ggml", Blocks::Tile, &[17, 16], 136, vec![3; 17], None).and_then(|_| {
                let mut scales = vec![3; 32];
                scales[16..].fill(4);
                scales[31] = 5;
                parts("ggml", Blocks::Tile, &[32, 16], 256, scales, None)
            }),
        ];
        for (i, refused) in refused.into_iter().enumerate() {
            assert!(refused.is_err(), "case {i}");
        }
        let direct = Profile::default_for("e2m1x16:f32".parse().unwrap());
        let f32_scales =
            QuantizedTensor::from_parts(direct, Blocks::Row, &[16], vec![0; 8], vec![0; 4], None);
        assert!(matches!(f32_scales, Err(Error::InvalidFormat { .. })));
    }
}
