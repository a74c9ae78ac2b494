//! Memory: allocation, copies, fills.

use std::alloc::Layout;
use std::ffi::{c_int, c_uint, c_void};

use super::capture::{Node, submit};
use super::state::{Driver, Handle, MEMORY_POOL, call, call_in_context, put, put_optional};
use super::status::{Result, Status};
use crate::memory::MemoryError;

impl From<MemoryError> for Status {
    fn from(error: MemoryError) -> Self {
        match error {
            MemoryError::OutOfMemory => Self::OUT_OF_MEMORY,
            MemoryError::NotAllocated(_) => Self::INVALID_VALUE,
        }
    }
}

fn allocate(driver: &mut Driver, address: *mut u64, bytes: usize) -> Result<()> {
    if bytes == 0 || address.is_null() {
        return Err(Status::INVALID_VALUE);
    }
    let place = driver.device.memory_mut().allocate(bytes as u64)?;
    put(address, place)
}

fn free(driver: &mut Driver, address: u64) -> Result<()> {
    if address == 0 {
        return Ok(());
    }
    if driver.host.contains_key(&(address as usize)) {
        return free_host(driver, address as usize);
    }
    Ok(driver.device.memory_mut().release(address)?)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAlloc_v2(address: *mut u64, bytes: usize) -> u32 {
    call_in_context("cuMemAlloc_v2", |driver| allocate(driver, address, bytes))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFree_v2(address: u64) -> u32 {
    call_in_context("cuMemFree_v2", |driver| free(driver, address))
}

/// Memory nodes of graphs are not supported.
fn refuse_capture(driver: &mut Driver, stream: Handle, what: &str) -> Result<()> {
    if driver.stream(stream)?.capture.is_some() {
        return driver.unsupported(&format!("{what} on a capturing stream"));
    }
    Ok(())
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAllocAsync(address: *mut u64, bytes: usize, stream: Handle) -> u32 {
    call_in_context("cuMemAllocAsync", |driver| {
        refuse_capture(driver, stream, "cuMemAllocAsync")?;
        allocate(driver, address, bytes)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAllocFromPoolAsync(
    address: *mut u64,
    bytes: usize,
    pool: Handle,
    stream: Handle,
) -> u32 {
    if pool != MEMORY_POOL {
        return Status::INVALID_VALUE.0;
    }
    cuMemAllocAsync(address, bytes, stream)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFreeAsync(address: u64, stream: Handle) -> u32 {
    call_in_context("cuMemFreeAsync", |driver| {
        refuse_capture(driver, stream, "cuMemFreeAsync")?;
        free(driver, address)
    })
}

/// Pinned and managed memory: host memory that kernels reach at the same address.
fn allocate_host(driver: &mut Driver, bytes: usize) -> Result<usize> {
    let layout = Layout::from_size_align(bytes, 4096).map_err(|_| Status::INVALID_VALUE)?;
    if bytes == 0 {
        return Err(Status::INVALID_VALUE);
    }
    // SAFETY: the layout has a size.
    let pointer = unsafe { std::alloc::alloc_zeroed(layout) };
    if pointer.is_null() {
        return Err(Status::OUT_OF_MEMORY);
    }
    driver.host.insert(pointer as usize, layout);
    // SAFETY: the memory lives until `free_host`, which releases it first; hosts do not touch
    // memory that a running kernel uses.
    unsafe { driver.device.memory_mut().register_host(pointer, bytes as u64) };
    Ok(pointer as usize)
}

fn free_host(driver: &mut Driver, address: usize) -> Result<()> {
    let layout = driver.host.remove(&address).ok_or(Status::INVALID_VALUE)?;
    driver.device.memory_mut().release(address as u64)?;
    // SAFETY: allocated by `allocate_host` with this layout and removed from the table.
    unsafe { std::alloc::dealloc(address as *mut u8, layout) };
    Ok(())
}

#[unsafe(no_mangle)]
extern "C" fn cuMemHostAlloc(pointer: *mut *mut c_void, bytes: usize, _flags: c_uint) -> u32 {
    call_in_context("cuMemHostAlloc", |driver| {
        let address = allocate_host(driver, bytes)?;
        put(pointer, address as *mut c_void)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAllocHost_v2(pointer: *mut *mut c_void, bytes: usize) -> u32 {
    cuMemHostAlloc(pointer, bytes, 0)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFreeHost(pointer: *mut c_void) -> u32 {
    // Owners free pinned memory late: allow it whatever happened before.
    super::state::call_always("cuMemFreeHost", |driver| free_host(driver, pointer as usize))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemHostGetDevicePointer_v2(
    address: *mut u64,
    pointer: *mut c_void,
    _flags: c_uint,
) -> u32 {
    call_in_context("cuMemHostGetDevicePointer_v2", |_| put(address, pointer as u64))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAllocManaged(address: *mut u64, bytes: usize, _flags: c_uint) -> u32 {
    call_in_context("cuMemAllocManaged", |driver| {
        let place = allocate_host(driver, bytes)?;
        put(address, place as u64)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> u32 {
    call_in_context("cuMemGetInfo_v2", |driver| {
        put(free, driver.device.memory().free_bytes() as usize)?;
        put(total, driver.device.memory().capacity() as usize)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemGetAddressRange_v2(base: *mut u64, bytes: *mut usize, address: u64) -> u32 {
    call_in_context("cuMemGetAddressRange_v2", |driver| {
        let (start, length) = driver.device.memory().range_of(address).ok_or(Status::NOT_FOUND)?;
        put_optional(base, start);
        put_optional(bytes, length as usize);
        Ok(())
    })
}

/// What a pointer is: `CU_POINTER_ATTRIBUTE_*`.
#[unsafe(no_mangle)]
extern "C" fn cuPointerGetAttribute(value: *mut c_void, attribute: c_int, address: u64) -> u32 {
    call_in_context("cuPointerGetAttribute", |driver| {
        let (start, length) =
            driver.device.memory().range_of(address).ok_or(Status::INVALID_VALUE)?;
        let host = driver.host.contains_key(&(start as usize));
        match attribute {
            1 => put(value.cast::<Handle>(), super::state::PRIMARY_CONTEXT),
            2 => put(value.cast::<c_uint>(), if host { 1 } else { 2 }),
            3 | 4 => put(value.cast::<u64>(), address),
            8 => put(value.cast::<c_uint>(), 0),
            9 => put(value.cast::<c_int>(), 0),
            11 => put(value.cast::<u64>(), start),
            12 => put(value.cast::<usize>(), length as usize),
            _ => driver.unsupported(&format!("pointer attribute {attribute}")),
        }
    })
}

fn copy(name: &'static str, stream: Handle, node: Node) -> u32 {
    call_in_context(name, |driver| submit(driver, stream, node))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyHtoD_v2(to: u64, from: *const c_void, bytes: usize) -> u32 {
    copy("cuMemcpyHtoD_v2", 0, Node::Upload { to, from: from as usize, bytes })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyHtoDAsync_v2(
    to: u64,
    from: *const c_void,
    bytes: usize,
    stream: Handle,
) -> u32 {
    copy("cuMemcpyHtoDAsync_v2", stream, Node::Upload { to, from: from as usize, bytes })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoH_v2(to: *mut c_void, from: u64, bytes: usize) -> u32 {
    copy("cuMemcpyDtoH_v2", 0, Node::Download { to: to as usize, from, bytes })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoHAsync_v2(
    to: *mut c_void,
    from: u64,
    bytes: usize,
    stream: Handle,
) -> u32 {
    copy("cuMemcpyDtoHAsync_v2", stream, Node::Download { to: to as usize, from, bytes })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize) -> u32 {
    copy("cuMemcpyDtoD_v2", 0, Node::Copy { to, from, bytes })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: Handle) -> u32 {
    copy("cuMemcpyDtoDAsync_v2", stream, Node::Copy { to, from, bytes })
}

/// The addresses say which side they are on.
fn copy_any(name: &'static str, to: u64, from: u64, bytes: usize, stream: Handle) -> u32 {
    call_in_context(name, |driver| {
        let on_device = |address| driver.device.memory().range_of(address).is_some();
        let node = match (on_device(to), on_device(from)) {
            (true, true) => Node::Copy { to, from, bytes },
            (true, false) => Node::Upload { to, from: from as usize, bytes },
            (false, true) => Node::Download { to: to as usize, from, bytes },
            (false, false) => return Err(Status::INVALID_VALUE),
        };
        submit(driver, stream, node)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpy(to: u64, from: u64, bytes: usize) -> u32 {
    copy_any("cuMemcpy", to, from, bytes, 0)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyAsync(to: u64, from: u64, bytes: usize, stream: Handle) -> u32 {
    copy_any("cuMemcpyAsync", to, from, bytes, stream)
}

fn fill(name: &'static str, to: u64, pattern: &[u8], count: usize, stream: Handle) -> u32 {
    copy(name, stream, Node::Fill { to, pattern: pattern.to_vec(), count })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD8_v2(to: u64, value: u8, count: usize) -> u32 {
    fill("cuMemsetD8_v2", to, &[value], count, 0)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD8Async(to: u64, value: u8, count: usize, stream: Handle) -> u32 {
    fill("cuMemsetD8Async", to, &[value], count, stream)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD16_v2(to: u64, value: u16, count: usize) -> u32 {
    fill("cuMemsetD16_v2", to, &value.to_le_bytes(), count, 0)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD16Async(to: u64, value: u16, count: usize, stream: Handle) -> u32 {
    fill("cuMemsetD16Async", to, &value.to_le_bytes(), count, stream)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD32_v2(to: u64, value: u32, count: usize) -> u32 {
    fill("cuMemsetD32_v2", to, &value.to_le_bytes(), count, 0)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD32Async(to: u64, value: u32, count: usize, stream: Handle) -> u32 {
    fill("cuMemsetD32Async", to, &value.to_le_bytes(), count, stream)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemPoolSetAttribute(
    _pool: Handle,
    _attribute: c_int,
    _value: *const c_void,
) -> u32 {
    call("cuMemPoolSetAttribute", |_| Ok(()))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemPoolGetAttribute(_pool: Handle, attribute: c_int, value: *mut c_void) -> u32 {
    call("cuMemPoolGetAttribute", |_| {
        // The first three are ints, the others 64-bit sizes.
        if attribute <= 3 { put(value.cast::<c_int>(), 0) } else { put(value.cast::<u64>(), 0) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemPoolTrimTo(_pool: Handle, _bytes: usize) -> u32 {
    call("cuMemPoolTrimTo", |_| Ok(()))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemPrefetchAsync_v2(
    _address: u64,
    _bytes: usize,
    _place: u64,
    _flags: c_uint,
    _stream: Handle,
) -> u32 {
    call("cuMemPrefetchAsync_v2", |_| Ok(()))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAdvise_v2(_address: u64, _bytes: usize, _advice: c_int, _place: u64) -> u32 {
    call("cuMemAdvise_v2", |_| Ok(()))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamAttachMemAsync(
    _stream: Handle,
    _address: u64,
    _bytes: usize,
    _flags: c_uint,
) -> u32 {
    call("cuStreamAttachMemAsync", |_| Ok(()))
}
