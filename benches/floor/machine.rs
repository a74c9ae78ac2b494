//! Threads on their cores, the clock, and what the machine is called.

use crate::Result;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Keeps this thread on a core. Without it both threads of a process may share one for minutes.
pub fn pin(core: usize) {
    #[cfg(target_os = "linux")]
    {
        let mut set = rustix::thread::CpuSet::new();
        set.set(core);
        if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
            eprintln!("warning: no thread can be pinned to core {core}: {error}");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = core;
}

/// A pool of pinned threads.
pub fn pool(threads: usize) -> Result<rayon::ThreadPool> {
    Ok(rayon::ThreadPoolBuilder::new().num_threads(threads).start_handler(pin).build()?)
}

/// Clocks a second, from a chain of additions that take one clock each; None where that is not known.
pub fn clocks_per_second() -> Option<f64> {
    let once = || {
        let additions = 1 << 24;
        let start = Instant::now();
        chain(additions).then(|| additions as f64 / start.elapsed().as_secs_f64())
    };
    (0..5).filter_map(|_| once()).max_by(f64::total_cmp)
}

/// Adds so many times (a multiple of 16), each time to what the addition before gave.
fn chain(additions: u64) -> bool {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: registers only.
    unsafe {
        core::arch::asm!(
            "2:",
            "add {sum}, {one}", "add {sum}, {one}", "add {sum}, {one}", "add {sum}, {one}",
            "add {sum}, {one}", "add {sum}, {one}", "add {sum}, {one}", "add {sum}, {one}",
            "add {sum}, {one}", "add {sum}, {one}", "add {sum}, {one}", "add {sum}, {one}",
            "add {sum}, {one}", "add {sum}, {one}", "add {sum}, {one}", "add {sum}, {one}",
            "dec {turns}",
            "jnz 2b",
            sum = inout(reg) 0u64 => _,
            one = in(reg) 1u64,
            turns = inout(reg) additions / 16 => _,
            options(nomem, nostack),
        );
        true
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = additions;
        false
    }
}

/// The processor's name, where the system tells.
pub fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("model name"));
    let name = line.map(|line| line.trim_start_matches(['\t', ' ', ':']).to_owned());
    name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// Today's, in UTC.
pub fn date() -> Result<String> {
    let day = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / 86400;
    // Days since 0000-03-01, so that a leap day ends a year; 146 097 of them in 400 years.
    let days = day + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    Ok(format!("{year:04}-{month:02}-{day:02}"))
}
