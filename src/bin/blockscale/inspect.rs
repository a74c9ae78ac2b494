//! `blockscale inspect`.

use crate::args::InspectArgs;
use crate::failure::Failure;
use crate::report::{self, ErrorReport, Table};
use blockscale::QuantizedTensor;
use blockscale::analysis::{Errors, Metrics};
use blockscale::checkpoint::{
    Error, Float, Reader, Record, Stored, StoredRotation, StoredRounding, Values,
};
use serde::Serialize;
use std::collections::HashSet;
use std::fmt;

pub fn run(args: &InspectArgs) -> Result<(), Failure> {
    let mut reader = Reader::open(&args.file)?;
    let mut original = args.against.as_ref().map(Reader::open).transpose()?;
    let names = names(&reader);
    let mut overall = Metrics::default();
    let mut tensors = Vec::new();
    for name in &names {
        tensors.push(match reader.records().get(name) {
            Some(record) => quantized(&reader, original.as_ref(), name, record, &mut overall)?,
            None => plain(&reader.tensor(name)?, original.as_ref(), &mut overall)?,
        });
        reader.release(name);
        if let Some(original) = &mut original {
            original.release(name);
        }
    }
    let quantized = tensors.iter().filter(|tensor| tensor.quantized.is_some()).count();
    let report = Report {
        file: args.file.display().to_string(),
        against: args.against.as_ref().map(|path| path.display().to_string()),
        totals: Totals {
            tensors: tensors.len(),
            quantized,
            bytes: tensors.iter().map(|tensor| tensor.bytes).sum(),
            file_bytes: reader.file_bytes() as u64,
            errors: original.is_some().then(|| match quantized {
                0 => ErrorReport::from(&overall.errors),
                _ => ErrorReport::from(&overall),
            }),
        },
        missing: original.as_ref().map_or(vec![], |original| missing(original, &names)),
        tensors,
    };
    report::print("inspect", args.json, &report)
}

/// The names of the model's tensors in the file.
fn names(reader: &Reader) -> Vec<String> {
    reader.entries().iter().map(|entry| entry.name().to_owned()).collect()
}

/// The tensors of the original that are not among `there`.
fn missing(original: &Reader, there: &[String]) -> Vec<String> {
    let there: HashSet<&String> = there.iter().collect();
    names(original).into_iter().filter(|name| !there.contains(name)).collect()
}

/// What can be said of a tensor that the original does not hold as a plain one.
fn absent(original: &Reader, name: &str) -> Option<&'static str> {
    if original.tensor(name).is_ok() {
        return None;
    }
    Some(match original.records().contains_key(name) {
        true => "quantized in the original",
        false => "absent from the original",
    })
}

fn quantized(
    reader: &Reader,
    original: Option<&Reader>,
    name: &str,
    record: &Record,
    overall: &mut Metrics,
) -> Result<TensorReport, Failure> {
    let tensor = reader.quantized(name)?;
    let comparison = original.and_then(|original| absent(original, name));
    let metrics = match original {
        Some(original) if comparison.is_none() => Some(measure(original, name, record, &tensor)?),
        _ => None,
    };
    if let Some(metrics) = &metrics {
        overall.merge(metrics);
    }
    let profile = tensor.profile();
    Ok(TensorReport {
        name: name.to_owned(),
        dtype: record.dtype.dtype().to_string(),
        shape: record.shape.clone(),
        bytes: tensor.stored_bytes() as u64,
        quantized: Some(QuantizedReport {
            format: tensor.format().to_string(),
            profile: profile.to_string(),
            rounding: match record.rounding {
                StoredRounding::Nearest => "nearest",
                StoredRounding::Stochastic { .. } => "stochastic",
            },
            seed: match record.rounding {
                StoredRounding::Nearest => None,
                StoredRounding::Stochastic { seed, .. } => Some(seed),
            },
            draw_bits: match record.rounding {
                StoredRounding::Nearest => None,
                StoredRounding::Stochastic { bits, .. } => Some(bits.bits()),
            },
            rotation: record.rotation.map(StoredRotation::size),
            signs: record.rotation.and_then(StoredRotation::signs),
            blocks: match record.blocks {
                blockscale::Blocks::Row => "row",
                blockscale::Blocks::Tile => "tile",
            },
            axis: record.axis,
            tensor_scale: tensor
                .tensor_scale()
                .map(|scale| TensorScaleReport { name: scale.name(), value: scale.value() }),
            scales: ScaleReport::of(&tensor),
        }),
        comparison,
        errors: metrics.as_ref().map(ErrorReport::from),
    })
}

fn measure(
    original: &Reader,
    name: &str,
    record: &Record,
    tensor: &QuantizedTensor<&[u8]>,
) -> Result<Metrics, Failure> {
    let refused = |reason| Error::Tensor {
        path: original.path().to_owned(),
        tensor: name.to_owned(),
        reason,
    };
    let shape = original.tensor(name)?.shape;
    if shape != record.shape {
        return Err(refused(format!(
            "has shape {shape:?}; the quantized one was made of shape {:?}",
            record.shape
        ))
        .into());
    }
    let metrics = original
        .values(name)?
        .axis_to_last(&record.shape, record.axis)
        .and_then(|values| record.metrics(&values, tensor));
    Ok(metrics.map_err(|error| refused(error.to_string()))?)
}

fn plain(
    stored: &Stored,
    original: Option<&Reader>,
    overall: &mut Metrics,
) -> Result<TensorReport, Failure> {
    let mut report = TensorReport {
        name: stored.name.to_owned(),
        dtype: stored.dtype.to_string(),
        shape: stored.shape.to_vec(),
        bytes: stored.bytes.len() as u64,
        quantized: None,
        comparison: None,
        errors: None,
    };
    let Some(original) = original else { return Ok(report) };
    report.comparison = absent(original, stored.name);
    let Ok(before) = original.tensor(stored.name) else { return Ok(report) };
    let is_float = |tensor: &Stored| Float::of(tensor.dtype).is_some();
    if before.shape != stored.shape {
        report.comparison = Some("another shape");
    } else if before.dtype == stored.dtype && before.bytes == stored.bytes {
        report.comparison = Some("identical");
    } else if is_float(&before) && is_float(stored) {
        let values = |tensor: &Stored| {
            let float = Float::of(tensor.dtype).unwrap_or(Float::F32);
            Values::from_bytes(float, tensor.bytes).map(|values| values.to_f32())
        };
        let errors = Errors::of(&values(&before)?, &values(stored)?)?;
        overall.errors.merge(&errors);
        report.errors = Some(ErrorReport::from(&errors));
    } else {
        report.comparison = Some("differs");
    }
    Ok(report)
}

#[derive(Serialize)]
struct Report {
    file: String,
    against: Option<String>,
    tensors: Vec<TensorReport>,
    /// Names of the original's tensors that the file does not hold.
    missing: Vec<String>,
    totals: Totals,
}

#[derive(Serialize)]
struct TensorReport {
    name: String,
    /// Type and shape before it was quantized.
    dtype: String,
    shape: Vec<usize>,
    bytes: u64,
    quantized: Option<QuantizedReport>,
    comparison: Option<&'static str>,
    errors: Option<ErrorReport>,
}

#[derive(Serialize)]
struct QuantizedReport {
    format: String,
    profile: String,
    rounding: &'static str,
    seed: Option<u64>,
    draw_bits: Option<u32>,
    rotation: Option<usize>,
    signs: Option<u64>,
    blocks: &'static str,
    axis: usize,
    tensor_scale: Option<TensorScaleReport>,
    scales: ScaleReport,
}

#[derive(Serialize)]
struct TensorScaleReport {
    name: &'static str,
    value: f32,
}

/// The block scales of a tensor; exponents are those of the scales that are neither 0 nor NaN.
#[derive(Serialize)]
struct ScaleReport {
    count: u64,
    zero_share: f64,
    nan_share: f64,
    min_exponent: Option<i32>,
    max_exponent: Option<i32>,
}

impl ScaleReport {
    fn of(tensor: &QuantizedTensor<&[u8]>) -> Self {
        let mut counts = [0u64; 256];
        tensor.scales().as_bytes().iter().for_each(|code| counts[usize::from(*code)] += 1);
        let scale = tensor.format().scale();
        let count: u64 = counts.iter().sum();
        let share = |of: fn(f32) -> bool| {
            let codes = (0..=255u8).filter(|code| of(scale.decode(*code)));
            let part: u64 = codes.map(|code| counts[usize::from(code)]).sum();
            if count == 0 { 0.0 } else { part as f64 / count as f64 }
        };
        let there = (0..=255u8).filter(|code| counts[usize::from(*code)] > 0);
        let values = there.map(|code| scale.decode(code)).filter(|value| *value > 0.0);
        // Scales are far inside f64's normal range: its exponent field is the exponent.
        let exponent = |value: f32| (f64::from(value).to_bits() >> 52) as i32 - 1023;
        let exponents: Vec<i32> = values.map(exponent).collect();
        Self {
            count,
            zero_share: share(|value| value == 0.0),
            nan_share: share(f32::is_nan),
            min_exponent: exponents.iter().min().copied(),
            max_exponent: exponents.iter().max().copied(),
        }
    }
}

#[derive(Serialize)]
struct Totals {
    tensors: usize,
    quantized: usize,
    bytes: u64,
    file_bytes: u64,
    /// Over the tensors that have errors of their own.
    errors: Option<ErrorReport>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&[
            "tensor",
            "dtype",
            "shape",
            "format",
            "profile",
            ">bytes",
            ">scale 0",
            ">scale NaN",
            "exponents",
        ]);
        for tensor in &self.tensors {
            let quantized = tensor.quantized.as_ref();
            let cell =
                |text: fn(&QuantizedReport) -> String| quantized.map_or(report::nothing(), text);
            table.row([
                tensor.name.clone(),
                tensor.dtype.clone(),
                report::shape(&tensor.shape),
                cell(|quantized| quantized.format.clone()),
                cell(|quantized| match quantized.rotation {
                    Some(size) => format!("{}, rotated by {size}", quantized.profile),
                    None => quantized.profile.clone(),
                }),
                tensor.bytes.to_string(),
                cell(|quantized| report::percent(quantized.scales.zero_share)),
                cell(|quantized| report::percent(quantized.scales.nan_share)),
                cell(|quantized| {
                    match (quantized.scales.min_exponent, quantized.scales.max_exponent) {
                        (Some(min), Some(max)) => format!("{min}..{max}"),
                        _ => report::nothing(),
                    }
                }),
            ]);
        }
        writeln!(f, "{table}")?;
        if let Some(against) = &self.against {
            writeln!(f, "against {against}:")?;
            let mut table = Table::new(&[
                "tensor",
                ">rel. MSE",
                ">QSNR dB",
                ">cosine",
                ">max error",
                ">clipped",
                ">flushed",
                ">NaN, Inf",
                ">lost",
            ]);
            for tensor in &self.tensors {
                let cells = match &tensor.errors {
                    Some(errors) => errors.cells(),
                    None => vec![tensor.comparison.unwrap_or("-").to_owned()],
                };
                table.row([tensor.name.clone()].into_iter().chain(cells));
            }
            for name in &self.missing {
                table.row([name.clone(), "absent from the file".to_owned()]);
            }
            if let Some(errors) = &self.totals.errors {
                table.row(["overall".to_owned()].into_iter().chain(errors.cells()));
            }
            writeln!(f, "{table}")?;
        }
        let totals = &self.totals;
        writeln!(
            f,
            "{} tensors, {} quantized; {} bytes of data in a file of {}",
            totals.tensors, totals.quantized, totals.bytes, totals.file_bytes
        )
    }
}
