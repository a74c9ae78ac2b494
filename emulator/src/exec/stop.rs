//! How an instruction ends a kernel.

use crate::error::FaultKind;
use crate::isa::{PredReg, Reg};

/// What stopped a lane.
#[derive(Debug)]
pub(super) enum Cause {
    Fault(FaultKind),
    /// An undefined register; its name is looked up when the message is made.
    Register(Reg),
    Predicate(PredReg),
}

/// A stopped kernel, before its place has been put into words.
#[derive(Debug)]
pub(super) struct Stop {
    pub cause: Cause,
    pub lane: u32,
    /// The instruction, where it is not the one being executed.
    pub pc: Option<usize>,
    /// The warp, where it is not the one being executed.
    pub warp: Option<usize>,
}

pub(super) type Step<T> = Result<T, Box<Stop>>;

/// Stops at a lane.
pub(super) fn stop<T>(lane: u32, fault: FaultKind) -> Step<T> {
    Err(Box::new(Stop { cause: Cause::Fault(fault), lane, pc: None, warp: None }))
}

/// Stops because an operand is outside what the instruction defines.
pub(super) fn bad_operand<T>(lane: u32, reason: impl Into<String>) -> Step<T> {
    stop(lane, FaultKind::BadOperand(reason.into()))
}

/// The lanes of a mask, lowest first.
pub(super) fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    let mut rest = mask;
    std::iter::from_fn(move || {
        (rest != 0).then(|| {
            let lane = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            lane
        })
    })
}

/// A mask in words: `lanes 0-15, 20`.
pub(super) fn describe(mask: u32) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for lane in lanes(mask) {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == lane => *last = lane,
            _ => runs.push((lane, lane)),
        }
    }
    let words =
        runs.iter().map(
            |(first, last)| {
                if first == last { first.to_string() } else { format!("{first}-{last}") }
            },
        );
    format!("lanes {}", words.collect::<Vec<_>>().join(", "))
}
