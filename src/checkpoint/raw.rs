//! The raw layout: the names, shapes and metadata of one quantized tensor.

use super::axis;
use super::float::Float;
use super::header::{Flaw, Header};
use super::rotation::StoredRotation;
use crate::format::Format;
use crate::layout::{Packing, Raw};
use crate::numerics::{DrawBits, Profile, Rounding, Stochastic};
use crate::{Blocks, Quantize};
use safetensors::Dtype;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// The metadata key that says which version of the layout a file is in.
pub(super) const VERSION_KEY: &str = "blockscale.version";
/// The versions that this crate reads and writes: 2 has records with `draw_bits` or `rotation`, which readers of 1
/// would not heed.
const VERSIONS: [&str; 2] = ["1", "2"];
/// The version of that name.
pub(super) fn known_version(text: &str) -> Option<&'static str> {
    VERSIONS.into_iter().find(|version| *version == text)
}

/// The metadata key of a quantized tensor is this and its name.
pub(super) const TENSOR_KEY: &str = "blockscale.tensor.";

/// How a stored tensor was rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredRounding {
    /// To nearest.
    Nearest,
    /// By draws that the seed and the tensor's name key.
    Stochastic {
        /// The seed.
        seed: u64,
        /// The width of a draw.
        bits: DrawBits,
    },
}

impl StoredRounding {
    /// The rounding of the tensor `name`.
    ///
    /// ```
    /// use blockscale::checkpoint::StoredRounding;
    /// use blockscale::numerics::{DrawBits, Rounding, Stochastic};
    /// let rounding = StoredRounding::Stochastic { seed: 7, bits: DrawBits::Eight }.of("w");
    /// assert_eq!(rounding, Rounding::Stochastic(Stochastic::new(7, "w")));
    /// ```
    pub fn of(self, name: &str) -> Rounding {
        match self {
            Self::Nearest => Rounding::Nearest,
            Self::Stochastic { seed, bits } => {
                Rounding::Stochastic(Stochastic::new(seed, name).with_bits(bits))
            }
        }
    }
}

/// What a file says of one quantized tensor beside its bytes.
///
/// ```text
/// "blockscale.tensor.NAME": {"format":"nvfp4","profile":"torchao","rounding":"stochastic",
///                            "seed":7,"blocks":"row","axis":1,"dtype":"bf16","shape":[384,1536]}
/// ```
///
/// `seed` stands there with stochastic rounding only, and `"draw_bits":16` where draws have 16 bits, not 8;
/// `"rotation":64` where the tensor was rotated, and `"signs":7` where signs were drawn; `blocks` is `row` or
/// `tile`; `axis` counts from 0 in `shape`, which is the original one.
///
/// ```
/// use blockscale::checkpoint::{Dtype, Float, Record};
/// use blockscale::format::Format;
/// use blockscale::numerics::Profile;
/// let mut record = Record::new(Profile::default_for(Format::NVFP4), Float::F32, &[20, 3]);
/// record.axis = 0;
/// assert_eq!(record.stored_shape()?, [3, 20]);
/// let parts = record.parts("w")?;
/// assert_eq!((parts[0].name.as_str(), &parts[0].shape[..]), ("w.codes", &[3, 10][..]));
/// assert_eq!((parts[1].name.as_str(), &parts[1].shape[..]), ("w.scales", &[3, 2][..]));
/// assert_eq!((parts[2].name.as_str(), parts[2].dtype), ("w.tensor_amax", Dtype::F32));
/// # Ok::<(), blockscale::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The profile, and with it the format.
    pub profile: Profile,
    /// How it was rounded.
    pub rounding: StoredRounding,
    /// How it was rotated before, if it was.
    pub rotation: Option<StoredRotation>,
    /// Which elements share a scale.
    pub blocks: Blocks,
    /// The block axis in the original shape.
    pub axis: usize,
    /// The original type.
    pub dtype: Float,
    /// The original shape.
    pub shape: Vec<usize>,
}

/// One stored tensor of a quantized one.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Its name in the file.
    pub name: String,
    /// Its type.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Vec<usize>,
}

/// The records of a header's metadata with the names of their tensors, each checked against the
/// tensors that the header has.
pub(super) fn records(header: &Header) -> Result<Vec<(String, Record, Vec<Part>)>, Flaw> {
    let Header { metadata, tensors } = header;
    let infos: HashMap<&str, _> =
        tensors.iter().map(|(name, info)| (name.as_str(), info)).collect();
    let mut records = Vec::new();
    for (key, json) in metadata {
        let Some(name) = key.strip_prefix(TENSOR_KEY) else { continue };
        let flawed = |reason| Flaw { tensor: Some(name.to_owned()), reason };
        let version = metadata.get(VERSION_KEY).map_or("none", String::as_str);
        if known_version(version).is_none() {
            let known = VERSIONS.join(" and ");
            return Err(flawed(format!(
                "{VERSION_KEY} is {version}; this program reads the versions {known}"
            )));
        }
        let record = Record::from_json(json)
            .map_err(|reason| flawed(format!("its metadata is wrong: {reason}")))?;
        if record.version() > version {
            return Err(flawed(format!(
                "{VERSION_KEY} is {version}; a record with draw_bits or rotation needs {}",
                record.version()
            )));
        }
        if infos.contains_key(name) {
            return Err(flawed("stands there both quantized and plain".to_owned()));
        }
        let parts = record.parts(name).map_err(|error| flawed(error.to_string()))?;
        for part in &parts {
            let found = infos.get(part.name.as_str());
            let found = found.map(|info| (info.dtype, info.shape.as_slice()));
            if found != Some((part.dtype, part.shape.as_slice())) {
                let found = found.map_or("missing".to_owned(), |(dtype, shape)| {
                    format!("{dtype} of shape {shape:?}")
                });
                return Err(flawed(format!(
                    "its part '{}' is {found}; its metadata needs {} of shape {:?}",
                    part.name, part.dtype, part.shape
                )));
            }
        }
        records.push((name.to_owned(), record, parts));
    }
    Ok(records)
}

/// A [`Record`] as JSON has it.
#[derive(Serialize, Deserialize)]
struct Text {
    format: String,
    profile: String,
    rounding: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    draw_bits: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rotation: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signs: Option<u64>,
    blocks: String,
    axis: usize,
    dtype: String,
    shape: Vec<usize>,
}

impl Record {
    /// Of a tensor of `shape`: to nearest, not rotated, in rows along the last axis.
    pub fn new(profile: Profile, dtype: Float, shape: &[usize]) -> Self {
        Self {
            profile,
            rounding: StoredRounding::Nearest,
            rotation: None,
            blocks: Blocks::Row,
            axis: shape.len().saturating_sub(1),
            dtype,
            shape: shape.to_vec(),
        }
    }

    /// The first version of the layout that has such a record.
    pub(super) fn version(&self) -> &'static str {
        let [first, second] = VERSIONS;
        match (self.rounding, self.rotation) {
            (StoredRounding::Stochastic { bits: DrawBits::Sixteen, .. }, _) | (_, Some(_)) => {
                second
            }
            _ => first,
        }
    }

    /// The shape of the quantized tensor: the original one with the block axis moved behind all
    /// others.
    ///
    /// # Errors
    /// [`Error::InvalidValue`](crate::Error::InvalidValue) where the shape has no such axis.
    pub fn stored_shape(&self) -> crate::Result<Vec<usize>> {
        axis::shape_to_last(&self.shape, self.axis)
    }

    /// The tensors that the file holds for the quantized tensor `name`: codes, scales and, where
    /// the profile stores one, the tensor scale.
    ///
    /// # Errors
    /// Those of [`stored_shape`](Self::stored_shape).
    pub fn parts(&self, name: &str) -> crate::Result<Vec<Part>> {
        let format = self.profile.format();
        let mut rows = self.stored_shape()?;
        let k = rows.pop().unwrap_or(0);
        let bytes = Raw::row_bytes(k, format.element().bits(), format.block())?;
        let matrix = |columns| [rows.as_slice(), &[columns]].concat();
        let part = |suffix, dtype, shape| Part { name: format!("{name}.{suffix}"), dtype, shape };
        let mut parts = vec![
            part("codes", Dtype::U8, matrix(bytes)),
            part("scales", Dtype::U8, matrix(format.scales_per_row(k))),
        ];
        let tensor_scale = self.profile.tensor_scale_name();
        parts.extend(tensor_scale.map(|suffix| part(suffix, Dtype::F32, vec![1])));
        Ok(parts)
    }

    /// The quantization that makes the tensor `name` of this record.
    pub fn quantize(&self, name: &str) -> Quantize {
        let quantize = Quantize::new(self.profile).rounding(self.rounding.of(name));
        let quantize = quantize.blocks(self.blocks);
        self.rotation.map_or(quantize, |rotation| quantize.rotated(rotation.hadamard()))
    }

    /// The record as the metadata holds it.
    pub(super) fn to_json(&self) -> String {
        let (rounding, seed, bits) = match self.rounding {
            StoredRounding::Nearest => ("nearest", None, None),
            StoredRounding::Stochastic { seed, bits } => ("stochastic", Some(seed), Some(bits)),
        };
        let blocks = match self.blocks {
            Blocks::Row => "row",
            Blocks::Tile => "tile",
        };
        let text = Text {
            format: self.profile.format().to_string(),
            profile: self.profile.to_string(),
            rounding: rounding.to_owned(),
            seed,
            // Eight bits go without saying.
            draw_bits: bits.filter(|bits| *bits != DrawBits::Eight).map(DrawBits::bits),
            rotation: self.rotation.map(StoredRotation::size),
            signs: self.rotation.and_then(StoredRotation::signs),
            blocks: blocks.to_owned(),
            axis: self.axis,
            dtype: self.dtype.to_string(),
            shape: self.shape.clone(),
        };
        // Strings and numbers: nothing in it can fail to be written.
        serde_json::to_string(&text).unwrap_or_default()
    }

    /// Reads what [`to_json`](Self::to_json) writes; the error says what is wrong.
    pub(super) fn from_json(json: &str) -> Result<Self, String> {
        let text: Text = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let library = |error: crate::Error| error.to_string();
        let format: Format = text.format.parse().map_err(library)?;
        let bits = match text.draw_bits {
            None | Some(8) => DrawBits::Eight,
            Some(16) => DrawBits::Sixteen,
            Some(bits) => return Err(format!("draw_bits {bits}; expected 8 or 16")),
        };
        let rounding = match (text.rounding.as_str(), text.seed) {
            ("nearest", None) if text.draw_bits.is_none() => StoredRounding::Nearest,
            ("stochastic", Some(seed)) => StoredRounding::Stochastic { seed, bits },
            (rounding, seed) => {
                return Err(format!(
                    "rounding '{rounding}' with seed {seed:?} and draw_bits {:?}; expected nearest \
                     without both, or stochastic with a seed",
                    text.draw_bits
                ));
            }
        };
        let blocks = match text.blocks.as_str() {
            "row" => Blocks::Row,
            "tile" => Blocks::Tile,
            blocks => return Err(format!("blocks '{blocks}'; expected row or tile")),
        };
        let rotation = match (text.rotation, text.signs) {
            (Some(size), signs) => Some(StoredRotation::new(size, signs).map_err(library)?),
            (None, None) => None,
            (None, Some(seed)) => return Err(format!("signs {seed} without a rotation")),
        };
        if text.axis >= text.shape.len() {
            return Err(format!("axis {} of shape {:?}", text.axis, text.shape));
        }
        Ok(Self {
            profile: Profile::parse(format, &text.profile).map_err(library)?,
            rounding,
            rotation,
            blocks,
            axis: text.axis,
            dtype: text.dtype.parse().map_err(library)?,
            shape: text.shape,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_round_trip() {
        let profiles = [
            (Format::MXFP4, "ocp+headroom=3/4"),
            (Format::NVFP4, "torchao"),
            (
                Format::new(crate::format::Element::E3M2, 64, crate::format::Scale::E8M0, false)
                    .unwrap(),
                "even",
            ),
        ];
        for (format, profile) in profiles {
            let drawn = |bits| StoredRounding::Stochastic { seed: u64::MAX, bits };
            let rotated = |signs| Some(StoredRotation::new(32, signs).unwrap());
            let cases = [
                ("1", StoredRounding::Nearest, None, Blocks::Row, Float::Bf16),
                ("1", drawn(DrawBits::Eight), None, Blocks::Tile, Float::F16),
                ("2", drawn(DrawBits::Sixteen), None, Blocks::Row, Float::F32),
                ("2", StoredRounding::Nearest, rotated(None), Blocks::Row, Float::F32),
                ("2", drawn(DrawBits::Sixteen), rotated(Some(0)), Blocks::Tile, Float::F32),
            ];
            for (version, rounding, rotation, blocks, dtype) in cases {
                let profile = Profile::parse(format, profile).unwrap();
                let shape = vec![2, 3, 5];
                let record = Record { profile, rounding, rotation, blocks, axis: 1, dtype, shape };
                assert_eq!(record.version(), version);
                assert_eq!(Record::from_json(&record.to_json()), Ok(record));
            }
        }
    }

    #[test]
    fn records_that_make_no_sense_are_refused() {
        let good = r#"{"format":"mxfp4","profile":"rceil","rounding":"nearest","blocks":"row",
                       "axis":1,"dtype":"f32","shape":[1,2]}"#;
        Record::from_json(good).unwrap();
        let bad = [
            ("mxfp4", "mxfp5", "unknown format"),
            ("rceil", "rfloor", "no profile"),
            ("nearest", "stochastic", "with a seed"),
            ("\"axis\"", "\"draw_bits\":16,\"axis\"", "and draw_bits Some(16)"),
            ("\"axis\"", "\"draw_bits\":9,\"axis\"", "expected 8 or 16"),
            ("\"axis\"", "\"rotation\":48,\"axis\"", "48"),
            ("\"axis\"", "\"signs\":1,\"axis\"", "without a rotation"),
            ("\"axis\"", "\"seed\":1,\"axis\"", "nearest' with seed"),
            ("row", "column", "expected row or tile"),
            (":1,", ":2,", "axis 2"),
            (":1,", ":-1,", "invalid value"),
            ("f32", "f64", "float type"),
            ("[1,2]", "[]", "axis"),
            ("\"shape\"", "\"form\"", "missing field"),
        ];
        for (from, to, says) in bad {
            let error = Record::from_json(&good.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(says), "{to}: {error}");
        }
    }

    #[test]
    fn six_and_eight_bits_are_a_byte_each() {
        for (format, bytes) in [(Format::MXFP4, 17), (Format::MXINT6, 33), (Format::MXFP8_E5M2, 33)]
        {
            let record = Record::new(Profile::default_for(format), Float::F32, &[2, 3, 33]);
            let shapes: Vec<_> =
                record.parts("w").unwrap().into_iter().map(|part| part.shape).collect();
            assert_eq!(shapes, [vec![2, 3, bytes], vec![2, 3, 2]], "{format}");
        }
    }
}
