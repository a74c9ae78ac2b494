//! Loads, stores, atomics and asynchronous copies.

use super::block::Worker;
use super::registers::Lanes;
use super::shared::wavefronts;
use super::stop::{Step, bad_operand, lanes, stop};
use super::warp::{Fragment, PendingCopy, Warp};
use crate::error::FaultKind;
use crate::isa::{
    Address, AsyncCopy, Atomic, AtomicOp, Base, IntType, Load, PredReg, Reg, SourceBytes, Space,
    Store, Type,
};
use crate::memory::{Window, load, store, update};
use crate::numeric::format::{BF16, F16};
use crate::numeric::{Rounding, canonical32};

/// Where the other state spaces lie among generic addresses.
const SHARED_WINDOW: u64 = 1 << 56;
const LOCAL_WINDOW: u64 = 2 << 56;
const PARAM_WINDOW: u64 = 3 << 56;

/// The space of a generic address and its address there.
fn from_generic(address: u64) -> (Space, u64) {
    let inside = address & (SHARED_WINDOW - 1);
    match address >> 56 {
        1 => (Space::Shared, inside),
        2 => (Space::Local, inside),
        3 => (Space::Param, inside),
        _ => (Space::Global, address),
    }
}

fn window_of(space: Space) -> u64 {
    match space {
        Space::Shared => SHARED_WINDOW,
        Space::Local => LOCAL_WINDOW,
        Space::Param => PARAM_WINDOW,
        _ => 0,
    }
}

/// What the lanes of one instruction touch.
struct Request<'a> {
    active: u32,
    addresses: &'a Lanes,
    /// Bytes of one element, and elements.
    element: u32,
    count: usize,
}

impl Request<'_> {
    fn bytes(&self) -> u32 {
        self.element * self.count as u32
    }

    /// Distinct 32-byte sectors.
    fn sectors(&self) -> u64 {
        let mut seen: Vec<u64> = Vec::with_capacity(64);
        let mut highest = None;
        for lane in lanes(self.active) {
            let first = self.addresses[lane] / 32;
            let last = (self.addresses[lane] + u64::from(self.bytes()) - 1) / 32;
            for sector in first..=last {
                // Rising addresses, the usual case, need no search.
                if highest.is_none_or(|highest| sector > highest) {
                    highest = Some(sector);
                    seen.push(sector);
                } else if !seen.contains(&sector) {
                    seen.push(sector);
                }
            }
        }
        seen.len() as u64
    }
}

impl Worker<'_> {
    fn addresses(
        &self,
        warp: &Warp,
        local_base: usize,
        active: u32,
        address: Address,
    ) -> Step<Lanes> {
        Ok(match address.base {
            Base::Register(register) => {
                let base = warp.registers.read(register, active)?;
                std::array::from_fn(|lane| base[lane].wrapping_add_signed(address.offset))
            }
            Base::Absolute => [address.offset as u64; 32],
            Base::Frame => [(local_base as u64).wrapping_add_signed(address.offset); 32],
        })
    }

    /// Splits generic accesses by the space that each lane's address is in.
    fn spaces(space: Space, active: u32, addresses: &mut Lanes) -> Vec<(Space, u32)> {
        if space != Space::Generic {
            return vec![(space, active)];
        }
        let mut parts: Vec<(Space, u32)> = Vec::new();
        for lane in lanes(active) {
            let (space, inside) = from_generic(addresses[lane]);
            addresses[lane] = inside;
            match parts.iter_mut().find(|(known, _)| *known == space) {
                Some((_, mask)) => *mask |= 1 << lane,
                None => parts.push((space, 1 << lane)),
            }
        }
        parts
    }

    /// The allocation that holds a lane's access.
    #[inline]
    fn global_window(
        &mut self,
        lane: usize,
        address: u64,
        bytes: u32,
        access: &'static str,
    ) -> Step<Window> {
        if !address.is_multiple_of(u64::from(bytes)) {
            return stop(lane as u32, FaultKind::Misaligned { access, address, bytes });
        }
        if let Some(window) = self.window
            && window.holds(address, u64::from(bytes))
        {
            return Ok(window);
        }
        match self.launch.memory.find(address, u64::from(bytes)) {
            Some(window) => {
                self.window = Some(*window);
                Ok(*window)
            }
            None => {
                let hint = self.launch.memory.hint(address);
                stop(
                    lane as u32,
                    FaultKind::OutOfBounds { access, space: Space::Global, address, bytes, hint },
                )
            }
        }
    }

    pub fn load(
        &mut self,
        warp: &mut Warp,
        fragment: &Fragment,
        active: u32,
        l: &Load,
    ) -> Step<()> {
        let mut addresses = self.addresses(warp, fragment.local_base, active, l.address)?;
        let element = l.ty.bits() / 8;
        let mut values = [[0u64; 32]; 8];
        for (space, mask) in Self::spaces(l.space, active, &mut addresses) {
            let request = Request {
                active: mask,
                addresses: &addresses,
                element,
                count: l.destinations.len(),
            };
            match space {
                Space::Global | Space::Const | Space::Generic => {
                    self.load_global(&request, space, &mut values)?
                }
                Space::Shared => self.load_shared(warp, &request, l.strong, &mut values)?,
                Space::Local => self.load_local(warp, fragment, &request, &mut values)?,
                Space::Param => self.load_param(&request, &mut values)?,
            }
        }
        let ty = l.ty.integer().unwrap_or(IntType { bits: l.ty.bits(), signed: false });
        for (destination, value) in l.destinations.iter().zip(&values) {
            let Some((register, width)) = *destination else { continue };
            if ty.signed {
                // A narrow signed value is extended to the whole register.
                let mask = u64::MAX >> (64 - width);
                warp.registers
                    .write(active, register, |lane| ty.sign_extend(value[lane]) as u64 & mask);
            } else {
                warp.registers.write(active, register, |lane| value[lane]);
            }
        }
        Ok(())
    }

    fn load_global(
        &mut self,
        request: &Request<'_>,
        space: Space,
        values: &mut [Lanes; 8],
    ) -> Step<()> {
        let bytes = request.bytes();
        for lane in lanes(request.active) {
            let address = request.addresses[lane];
            let window = self.global_window(lane, address, bytes, "load")?;
            if space == Space::Const && !window.constant {
                return bad_operand(lane as u32, format!("{address:#x} is not constant memory"));
            }
            for (index, value) in values[..request.count].iter_mut().enumerate() {
                let offset = u64::from(request.element) * index as u64;
                value[lane] = load(&window, address + offset, request.element);
            }
        }
        // Constants have a cache of their own.
        if space != Space::Const {
            self.counters.global_load_requests += 1;
            self.counters.global_load_sectors += request.sectors();
            self.counters.global_load_bytes +=
                u64::from(bytes) * u64::from(request.active.count_ones());
        }
        Ok(())
    }

    fn count_shared(&mut self, request: &Request<'_>) {
        let list: Vec<_> =
            lanes(request.active).map(|lane| (lane as u32, request.addresses[lane])).collect();
        let (passes, ideal) = wavefronts(&list, request.bytes());
        self.counters.shared_wavefronts += passes;
        self.counters.shared_bank_conflicts += passes.saturating_sub(ideal);
    }

    fn load_shared(
        &mut self,
        warp: &Warp,
        request: &Request<'_>,
        strong: bool,
        values: &mut [Lanes; 8],
    ) -> Step<()> {
        for lane in lanes(request.active) {
            let thread = warp.index as u32 * 32 + lane as u32;
            let at = self.shared.check(thread, request.addresses[lane], request.bytes(), "load")?;
            for (index, value) in values[..request.count].iter_mut().enumerate() {
                value[lane] = self.shared.load(
                    thread,
                    at + index * request.element as usize,
                    request.element,
                    strong,
                )?;
            }
        }
        self.counters.shared_load_requests += 1;
        self.count_shared(request);
        Ok(())
    }

    /// Checks a local access against the frames in use.
    fn local_place(
        &self,
        warp: &Warp,
        lane: usize,
        address: u64,
        bytes: u32,
        access: &'static str,
    ) -> Step<usize> {
        if address + u64::from(bytes) > warp.local[lane].len() as u64 {
            let hint = format!("; the thread has {} bytes", warp.local[lane].len());
            return stop(
                lane as u32,
                FaultKind::OutOfBounds { access, space: Space::Local, address, bytes, hint },
            );
        }
        if !address.is_multiple_of(u64::from(bytes)) {
            return stop(lane as u32, FaultKind::Misaligned { access, address, bytes });
        }
        Ok(address as usize)
    }

    fn load_local(
        &mut self,
        warp: &Warp,
        _: &Fragment,
        request: &Request<'_>,
        values: &mut [Lanes; 8],
    ) -> Step<()> {
        for lane in lanes(request.active) {
            let at =
                self.local_place(warp, lane, request.addresses[lane], request.bytes(), "load")?;
            for (index, value) in values[..request.count].iter_mut().enumerate() {
                value[lane] = little_endian(
                    &warp.local[lane][at + index * request.element as usize..],
                    request.element,
                );
            }
        }
        self.counters.local_requests += 1;
        Ok(())
    }

    fn load_param(&mut self, request: &Request<'_>, values: &mut [Lanes; 8]) -> Step<()> {
        let arguments = self.launch.arguments;
        for lane in lanes(request.active) {
            let (address, bytes) = (request.addresses[lane], request.bytes());
            let end = address.saturating_add(u64::from(bytes));
            if end > arguments.len() as u64 {
                let hint = format!("; the kernel has {} bytes of parameters", arguments.len());
                let fault = FaultKind::OutOfBounds {
                    access: "load",
                    space: Space::Param,
                    address,
                    bytes,
                    hint,
                };
                return stop(lane as u32, fault);
            }
            if !address.is_multiple_of(u64::from(request.element)) {
                return stop(lane as u32, FaultKind::Misaligned { access: "load", address, bytes });
            }
            for (index, value) in values[..request.count].iter_mut().enumerate() {
                let at = address as usize + index * request.element as usize;
                value[lane] = little_endian(&arguments[at..], request.element);
            }
        }
        Ok(())
    }

    pub fn store(
        &mut self,
        warp: &mut Warp,
        fragment: &Fragment,
        active: u32,
        s: &Store,
    ) -> Step<()> {
        let mut addresses = self.addresses(warp, fragment.local_base, active, s.address)?;
        let element = s.ty.bits() / 8;
        let mut values = [[0u64; 32]; 8];
        for (source, value) in s.sources.iter().zip(&mut values) {
            *value = *warp.registers.read(*source, active)?;
        }
        for (space, mask) in Self::spaces(s.space, active, &mut addresses) {
            let request =
                Request { active: mask, addresses: &addresses, element, count: s.sources.len() };
            match space {
                Space::Shared => self.store_shared(warp, &request, s.strong, &values)?,
                Space::Local => self.store_local(warp, &request, &values)?,
                Space::Param => {
                    return bad_operand(
                        mask.trailing_zeros(),
                        "kernel parameters cannot be written",
                    );
                }
                _ => self.store_global(&request, &values)?,
            }
        }
        Ok(())
    }

    fn store_global(&mut self, request: &Request<'_>, values: &[Lanes; 8]) -> Step<()> {
        let bytes = request.bytes();
        for lane in lanes(request.active) {
            let address = request.addresses[lane];
            let window = self.global_window(lane, address, bytes, "store")?;
            if window.constant {
                return stop(lane as u32, FaultKind::ReadOnly { address });
            }
            for (index, value) in values[..request.count].iter().enumerate() {
                let offset = u64::from(request.element) * index as u64;
                store(&window, address + offset, request.element, value[lane]);
            }
        }
        self.counters.global_store_requests += 1;
        self.counters.global_store_sectors += request.sectors();
        self.counters.global_store_bytes +=
            u64::from(bytes) * u64::from(request.active.count_ones());
        Ok(())
    }

    fn store_shared(
        &mut self,
        warp: &Warp,
        request: &Request<'_>,
        strong: bool,
        values: &[Lanes; 8],
    ) -> Step<()> {
        for lane in lanes(request.active) {
            let thread = warp.index as u32 * 32 + lane as u32;
            let at =
                self.shared.check(thread, request.addresses[lane], request.bytes(), "store")?;
            for (index, value) in values[..request.count].iter().enumerate() {
                let place = at + index * request.element as usize;
                self.shared.store(thread, place, request.element, value[lane], strong)?;
            }
        }
        self.counters.shared_store_requests += 1;
        self.count_shared(request);
        Ok(())
    }

    fn store_local(
        &mut self,
        warp: &mut Warp,
        request: &Request<'_>,
        values: &[Lanes; 8],
    ) -> Step<()> {
        for lane in lanes(request.active) {
            let at =
                self.local_place(warp, lane, request.addresses[lane], request.bytes(), "store")?;
            for (index, value) in values[..request.count].iter().enumerate() {
                let place = at + index * request.element as usize;
                let bytes = value[lane].to_le_bytes();
                warp.local[lane][place..place + request.element as usize]
                    .copy_from_slice(&bytes[..request.element as usize]);
            }
        }
        self.counters.local_requests += 1;
        Ok(())
    }

    pub fn atomic(
        &mut self,
        warp: &mut Warp,
        fragment: &Fragment,
        active: u32,
        a: &Atomic,
    ) -> Step<()> {
        let mut addresses = self.addresses(warp, fragment.local_base, active, a.address)?;
        let b = *warp.registers.read(a.b, active)?;
        let c = match a.c {
            Some(c) => *warp.registers.read(c, active)?,
            None => [0; 32],
        };
        let bytes = a.ty.bits() / 8;
        let mut old = [0u64; 32];
        for (space, mask) in Self::spaces(a.space, active, &mut addresses) {
            let request = Request { active: mask, addresses: &addresses, element: bytes, count: 1 };
            if space == Space::Shared {
                for lane in lanes(mask) {
                    let thread = warp.index as u32 * 32 + lane as u32;
                    let at = self.shared.check(thread, addresses[lane], bytes, "atomic")?;
                    old[lane] = self.shared.load(thread, at, bytes, true)?;
                    let new = changed(a.op, a.ty, old[lane], b[lane], c[lane]);
                    self.shared.store(thread, at, bytes, new, true)?;
                }
                self.count_shared(&request);
            } else if space == Space::Global {
                for lane in lanes(mask) {
                    let address = addresses[lane];
                    let window = self.global_window(lane, address, bytes, "atomic")?;
                    if window.constant {
                        return stop(lane as u32, FaultKind::ReadOnly { address });
                    }
                    old[lane] = update(&window, address, bytes, |old| {
                        changed(a.op, a.ty, old, b[lane], c[lane])
                    });
                }
                self.counters.global_atomic_requests += 1;
                self.counters.global_atomic_sectors += request.sectors();
            } else {
                return bad_operand(
                    mask.trailing_zeros(),
                    "atomics work on global and shared memory",
                );
            }
        }
        if let Some(destination) = a.destination {
            warp.registers.write(active, destination, |lane| old[lane]);
        }
        Ok(())
    }

    pub fn convert_address(
        &mut self,
        warp: &mut Warp,
        active: u32,
        dst: Reg,
        src: Reg,
        space: Space,
        to_generic: bool,
    ) -> Step<()> {
        let window = window_of(space);
        if to_generic {
            return warp.registers.map1(active, dst, src, |address| address.wrapping_add(window));
        }
        let source = *warp.registers.read(src, active)?;
        for lane in lanes(active) {
            let (found, _) = from_generic(source[lane]);
            let fits = match space {
                Space::Global | Space::Const => found == Space::Global,
                _ => found == space,
            };
            if !fits && source[lane] != 0 {
                return bad_operand(
                    lane as u32,
                    format!("{:#x} is an address of {found:?} memory, not {space:?}", source[lane]),
                );
            }
        }
        warp.registers.write(active, dst, |lane| source[lane].wrapping_sub(window));
        Ok(())
    }

    pub fn is_space(
        &mut self,
        warp: &mut Warp,
        active: u32,
        dst: PredReg,
        src: Reg,
        space: Space,
    ) -> Step<()> {
        let source = *warp.registers.read(src, active)?;
        let mut mask = 0;
        for lane in lanes(active) {
            let (found, address) = from_generic(source[lane]);
            let constant =
                || self.launch.memory.find(address, 1).is_some_and(|window| window.constant);
            let holds = match space {
                Space::Const => found == Space::Global && constant(),
                Space::Global => found == Space::Global && !constant(),
                _ => found == space,
            };
            mask |= u32::from(holds) << lane;
        }
        warp.registers.set_predicate(active, dst, mask);
        Ok(())
    }

    /// Issues a copy: the data is read now and arrives when it is waited for.
    pub fn async_copy(&mut self, warp: &mut Warp, active: u32, copy: &AsyncCopy) -> Step<()> {
        let to = self.addresses(warp, 0, active, copy.destination)?;
        let from = self.addresses(warp, 0, active, copy.source)?;
        let counts = match copy.source_bytes {
            SourceBytes::All => [u64::from(copy.bytes); 32],
            SourceBytes::Register(register) => *warp.registers.read(register, active)?,
            SourceBytes::IgnoreIf(guard) => {
                let ignored = warp.registers.test(guard, active)?;
                std::array::from_fn(|lane| {
                    if ignored >> lane & 1 == 1 { 0 } else { u64::from(copy.bytes) }
                })
            }
        };
        let mut reading = 0;
        for lane in lanes(active) {
            if counts[lane] > u64::from(copy.bytes) {
                return bad_operand(
                    lane as u32,
                    format!("cp.async of {} bytes from {}", copy.bytes, counts[lane]),
                );
            }
            let thread = warp.index as u32 * 32 + lane as u32;
            let place = self.shared.check(thread, to[lane], copy.bytes, "cp.async")?;
            let mut data = [0u8; 16];
            if counts[lane] > 0 {
                reading |= 1 << lane;
                if !from[lane].is_multiple_of(u64::from(copy.bytes)) {
                    let fault = FaultKind::Misaligned {
                        access: "cp.async",
                        address: from[lane],
                        bytes: copy.bytes,
                    };
                    return stop(lane as u32, fault);
                }
                for (index, byte) in data[..counts[lane] as usize].iter_mut().enumerate() {
                    let address = from[lane] + index as u64;
                    let window = self.global_window(lane, address, 1, "cp.async")?;
                    *byte = load(&window, address, 1) as u8;
                }
            }
            self.shared.begin_copy(thread, place, copy.bytes)?;
            let group = warp.committed[lane];
            warp.copies.push(PendingCopy {
                lane: lane as u32,
                group,
                to: place,
                data,
                bytes: copy.bytes,
            });
        }
        if reading != 0 {
            let request =
                Request { active: reading, addresses: &from, element: copy.bytes, count: 1 };
            self.counters.global_load_requests += 1;
            self.counters.global_load_sectors += request.sectors();
            self.counters.global_load_bytes +=
                u64::from(copy.bytes) * u64::from(reading.count_ones());
        }
        let request = Request { active, addresses: &to, element: copy.bytes, count: 1 };
        self.counters.shared_store_requests += 1;
        self.count_shared(&request);
        Ok(())
    }

    /// Completes the copies of all but the latest groups, or of all.
    pub fn async_wait(&mut self, warp: &mut Warp, active: u32, pending: Option<u32>) -> Step<()> {
        let first = warp.index as u32 * 32;
        let mut rest = Vec::new();
        for copy in std::mem::take(&mut warp.copies) {
            let committed = warp.committed[copy.lane as usize];
            let done = active >> copy.lane & 1 == 1
                && match pending {
                    None => true,
                    Some(pending) => copy.group < committed && copy.group + pending < committed,
                };
            if done {
                self.shared.finish_copy(
                    first + copy.lane,
                    copy.to,
                    &copy.data[..copy.bytes as usize],
                )?;
            } else {
                rest.push(copy);
            }
        }
        warp.copies = rest;
        Ok(())
    }

    /// The shared address of a matrix row in each lane.
    pub fn shared_addresses(&self, warp: &Warp, active: u32, address: Address) -> Step<Lanes> {
        self.addresses(warp, 0, active, address)
    }

    /// Reads a matrix row.
    pub fn load_row(&mut self, thread: u32, address: u64) -> Step<[u16; 8]> {
        let at = self.shared.check(thread, address, 16, "ldmatrix")?;
        let mut row = [0; 8];
        for (index, cell) in row.iter_mut().enumerate() {
            *cell = self.shared.load(thread, at + 2 * index, 2, false)? as u16;
        }
        Ok(row)
    }

    /// Writes a matrix row.
    pub fn store_row(&mut self, thread: u32, address: u64, row: [u16; 8]) -> Step<()> {
        let at = self.shared.check(thread, address, 16, "stmatrix")?;
        for (index, cell) in row.iter().enumerate() {
            self.shared.store(thread, at + 2 * index, 2, u64::from(*cell), false)?;
        }
        Ok(())
    }

    /// Counts the passes of a matrix access: one for each 8 rows of 16 bytes.
    pub fn count_rows(&mut self, addresses: &[u64], loads: bool) {
        if loads {
            self.counters.shared_load_requests += 1;
        } else {
            self.counters.shared_store_requests += 1;
        }
        for rows in addresses.chunks(8) {
            let list: Vec<_> =
                rows.iter().enumerate().map(|(lane, address)| (lane as u32, *address)).collect();
            let (passes, ideal) = wavefronts(&list, 16);
            self.counters.shared_wavefronts += passes;
            self.counters.shared_bank_conflicts += passes.saturating_sub(ideal);
        }
    }
}

fn little_endian(bytes: &[u8], count: u32) -> u64 {
    let mut word = [0; 8];
    word[..count as usize].copy_from_slice(&bytes[..count as usize]);
    u64::from_le_bytes(word)
}

/// The value an atomic leaves behind.
fn changed(op: AtomicOp, ty: Type, old: u64, b: u64, c: u64) -> u64 {
    let integer = ty.integer().unwrap_or(IntType { bits: ty.bits(), signed: false });
    match op {
        AtomicOp::And => old & b,
        AtomicOp::Or => old | b,
        AtomicOp::Xor => old ^ b,
        AtomicOp::Exchange => b,
        AtomicOp::CompareSwap => {
            if old == b {
                c
            } else {
                old
            }
        }
        AtomicOp::Add => added(ty, old, b),
        AtomicOp::Inc => {
            if old >= b {
                0
            } else {
                old + 1
            }
        }
        AtomicOp::Dec => {
            if old == 0 || old > b {
                b
            } else {
                old - 1
            }
        }
        AtomicOp::Min => {
            if integer.wide(b) < integer.wide(old) {
                b
            } else {
                old
            }
        }
        AtomicOp::Max => {
            if integer.wide(b) > integer.wide(old) {
                b
            } else {
                old
            }
        }
    }
}

fn added(ty: Type, old: u64, b: u64) -> u64 {
    let half = |a: u64, b: u64| {
        let format = if matches!(ty, Type::Bf16 | Type::Bf16x2) { BF16 } else { F16 };
        let sum = format.decode(a as u32 & 0xffff) as f32 + format.decode(b as u32 & 0xffff) as f32;
        u64::from(format.encode(f64::from(sum), Rounding::Nearest, false))
    };
    match ty {
        Type::F64 => (f64::from_bits(old) + f64::from_bits(b)).to_bits(),
        Type::F32 => u64::from(canonical32(f32::from_bits(old as u32) + f32::from_bits(b as u32))),
        Type::F16 | Type::Bf16 => half(old, b),
        Type::F16x2 | Type::Bf16x2 => half(old, b) | half(old >> 16, b >> 16) << 16,
        _ => old.wrapping_add(b) & (u64::MAX >> (64 - ty.bits())),
    }
}
