//! What the stand-in exports beyond the driver API: measurements and messages for tests.

use std::ffi::{c_char, c_int};

use super::state::{Driver, call_always, put, text};
use super::status::{Result, Status};
use crate::Counters;

fn counters(driver: &Driver, entry: *const c_char, total: bool) -> Result<Counters> {
    let name = if entry.is_null() { None } else { Some(text(entry)?) };
    let found = match (total, name) {
        (true, Some(name)) => driver.totals.get(name).copied(),
        (true, None) => Some(driver.totals.values().fold(Counters::default(), |mut sum, one| {
            sum.add(one);
            sum
        })),
        (false, name) => driver.device.counters(name),
    };
    found.ok_or(Status::NOT_FOUND)
}

/// Copies the counts of the latest launch of a kernel, or of the latest launch of all if `entry` is
/// null. Returns 0, or 500 if there was none.
///
/// # Safety
/// `entry` is null or a C string, and `out` points to a [`Counters`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn blockscale_emulator_counters(
    entry: *const c_char,
    out: *mut Counters,
) -> c_int {
    call_always("blockscale_emulator_counters", |driver| put(out, counters(driver, entry, false)?))
        as c_int
}

/// Copies the sum over all launches of a kernel, or of all kernels if `entry` is null.
///
/// # Safety
/// As for [`blockscale_emulator_counters`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn blockscale_emulator_counters_total(
    entry: *const c_char,
    out: *mut Counters,
) -> c_int {
    call_always("blockscale_emulator_counters_total", |driver| {
        put(out, counters(driver, entry, true)?)
    }) as c_int
}

/// Copies the latest message, cut to `capacity` bytes with its terminating zero, and returns its
/// whole length. A null buffer only asks for the length.
///
/// # Safety
/// `buffer` is null or has `capacity` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn blockscale_emulator_last_message(
    buffer: *mut c_char,
    capacity: usize,
) -> usize {
    let mut whole = 0;
    call_always("blockscale_emulator_last_message", |driver| {
        whole = driver.message.len();
        if !buffer.is_null() && capacity > 0 {
            let length = whole.min(capacity - 1);
            // SAFETY: the caller gives room for `capacity` bytes.
            unsafe {
                std::ptr::copy_nonoverlapping(driver.message.as_ptr().cast(), buffer, length);
                buffer.add(length).write(0);
            }
        }
        Ok(())
    });
    whole
}

/// Forgets the sticky error of a stopped kernel. Hardware cannot do this without destroying the
/// context.
#[unsafe(no_mangle)]
pub extern "C" fn blockscale_emulator_clear_error() {
    call_always("blockscale_emulator_clear_error", |driver| {
        driver.sticky = None;
        driver.message.clear();
        Ok(())
    });
}
