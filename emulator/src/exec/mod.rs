//! The interpreter.

mod block;
mod collective;
mod compare;
mod convert;
mod float;
mod grid;
mod integer;
mod matrix;
mod memory;
mod registers;
mod shared;
mod step;
mod stop;
mod warp;

pub(crate) use grid::{Executed, Launch, Limits, run};
