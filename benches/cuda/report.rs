//! The table and the file.

use crate::Result;
use crate::measure::{Bench, Measured};
use serde_json::{Value, json};

pub fn heading(bench: &Bench) {
    let (machine, arguments) = (&bench.machine, &bench.arguments);
    let (major, minor) = machine.capability;
    println!("device   {}, compute capability {major}.{minor}", machine.device);
    println!("driver   {}", machine.driver_text());
    println!("kernels  compiled by CUDA {}", machine.toolkit);
    println!("date     {}", machine.date);
    println!(
        "tensors  {} MiB, {} in turn; L2 cache {:.0} MiB",
        arguments.mib,
        bench.sets,
        machine.l2_bytes as f64 / f64::from(1 << 20),
    );
    println!(
        "time     median of {} rounds, {} s a case; copy: device to device, as many bytes read and \
         written in all",
        arguments.rounds, arguments.seconds,
    );
    match machine.is_emulated {
        true => {
            println!("the emulator's clock is virtual: bytes are compared, nothing is measured")
        }
        false if arguments.rounds < 9 => println!("fewer than 9 rounds: a test, not a measurement"),
        false => {}
    }
    println!("\n{:<76} {:>8} {:>8} {:>8}", "case", "GB/s", "of copy", "Gelem/s");
}

pub fn line(measured: &Measured, is_emulated: bool) {
    let name = measured.name.to_string();
    match is_emulated {
        true => println!("{name:<76} {:>8} {:>8} {:>8}", "-", "-", "-"),
        false => println!(
            "{name:<76} {:>8.0} {:>8.2} {:>8.1}",
            measured.gigabytes_a_second(),
            measured.share(),
            measured.gigaelements_a_second(),
        ),
    }
}

/// Counts the cases, and writes the file where one was asked for.
pub fn ending(bench: &Bench) -> Result<()> {
    println!("\n{} cases, each with the host's bytes", bench.results.len());
    if let Some(file) = &bench.arguments.json {
        let text = serde_json::to_string_pretty(&document(bench))?;
        std::fs::write(file, text + "\n").map_err(|e| format!("{}: {e}", file.display()))?;
    }
    match bench.results.is_empty() {
        true => Err("no case has these words".into()),
        false => Ok(()),
    }
}

fn document(bench: &Bench) -> Value {
    let (machine, arguments) = (&bench.machine, &bench.arguments);
    json!({
        "schema_version": 1,
        "version": env!("CARGO_PKG_VERSION"),
        "date": machine.date,
        "device": machine.device,
        "emulated": machine.is_emulated,
        "capability": format!("{}.{}", machine.capability.0, machine.capability.1),
        "l2_bytes": machine.l2_bytes,
        "driver": machine.driver_text(),
        "toolkit": machine.toolkit,
        "mib": arguments.mib,
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "sets": bench.sets,
        "cases": bench.results.iter().map(case).collect::<Vec<_>>(),
    })
}

fn case(measured: &Measured) -> Value {
    let (name, size) = (&measured.name, measured.size);
    json!({
        "verb": name.verb,
        "format": name.format,
        "profile": name.profile,
        "dtype": name.dtype,
        "rounding": name.rounding,
        "detail": name.detail,
        "elements": size.elements,
        "read": size.read,
        "written": size.written,
        "gigabytes_a_second": measured.gigabytes_a_second(),
        "share_of_copy": measured.share(),
        "gigaelements_a_second": measured.gigaelements_a_second(),
        "case_seconds": measured.case,
        "copy_seconds": measured.copy,
    })
}
