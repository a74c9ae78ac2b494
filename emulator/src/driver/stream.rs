//! Streams.

use std::ffi::{c_int, c_uint};

use super::state::{Driver, Handle, Stream, call_always, call_in_context, put};
use super::status::{Result, Status};

fn create(driver: &mut Driver, stream: *mut Handle, flags: c_uint, priority: c_int) -> Result<()> {
    if flags > 1 {
        return Err(Status::INVALID_VALUE);
    }
    let handle = driver.handle();
    driver.streams.insert(handle, Stream { flags, priority, capture: None });
    put(stream, handle)
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamCreate(stream: *mut Handle, flags: c_uint) -> u32 {
    call_in_context("cuStreamCreate", |driver| create(driver, stream, flags, 0))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamCreateWithPriority(
    stream: *mut Handle,
    flags: c_uint,
    priority: c_int,
) -> u32 {
    call_in_context("cuStreamCreateWithPriority", |driver| create(driver, stream, flags, priority))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamGetFlags(stream: Handle, flags: *mut c_uint) -> u32 {
    call_in_context("cuStreamGetFlags", |driver| put(flags, driver.stream(stream)?.flags))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamGetPriority(stream: Handle, priority: *mut c_int) -> u32 {
    call_in_context("cuStreamGetPriority", |driver| put(priority, driver.stream(stream)?.priority))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamGetCtx(stream: Handle, context: *mut Handle) -> u32 {
    call_in_context("cuStreamGetCtx", |driver| {
        driver.stream(stream)?;
        put(context, super::state::PRIMARY_CONTEXT)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamDestroy_v2(stream: Handle) -> u32 {
    call_always("cuStreamDestroy_v2", |driver| {
        driver.streams.remove(&stream).map(|_| ()).ok_or(Status::INVALID_HANDLE)
    })
}

/// Work is done when it is submitted, so there is nothing to wait for; on a capturing stream
/// waiting is an error that spoils the capture.
fn idle(driver: &mut Driver, stream: Handle) -> Result<()> {
    let Some(id) = driver.stream(stream)?.capture else { return Ok(()) };
    if let Some(capture) = driver.captures.get_mut(&id) {
        capture.invalid = true;
    }
    Err(Status::STREAM_CAPTURE_UNSUPPORTED)
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamSynchronize(stream: Handle) -> u32 {
    call_in_context("cuStreamSynchronize", |driver| idle(driver, stream))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamQuery(stream: Handle) -> u32 {
    call_in_context("cuStreamQuery", |driver| idle(driver, stream))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamWaitEvent(stream: Handle, event: Handle, _flags: c_uint) -> u32 {
    call_in_context("cuStreamWaitEvent", |driver| {
        let event = *driver.events.get(&event).ok_or(Status::INVALID_HANDLE)?;
        let own = driver.stream(stream)?.capture;
        let source = event.capture.filter(|id| driver.captures.contains_key(id));
        match (own, source) {
            (None, None) => Ok(()),
            // The stream joins the capture that the event belongs to.
            (None, Some(id)) => {
                driver.stream(stream)?.capture = Some(id);
                if let Some(capture) = driver.captures.get_mut(&id) {
                    capture.streams.insert(stream);
                }
                Ok(())
            }
            (Some(own), Some(other)) if own == other => Ok(()),
            (Some(_), Some(_)) => Err(Status::STREAM_CAPTURE_MERGE),
            (Some(_), None) if event.time.is_none() => Ok(()),
            (Some(_), None) => Err(Status::STREAM_CAPTURE_ISOLATION),
        }
    })
}
