//! Operand types and the small enumerations that qualify instructions.

/// A type suffix of the PTX language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Type {
    Pred,
    B8,
    B16,
    B32,
    B64,
    B128,
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
    U16x2,
    S16x2,
    F16,
    F16x2,
    Bf16,
    Bf16x2,
    Tf32,
    F32,
    F32x2,
    F64,
    E4m3,
    E5m2,
    E2m3,
    E3m2,
    E2m1,
    Ue8m0,
    Ue4m3,
    E4m3x2,
    E5m2x2,
    E2m3x2,
    E3m2x2,
    E2m1x2,
    Ue8m0x2,
    E4m3x4,
    E5m2x4,
    E2m3x4,
    E3m2x4,
    E2m1x4,
}

impl Type {
    /// Reads a suffix without its dot.
    pub fn parse(suffix: &str) -> Option<Self> {
        Some(match suffix {
            "pred" => Self::Pred,
            "b8" => Self::B8,
            "b16" => Self::B16,
            "b32" => Self::B32,
            "b64" => Self::B64,
            "b128" => Self::B128,
            "u8" => Self::U8,
            "u16" => Self::U16,
            "u32" => Self::U32,
            "u64" => Self::U64,
            "s8" => Self::S8,
            "s16" => Self::S16,
            "s32" => Self::S32,
            "s64" => Self::S64,
            "u16x2" => Self::U16x2,
            "s16x2" => Self::S16x2,
            "f16" => Self::F16,
            "f16x2" => Self::F16x2,
            "bf16" => Self::Bf16,
            "bf16x2" => Self::Bf16x2,
            "tf32" => Self::Tf32,
            "f32" => Self::F32,
            "f32x2" => Self::F32x2,
            "f64" => Self::F64,
            "e4m3" => Self::E4m3,
            "e5m2" => Self::E5m2,
            "e2m3" => Self::E2m3,
            "e3m2" => Self::E3m2,
            "e2m1" => Self::E2m1,
            "ue8m0" => Self::Ue8m0,
            "ue4m3" => Self::Ue4m3,
            "e4m3x2" => Self::E4m3x2,
            "e5m2x2" => Self::E5m2x2,
            "e2m3x2" => Self::E2m3x2,
            "e3m2x2" => Self::E3m2x2,
            "e2m1x2" => Self::E2m1x2,
            "ue8m0x2" => Self::Ue8m0x2,
            "e4m3x4" => Self::E4m3x4,
            "e5m2x4" => Self::E5m2x4,
            "e2m3x4" => Self::E2m3x4,
            "e3m2x4" => Self::E3m2x4,
            "e2m1x4" => Self::E2m1x4,
            _ => return None,
        })
    }

    /// Width in bits of a register or memory cell of this type.
    pub fn bits(self) -> u32 {
        match self {
            Self::Pred => 1,
            Self::B8 | Self::U8 | Self::S8 | Self::E2m1x2 => 8,
            Self::E4m3
            | Self::E5m2
            | Self::E2m3
            | Self::E3m2
            | Self::E2m1
            | Self::Ue8m0
            | Self::Ue4m3 => 8,
            Self::B16 | Self::U16 | Self::S16 | Self::F16 | Self::Bf16 => 16,
            Self::E4m3x2
            | Self::E5m2x2
            | Self::E2m3x2
            | Self::E3m2x2
            | Self::Ue8m0x2
            | Self::E2m1x4 => 16,
            Self::B64 | Self::U64 | Self::S64 | Self::F64 | Self::F32x2 => 64,
            Self::B128 => 128,
            _ => 32,
        }
    }

    /// Whether values are two's complement.
    pub fn signed(self) -> bool {
        matches!(self, Self::S8 | Self::S16 | Self::S32 | Self::S64)
    }

    /// The integer type of the same width; `None` for floating-point and packed types.
    pub fn integer(self) -> Option<IntType> {
        match self {
            Self::B8
            | Self::U8
            | Self::B16
            | Self::U16
            | Self::B32
            | Self::U32
            | Self::B64
            | Self::U64 => Some(IntType { bits: self.bits(), signed: false }),
            Self::S8 | Self::S16 | Self::S32 | Self::S64 => {
                Some(IntType { bits: self.bits(), signed: true })
            }
            _ => None,
        }
    }

    /// The scalar floating-point type and how many of it one operand holds.
    pub fn float(self) -> Option<(FloatType, u32)> {
        Some(match self {
            Self::F16 => (FloatType::F16, 1),
            Self::F16x2 => (FloatType::F16, 2),
            Self::Bf16 => (FloatType::Bf16, 1),
            Self::Bf16x2 => (FloatType::Bf16, 2),
            Self::F32 => (FloatType::F32, 1),
            Self::F32x2 => (FloatType::F32, 2),
            Self::F64 => (FloatType::F64, 1),
            _ => return None,
        })
    }
}

/// An integer type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntType {
    /// Width.
    pub bits: u32,
    /// Two's complement or not.
    pub signed: bool,
}

impl IntType {
    /// All ones in the type's width.
    #[inline(always)]
    pub fn mask(self) -> u64 {
        u64::MAX >> (64 - self.bits)
    }

    /// The value as a signed number.
    #[inline(always)]
    pub fn sign_extend(self, value: u64) -> i64 {
        let unused = 64 - self.bits;
        ((value << unused) as i64) >> unused
    }

    /// The value as a mathematical integer.
    #[inline(always)]
    pub fn wide(self, value: u64) -> i128 {
        if self.signed {
            i128::from(self.sign_extend(value))
        } else {
            i128::from(value & self.mask())
        }
    }
}

/// A scalar floating-point type that has arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum FloatType {
    F16,
    Bf16,
    F32,
    F64,
}

/// Comparison operators; the second group is true also when an operand is NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Equ,
    Neu,
    Ltu,
    Leu,
    Gtu,
    Geu,
    Num,
    Nan,
}

/// How a comparison or a LUT result is combined with a predicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum BoolOp {
    And,
    Or,
    Xor,
}

impl BoolOp {
    /// Applies the operator to 32 lanes at once.
    pub fn apply(self, a: u32, b: u32) -> u32 {
        match self {
            Self::And => a & b,
            Self::Or => a | b,
            Self::Xor => a ^ b,
        }
    }
}
