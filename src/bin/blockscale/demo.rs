//! `blockscale demo`: every format on a sample layer.

use crate::failure::Failure;
use crate::report::{self, Table};
use blockscale::Quantize;
use blockscale::analysis::Metrics;
use blockscale::format::Format;
use blockscale::numerics::{Profile, philox4x32_10};
use std::io::{self, Write};

const ROWS: usize = 256;
const COLUMNS: usize = 1024;

/// Columns whose weights are larger than their neighbours', and by how much.
const OUTLIERS: [(usize, f32); 5] = [(37, 12.0), (214, 20.0), (400, 8.0), (733, 30.0), (990, 10.0)];

pub fn run() -> Result<(), Failure> {
    let layer = layer();
    let mut table = Table::new(&[
        "format",
        "profile",
        ">bits/element",
        ">rel. MSE",
        ">QSNR dB",
        ">clipped",
        ">flushed to 0",
    ]);
    for (name, format) in Format::NAMED {
        let profile = Profile::default_for(format);
        let quantized = Quantize::new(profile).run(&layer, &[ROWS, COLUMNS])?;
        let metrics = Metrics::of(&layer, &quantized)?;
        table.row([
            name.to_owned(),
            profile.to_string(),
            format.bits_per_element().to_string(),
            report::scientific(metrics.errors.relative_mse()),
            report::decibels(metrics.errors.qsnr()),
            report::percent(metrics.blocks.clipped_share()),
            report::percent(metrics.errors.flushed_share()),
        ]);
    }
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "A sample layer of {ROWS} x {COLUMNS} heavy-tailed weights with {} outlier columns:\n",
        OUTLIERS.len()
    )?;
    write!(out, "{table}")?;
    out.flush()?;
    Ok(())
}

/// The layer: rows of their own scale, Student's t with 5 degrees of freedom, outlier columns.
///
/// ```text
/// weight = 0.02 · row scale · column scale · z0 · √(5 / (z1² + … + z5²))
/// ```
fn layer() -> Vec<f32> {
    let mut weights = Vec::with_capacity(ROWS * COLUMNS);
    for row in 0..ROWS as u32 {
        let scale = 0.02 * (1.0 + 0.4 * normal([0, row, 0, 1])).abs().max(0.1);
        for column in 0..COLUMNS as u32 {
            let z = |i| normal([column, row, i, 0]);
            let energy: f32 = (1..=5).map(|i| z(i) * z(i)).sum();
            weights.push(scale * z(0) * (5.0 / energy.max(0.1)).sqrt());
        }
    }
    for row in weights.chunks_mut(COLUMNS) {
        for (column, factor) in OUTLIERS {
            row[column] *= factor;
        }
    }
    weights
}

/// A draw of mean 0 and variance 1, nearly normal: the sum of twelve uniform ones. Sums and square
/// roots are exact to the bit everywhere, so the layer is the same on every machine.
fn normal(counter: [u32; 4]) -> f32 {
    let draws = [0, 1].map(|key| philox4x32_10(counter, [key, 0]));
    let halves = draws.iter().flatten().flat_map(|word| [word & 0xffff, word >> 16]);
    halves.take(12).map(|half| (half as f32 + 0.5) / 65536.0).sum::<f32>() - 6.0
}
