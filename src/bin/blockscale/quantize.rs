//! `blockscale quantize`.

use crate::args::{QuantizeArgs, RoundingName};
use crate::backend::{Refusal, Worker};
use crate::failure::{Failure, note};
use crate::files::check_distinct;
use crate::progress::Progress;
use crate::report::{self, ErrorReport, Table};
use crate::selection::{Choice, How, Selection};
use blockscale::analysis::Metrics;
use blockscale::checkpoint::{Error, Plan, Reader, Record, StoredRounding, Writer};
use blockscale::format::Format;
use blockscale::numerics::Profile;
use blockscale::{Blocks, Quantize};
use serde::Serialize;
use std::fmt;
use std::path::Path;

pub fn run(args: &QuantizeArgs) -> Result<(), Failure> {
    let profile = profile(args)?;
    let blocks = if args.block_2d { Blocks::Tile } else { Blocks::Row };
    let (input, output) = (&args.input, &args.output.output);
    let worker = Worker::new(args.backend)?;
    let mut reader = Reader::open(input)?;
    check_distinct(input, output)?;
    let (rounding, rotation) = (args.stored_rounding(), args.stored_rotation()?);
    let how = How { profile, rounding, rotation, blocks, axis: args.axis };
    let choices = Selection::new(&args.include, &args.exclude, how)?.of(&reader)?;
    let mut jobs: Vec<Job> = Vec::new();
    for (stored, choice) in reader.tensors().zip(choices) {
        let action = match choice {
            Choice::Copy { reason } => Action::Copy(reason),
            Choice::Quantize(record) => Action::Quantize(record),
        };
        jobs.push(Job { name: stored.name.to_owned(), bytes: stored.bytes.len(), action });
    }
    let mut writer = Writer::create(output, plan(&reader, &jobs)?, args.output.existing())?;

    let total = jobs.iter().map(|job| job.bytes).sum();
    let progress = Progress::new(total);
    let mut overall = Metrics::default();
    let mut tensors = Vec::new();
    for job in &jobs {
        progress.tensor(&job.name);
        let (dtype, shape) = {
            let stored = reader.tensor(&job.name)?;
            (stored.dtype.to_string(), stored.shape.to_vec())
        };
        let (bytes_after, metrics) = match &job.action {
            Action::Copy(_) => {
                writer.write(&job.name, reader.tensor(&job.name)?.bytes)?;
                (job.bytes, None)
            }
            Action::Quantize(record) => {
                let how = record.quantize(&job.name);
                let how = if args.unbiased { how.unbiased() } else { how };
                let (bytes, metrics) =
                    quantize_one(&mut reader, &mut writer, &worker, &job.name, record, &how)?;
                overall.merge(&metrics);
                (bytes, Some(metrics))
            }
        };
        tensors.push(TensorReport {
            name: job.name.clone(),
            dtype,
            shape,
            action: job.action.name(),
            reason: job.action.reason(),
            bytes_before: job.bytes as u64,
            bytes_after: bytes_after as u64,
            errors: metrics.as_ref().map(ErrorReport::from),
        });
        reader.release(&job.name);
        progress.done(job.bytes);
    }
    let output_file_bytes = writer.finish()?;
    drop(progress);

    let quantized = tensors.iter().filter(|tensor| tensor.errors.is_some()).count();
    if quantized == 0 {
        note("no tensor was chosen: the output holds the input's tensors unchanged");
    }
    let bytes_before = tensors.iter().map(|tensor| tensor.bytes_before).sum();
    let bytes_after = tensors.iter().map(|tensor| tensor.bytes_after).sum();
    let report = Report {
        input: input.display().to_string(),
        output: output.display().to_string(),
        format: profile.format().to_string(),
        profile: profile.to_string(),
        rounding: match args.rounding {
            RoundingName::Nearest => "nearest",
            RoundingName::Stochastic => "stochastic",
        },
        seed: match rounding {
            StoredRounding::Nearest => None,
            StoredRounding::Stochastic { seed, .. } => Some(seed),
        },
        draw_bits: match rounding {
            StoredRounding::Nearest => None,
            StoredRounding::Stochastic { bits, .. } => Some(bits.bits()),
        },
        rotation: args.rotate,
        signs: args.signs,
        blocks: if args.block_2d { "tile" } else { "row" },
        axis: args.axis,
        totals: Totals {
            tensors: tensors.len(),
            quantized,
            copied: tensors.len() - quantized,
            bytes_before,
            bytes_after,
            ratio: report::ratio(bytes_before, bytes_after),
            input_file_bytes: reader.file_bytes() as u64,
            output_file_bytes,
            errors: ErrorReport::from(&overall),
        },
        tensors,
    };
    report::print("quantize", args.json, &report)
}

/// The profile that the arguments name, checked against the other arguments.
fn profile(args: &QuantizeArgs) -> Result<Profile, Failure> {
    let format: Format = args.format.parse()?;
    let profile = match (&args.profile, &args.scale_search) {
        (Some(text), None) => Profile::parse(format, text)?,
        (None, None) => Profile::default_for(format),
        (None, Some(search)) => match Profile::named(format, search) {
            Ok(named) => named,
            Err(_) => searching(Profile::default_for(format), search)?,
        },
        (Some(text), Some(search)) => searching(Profile::parse(format, text)?, search)?,
    };
    if args.stochastic_bits.is_some() && args.rounding == RoundingName::Nearest {
        let message =
            "--stochastic-bits needs --rounding stochastic: rounding to nearest draws nothing";
        return Err(Failure::User(message.to_owned()));
    }
    if args.unbiased {
        if args.rounding == RoundingName::Nearest {
            let message = "--unbiased needs --rounding stochastic: rounding to nearest has a bias";
            return Err(Failure::User(message.to_owned()));
        }
        profile.require_unbiased()?;
    }
    Ok(profile)
}

/// The profile with another search.
fn searching(profile: Profile, search: &str) -> Result<Profile, Failure> {
    Ok(Profile::parse(profile.format(), &format!("{profile}+search={search}"))?)
}

/// One tensor of the input.
struct Job {
    name: String,
    bytes: usize,
    action: Action,
}

enum Action {
    Copy(String),
    Quantize(Record),
}

impl Action {
    fn name(&self) -> &'static str {
        match self {
            Self::Copy(_) => "copied",
            Self::Quantize(_) => "quantized",
        }
    }
    fn reason(&self) -> Option<String> {
        match self {
            Self::Copy(reason) => Some(reason.clone()),
            Self::Quantize(_) => None,
        }
    }
}

/// What the output will hold. A name that quantizing needs must be free in the input.
fn plan(reader: &Reader, jobs: &[Job]) -> Result<Plan, Failure> {
    let mut plan = Plan::new();
    for (key, value) in reader.metadata() {
        plan.metadata(key, value);
    }
    for job in jobs {
        let stored = reader.tensor(&job.name)?;
        match &job.action {
            Action::Copy(_) => plan.tensor(&job.name, stored.dtype, stored.shape),
            Action::Quantize(record) => {
                let taken =
                    |name: &str| reader.tensor(name).is_ok() || reader.records().contains_key(name);
                let parts = record.parts(&job.name)?;
                if let Some(part) = parts.iter().find(|part| taken(&part.name)) {
                    return Err(Failure::User(format!(
                        "{}: tensor '{}' cannot be quantized: '{}' already exists in the file; \
                         leave it out with --exclude",
                        reader.path().display(),
                        job.name,
                        part.name,
                    )));
                }
                plan.quantized(&job.name, record)?;
            }
        }
    }
    Ok(plan)
}

/// Quantizes one tensor into the output; returns its bytes there and what it lost.
fn quantize_one(
    reader: &mut Reader,
    writer: &mut Writer,
    worker: &Worker,
    name: &str,
    record: &Record,
    how: &Quantize,
) -> Result<(usize, Metrics), Failure> {
    let values = reader.values(name)?;
    reader.release(name);
    let refused = |source| refused(reader.path(), name, source);
    let values = values.axis_to_last(&record.shape, record.axis).map_err(refused)?;
    let shape = record.stored_shape().map_err(refused)?;
    let quantized = match worker.quantize(&values, how, &shape) {
        Ok(quantized) => quantized,
        Err(Refusal::Argument(source)) => return Err(refused(source).into()),
        #[cfg(feature = "cuda")]
        Err(Refusal::Backend(failure)) => return Err(failure),
    };
    writer.write_quantized(name, &quantized)?;
    let metrics = record.metrics(&values, &quantized).map_err(refused)?;
    Ok((quantized.stored_bytes(), metrics))
}

fn refused(path: &Path, tensor: &str, source: blockscale::Error) -> Error {
    let (path, tensor) = (path.to_owned(), tensor.to_owned());
    Error::Quantization { path, tensor, source: Box::new(source) }
}

#[derive(Serialize)]
struct Report {
    input: String,
    output: String,
    format: String,
    profile: String,
    rounding: &'static str,
    seed: Option<u64>,
    draw_bits: Option<u32>,
    rotation: Option<usize>,
    signs: Option<u64>,
    blocks: &'static str,
    axis: i64,
    tensors: Vec<TensorReport>,
    totals: Totals,
}

#[derive(Serialize)]
struct TensorReport {
    name: String,
    dtype: String,
    shape: Vec<usize>,
    action: &'static str,
    reason: Option<String>,
    bytes_before: u64,
    bytes_after: u64,
    errors: Option<ErrorReport>,
}

#[derive(Serialize)]
struct Totals {
    tensors: usize,
    quantized: usize,
    copied: usize,
    bytes_before: u64,
    bytes_after: u64,
    ratio: Option<f64>,
    input_file_bytes: u64,
    output_file_bytes: u64,
    errors: ErrorReport,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&[
            "tensor",
            "dtype",
            "shape",
            "action",
            ">before",
            ">after",
            ">QSNR dB",
            ">NaN, Inf",
            ">lost",
        ]);
        for tensor in &self.tensors {
            let reason = tensor.reason.as_ref().map(|reason| format!(" ({reason})"));
            let errors = tensor.errors.as_ref();
            let [special, lost] =
                errors.map_or([report::nothing(), report::nothing()], ErrorReport::special_cells);
            table.row([
                tensor.name.clone(),
                tensor.dtype.clone(),
                report::shape(&tensor.shape),
                format!("{}{}", tensor.action, reason.unwrap_or_default()),
                tensor.bytes_before.to_string(),
                tensor.bytes_after.to_string(),
                errors.map_or(report::nothing(), ErrorReport::qsnr),
                special,
                lost,
            ]);
        }
        let totals = &self.totals;
        let seed = match (self.seed, self.draw_bits) {
            (Some(seed), Some(bits)) => format!(" (seed {seed}, {bits} bits)"),
            _ => String::new(),
        };
        let rotation = match (self.rotation, self.signs) {
            (None, _) => String::new(),
            (Some(size), None) => format!(", rotated by {size}"),
            (Some(size), Some(seed)) => format!(", rotated by {size} (signs {seed})"),
        };
        writeln!(f, "{table}")?;
        writeln!(
            f,
            "{} {}, rounding {}{seed}{rotation}: {} tensors, {} quantized, {} copied",
            self.format,
            self.profile,
            self.rounding,
            totals.tensors,
            totals.quantized,
            totals.copied
        )?;
        let ratio = totals.ratio.map(|ratio| format!(" ({ratio:.2}x smaller)"));
        writeln!(
            f,
            "bytes {} -> {}{}",
            totals.bytes_before,
            totals.bytes_after,
            ratio.unwrap_or_default()
        )?;
        if totals.quantized > 0 {
            writeln!(f, "{}", totals.errors.summary())?;
        }
        Ok(())
    }
}
