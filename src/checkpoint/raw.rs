//! The raw layout: the names, shapes and metadata of one quantized tensor.

use super::axis;
use super::float::Float;
use super::header::{Flaw, Header};
use crate::format::Format;
use crate::layout::{Packing, Raw};
use crate::numerics::{Profile, Rounding, Stochastic};
use crate::{Blocks, Quantize};
use safetensors::Dtype;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// The metadata key that says which version of the layout a file is in.
pub(super) const VERSION_KEY: &str = "blockscale.version";
/// The version that this crate reads and writes.
pub(super) const VERSION: &str = "1";
/// The metadata key of a quantized tensor is this and its name.
pub(super) const TENSOR_KEY: &str = "blockscale.tensor.";

/// How a stored tensor was rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredRounding {
    /// To nearest.
    Nearest,
    /// By 8-bit draws that the seed and the tensor's name key.
    Stochastic {
        /// The seed.
        seed: u64,
    },
}

impl StoredRounding {
    /// The rounding of the tensor `name`.
    ///
    /// ```
    /// use blockscale::checkpoint::StoredRounding;
    /// use blockscale::numerics::{Rounding, Stochastic};
    /// let rounding = StoredRounding::Stochastic { seed: 7 }.of("w");
    /// assert_eq!(rounding, Rounding::Stochastic(Stochastic::new(7, "w")));
    /// ```
    pub fn of(self, name: &str) -> Rounding {
        match self {
            Self::Nearest => Rounding::Nearest,
            Self::Stochastic { seed } => Rounding::Stochastic(Stochastic::new(seed, name)),
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
/// `seed` stands there with stochastic rounding only; `blocks` is `row` or `tile`; `axis` counts
/// from 0 in `shape`, which is the original one.
///
/// ```
/// use blockscale::Blocks;
/// use blockscale::checkpoint::{Dtype, Float, Record, StoredRounding};
/// use blockscale::format::Format;
/// use blockscale::numerics::Profile;
/// let record = Record {
///     profile: Profile::default_for(Format::NVFP4),
///     rounding: StoredRounding::Nearest,
///     blocks: Blocks::Row,
///     axis: 0,
///     dtype: Float::F32,
///     shape: vec![20, 3],
/// };
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
        if version != VERSION {
            return Err(flawed(format!(
                "{VERSION_KEY} is {version}; this program reads version {VERSION}"
            )));
        }
        let record = Record::from_json(json)
            .map_err(|reason| flawed(format!("its metadata is wrong: {reason}")))?;
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
    blocks: String,
    axis: usize,
    dtype: String,
    shape: Vec<usize>,
}

impl Record {
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
        Quantize::new(self.profile).rounding(self.rounding.of(name)).blocks(self.blocks)
    }

    /// The record as the metadata holds it.
    pub(super) fn to_json(&self) -> String {
        let (rounding, seed) = match self.rounding {
            StoredRounding::Nearest => ("nearest", None),
            StoredRounding::Stochastic { seed } => ("stochastic", Some(seed)),
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
        let rounding = match (text.rounding.as_str(), text.seed) {
            ("nearest", None) => StoredRounding::Nearest,
            ("stochastic", Some(seed)) => StoredRounding::Stochastic { seed },
            (rounding, seed) => {
                return Err(format!(
                    "rounding '{rounding}' with seed {seed:?}; expected nearest, or stochastic \
                     with a seed"
                ));
            }
        };
        let blocks = match text.blocks.as_str() {
            "row" => Blocks::Row,
            "tile" => Blocks::Tile,
            blocks => return Err(format!("blocks '{blocks}'; expected row or tile")),
        };
        if text.axis >= text.shape.len() {
            return Err(format!("axis {} of shape {:?}", text.axis, text.shape));
        }
        Ok(Self {
            profile: Profile::parse(format, &text.profile).map_err(library)?,
            rounding,
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
            for rounding in [StoredRounding::Nearest, StoredRounding::Stochastic { seed: u64::MAX }]
            {
                for (blocks, dtype) in [(Blocks::Row, Float::Bf16), (Blocks::Tile, Float::F16)] {
                    let profile = Profile::parse(format, profile).unwrap();
                    let shape = vec![2, 3, 5];
                    let record = Record { profile, rounding, blocks, axis: 1, dtype, shape };
                    assert_eq!(Record::from_json(&record.to_json()), Ok(record));
                }
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
            let record = Record {
                profile: Profile::default_for(format),
                rounding: StoredRounding::Nearest,
                blocks: Blocks::Row,
                axis: 2,
                dtype: Float::F32,
                shape: vec![2, 3, 33],
            };
            let shapes: Vec<_> =
                record.parts("w").unwrap().into_iter().map(|part| part.shape).collect();
            assert_eq!(shapes, [vec![2, 3, bytes], vec![2, 3, 2]], "{format}");
        }
    }
}
