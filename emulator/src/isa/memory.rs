//! Memory instructions.

use super::{Reg, Type};

/// A state space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// No space given: the address says which.
    Generic,
    /// Device memory.
    Global,
    /// Read-only device memory.
    Const,
    /// Memory of the block.
    Shared,
    /// Memory of the thread.
    Local,
    /// The arguments of the kernel.
    Param,
}

/// Where an address starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// A register's value.
    Register(Reg),
    /// Zero: the offset is the address.
    Absolute,
    /// The running function's frame in local memory.
    Frame,
}

/// An address operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The part known at run time.
    pub base: Base,
    /// The part known now.
    pub offset: i64,
}

/// `ld`: `destinations[i]` gets element i; `None` stands for the sink `_`.
#[derive(Clone, Debug)]
pub struct Load {
    /// Where from.
    pub space: Space,
    /// Of one element.
    pub ty: Type,
    /// Register and its width in bits.
    pub destinations: Vec<Option<(Reg, u32)>>,
    /// Of the first element.
    pub address: Address,
    /// Volatile, relaxed or acquire: may meet other strong accesses without being a race.
    pub strong: bool,
}

/// `st`.
#[derive(Clone, Debug)]
pub struct Store {
    /// Where to.
    pub space: Space,
    /// Of one element.
    pub ty: Type,
    /// One register an element.
    pub sources: Vec<Reg>,
    /// Of the first element.
    pub address: Address,
    /// Volatile, relaxed or release.
    pub strong: bool,
}

/// The read-modify-write operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum AtomicOp {
    And,
    Or,
    Xor,
    Exchange,
    CompareSwap,
    Add,
    Inc,
    Dec,
    Min,
    Max,
}

/// `atom`, and `red` when there is no destination.
#[derive(Clone, Debug)]
pub struct Atomic {
    /// What to do.
    pub op: AtomicOp,
    /// Generic, global or shared.
    pub space: Space,
    /// Of the memory cell.
    pub ty: Type,
    /// Gets the old value.
    pub destination: Option<Reg>,
    /// Of the cell.
    pub address: Address,
    /// The operand, or the comparand of `cas`.
    pub b: Reg,
    /// The new value of `cas`.
    pub c: Option<Reg>,
}

/// `cp.async` from global to shared memory.
#[derive(Clone, Debug)]
pub struct AsyncCopy {
    /// In shared memory.
    pub destination: Address,
    /// In global memory.
    pub source: Address,
    /// 4, 8 or 16.
    pub bytes: u32,
    /// How much of it to read; the rest becomes zero.
    pub source_bytes: SourceBytes,
}

/// The optional operand of `cp.async`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceBytes {
    /// Read all.
    All,
    /// Read as many as the register says.
    Register(Reg),
    /// Read nothing where the predicate holds.
    IgnoreIf(super::Guard),
}
