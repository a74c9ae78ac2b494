//! Instructions that a warp executes together.

use super::{Address, Compare, FloatType, Guard, IntType, PredReg, Reg, Type};

/// A warp-wide instruction and its operands.
#[derive(Clone, Debug)]
pub struct Collective {
    /// What the lanes do together.
    pub kind: CollectiveKind,
    /// Which lanes must take part.
    pub members: Members,
    /// Register results, each optional.
    pub destinations: Vec<Option<Reg>>,
    /// Register operands.
    pub sources: Vec<Reg>,
    /// Predicate result.
    pub predicate: Option<PredReg>,
    /// Predicate operand.
    pub condition: Option<Guard>,
    /// Shared-memory operand.
    pub address: Option<Address>,
}

/// Which lanes a collective waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Members {
    /// Those in the mask operand, wherever they execute an equal instruction.
    Mask(Reg),
    /// All 32, at this very instruction (`.aligned`).
    Warp,
}

/// The warp-wide operations.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum CollectiveKind {
    SyncWarp,
    Shuffle(ShuffleMode),
    Vote(VoteMode),
    MatchAny,
    MatchAll,
    Reduce(ReduceOp),
    Elect,
    LoadMatrix { count: u32, transpose: bool },
    StoreMatrix { count: u32, transpose: bool },
    MoveMatrix,
    Mma(MmaShape),
}

/// `shfl` modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ShuffleMode {
    Up,
    Down,
    Butterfly,
    Index,
}

/// `vote` modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum VoteMode {
    All,
    Any,
    Uniform,
    Ballot,
}

/// `redux` operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ReduceOp {
    Add,
    Min(IntType),
    Max(IntType),
    And,
    Or,
    Xor,
    /// `compare` is `Lt` for min and `Gt` for max.
    Float {
        compare: Compare,
        magnitude: bool,
        nan: bool,
    },
}

/// The tile and the types of an `mma.sync`: D = A * B + C with A of m*k, B of k*n elements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MmaShape {
    /// Rows of A: 16.
    pub m: usize,
    /// Columns of B: 8.
    pub n: usize,
    /// Columns of A.
    pub k: usize,
    /// Elements of A.
    pub a: MmaElement,
    /// Elements of B.
    pub b: MmaElement,
    /// Elements of C and D.
    pub accumulator: Accumulator,
    /// Scale factors, if any.
    pub scales: Option<BlockScale>,
}

/// What A and B hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MmaElement {
    /// 16-bit floats, two a register.
    Half(FloatType),
    /// f32 of which the upper 19 bits count, one a register.
    Tf32,
    /// 8-bit integers, four a register.
    Int(IntType),
    /// 4-, 6- or 8-bit floats in 8-bit containers, four a register. FP4 sits in bits 2 to 5.
    Byte(Type),
    /// FP4, eight a register.
    Nibble,
}

impl MmaElement {
    /// Elements in a 32-bit register.
    pub fn per_register(self) -> usize {
        match self {
            Self::Tf32 => 1,
            Self::Half(_) => 2,
            Self::Int(_) | Self::Byte(_) => 4,
            Self::Nibble => 8,
        }
    }
}

/// What C and D hold.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Accumulator {
    F32,
    F16,
    S32 { saturate: bool },
}

/// Block scales of `mma ... .block_scale`: each row of A and column of B has `vectors` scales.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockScale {
    /// Scales along K: 1, 2 or 4.
    pub vectors: usize,
    /// `Ue8m0` or `Ue4m3`.
    pub ty: Type,
}
