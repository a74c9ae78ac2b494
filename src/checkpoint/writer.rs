//! Writing a safetensors file tensor by tensor.

use super::error::{Error, Result};
use super::header::{self, Flaw, Header};
use super::raw::{self, Record, TENSOR_KEY, VERSION_KEY};
use super::temporary::Temporary;
use crate::QuantizedTensor;
use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// What a file will hold. All sizes are known before the first byte is written.
///
/// ```
/// use blockscale::checkpoint::{Dtype, Plan};
/// let mut plan = Plan::new();
/// plan.metadata("license", "none");
/// plan.tensor("bias", Dtype::F32, &[1024]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Plan {
    metadata: BTreeMap<String, String>,
    tensors: Vec<(String, Dtype, Vec<usize>)>,
}

impl Plan {
    /// An empty file.
    pub fn new() -> Self {
        Self::default()
    }
    /// One of the file's own strings; the last under a key stays.
    pub fn metadata(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.metadata.insert(key.into(), value.into());
    }
    /// A tensor that is stored as it is.
    pub fn tensor(&mut self, name: impl Into<String>, dtype: Dtype, shape: &[usize]) {
        self.tensors.push((name.into(), dtype, shape.to_vec()));
    }
    /// A quantized tensor: its parts and its record.
    ///
    /// # Errors
    /// Those of [`Record::parts`]; the plan is then what it was.
    pub fn quantized(&mut self, name: &str, record: &Record) -> crate::Result<()> {
        let parts = record.parts(name)?;
        // The newest that one of the records needs.
        let present = self.metadata.get(VERSION_KEY).map_or("", String::as_str);
        let version = raw::known_version(present).unwrap_or_default().max(record.version());
        self.metadata(VERSION_KEY, version);
        self.metadata(format!("{TENSOR_KEY}{name}"), record.to_json());
        for part in parts {
            self.tensor(part.name, part.dtype, &part.shape);
        }
        Ok(())
    }

    /// The header, in the `safetensors` crate's order: types of wide alignment first, so that
    /// every tensor is aligned, then by name.
    fn header(self) -> core::result::Result<Header, Flaw> {
        let Self { metadata, mut tensors } = self;
        let flaw = |name: &str, reason: String| Flaw { tensor: Some(name.to_owned()), reason };
        tensors.sort_by(|(a, left, _), (b, right, _)| right.cmp(left).then_with(|| a.cmp(b)));
        let mut end = 0usize;
        let mut placed = Vec::with_capacity(tensors.len());
        for (name, dtype, shape) in tensors {
            let mut info = TensorInfo { dtype, shape, data_offsets: (end, end) };
            let next = header::bytes(&info).and_then(|bytes| end.checked_add(bytes));
            end = next.ok_or_else(|| {
                flaw(&name, format!("shape {:?} of {dtype} is too large", info.shape))
            })?;
            info.data_offsets.1 = end;
            placed.push((name, info));
        }
        let mut names: Vec<&str> = placed.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(flaw(twice[0], "would stand there twice".to_owned()));
        }
        if names.contains(&header::METADATA) {
            return Err(flaw(header::METADATA, "is no name for a tensor".to_owned()));
        }
        let header = Header { metadata, tensors: placed };
        raw::records(&header)?;
        Ok(header)
    }
}

/// What to do where the output exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Leave it and fail.
    Keep,
    /// Put the new file in its place, once that is complete.
    Replace,
}

/// A safetensors file that is being written.
///
/// The bytes go to a temporary file in the directory of the output, which takes the output's
/// place in one step at [`finish`](Self::finish). Dropped before, it leaves nothing behind; nor
/// does a process that is killed, where the file system has files without a name (on Linux, most
/// do). Elsewhere a killed process leaves `.blockscale-*.tmp`.
///
/// ```
/// use blockscale::checkpoint::{Existing, Float, Plan, Reader, Record, Writer};
/// use blockscale::format::Format;
/// use blockscale::numerics::Profile;
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("q.safetensors");
/// let record = Record::new(Profile::default_for(Format::NVFP4), Float::F32, &[2, 16]);
/// let x: Vec<f32> = (0..32).map(|i| i as f32).collect();
/// let q = record.quantize("w").run(&x, &record.stored_shape()?)?;
///
/// let mut plan = Plan::new();
/// plan.quantized("w", &record)?;
/// let mut writer = Writer::create(&path, plan, Existing::Keep)?;
/// writer.write_quantized("w", &q)?;
/// writer.finish()?;
///
/// let reader = Reader::open(&path)?;
/// assert_eq!(reader.records()["w"], record);
/// assert_eq!(reader.quantized("w")?.dequantize::<f32>(), q.dequantize::<f32>());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    existing: Existing,
    file: Temporary,
    /// What is still to be written: offset in the file and length.
    missing: HashMap<String, (u64, usize)>,
    bytes: u64,
}

impl Writer {
    /// Starts the file that will be `path`, and writes its header.
    ///
    /// # Errors
    /// [`Error::Exists`] unless it may be replaced; [`Error::Path`] where the path is a directory,
    /// a device or a link to nothing, or lies in no directory; [`Error::Tensor`] and
    /// [`Error::LongHeader`] for a plan that no file can hold, or whose file a
    /// [`Reader`](super::Reader) would refuse; [`Error::Io`].
    pub fn create(path: impl AsRef<Path>, plan: Plan, existing: Existing) -> Result<Self> {
        let path = destination(path.as_ref(), existing)?;
        let flawed = |flaw: Flaw| flaw.at(&path);
        let header = plan.header().map_err(flawed)?;
        let head = header.to_bytes().map_err(flawed)?;
        let bytes = head.len() - header::PREFIX;
        if bytes > header::LONGEST {
            return Err(Error::LongHeader { path, bytes, limit: header::LONGEST });
        }
        let start = head.len() as u64;
        let end = header.tensors.last().map_or(0, |(_, info)| info.data_offsets.1);
        let place = |(name, info): (String, TensorInfo)| {
            let (from, to) = info.data_offsets;
            (name, (start + from as u64, to - from))
        };
        let missing = header.tensors.into_iter().map(place).collect();
        let failed = |action, source| Error::Io { path: path.clone(), action, source };
        let mut file = Temporary::new(directory(&path))
            .map_err(|source| failed("create a file in its directory", source))?;
        file.file().write_all(&head).map_err(|source| failed("write its header", source))?;
        Ok(Self { path, existing, file, missing, bytes: start + end as u64 })
    }

    /// Writes the planned tensor `name`, once.
    ///
    /// # Errors
    /// [`Error::Plan`] for a tensor that is not planned or written already, or of another size;
    /// [`Error::Write`].
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let broken = |rule| Error::Plan { path: self.path.clone(), tensor: name.to_owned(), rule };
        let (offset, length) = *self
            .missing
            .get(name)
            .ok_or_else(|| broken("is not in the plan, or was written before"))?;
        if bytes.len() != length {
            return Err(broken("was planned with another size"));
        }
        // A length of 0 leaves no mark: an empty tensor at the end needs no seek.
        let file = self.file.file();
        let written = match length {
            0 => Ok(()),
            _ => file.seek(SeekFrom::Start(offset)).and_then(|_| file.write_all(bytes)),
        };
        let (path, tensor) = (&self.path, name);
        let refused =
            |source| Error::Write { path: path.clone(), tensor: tensor.to_owned(), source };
        written.map_err(refused)?;
        self.missing.remove(name);
        Ok(())
    }

    /// Writes the parts of the planned quantized tensor `name`.
    ///
    /// # Errors
    /// Those of [`write`](Self::write).
    pub fn write_quantized<S: AsRef<[u8]>>(
        &mut self,
        name: &str,
        tensor: &QuantizedTensor<S>,
    ) -> Result<()> {
        self.write(&format!("{name}.codes"), tensor.codes().as_bytes())?;
        self.write(&format!("{name}.scales"), tensor.scales().as_bytes())?;
        match tensor.tensor_scale() {
            Some(scale) => {
                self.write(&format!("{name}.{}", scale.name()), &scale.value().to_le_bytes())
            }
            None => Ok(()),
        }
    }

    /// Puts the file in its place and returns its size in bytes.
    ///
    /// # Errors
    /// [`Error::Plan`] where a planned tensor was not written; [`Error::Exists`] where the output
    /// has come into being and may not be replaced; [`Error::Io`].
    pub fn finish(self) -> Result<u64> {
        let Self { path, existing, file, missing, bytes } = self;
        if let Some(tensor) = missing.into_keys().min() {
            return Err(Error::Plan { path, tensor, rule: "was planned and never written" });
        }
        match file.persist(directory(&path), &path, existing) {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::Exists { path })
            }
            Err(source) => Err(Error::Io { path, action: "put the output in its place", source }),
        }
    }
}

/// Where the output will be: `path`, or what it links to.
fn destination(path: &Path, existing: Existing) -> Result<PathBuf> {
    let refused = |rule| Err(Error::Path { path: path.to_owned(), rule });
    let unreachable = |source| Error::Io { path: path.to_owned(), action: "reach it", source };
    match fs::metadata(path) {
        Ok(there) if there.is_dir() => refused("is a directory; name a file"),
        // A device or a pipe would be replaced by a file, which nobody means.
        Ok(there) if !there.is_file() => refused("is not a regular file"),
        Ok(_) if existing == Existing::Keep => Err(Error::Exists { path: path.to_owned() }),
        Ok(_) => fs::canonicalize(path).map_err(unreachable),
        Err(_) if path.is_symlink() => refused("is a link to nothing; name the file itself"),
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(unreachable(source)),
        Err(_) if !names_a_file(path) => refused("is no name of a file"),
        Err(_) if !directory(path).is_dir() => refused("its directory does not exist"),
        Err(_) => Ok(path.to_owned()),
    }
}

/// Whether the last of `path` is a name, and not `..` or a separator.
fn names_a_file(path: &Path) -> bool {
    let bytes = path.as_os_str().as_encoded_bytes();
    path.file_name().is_some_and(|name| bytes.ends_with(name.as_encoded_bytes()))
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}
