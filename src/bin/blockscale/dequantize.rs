//! `blockscale dequantize`.

use crate::args::DequantizeArgs;
use crate::failure::{Failure, note};
use crate::files::check_distinct;
use crate::progress::Progress;
use crate::report::{self, Table};
use blockscale::Backend;
use blockscale::checkpoint::{Entry, Float, Plan, Reader, Record, Writer};
use serde::Serialize;
use std::fmt;

pub fn run(args: &DequantizeArgs) -> Result<(), Failure> {
    let (input, output) = (&args.input, &args.output.output);
    let mut reader = Reader::open(input)?;
    check_distinct(input, output)?;
    let float = args.float()?;
    let mut plan = Plan::new();
    let own = |key: &str| !key.starts_with("blockscale.");
    for (key, value) in reader.metadata().iter().filter(|(key, _)| own(key)) {
        plan.metadata(key, value);
    }
    let mut tensors = Vec::new();
    for entry in reader.entries() {
        let (name, dtype, shape, bytes_before) = match entry {
            Entry::Plain(stored) => (stored.name, stored.dtype, stored.shape, stored.bytes.len()),
            Entry::Quantized { name, record } => {
                let mut stored = 0;
                for part in reader.parts(name) {
                    stored += reader.tensor(&part.name)?.bytes.len();
                }
                (name, float.unwrap_or(record.dtype).dtype(), record.shape.as_slice(), stored)
            }
        };
        plan.tensor(name, dtype, shape);
        let record = reader.records().get(name);
        tensors.push(TensorReport {
            name: name.to_owned(),
            dtype: dtype.to_string(),
            shape: shape.to_vec(),
            action: if record.is_some() { "restored" } else { "copied" },
            format: record.map(|record| record.profile.format().to_string()),
            profile: record.map(|record| record.profile.to_string()),
            bytes_before: bytes_before as u64,
            bytes_after: 0,
        });
    }
    let mut writer = Writer::create(output, plan, args.output.existing())?;

    let progress = Progress::new(reader.file_bytes());
    for tensor in &mut tensors {
        progress.tensor(&tensor.name);
        tensor.bytes_after = match reader.records().get(&tensor.name) {
            Some(record) => restore(&reader, &mut writer, &tensor.name, record, float)?,
            None => {
                let bytes = reader.tensor(&tensor.name)?.bytes;
                writer.write(&tensor.name, bytes)?;
                bytes.len() as u64
            }
        };
        reader.release(&tensor.name);
        progress.done(tensor.bytes_before as usize);
    }
    let output_file_bytes = writer.finish()?;
    drop(progress);

    let restored = reader.records().len();
    if restored == 0 {
        note("the input has no quantized tensor: the output holds its tensors unchanged");
    }
    let report = Report {
        input: input.display().to_string(),
        output: output.display().to_string(),
        totals: Totals {
            tensors: tensors.len(),
            restored,
            copied: tensors.len() - restored,
            bytes_before: tensors.iter().map(|tensor| tensor.bytes_before).sum(),
            bytes_after: tensors.iter().map(|tensor| tensor.bytes_after).sum(),
            input_file_bytes: reader.file_bytes() as u64,
            output_file_bytes,
        },
        tensors,
    };
    report::print("dequantize", args.json, &report)
}

/// Decodes one tensor into the output and returns its bytes there.
fn restore(
    reader: &Reader,
    writer: &mut Writer,
    name: &str,
    record: &Record,
    float: Option<Float>,
) -> Result<u64, Failure> {
    let float = float.unwrap_or(record.dtype);
    let values = record.restored(float, &reader.quantized(name)?, Backend::default())?;
    let bytes = values.axis_from_last(&record.shape, record.axis)?.to_bytes();
    writer.write(name, &bytes)?;
    Ok(bytes.len() as u64)
}

#[derive(Serialize)]
struct Report {
    input: String,
    output: String,
    tensors: Vec<TensorReport>,
    totals: Totals,
}

#[derive(Serialize)]
struct TensorReport {
    name: String,
    dtype: String,
    shape: Vec<usize>,
    action: &'static str,
    format: Option<String>,
    profile: Option<String>,
    bytes_before: u64,
    bytes_after: u64,
}

#[derive(Serialize)]
struct Totals {
    tensors: usize,
    restored: usize,
    copied: usize,
    bytes_before: u64,
    bytes_after: u64,
    input_file_bytes: u64,
    output_file_bytes: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&["tensor", "dtype", "shape", "action", ">before", ">after"]);
        for tensor in &self.tensors {
            let from = tensor.format.iter().chain(&tensor.profile);
            let from: String = from.map(|word| format!(" {word}")).collect();
            let action = match from.is_empty() {
                true => tensor.action.to_owned(),
                false => format!("{} from{from}", tensor.action),
            };
            table.row([
                tensor.name.clone(),
                tensor.dtype.clone(),
                report::shape(&tensor.shape),
                action,
                tensor.bytes_before.to_string(),
                tensor.bytes_after.to_string(),
            ]);
        }
        let totals = &self.totals;
        writeln!(f, "{table}")?;
        writeln!(
            f,
            "{} tensors, {} restored, {} copied; bytes {} -> {}",
            totals.tensors, totals.restored, totals.copied, totals.bytes_before, totals.bytes_after
        )
    }
}
