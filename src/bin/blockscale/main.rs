//! The command `blockscale`.
//!
//! Exit codes: 0 done; 1 an internal failure; 2 wrong usage or input, or an output that cannot be
//! written; 3 is kept for the findings of checking commands.
#![forbid(unsafe_code)]

mod args;
mod backend;
mod demo;
mod dequantize;
mod doctor;
mod failure;
mod files;
mod formats;
mod inspect;
mod progress;
mod quantize;
mod report;
mod selection;

use args::{Args, Command};
use clap::Parser;
use failure::Failure;
use std::panic::{self, PanicHookInfo};
use std::process::ExitCode;
#[cfg(unix)]
use std::sync::{Arc, atomic::AtomicBool};

fn main() -> ExitCode {
    let args = Args::parse();
    survive_limits();
    panic::set_hook(Box::new(|panic: &PanicHookInfo| {
        failure::print(&format!("internal failure, please report it: {panic}"));
    }));
    match panic::catch_unwind(|| run(args.command)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(failure)) => failure.report(),
        Err(_) => ExitCode::from(failure::INTERNAL),
    }
}

/// A file that outgrows the limit of the shell (`ulimit -f`) is then an error of the write that
/// names it, and not the end of the process.
fn survive_limits() {
    #[cfg(unix)]
    // Without the handler all is as the shell has it.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::<AtomicBool>::default());
}

fn run(command: Command) -> Result<(), Failure> {
    // The others compute nothing, and `doctor` says what is wrong.
    if !matches!(command, Command::Formats(_) | Command::Doctor(_)) {
        backend::check_level()?;
    }
    match command {
        Command::Formats(args) => formats::run(args),
        Command::Demo => demo::run(),
        Command::Quantize(args) => quantize::run(&args),
        Command::Dequantize(args) => dequantize::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Doctor(args) => doctor::run(args),
    }
}
