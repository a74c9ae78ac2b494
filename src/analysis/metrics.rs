//! All that is measured of a quantized tensor.

use super::{BlockCounts, Errors, RowErrors, check_lengths};
use crate::error::Result;
use crate::{QuantizedTensor, Real};

#[cfg(feature = "parallel")]
use rayon::prelude::*;

/// What quantization did to a tensor: element by element, row by row, block by block.
///
/// Metrics of parts (shards, tensors of a model) [merge](Self::merge) into those of the whole.
///
/// ```
/// use blockscale::analysis::Metrics;
/// use blockscale::format::Format;
/// let x = [8.0f32, 0.1, -2.0, 2.0];
/// let q = blockscale::quantize(&x, &[2, 2], Format::MXFP4)?; // [8, 0], [−2, 2]
/// let mut metrics = Metrics::of(&x, &q)?;
/// assert_eq!(metrics.errors.qsnr().round(), 39.0); // dB
/// assert_eq!(metrics.errors.flushed_share(), 0.25);
/// assert_eq!(metrics.blocks.clipped_share(), 0.0);
/// metrics.merge(&Metrics::of(&[0.0f32; 4], &blockscale::quantize(&[0.0f32; 4], &[4], Format::NVFP4)?)?);
/// assert_eq!(metrics.errors.flushed_share(), 0.125);
/// # Ok::<(), blockscale::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Metrics {
    /// Over all elements.
    pub errors: Errors,
    /// Means over rows.
    pub rows: RowErrors,
    /// Clipping, zeroed scales and crest factors.
    pub blocks: BlockCounts,
}

impl Metrics {
    /// Measures `tensor` against the `x` that it was made from, row-major.
    ///
    /// The figures do not depend on the number of threads.
    ///
    /// # Errors
    /// [`Error::WrongLength`](crate::Error::WrongLength) where `x` has not the tensor's number of
    /// elements.
    pub fn of<T: Real, S: AsRef<[u8]> + Sync>(
        x: &[T],
        tensor: &QuantizedTensor<S>,
    ) -> Result<Self> {
        let y = tensor.dequantize::<f32>();
        check_lengths(x.len(), y.len())?;
        if x.is_empty() {
            return Ok(Self::default());
        }
        // Sums are formed part by part and the parts in order, however many threads there are.
        let k = tensor.extents().k;
        let rows = (PART / k).max(1);
        let part = |(part, (x, y)): (usize, (&[T], &[f32]))| {
            let mut metrics = Self::default();
            for (row, (x, y)) in x.chunks(k).zip(y.chunks(k)).enumerate() {
                metrics.add_row(tensor, part * rows + row, x, y);
            }
            metrics
        };
        #[cfg(feature = "parallel")]
        let parts = x.par_chunks(rows * k).zip(y.par_chunks(rows * k)).enumerate();
        #[cfg(not(feature = "parallel"))]
        let parts = x.chunks(rows * k).zip(y.chunks(rows * k)).enumerate();
        let parts: Vec<Self> = parts.map(part).collect();
        let mut metrics = Self::default();
        parts.iter().for_each(|part| metrics.merge(part));
        Ok(metrics)
    }

    /// Takes in another part.
    pub fn merge(&mut self, other: &Self) {
        self.errors.merge(&other.errors);
        self.rows.merge(&other.rows);
        self.blocks.merge(&other.blocks);
    }

    fn add_row<T: Real, S: AsRef<[u8]>>(
        &mut self,
        tensor: &QuantizedTensor<S>,
        row: usize,
        x: &[T],
        y: &[f32],
    ) {
        let mut errors = Errors::default();
        x.iter().zip(y).for_each(|(x, y)| errors.add(x.to_f32(), *y));
        self.errors.merge(&errors);
        self.rows.add(&errors);
        let (profile, format, rows) = (tensor.profile(), tensor.format(), tensor.extents().rows);
        for (column, block) in x.chunks(format.block()).enumerate() {
            let scale = profile.stored_scale(tensor.scales().get(row / rows, row % rows, column));
            let limit = profile.decoded(tensor.tensor_scale(), scale, format.element().max());
            self.blocks.add(block, limit);
        }
    }
}

/// Elements of a part, about.
const PART: usize = 1 << 16;
