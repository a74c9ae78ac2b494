//! The host layers of the kernels: memory, strides, errors, graphs. On hardware where there is a
//! driver, on the emulator where `scripts/test` puts one in its place.
#![cfg(feature = "cuda")]
#![allow(unsafe_code)] // memory of other owners is a promise of theirs

mod arguments;
mod borrowed;
mod graphs;
mod pinned;
mod strides;
mod support;
