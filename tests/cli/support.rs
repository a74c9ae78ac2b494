//! Running the command, and files made and read by the `safetensors` crate alone.

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

pub const NAMED: [&str; 12] = [
    "mxfp8-e4m3",
    "mxfp8-e5m2",
    "mxfp6-e2m3",
    "mxfp6-e3m2",
    "mxfp4",
    "mxint8",
    "mxint6",
    "mxint4",
    "nvfp4",
    "nvint4",
    "fp4-ue5m3",
    "fp4-ue5m3-tensor",
];

/// A tensor of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

pub type File = BTreeMap<String, Tensor>;

pub fn f32s(shape: &[usize], values: &[f32]) -> Tensor {
    assert_eq!(shape.iter().product::<usize>(), values.len());
    let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    Tensor { dtype: Dtype::F32, shape: shape.to_vec(), bytes }
}

pub fn raw(dtype: Dtype, shape: &[usize]) -> Tensor {
    let bytes = shape.iter().product::<usize>() * dtype.bitsize() / 8;
    let bytes = (0..bytes).map(|i| (i * 7 % 61) as u8).collect();
    Tensor { dtype, shape: shape.to_vec(), bytes }
}

pub fn values(tensor: &Tensor) -> Vec<f32> {
    assert_eq!(tensor.dtype, Dtype::F32);
    tensor.bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// Weights of varied magnitude, different for each seed.
pub fn weights(n: usize, seed: u32) -> Vec<f32> {
    let mut state = u64::from(seed) * 2 + 1;
    let mut draw = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    (0..n).map(|_| (draw() + draw() + draw()) * (8.0 * draw()).exp2()).collect()
}

/// A folder that goes away, and the paths in it.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
    /// Writes a file and returns its path.
    pub fn file(&self, name: &str, tensors: &[(&str, Tensor)]) -> PathBuf {
        self.file_with(name, tensors, &[])
    }
    pub fn file_with(
        &self,
        name: &str,
        tensors: &[(&str, Tensor)],
        metadata: &[(&str, &str)],
    ) -> PathBuf {
        fn view<'a>((name, tensor): &'a (&str, Tensor)) -> (&'a str, TensorView<'a>) {
            let shape = tensor.shape.clone();
            (name, TensorView::new(tensor.dtype, shape, &tensor.bytes).unwrap())
        }
        let views: Vec<_> = tensors.iter().map(view).collect();
        let metadata: HashMap<_, _> =
            metadata.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let metadata = (!metadata.is_empty()).then_some(metadata);
        self.bytes(name, &safetensors::serialize(views, metadata).unwrap())
    }
    pub fn bytes(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }
    /// The names of the files there are.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

pub fn read(path: &Path) -> File {
    let bytes = fs::read(path).unwrap();
    let tensor = |(name, view): (&str, TensorView<'_>)| {
        let tensor = Tensor {
            dtype: view.dtype(),
            shape: view.shape().to_vec(),
            bytes: view.data().to_vec(),
        };
        (name.to_owned(), tensor)
    };
    SafeTensors::deserialize(&bytes).unwrap().iter().map(tensor).collect()
}

pub fn metadata(path: &Path) -> HashMap<String, String> {
    let bytes = fs::read(path).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    metadata.metadata().clone().unwrap_or_default()
}

/// What the command did.
pub struct Run {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Run {
    /// It did what it was told.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.err);
        self
    }
    /// It refused, with a line that says all of this.
    #[track_caller]
    pub fn refuses(self, says: &[&str]) {
        assert_eq!(self.code, Some(2), "{} {}", self.out, self.err);
        assert_eq!(self.out, "");
        assert!(self.err.starts_with("error: "), "{}", self.err);
        assert_eq!(self.err.lines().count(), 1, "{}", self.err);
        for says in says {
            assert!(self.err.contains(says), "{says}: {}", self.err);
        }
    }
    #[track_caller]
    pub fn json(self) -> Value {
        let json: Value = serde_json::from_str(&self.ok().out).unwrap();
        assert_eq!(json["schema_version"], 2);
        json
    }
}

/// The command that cargo built, or the one that was carried to another machine with this test.
pub fn program() -> OsString {
    let carried = std::env::var_os("CARGO_BIN_EXE_blockscale");
    carried.unwrap_or_else(|| env!("CARGO_BIN_EXE_blockscale").into())
}

pub fn command() -> Command {
    Command::new(program())
}

pub fn run<A: AsRef<OsStr>>(args: &[A]) -> Run {
    command().args(args).output().unwrap().into()
}

/// `blockscale VERB IN -o OUT` and more.
pub fn convert(verb: &str, input: &Path, output: &Path, more: &[&str]) -> Run {
    let mut command = command();
    command.arg(verb).arg(input).arg("-o").arg(output).args(more);
    command.output().unwrap().into()
}

pub fn inspect(file: &Path, more: &[&OsStr]) -> Run {
    command().arg("inspect").arg(file).args(more).output().unwrap().into()
}

/// The entry of a report's tensor of that name.
#[track_caller]
pub fn entry<'a>(json: &'a Value, name: &str) -> &'a Value {
    let tensors = json["tensors"].as_array().unwrap();
    tensors.iter().find(|tensor| tensor["name"] == name).unwrap()
}
