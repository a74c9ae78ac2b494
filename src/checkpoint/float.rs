//! The float types that tensors of a file are quantized from and restored to.

use super::axis;
use crate::analysis::Metrics;
use crate::{Backend, Error, Quantize, QuantizedTensor, Real, Result};
use core::fmt;
use core::str::FromStr;
use half::{bf16, f16};
use safetensors::Dtype;

/// F32, BF16 or F16.
///
/// ```
/// use blockscale::checkpoint::Float;
/// assert_eq!("bf16".parse::<Float>()?, Float::Bf16);
/// assert_eq!(Float::F16.bytes(), 2);
/// # Ok::<(), blockscale::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Float {
    /// IEEE single precision.
    F32,
    /// The upper half of a single.
    Bf16,
    /// IEEE half precision.
    F16,
}

/// Each type's name and its name in a safetensors header.
const FLOATS: [(&str, Dtype, Float); 3] = [
    ("f32", Dtype::F32, Float::F32),
    ("bf16", Dtype::BF16, Float::Bf16),
    ("f16", Dtype::F16, Float::F16),
];

impl Float {
    /// The type of that name in a safetensors header, if it is one of the three.
    pub fn of(dtype: Dtype) -> Option<Self> {
        FLOATS.iter().find(|(_, known, _)| *known == dtype).map(|(_, _, float)| *float)
    }
    /// The type in a safetensors header.
    pub const fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::Bf16 => Dtype::BF16,
            Self::F16 => Dtype::F16,
        }
    }
    /// Bytes of a value.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }
}

impl fmt::Display for Float {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = FLOATS.iter().find(|(_, _, float)| float == self);
        f.write_str(named.map_or("?", |(name, _, _)| name))
    }
}

impl FromStr for Float {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let named = FLOATS.iter().find(|(name, _, _)| *name == text);
        named.map(|(_, _, float)| *float).ok_or_else(|| Error::UnknownName {
            kind: "float type",
            given: text.to_owned(),
            known: FLOATS.map(|(name, _, _)| name).join(", "),
        })
    }
}

/// The values of a tensor in the type that the file has them in.
///
/// ```
/// use blockscale::checkpoint::{Float, Values};
/// let values = Values::from_bytes(Float::Bf16, &[0x80, 0x3f, 0x00, 0xc0])?;
/// assert_eq!(values.to_f32(), [1.0, -2.0]);
/// assert_eq!(values.to_bytes(), [0x80, 0x3f, 0x00, 0xc0]);
/// # Ok::<(), blockscale::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Singles.
    F32(Vec<f32>),
    /// Upper halves of singles.
    Bf16(Vec<bf16>),
    /// Halves.
    F16(Vec<f16>),
}

/// The same expression for each of the three.
macro_rules! each {
    ($values:expr, $x:ident => $body:expr) => {
        match $values {
            Values::F32($x) => $body,
            Values::Bf16($x) => $body,
            Values::F16($x) => $body,
        }
    };
}

impl Values {
    /// Reads little-endian values.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] where a part of a value is left over.
    pub fn from_bytes(float: Float, bytes: &[u8]) -> Result<Self> {
        fn read<const N: usize, T>(bytes: &[u8], value: fn([u8; N]) -> T) -> Vec<T> {
            bytes.as_chunks::<N>().0.iter().map(|bytes| value(*bytes)).collect()
        }
        if !bytes.len().is_multiple_of(float.bytes()) {
            return Err(Error::InvalidValue {
                what: "the number of bytes",
                given: format!("{} for {float}", bytes.len()),
                rule: "an f32 has 4 of them, a bf16 and an f16 have 2",
            });
        }
        Ok(match float {
            Float::F32 => Self::F32(read(bytes, f32::from_le_bytes)),
            Float::Bf16 => Self::Bf16(read(bytes, bf16::from_le_bytes)),
            Float::F16 => Self::F16(read(bytes, f16::from_le_bytes)),
        })
    }

    /// What `tensor` decodes to in that type, in its own order of axes.
    pub fn dequantized<S: AsRef<[u8]> + Sync>(
        float: Float,
        tensor: &QuantizedTensor<S>,
        backend: Backend,
    ) -> Self {
        match float {
            Float::F32 => Self::F32(tensor.dequantize_with(backend)),
            Float::Bf16 => Self::Bf16(tensor.dequantize_with(backend)),
            Float::F16 => Self::F16(tensor.dequantize_with(backend)),
        }
    }

    /// Each of `x` rounded to that type, NaN as `dequantize` writes it.
    pub(super) fn rounded(float: Float, x: Vec<f32>) -> Self {
        fn all<T: Real>(x: &[f32]) -> Vec<T> {
            x.iter().map(|x| T::from_f32(*x)).collect()
        }
        match float {
            Float::F32 => Self::F32(x),
            Float::Bf16 => Self::Bf16(all(&x)),
            Float::F16 => Self::F16(all(&x)),
        }
    }

    /// Their type.
    pub const fn float(&self) -> Float {
        match self {
            Self::F32(_) => Float::F32,
            Self::Bf16(_) => Float::Bf16,
            Self::F16(_) => Float::F16,
        }
    }
    /// How many there are.
    pub fn len(&self) -> usize {
        each!(self, x => x.len())
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The exact values in f32.
    pub fn to_f32(&self) -> Vec<f32> {
        each!(self, x => x.iter().map(|x| Real::to_f32(*x)).collect())
    }
    /// Little-endian bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        each!(self, x => x.iter().flat_map(|x| x.to_le_bytes()).collect())
    }

    /// The values of a tensor of `shape` with axis `axis` moved behind all others.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for an axis that `shape` does not have; [`Error::WrongLength`] where
    /// `shape` has another number of elements, [`Error::InvalidShape`] where no tensor has as many.
    pub fn axis_to_last(self, shape: &[usize], axis: usize) -> Result<Self> {
        Ok(match self {
            Self::F32(x) => Self::F32(axis::to_last(x, shape, axis)?),
            Self::Bf16(x) => Self::Bf16(axis::to_last(x, shape, axis)?),
            Self::F16(x) => Self::F16(axis::to_last(x, shape, axis)?),
        })
    }
    /// Undoes [`axis_to_last`](Self::axis_to_last); `shape` is the one to come back to.
    ///
    /// # Errors
    /// Those of [`axis_to_last`](Self::axis_to_last).
    pub fn axis_from_last(self, shape: &[usize], axis: usize) -> Result<Self> {
        Ok(match self {
            Self::F32(x) => Self::F32(axis::from_last(x, shape, axis)?),
            Self::Bf16(x) => Self::Bf16(axis::from_last(x, shape, axis)?),
            Self::F16(x) => Self::F16(axis::from_last(x, shape, axis)?),
        })
    }

    /// Quantizes them.
    ///
    /// # Errors
    /// Those of [`Quantize::run`].
    pub fn quantize(&self, how: &Quantize, shape: &[usize]) -> Result<QuantizedTensor> {
        each!(self, x => how.run(x, shape))
    }
    /// Measures what `tensor` made of them.
    ///
    /// # Errors
    /// Those of [`Metrics::of`].
    pub fn metrics<S: AsRef<[u8]> + Sync>(&self, tensor: &QuantizedTensor<S>) -> Result<Metrics> {
        each!(self, x => Metrics::of(x, tensor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_types_round_trip() {
        for (name, dtype, float) in FLOATS {
            assert_eq!(float.to_string(), name);
            assert_eq!(name.parse::<Float>().unwrap(), float);
            assert_eq!((Float::of(dtype), float.dtype()), (Some(float), dtype));
            assert_eq!(float.bytes() * 8, dtype.bitsize());
            let values = Values::from_bytes(float, &[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
            assert_eq!((values.float(), values.len()), (float, 8 / float.bytes()));
            assert_eq!(values.to_bytes(), [1, 2, 3, 4, 5, 6, 7, 8]);
            assert!(!values.is_empty() && Values::from_bytes(float, &[]).unwrap().is_empty());
            let cut = Values::from_bytes(float, &[0; 5]).unwrap_err().to_string();
            assert!(cut.contains(&format!("is 5 for {name}")), "{cut}");
        }
        assert_eq!(Float::of(Dtype::F64), None);
        assert!("f64".parse::<Float>().is_err());
    }
}
