//! PTX text to decoded instructions.

mod body;
mod decode;
mod lex;
mod module;
mod parse;

pub use module::{Entry, Function, Module, Parameter, Prefill, Special, Variable, VariableSpace};
