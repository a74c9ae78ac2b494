//! One test for each instruction form: PTX written from the manual, results worked out by hand or
//! from the manual's pseudocode.

mod collective;
mod control;
mod convert;
mod faults;
mod float;
mod harness;
mod integer;
mod matrix;
mod memory;
mod refused;
mod settings;
