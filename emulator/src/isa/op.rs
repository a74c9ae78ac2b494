//! Instructions.

use super::{
    AsyncCopy, Atomic, BoolOp, Collective, Compare, FloatType, IntType, Load, Space, Store, Type,
};
use crate::numeric::Rounding;

/// A register: its place in the frame of the running function. Constants and most special
/// registers are registers too, filled before the first instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reg(pub u32);

/// A predicate register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PredReg(pub u32);

/// A predicate operand: the register or its negation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// The register.
    pub register: PredReg,
    /// Whether the negation counts.
    pub negated: bool,
}

/// One instruction of the flattened code of a module.
#[derive(Clone, Debug)]
pub struct Instruction {
    /// Lanes where this does not hold skip the instruction.
    pub guard: Option<Guard>,
    /// What to do.
    pub op: Op,
    /// Line in the source, from 1.
    pub line: u32,
    /// Byte range of the statement in the source.
    pub text: (u32, u32),
}

/// What an instruction does.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Op {
    /// Fences, prefetches and hints: executed in order, they change nothing here.
    Nothing,
    Copy {
        dst: Reg,
        src: Reg,
    },
    CopyPred {
        dst: PredReg,
        src: Guard,
    },
    Pack {
        dst: Reg,
        sources: Vec<Reg>,
        bits: u32,
    },
    Unpack {
        destinations: Vec<Option<Reg>>,
        src: Reg,
        bits: u32,
    },
    /// The local-memory address of a variable of the frame.
    FrameAddress {
        dst: Reg,
        offset: i64,
    },
    ReadClock {
        dst: Reg,
        clock: Clock,
    },
    ActiveMask {
        dst: Reg,
    },

    Int1 {
        op: Int1,
        ty: IntType,
        dst: Reg,
        a: Reg,
    },
    Int2 {
        op: Int2,
        ty: IntType,
        dst: Reg,
        a: Reg,
        b: Reg,
    },
    Int3 {
        op: Int3,
        ty: IntType,
        dst: Reg,
        a: Reg,
        b: Reg,
        c: Reg,
    },
    Int4 {
        op: Int4,
        ty: IntType,
        dst: Reg,
        a: Reg,
        b: Reg,
        c: Reg,
        d: Reg,
    },
    /// `lop3`; the predicate form stores `(result != 0) op q`.
    Lop3 {
        dst: Option<Reg>,
        a: Reg,
        b: Reg,
        c: Reg,
        table: u8,
        predicate: Option<(BoolOp, PredReg, Guard)>,
    },
    Carry {
        op: CarryOp,
        ty: IntType,
        dst: Reg,
        a: Reg,
        b: Reg,
        c: Option<Reg>,
        reads: bool,
        writes: bool,
    },
    /// Two 16-bit integers a register.
    Half2 {
        op: Int2,
        signed: bool,
        relu: bool,
        dst: Reg,
        a: Reg,
        b: Reg,
    },

    Float1 {
        op: Float1,
        mode: FloatMode,
        dst: Reg,
        a: Reg,
    },
    Float2 {
        op: Float2,
        mode: FloatMode,
        dst: Reg,
        a: Reg,
        b: Reg,
    },
    Float3 {
        op: Float3,
        mode: FloatMode,
        dst: Reg,
        a: Reg,
        b: Reg,
        c: Reg,
    },
    TestProperty {
        property: Property,
        ty: FloatType,
        dst: PredReg,
        a: Reg,
    },

    SetPredicate(Box<SetPredicate>),
    /// `set`: all ones, or 1.0, where the comparison holds.
    Set {
        comparison: Box<SetPredicate>,
        float_result: bool,
        dst: Reg,
    },
    Select {
        dst: Reg,
        a: Reg,
        b: Reg,
        condition: Guard,
    },
    /// `slct`: a where c >= 0, else b.
    SelectBySign {
        dst: Reg,
        a: Reg,
        b: Reg,
        c: Reg,
        float: bool,
        flush: bool,
    },
    PredLogic {
        op: BoolOp,
        dst: PredReg,
        a: Guard,
        b: Guard,
    },

    Convert(Box<Convert>),

    Load(Box<Load>),
    Store(Box<Store>),
    Atomic(Box<Atomic>),
    /// `cvta`: adds (`to_generic`) or removes the window of a state space.
    ConvertAddress {
        dst: Reg,
        src: Reg,
        space: Space,
        to_generic: bool,
    },
    IsSpace {
        dst: PredReg,
        src: Reg,
        space: Space,
    },
    AsyncCopy(Box<AsyncCopy>),
    AsyncCommit,
    /// Waits until at most so many groups are pending; `None` waits for uncommitted copies too.
    AsyncWait {
        pending: Option<u32>,
    },

    Branch {
        target: usize,
    },
    BranchIndexed {
        index: Reg,
        targets: Vec<usize>,
    },
    Call(Box<Call>),
    Return,
    Exit,
    Trap,

    Barrier(Box<Barrier>),
    Collective(Box<Collective>),
}

/// Integer operations of one operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Int1 {
    Neg,
    Abs,
    Not,
    /// Logical negation: 1 for zero, else 0.
    Cnot,
    PopCount,
    LeadingZeros,
    Reverse,
    /// Position of the highest bit that differs from the sign; all ones if there is none.
    FindBit {
        shift_amount: bool,
    },
}

/// Integer operations of two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Int2 {
    Add,
    AddSaturating,
    Sub,
    SubSaturating,
    MulLow,
    MulHigh,
    MulWide,
    Mul24 {
        high: bool,
    },
    Div,
    Rem,
    Min,
    Max,
    MinRelu,
    MaxRelu,
    And,
    Or,
    Xor,
    Shl,
    Shr,
    /// Sign- or zero-extends the low b bits.
    ExtendBits {
        wrap: bool,
    },
    /// b ones from bit a upwards.
    BitMask {
        wrap: bool,
    },
}

/// Integer operations of three operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Int3 {
    MadLow,
    MadHigh,
    MadHighSaturating,
    MadWide,
    Mad24 {
        high: bool,
    },
    SumOfAbsoluteDifferences,
    ExtractField,
    FunnelShift {
        left: bool,
        wrap: bool,
    },
    Permute(PermuteMode),
    /// Four products of bytes.
    Dot4 {
        a_signed: bool,
        b_signed: bool,
    },
    /// Two products of 16-bit a with two bytes of b.
    Dot2 {
        a_signed: bool,
        b_signed: bool,
        high: bool,
    },
    /// `fns`: the c-th set bit from b.
    FindNthSet,
}

/// Integer operations of four operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Int4 {
    InsertField,
}

/// `prmt` modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum PermuteMode {
    Selected,
    Forward4,
    Backward4,
    Replicate8,
    EdgeLeft,
    EdgeRight,
    Replicate16,
}

/// Operations with the carry bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CarryOp {
    Add,
    Sub,
    MadLow,
    MadHigh,
}

/// Type, rounding and modifiers of a floating-point operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloatMode {
    /// Of one element.
    pub ty: FloatType,
    /// Elements a register.
    pub count: u32,
    /// Direction.
    pub rounding: Rounding,
    /// `.ftz`: subnormals are zero.
    pub flush: bool,
    /// `.sat`: clamp to [0, 1].
    pub saturate: bool,
    /// `.relu`: negative results become zero.
    pub relu: bool,
}

/// Floating-point operations of one operand. Those marked approximate compute in f64 and round
/// once, which hardware does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Float1 {
    Neg,
    Abs,
    Sqrt,
    Reciprocal,
    /// Approximate.
    ReciprocalSqrt,
    /// Approximate.
    Exp2,
    /// Approximate.
    Log2,
    /// Approximate.
    Sine,
    /// Approximate.
    Cosine,
    /// Approximate.
    Tanh,
}

/// Floating-point operations of two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Float2 {
    Add,
    Sub,
    Mul,
    Div,
    Min { nan: bool, xor_sign: bool, magnitude: bool },
    Max { nan: bool, xor_sign: bool, magnitude: bool },
    CopySign,
}

/// Floating-point operations of three operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Float3 {
    Fma,
    Min { nan: bool, magnitude: bool },
    Max { nan: bool, magnitude: bool },
}

/// `testp` properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Property {
    Finite,
    Infinite,
    Number,
    NotANumber,
    Normal,
    Subnormal,
}

/// `setp`, and the comparison of `set`.
#[derive(Clone, Copy, Debug)]
pub struct SetPredicate {
    /// The comparison.
    pub compare: Compare,
    /// Of the operands.
    pub ty: CompareType,
    /// Gets the result combined with the predicate operand.
    pub dst: Option<PredReg>,
    /// Gets the negated comparison combined likewise.
    pub complement: Option<PredReg>,
    /// Left operand.
    pub a: Reg,
    /// Right operand.
    pub b: Reg,
    /// What the result is combined with.
    pub combine: Option<(BoolOp, Guard)>,
}

/// What a comparison compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareType {
    /// Integers.
    Int(IntType),
    /// Floats, perhaps flushing subnormals.
    Float {
        /// Type.
        ty: FloatType,
        /// `.ftz`.
        flush: bool,
    },
    /// Two 16-bit floats; the two results go to `dst` and `complement`.
    Half2(FloatType),
}

/// `cvt`.
#[derive(Clone, Debug)]
pub struct Convert {
    /// Result type.
    pub to: Type,
    /// Operand type.
    pub from: Type,
    /// Of the result; `None` where none is written.
    pub rounding: Option<Rounding>,
    /// `.rni` and its kin: the result is an integer.
    pub to_integer: bool,
    /// `.rs`: the last source holds random bits.
    pub stochastic: bool,
    /// `.ftz`.
    pub flush: bool,
    /// `.sat`.
    pub saturate: bool,
    /// `.satfinite`.
    pub finite: bool,
    /// `.relu`.
    pub relu: bool,
    /// Result and its register's width.
    pub dst: (Reg, u32),
    /// Operands, in the order written.
    pub sources: Vec<Reg>,
}

/// `call` of a function of the module.
#[derive(Clone, Debug)]
pub struct Call {
    /// Index into the module's functions.
    pub function: usize,
    /// Where the arguments lie in the caller's frame.
    pub arguments: Vec<i64>,
    /// Where the results go in the caller's frame.
    pub results: Vec<i64>,
}

/// `bar` and `barrier`.
#[derive(Clone, Copy, Debug)]
pub struct Barrier {
    /// What happens.
    pub kind: BarrierKind,
    /// Which of the 16 barriers.
    pub id: Reg,
    /// Threads to wait for; all of the block if absent.
    pub threads: Option<Reg>,
    /// Whether all lanes must stand at this instruction.
    pub aligned: bool,
    /// The predicate that `red` reduces.
    pub condition: Option<Guard>,
}

/// Kinds of barrier instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum BarrierKind {
    Sync,
    Arrive,
    Count { dst: Reg },
    All { dst: PredReg },
    Any { dst: PredReg },
}

/// Registers whose value changes while a kernel runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Clock {
    Cycles { bits: u32, high: bool },
    Nanoseconds,
}
