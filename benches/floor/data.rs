//! What tensors hold, and medians.

use blockscale::numerics::philox4x32_10;

/// Values that fill tensors, again and again: whole blocks, seven at a time.
const TILE: usize = 7 * 32 * 4681;

/// The value below which that part of the values lies.
pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let at = part * (values.len() - 1) as f64;
    let (low, high) = (values[at.floor() as usize], values[at.ceil() as usize]);
    low + (high - low) * at.fract()
}

/// Normal values, every seventh block of 32 a thousandth of the others.
pub fn fill(values: &mut [f32]) {
    let uniform = |word: u32| (f64::from(word) + 0.5) / 4294967296.0;
    let tile = values.len().min(TILE);
    let normal = |i: usize| {
        let words = philox4x32_10([i as u32, 0, 0, 0], [3, 4]);
        let radius = (-2.0 * uniform(words[0]).ln()).sqrt();
        let scale = if (i / 32).is_multiple_of(7) { 1e-3 } else { 1.0 };
        (radius * (std::f64::consts::TAU * uniform(words[1])).cos() * scale) as f32
    };
    values[..tile].iter_mut().enumerate().for_each(|(i, value)| *value = normal(i));
    let (first, rest) = values.split_at_mut(tile);
    rest.chunks_mut(tile).for_each(|chunk| chunk.copy_from_slice(&first[..chunk.len()]));
}
