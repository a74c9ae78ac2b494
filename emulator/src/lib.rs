//! Executes PTX without a GPU, on its own through [`Device`] or behind the CUDA driver API as a
//! stand-in for `libcuda.so.1`.
//!
//! The path of a kernel: [`ptx`] turns text into the typed instructions of [`isa`]; the interpreter
//! runs them warp by warp, blocks spread over threads; [`memory`] and the shared-memory checks stop
//! it at the first access that is wrong; [`Counters`] say what it cost.
//!
//! ```
//! use blockscale_emulator::{Config, Device, LaunchConfig};
//!
//! let ptx = "
//! .version 8.0
//! .target sm_80
//! .address_size 64
//! .visible .entry double(.param .u64 p) {
//!     .reg .b32 %r<3>;
//!     .reg .b64 %rd<4>;
//!     ld.param.u64 %rd1, [p];
//!     mov.u32 %r1, %tid.x;
//!     mul.wide.u32 %rd2, %r1, 4;
//!     add.s64 %rd3, %rd1, %rd2;
//!     ld.global.u32 %r2, [%rd3];
//!     shl.b32 %r2, %r2, 1;
//!     st.global.u32 [%rd3], %r2;
//!     ret;
//! }";
//! let mut device = Device::new(Config::default());
//! let module = device.load(ptx.as_bytes())?;
//! let buffer = device.memory_mut().allocate(32 * 4)?;
//! device.memory_mut().write(buffer, &[7u32.to_le_bytes(); 32].concat())?;
//! let arguments = Device::arguments(&module, "double", &[&buffer.to_le_bytes()])?;
//! let counters = device.launch(&module, "double", LaunchConfig::linear(1, 32), &arguments, None)?;
//! let mut result = [0; 4];
//! device.memory().read(buffer + 124, &mut result)?;
//! assert_eq!(u32::from_le_bytes(result), 14);
//! assert_eq!(counters.global_load_sectors, 4);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(missing_docs)]

mod check;
mod counters;
mod device;
mod driver;
pub mod error;
mod exec;
pub mod isa;
pub mod memory;
pub mod numeric;
pub mod ptx;
pub mod target;

pub use counters::Counters;
pub use device::{Config, Device, LaunchConfig};
pub use driver::{
    blockscale_emulator_clear_error, blockscale_emulator_counters,
    blockscale_emulator_counters_total, blockscale_emulator_last_message,
};
