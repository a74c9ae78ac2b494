//! What can go wrong: a module that cannot be loaded, a launch that cannot start, a kernel that
//! is stopped.

use crate::isa::Space;

/// Why a module was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The image is machine code or a container of it.
    #[error("the image is machine code ({0}); only PTX text can be executed")]
    NotPtx(&'static str),
    /// The text is not PTX, or is PTX that this emulator does not know.
    #[error("PTX line {line}: {reason}: `{text}`")]
    Invalid {
        /// Line from 1.
        line: u32,
        /// What is wrong.
        reason: String,
        /// The statement.
        text: String,
    },
    /// The text needs a newer driver.
    #[error("PTX version {0}.{1} is newer than the emulated driver's {2}.{3}")]
    Version(u32, u32, u32, u32),
    /// The text was made for a device that the emulated one cannot stand in for.
    #[error("PTX for {target} does not run on compute capability {major}.{minor}")]
    Target {
        /// From `.target`.
        target: String,
        /// Of the device.
        major: u32,
        /// Of the device.
        minor: u32,
    },
    /// A variable did not fit.
    #[error("out of device memory for variable {0}")]
    OutOfMemory(String),
}

/// Why a launch did not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    /// No such entry.
    #[error("the module has no entry {0}")]
    NoEntry(String),
    /// Grid or block out of range.
    #[error("{entry}: grid {grid:?} with blocks {block:?} cannot be launched: {reason}")]
    Geometry {
        /// The kernel.
        entry: String,
        /// Blocks.
        grid: [u32; 3],
        /// Threads.
        block: [u32; 3],
        /// The limit that is exceeded.
        reason: String,
    },
    /// Too much shared memory.
    #[error("{entry}: {wanted} bytes of shared memory wanted, {allowed} allowed")]
    SharedMemory {
        /// The kernel.
        entry: String,
        /// Static and dynamic together.
        wanted: u32,
        /// By attribute or device.
        allowed: u32,
    },
    /// Wrong number of argument bytes.
    #[error("{entry}: {got} argument bytes given, {wanted} wanted")]
    Arguments {
        /// The kernel.
        entry: String,
        /// Given.
        got: usize,
        /// By the entry's parameter list.
        wanted: usize,
    },
    /// The kernel was stopped.
    #[error(transparent)]
    Fault(#[from] Box<Fault>),
}

/// A kernel stopped by a check.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{entry} block {block:?} thread {thread:?}: {kind}\n  at PTX line {line}: {text}")]
pub struct Fault {
    /// The kernel.
    pub entry: String,
    /// Index of the block.
    pub block: [u32; 3],
    /// Index of the thread in the block.
    pub thread: [u32; 3],
    /// Line of the instruction, from 1.
    pub line: u32,
    /// The instruction.
    pub text: String,
    /// What happened.
    pub kind: FaultKind,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultKind {
    /// No allocation holds all the bytes.
    #[error("{access} of {bytes} bytes at {address:#x} is out of bounds in {space:?} memory{hint}")]
    OutOfBounds {
        /// Load, store, atomic.
        access: &'static str,
        /// Which memory.
        space: Space,
        /// First byte.
        address: u64,
        /// Length.
        bytes: u32,
        /// The nearest allocation, if known.
        hint: String,
    },
    /// The address is no multiple of the size.
    #[error("{access} of {bytes} bytes at {address:#x} is misaligned")]
    Misaligned {
        /// Load, store, atomic.
        access: &'static str,
        /// First byte.
        address: u64,
        /// Length.
        bytes: u32,
    },
    /// A store to constant memory.
    #[error("write to constant memory at {address:#x}")]
    ReadOnly {
        /// First byte.
        address: u64,
    },
    /// A register nobody wrote.
    #[error("register {register} is used before it is written")]
    UninitialisedRegister {
        /// Its name.
        register: String,
    },
    /// Shared memory nobody wrote.
    #[error("shared memory at {address:#x} is read before it is written")]
    UninitialisedShared {
        /// The byte.
        address: u32,
    },
    /// Two unordered accesses, at least one a write.
    #[error(
        "shared-memory race at {address:#x}: this {this} and an earlier {other} by thread {thread} have no barrier between them"
    )]
    SharedRace {
        /// The byte.
        address: u32,
        /// "read" or "write".
        this: &'static str,
        /// "read" or "write".
        other: &'static str,
        /// Linear index in the block.
        thread: u32,
    },
    /// The target of a `cp.async` was touched too early.
    #[error(
        "{access} at shared address {address:#x}, where a cp.async of this block has not been waited for"
    )]
    AsyncNotWaited {
        /// "read", "write".
        access: &'static str,
        /// The byte.
        address: u32,
    },
    /// Lanes that must act together do not.
    #[error("divergent collective: {0}")]
    Divergent(String),
    /// Lanes or threads wait for each other for ever.
    #[error("deadlock: {0}")]
    Deadlock(String),
    /// `trap`.
    #[error("trap executed")]
    Trap,
    /// An operand outside what the instruction defines.
    #[error("{0}")]
    BadOperand(String),
    /// The step budget ran out.
    #[error("more than {0} warp instructions executed by one block: taken for an endless loop")]
    Budget(u64),
}

impl FaultKind {
    /// The driver's error number for it.
    pub fn cuda_error(&self) -> u32 {
        match self {
            Self::OutOfBounds { .. } | Self::ReadOnly { .. } => 700,
            Self::Misaligned { .. } => 716,
            Self::UninitialisedRegister { .. }
            | Self::UninitialisedShared { .. }
            | Self::SharedRace { .. }
            | Self::AsyncNotWaited { .. } => 719,
            Self::Divergent(_) | Self::BadOperand(_) => 715,
            Self::Trap => 719,
            Self::Deadlock(_) | Self::Budget(_) => 702,
        }
    }
}
