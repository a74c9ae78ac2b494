//! Work on streams: done at once, or recorded into a graph and done when that is launched.

use std::collections::HashSet;
use std::ffi::{c_int, c_ulonglong, c_void};
use std::sync::Arc;

use super::launch::KernelLaunch;
use super::state::{Driver, Handle, call_always, call_in_context, put};
use super::status::{Result, Status};

/// One piece of work.
#[derive(Clone)]
pub(super) enum Node {
    Kernel(KernelLaunch),
    Upload { to: u64, from: usize, bytes: usize },
    Download { to: usize, from: u64, bytes: usize },
    Copy { to: u64, from: u64, bytes: usize },
    Fill { to: u64, pattern: Vec<u8>, count: usize },
    Host { function: extern "C" fn(*mut c_void), data: usize },
}

/// A capture in progress.
pub(super) struct Capture {
    /// Where it began and must end.
    origin: Handle,
    /// In the order of the calls, which respects every dependency between the streams.
    nodes: Vec<Node>,
    pub streams: HashSet<Handle>,
    pub invalid: bool,
}

/// Does or records work on a stream.
pub(super) fn submit(driver: &mut Driver, stream: Handle, node: Node) -> Result<()> {
    match driver.stream(stream)?.capture {
        None => perform(driver, &node),
        Some(id) => {
            let capture = driver.captures.get_mut(&id).ok_or(Status::UNKNOWN)?;
            if capture.invalid {
                return Err(Status::STREAM_CAPTURE_INVALIDATED);
            }
            capture.nodes.push(node);
            Ok(())
        }
    }
}

fn perform(driver: &mut Driver, node: &Node) -> Result<()> {
    match node {
        Node::Kernel(launch) => super::launch::perform(driver, launch),
        Node::Upload { to, from, bytes } => {
            driver.device.spend_copy(*bytes as u64);
            if *bytes == 0 {
                return Ok(());
            }
            if *from == 0 {
                return Err(Status::INVALID_VALUE);
            }
            // SAFETY: the API requires `bytes` readable bytes at `from`.
            let source = unsafe { std::slice::from_raw_parts(*from as *const u8, *bytes) };
            Ok(driver.device.memory_mut().write(*to, source)?)
        }
        Node::Download { to, from, bytes } => {
            driver.device.spend_copy(*bytes as u64);
            if *bytes == 0 {
                return Ok(());
            }
            if *to == 0 {
                return Err(Status::INVALID_VALUE);
            }
            // SAFETY: the API requires `bytes` writable bytes at `to`.
            let target = unsafe { std::slice::from_raw_parts_mut(*to as *mut u8, *bytes) };
            Ok(driver.device.memory().read(*from, target)?)
        }
        Node::Copy { to, from, bytes } => {
            driver.device.spend_copy(*bytes as u64);
            Ok(driver.device.memory_mut().copy(*to, *from, *bytes as u64)?)
        }
        Node::Fill { to, pattern, count } => {
            driver.device.spend_copy((pattern.len() * count) as u64);
            if *count == 0 {
                return Ok(());
            }
            if !to.is_multiple_of(pattern.len() as u64) {
                return Err(Status::INVALID_VALUE);
            }
            Ok(driver.device.memory_mut().fill(*to, pattern, *count as u64)?)
        }
        Node::Host { function, data } => {
            // Host functions must not call the driver, so the lock may stay held.
            function(*data as *mut c_void);
            Ok(())
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuLaunchHostFunc(
    stream: Handle,
    function: Option<extern "C" fn(*mut c_void)>,
    data: *mut c_void,
) -> u32 {
    call_in_context("cuLaunchHostFunc", |driver| {
        let function = function.ok_or(Status::INVALID_VALUE)?;
        submit(driver, stream, Node::Host { function, data: data as usize })
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamBeginCapture_v2(stream: Handle, mode: c_int) -> u32 {
    call_in_context("cuStreamBeginCapture_v2", |driver| {
        if !(0..=2).contains(&mode) {
            return Err(Status::INVALID_VALUE);
        }
        // The legacy default stream cannot be captured.
        if stream <= 1 {
            return Err(Status::STREAM_CAPTURE_UNSUPPORTED);
        }
        if driver.stream(stream)?.capture.is_some() {
            return Err(Status::INVALID_VALUE);
        }
        let id = driver.handle();
        driver.stream(stream)?.capture = Some(id);
        let streams = HashSet::from([stream]);
        driver
            .captures
            .insert(id, Capture { origin: stream, nodes: Vec::new(), streams, invalid: false });
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamEndCapture(stream: Handle, graph: *mut Handle) -> u32 {
    call_in_context("cuStreamEndCapture", |driver| {
        let id = driver.stream(stream)?.capture.ok_or(Status::INVALID_VALUE)?;
        if driver.captures.get(&id).is_some_and(|capture| capture.origin != stream) {
            return Err(Status::STREAM_CAPTURE_UNMATCHED);
        }
        let capture = driver.captures.remove(&id).ok_or(Status::UNKNOWN)?;
        for member in &capture.streams {
            driver.stream(*member)?.capture = None;
        }
        if capture.invalid {
            put(graph, 0)?;
            return Err(Status::STREAM_CAPTURE_INVALIDATED);
        }
        let handle = driver.handle();
        driver.graphs.insert(handle, Arc::new(capture.nodes));
        put(graph, handle)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamIsCapturing(stream: Handle, status: *mut c_int) -> u32 {
    call_in_context("cuStreamIsCapturing", |driver| {
        let capture = driver.stream(stream)?.capture;
        let invalid =
            capture.and_then(|id| driver.captures.get(&id)).is_some_and(|capture| capture.invalid);
        put(status, if invalid { 2 } else { c_int::from(capture.is_some()) })
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphInstantiateWithFlags(
    executable: *mut Handle,
    graph: Handle,
    _flags: c_ulonglong,
) -> u32 {
    call_in_context("cuGraphInstantiateWithFlags", |driver| {
        let nodes = driver.graphs.get(&graph).ok_or(Status::INVALID_VALUE)?.clone();
        let handle = driver.handle();
        driver.executables.insert(handle, nodes);
        put(executable, handle)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphUpload(executable: Handle, stream: Handle) -> u32 {
    call_in_context("cuGraphUpload", |driver| {
        driver.stream(stream)?;
        if driver.executables.contains_key(&executable) {
            Ok(())
        } else {
            Err(Status::INVALID_VALUE)
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphLaunch(executable: Handle, stream: Handle) -> u32 {
    call_in_context("cuGraphLaunch", |driver| {
        let nodes = driver.executables.get(&executable).ok_or(Status::INVALID_VALUE)?.clone();
        nodes.iter().try_for_each(|node| submit(driver, stream, node.clone()))
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphExecDestroy(executable: Handle) -> u32 {
    call_always("cuGraphExecDestroy", |driver| {
        driver.executables.remove(&executable).map(|_| ()).ok_or(Status::INVALID_VALUE)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphDestroy(graph: Handle) -> u32 {
    call_always("cuGraphDestroy", |driver| {
        driver.graphs.remove(&graph).map(|_| ()).ok_or(Status::INVALID_VALUE)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphGetNodes(graph: Handle, nodes: *mut Handle, count: *mut usize) -> u32 {
    call_in_context("cuGraphGetNodes", |driver| {
        let known = driver.graphs.get(&graph).ok_or(Status::INVALID_VALUE)?.len();
        if !nodes.is_null() {
            return driver.unsupported("cuGraphGetNodes with an array of nodes");
        }
        put(count, known)
    })
}
