//! The header of a safetensors file: read with every check, written in one fixed order.
//!
//! ```text
//! u64 length of the header, little-endian | JSON header, padded with spaces to 8 | data
//! ```
//!
//! The entries are the `safetensors` crate's [`TensorInfo`]. Its `read_metadata` reads the same
//! files, but does not say which tensor is wrong, and adds up hostile sizes without a check.

use super::error::Error as FileError;
use safetensors::tensor::TensorInfo;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// Bytes of the length in front of the header.
pub(super) const PREFIX: usize = size_of::<u64>();

/// The longest header that readers accept, as in the `safetensors` crate.
pub(super) const LONGEST: usize = 100_000_000;

/// The key of the file's own strings.
pub(super) const METADATA: &str = "__metadata__";

/// The file's own strings, and its tensors in the order of their data.
#[derive(Debug, Default)]
pub(super) struct Header {
    pub metadata: BTreeMap<String, String>,
    pub tensors: Vec<(String, TensorInfo)>,
}

/// What is wrong with a header, and with which tensor.
#[derive(Debug, PartialEq)]
pub(super) struct Flaw {
    pub tensor: Option<String>,
    pub reason: String,
}

impl Flaw {
    fn new(reason: impl Into<String>) -> Self {
        Self { tensor: None, reason: reason.into() }
    }
    fn of(tensor: &str, reason: impl Into<String>) -> Self {
        Self { tensor: Some(tensor.to_owned()), reason: reason.into() }
    }
    /// The error of a flaw in the file at `path`.
    pub fn at(self, path: &Path) -> FileError {
        let (path, reason) = (path.to_owned(), self.reason);
        match self.tensor {
            Some(tensor) => FileError::Tensor { path, tensor, reason },
            None => FileError::Malformed { path, reason },
        }
    }
}

impl Header {
    /// Reads the header of `file` and returns it with the offset at which data starts.
    ///
    /// Every range of the result lies in the file, is as long as its shape and type say, and
    /// starts where the one before ends; the last ends with the file.
    pub fn parse(file: &[u8]) -> Result<(Self, usize), Flaw> {
        let Some((length, rest)) = file.split_first_chunk::<PREFIX>() else {
            let reason = format!("{} bytes are too short for a header", file.len());
            return Err(Flaw::new(reason));
        };
        let length = u64::from_le_bytes(*length);
        let fits = usize::try_from(length).ok().filter(|length| *length <= LONGEST);
        let Some(length) = fits else {
            let reason = format!("a header of {length} bytes; at most {LONGEST} are possible");
            return Err(Flaw::new(reason));
        };
        let Some((json, data)) = rest.split_at_checked(length) else {
            let have = rest.len();
            let reason = format!("truncated: {have} of {length} bytes of the header are there");
            return Err(Flaw::new(reason));
        };
        let mut header: Self = serde_json::from_slice(json)
            .map_err(|error| Flaw::new(format!("the header is wrong: {error}")))?;
        header.tensors.sort_by(|(a, left), (b, right)| {
            left.data_offsets.cmp(&right.data_offsets).then_with(|| a.cmp(b))
        });
        header.check(data.len())?;
        Ok((header, PREFIX + length))
    }

    /// Whether the tensors cover `available` bytes of data, each once.
    fn check(&self, available: usize) -> Result<(), Flaw> {
        let mut end = 0;
        for (name, info) in &self.tensors {
            let (from, to) = info.data_offsets;
            let size = bytes(info).ok_or_else(|| {
                let TensorInfo { dtype, shape, .. } = info;
                Flaw::of(name, format!("shape {shape:?} of {dtype} is no whole number of bytes that can be addressed"))
            })?;
            if from != end {
                let relation = if from < end { "overlaps" } else { "leaves a gap after" };
                let reason = format!("data at {from}..{to} {relation} what ends at {end}");
                return Err(Flaw::of(name, reason));
            }
            if to.checked_sub(from) != Some(size) {
                let TensorInfo { dtype, shape, .. } = info;
                let reason = format!(
                    "data at {from}..{to}, but shape {shape:?} of {dtype} has {size} bytes"
                );
                return Err(Flaw::of(name, reason));
            }
            if to > available {
                let reason = format!("truncated: data ends at {to}, the file's at {available}");
                return Err(Flaw::of(name, reason));
            }
            end = to;
        }
        match end == available {
            true => Ok(()),
            false => Err(Flaw::new(format!("{} bytes follow the last tensor", available - end))),
        }
    }

    /// The bytes before the data: length, header, padding. The same for the same header, whatever
    /// the order in which its entries were found; longer than [`LONGEST`] if need be.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Flaw> {
        let mut json = serde_json::to_vec(self).map_err(|error| Flaw::new(error.to_string()))?;
        json.resize(json.len().next_multiple_of(PREFIX), b' ');
        let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
        bytes.append(&mut json);
        Ok(bytes)
    }
}

/// Bytes of a tensor's data, if that is a whole number and an address.
pub(super) fn bytes(info: &TensorInfo) -> Option<usize> {
    let elements = info.shape.iter().try_fold(1usize, |n, axis| n.checked_mul(*axis))?;
    let bits = elements.checked_mul(info.dtype.bitsize())?;
    bits.is_multiple_of(8).then_some(bits / 8)
}

impl Serialize for Header {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.metadata.is_empty() {
            map.serialize_entry(METADATA, &self.metadata)?;
        }
        for (name, info) in &self.tensors {
            map.serialize_entry(name, info)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries)
    }
}

/// Reads entry by entry, so that an error can name its tensor and a name cannot come twice.
struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        // Null is no metadata, as in the `safetensors` crate.
        let mut metadata: Option<Option<BTreeMap<String, String>>> = None;
        let mut tensors = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            let twice = match name.as_str() {
                METADATA => metadata.replace(map.next_value()?).is_some(),
                _ => {
                    let info = map
                        .next_value::<TensorInfo>()
                        .map_err(|error| A::Error::custom(format!("tensor '{name}': {error}")))?;
                    tensors.insert(name.clone(), info).is_some()
                }
            };
            if twice {
                return Err(A::Error::custom(format!("'{name}' stands there twice")));
            }
        }
        let metadata = metadata.flatten().unwrap_or_default();
        Ok(Header { metadata, tensors: tensors.into_iter().collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::SafeTensors;

    fn file(json: &str, data: usize) -> Vec<u8> {
        let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(json.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    }

    #[test]
    fn what_is_written_reads_back_here_and_elsewhere() {
        let info = |shape: &[usize], data_offsets| TensorInfo {
            dtype: safetensors::Dtype::U8,
            shape: shape.to_vec(),
            data_offsets,
        };
        let header = Header {
            metadata: [("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())].into(),
            tensors: vec![
                ("z".to_owned(), info(&[3], (0, 3))),
                ("e".to_owned(), info(&[0, 7], (3, 3))),
                ("a".to_owned(), info(&[], (3, 4))),
            ],
        };
        let mut bytes = header.to_bytes().unwrap();
        assert!(bytes.len().is_multiple_of(8));
        bytes.extend([1, 2, 3, 4]);
        let (read, start) = Header::parse(&bytes).unwrap();
        assert_eq!(read.metadata, header.metadata);
        assert_eq!(bytes[start..], [1, 2, 3, 4]);
        assert_eq!(read.to_bytes().unwrap(), bytes[..start]);
        let theirs = SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(theirs.tensor("a").unwrap().data(), [4]);
        let null = file(r#"{"__metadata__":null}"#, 0);
        assert!(SafeTensors::deserialize(&null).is_ok());
        assert!(Header::parse(&null).unwrap().0.metadata.is_empty());
        let empty = Header::default().to_bytes().unwrap();
        assert!(Header::parse(&empty).unwrap().0.tensors.is_empty());
    }

    /// What the message must say, the tensor that it must name, the header, the bytes of data.
    #[test]
    fn flaws_are_named() {
        let one = |dtype: &str, shape: &str, offsets: &str| {
            format!(r#"{{"t":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
        };
        let two = |second: &str| {
            format!(
                r#"{{"a":{{"dtype":"U8","shape":[4],"data_offsets":[0,4]}},
                     "b":{{"dtype":"U8","shape":[4],"data_offsets":{second}}}}}"#
            )
        };
        let huge = u64::MAX / 8;
        let cases: [(&str, Option<&str>, String, usize); 19] = [
            ("expected a map", None, "[]".into(), 0),
            ("EOF", None, String::new(), 0),
            ("EOF", None, "{".into(), 0),
            ("unknown variant `F7`", None, one("F7", "[1]", "[0,1]"), 1),
            ("tensor 't'", None, one("F7", "[1]", "[0,1]"), 1),
            ("tensor 't'", None, one("U8", "[-1]", "[0,1]"), 1),
            ("tensor 't'", None, one("U8", "[1.5]", "[0,1]"), 1),
            ("tensor 't'", None, one("U8", "[1]", "[0]"), 1),
            ("tensor 't'", None, r#"{"t":{"dtype":"U8","shape":[1]}}"#.into(), 1),
            ("no whole number", Some("t"), one("F32", &format!("[{huge}, 9]"), "[0,4]"), 4),
            ("no whole number", Some("t"), one("F4", "[3]", "[0,1]"), 1),
            ("has 8 bytes", Some("t"), one("F32", "[2]", "[0,4]"), 4),
            ("has 4 bytes", Some("t"), one("F32", "[1]", "[0,2]"), 2),
            ("truncated", Some("t"), one("U8", "[9]", "[0,9]"), 8),
            ("follow the last", None, one("U8", "[8]", "[0,8]"), 9),
            ("overlaps", Some("b"), two("[2,6]"), 6),
            ("gap", Some("b"), two("[6,10]"), 10),
            ("twice", None, r#"{"__metadata__":{},"__metadata__":{}}"#.into(), 0),
            ("twice", None, r#"{"__metadata__":null,"__metadata__":{}}"#.into(), 0),
        ];
        for (reason, tensor, json, data) in cases {
            let flaw = Header::parse(&file(&json, data)).unwrap_err();
            assert!(flaw.reason.contains(reason), "{json}: {}", flaw.reason);
            assert_eq!(flaw.tensor.as_deref(), tensor, "{json}");
        }
        let reversed = one("U8", "[1]", "[1,0]");
        assert!(Header::parse(&file(&reversed, 1)).is_err());
        let twice = r#"{"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
                        "t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#;
        assert!(Header::parse(&file(twice, 1)).unwrap_err().reason.contains("'t' stands there"));
        assert!(Header::parse(&[0; 7]).unwrap_err().reason.contains("too short"));
        assert!(
            Header::parse(&[9, 0, 0, 0, 0, 0, 0, 0, b'{']).unwrap_err().reason.contains("1 of 9")
        );
        assert!(Header::parse(&[255; 16]).unwrap_err().reason.contains("at most"));
        assert!(Header::parse(&file(r#"{"__metadata__":{"a":1}}"#, 0)).is_err());
    }

    /// Sizes whose sum wraps around to the length of the file.
    #[test]
    fn sums_of_hostile_sizes_do_not_wrap() {
        let size = u64::MAX / 8;
        let entry = |i: u64| {
            let (from, to) =
                (u128::from(size) * u128::from(i), u128::from(size) * u128::from(i + 1));
            format!(r#""t{i}":{{"dtype":"U8","shape":[{size}],"data_offsets":[{from},{to}]}}"#)
        };
        let entries: Vec<_> = (0..9).map(entry).collect();
        assert!(Header::parse(&file(&format!("{{{}}}", entries.join(",")), 8)).is_err());
    }
}
