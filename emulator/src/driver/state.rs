//! What the driver remembers, behind one lock.

use std::alloc::Layout;
use std::cell::RefCell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard};

use super::capture::{Capture, Node};
use super::status::{Result, Status};
use crate::Counters;
use crate::device::{Config, Device};
use crate::ptx::Module;

/// A handle as the caller sees it: a pointer that is never followed.
pub(super) type Handle = usize;

/// The handle of the device's primary context.
pub(super) const PRIMARY_CONTEXT: Handle = 0x100;
/// The handle of the only memory pool.
pub(super) const MEMORY_POOL: Handle = 0x200;

/// A kernel handed out by `cuModuleGetFunction`.
pub(super) struct Function {
    pub module: Handle,
    pub name: String,
    /// `CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES`.
    pub dynamic_shared: Option<u32>,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Event {
    pub timed: bool,
    /// When it was recorded.
    pub time: Option<u64>,
    /// The capture it was recorded in.
    pub capture: Option<Handle>,
}

#[derive(Default)]
pub(super) struct Stream {
    pub flags: u32,
    pub priority: i32,
    pub capture: Option<Handle>,
}

pub(super) struct Driver {
    pub device: Device,
    pub initialised: bool,
    /// The error that a fault left; every call returns it.
    pub sticky: Option<Status>,
    pub message: String,
    pub primary_references: u32,
    pub modules: HashMap<Handle, Arc<Module>>,
    pub functions: HashMap<Handle, Function>,
    pub streams: HashMap<Handle, Stream>,
    pub events: HashMap<Handle, Event>,
    pub captures: HashMap<Handle, Capture>,
    pub graphs: HashMap<Handle, Arc<Vec<Node>>>,
    pub executables: HashMap<Handle, Arc<Vec<Node>>>,
    pub contexts: HashMap<Handle, u32>,
    /// Host memory allocated here.
    pub host: HashMap<usize, Layout>,
    /// Counts over all launches of a kernel.
    pub totals: HashMap<String, Counters>,
    next_handle: Handle,
}

static DRIVER: Mutex<Option<Driver>> = Mutex::new(None);

thread_local! {
    static CURRENT: RefCell<Vec<Handle>> = const { RefCell::new(Vec::new()) };
}

/// Looks at or changes this thread's stack of current contexts.
pub(super) fn with_current<T>(f: impl FnOnce(&mut Vec<Handle>) -> T) -> T {
    CURRENT.with_borrow_mut(f)
}

impl Driver {
    fn new(config: Config) -> Self {
        Self {
            device: Device::new(config),
            initialised: false,
            sticky: None,
            message: String::new(),
            primary_references: 0,
            modules: HashMap::new(),
            functions: HashMap::new(),
            streams: HashMap::new(),
            events: HashMap::new(),
            captures: HashMap::new(),
            graphs: HashMap::new(),
            executables: HashMap::new(),
            contexts: HashMap::new(),
            host: HashMap::new(),
            totals: HashMap::new(),
            next_handle: 0x1000,
        }
    }

    pub fn handle(&mut self) -> Handle {
        self.next_handle += 0x10;
        self.next_handle
    }

    /// Keeps a message for `blockscale_emulator_last_message` and prints it.
    pub fn complain(&mut self, text: impl Into<String>) {
        self.message = text.into();
        eprintln!("blockscale-emulator: {}", self.message);
    }

    /// Refuses something the emulator does not do.
    pub fn unsupported<T>(&mut self, what: &str) -> Result<T> {
        self.complain(format!("{what} is not supported"));
        Err(Status::NOT_SUPPORTED)
    }

    /// Destroys what belongs to the primary context.
    pub fn reset(&mut self) {
        let host = std::mem::take(&mut self.host);
        let mut fresh = Self::new(self.device.config().clone());
        for (address, layout) in host {
            // SAFETY: allocated in `memory.rs` with this layout, and the record of it is gone now.
            unsafe { std::alloc::dealloc(address as *mut u8, layout) };
        }
        fresh.initialised = self.initialised;
        fresh.next_handle = self.next_handle;
        fresh.totals = std::mem::take(&mut self.totals);
        fresh.message = std::mem::take(&mut self.message);
        *self = fresh;
    }

    /// A stream's state; the default streams are there without having been created.
    pub fn stream(&mut self, stream: Handle) -> Result<&mut Stream> {
        if stream <= 2 {
            return Ok(self.streams.entry(stream).or_default());
        }
        self.streams.get_mut(&stream).ok_or(Status::INVALID_HANDLE)
    }
}

fn lock() -> MutexGuard<'static, Option<Driver>> {
    DRIVER.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Runs a driver call: one at a time, with no panic crossing into the caller.
fn guarded(name: &str, f: impl FnOnce(&mut Driver) -> Result<()>) -> u32 {
    let mut slot = lock();
    if slot.is_none() {
        match Config::from_environment() {
            Ok(config) => *slot = Some(Driver::new(config)),
            Err(reason) => {
                eprintln!("blockscale-emulator: {reason}");
                return Status::INVALID_VALUE.0;
            }
        }
    }
    let Some(driver) = slot.as_mut() else { return Status::UNKNOWN.0 };
    match catch_unwind(AssertUnwindSafe(|| f(driver))) {
        Ok(Ok(())) => 0,
        Ok(Err(status)) => status.0,
        Err(_) => {
            eprintln!("blockscale-emulator: {name} panicked; this is a bug of the emulator");
            Status::UNKNOWN.0
        }
    }
}

/// A call that works in every state.
pub(super) fn call_always(name: &str, f: impl FnOnce(&mut Driver) -> Result<()>) -> u32 {
    guarded(name, f)
}

/// A call that needs `cuInit` and a context without a sticky error.
pub(super) fn call(name: &str, f: impl FnOnce(&mut Driver) -> Result<()>) -> u32 {
    guarded(name, |driver| {
        if !driver.initialised {
            return Err(Status::NOT_INITIALIZED);
        }
        match driver.sticky {
            Some(status) => Err(status),
            None => f(driver),
        }
    })
}

/// A call that also needs a current context.
pub(super) fn call_in_context(name: &str, f: impl FnOnce(&mut Driver) -> Result<()>) -> u32 {
    call(name, |driver| {
        if with_current(|stack| stack.last().copied().unwrap_or(0)) == 0 {
            return Err(Status::INVALID_CONTEXT);
        }
        f(driver)
    })
}

/// Writes a result through a pointer of the caller.
pub(super) fn put<T>(to: *mut T, value: T) -> Result<()> {
    if to.is_null() {
        return Err(Status::INVALID_VALUE);
    }
    // SAFETY: the API requires a valid pointer to a T here, and it is not null.
    unsafe { to.write(value) };
    Ok(())
}

/// Like [`put`] for results that the caller may not want.
pub(super) fn put_optional<T>(to: *mut T, value: T) {
    if !to.is_null() {
        // SAFETY: as in `put`.
        unsafe { to.write(value) };
    }
}

/// Reads a C string of the caller.
pub(super) fn text<'a>(from: *const std::ffi::c_char) -> Result<&'a str> {
    if from.is_null() {
        return Err(Status::INVALID_VALUE);
    }
    // SAFETY: the API requires a C string here that lives during the call.
    let string = unsafe { std::ffi::CStr::from_ptr(from) };
    string.to_str().map_err(|_| Status::INVALID_VALUE)
}
