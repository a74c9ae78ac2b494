//! `blockscale formats`.

use crate::args::FormatsArgs;
use crate::failure::Failure;
use crate::report::{self, Table};
use blockscale::format::{Element, Format, Specials};
use blockscale::numerics::Profile;
use serde::Serialize;
use std::fmt;

pub fn run(args: FormatsArgs) -> Result<(), Failure> {
    let formats = Format::NAMED.map(|(name, format)| FormatReport::of(name, format)).into();
    report::print("formats", args.json, &Report { formats })
}

#[derive(Serialize)]
struct Report {
    formats: Vec<FormatReport>,
}

#[derive(Serialize)]
struct FormatReport {
    name: &'static str,
    element: ElementReport,
    block: usize,
    scale: String,
    tensor_scale: bool,
    bits_per_element: f64,
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
    fn of(name: &'static str, format: Format) -> Self {
        let profile = |profile: &Profile| ProfileReport {
            name: profile.name(),
            tensor_scale: profile.tensor_scale_name(),
            unbiased: profile.bias().is_none(),
        };
        Self {
            name,
            element: ElementReport::of(format.element()),
            block: format.block(),
            scale: format.scale().to_string(),
            tensor_scale: format.has_tensor_scale(),
            bits_per_element: format.bits_per_element(),
            profiles: Profile::all(format).iter().map(profile).collect(),
        }
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
                element.max.to_string(),
                or_nothing(element.min_normal.map(|value| value.to_string())),
                element.min_positive.to_string(),
                or_nothing(element.bias.map(|value| value.to_string())),
                element.specials.to_owned(),
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
