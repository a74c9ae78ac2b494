//! Which tensors are quantized, and why the others are not.

use crate::failure::{Failure, note};
use blockscale::Blocks;
use blockscale::checkpoint::{Float, Reader, Record, Stored, StoredRotation, StoredRounding};
use blockscale::numerics::Profile;
use globset::{Glob, GlobSet, GlobSetBuilder};
use std::collections::HashSet;

/// The user's choice.
pub struct Selection {
    patterns: Vec<String>,
    include: GlobSet,
    exclude: GlobSet,
    how: How,
}

/// How the chosen tensors are quantized.
pub struct How {
    pub profile: Profile,
    pub rounding: StoredRounding,
    pub rotation: Option<StoredRotation>,
    pub blocks: Blocks,
    /// Negative counts from the end.
    pub axis: i64,
}

/// What becomes of a tensor.
pub enum Choice {
    /// It is quantized so.
    Quantize(Record),
    /// It is copied, for that reason.
    Copy { reason: String },
}

impl Selection {
    pub fn new(include: &[String], exclude: &[String], how: How) -> Result<Self, Failure> {
        let (patterns, include) = (include.to_vec(), globs("--include", include)?);
        Ok(Self { patterns, include, exclude: globs("--exclude", exclude)?, how })
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
                (Ok(record), true) => self.fitting(record),
                (_, false) if matches.is_empty() => copy("not included"),
                (Ok(record), false) => Choice::Quantize(record),
                (Err(reason), false) if self.names(&matches) => {
                    return Err(Failure::User(format!(
                        "{}: tensor '{}': --include names it, but it cannot be quantized: {reason}",
                        reader.path().display(),
                        tensor.name,
                    )));
                }
                (Err(reason), _) => Choice::Copy { reason },
            });
            matched.extend(matches);
        }
        let idle = self.patterns.iter().enumerate().filter(|(i, _)| !matched.contains(i));
        idle.for_each(|(_, pattern)| note(&format!("--include '{pattern}' matches no tensor")));
        Ok(choices)
    }

    /// Whether one of the matching patterns is a name in full: a wildcard takes what it can.
    fn names(&self, matches: &[usize]) -> bool {
        let literal = |pattern: &String| !pattern.contains(['*', '?', '[', '{']);
        matches.iter().filter_map(|i| self.patterns.get(*i)).any(literal)
    }

    /// The record of a tensor that can be quantized; else why it cannot.
    fn possible(&self, tensor: &Stored, part: bool) -> Result<Record, String> {
        let How { profile, rounding, rotation, blocks, axis } = self.how;
        if part {
            return Err("part of a quantized tensor".to_owned());
        }
        let float = Float::of(tensor.dtype)
            .ok_or_else(|| format!("{} is not F32, BF16 or F16", tensor.dtype))?;
        let rank = tensor.shape.len();
        if rank == 0 {
            return Err("a scalar has no axis".to_owned());
        }
        let counted = match axis {
            axis if axis < 0 => i128::from(axis) + rank as i128,
            axis => i128::from(axis),
        };
        let known = usize::try_from(counted).ok().filter(|axis| *axis < rank);
        let axis = known.ok_or_else(|| format!("{rank} axes: there is no axis {axis}"))?;
        let shape = tensor.shape.to_vec();
        let record = Record { profile, rounding, rotation, blocks, axis, dtype: float, shape };
        let checked = record
            .stored_shape()
            .and_then(|shape| record.quantize(tensor.name).check_shape(&shape));
        checked.map(|()| record).map_err(|error| error.to_string())
    }

    /// What is chosen without --include: matrices, alone or stacked, that hold a block.
    fn fitting(&self, record: Record) -> Choice {
        let (rank, block) = (record.shape.len(), self.how.profile.format().block());
        let k = record.shape.get(record.axis).copied().unwrap_or(0);
        match (rank, k < block) {
            (2 | 3, false) => Choice::Quantize(record),
            (2 | 3, true) => {
                Choice::Copy { reason: format!("block axis of {k} is shorter than {block}") }
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
