//! The CUDA driver API on top of the interpreter.
//!
//! All work is done when it is submitted, in the order of the calls: that is one of the orders that
//! streams allow. A launch therefore returns its own error, as real drivers do under
//! `CUDA_LAUNCH_BLOCKING`, and the error then sticks to the context.

mod capture;
mod context;
mod event;
mod extra;
mod launch;
mod memory;
mod module;
mod state;
mod status;
mod stream;
mod unsupported;

pub use extra::{
    blockscale_emulator_clear_error, blockscale_emulator_counters,
    blockscale_emulator_counters_total, blockscale_emulator_last_message,
};
