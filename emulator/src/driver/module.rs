//! Modules and functions.

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::sync::Arc;

use super::state::{
    Driver, Function, Handle, call_always, call_in_context, put, put_optional, text,
};
use super::status::{Result, Status};
use crate::error::LoadError;

impl From<&LoadError> for Status {
    fn from(error: &LoadError) -> Self {
        match error {
            // What a real driver says of machine code for another device.
            LoadError::NotPtx("not text") => Self::INVALID_IMAGE,
            LoadError::NotPtx(_) => Self::NO_BINARY_FOR_GPU,
            // The JIT compiler refuses a target above the device's, and `a` code of another device.
            LoadError::Target { .. } | LoadError::Invalid { .. } => Self::INVALID_PTX,
            LoadError::Version(..) => Self::UNSUPPORTED_PTX_VERSION,
            LoadError::OutOfMemory(_) => Self::OUT_OF_MEMORY,
        }
    }
}

/// The image behind a pointer without a length: the magic number of a binary, or a text.
fn image<'a>(pointer: *const c_void) -> Result<&'a [u8]> {
    if pointer.is_null() {
        return Err(Status::INVALID_VALUE);
    }
    let mut head = [0u8; 4];
    for (index, byte) in head.iter_mut().enumerate() {
        // SAFETY: the API requires a complete image: a binary, which has more than four bytes, or a
        // text, whose terminating zero ends the loop.
        *byte = unsafe { pointer.cast::<u8>().add(index).read() };
        if *byte == 0 {
            break;
        }
    }
    if matches!(
        head,
        [0x7f, b'E', b'L', b'F'] | [0xb1, 0x43, 0x62, 0x46] | [0x50, 0xed, 0x55, 0xba]
    ) {
        // SAFETY: the four bytes were just read.
        return Ok(unsafe { std::slice::from_raw_parts(pointer.cast(), 4) });
    }
    // SAFETY: what is not a binary is a C string.
    Ok(unsafe { std::ffi::CStr::from_ptr(pointer.cast()) }.to_bytes())
}

fn load(driver: &mut Driver, module: *mut Handle, image: &[u8]) -> Result<()> {
    match driver.device.load(image) {
        Ok(loaded) => {
            let handle = driver.handle();
            driver.modules.insert(handle, Arc::new(loaded));
            put(module, handle)
        }
        Err(error) => {
            // Trying a cubin first is normal; only the others are worth a line.
            if matches!(error, LoadError::NotPtx(_)) {
                driver.message = error.to_string();
            } else {
                driver.complain(error.to_string());
            }
            Err(Status::from(&error))
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleLoadData(module: *mut Handle, pointer: *const c_void) -> u32 {
    call_in_context("cuModuleLoadData", |driver| load(driver, module, image(pointer)?))
}

/// `CU_JIT_INFO_LOG_BUFFER` and its size, `CU_JIT_ERROR_LOG_BUFFER` and its size.
const INFO_BUFFER: c_int = 3;
const INFO_SIZE: c_int = 4;
const ERROR_BUFFER: c_int = 5;
const ERROR_SIZE: c_int = 6;

#[unsafe(no_mangle)]
extern "C" fn cuModuleLoadDataEx(
    module: *mut Handle,
    pointer: *const c_void,
    count: c_uint,
    options: *const c_int,
    values: *mut *mut c_void,
) -> u32 {
    call_in_context("cuModuleLoadDataEx", |driver| {
        let result = load(driver, module, image(pointer)?);
        let message = if result.is_err() { driver.message.clone() } else { String::new() };
        write_logs(count as usize, options, values, &message);
        result
    })
}

/// Fills the caller's log buffers: the error in one, nothing in the other.
fn write_logs(count: usize, options: *const c_int, values: *mut *mut c_void, message: &str) {
    if count == 0 || options.is_null() || values.is_null() {
        return;
    }
    // SAFETY: the API requires `count` options and values.
    let (options, values) = unsafe {
        (std::slice::from_raw_parts(options, count), std::slice::from_raw_parts_mut(values, count))
    };
    let find = |wanted: c_int| options.iter().position(|option| *option == wanted);
    for (buffer, size, text) in [(INFO_BUFFER, INFO_SIZE, ""), (ERROR_BUFFER, ERROR_SIZE, message)]
    {
        let (Some(buffer), Some(size)) = (find(buffer), find(size)) else { continue };
        let capacity = values[size] as usize as u32 as usize;
        if values[buffer].is_null() || capacity == 0 {
            continue;
        }
        let length = text.len().min(capacity - 1);
        // SAFETY: the option says that the buffer has `capacity` bytes.
        unsafe {
            std::ptr::copy_nonoverlapping(text.as_ptr(), values[buffer].cast(), length);
            values[buffer].cast::<u8>().add(length).write(0);
        }
        // The size option returns how much was written.
        values[size] = length as *mut c_void;
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleLoad(module: *mut Handle, path: *const c_char) -> u32 {
    call_in_context("cuModuleLoad", |driver| {
        let bytes = std::fs::read(text(path)?).map_err(|_| Status::FILE_NOT_FOUND)?;
        load(driver, module, &bytes)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleUnload(module: Handle) -> u32 {
    call_always("cuModuleUnload", |driver| {
        let loaded = driver.modules.remove(&module).ok_or(Status::INVALID_HANDLE)?;
        driver.functions.retain(|_, function| function.module != module);
        driver.device.unload(&loaded);
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleGetFunction(
    function: *mut Handle,
    module: Handle,
    name: *const c_char,
) -> u32 {
    call_in_context("cuModuleGetFunction", |driver| {
        let name = text(name)?;
        let loaded = driver.modules.get(&module).ok_or(Status::INVALID_HANDLE)?;
        loaded.entry(name).ok_or(Status::NOT_FOUND)?;
        // One handle a kernel, so that its attributes hold for all who ask for it.
        let known = driver
            .functions
            .iter()
            .find(|(_, f)| f.module == module && f.name == name)
            .map(|(handle, _)| *handle);
        let handle = known.unwrap_or_else(|| driver.handle());
        driver.functions.entry(handle).or_insert_with(|| Function {
            module,
            name: name.to_owned(),
            dynamic_shared: None,
        });
        put(function, handle)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleGetFunctionCount(count: *mut c_uint, module: Handle) -> u32 {
    call_in_context("cuModuleGetFunctionCount", |driver| {
        let loaded = driver.modules.get(&module).ok_or(Status::INVALID_HANDLE)?;
        put(count, loaded.entries().count() as c_uint)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleGetGlobal_v2(
    address: *mut u64,
    bytes: *mut usize,
    module: Handle,
    name: *const c_char,
) -> u32 {
    call_in_context("cuModuleGetGlobal_v2", |driver| {
        let loaded = driver.modules.get(&module).ok_or(Status::INVALID_HANDLE)?;
        let variable = loaded.variables.get(text(name)?).ok_or(Status::NOT_FOUND)?;
        put_optional(address, variable.address);
        put_optional(bytes, variable.bytes as usize);
        Ok(())
    })
}

/// `CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES` and `..._PREFERRED_SHARED_MEMORY_CARVEOUT`.
const DYNAMIC_SHARED: c_int = 8;
const CARVEOUT: c_int = 9;

/// Registers that `CU_FUNC_ATTRIBUTE_NUM_REGS` reports: real ones are the assembler's choice.
const ASSUMED_REGISTERS: c_int = 32;

#[unsafe(no_mangle)]
extern "C" fn cuFuncGetAttribute(value: *mut c_int, attribute: c_int, function: Handle) -> u32 {
    call_in_context("cuFuncGetAttribute", |driver| {
        let known = driver.functions.get(&function).ok_or(Status::INVALID_HANDLE)?;
        let module = driver.modules.get(&known.module).ok_or(Status::INVALID_HANDLE)?;
        let function = &module.functions[module.entry(&known.name).ok_or(Status::NOT_FOUND)?];
        let entry = function.entry.as_ref().ok_or(Status::NOT_FOUND)?;
        let capability = driver.device.config().capability;
        let answer = match attribute {
            0 => entry.max_threads as c_int,
            1 => entry.shared_bytes as c_int,
            2 => {
                let constants = module
                    .variables
                    .values()
                    .filter(|v| v.space == crate::ptx::VariableSpace::Const);
                constants.map(|variable| variable.bytes as c_int).sum()
            }
            3 => function.frame_bytes as c_int,
            4 => ASSUMED_REGISTERS,
            5 => (module.version.0 * 10 + module.version.1) as c_int,
            6 => (capability.major * 10 + capability.minor) as c_int,
            7 => 0,
            DYNAMIC_SHARED => {
                known.dynamic_shared.unwrap_or((48 << 10) - entry.shared_bytes.min(48 << 10))
                    as c_int
            }
            CARVEOUT => -1,
            10..=15 => 0,
            _ => return Err(Status::INVALID_VALUE),
        };
        put(value, answer)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncSetAttribute(function: Handle, attribute: c_int, value: c_int) -> u32 {
    call_in_context("cuFuncSetAttribute", |driver| {
        let limit = driver.device.shared_limit();
        let known = driver.functions.get_mut(&function).ok_or(Status::INVALID_HANDLE)?;
        match attribute {
            DYNAMIC_SHARED if (0..=limit as c_int).contains(&value) => {
                known.dynamic_shared = Some(value as u32);
                Ok(())
            }
            DYNAMIC_SHARED => Err(Status::INVALID_VALUE),
            CARVEOUT => Ok(()),
            _ => driver.unsupported(&format!("setting function attribute {attribute}")),
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncSetCacheConfig(_function: Handle, _config: c_int) -> u32 {
    call_in_context("cuFuncSetCacheConfig", |_| Ok(()))
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncGetModule(module: *mut Handle, function: Handle) -> u32 {
    call_in_context("cuFuncGetModule", |driver| {
        put(module, driver.functions.get(&function).ok_or(Status::INVALID_HANDLE)?.module)
    })
}

/// Blocks that fit a multiprocessor by threads and shared memory. Registers are not known here.
#[unsafe(no_mangle)]
extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessor(
    blocks: *mut c_int,
    function: Handle,
    threads: c_int,
    dynamic_shared: usize,
) -> u32 {
    call_in_context("cuOccupancyMaxActiveBlocksPerMultiprocessor", |driver| {
        let known = driver.functions.get(&function).ok_or(Status::INVALID_HANDLE)?;
        let module = driver.modules.get(&known.module).ok_or(Status::INVALID_HANDLE)?;
        let index = module.entry(&known.name).ok_or(Status::NOT_FOUND)?;
        let fixed = module.functions[index].entry.as_ref().map_or(0, |entry| entry.shared_bytes);
        if threads <= 0 {
            return Err(Status::INVALID_VALUE);
        }
        let by_threads = 2048 / (threads as u32).next_multiple_of(32);
        let shared = fixed as usize + dynamic_shared + 1024;
        let by_shared = (driver.device.shared_limit() as usize + 1024) / shared;
        put(blocks, by_threads.min(by_shared as u32).min(32) as c_int)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
    blocks: *mut c_int,
    function: Handle,
    threads: c_int,
    dynamic_shared: usize,
    _flags: c_uint,
) -> u32 {
    cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks, function, threads, dynamic_shared)
}
