//! The decoded form of instructions: what the interpreter executes.

mod matrix;
mod memory;
mod op;
mod types;

pub use matrix::*;
pub use memory::*;
pub use op::*;
pub use types::*;
