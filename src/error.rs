//! The error of every operation: what was given, and what would do.

/// The result of a fallible call.
pub type Result<T> = core::result::Result<T, Error>;

/// What was wrong with an argument. Each message names the value given and the rule it broke.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An element format that cannot exist.
    #[error("{given} is not an element format: {rule}")]
    InvalidElement {
        /// What was asked for.
        given: String,
        /// What would do.
        rule: &'static str,
    },
    /// A block format that cannot exist.
    #[error("{given} is not a block format: {rule}")]
    InvalidFormat {
        /// What was asked for.
        given: String,
        /// What would do.
        rule: &'static str,
    },
    /// A name that stands for nothing.
    #[error("unknown {kind} '{given}'; known: {known}")]
    UnknownName {
        /// What kind of name was looked up.
        kind: &'static str,
        /// The name.
        given: String,
        /// The names there are.
        known: String,
    },
    /// A profile that the format does not have.
    #[error("{format} has no profile '{given}'; it has: {known}")]
    UnknownProfile {
        /// The format.
        format: String,
        /// The name.
        given: String,
        /// The profiles of that format, the default first.
        known: String,
    },
    /// A profile whose knobs contradict each other or its format.
    #[error("profile {profile} of {format} is impossible: {rule}")]
    InvalidProfile {
        /// The profile.
        profile: String,
        /// Its format.
        format: String,
        /// What would do.
        rule: &'static str,
    },
    /// Unbiased rounding was asked of a profile that can clip or that selects by error.
    #[error(
        "profile {profile} of {format} cannot round without bias: {reason}; use {instead}, or leave \
         the demand out"
    )]
    NotUnbiased {
        /// The profile.
        profile: String,
        /// Its format.
        format: String,
        /// What biases it.
        reason: &'static str,
        /// Profiles of the same element that can.
        instead: &'static str,
    },
    /// A pair of formats that codes are not switched between.
    #[error("{from} is not requantized to {to}; offered are {offered}")]
    NotRequantized {
        /// The format of the tensor.
        from: String,
        /// The format that was asked for.
        to: String,
        /// The pairs that there are.
        offered: &'static str,
    },
    /// A length that does not fit the shape.
    #[error("{what} has {given} {unit}, but the shape {shape:?} needs {expected}")]
    WrongLength {
        /// Which buffer.
        what: &'static str,
        /// Its length.
        given: usize,
        /// What is counted.
        unit: &'static str,
        /// The shape.
        shape: Vec<usize>,
        /// The length that would do.
        expected: usize,
    },
    /// A shape that the operation cannot take.
    #[error("shape {shape:?}: {rule}")]
    InvalidShape {
        /// The shape.
        shape: Vec<usize>,
        /// What would do.
        rule: &'static str,
    },
    /// An axis that a rotation does not fit.
    #[error("shape {shape:?} has {given} {axis}, the rotation {size}: {rule}")]
    RotationSize {
        /// The shape.
        shape: Vec<usize>,
        /// What the axis counts.
        axis: &'static str,
        /// The length of the axis.
        given: usize,
        /// Values that are rotated together.
        size: usize,
        /// What would do.
        rule: &'static str,
    },
    /// A coordinate or a size beyond what can be addressed or drawn for.
    #[error("{what} is {given}, above the largest possible {limit}")]
    Overflow {
        /// Which quantity.
        what: &'static str,
        /// Its value.
        given: u128,
        /// Its limit.
        limit: u64,
    },
    /// A value that the parameter cannot have.
    #[error("{what} is {given}: {rule}")]
    InvalidValue {
        /// Which parameter.
        what: &'static str,
        /// Its value.
        given: String,
        /// What would do.
        rule: &'static str,
    },
    /// Stored parts that do not make a tensor.
    #[error("not a valid {format} tensor: {rule}")]
    InvalidTensor {
        /// The format.
        format: String,
        /// Which rule the parts break.
        rule: String,
    },
}
