//! Reading a safetensors file, quantized tensors included.

use super::error::{Error, Result};
use super::float::{Float, Values};
use super::header::Header;
use super::map::Map;
use super::raw::{self, Part, Record};
use crate::QuantizedTensor;
use crate::numerics::TensorScale;
use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A safetensors file, mapped into memory and checked.
///
/// Opening reads the header alone; the bytes of a tensor are read when they are used.
///
/// ```
/// use blockscale::checkpoint::{Dtype, Existing, Plan, Reader, Writer};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("a.safetensors");
/// let mut plan = Plan::new();
/// plan.tensor("bias", Dtype::F32, &[2]);
/// let mut writer = Writer::create(&path, plan, Existing::Keep)?;
/// writer.write("bias", &[0, 0, 128, 63, 0, 0, 0, 192])?;
/// writer.finish()?;
///
/// let reader = Reader::open(&path)?;
/// assert_eq!(reader.tensor("bias")?.shape, [2]);
/// assert_eq!(reader.values("bias")?.to_f32(), [1.0, -2.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    map: Map,
    /// Where data starts.
    start: usize,
    metadata: BTreeMap<String, String>,
    tensors: Vec<(String, TensorInfo)>,
    index: HashMap<String, usize>,
    records: BTreeMap<String, Record>,
    /// What each record says is stored, by the same names.
    parts: HashMap<String, Vec<Part>>,
}

/// A stored tensor, as the header describes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stored<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its type.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: &'a [usize],
    /// Its bytes, little-endian, row-major.
    pub bytes: &'a [u8],
}

/// What a file holds under a name of the model: a plain tensor, or a quantized one in its parts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Entry<'a> {
    /// A tensor that is stored as it is.
    Plain(Stored<'a>),
    /// A quantized tensor.
    Quantized {
        /// The name it had.
        name: &'a str,
        /// What it was made of and how.
        record: &'a Record,
    },
}

impl<'a> Entry<'a> {
    /// The tensor's name in the model.
    pub fn name(&self) -> &'a str {
        match self {
            Self::Plain(stored) => stored.name,
            Self::Quantized { name, .. } => name,
        }
    }
}

impl Reader {
    /// Maps the file at `path` and checks its header and its records of quantized tensors.
    ///
    /// The file must not be changed or shortened while it is open: that is the nature of a memory
    /// map. Replacing it by rename, as [`Writer`](super::Writer) does, is harmless.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Path`] for a directory or a device, [`Error::Malformed`] and
    /// [`Error::Tensor`] for a header that is cut off or contradicts itself or the file, for a
    /// record of another version, and for parts that are missing or do not fit their record.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let map = Map::open(&path)?;
        let (header, start) = Header::parse(&map).map_err(|flaw| flaw.at(&path))?;
        let (mut records, mut parts) = (BTreeMap::new(), HashMap::new());
        for (name, record, stored) in raw::records(&header).map_err(|flaw| flaw.at(&path))? {
            parts.insert(name.clone(), stored);
            records.insert(name, record);
        }
        let Header { metadata, tensors } = header;
        let index = tensors.iter().enumerate().map(|(i, (name, _))| (name.clone(), i)).collect();
        Ok(Self { path, map, start, metadata, tensors, index, records, parts })
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// The file's own strings, by key.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }
    /// The records of the quantized tensors, by the tensors' names.
    pub fn records(&self) -> &BTreeMap<String, Record> {
        &self.records
    }
    /// The stored tensors of the quantized tensor `name`: codes, scales and, where there is one,
    /// the tensor scale. None for a name without a record.
    pub fn parts(&self, name: &str) -> &[Part] {
        self.parts.get(name).map_or(&[], Vec::as_slice)
    }
    /// Bytes of the file.
    pub fn file_bytes(&self) -> usize {
        self.map.len()
    }

    /// The stored tensors in the order of their data.
    pub fn tensors(&self) -> impl Iterator<Item = Stored<'_>> {
        self.tensors.iter().map(|(name, info)| self.stored(name, info))
    }

    /// Plain and quantized tensors in the order of their data, the latter at their codes.
    pub fn entries(&self) -> Vec<Entry<'_>> {
        let mut codes = HashMap::new();
        let mut others = HashSet::new();
        for (name, record) in &self.records {
            let mut parts = self.parts(name).iter().map(|part| part.name.as_str());
            codes.extend(parts.next().map(|part| (part, (name, record))));
            others.extend(parts);
        }
        let entry = |stored: Stored<'_>| match codes.get(stored.name) {
            Some((name, record)) => Some(Entry::Quantized { name, record }),
            None if others.contains(stored.name) => None,
            None => Some(Entry::Plain(self.stored_by_name(stored.name)?)),
        };
        self.tensors().filter_map(entry).collect()
    }

    /// The stored tensor of that name.
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub fn tensor(&self, name: &str) -> Result<Stored<'_>> {
        self.stored_by_name(name).ok_or_else(|| self.missing("stored", name))
    }

    /// The values of a stored tensor, in its own type.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::NotFloat`].
    pub fn values(&self, name: &str) -> Result<Values> {
        let Stored { dtype, bytes, .. } = self.tensor(name)?;
        let float = Float::of(dtype).ok_or_else(|| Error::NotFloat {
            path: self.path.clone(),
            tensor: name.to_owned(),
            dtype,
        })?;
        let refused = |source| self.refused(name, source);
        Values::from_bytes(float, bytes).map_err(refused)
    }

    /// A quantized tensor over the bytes of the file, its block axis last.
    ///
    /// # Errors
    /// [`Error::Missing`]; [`Error::Quantization`] where the bytes break a rule of
    /// [`QuantizedTensor::from_parts`].
    pub fn quantized(&self, name: &str) -> Result<QuantizedTensor<&[u8]>> {
        let missing = || self.missing("quantized", name);
        let record = self.records.get(name).ok_or_else(missing)?;
        let mut parts = Vec::new();
        for part in self.parts(name) {
            parts.push((&part.name, self.tensor(&part.name)?.bytes));
        }
        let [(_, codes), (_, scales), tensor_scale @ ..] = parts.as_slice() else {
            return Err(missing());
        };
        let tensor_scale = tensor_scale.first().and_then(|(part, bytes)| {
            let value = f32::from_le_bytes((*bytes).try_into().ok()?);
            let of = [TensorScale::Amax, TensorScale::Decode, TensorScale::Encode];
            of.map(|of| of(value)).into_iter().find(|scale| part.ends_with(scale.name()))
        });
        let (profile, blocks) = (record.profile, record.blocks);
        let refused = |source| self.refused(name, source);
        let shape = record.stored_shape().map_err(refused)?;
        QuantizedTensor::from_parts(profile, blocks, &shape, *codes, *scales, tensor_scale)
            .map_err(refused)
    }

    /// Gives back the memory of what was read of a plain or quantized tensor. It is read again if
    /// it is used again, so this changes no result.
    pub fn release(&mut self, name: &str) {
        let parts = self.parts(name).iter().map(|part| part.name.as_str());
        let names = parts.chain([name]);
        let ranges: Vec<_> =
            names.filter_map(|name| self.info(name).map(|(_, info)| self.range(info))).collect();
        ranges.into_iter().for_each(|range| self.map.release(range));
    }

    fn info(&self, name: &str) -> Option<(&str, &TensorInfo)> {
        let (name, info) = self.tensors.get(*self.index.get(name)?)?;
        Some((name, info))
    }

    fn stored_by_name(&self, name: &str) -> Option<Stored<'_>> {
        self.info(name).map(|(name, info)| self.stored(name, info))
    }

    fn stored<'a>(&'a self, name: &'a str, info: &'a TensorInfo) -> Stored<'a> {
        // The header's check put every range inside the file.
        let bytes = self.map.get(self.range(info)).unwrap_or_default();
        Stored { name, dtype: info.dtype, shape: &info.shape, bytes }
    }

    fn range(&self, info: &TensorInfo) -> Range<usize> {
        self.start + info.data_offsets.0..self.start + info.data_offsets.1
    }

    fn refused(&self, name: &str, source: crate::Error) -> Error {
        let (path, tensor) = (self.path.clone(), name.to_owned());
        Error::Quantization { path, tensor, source: Box::new(source) }
    }

    fn missing(&self, kind: &'static str, name: &str) -> Error {
        Error::Missing { path: self.path.clone(), kind, tensor: name.to_owned() }
    }
}
