//! Device memory: allocations with unmapped gaps between them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why an operation on device memory failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// The capacity is used up.
    #[error("out of device memory")]
    OutOfMemory,
    /// The bytes are not all in one allocation.
    #[error("address {0:#x} is in no allocation of that length")]
    NotAllocated(u64),
}

/// First device address. Addresses are never used twice, so a stale one is always noticed.
const FIRST_ADDRESS: u64 = 0x7_0000_0000;
/// Unmapped bytes behind each allocation.
const GAP: u64 = 64 << 10;
/// Allocations start at a multiple of this, as the driver's do.
const ALIGNMENT: u64 = 512;
/// What fresh memory holds: as f32, bf16 or f16 a strange small number.
const POISON: u64 = 0xa5a5_a5a5_a5a5_a5a5;

enum Storage {
    /// Words that kernels on several threads may change at once.
    Device(Box<[AtomicU64]>),
    /// Pinned host memory, owned by whoever registered it.
    Host(*mut u8),
}

struct Region {
    bytes: u64,
    constant: bool,
    storage: Storage,
}

impl Region {
    fn pointer(&self) -> *mut u8 {
        match &self.storage {
            Storage::Device(words) => words.as_ptr() as *mut u8,
            Storage::Host(pointer) => *pointer,
        }
    }
}

/// All allocations of a device.
pub struct GlobalMemory {
    regions: BTreeMap<u64, Region>,
    next: u64,
    capacity: u64,
    used: u64,
}

// SAFETY: the host pointers are only dereferenced by copies and launches, whose callers promise
// that registered memory is valid; nothing in here is tied to a thread.
unsafe impl Send for GlobalMemory {}

impl GlobalMemory {
    /// Memory of so many bytes.
    pub fn new(capacity: u64) -> Self {
        Self { regions: BTreeMap::new(), next: FIRST_ADDRESS, capacity, used: 0 }
    }

    /// Total bytes.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Bytes not allocated.
    pub fn free_bytes(&self) -> u64 {
        self.capacity - self.used
    }

    /// Allocates memory with undefined content.
    pub fn allocate(&mut self, bytes: u64) -> Result<u64, MemoryError> {
        self.place(bytes, 1, false)
    }

    /// Allocates memory and fills it; `constant` memory is read-only for kernels.
    pub fn allocate_variable(
        &mut self,
        content: &[u8],
        align: u32,
        constant: bool,
    ) -> Result<u64, MemoryError> {
        let address = self.place(content.len() as u64, u64::from(align), constant)?;
        self.write(address, content)?;
        Ok(address)
    }

    fn place(&mut self, bytes: u64, align: u64, constant: bool) -> Result<u64, MemoryError> {
        if bytes > self.free_bytes() {
            return Err(MemoryError::OutOfMemory);
        }
        let address = self.next.next_multiple_of(ALIGNMENT.max(align));
        let words = (0..bytes.div_ceil(8)).map(|_| AtomicU64::new(POISON)).collect();
        self.regions.insert(address, Region { bytes, constant, storage: Storage::Device(words) });
        self.next = address + bytes + GAP;
        self.used += bytes;
        Ok(address)
    }

    /// Makes host memory reachable for kernels at its own address.
    ///
    /// # Safety
    /// The bytes stay valid, and untouched by the host while a kernel runs, until
    /// [`release`](Self::release).
    pub unsafe fn register_host(&mut self, pointer: *mut u8, bytes: u64) {
        self.regions.insert(
            pointer as u64,
            Region { bytes, constant: false, storage: Storage::Host(pointer) },
        );
    }

    /// Frees an allocation or forgets registered host memory.
    pub fn release(&mut self, address: u64) -> Result<(), MemoryError> {
        let region = self.regions.remove(&address).ok_or(MemoryError::NotAllocated(address))?;
        if matches!(region.storage, Storage::Device(_)) {
            self.used -= region.bytes;
        }
        Ok(())
    }

    fn pointer(&self, address: u64, bytes: u64) -> Result<*mut u8, MemoryError> {
        let (base, region) =
            self.regions.range(..=address).next_back().ok_or(MemoryError::NotAllocated(address))?;
        let offset = address - base;
        if offset > region.bytes || bytes > region.bytes - offset {
            return Err(MemoryError::NotAllocated(address));
        }
        Ok(region.pointer().wrapping_add(offset as usize))
    }

    /// Checks that the bytes are in one allocation.
    pub fn check(&self, address: u64, bytes: u64) -> Result<(), MemoryError> {
        self.pointer(address, bytes).map(|_| ())
    }

    /// Copies to the host.
    pub fn read(&self, address: u64, into: &mut [u8]) -> Result<(), MemoryError> {
        let from = self.pointer(address, into.len() as u64)?;
        // SAFETY: the range lies in a live region, and no kernel runs while the host holds `self`.
        unsafe { std::ptr::copy(from, into.as_mut_ptr(), into.len()) };
        Ok(())
    }

    /// Copies from the host.
    pub fn write(&mut self, address: u64, from: &[u8]) -> Result<(), MemoryError> {
        let into = self.pointer(address, from.len() as u64)?;
        // SAFETY: as in `read`; the words have interior mutability.
        unsafe { std::ptr::copy(from.as_ptr(), into, from.len()) };
        Ok(())
    }

    /// Copies within the device; the ranges may overlap.
    pub fn copy(&mut self, to: u64, from: u64, bytes: u64) -> Result<(), MemoryError> {
        let (into, source) = (self.pointer(to, bytes)?, self.pointer(from, bytes)?);
        // SAFETY: both ranges lie in live regions.
        unsafe { std::ptr::copy(source, into, bytes as usize) };
        Ok(())
    }

    /// Writes a pattern repeatedly.
    pub fn fill(&mut self, address: u64, pattern: &[u8], count: u64) -> Result<(), MemoryError> {
        let into = self.pointer(address, pattern.len() as u64 * count)?;
        for index in 0..count as usize {
            // SAFETY: the whole range was checked above.
            unsafe {
                std::ptr::copy(pattern.as_ptr(), into.add(index * pattern.len()), pattern.len())
            };
        }
        Ok(())
    }

    /// The allocation around an address: its start and length.
    pub fn range_of(&self, address: u64) -> Option<(u64, u64)> {
        let (base, region) = self.regions.range(..=address).next_back()?;
        (address - base < region.bytes.max(1)).then_some((*base, region.bytes))
    }

    /// What kernels see. The view must not outlive `self` or any release.
    pub(crate) fn view(&self) -> View {
        let windows = self.regions.iter().map(|(base, region)| Window {
            start: *base,
            bytes: region.bytes,
            host: region.pointer(),
            constant: region.constant,
        });
        View { windows: windows.collect() }
    }
}

/// One allocation as a kernel sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub start: u64,
    pub bytes: u64,
    pub constant: bool,
    host: *mut u8,
}

impl Window {
    /// Whether it holds all the bytes.
    #[inline(always)]
    pub fn holds(&self, address: u64, bytes: u64) -> bool {
        let offset = address.wrapping_sub(self.start);
        offset < self.bytes && bytes <= self.bytes - offset
    }
}

/// All allocations, sorted by address.
pub(crate) struct View {
    windows: Vec<Window>,
}

// SAFETY: all accesses through a view are relaxed atomics on memory that outlives the launch.
unsafe impl Sync for View {}

impl View {
    /// The allocation that holds all the bytes.
    pub fn find(&self, address: u64, bytes: u64) -> Option<&Window> {
        let after = self.windows.partition_point(|window| window.start <= address);
        self.windows[..after].last().filter(|window| window.holds(address, bytes))
    }

    /// A remark on the allocation next to an address outside all of them.
    pub fn hint(&self, address: u64) -> String {
        let after = self.windows.partition_point(|window| window.start <= address);
        match self.windows[..after].last() {
            Some(window) => {
                let past = address - window.start;
                format!(", {past} bytes from the start of an allocation of {} bytes", window.bytes)
            }
            None => String::new(),
        }
    }
}

/// Reads `1 << SHIFT` bytes of a window. The caller has checked bounds and alignment.
#[inline(always)]
pub(crate) fn load(window: &Window, address: u64, bytes: u32) -> u64 {
    let pointer = window.host.wrapping_add((address - window.start) as usize);
    debug_assert!(window.holds(address, u64::from(bytes)));
    use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32};
    // SAFETY: the window holds the bytes, they are aligned to their size (windows of device memory
    // start aligned, and the address was checked), and every access to them is atomic.
    unsafe {
        match bytes {
            1 => u64::from(AtomicU8::from_ptr(pointer).load(Ordering::Relaxed)),
            2 => u64::from(AtomicU16::from_ptr(pointer.cast()).load(Ordering::Relaxed)),
            4 => u64::from(AtomicU32::from_ptr(pointer.cast()).load(Ordering::Relaxed)),
            _ => AtomicU64::from_ptr(pointer.cast()).load(Ordering::Relaxed),
        }
    }
}

/// Writes; the counterpart of [`load`].
#[inline(always)]
pub(crate) fn store(window: &Window, address: u64, bytes: u32, value: u64) {
    let pointer = window.host.wrapping_add((address - window.start) as usize);
    debug_assert!(window.holds(address, u64::from(bytes)));
    use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32};
    // SAFETY: as in `load`.
    unsafe {
        match bytes {
            1 => AtomicU8::from_ptr(pointer).store(value as u8, Ordering::Relaxed),
            2 => AtomicU16::from_ptr(pointer.cast()).store(value as u16, Ordering::Relaxed),
            4 => AtomicU32::from_ptr(pointer.cast()).store(value as u32, Ordering::Relaxed),
            _ => AtomicU64::from_ptr(pointer.cast()).store(value, Ordering::Relaxed),
        }
    }
}

/// Reads, changes and writes in one step; returns the old value.
pub(crate) fn update(
    window: &Window,
    address: u64,
    bytes: u32,
    change: impl Fn(u64) -> u64,
) -> u64 {
    let pointer = window.host.wrapping_add((address - window.start) as usize);
    use std::sync::atomic::{AtomicU16, AtomicU32};
    // SAFETY: as in `load`.
    unsafe {
        match bytes {
            2 => {
                let cell = AtomicU16::from_ptr(pointer.cast());
                let step = |old| Some(change(u64::from(old)) as u16);
                u64::from(
                    cell.fetch_update(Ordering::AcqRel, Ordering::Acquire, step)
                        .unwrap_or_default(),
                )
            }
            4 => {
                let cell = AtomicU32::from_ptr(pointer.cast());
                let step = |old| Some(change(u64::from(old)) as u32);
                u64::from(
                    cell.fetch_update(Ordering::AcqRel, Ordering::Acquire, step)
                        .unwrap_or_default(),
                )
            }
            _ => {
                let cell = AtomicU64::from_ptr(pointer.cast());
                cell.fetch_update(Ordering::AcqRel, Ordering::Acquire, |old| Some(change(old)))
                    .unwrap_or_default()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_and_reuse() {
        let mut memory = GlobalMemory::new(4096);
        let a = memory.allocate(100).unwrap();
        let b = memory.allocate(8).unwrap();
        assert!(b >= a + 100 + GAP);
        assert_eq!(memory.write(a + 96, &[0; 8]), Err(MemoryError::NotAllocated(a + 96)));
        memory.fill(a, &[1, 2], 50).unwrap();
        let mut bytes = [0; 4];
        memory.read(a + 96, &mut bytes).unwrap();
        assert_eq!(bytes, [1, 2, 1, 2]);
        assert!(memory.view().find(a + 98, 4).is_none() && memory.view().find(a + 96, 4).is_some());
        memory.release(a).unwrap();
        assert_eq!(memory.release(a), Err(MemoryError::NotAllocated(a)));
        assert!(memory.allocate(100).unwrap() > b);
        assert_eq!(memory.allocate(5000), Err(MemoryError::OutOfMemory));
    }
}
