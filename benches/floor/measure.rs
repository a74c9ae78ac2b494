//! Timing a row beside its floor.

use crate::arguments::Arguments;
use crate::data::{fill, quantile};
use crate::memory::{Memory, bytes_of, bytes_of_mut};
use crate::rows::{Float, Operation, Row};
use crate::traffic::{self, Part, STEP, Stores};
use crate::{Result, machine, report};
use blockscale::numerics::TensorScale;
use blockscale::{
    Axis, Backend, Cpu, Quantize, QuantizeBoth, QuantizedTensor, Real, Rotate, amax_with,
};
use half::{bf16, f16};
use rayon::ThreadPool;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Instant;

/// Columns of every tensor.
const K: usize = 4096;
/// The fewest rounds of which a median is taken, and the most that are worth their time.
const ROUNDS: (usize, usize) = (9, 21);
/// A sample is at least so long.
const SAMPLE: f64 = 2e-3;

pub struct Bench {
    pub arguments: Arguments,
    pub clock: Option<f64>,
    /// Rows so far, and those of a floor that wandered.
    pub rows: usize,
    pub wandering: usize,
    started: Instant,
    memory: Buffers,
    pools: BTreeMap<usize, ThreadPool>,
}

struct Buffers {
    f32: Memory,
    half: Memory,
    /// What `half` holds.
    held: Option<Float>,
    codes: Memory,
    scales: Memory,
    decoded: Memory,
}

/// Seconds of each round.
pub struct Measured {
    pub row: Row,
    time: Vec<f64>,
    floor: Vec<f64>,
}

/// A row, its floor, and what is right.
trait Work {
    fn run(&mut self);
    fn floor(&mut self, pool: Option<&ThreadPool>);
    /// Fails where the result of `run` is not the reference's.
    fn check(&mut self) -> bool;
}

impl Bench {
    pub fn new(arguments: Arguments) -> Result<Self> {
        machine::pin(0);
        let elements = arguments.elements();
        let mut memory = Buffers {
            f32: Memory::new(4 * elements)?,
            half: Memory::new(2 * elements)?,
            held: None,
            // Of both directions.
            codes: Memory::new(2 * elements)?,
            scales: Memory::new(elements / 8)?,
            decoded: Memory::new(4 * elements)?,
        };
        fill(memory.f32.values::<f32>(elements));
        let mut pools = BTreeMap::new();
        for threads in arguments.threads.iter().filter(|n| **n > 1) {
            pools.insert(*threads, machine::pool(*threads)?);
        }
        let clock = if arguments.timed { machine::clocks_per_second() } else { None };
        let started = Instant::now();
        Ok(Self { arguments, clock, rows: 0, wandering: 0, started, memory, pools })
    }

    /// Measures one of `count` rows and prints it.
    pub fn row(&mut self, row: Row, count: usize) -> Result<()> {
        let (left, seconds) = (count - self.rows, self.arguments.seconds);
        let budget = (seconds - self.started.elapsed().as_secs_f64()).max(0.0) / left as f64;
        let pool = self.pools.get(&row.threads);
        let mut work = self.memory.work(&self.arguments, row)?;
        let measured = match self.arguments.timed {
            true => Some(measure(&self.arguments, row, pool, &mut *work, budget)),
            false => {
                on(pool, || work.run());
                work.floor(pool);
                on(pool, || work.run());
                if !work.check() {
                    return Err(format!("{row}: other values than the reference's").into());
                }
                None
            }
        };
        drop(work);
        self.rows += 1;
        if let Some(measured) = measured {
            self.wandering += usize::from(report::is_wandering(&measured));
            report::line(self, &measured);
        }
        Ok(())
    }
}

fn on<R: Send>(pool: Option<&ThreadPool>, work: impl FnOnce() -> R + Send) -> R {
    match pool {
        Some(pool) => pool.install(work),
        None => work(),
    }
}

fn measure(
    arguments: &Arguments,
    row: Row,
    pool: Option<&ThreadPool>,
    work: &mut (dyn Work + Send),
    budget: f64,
) -> Measured {
    let mut calls = 1;
    let mut once = |calls: usize, is_floor: bool| {
        let start = Instant::now();
        match is_floor {
            true => (0..calls).for_each(|_| work.floor(pool)),
            false => on(pool, || (0..calls).for_each(|_| work.run())),
        }
        start.elapsed().as_secs_f64() / calls as f64
    };
    // The first call finds memory that is cold.
    once(1, false);
    let (first, floor) = (once(1, false), once(1, true));
    if arguments.in_cache {
        calls = ((SAMPLE / first.min(floor)) as usize).clamp(1, 100_000);
    }
    let fitting = (budget / (calls as f64 * (first + floor))) as usize;
    let rounds = arguments.rounds.unwrap_or(fitting.clamp(ROUNDS.0, ROUNDS.1));
    let mut measured = Measured { row, time: Vec::new(), floor: Vec::new() };
    for round in 0..rounds {
        for is_floor in [round % 2 == 0, round % 2 == 1] {
            let seconds = once(calls, is_floor);
            if is_floor { &mut measured.floor } else { &mut measured.time }.push(seconds);
        }
    }
    measured
}

impl Measured {
    pub fn time(&self) -> f64 {
        quantile(&self.time, 0.5)
    }
    pub fn floor_time(&self) -> f64 {
        quantile(&self.floor, 0.5)
    }
    pub fn rounds(&self) -> usize {
        self.time.len()
    }
    pub fn share(&self) -> f64 {
        let ratios: Vec<_> =
            self.floor.iter().zip(&self.time).map(|(floor, time)| floor / time).collect();
        quantile(&ratios, 0.5)
    }
    /// From the first to the ninth tenth, as a part of the median.
    pub fn floor_spread(&self) -> f64 {
        (quantile(&self.floor, 0.9) - quantile(&self.floor, 0.1)) / self.floor_time()
    }
}

impl Buffers {
    fn work<'a>(
        &'a mut self,
        arguments: &Arguments,
        row: Row,
    ) -> Result<Box<dyn Work + Send + 'a>> {
        match row.float {
            Float::F32 => self.work_of::<f32>(arguments, row),
            Float::Bf16 => self.work_of::<bf16>(arguments, row),
            Float::F16 => self.work_of::<f16>(arguments, row),
        }
    }

    fn work_of<'a, T: Real>(
        &'a mut self,
        arguments: &Arguments,
        row: Row,
    ) -> Result<Box<dyn Work + Send + 'a>> {
        let elements = arguments.elements();
        let shape = [elements / K, K];
        let threads = NonZeroUsize::new(row.threads).ok_or("no threads")?;
        let cpu = Cpu::new().level(arguments.level)?.threads(threads);
        let f32 = &*self.f32.values::<f32>(elements);
        // What is read: narrowed once for all rows of a type.
        if row.float != Float::F32 && self.held != Some(row.float) {
            let half = self.half.values::<T>(elements);
            half.iter_mut().zip(f32).for_each(|(to, from)| *to = T::from_f32(*from));
            self.held = Some(row.float);
        }
        let input = if row.float == Float::F32 { &mut self.f32 } else { &mut self.half };
        let x = &*input.values::<T>(elements);
        let stores = if arguments.in_cache { Stores::Plain } else { Stores::Streaming };
        if let (Operation::Rotate, Some(hadamard)) = (row.operation, row.rotation) {
            let rotate = Rotate::new(hadamard).backend(cpu);
            let values = self.decoded.values::<T>(elements);
            return Ok(Box::new(RotateWork { rotate, x, shape, values, stores }));
        }
        let Some(profile) = row.profile else {
            return Ok(Box::new(AmaxWork { cpu, x, amax: f32::NAN }));
        };
        let mut quantize = Quantize::new(profile).rounding(row.draws.rounding()).backend(cpu);
        if row.operation != Operation::AmaxQuantize && profile.tensor_scale_name().is_some() {
            quantize = quantize.tensor_amax(amax_with(x, Cpu::new()));
        }
        if row.operation == Operation::Both {
            let mut columns = quantize;
            if let Some(hadamard) = row.rotation {
                let turned = Rotate::new(hadamard).along(Axis::Rows).run_as::<f32, _>(x, &shape)?;
                columns = quantize.rotated(hadamard).tensor_amax(amax_with(&turned, Cpu::new()));
            }
            let both = QuantizeBoth::new(quantize, columns);
            let bytes = both.output_bytes(&shape)?;
            let [codes, scales] = [0, 1].map(|i| bytes[0][i] + bytes[1][i]);
            let (codes, scales) = (self.codes.bytes(codes), self.scales.bytes(scales));
            return Ok(Box::new(BothWork { both, x, shape, codes, scales, bytes }));
        }
        if let Some(hadamard) = row.rotation {
            quantize = quantize.rotated(hadamard);
        }
        let [code_bytes, scale_bytes] = quantize.output_bytes(&shape)?;
        let (codes, scales) = (self.codes.bytes(code_bytes), self.scales.bytes(scale_bytes));
        if row.operation != Operation::Dequantize {
            let passes = if row.operation == Operation::AmaxQuantize { 2 } else { 1 };
            return Ok(Box::new(QuantizeWork {
                quantize,
                x,
                shape,
                codes,
                scales,
                passes,
                stored: None,
            }));
        }
        // In the fastest way that there is; its bytes are checked elsewhere.
        let tensor = quantize.backend(Cpu::new()).run_into(x, &shape, codes, scales)?;
        let values = self.decoded.values::<T>(elements);
        Ok(Box::new(DequantizeWork { cpu, tensor, values, stores }))
    }
}

struct QuantizeWork<'a, T> {
    quantize: Quantize,
    x: &'a [T],
    shape: [usize; 2],
    codes: &'a mut [u8],
    scales: &'a mut [u8],
    /// How often the values are read.
    passes: usize,
    stored: Option<TensorScale>,
}

impl<T: Real> Work for QuantizeWork<'_, T> {
    fn run(&mut self) {
        let q = self.quantize.run_into(self.x, &self.shape, self.codes, self.scales);
        self.stored = q.expect("checked with the first call").tensor_scale();
    }
    fn floor(&mut self, pool: Option<&ThreadPool>) {
        let read = bytes_of(self.x);
        for _ in 1..self.passes {
            read_all(read, self.x.len(), pool);
        }
        let (written, written_last) = (&mut *self.codes, &mut *self.scales);
        let part = Part { read, read_first: &[], written, written_last };
        traffic::run(part, self.x.len(), Stores::Plain, pool);
    }
    fn check(&mut self) -> bool {
        let expected = self.quantize.backend(Backend::Reference).run(self.x, &self.shape);
        let expected = expected.expect("ran before");
        expected.codes().as_bytes() == self.codes
            && expected.scales().as_bytes() == self.scales
            && expected.tensor_scale() == self.stored
    }
}

/// Outputs of both directions behind each other, whose floor is one read and both writes.
struct BothWork<'a, T> {
    both: QuantizeBoth,
    x: &'a [T],
    shape: [usize; 2],
    codes: &'a mut [u8],
    scales: &'a mut [u8],
    bytes: [[usize; 2]; 2],
}

impl<T: Real> Work for BothWork<'_, T> {
    fn run(&mut self) {
        let (row_codes, column_codes) = self.codes.split_at_mut(self.bytes[0][0]);
        let (row_scales, column_scales) = self.scales.split_at_mut(self.bytes[0][1]);
        let (rows, columns) = ([row_codes, row_scales], [column_codes, column_scales]);
        let done = self.both.run_into(self.x, &self.shape, rows, columns);
        done.expect("checked with the first call");
    }
    fn floor(&mut self, pool: Option<&ThreadPool>) {
        let (read, written, written_last) = (bytes_of(self.x), &mut *self.codes, &mut *self.scales);
        let part = Part { read, read_first: &[], written, written_last };
        traffic::run(part, self.x.len(), Stores::Plain, pool);
    }
    fn check(&mut self) -> bool {
        let expected = self.both.backend(Backend::Reference).run(self.x, &self.shape);
        let (rows, columns) = expected.expect("ran before");
        let all = |of: fn(&QuantizedTensor) -> &[u8]| [of(&rows), of(&columns)].concat();
        all(|q| q.codes().as_bytes()) == self.codes && all(|q| q.scales().as_bytes()) == self.scales
    }
}

struct DequantizeWork<'a, T> {
    cpu: Cpu,
    tensor: QuantizedTensor<&'a [u8]>,
    values: &'a mut [T],
    stores: Stores,
}

impl<T: Real> Work for DequantizeWork<'_, T> {
    fn run(&mut self) {
        self.tensor.dequantize_into(self.cpu, self.values).expect("as many values as elements");
    }
    fn floor(&mut self, pool: Option<&ThreadPool>) {
        let elements = self.values.len();
        let part = Part {
            read: self.tensor.codes().as_bytes(),
            read_first: self.tensor.scales().as_bytes(),
            written: bytes_of_mut(self.values),
            written_last: &mut [],
        };
        traffic::run(part, elements, self.stores, pool);
    }
    fn check(&mut self) -> bool {
        let expected = self.tensor.dequantize_with::<T>(Backend::Reference);
        bytes_of(&expected) == bytes_of(self.values)
    }
}

struct RotateWork<'a, T> {
    rotate: Rotate<'a>,
    x: &'a [T],
    shape: [usize; 2],
    values: &'a mut [T],
    stores: Stores,
}

impl<T: Real> Work for RotateWork<'_, T> {
    fn run(&mut self) {
        let done = self.rotate.run_into(self.x, &self.shape, self.values);
        done.expect("checked with the first call");
    }
    fn floor(&mut self, pool: Option<&ThreadPool>) {
        let (read, written) = (bytes_of(self.x), bytes_of_mut(self.values));
        let part = Part { read, read_first: &[], written, written_last: &mut [] };
        traffic::run(part, self.x.len(), self.stores, pool);
    }
    fn check(&mut self) -> bool {
        let expected = self.rotate.backend(Backend::Reference).run(self.x, &self.shape);
        bytes_of(&expected.expect("ran before")) == bytes_of(self.values)
    }
}

struct AmaxWork<'a, T> {
    cpu: Cpu,
    x: &'a [T],
    amax: f32,
}

impl<T: Real> Work for AmaxWork<'_, T> {
    fn run(&mut self) {
        self.amax = amax_with(self.x, self.cpu);
    }
    fn floor(&mut self, pool: Option<&ThreadPool>) {
        read_all(bytes_of(self.x), self.x.len(), pool);
    }
    fn check(&mut self) -> bool {
        self.amax == amax_with(self.x, Backend::Reference)
    }
}

fn read_all(read: &[u8], elements: usize, pool: Option<&ThreadPool>) {
    let part = Part { read, read_first: &[], written: &mut [], written_last: &mut [] };
    traffic::run(part, elements, Stores::Plain, pool);
}

const _: () = assert!(K.is_multiple_of(STEP));
