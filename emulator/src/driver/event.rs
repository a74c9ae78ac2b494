//! Events, on a virtual clock.

use std::ffi::c_uint;

use super::state::{Event, Handle, call_always, call_in_context, put};
use super::status::{Result, Status};

/// `CU_EVENT_DISABLE_TIMING`.
const DISABLE_TIMING: c_uint = 2;

#[unsafe(no_mangle)]
extern "C" fn cuEventCreate(event: *mut Handle, flags: c_uint) -> u32 {
    call_in_context("cuEventCreate", |driver| {
        let handle = driver.handle();
        driver
            .events
            .insert(handle, Event { timed: flags & DISABLE_TIMING == 0, ..Event::default() });
        put(event, handle)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventDestroy_v2(event: Handle) -> u32 {
    call_always("cuEventDestroy_v2", |driver| {
        driver.events.remove(&event).map(|_| ()).ok_or(Status::INVALID_HANDLE)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventRecord(event: Handle, stream: Handle) -> u32 {
    call_in_context("cuEventRecord", |driver| {
        let capture = driver.stream(stream)?.capture;
        let now = driver.device.time();
        let event = driver.events.get_mut(&event).ok_or(Status::INVALID_HANDLE)?;
        event.capture = capture;
        event.time = capture.is_none().then_some(now);
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventRecordWithFlags(event: Handle, stream: Handle, _flags: c_uint) -> u32 {
    cuEventRecord(event, stream)
}

/// What has been recorded has also happened; events of a capture cannot be asked.
fn finished(name: &'static str, event: Handle) -> u32 {
    call_in_context(name, |driver| {
        let event = driver.events.get(&event).ok_or(Status::INVALID_HANDLE)?;
        match event.capture {
            Some(id) if driver.captures.contains_key(&id) => Err(Status::CAPTURED_EVENT),
            _ => Ok(()),
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventQuery(event: Handle) -> u32 {
    finished("cuEventQuery", event)
}

#[unsafe(no_mangle)]
extern "C" fn cuEventSynchronize(event: Handle) -> u32 {
    finished("cuEventSynchronize", event)
}

#[unsafe(no_mangle)]
extern "C" fn cuEventElapsedTime_v2(milliseconds: *mut f32, start: Handle, end: Handle) -> u32 {
    call_in_context("cuEventElapsedTime_v2", |driver| {
        let time = |event: Handle| -> Result<u64> {
            let event = driver.events.get(&event).ok_or(Status::INVALID_HANDLE)?;
            if !event.timed {
                return Err(Status::INVALID_HANDLE);
            }
            event.time.ok_or(Status::INVALID_HANDLE)
        };
        let nanoseconds = time(end)? as f64 - time(start)? as f64;
        put(milliseconds, (nanoseconds / 1e6) as f32)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventElapsedTime(milliseconds: *mut f32, start: Handle, end: Handle) -> u32 {
    cuEventElapsedTime_v2(milliseconds, start, end)
}
