//! What is measured.

use crate::arguments::Arguments;
use blockscale::format::Format;
use blockscale::numerics::{DrawBits, Hadamard, Profile, Rounding, Stochastic};
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Quantize,
    /// The same, with an amax that is not given.
    AmaxQuantize,
    Dequantize,
    Amax,
    Rotate,
    /// Quantize in both directions; a rotation is that of the columns.
    Both,
}

/// The type of the floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Float {
    F32,
    Bf16,
    F16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draws {
    Nearest,
    Eight,
    Sixteen,
}

#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub operation: Operation,
    /// Of values that are rotated, on their own or before they are quantized.
    pub rotation: Option<Hadamard>,
    /// None for amax and for rotations on their own.
    pub profile: Option<Profile>,
    pub draws: Draws,
    pub float: Float,
    pub threads: usize,
}

impl Float {
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }
}

impl Draws {
    pub fn rounding(self) -> Rounding {
        let draws = Stochastic::new(7, "floor");
        match self {
            Self::Nearest => Rounding::Nearest,
            Self::Eight => Rounding::Stochastic(draws),
            Self::Sixteen => Rounding::Stochastic(draws.with_bits(DrawBits::Sixteen)),
        }
    }
}

impl Row {
    pub fn operation_name(&self) -> String {
        let rotate = self.rotation.map_or(String::new(), |of| format!("rotate-{}", of.size()));
        let verb = match self.operation {
            Operation::Quantize if self.rotation.is_some() => "+quantize",
            Operation::Quantize => "quantize",
            Operation::AmaxQuantize => "amax+quantize",
            Operation::Dequantize => "dequantize",
            Operation::Amax => "amax",
            Operation::Rotate => "",
            Operation::Both if self.rotation.is_some() => "+both",
            Operation::Both => "both",
        };
        rotate + verb
    }
    pub fn format_name(&self) -> String {
        self.profile.map_or("-".to_owned(), |profile| profile.format().to_string())
    }
    pub fn profile_name(&self) -> String {
        self.profile.map_or("-".to_owned(), |profile| profile.to_string())
    }
    pub fn is_default(&self) -> bool {
        self.profile.is_none_or(|profile| Profile::default_for(profile.format()) == profile)
    }
    pub fn rounding_name(&self) -> &'static str {
        match (self.operation, self.draws) {
            (Operation::Dequantize | Operation::Amax | Operation::Rotate, _) => "-",
            (_, Draws::Nearest) => "nearest",
            (_, Draws::Eight) => "stochastic-8",
            (_, Draws::Sixteen) => "stochastic-16",
        }
    }
}

/// What filters look at: the words of a line.
impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (operation, rounding) = (self.operation_name(), self.rounding_name());
        let (format, profile) = (self.format_name(), self.profile_name());
        let (input, threads) = (self.float.name(), self.threads);
        write!(f, "{operation} {format} {profile} {rounding} {input} T{threads}")
    }
}

/// The rows that are asked for, each with every number of threads.
pub fn table(arguments: &Arguments) -> Vec<Row> {
    let rows = if arguments.all { all() } else { usual() };
    let on =
        |row: Row| arguments.threads.iter().map(move |threads| Row { threads: *threads, ..row });
    rows.into_iter().flat_map(on).filter(|row| is_wanted(row, &arguments.filters)).collect()
}

fn is_wanted(row: &Row, filters: &[Vec<String>]) -> bool {
    let text = row.to_string();
    let has = |word: &String| text.split(' ').any(|part| part == word);
    filters.is_empty() || filters.iter().any(|words| words.iter().all(has))
}

fn quantize(profile: Profile, draws: Draws, float: Float) -> Row {
    let (operation, profile) = (Operation::Quantize, Some(profile));
    Row { operation, rotation: None, profile, draws, float, threads: 1 }
}

fn dequantize(profile: Profile, float: Float) -> Row {
    Row { operation: Operation::Dequantize, ..quantize(profile, Draws::Nearest, float) }
}

fn both(profile: Profile, draws: Draws, float: Float) -> Row {
    Row { operation: Operation::Both, ..quantize(profile, draws, float) }
}

/// As TransformerEngine has it.
fn both_rotated(draws: Draws, float: Float) -> Row {
    let row = both(Profile::default_for(Format::NVFP4), draws, float);
    Row { rotation: Some(Hadamard::TRANSFORMER_ENGINE), ..row }
}

fn amax(float: Float) -> Row {
    let (operation, draws) = (Operation::Amax, Draws::Nearest);
    Row { operation, rotation: None, profile: None, draws, float, threads: 1 }
}

fn rotate(size: usize, float: Float) -> Row {
    Row { operation: Operation::Rotate, ..rotated(size, amax(float)) }
}

/// With signs, as they are used.
fn rotated(size: usize, row: Row) -> Row {
    let rotation = Hadamard::new(size).ok().map(|plain| plain.with_drawn_signs(7, "floor"));
    Row { rotation, ..row }
}

/// Rows that fit a minute.
fn usual() -> Vec<Row> {
    let default = Profile::default_for;
    let formats = [
        Format::MXFP4,
        Format::NVFP4,
        Format::MXFP8_E4M3,
        Format::MXFP8_E5M2,
        Format::MXFP6_E2M3,
        Format::MXFP6_E3M2,
        Format::MXINT8,
        Format::NVINT4,
    ];
    let fours = [Format::MXFP4, Format::NVFP4].map(default);
    let decoded = [Format::NVFP4, Format::MXFP4, Format::MXFP8_E4M3, Format::MXINT8].map(default);
    let mut rows = Vec::new();
    rows.extend(formats.map(|format| quantize(default(format), Draws::Nearest, Float::F32)));
    rows.extend(fours.map(|profile| quantize(profile, Draws::Nearest, Float::Bf16)));
    for draws in [Draws::Eight, Draws::Sixteen] {
        rows.extend(fours.map(|profile| quantize(profile, draws, Float::F32)));
    }
    for float in [Float::F32, Float::Bf16] {
        rows.extend(decoded.map(|profile| dequantize(profile, float)));
    }
    rows.extend([Float::F32, Float::Bf16].map(amax));
    rows.extend([16, 128].map(|size| rotate(size, Float::F32)));
    let [mxfp4, nvfp4] = fours.map(|profile| quantize(profile, Draws::Nearest, Float::F32));
    rows.extend([rotated(128, mxfp4), rotated(16, nvfp4)]);
    rows.extend(fours.map(|profile| both(profile, Draws::Nearest, Float::F32)));
    rows.push(both_rotated(Draws::Nearest, Float::F32));
    rows
}

fn all() -> Vec<Row> {
    let formats = Format::NAMED.map(|(_, format)| format);
    let defaults = formats.map(Profile::default_for);
    let profiles: Vec<_> = formats.into_iter().flat_map(Profile::all).collect();
    let mut rows = Vec::new();
    rows.extend(profiles.iter().map(|profile| quantize(*profile, Draws::Nearest, Float::F32)));
    for float in [Float::Bf16, Float::F16] {
        rows.extend(defaults.map(|profile| quantize(profile, Draws::Nearest, float)));
    }
    for draws in [Draws::Eight, Draws::Sixteen] {
        rows.extend(defaults.map(|profile| quantize(profile, draws, Float::F32)));
    }
    let with_tensor_scale = defaults.iter().filter(|profile| profile.tensor_scale_name().is_some());
    rows.extend(with_tensor_scale.map(|profile| Row {
        operation: Operation::AmaxQuantize,
        ..quantize(*profile, Draws::Nearest, Float::F32)
    }));
    rows.extend(profiles.iter().map(|profile| dequantize(*profile, Float::F32)));
    for float in [Float::Bf16, Float::F16] {
        rows.extend(defaults.map(|profile| dequantize(profile, float)));
    }
    rows.extend([Float::F32, Float::Bf16, Float::F16].map(amax));
    for float in [Float::F32, Float::Bf16, Float::F16] {
        rows.extend(Hadamard::SIZES.map(|size| rotate(size, float)));
    }
    for draws in [Draws::Nearest, Draws::Eight] {
        rows.extend([(128, Format::MXFP4), (16, Format::NVFP4), (128, Format::NVFP4)].map(
            |(size, format)| {
                rotated(size, quantize(Profile::default_for(format), draws, Float::F32))
            },
        ));
    }
    let turned = [Format::MXFP4, Format::NVFP4, Format::MXFP8_E4M3].map(Profile::default_for);
    for float in [Float::F32, Float::Bf16, Float::F16] {
        rows.extend(turned.map(|profile| both(profile, Draws::Nearest, float)));
        rows.extend([Draws::Nearest, Draws::Eight].map(|draws| both_rotated(draws, float)));
    }
    rows
}
