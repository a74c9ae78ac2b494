//! What the host path reaches, as a share of loops that only move the same bytes.
//!
//! ```text
//! cargo bench --bench floor -- [--json] [--threads 1,2] [--filter TEXT] [--mib N] [--rounds N]
//!                              [--seconds S] [--level portable|avx2|avx512] [--in-cache] [--all]
//! ```
//!
//! | argument | meaning | default |
//! |---|---|---|
//! | `--json` | a line of JSON for the machine and for each row in place of the table | |
//! | `--threads LIST` | numbers of threads | 1,2 as far as there are cores |
//! | `--filter TEXT` | only rows that have all these words; given again, those of that text too | every row |
//! | `--mib N` | MiB of the tensor as f32 | 256 |
//! | `--rounds N` | rounds, of which the median counts | as many as fit, 9 to 21 |
//! | `--seconds S` | time for all rows that rounds above 9 may fill | 45 |
//! | `--level NAME` | level of the host path; the floor is always that of the best one | the best |
//! | `--in-cache` | 64 Ki elements on one thread, and elements a clock in place of the share | |
//! | `--all` | every row, not just those that are told of most | |
//!
//! In each round a row and its floor are timed, the first of them in turn. The floor is a loop with the
//! row's loads and stores, in vectors of the widest kind, that computes nothing: plain stores for codes
//! and scales, streaming stores for decoded values (plain ones with `--in-cache`).
//!
//! ```text
//! share = median over rounds of  time of the floor / time of the row
//! ```
//!
//! Buffers ask for huge pages and are touched beforehand; thread i is pinned to core i; nothing is
//! allocated while time is taken. Values are nearly normal, every seventh block scaled by 1e-3. Formats
//! with a tensor scale are given the tensor's amax, but in rows of `amax+quantize`, whose floor reads
//! the values twice. Column `input` is the type of the floats, decoded ones included.
//!
//! Rows of `both` write the codes and the scales of both directions; where a rotation is named the columns
//! have it.
//!
//! Without `--bench` (`cargo test --benches`) each row runs once on a small tensor and is compared with
//! the reference, and nothing is timed.
#![allow(unsafe_code)] // memory maps, vector loads and stores

mod arguments;
mod data;
mod machine;
mod measure;
mod memory;
mod report;
mod rows;
mod traffic;

use arguments::Arguments;
use measure::Bench;
use std::process::ExitCode;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    let rows = rows::table(&arguments);
    if rows.is_empty() {
        return Err("no row has these words".into());
    }
    let mut bench = Bench::new(arguments)?;
    report::heading(&bench);
    let count = rows.len();
    for row in rows {
        bench.row(row, count)?;
    }
    report::ending(&bench);
    Ok(())
}
