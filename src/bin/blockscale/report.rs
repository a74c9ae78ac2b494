//! What a command prints: a table for people or JSON for programs.

use crate::failure::{Failure, one_line};
use blockscale::analysis::{Errors, Metrics};
use serde::Serialize;
use std::fmt::{self, Display};
use std::io::{self, BufWriter, Write};

/// The version of every JSON report. It grows when a field changes its meaning or goes away.
///
/// 2: a `qsnr_db` of null is perfect only with `exact`; what nothing was measured of has no figures.
const SCHEMA_VERSION: u32 = 2;

#[derive(Serialize)]
struct Versioned<'a, T> {
    schema_version: u32,
    command: &'static str,
    #[serde(flatten)]
    report: &'a T,
}

/// Prints a report on standard output.
pub fn print<T: Serialize + Display>(
    command: &'static str,
    json: bool,
    report: &T,
) -> Result<(), Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    if json {
        let versioned = Versioned { schema_version: SCHEMA_VERSION, command, report };
        serde_json::to_writer_pretty(&mut out, &versioned).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        write!(out, "{report}")?;
    }
    out.flush()?;
    Ok(())
}

/// A table: columns that begin with `>` are numbers, set to the right.
pub struct Table {
    columns: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(columns: &'static [&'static str]) -> Self {
        Self { columns, rows: Vec::new() }
    }
    /// Adds a row of one cell a column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| one_line(&cell)).collect());
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let titles = self.columns.iter().map(|title| title.trim_start_matches('>').to_owned());
        let titles: Vec<String> = titles.collect();
        let lines: Vec<&Vec<String>> = [&titles].into_iter().chain(&self.rows).collect();
        let width = |column: usize| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        for line in lines {
            let mut text = String::new();
            for ((cell, title), width) in line.iter().zip(self.columns).zip(&widths) {
                let width = *width;
                text += &match title.starts_with('>') {
                    true => format!("{cell:>width$}  "),
                    false => format!("{cell:<width$}  "),
                };
            }
            writeln!(f, "{}", text.trim_end())?;
        }
        Ok(())
    }
}

/// The error of quantized values. JSON has neither infinity nor NaN: both are null, and `exact`
/// tells a QSNR that is infinite from one that means nothing.
#[derive(Serialize)]
pub struct ErrorReport {
    elements: u64,
    /// NaN and Inf among the original values, and finite values that became NaN or Inf.
    nan: u64,
    inf: u64,
    lost: u64,
    /// Elements that the figures below are about.
    measured: u64,
    /// Every element is finite and came back as it was.
    exact: bool,
    relative_mse: f64,
    qsnr_db: f64,
    cosine: f64,
    max_error: f64,
    misalignment: f64,
    flushed_share: f64,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    blocks: Option<BlockReport>,
}

#[derive(Serialize)]
struct BlockReport {
    clipped_share: f64,
    zeroed_scale_share: f64,
    mean_crest_factor: f64,
}

impl From<&Errors> for ErrorReport {
    fn from(errors: &Errors) -> Self {
        Self {
            elements: errors.elements(),
            nan: errors.nan(),
            inf: errors.inf(),
            lost: errors.lost(),
            measured: errors.measured(),
            exact: errors.is_exact(),
            relative_mse: errors.relative_mse(),
            qsnr_db: errors.qsnr(),
            cosine: errors.cosine(),
            max_error: errors.max_error(),
            misalignment: errors.misalignment(),
            flushed_share: errors.flushed_share(),
            blocks: None,
        }
    }
}

impl From<&Metrics> for ErrorReport {
    fn from(metrics: &Metrics) -> Self {
        let blocks = BlockReport {
            clipped_share: metrics.blocks.clipped_share(),
            zeroed_scale_share: metrics.blocks.zeroed_share(),
            mean_crest_factor: metrics.blocks.mean_crest(),
        };
        Self { blocks: Some(blocks), ..Self::from(&metrics.errors) }
    }
}

impl ErrorReport {
    /// QSNR in dB; none of nothing, and none where special values hide that it is not perfect.
    pub fn qsnr(&self) -> String {
        match self.elements == 0 || self.qsnr_db == f64::INFINITY && !self.exact {
            true => nothing(),
            false => decibels(self.qsnr_db),
        }
    }
    /// NaN and Inf of the original, and finite values that were lost.
    pub fn special_cells(&self) -> [String; 2] {
        [self.nan + self.inf, self.lost].map(|count| count.to_string())
    }
    /// Relative MSE, QSNR, cosine, largest error, clipped and flushed shares, special values.
    pub fn cells(&self) -> Vec<String> {
        let clipped = self.blocks.as_ref().map(|blocks| blocks.clipped_share);
        let known = |value: f64, text: String| if value.is_nan() { nothing() } else { text };
        let figures = [
            known(self.relative_mse, scientific(self.relative_mse)),
            self.qsnr(),
            known(self.cosine, format!("{:.6}", self.cosine)),
            known(self.max_error, scientific(self.max_error)),
            clipped.map_or(nothing(), percent),
            percent(self.flushed_share),
        ];
        figures.into_iter().chain(self.special_cells()).collect()
    }
    /// The QSNR, and what it does not count.
    pub fn summary(&self) -> String {
        let Self { measured, elements, nan, inf, lost, .. } = self;
        let lost = match lost {
            0 => String::new(),
            lost => format!("; {lost} finite values lost to NaN or Inf"),
        };
        format!(
            "overall QSNR {} dB of {measured} of {elements} values; inputs with {nan} NaN and {inf} \
             Inf{lost}",
            self.qsnr()
        )
    }
}

/// What stands where there is nothing to say.
pub fn nothing() -> String {
    "-".to_owned()
}

pub fn decibels(value: f64) -> String {
    if value.is_nan() { nothing() } else { format!("{value:.2}") }
}

pub fn scientific(value: f64) -> String {
    format!("{value:.3e}")
}

pub fn percent(share: f64) -> String {
    format!("{:.4}%", share * 100.0)
}

pub fn shape(shape: &[usize]) -> String {
    format!("{shape:?}")
}

/// before / after, "-" where nothing is left.
pub fn ratio(before: u64, after: u64) -> Option<f64> {
    (after > 0).then(|| before as f64 / after as f64)
}
