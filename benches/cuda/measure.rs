//! Timing a case beside copies.

use crate::Result;
use crate::arguments::Arguments;
use crate::machine::Machine;
use crate::report;
use blockscale::cuda::{Device, DeviceReal};
use blockscale::numerics::philox4x32_10;
use cudarc::driver::sys::CUevent_flags::CU_EVENT_DEFAULT;
use cudarc::driver::{CudaEvent, CudaSlice, DeviceRepr};
use std::fmt;
use std::sync::OnceLock;

/// Columns of every tensor.
pub const K: usize = 4096;
/// Values that fill tensors, again and again.
const TILE: usize = 1 << 20;

/// What a case is; `-` where it has no such thing.
#[derive(Clone)]
pub struct Name {
    pub verb: &'static str,
    pub format: String,
    pub profile: String,
    pub dtype: &'static str,
    pub rounding: &'static str,
    pub detail: &'static str,
}

/// What a case moves.
#[derive(Clone, Copy)]
pub struct Size {
    pub elements: usize,
    pub read: usize,
    pub written: usize,
}

/// A case on several sets of buffers.
pub trait Work {
    fn launch(&mut self, set: usize) -> Result<()>;
    /// Fails where the bytes are not the host's.
    fn check(&self, set: usize) -> Result<()>;
}

/// Seconds of a launch, of each round.
pub struct Measured {
    pub name: Name,
    pub size: Size,
    pub case: Vec<f64>,
    pub copy: Vec<f64>,
}

pub struct Bench {
    pub device: Device,
    pub arguments: Arguments,
    pub machine: Machine,
    /// How many tensors calls rotate over.
    pub sets: usize,
    pub results: Vec<Measured>,
    floor: Floor,
    start: CudaEvent,
    end: CudaEvent,
}

/// Memory that copies walk through.
struct Floor {
    from: CudaSlice<u8>,
    to: CudaSlice<u8>,
    at: usize,
}

impl Bench {
    pub fn new(device: Device, arguments: Arguments) -> Result<Self> {
        let context = device.stream().context().clone();
        // SAFETY: there is one stream. Else cudarc would put events around every use of a buffer.
        unsafe { context.disable_event_tracking() };
        let machine = Machine::new(&device)?;
        let (bytes, cached) = (arguments.bytes(), 4 * machine.l2_bytes);
        let cached = if machine.is_emulated { 0 } else { cached };
        let sets = cached.div_ceil(bytes).max(2);
        let (start, end) = (
            context.new_event(Some(CU_EVENT_DEFAULT))?,
            context.new_event(Some(CU_EVENT_DEFAULT))?,
        );
        // No case moves more than 2.6 tensors, of which its copy has half.
        let len = cached.max(3 * bytes);
        let from = filled::<f32>(&device, 1, len / 4)?;
        // SAFETY: every bit pattern of f32 is four bytes.
        let bytes = unsafe { from.transmute::<u8>(len) }.ok_or("a view of the bytes")?;
        let stream = device.stream();
        let floor = Floor { from: stream.clone_dtod(&bytes)?, to: stream.alloc_zeros(len)?, at: 0 };
        drop(from);
        Ok(Self { device, arguments, machine, sets, results: Vec::new(), floor, start, end })
    }

    /// Rows of tensors of that type.
    pub fn rows<T>(&self) -> usize {
        self.arguments.bytes() / size_of::<T>() / K
    }

    pub fn wants(&self, name: &Name) -> bool {
        let (name, filters) = (name.to_string(), &self.arguments.filters);
        let has = |word: &String| name.split(' ').any(|part| part == word);
        filters.is_empty() || filters.iter().any(|words| words.iter().all(has))
    }

    /// Runs on every set, compares, takes the time and prints a line.
    pub fn measure(&mut self, name: Name, size: Size, work: &mut dyn Work) -> Result<()> {
        let wrong = |error| format!("{name}: {error}");
        for set in 0..self.sets {
            work.launch(set).map_err(wrong)?;
        }
        for set in [0, self.sets - 1] {
            work.check(set).map_err(wrong)?;
        }
        let rounds = self.arguments.rounds;
        let half = (size.read + size.written) / 2;
        let launches = match self.machine.is_emulated {
            true => 1,
            false => {
                let once = self.time(1, |_, set| work.launch(set))?.max(1e-7);
                let wanted = self.arguments.seconds / (2 * rounds) as f64 / once;
                (wanted as usize).clamp(1, 10_000)
            }
        };
        let (mut case, mut copy) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            for first in [round % 2 == 0, round % 2 == 1] {
                match first {
                    true => copy.push(self.time(launches, |bench, _| bench.copy(half))?),
                    false => case.push(self.time(launches, |_, set| work.launch(set))?),
                }
            }
        }
        let measured = Measured { name, size, case, copy };
        report::line(&measured, self.machine.is_emulated);
        self.results.push(measured);
        Ok(())
    }

    /// Seconds of one of so many launches.
    fn time(
        &mut self,
        launches: usize,
        mut launch: impl FnMut(&mut Self, usize) -> Result<()>,
    ) -> Result<f64> {
        self.start.record(self.device.stream())?;
        for i in 0..launches {
            launch(self, i % self.sets)?;
        }
        self.end.record(self.device.stream())?;
        Ok(f64::from(self.start.elapsed_ms(&self.end)?) / 1e3 / launches as f64)
    }

    fn copy(&mut self, bytes: usize) -> Result<()> {
        let floor = &mut self.floor;
        if floor.at + bytes > floor.from.len() {
            floor.at = 0;
        }
        let range = floor.at..floor.at + bytes;
        floor.at = range.end.next_multiple_of(256);
        let (from, mut to) = (floor.from.slice(range.clone()), floor.to.slice_mut(range));
        Ok(self.device.stream().memcpy_dtod(&from, &mut to)?)
    }
}

impl Measured {
    pub fn seconds(&self) -> f64 {
        median(self.case.clone())
    }
    pub fn gigabytes_a_second(&self) -> f64 {
        (self.size.read + self.size.written) as f64 / self.seconds() / 1e9
    }
    pub fn share(&self) -> f64 {
        median(self.copy.iter().zip(&self.case).map(|(copy, case)| copy / case).collect())
    }
    pub fn gigaelements_a_second(&self) -> f64 {
        self.size.elements as f64 / self.seconds() / 1e9
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts =
            [self.verb, &self.format, &self.profile, self.dtype, self.rounding, self.detail];
        f.write_str(&parts.into_iter().filter(|part| *part != "-").collect::<Vec<_>>().join(" "))
    }
}

/// Normal values, as weights and activations have them.
pub fn tile() -> &'static [f32] {
    static VALUES: OnceLock<Vec<f32>> = OnceLock::new();
    VALUES.get_or_init(|| {
        let normal = |i: usize| {
            let words = philox4x32_10([i as u32, 0, 0, 0], [3, 4]);
            let uniform = words.map(|word| (word as f64 + 0.5) / 4294967296.0);
            let radius = (-2.0 * uniform[0].ln()).sqrt();
            (radius * (std::f64::consts::TAU * uniform[1]).cos()) as f32
        };
        (0..TILE).map(normal).collect()
    })
}

/// The largest magnitude of a tensor of so many values.
pub fn amax<T: DeviceReal>(len: usize) -> f32 {
    let values: Vec<_> = tile()[..len.min(TILE)].iter().map(|x| T::from_f32(*x)).collect();
    blockscale::amax(&values)
}

/// Sets of `len` values each, all the same.
pub fn filled<T: DeviceReal>(device: &Device, sets: usize, len: usize) -> Result<CudaSlice<T>> {
    let values: Vec<_> = tile().iter().map(|x| T::from_f32(*x)).collect();
    repeated(device, &device.upload(&values)?, sets, len)
}

/// Sets of `len` values each, which are those of `tile`, again and again.
pub fn repeated<T: DeviceRepr>(
    device: &Device,
    tile: &CudaSlice<T>,
    sets: usize,
    len: usize,
) -> Result<CudaSlice<T>> {
    let mut memory = allocated(device, sets * len)?;
    for set in 0..sets {
        for at in (0..len).step_by(tile.len()) {
            let from = tile.slice(..tile.len().min(len - at));
            let at = set * len + at;
            let mut to = memory.slice_mut(at..at + from.len());
            device.stream().memcpy_dtod(&from, &mut to)?;
        }
    }
    Ok(memory)
}

/// Memory that is written before it is read.
pub fn allocated<T: DeviceRepr>(device: &Device, len: usize) -> Result<CudaSlice<T>> {
    // SAFETY: `repeated` fills it; every other caller has a kernel do so.
    Ok(unsafe { device.stream().alloc(len) }?)
}
