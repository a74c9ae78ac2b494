//! The time of every operation on every format at three sizes, with criterion: what a change did, not
//! how near the machine's limits it comes (`--bench floor` tells that).
//!
//! ```text
//! cargo bench --bench operations                           # everything, some minutes
//! cargo bench --bench operations -- 'quantize/nvfp4'       # what matches
//! cargo bench --bench operations -- --save-baseline before # and later: --baseline before
//! ```
#![allow(missing_docs)] // what the macros of criterion write

use blockscale::format::Format;
use blockscale::numerics::{Profile, Rounding, Stochastic};
use blockscale::{Backend, Quantize, amax, amax_with};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;

/// Bytes of the tensor as f32: within a core's cache, within all, beyond any.
const SIZES: [(&str, usize); 3] = [("64 KiB", 1 << 16), ("1 MiB", 1 << 20), ("64 MiB", 1 << 26)];
const K: usize = 4096;

/// Values over a few octaves, none special.
fn values(elements: usize) -> Vec<f32> {
    (0..elements).map(|i| (i as f32 * 0.37).sin() * (i as f32 * 0.011).cos()).collect()
}

fn quantize(c: &mut Criterion) {
    let draws = Rounding::Stochastic(Stochastic::new(7, "operations"));
    for (verb, rounding) in [("quantize", Rounding::Nearest), ("quantize stochastic", draws)] {
        for (name, format) in Format::NAMED {
            let mut group = c.benchmark_group(format!("{verb}/{name}"));
            for (size, bytes) in SIZES {
                let x = values(bytes / 4);
                let shape = [x.len() / K, K];
                let mut quantize = Quantize::new(Profile::default_for(format)).rounding(rounding);
                if format.has_tensor_scale() {
                    quantize = quantize.tensor_amax(amax(&x));
                }
                let sizes = quantize.output_bytes(&shape).expect("a shape that fits");
                let [mut codes, mut scales] = sizes.map(|bytes| vec![0; bytes]);
                group.throughput(Throughput::Elements(x.len() as u64));
                group.bench_function(BenchmarkId::from_parameter(size), |b| {
                    b.iter(|| {
                        quantize.run_into(black_box(&x), &shape, &mut codes, &mut scales).map(drop)
                    });
                });
            }
        }
    }
}

fn dequantize(c: &mut Criterion) {
    for (name, format) in Format::NAMED {
        let mut group = c.benchmark_group(format!("dequantize/{name}"));
        for (size, bytes) in SIZES {
            let mut y = values(bytes / 4);
            let shape = [y.len() / K, K];
            let tensor = blockscale::quantize(&y, &shape, format).expect("a shape that fits");
            group.throughput(Throughput::Elements(y.len() as u64));
            group.bench_function(BenchmarkId::from_parameter(size), |b| {
                b.iter(|| black_box(&tensor).dequantize_into(Backend::default(), &mut y));
            });
        }
    }
}

fn largest_magnitude(c: &mut Criterion) {
    let mut group = c.benchmark_group("amax");
    for (size, bytes) in SIZES {
        let x = values(bytes / 4);
        group.throughput(Throughput::Elements(x.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| amax_with(black_box(&x), Backend::default()));
        });
    }
}

/// Three minutes for all: enough to see a tenth, which is what a shared machine lets one see.
fn quick() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(500))
}

criterion_group!(name = operations; config = quick(); targets = quantize, dequantize, largest_magnitude);
criterion_main!(operations);
