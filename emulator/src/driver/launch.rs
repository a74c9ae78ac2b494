//! Kernel launches.

use std::ffi::{c_uint, c_void};

use super::capture::{Node, submit};
use super::state::{Driver, Handle, call_in_context};
use super::status::{Result, Status};
use crate::device::LaunchConfig;
use crate::error::LaunchError;

/// A launch with its arguments copied, as a graph keeps it.
#[derive(Clone)]
pub(super) struct KernelLaunch {
    function: Handle,
    config: LaunchConfig,
    arguments: Vec<u8>,
}

impl From<&LaunchError> for Status {
    fn from(error: &LaunchError) -> Self {
        match error {
            LaunchError::NoEntry(_) => Self::NOT_FOUND,
            LaunchError::Geometry { reason, .. } if reason.starts_with("the kernel") => {
                Self::LAUNCH_OUT_OF_RESOURCES
            }
            LaunchError::Geometry { .. }
            | LaunchError::SharedMemory { .. }
            | LaunchError::Arguments { .. } => Self::INVALID_VALUE,
            LaunchError::Fault(fault) => Self(fault.kind.cuda_error()),
        }
    }
}

/// Runs a launch. A fault stays as the context's error.
pub(super) fn perform(driver: &mut Driver, launch: &KernelLaunch) -> Result<()> {
    let function = driver.functions.get(&launch.function).ok_or(Status::INVALID_HANDLE)?;
    let module = driver.modules.get(&function.module).ok_or(Status::INVALID_HANDLE)?.clone();
    let name = function.name.clone();
    let fixed = module
        .entry(&name)
        .and_then(|index| module.functions[index].entry.as_ref())
        .map_or(0, |e| e.shared_bytes);
    // The attribute bounds the dynamic part, the device the sum.
    let limit =
        function.dynamic_shared.map(|dynamic| (dynamic + fixed.next_multiple_of(16)).max(48 << 10));
    match driver.device.launch(&module, &name, launch.config, &launch.arguments, limit) {
        Ok(counters) => {
            driver.totals.entry(name).or_default().add(&counters);
            Ok(())
        }
        Err(error) => {
            driver.complain(error.to_string());
            let status = Status::from(&error);
            if matches!(error, LaunchError::Fault(_)) {
                driver.sticky = Some(status);
            }
            Err(status)
        }
    }
}

/// Copies the arguments: from an array of pointers, one for each parameter, or from one buffer
/// given by `extra`.
fn arguments(
    driver: &Driver,
    function: Handle,
    parameters: *const *const c_void,
    extra: *const *const c_void,
) -> Result<Vec<u8>> {
    let function = driver.functions.get(&function).ok_or(Status::INVALID_HANDLE)?;
    let module = driver.modules.get(&function.module).ok_or(Status::INVALID_HANDLE)?;
    let known = &module.functions[module.entry(&function.name).ok_or(Status::NOT_FOUND)?];
    let size = known.entry.as_ref().map_or(0, |entry| entry.parameter_bytes as usize);
    if !extra.is_null() {
        return packed_arguments(extra, size);
    }
    if parameters.is_null() && !known.parameters.is_empty() {
        return Err(Status::INVALID_VALUE);
    }
    let mut buffer = vec![0; size];
    for (index, at) in known.parameters.iter().enumerate() {
        // SAFETY: the API requires a pointer for each parameter.
        let pointer = unsafe { parameters.add(index).read() };
        if pointer.is_null() {
            return Err(Status::INVALID_VALUE);
        }
        let target = &mut buffer[at.offset as usize..(at.offset + at.bytes) as usize];
        // SAFETY: each pointer leads to a value of the parameter's size.
        unsafe { std::ptr::copy_nonoverlapping(pointer.cast(), target.as_mut_ptr(), target.len()) };
    }
    Ok(buffer)
}

/// `extra` is a list of tags and values: 1 the buffer, 2 a pointer to its size, 0 the end.
fn packed_arguments(extra: *const *const c_void, size: usize) -> Result<Vec<u8>> {
    let (mut buffer, mut given) = (std::ptr::null::<u8>(), 0usize);
    for index in (0..8).step_by(2) {
        // SAFETY: the API requires a list that ends with tag 0, where reading stops.
        let tag = unsafe { extra.add(index).read() } as usize;
        if tag == 0 {
            break;
        }
        // SAFETY: a value follows every other tag.
        let value = unsafe { extra.add(index + 1).read() };
        match tag {
            1 => buffer = value.cast(),
            // SAFETY: tag 2 comes with a pointer to a size.
            2 if !value.is_null() => given = unsafe { value.cast::<usize>().read() },
            _ => return Err(Status::INVALID_VALUE),
        }
    }
    if buffer.is_null() || given < size {
        return Err(Status::INVALID_VALUE);
    }
    // SAFETY: the buffer has `given` bytes, which are at least `size`.
    Ok(unsafe { std::slice::from_raw_parts(buffer, size) }.to_vec())
}

fn launch(
    driver: &mut Driver,
    function: Handle,
    config: LaunchConfig,
    stream: Handle,
    parameters: *const *const c_void,
    extra: *const *const c_void,
) -> Result<()> {
    let arguments = arguments(driver, function, parameters, extra)?;
    submit(driver, stream, Node::Kernel(KernelLaunch { function, config, arguments }))
}

#[unsafe(no_mangle)]
extern "C" fn cuLaunchKernel(
    function: Handle,
    grid_x: c_uint,
    grid_y: c_uint,
    grid_z: c_uint,
    block_x: c_uint,
    block_y: c_uint,
    block_z: c_uint,
    dynamic_shared: c_uint,
    stream: Handle,
    parameters: *const *const c_void,
    extra: *const *const c_void,
) -> u32 {
    let config = LaunchConfig {
        grid: [grid_x, grid_y, grid_z],
        block: [block_x, block_y, block_z],
        dynamic_shared,
    };
    call_in_context("cuLaunchKernel", |driver| {
        launch(driver, function, config, stream, parameters, extra)
    })
}

/// `CUlaunchConfig`.
#[repr(C)]
struct ExtendedConfig {
    grid: [c_uint; 3],
    block: [c_uint; 3],
    dynamic_shared: c_uint,
    stream: Handle,
    attributes: *const Attribute,
    count: c_uint,
}

/// `CUlaunchAttribute`: the value is a union of 64 bytes.
#[repr(C)]
struct Attribute {
    id: u32,
    padding: u32,
    value: [u32; 16],
}

const COOPERATIVE: u32 = 2;
const CLUSTER_DIMENSION: u32 = 4;
const LAUNCH_COMPLETION_EVENT: u32 = 12;
const PROGRAMMATIC_EVENT: u32 = 7;

#[unsafe(no_mangle)]
extern "C" fn cuLaunchKernelEx(
    config: *const ExtendedConfig,
    function: Handle,
    parameters: *const *const c_void,
    extra: *const *const c_void,
) -> u32 {
    call_in_context("cuLaunchKernelEx", |driver| {
        if config.is_null() {
            return Err(Status::INVALID_VALUE);
        }
        // SAFETY: the API requires a valid configuration, and it is not null.
        let config = unsafe { &*config };
        for index in 0..config.count as usize {
            if config.attributes.is_null() {
                return Err(Status::INVALID_VALUE);
            }
            // SAFETY: there are `count` attributes.
            let attribute = unsafe { &*config.attributes.add(index) };
            match attribute.id {
                CLUSTER_DIMENSION if attribute.value[..3] != [1, 1, 1] => {
                    return driver.unsupported("a launch with thread block clusters");
                }
                COOPERATIVE if attribute.value[0] != 0 => {
                    return driver.unsupported("a cooperative launch");
                }
                LAUNCH_COMPLETION_EVENT | PROGRAMMATIC_EVENT => {
                    return driver.unsupported("a launch with an event");
                }
                // The others steer scheduling and caches; programmatic serialization may wait
                // longer than needed.
                _ => {}
            }
        }
        let geometry = LaunchConfig {
            grid: config.grid,
            block: config.block,
            dynamic_shared: config.dynamic_shared,
        };
        launch(driver, function, geometry, config.stream, parameters, extra)
    })
}
