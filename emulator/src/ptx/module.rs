//! A loaded module.

use std::collections::HashMap;
use std::sync::Arc;

use crate::isa::{Instruction, Reg};
use crate::target::Target;

/// Decoded code and the tables around it.
#[derive(Debug)]
pub struct Module {
    /// From `.target`.
    pub target: Target,
    /// From `.version`.
    pub version: (u32, u32),
    /// All functions' instructions, one after the other.
    pub code: Vec<Instruction>,
    /// Kernels and device functions.
    pub functions: Vec<Function>,
    /// Variables in global and constant memory.
    pub variables: HashMap<String, Variable>,
    /// The text, for messages.
    pub source: Arc<str>,
}

impl Module {
    /// The kernel of this name.
    pub fn entry(&self, name: &str) -> Option<usize> {
        self.functions.iter().position(|f| f.entry.is_some() && f.name == name)
    }

    /// The names of all kernels.
    pub fn entries(&self) -> impl Iterator<Item = &str> {
        self.functions.iter().filter(|f| f.entry.is_some()).map(|f| f.name.as_str())
    }

    /// The source of an instruction on one line.
    pub fn text(&self, pc: usize) -> String {
        let (start, end) = self.code[pc].text;
        self.source[start as usize..end as usize].split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// A kernel or device function.
#[derive(Debug, Default)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// First instruction.
    pub start: usize,
    /// Whether a body was seen.
    pub defined: bool,
    /// Names of the registers; constants are named by their value.
    pub registers: Vec<String>,
    /// Names of the predicate registers.
    pub predicates: Vec<String>,
    /// Registers that have a value before the first instruction.
    pub prefilled: Vec<(Reg, Prefill)>,
    /// Predicates that do.
    pub constant_predicates: Vec<(u32, bool)>,
    /// Local memory of one call.
    pub frame_bytes: u32,
    /// Where the parameters lie: in the argument buffer of a kernel, in the frame of a function.
    pub parameters: Vec<Parameter>,
    /// Where the results lie in the frame.
    pub results: Vec<Parameter>,
    /// Set for kernels.
    pub entry: Option<Entry>,
}

/// What a launch needs to know of a kernel.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// Of all parameters with their padding.
    pub parameter_bytes: u32,
    /// Static shared memory.
    pub shared_bytes: u32,
    /// `.maxntid`, or the device's limit.
    pub max_threads: u32,
    /// `.reqntid`.
    pub required_block: Option<[u32; 3]>,
}

/// One parameter or result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// First byte.
    pub offset: u32,
    /// Length.
    pub bytes: u32,
}

/// The value a register has from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Prefill {
    /// A literal.
    Constant(u64),
    /// The start of dynamic shared memory plus an offset.
    DynamicShared(u64),
    /// A special register.
    Special(Special),
}

/// Special registers whose value does not change while a thread runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Special {
    ThreadIndex(usize),
    BlockSize(usize),
    BlockIndex(usize),
    GridSize(usize),
    Lane,
    Warp,
    WarpCount,
    Multiprocessor,
    MultiprocessorCount,
    GridId,
    LaneMaskEq,
    LaneMaskLe,
    LaneMaskLt,
    LaneMaskGe,
    LaneMaskGt,
    DynamicSharedBytes,
    TotalSharedBytes,
    Zero,
    One,
}

/// A variable in device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Device address.
    pub address: u64,
    /// Length.
    pub bytes: u64,
    /// Global or constant.
    pub space: VariableSpace,
}

/// The spaces a module-level variable can live in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum VariableSpace {
    Global,
    Const,
}
