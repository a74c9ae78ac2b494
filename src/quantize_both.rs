//! Quantize in both directions: a matrix along its rows, and along its columns.

use crate::cpu::FloatEnvironment;
use crate::error::{Error, Result};
use crate::format::Format;
use crate::numerics::{Hadamard, Profile, Rounding, TensorScale};
use crate::quantize::check_buffer;
use crate::reference::Output;
use crate::rotate::check_axis;
use crate::shape::Extents;
use crate::{Axis, Backend, Quantize, QuantizedTensor, Real};

/// A quantization of a matrix along its rows and of its transpose along its own, each with its own scales.
///
/// ```text
/// row-wise     = Quantize x                    shape [.., rows, K], blocks along K
/// column-wise  = Quantize xᵀ of each matrix    shape [.., K, rows], blocks along the rows of x
/// ```
///
/// Training needs both: a product of the forward pass sums over K, one of the backward pass over the rows,
/// and blocks lie along what is summed over.
///
/// **Shapes**: `[.., rows, K]`, at least two axes; tails of either direction are padded as those of
/// [`Quantize`]. **Rounding**, **rotation**, **profile** and **blocks** are chosen for each apart. The
/// column-wise draws are those of [`Stochastic::with_column_pass`](crate::numerics::Stochastic::with_column_pass),
/// so that they are never those of the rows, whatever seed and name both have; `row`, `k` and offsets of
/// shards count in the transposed tensor. **Tensor amax**: found once where both passes need that of `x`
/// itself; a given one counts for the pass that it was given to. **Special values**: as in [`Quantize`].
/// **Results** are, byte for byte, those of [`rows`](Self::rows) run on `x` and of [`columns`](Self::columns)
/// run on the transposed `x`, but no transposed copy of the tensor is made.
///
/// Square tiles of both give the transpose the same codes, as long as rounding is to nearest and neither
/// rotates nor looks at sums over a block (four over six, `rms-*` scales).
///
/// ```
/// use blockscale::format::Format;
/// use blockscale::numerics::Profile;
/// use blockscale::{Quantize, QuantizeBoth};
/// let quantize = Quantize::new(Profile::default_for(Format::MXFP4));
/// let x = [1.0f32, 8.0, 2.0, 16.0]; // two rows of two
/// let (rows, columns) = QuantizeBoth::new(quantize, quantize).run(&x, &[2, 2])?;
/// assert_eq!(rows.scales().as_bytes(), [128, 129]); // of 1, 8 and of 2, 16
/// assert_eq!(columns.scales().as_bytes(), [126, 129]); // of 1, 2 and of 8, 16
/// assert_eq!(columns.dequantize::<f32>(), [1.0, 2.0, 8.0, 16.0]);
/// # Ok::<(), blockscale::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuantizeBoth {
    rows: Quantize,
    columns: Quantize,
}

/// What a call was found to be.
struct Checked {
    extents: Extents,
    /// The shape of the column-wise tensor.
    transposed: Vec<usize>,
}

impl QuantizeBoth {
    /// Of a choice for the rows and one for the columns; the backend is that of the rows.
    pub fn new(rows: Quantize, columns: Quantize) -> Self {
        Self { rows, columns: columns.in_column_pass().backend(rows.chosen_backend()) }
    }

    /// NVFP4 in the way that TransformerEngine trains with activations and gradients: rows as they are,
    /// columns rotated by [`Hadamard::TRANSFORMER_ENGINE`], its profile for both. Gradients round
    /// stochastically there, activations to nearest.
    ///
    /// Weights are tiles in both directions there, to nearest and not rotated: [`new`](Self::new) makes that.
    /// What [`Hadamard::TRANSFORMER_ENGINE`] says of the order of sums holds for the columns.
    ///
    /// ```
    /// use blockscale::QuantizeBoth;
    /// use blockscale::numerics::{Hadamard, Rounding, Stochastic};
    /// let draws = Rounding::Stochastic(Stochastic::new(7, "fc1.grad"));
    /// let both = QuantizeBoth::transformer_engine(draws);
    /// assert_eq!(both.rows().rotation(), None);
    /// assert_eq!(both.columns().rotation(), Some(Hadamard::TRANSFORMER_ENGINE));
    /// let (rows, columns) = both.run(&[1.0f32; 32], &[16, 2])?;
    /// assert_eq!((rows.shape(), columns.shape()), (&[16, 2][..], &[2, 16][..]));
    /// # Ok::<(), blockscale::Error>(())
    /// ```
    pub fn transformer_engine(rounding: Rounding) -> Self {
        // The format's default profile is TransformerEngine's.
        let rows = Quantize::new(Profile::default_for(Format::NVFP4)).rounding(rounding);
        Self::new(rows, rows.rotated(Hadamard::TRANSFORMER_ENGINE))
    }

    /// Who computes it. The bytes are the same.
    pub fn backend(self, backend: impl Into<Backend>) -> Self {
        let backend = backend.into();
        Self { rows: self.rows.backend(backend), columns: self.columns.backend(backend) }
    }

    /// The choice for the rows.
    pub fn rows(&self) -> &Quantize {
        &self.rows
    }
    /// The choice for the columns, its draws those of the column pass.
    pub fn columns(&self) -> &Quantize {
        &self.columns
    }

    /// Whether a tensor of `shape` can be quantized so.
    ///
    /// # Errors
    /// Those of [`run`](Self::run) but [`Error::WrongLength`].
    pub fn check_shape(&self, shape: &[usize]) -> Result<()> {
        self.check(Extents::of(shape)?.elements(), shape).map(drop)
    }

    /// Bytes of the codes and of the scales: row-wise, then column-wise.
    ///
    /// # Errors
    /// Those of [`check_shape`](Self::check_shape).
    ///
    /// ```
    /// # use blockscale::{QuantizeBoth, numerics::Rounding};
    /// let both = QuantizeBoth::transformer_engine(Rounding::Nearest);
    /// assert_eq!(both.output_bytes(&[64, 16])?, [[64 * 8, 64], [16 * 32, 16 * 4]]);
    /// # Ok::<(), blockscale::Error>(())
    /// ```
    pub fn output_bytes(&self, shape: &[usize]) -> Result<[[usize; 2]; 2]> {
        self.bytes(self.check(Extents::of(shape)?.elements(), shape)?.extents)
    }

    /// Quantizes `x`, row-major, of `shape`: row-wise, and column-wise of shape `[.., K, rows]`.
    ///
    /// # Errors
    /// [`Error::InvalidShape`] for less than two axes; [`Error::RotationSize`] where K is no multiple of the
    /// rotation of the rows, or the rows are none of that of the columns; those of [`Quantize::run`] for
    /// either pass, the shape and offsets of the column-wise one being transposed.
    pub fn run<T: Real>(
        &self,
        x: &[T],
        shape: &[usize],
    ) -> Result<(QuantizedTensor, QuantizedTensor)> {
        let checked = self.check(x.len(), shape)?;
        let mut buffers = self.bytes(checked.extents)?.map(|bytes| bytes.map(|n| vec![0; n]));
        let outputs = buffers.each_mut().map(|[codes, scales]| Output { codes, scales });
        let stored = self.fill(x, checked.extents, outputs)?;
        Ok(self.tensors(shape, &checked, buffers, stored))
    }

    /// Quantizes `x` into the caller's buffers, codes and scales of both, whose contents do not matter, and
    /// returns them as tensors.
    ///
    /// # Errors
    /// Those of [`run`](Self::run), and [`Error::WrongLength`] for a buffer of another size than
    /// [`output_bytes`](Self::output_bytes) tells.
    ///
    /// ```
    /// # use blockscale::{Quantize, QuantizeBoth, format::Format, numerics::Profile};
    /// let quantize = Quantize::new(Profile::default_for(Format::MXFP4));
    /// let both = QuantizeBoth::new(quantize, quantize);
    /// let mut buffers = both.output_bytes(&[1, 4])?.map(|bytes| bytes.map(|n| vec![0xaa; n]));
    /// let [rows, columns] = &mut buffers;
    /// both.run_into(
    ///     &[1.0f32, 2.0, 3.0, 4.0],
    ///     &[1, 4],
    ///     rows.each_mut().map(|buffer| &mut buffer[..]),
    ///     columns.each_mut().map(|buffer| &mut buffer[..]),
    /// )?;
    /// assert_eq!(buffers[0], [vec![0x42, 0x65], vec![127]]);
    /// assert_eq!(buffers[1], [vec![0x06, 0x06, 0x07, 0x06], vec![125, 126, 126, 127]]);
    /// # Ok::<(), blockscale::Error>(())
    /// ```
    // A pair, as `run` has it.
    #[allow(clippy::type_complexity)]
    pub fn run_into<'a, T: Real>(
        &self,
        x: &[T],
        shape: &[usize],
        rows: [&'a mut [u8]; 2],
        columns: [&'a mut [u8]; 2],
    ) -> Result<(QuantizedTensor<&'a [u8]>, QuantizedTensor<&'a [u8]>)> {
        let checked = self.check(x.len(), shape)?;
        let [row_bytes, column_bytes] = self.bytes(checked.extents)?;
        let transposed = &checked.transposed;
        check_buffer("the buffer of the codes", rows[0], shape, row_bytes[0])?;
        check_buffer("the buffer of the scales", rows[1], shape, row_bytes[1])?;
        let column_wise =
            ["the buffer of the column-wise codes", "the buffer of the column-wise scales"];
        check_buffer(column_wise[0], columns[0], transposed, column_bytes[0])?;
        check_buffer(column_wise[1], columns[1], transposed, column_bytes[1])?;
        let mut buffers = [rows, columns];
        let outputs = buffers.each_mut().map(|[codes, scales]| Output { codes, scales });
        let stored = self.fill(x, checked.extents, outputs)?;
        let buffers = buffers.map(|buffers| buffers.map(|buffer| &*buffer));
        Ok(self.tensors(shape, &checked, buffers, stored))
    }

    fn bytes(&self, extents: Extents) -> Result<[[usize; 2]; 2]> {
        let (rows, columns, transposed) = (&self.rows, &self.columns, extents.transposed());
        Ok([
            [rows.code_bytes(extents)?, rows.scale_bytes(extents)],
            [columns.code_bytes(transposed)?, columns.scale_bytes(transposed)],
        ])
    }

    /// Fills buffers of checked sizes and returns what is stored beside them.
    fn fill<T: Real>(
        &self,
        x: &[T],
        extents: Extents,
        outputs: [Output<'_>; 2],
    ) -> Result<[Option<TensorScale>; 2]> {
        let _ieee = FloatEnvironment::ieee();
        let [row_amax, column_amax] = self.amaxes(x, extents);
        let rows = self.rows.pass(row_amax, extents);
        let columns = self.columns.pass(column_amax, extents.transposed());
        self.rows.chosen_backend().quantize_both([&rows, &columns], x, outputs)?;
        Ok([rows.job.tensor.stored, columns.job.tensor.stored])
    }

    /// Filled buffers as the tensors that they are.
    fn tensors<S: AsRef<[u8]>>(
        &self,
        shape: &[usize],
        Checked { extents, transposed }: &Checked,
        [[row_codes, row_scales], [column_codes, column_scales]]: [[S; 2]; 2],
        [row_stored, column_stored]: [Option<TensorScale>; 2],
    ) -> (QuantizedTensor<S>, QuantizedTensor<S>) {
        let (across, columns) = (extents.transposed(), &self.columns);
        (
            self.rows.tensor(shape, *extents, row_codes, row_scales, row_stored),
            columns.tensor(transposed, across, column_codes, column_scales, column_stored),
        )
    }

    /// The tensor amax of either pass. Which way a tensor lies does not change that of its values.
    fn amaxes<T: Real>(&self, x: &[T], extents: Extents) -> [f32; 2] {
        let (rows, columns) = (&self.rows, &self.columns);
        let of_values = |pass: &Quantize| pass.needs_amax() && pass.rotation().is_none();
        let nonfinite = columns.profile().nonfinite;
        let same = of_values(rows) && of_values(columns) && rows.profile().nonfinite == nonfinite;
        let row_amax = rows.amax(x, extents);
        let column_amax = match (columns.needs_amax(), columns.rotation()) {
            _ if same => row_amax,
            (true, Some(hadamard)) => {
                columns.chosen_backend().amax_of_columns(hadamard, nonfinite, x, extents)
            }
            _ => columns.amax(x, extents),
        };
        [row_amax, column_amax]
    }

    /// Checks all that can be told before the values are looked at.
    fn check(&self, len: usize, shape: &[usize]) -> Result<Checked> {
        let [batches @ .., rows, k] = shape else {
            return Err(Error::InvalidShape {
                shape: shape.to_vec(),
                rule: "both directions need rows and columns: at least two axes",
            });
        };
        let extents = self.rows.check(len, shape)?;
        if let Some(hadamard) = self.columns.rotation() {
            // Of the shape that was given, and not of the transposed one.
            check_axis(hadamard.into(), Axis::Rows, shape, extents)?;
        }
        let transposed = [batches, &[*k, *rows]].concat();
        self.columns.check(len, &transposed)?;
        Ok(Checked { extents, transposed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_profile_is_that_of_transformer_engine() {
        let both = QuantizeBoth::transformer_engine(Rounding::Nearest);
        assert_eq!(both.rows().profile().name(), "transformer-engine");
        assert_eq!(both.columns().profile().name(), "transformer-engine");
    }
}
