//! The arguments of every command, and their help.

use crate::backend::BackendName;
use blockscale::checkpoint::{Existing, Float, StoredRotation, StoredRounding};
use blockscale::format::Format;
use blockscale::numerics::DrawBits;
use clap::builder::PossibleValuesParser;
use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Microscaling (MX/NV) block quantization of safetensors files.
#[derive(Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 done, 1 internal failure, 2 wrong usage, input or \
output (3 is reserved).\n\n\
Example:\n  blockscale quantize model.safetensors -o model-nvfp4.safetensors --format nvfp4"
)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// List the formats, their constants, those of their scales, and the profiles.
    #[command(after_help = "Example:\n  blockscale formats --json")]
    Formats(FormatsArgs),
    /// Quantize a built-in sample layer to every format and print what each leaves of it.
    ///
    /// The layer has 256 x 1024 heavy-tailed weights, a scale of its own for each row, and a few
    /// outlier columns. It is the same on every run.
    #[command(after_help = "Example:\n  blockscale demo")]
    Demo,
    /// Quantize the tensors of a safetensors file.
    ///
    /// Chosen are F32, BF16 and F16 tensors with 2 or 3 axes whose block axis is at least one
    /// block long; everything else is copied unchanged. The report has a line for each tensor.
    /// NaN and Inf are quantized as the profile says and counted in the report, as are the finite
    /// values that they take with them ("lost"): no QSNR counts these.
    ///
    /// A chosen tensor NAME becomes NAME.codes and NAME.scales and, where the profile has one, a
    /// tensor scale: NAME.tensor_amax, NAME.decode_scale or NAME.encode_scale. The file's
    /// metadata says how each was made.
    #[command(after_help = "Examples:\n  \
blockscale quantize model.safetensors -o model-nvfp4.safetensors --format nvfp4\n  \
blockscale quantize model.safetensors -o out.safetensors --format mxfp4 --profile ocp \
--exclude '*embed*' --json")]
    Quantize(QuantizeArgs),
    /// Restore the tensors of a quantized file: names, shapes, order of axes and types.
    ///
    /// Tensors that are not quantized are copied unchanged.
    #[command(after_help = "Example:\n  \
blockscale dequantize model-nvfp4.safetensors -o restored.safetensors --dtype bf16")]
    Dequantize(DequantizeArgs),
    /// Show what a safetensors file holds, and how far it is from its original.
    ///
    /// For quantized tensors: format, profile, bytes, the share of scales that are zero or NaN,
    /// and the smallest and largest exponent of the other scales.
    #[command(after_help = "Examples:\n  \
blockscale inspect model-nvfp4.safetensors\n  \
blockscale inspect model-nvfp4.safetensors --against model.safetensors")]
    Inspect(InspectArgs),
    /// Show what can compute here: the CPU's levels, and the kernels, driver and devices of the
    /// backend `cuda`.
    ///
    /// A level is a set of instructions; BLOCKSCALE_CPU_LEVEL names the one to use. For each device
    /// doctor names the image that every operation would load. What is missing or wrong is said, and
    /// is no failure: the exit code is 0.
    #[command(after_help = "Example:\n  blockscale doctor --json")]
    Doctor(DoctorArgs),
}

#[derive(clap::Args)]
pub struct FormatsArgs {
    /// Print JSON (schema_version 2) instead of tables.
    #[arg(long)]
    pub json: bool,
}

#[derive(clap::Args)]
pub struct DoctorArgs {
    /// Print JSON (schema_version 2) instead of tables.
    #[arg(long)]
    pub json: bool,
}

#[derive(clap::Args)]
pub struct QuantizeArgs {
    /// The file to quantize; it is only read.
    #[arg(value_name = "IN.safetensors")]
    pub input: PathBuf,
    #[command(flatten)]
    pub output: OutputArgs,
    /// What the stored bits mean; `blockscale formats` has the details.
    #[arg(long, value_parser = PossibleValuesParser::new(Format::NAMED.map(|(name, _)| name)))]
    pub format: String,
    /// Which bytes come out: NAME or NAME+knob=value. Default: the format's first profile
    /// in `blockscale formats`.
    #[arg(long)]
    pub profile: Option<String>,
    /// How elements are rounded. Stochastic draws depend on the seed, the tensor's name and the
    /// element's place, so a subset of the tensors gets the same bytes as the whole file.
    #[arg(long, value_enum, default_value_t = RoundingName::Nearest)]
    pub rounding: RoundingName,
    /// Demand that stochastic rounding has no bias: an error where the profile can clip.
    #[arg(long)]
    pub unbiased: bool,
    /// Seed of stochastic rounding; the file's metadata has it only where rounding is stochastic.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Bits of a stochastic draw: 8 are low by up to 1/256 of a step on average, 16 by 1/65536.
    /// Default: 8.
    #[arg(long, value_name = "BITS", value_parser = PossibleValuesParser::new(["8", "16"]))]
    pub stochastic_bits: Option<String>,
    /// Rotate each N consecutive elements by a Hadamard matrix first: 16, 32, 64, 128 or 256. Tensors
    /// whose block axis is no multiple of N are copied. dequantize rotates back; the figures of the
    /// report are about the rotated values.
    #[arg(long, value_name = "N")]
    pub rotate: Option<usize>,
    /// Draw the signs of the rotation from this seed, the same for all tensors: those that meet the
    /// same activations need the same. Default: no signs.
    #[arg(long, value_name = "SEED", requires = "rotate")]
    pub signs: Option<u64>,
    /// Choose each block's scale by the error that it leaves, in the profile's other steps:
    /// four-over-six-mse, -mae or -absmax, sweep, or clip (E8M0 scales); none switches off the
    /// search of a profile. Where no --profile is named and the format has one of that name,
    /// this stands for it.
    #[arg(long, value_name = "SEARCH")]
    pub scale_search: Option<String>,
    /// One scale for each square of 16 x 16 elements (32 x 32 in MX formats).
    #[arg(long)]
    pub block_2d: bool,
    /// The axis along which blocks lie; negative counts from the end. It becomes the last one in
    /// the stored layout, and dequantize puts it back.
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    pub axis: i64,
    /// Quantize exactly the tensors whose name matches, of any number of axes. May be repeated.
    /// In a GLOB * is any text, ? any character, [ab] one of several, {a,b} either.
    ///
    /// What matches such a GLOB and cannot be quantized (integers, scalars, F64) is copied, and the
    /// report says why; what is named in full must be possible.
    #[arg(long, value_name = "GLOB")]
    pub include: Vec<String>,
    /// Leave out tensors whose name matches. May be repeated; wins over --include.
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// The layout of the output. raw has two elements of 4 bits in a byte, and a byte for each
    /// other element: a format of 6 bits takes 8.25 bits/element there, not 6.25.
    #[arg(long, value_enum, default_value_t = Target::Raw)]
    pub target: Target,
    /// Who computes: auto, cpu, reference, cuda or cuda:N for device N. The bytes are the same.
    ///
    /// auto is cpu: a device is used only where it is asked for. cuda needs a build with feature
    /// `cuda`, a driver and a device. cpu uses the best instructions that the processor has, unless
    /// BLOCKSCALE_CPU_LEVEL names others: portable, avx2 or avx512. `blockscale doctor` says what is
    /// there.
    #[arg(long, default_value = "auto")]
    pub backend: BackendName,
    /// Print JSON (schema_version 2) instead of a table.
    #[arg(long)]
    pub json: bool,
}

#[derive(clap::Args)]
pub struct DequantizeArgs {
    /// The quantized file; it is only read.
    #[arg(value_name = "IN.safetensors")]
    pub input: PathBuf,
    #[command(flatten)]
    pub output: OutputArgs,
    /// The type of the restored tensors. Default: each tensor's original one.
    #[arg(long, value_parser = PossibleValuesParser::new(["f32", "bf16", "f16"]))]
    pub dtype: Option<String>,
    /// Print JSON (schema_version 2) instead of a table.
    #[arg(long)]
    pub json: bool,
}

#[derive(clap::Args)]
pub struct InspectArgs {
    /// The file to look at.
    pub file: PathBuf,
    /// The file it was made from: adds the error of each tensor and of all together, and names
    /// what only one of the files has.
    #[arg(long, value_name = "ORIGINAL")]
    pub against: Option<PathBuf>,
    /// Print JSON (schema_version 2) instead of a table.
    #[arg(long)]
    pub json: bool,
}

#[derive(clap::Args)]
pub struct OutputArgs {
    /// The file to write. It appears only once it is complete.
    #[arg(short, long, value_name = "OUT.safetensors")]
    pub output: PathBuf,
    /// Replace the output if it exists.
    #[arg(long)]
    pub force: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoundingName {
    Nearest,
    Stochastic,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Target {
    /// Codes, scales and tensor scale as tensors of their own, described in the metadata
    Raw,
}

impl OutputArgs {
    pub fn existing(&self) -> Existing {
        if self.force { Existing::Replace } else { Existing::Keep }
    }
}

impl QuantizeArgs {
    pub fn stored_rounding(&self) -> StoredRounding {
        let bits = match self.stochastic_bits.as_deref() {
            Some("16") => DrawBits::Sixteen,
            _ => DrawBits::Eight,
        };
        match self.rounding {
            RoundingName::Nearest => StoredRounding::Nearest,
            RoundingName::Stochastic => StoredRounding::Stochastic { seed: self.seed, bits },
        }
    }
    pub fn stored_rotation(&self) -> blockscale::Result<Option<StoredRotation>> {
        self.rotate.map(|size| StoredRotation::new(size, self.signs)).transpose()
    }
}

impl DequantizeArgs {
    pub fn float(&self) -> blockscale::Result<Option<Float>> {
        self.dtype.as_deref().map(str::parse).transpose()
    }
}
