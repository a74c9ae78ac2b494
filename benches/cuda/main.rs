//! What the kernels reach on a device, as a share of what a copy reaches there.
//!
//! ```text
//! cargo bench --features cuda --bench cuda -- [--mib N] [--rounds N] [--seconds S]
//!                                             [--filter TEXT] [--json FILE]
//! ```
//!
//! | argument | meaning | default |
//! |---|---|---|
//! | `--mib N` | MiB of the tensor: of `x`, of the decoded `y`, or of the scales that are laid out anew | 256 |
//! | `--rounds N` | rounds, of which the median counts | 11 |
//! | `--seconds S` | device time that a case and its copies take | 0.3 |
//! | `--filter TEXT` | only cases that have all these words; given again, those of that text too | every case |
//! | `--json FILE` | writes every sample there | |
//!
//! In each round the case and a device-to-device copy (`cuMemcpyDtoDAsync`) are timed by events, one
//! after the other, the first of them in turn. The copy moves half of the bytes that the case reads and
//! writes, so that it reads and writes as many in all:
//!
//! ```text
//! GB/s  = (bytes read + bytes written) / median time of the case
//! share = median over rounds of  time of the copy / time of the case
//! ```
//!
//! Calls rotate over so many tensors that together they are four times the L2 cache, and over two at
//! least; copies walk through memory of that size. Nothing is allocated while time is taken. The amax of
//! formats with a tensor scale lies on the device beforehand, but in cases named `computed-amax`, which
//! read `x` twice (and are charged for it).
//!
//! Before a case is timed, the first and the last rows of what it wrote are compared with the host's:
//! other bytes end the run with status 1. Without a driver, a device or kernels one line says so, and
//! the status is 0 (1 with `BLOCKSCALE_REQUIRE_DEVICE=1`).
//!
//! `cargo test --benches` runs every case once, on 1 MiB; so does the binary without `--bench`. On the
//! emulator no figures are printed, because its clock is virtual.
#![allow(unsafe_code)] // the raw layer, and memory that is written before it is read

mod arguments;
mod cases;
mod machine;
mod measure;
mod report;

use arguments::Arguments;
use blockscale::cuda::{CudaError, Device};
use measure::Bench;
use std::error::Error;
use std::process::ExitCode;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    let device = match Device::new(0) {
        Ok(device) => device,
        Err(
            error @ (CudaError::NoDriver(_)
            | CudaError::NoDevice { .. }
            | CudaError::KernelsNotCompiled),
        ) if std::env::var("BLOCKSCALE_REQUIRE_DEVICE").is_ok_and(|v| v == "1") => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
        Err(
            error @ (CudaError::NoDriver(_)
            | CudaError::NoDevice { .. }
            | CudaError::KernelsNotCompiled),
        ) => {
            println!("nothing measured: {error}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    match run(device, arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(device: Device, arguments: Arguments) -> Result<()> {
    let mut bench = Bench::new(device, arguments)?;
    report::heading(&bench);
    cases::all(&mut bench)?;
    report::ending(&bench)
}
