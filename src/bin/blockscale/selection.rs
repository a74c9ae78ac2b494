//! Which tensors are quantized, and why the others are not.

use crate::failure::{Failure, note};
use blockscale::checkpoint::{Float, Reader, Stored};
use globset::{Glob, GlobSet, GlobSetBuilder};
use std::collections::HashSet;

/// The user's choice.
pub struct Selection {
    patterns: Vec<String>,
    include: GlobSet,
    exclude: GlobSet,
    /// Negative counts from the end.
    axis: i64,
    /// Elements of a block.
    block: usize,
}

/// What becomes of a tensor.
pub enum Choice {
    /// It is quantized along that axis.
    Quantize { float: Float, axis: usize },
    /// It is copied, for that reason.
    Copy { reason: String },
}

impl Selection {
    pub fn new(
        include: &[String],
        exclude: &[String],
        axis: i64,
        block: usize,
    ) -> Result<Self, Failure> {
        let (patterns, include) = (include.to_vec(), globs("--include", include)?);
        Ok(Self { patterns, include, exclude: globs("--exclude", exclude)?, axis, block })
    }

    /// Chooses among the tensors of a file, in the order in which they are stored.
    pub fn of(&self, reader: &Reader) -> Result<Vec<Choice>, Failure> {
        let parts = reader.records().keys().flat_map(|name| reader.parts(name));
        let parts: HashSet<&str> = parts.map(|part| part.name.as_str()).collect();
        let mut matched = HashSet::new();
        let mut choices = Vec::new();
        for tensor in reader.tensors() {
            let matches = self.include.matches(tensor.name);
            let possible = self.possible(&tensor, parts.contains(tensor.name));
            choices.push(match (possible, self.patterns.is_empty()) {
                _ if self.exclude.is_match(tensor.name) => copy("excluded"),
                (Err(reason), true) => Choice::Copy { reason },
                (Ok((float, axis)), true) => self.fitting(&tensor, float, axis),
                (_, false) if matches.is_empty() => copy("not included"),
                (Ok((float, axis)), false) => Choice::Quantize { float, axis },
                (Err(reason), false) => {
                    return Err(Failure::User(format!(
                        "{}: tensor '{}': --include chooses it, but it cannot be quantized: {reason}",
                        reader.path().display(),
                        tensor.name,
                    )));
                }
            });
            matched.extend(matches);
        }
        let idle = self.patterns.iter().enumerate().filter(|(i, _)| !matched.contains(i));
        idle.for_each(|(_, pattern)| note(&format!("--include '{pattern}' matches no tensor")));
        Ok(choices)
    }

    /// Type and axis of a tensor that can be quantized; else why it cannot.
    fn possible(&self, tensor: &Stored, part: bool) -> Result<(Float, usize), String> {
        if part {
            return Err("part of a quantized tensor".to_owned());
        }
        let float = Float::of(tensor.dtype)
            .ok_or_else(|| format!("{} is not F32, BF16 or F16", tensor.dtype))?;
        let rank = tensor.shape.len();
        if rank == 0 {
            return Err("a scalar has no axis".to_owned());
        }
        let counted = match self.axis {
            axis if axis < 0 => i128::from(axis) + rank as i128,
            axis => i128::from(axis),
        };
        let axis = usize::try_from(counted).ok().filter(|axis| *axis < rank);
        let axis = axis.ok_or_else(|| format!("{rank} axes: there is no axis {}", self.axis))?;
        Ok((float, axis))
    }

    /// What is chosen without --include: matrices, alone or stacked, that hold a block.
    fn fitting(&self, tensor: &Stored, float: Float, axis: usize) -> Choice {
        let (rank, k) = (tensor.shape.len(), tensor.shape.get(axis).copied().unwrap_or(0));
        match (rank, k < self.block) {
            (2 | 3, false) => Choice::Quantize { float, axis },
            (2 | 3, true) => {
                Choice::Copy { reason: format!("block axis of {k} is shorter than {}", self.block) }
            }
            (1, _) => copy("1 axis, not 2 or 3"),
            (rank, _) => Choice::Copy { reason: format!("{rank} axes, not 2 or 3") },
        }
    }
}

fn copy(reason: &str) -> Choice {
    Choice::Copy { reason: reason.to_owned() }
}

fn globs(option: &str, patterns: &[String]) -> Result<GlobSet, Failure> {
    let wrong = |error: globset::Error| Failure::User(format!("{option}: {error}"));
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(Glob::new(pattern).map_err(wrong)?);
    }
    set.build().map_err(wrong)
}
