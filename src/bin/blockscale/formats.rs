//! `blockscale formats`.

use crate::args::FormatsArgs;
use crate::failure::Failure;
use crate::report::{self, Table};
use blockscale::checkpoint::{Dtype, Float, Record};
use blockscale::format::{Element, Format, Scale, Specials};
use blockscale::numerics::Profile;
use serde::Serialize;
use std::fmt;

pub fn run(args: FormatsArgs) -> Result<(), Failure> {
    let formats: Result<_, _> =
        Format::NAMED.iter().map(|(name, format)| FormatReport::of(name, *format)).collect();
    let scales = SCALES.map(ScaleReport::of).into();
    report::print("formats", args.json, &Report { formats: formats?, scales })
}

#[derive(Serialize)]
struct Report {
    formats: Vec<FormatReport>,
    scales: Vec<ScaleReport>,
}

/// The scales of the named formats.
const SCALES: [Scale; 3] = [Scale::E8M0, Scale::E4M3, Scale::UE5M3];

/// A scale format. The code 255 stands for NaN in all of them.
#[derive(Serialize)]
struct ScaleReport {
    name: String,
    bits: u8,
    bias: i16,
    max: f64,
    min_normal: f64,
    min_positive: f64,
    nan_code: u8,
}

#[derive(Serialize)]
struct FormatReport {
    name: &'static str,
    element: ElementReport,
    block: usize,
    scale: String,
    tensor_scale: bool,
    bits_per_element: f64,
    /// The same as target raw stores it, which has a byte for each element of other than 4 bits.
    raw_bits_per_element: f64,
    /// The default first.
    profiles: Vec<ProfileReport>,
}

#[derive(Serialize)]
struct ElementReport {
    name: String,
    bits: u8,
    max: f32,
    min_normal: Option<f32>,
    min_positive: f32,
    bias: Option<i16>,
    specials: &'static str,
}

#[derive(Serialize)]
struct ProfileReport {
    name: &'static str,
    /// Under what name it stores a tensor scale, if it does.
    tensor_scale: Option<&'static str>,
    /// Whether `--unbiased` takes it.
    unbiased: bool,
}

impl FormatReport {
    fn of(name: &'static str, format: Format) -> blockscale::Result<Self> {
        let profile = |profile: &Profile| ProfileReport {
            name: profile.name(),
            tensor_scale: profile.tensor_scale_name(),
            unbiased: profile.bias().is_none(),
        };
        Ok(Self {
            name,
            element: ElementReport::of(format.element()),
            block: format.block(),
            scale: format.scale().to_string(),
            tensor_scale: format.has_tensor_scale(),
            bits_per_element: format.bits_per_element(),
            raw_bits_per_element: raw_bits_per_element(format)?,
            profiles: Profile::all(format).iter().map(profile).collect(),
        })
    }
}

/// Bits of the codes and scales of a block that fills a row, as they are in a file.
fn raw_bits_per_element(format: Format) -> blockscale::Result<f64> {
    let record = Record::new(Profile::default_for(format), Float::F32, &[format.block()]);
    let parts = record.parts("")?;
    let stored = parts.iter().filter(|part| part.dtype == Dtype::U8);
    let bytes: usize = stored.flat_map(|part| &part.shape).sum();
    Ok((bytes * 8) as f64 / format.block() as f64)
}

impl ScaleReport {
    fn of(scale: Scale) -> Self {
        let float = scale.float();
        // Without a mantissa every code is a normal value, the first one too.
        let smallest = scale.decode(if float.is_some() { 1 } else { 0 });
        let normal = float.and_then(|float| float.min_normal()).unwrap_or(smallest);
        let largest = (0..=255).map(|code| scale.decode(code)).filter(|value| !value.is_nan());
        Self {
            name: scale.to_string(),
            bits: scale.bits(),
            bias: float.map_or(127, |float| float.bias()),
            max: largest.map(f64::from).fold(0.0, f64::max),
            min_normal: normal.into(),
            min_positive: smallest.into(),
            nan_code: Scale::NAN_CODE,
        }
    }
}

/// A power of two as such, anything else in figures.
fn exact(value: f64) -> String {
    let exponent = value.log2();
    match exponent.fract() == 0.0 {
        true => format!("2^{exponent}"),
        false => value.to_string(),
    }
}

impl ElementReport {
    fn of(element: Element) -> Self {
        let float = match element {
            Element::Float(float) => Some(float),
            Element::Int(_) => None,
        };
        Self {
            name: element.to_string(),
            bits: element.bits(),
            max: element.max(),
            min_normal: float.and_then(|float| float.min_normal()),
            min_positive: element.min_positive(),
            bias: float.map(|float| float.bias()),
            specials: match float.map(|float| float.specials()) {
                None | Some(Specials::None) => "none",
                Some(Specials::NanOnly) => "NaN",
                Some(Specials::Ieee) => "Inf, NaN",
            },
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&[
            "format",
            "element",
            ">bits",
            ">block",
            "scale",
            "tensor scale",
            ">bits/element",
            ">in raw",
            ">max",
            ">min normal",
            ">min positive",
            ">bias",
            "specials",
        ]);
        let or_nothing = |value: Option<String>| value.unwrap_or_else(report::nothing);
        for format in &self.formats {
            let element = &format.element;
            table.row([
                format.name.to_owned(),
                element.name.clone(),
                element.bits.to_string(),
                format.block.to_string(),
                format.scale.clone(),
                if format.tensor_scale { "f32" } else { "-" }.to_owned(),
                format.bits_per_element.to_string(),
                format.raw_bits_per_element.to_string(),
                element.max.to_string(),
                or_nothing(element.min_normal.map(|value| value.to_string())),
                element.min_positive.to_string(),
                or_nothing(element.bias.map(|value| value.to_string())),
                element.specials.to_owned(),
            ]);
        }
        writeln!(f, "{table}")?;
        let raw =
            "in raw: what --target raw stores, a byte for every element that is not of 4 bits";
        writeln!(f, "{raw}\n")?;
        let mut table = Table::new(&[
            "scale",
            ">bits",
            ">bias",
            ">max",
            ">min normal",
            ">min positive",
            ">NaN code",
        ]);
        for scale in &self.scales {
            table.row([
                scale.name.clone(),
                scale.bits.to_string(),
                scale.bias.to_string(),
                exact(scale.max),
                exact(scale.min_normal),
                exact(scale.min_positive),
                format!("{:#04X}", scale.nan_code),
            ]);
        }
        writeln!(f, "{table}")?;
        let mut table = Table::new(&["format", "profiles, the default first"]);
        for format in &self.formats {
            let names: Vec<&str> = format.profiles.iter().map(|profile| profile.name).collect();
            table.row([format.name.to_owned(), names.join(", ")]);
        }
        write!(f, "{table}")
    }
}
