//! The table, or lines of JSON.

use crate::machine;
use crate::measure::{Bench, Measured};
use blockscale::Level;
use serde_json::json;

/// A floor that wanders more says little about what is beside it.
const STEADY: f64 = 0.10;

pub fn heading(bench: &Bench) {
    let arguments = &bench.arguments;
    let date = machine::date().unwrap_or_default();
    let (processor, floor) = (machine::processor(), Level::best());
    let elements = arguments.elements();
    if !arguments.timed {
        return;
    }
    if arguments.json {
        let line = json!({
            "bench": "floor",
            "version": env!("CARGO_PKG_VERSION"),
            "date": date,
            "processor": processor,
            "level": arguments.level.to_string(),
            "floor_level": floor.to_string(),
            "elements": elements,
            "in_cache": arguments.in_cache,
            "clocks_per_second": bench.clock,
        });
        return println!("{line}");
    }
    println!("processor  {processor}");
    println!("date       {date}");
    println!("level      {}; floor {floor}", arguments.level);
    println!("tensor     {elements} elements");
    if let Some(clock) = bench.clock {
        println!("clock      {:.2} GHz (a chain of additions)", clock / 1e9);
    }
    let last = if arguments.in_cache { "clock" } else { "share" };
    println!(
        "\n{:<13} {:<16} {:<18} {:<7} {:<13} {:<5} {:>2} {:>8} {:>8} {last:>6}",
        "op", "format", "profile", "default", "rounding", "input", "T", "Gelem/s", "floor",
    );
}

pub fn line(bench: &Bench, measured: &Measured) {
    let row = &measured.row;
    let elements = bench.arguments.elements() as f64;
    let speed = elements / measured.time() / 1e9;
    let floor = elements / measured.floor_time() / 1e9;
    let per_clock = bench.clock.map(|clock| speed * 1e9 / clock);
    let wandered = measured.floor_spread() > STEADY;
    if bench.arguments.json {
        let line = json!({
            "op": row.operation_name(),
            "format": row.format_name(),
            "profile": row.profile_name(),
            "default": row.is_default(),
            "rounding": row.rounding_name(),
            "input": row.float.name(),
            "threads": row.threads,
            "gelem_s": speed,
            "floor_gelem_s": floor,
            "share": measured.share(),
            "floor_spread": measured.floor_spread(),
            "rounds": measured.rounds(),
            "elements_per_clock": per_clock.filter(|_| bench.arguments.in_cache),
        });
        return println!("{line}");
    }
    let last = match (bench.arguments.in_cache, per_clock) {
        (false, _) => measured.share(),
        (true, per_clock) => per_clock.unwrap_or(f64::NAN),
    };
    println!(
        "{:<13} {:<16} {:<18} {:<7} {:<13} {:<5} {:>2} {speed:>8.2} {floor:>8.2} {last:>6.2}{}",
        row.operation_name(),
        row.format_name(),
        row.profile_name(),
        if row.is_default() { "yes" } else { "" },
        row.rounding_name(),
        row.float.name(),
        row.threads,
        if wandered { " ~" } else { "" },
    );
}

pub fn ending(bench: &Bench) {
    if !bench.arguments.timed {
        return println!("{} rows, each with the reference's bytes", bench.rows);
    }
    if bench.wandering > 0 {
        eprintln!(
            "warning: in {} of {} rows the floor itself wandered by more than {:.0} %{}",
            bench.wandering,
            bench.rows,
            STEADY * 100.0,
            if bench.arguments.json { "" } else { " (~)" },
        );
    }
}

pub fn is_wandering(measured: &Measured) -> bool {
    measured.floor_spread() > STEADY
}
