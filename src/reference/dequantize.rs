//! Dequantize: codes and scales to rows.

use crate::{QuantizedTensor, Real};

/// Decodes row `row` (of all matrices).
pub(crate) fn dequantize_row<T: Real, S: AsRef<[u8]>>(
    tensor: &QuantizedTensor<S>,
    row: usize,
    values: &mut [T],
) {
    let (profile, format) = (tensor.profile(), tensor.format());
    let extents = tensor.extents();
    let mut codes = vec![0; extents.k];
    tensor.codes().unpack_row(row, &mut codes);
    let blocks = codes.chunks(format.block()).zip(values.chunks_mut(format.block()));
    for (column, (codes, values)) in blocks.enumerate() {
        let code = tensor.scales().get(row / extents.rows, row % extents.rows, column);
        let scale = profile.stored_scale(code);
        for (value, code) in values.iter_mut().zip(codes) {
            let q = format.element().decode(*code);
            *value = T::from_f32(profile.decoded(tensor.tensor_scale(), scale, q));
        }
    }
}

/// Decodes all rows.
pub(crate) fn dequantize<T: Real, S: AsRef<[u8]>>(tensor: &QuantizedTensor<S>, values: &mut [T]) {
    let k = tensor.extents().k;
    if k > 0 {
        for (row, values) in values.chunks_mut(k).enumerate() {
            dequantize_row(tensor, row, values);
        }
    }
}
