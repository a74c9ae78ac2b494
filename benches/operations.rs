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
use blockscale::layout::{
    Bytes, CodeLayout, Dense, Linear, Raw, ScaleLayout, Scales, SplitHalves, Tiled128x4,
};
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

/// Searches by the host path, and at the smallest size by the reference.
fn search(c: &mut Criterion) {
    for (name, text) in [
        ("nvfp4", "four-over-six-mse"),
        ("nvfp4", "four-over-six-mse+search=four-over-six-absmax"),
        ("nvfp4", "four-over-six-mse+search=sweep"),
        ("nvfp4", "transformer-engine+search=sweep"),
        ("mxfp4", "rceil+search=sweep"),
        ("mxfp4", "rceil+search=clip"),
    ] {
        let mut group = c.benchmark_group(format!("search/{name} {text}"));
        let format = name.parse().expect("a named format");
        let profile = Profile::parse(format, text).expect("a profile of that format");
        for (size, bytes) in SIZES {
            let x = values(bytes / 4);
            let shape = [x.len() / K, K];
            let quantize = Quantize::new(profile).tensor_amax(amax(&x));
            let sizes = quantize.output_bytes(&shape).expect("a shape that fits");
            let [mut codes, mut scales] = sizes.map(|bytes| vec![0; bytes]);
            group.throughput(Throughput::Elements(x.len() as u64));
            let mut bench = |id, quantize: Quantize| {
                group.bench_function(id, |b| {
                    b.iter(|| {
                        quantize.run_into(black_box(&x), &shape, &mut codes, &mut scales).map(drop)
                    });
                });
            };
            bench(BenchmarkId::from_parameter(size), quantize);
            if size == SIZES[0].0 {
                bench(BenchmarkId::new("reference", size), quantize.backend(Backend::Reference));
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

/// Codes and scales of a tensor into other layouts and back; elements are codes, or scales.
fn relayout(c: &mut Criterion) {
    fn codes<L: CodeLayout, M: CodeLayout>(c: &mut Criterion, format: Format) {
        let mut group = c.benchmark_group(format!("relayout/{format} {} to {}", L::NAME, M::NAME));
        for (size, bytes) in SIZES {
            let x = values(bytes / 4);
            let tensor = blockscale::quantize(&x, &[x.len() / K, K], format);
            let codes = tensor.expect("a shape that fits").codes().relayout::<L>();
            let codes = codes.expect("whole blocks");
            group.throughput(Throughput::Elements(x.len() as u64));
            group.bench_function(BenchmarkId::from_parameter(size), |b| {
                b.iter(|| black_box(&codes).relayout::<M>());
            });
        }
    }
    fn scales<L: ScaleLayout, M: ScaleLayout>(c: &mut Criterion) {
        let mut group = c.benchmark_group(format!("relayout/scales {} to {}", L::NAME, M::NAME));
        for (size, bytes) in SIZES {
            let (rows, columns) = (bytes / 4 / K, K / 16);
            let linear = Scales::<Linear>::new(vec![0x38; rows * columns], 1, rows, columns);
            let scales = linear.and_then(|linear| linear.relayout::<L>()).expect("a small size");
            group.throughput(Throughput::Elements((rows * columns) as u64));
            group.bench_function(BenchmarkId::from_parameter(size), |b| {
                b.iter(|| black_box(&scales).relayout::<M>());
            });
        }
    }
    codes::<Raw, Bytes>(c, Format::MXFP4);
    codes::<Bytes, Raw>(c, Format::MXFP4);
    codes::<Raw, SplitHalves>(c, Format::MXFP4);
    codes::<Raw, Dense>(c, Format::MXFP6_E2M3);
    codes::<Dense, Raw>(c, Format::MXFP6_E2M3);
    scales::<Linear, Tiled128x4>(c);
    scales::<Tiled128x4, Linear>(c);
}

/// Three minutes for all: enough to see a tenth, which is what a shared machine lets one see.
fn quick() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(500))
}

criterion_group!(name = operations; config = quick(); targets = quantize, search, dequantize, largest_magnitude, relayout);
criterion_main!(operations);
