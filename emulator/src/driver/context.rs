//! Initialisation, devices and contexts.

use std::ffi::{c_char, c_int, c_uint};

use super::state::{
    Handle, MEMORY_POOL, PRIMARY_CONTEXT, call, call_always, call_in_context, put, put_optional,
    with_current,
};
use super::status::{Result, Status, describe};
use crate::device::Device;

/// CUDA 13.0.
const DRIVER_VERSION: c_int = 13000;

fn check_device(device: c_int) -> Result<()> {
    if device == 0 { Ok(()) } else { Err(Status::INVALID_DEVICE) }
}

#[unsafe(no_mangle)]
extern "C" fn cuInit(flags: c_uint) -> u32 {
    call_always("cuInit", |driver| {
        if flags != 0 {
            return Err(Status::INVALID_VALUE);
        }
        driver.initialised = true;
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDriverGetVersion(version: *mut c_int) -> u32 {
    call_always("cuDriverGetVersion", |_| put(version, DRIVER_VERSION))
}

#[unsafe(no_mangle)]
extern "C" fn cuGetErrorName(code: u32, name: *mut *const c_char) -> u32 {
    error_text(code, name, |(name, _)| name)
}

#[unsafe(no_mangle)]
extern "C" fn cuGetErrorString(code: u32, string: *mut *const c_char) -> u32 {
    error_text(code, string, |(_, text)| text)
}

type Texts = (&'static std::ffi::CStr, &'static std::ffi::CStr);

fn error_text(
    code: u32,
    to: *mut *const c_char,
    choose: fn(Texts) -> &'static std::ffi::CStr,
) -> u32 {
    // No lock: `Debug` of an error may be printed while a call is in progress.
    match describe(code) {
        Some(texts) => put(to, choose(texts).as_ptr()).map_or_else(|status| status.0, |()| 0),
        None => {
            put_optional(to, std::ptr::null());
            Status::INVALID_VALUE.0
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetCount(count: *mut c_int) -> u32 {
    call("cuDeviceGetCount", |_| put(count, 1))
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGet(device: *mut c_int, ordinal: c_int) -> u32 {
    call("cuDeviceGet", |_| {
        check_device(ordinal)?;
        put(device, 0)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetName(name: *mut c_char, capacity: c_int, device: c_int) -> u32 {
    call("cuDeviceGetName", |driver| {
        check_device(device)?;
        if name.is_null() || capacity <= 0 {
            return Err(Status::INVALID_VALUE);
        }
        let capability = driver.device.config().capability;
        let text = format!("blockscale emulator {}.{}", capability.major, capability.minor);
        let length = text.len().min(capacity as usize - 1);
        // SAFETY: the caller gives room for `capacity` bytes; `length` and the terminator fit.
        unsafe {
            std::ptr::copy_nonoverlapping(text.as_ptr().cast(), name, length);
            name.add(length).write(0);
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetUuid_v2(uuid: *mut [u8; 16], device: c_int) -> u32 {
    call("cuDeviceGetUuid_v2", |driver| {
        check_device(device)?;
        let capability = driver.device.config().capability;
        let mut bytes = *b"blockscale-emu\0\0";
        (bytes[14], bytes[15]) = (capability.major as u8, capability.minor as u8);
        put(uuid, bytes)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetUuid(uuid: *mut [u8; 16], device: c_int) -> u32 {
    cuDeviceGetUuid_v2(uuid, device)
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, device: c_int) -> u32 {
    call("cuDeviceTotalMem_v2", |driver| {
        check_device(device)?;
        put(bytes, driver.device.memory().capacity() as usize)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceComputeCapability(
    major: *mut c_int,
    minor: *mut c_int,
    device: c_int,
) -> u32 {
    call("cuDeviceComputeCapability", |driver| {
        check_device(device)?;
        let capability = driver.device.config().capability;
        put(major, capability.major as c_int)?;
        put(minor, capability.minor as c_int)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetAttribute(value: *mut c_int, attribute: c_int, device: c_int) -> u32 {
    call("cuDeviceGetAttribute", |driver| {
        check_device(device)?;
        put(value, device_attribute(&driver.device, attribute))
    })
}

/// The attributes a program may decide by; what the emulator has not, and unknown ones, are 0.
fn device_attribute(device: &Device, attribute: c_int) -> c_int {
    let capability = device.config().capability;
    let threads = if matches!((capability.major, capability.minor), (8, 0) | (9..=11, _)) {
        2048
    } else {
        1536
    };
    match attribute {
        1..=3 => 1024,          // threads of a block, and its x and y
        4 => 64,                // z of a block
        5 => i32::MAX,          // x of a grid
        6 | 7 => 65535,         // y and z of a grid
        8 => 48 << 10,          // shared memory of a block
        9 => 64 << 10,          // constant memory
        10 => 32,               // warp size
        11 => i32::MAX,         // pitch
        12 | 82 => 65536,       // registers of a block, of a multiprocessor
        13 => 1_500_000,        // kHz
        14 => 512,              // texture alignment
        15 | 19 | 31 | 41 => 1, // overlap, mapped host memory, concurrent kernels, one address space
        16 => device.multiprocessors() as c_int,
        36 => 2_600_000, // memory clock, kHz
        37 => 5120,      // memory bus, bits
        38 => 50 << 20,  // L2
        39 => threads,
        40 => 2, // copy engines
        75 => capability.major as c_int,
        76 => capability.minor as c_int,
        78..=80 => 1, // stream priorities, L1 for globals and locals
        81 => device.shared_limit() as c_int + 1024, // shared memory of a multiprocessor
        83 => 1,      // managed memory
        97 => device.shared_limit() as c_int, // shared memory after opting in
        106 => 32,    // blocks of a multiprocessor
        111 => 1024,  // shared memory the system keeps
        115 => 1,     // memory pools
        _ => 0,
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetDefaultMemPool(pool: *mut Handle, device: c_int) -> u32 {
    call("cuDeviceGetDefaultMemPool", |_| {
        check_device(device)?;
        put(pool, MEMORY_POOL)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetMemPool(pool: *mut Handle, device: c_int) -> u32 {
    cuDeviceGetDefaultMemPool(pool, device)
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRetain(context: *mut Handle, device: c_int) -> u32 {
    // A new owner of a broken context learns of it by the next call.
    call_always("cuDevicePrimaryCtxRetain", |driver| {
        if !driver.initialised {
            return Err(Status::NOT_INITIALIZED);
        }
        check_device(device)?;
        put(context, PRIMARY_CONTEXT)?;
        driver.primary_references += 1;
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRelease_v2(device: c_int) -> u32 {
    call_always("cuDevicePrimaryCtxRelease_v2", |driver| {
        check_device(device)?;
        match driver.primary_references {
            0 => Err(Status::INVALID_CONTEXT),
            1 => {
                // The last owner takes memory, modules and a sticky error away.
                driver.reset();
                Ok(())
            }
            _ => {
                driver.primary_references -= 1;
                Ok(())
            }
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxReset_v2(device: c_int) -> u32 {
    call_always("cuDevicePrimaryCtxReset_v2", |driver| {
        check_device(device)?;
        let references = driver.primary_references;
        driver.reset();
        driver.primary_references = references;
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxGetState(
    device: c_int,
    flags: *mut c_uint,
    active: *mut c_int,
) -> u32 {
    call_always("cuDevicePrimaryCtxGetState", |driver| {
        check_device(device)?;
        put(flags, 0)?;
        put(active, c_int::from(driver.primary_references > 0))
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetCurrent(context: *mut Handle) -> u32 {
    call_always("cuCtxGetCurrent", |_| {
        put(context, with_current(|stack| stack.last().copied().unwrap_or(0)))
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetCurrent(context: Handle) -> u32 {
    call_always("cuCtxSetCurrent", |_| {
        with_current(|stack| {
            stack.pop();
            if context != 0 {
                stack.push(context);
            }
        });
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxPushCurrent_v2(context: Handle) -> u32 {
    call_always("cuCtxPushCurrent_v2", |_| {
        if context == 0 {
            return Err(Status::INVALID_CONTEXT);
        }
        with_current(|stack| stack.push(context));
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxPopCurrent_v2(context: *mut Handle) -> u32 {
    call_always("cuCtxPopCurrent_v2", |_| match with_current(Vec::pop) {
        Some(popped) => {
            put_optional(context, popped);
            Ok(())
        }
        None => Err(Status::INVALID_CONTEXT),
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetDevice(device: *mut c_int) -> u32 {
    call_in_context("cuCtxGetDevice", |_| put(device, 0))
}

/// Other contexts share the device's memory with the primary one.
fn create_context(context: *mut Handle, device: c_int) -> u32 {
    call("cuCtxCreate", |driver| {
        check_device(device)?;
        let handle = driver.handle();
        driver.contexts.insert(handle, 0);
        with_current(|stack| stack.push(handle));
        put(context, handle)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxCreate_v2(context: *mut Handle, _flags: c_uint, device: c_int) -> u32 {
    create_context(context, device)
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxCreate_v4(
    context: *mut Handle,
    _parameters: *const u8,
    _flags: c_uint,
    device: c_int,
) -> u32 {
    create_context(context, device)
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxDestroy_v2(context: Handle) -> u32 {
    call_always("cuCtxDestroy_v2", |driver| {
        driver.contexts.remove(&context).ok_or(Status::INVALID_CONTEXT)?;
        with_current(|stack| stack.retain(|current| *current != context));
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSynchronize() -> u32 {
    call_in_context("cuCtxSynchronize", |driver| {
        if driver.captures.is_empty() { Ok(()) } else { Err(Status::STREAM_CAPTURE_UNSUPPORTED) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetStreamPriorityRange(least: *mut c_int, greatest: *mut c_int) -> u32 {
    call_in_context("cuCtxGetStreamPriorityRange", |_| {
        put_optional(least, 0);
        put_optional(greatest, -5);
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetFlags(_flags: c_uint) -> u32 {
    call_in_context("cuCtxSetFlags", |_| Ok(()))
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetCacheConfig(_config: c_int) -> u32 {
    call_in_context("cuCtxSetCacheConfig", |_| Ok(()))
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetCacheConfig(config: *mut c_int) -> u32 {
    call_in_context("cuCtxGetCacheConfig", |_| put(config, 0))
}
