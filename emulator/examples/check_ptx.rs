//! Decodes PTX files for a compute capability and lists their kernels.
//!
//! `cargo run -p blockscale-emulator --example check_ptx -- 9.0 a.ptx b.ptx`

use std::process::ExitCode;

use blockscale_emulator::target::ComputeCapability;
use blockscale_emulator::{Config, Device};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(capability) = arguments.next().and_then(|text| ComputeCapability::parse(&text)) else {
        eprintln!("usage: check_ptx MAJOR.MINOR FILE...");
        return ExitCode::FAILURE;
    };
    let mut refused = false;
    for path in arguments {
        let mut device = Device::new(Config { capability, ..Config::default() });
        let image = match std::fs::read(&path) {
            Ok(image) => image,
            Err(error) => {
                eprintln!("{path}: {error}");
                return ExitCode::FAILURE;
            }
        };
        match device.load(&image) {
            Ok(module) => {
                let names: Vec<_> = module.entries().collect();
                println!(
                    "{path}: {} instructions, kernels {}",
                    module.code.len(),
                    names.join(", ")
                );
            }
            Err(error) => {
                println!("{path}: {error}");
                refused = true;
            }
        }
    }
    if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
