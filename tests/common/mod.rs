//! Reading fixtures; `scripts/fixtures/README.md` says what they hold and who made them.
#![allow(dead_code)] // each test binary uses its own part

use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::path::Path;

/// One tensor of a fixture file.
#[derive(Clone, Debug)]
pub struct Fixture {
    pub shape: Vec<usize>,
    pub dtype: Dtype,
    pub bytes: Vec<u8>,
}

impl Fixture {
    pub fn f32(&self) -> Vec<f32> {
        assert_eq!(self.dtype, Dtype::F32);
        self.bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }
    pub fn u32(&self) -> Vec<u32> {
        assert_eq!(self.dtype, Dtype::U32);
        self.bytes.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect()
    }
    pub fn u64(&self) -> Vec<u64> {
        assert_eq!(self.dtype, Dtype::U64);
        self.bytes.chunks_exact(8).map(|b| u64::from_le_bytes(b.try_into().unwrap())).collect()
    }
    pub fn u8(&self) -> &[u8] {
        assert_eq!(self.dtype, Dtype::U8);
        &self.bytes
    }
}

/// All tensors of `tests/fixtures/NAME.safetensors`.
pub fn fixtures(name: &str) -> BTreeMap<String, Fixture> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let bytes = std::fs::read(folder.join(format!("{name}.safetensors"))).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let fixture = |(name, view): (&str, safetensors::tensor::TensorView<'_>)| {
        let (shape, dtype) = (view.shape().to_vec(), view.dtype());
        (name.to_owned(), Fixture { shape, dtype, bytes: view.data().to_vec() })
    };
    file.iter().map(fixture).collect()
}

/// Where two floats differ in more than the NaN they hold.
pub fn differ(a: f32, b: f32) -> bool {
    a.to_bits() != b.to_bits() && !(a.is_nan() && b.is_nan())
}
