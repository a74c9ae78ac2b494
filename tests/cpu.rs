//! The fast host path against the reference, byte for byte, at every level that this processor has:
//! hostile blocks, odd shapes, misaligned slices, threads, and a float environment that is not IEEE's.
//!
//! Every case goes through [`Runner`], which quantizes, dequantizes into all three types and takes the
//! amax with each of its workers, and compares with what the reference makes of the same input. Bytes
//! around the buffers must stay as they were. Seeds are fixed.
#![allow(unsafe_code)] // MXCSR

use blockscale::analysis::ChosenRounding;
use blockscale::format::{Element, Format, Scale};
use blockscale::numerics::{
    DrawBits, DrawRule, Hadamard, Matrix, Profile, Rounding, Search, Stochastic, TensorScale,
};
use blockscale::{
    Backend, Blocks, Cpu, Level, Quantize, QuantizeBoth, QuantizedTensor, Real, Rotate, amax_with,
};
use half::{bf16, f16};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::num::NonZeroUsize;

/// What buffers hold before they are written, and around what is written.
trait Cell: Copy {
    const FILL: Self;
    fn is_fill(self) -> bool;
}

impl Cell for u8 {
    const FILL: Self = 0xa5;
    fn is_fill(self) -> bool {
        self == Self::FILL
    }
}

/// A type of tensors, by its bits.
trait Value: Real + Cell + Debug {
    const NAME: &'static str;
    /// All bits but the sign.
    const MAGNITUDE: u32;
    const SIGN: u32 = Self::MAGNITUDE + 1;
    /// Bits of +Inf: those above are NaN.
    const INFINITY: u32;
    fn of_bits(bits: u32) -> Self;
    fn bits(self) -> u32;

    /// The neighbour `ulps` further from zero; unchanged where there is none that is finite.
    fn step(self, ulps: i32) -> Self {
        let magnitude = (self.bits() & Self::MAGNITUDE) as i64 + i64::from(ulps);
        match (0..i64::from(Self::INFINITY)).contains(&magnitude) {
            true => Self::of_bits(self.bits() & !Self::MAGNITUDE | magnitude as u32),
            false => self,
        }
    }
}

macro_rules! value {
    ($type:ty, $name:literal, $bits:ty, $magnitude:literal, $infinity:literal) => {
        impl Cell for $type {
            const FILL: Self = Self::from_bits(0xa5a5);
            fn is_fill(self) -> bool {
                self.to_bits() == 0xa5a5
            }
        }
        impl Value for $type {
            const NAME: &'static str = $name;
            const MAGNITUDE: u32 = $magnitude;
            const INFINITY: u32 = $infinity;
            fn of_bits(bits: u32) -> Self {
                Self::from_bits(bits as $bits)
            }
            fn bits(self) -> u32 {
                self.to_bits().into()
            }
        }
    };
}
value!(f32, "f32", u32, 0x7fff_ffff, 0x7f80_0000);
value!(bf16, "bf16", u16, 0x7fff, 0x7f80);
value!(f16, "f16", u16, 0x7fff, 0x7c00);

/// SplitMix64.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }
    fn pick<T: Copy>(&mut self, table: &[T]) -> T {
        table[self.below(table.len())]
    }
    /// Near enough to a normal value.
    fn normal(&mut self) -> f32 {
        let uniform = |bits: u64| (bits & 0xffff) as f32 / 32768.0 - 1.0;
        let bits = self.bits();
        (0..4).map(|i| uniform(bits >> (16 * i))).sum::<f32>() * 0.9
    }
}

/// What to quantize with.
#[derive(Clone, Copy, Debug)]
struct Choice {
    profile: Profile,
    rounding: Rounding,
    blocks: Blocks,
    amax: Option<f32>,
}

impl Choice {
    fn new(profile: Profile) -> Self {
        Self { profile, rounding: Rounding::Nearest, blocks: Blocks::Row, amax: None }
    }
    fn quantize(self) -> Quantize {
        let quantize = Quantize::new(self.profile).rounding(self.rounding).blocks(self.blocks);
        self.amax.map_or(quantize, |amax| quantize.tensor_amax(amax))
    }
    fn label_of_profile(self) -> String {
        format!("{} {}", self.profile.format(), self.profile)
    }
    fn label(self) -> String {
        let Self { rounding, blocks, amax, .. } = self;
        format!("{} {rounding:?} {blocks:?} given amax {amax:?}", self.label_of_profile())
    }
}

/// How the host path is called.
#[derive(Clone, Copy)]
struct Worker<'a> {
    cpu: Cpu,
    /// The pool that the call runs in; the caller's own thread without one.
    pool: Option<&'a rayon::ThreadPool>,
}

impl Worker<'_> {
    fn call<R: Send>(&self, work: impl FnOnce(Cpu) -> R + Send) -> R {
        match self.pool {
            Some(pool) => pool.install(|| work(self.cpu)),
            None => work(self.cpu),
        }
    }
    fn label(&self) -> String {
        let (level, threads) = (self.cpu.chosen_level(), self.cpu.chosen_threads());
        let pool = self.pool.map_or(0, rayon::ThreadPool::current_num_threads);
        format!("level {level}, threads {threads:?}, pool of {pool}")
    }
}

fn levels() -> Vec<Level> {
    Level::NAMED.into_iter().map(|(_, level)| level).filter(|level| level.is_available()).collect()
}

/// A worker for each level.
fn workers() -> Vec<Worker<'static>> {
    let worker = |level| Worker { cpu: Cpu::new().level(level).unwrap(), pool: None };
    levels().into_iter().map(worker).collect()
}

/// Compares workers with the reference, and keeps what differs until all cases have run.
struct Runner<'a> {
    workers: Vec<Worker<'a>>,
    random: Random,
    /// Whether quantized tensors are decoded as well.
    decodes: bool,
    /// Whether columns have an importance.
    weighs: bool,
    cases: usize,
    different: usize,
    shown: BTreeMap<String, String>,
}

/// Of so many profiles and levels the first difference is shown.
const SHOWN: usize = 40;

impl<'a> Runner<'a> {
    fn new(workers: Vec<Worker<'a>>, seed: u64) -> Self {
        let random = Random(seed);
        let (decodes, weighs) = (true, false);
        Self { workers, random, decodes, weighs, cases: 0, different: 0, shown: BTreeMap::new() }
    }

    fn differs(&mut self, what: &str, profile: &str, worker: &Worker<'_>, text: &str) {
        self.different += 1;
        let key = format!("{what} {profile}, {}", worker.label());
        if self.shown.len() < SHOWN {
            self.shown.entry(key).or_insert_with(|| text.to_owned());
        }
    }

    /// One input, quantized by the reference and by every worker.
    fn quantize<T: Value>(&mut self, choice: Choice, x: &[T], shape: &[usize]) {
        self.cases += 1;
        let quantize = choice.quantize();
        let weights = [0.0, 1e-30, 0.3, 1.0, 1.0, 1.0, 7.5, 1e30];
        let columns = *shape.last().unwrap();
        let importance: Option<Vec<f32>> =
            self.weighs.then(|| (0..columns).map(|_| self.random.pick(&weights)).collect());
        let reference = quantize.backend(Backend::Reference);
        let expected = match &importance {
            Some(importance) => reference.run_with_importance(x, shape, importance).unwrap(),
            None => reference.run(x, shape).unwrap(),
        };
        let [code_bytes, scale_bytes] = quantize.output_bytes(shape).unwrap();
        for worker in self.workers.clone() {
            let mut codes = Guarded::<u8>::new(&mut self.random, code_bytes);
            let mut scales = Guarded::<u8>::new(&mut self.random, scale_bytes);
            let stored = worker.call(|cpu| {
                let quantize = quantize.backend(cpu);
                let (codes, scales) = (codes.inner(), scales.inner());
                let q = match &importance {
                    Some(importance) => {
                        quantize.run_into_with_importance(x, shape, importance, codes, scales)
                    }
                    None => quantize.run_into(x, shape, codes, scales),
                };
                bits_of(q.unwrap().tensor_scale())
            });
            let mut differs = |text: String| {
                let input = format!("{} {shape:?} {}", T::NAME, choice.label());
                let profile = choice.label_of_profile();
                self.differs("quantize", &profile, &worker, &format!("{input}: {text}"));
            };
            let expected_scale = bits_of(expected.tensor_scale());
            if stored != expected_scale {
                differs(format!("tensor scale {stored:x?}, not {expected_scale:x?}"));
            }
            for (what, got, expected) in [
                ("scale", &mut scales, expected.scales().as_bytes()),
                ("code", &mut codes, expected.codes().as_bytes()),
            ] {
                if !got.is_guarded() {
                    differs(format!("wrote beyond the {what}s"));
                }
                if let Some(at) = first_difference(got.inner(), expected) {
                    let (got, expected) = (got.inner()[at], expected[at]);
                    let place = place(choice, x, shape, what, at);
                    differs(format!("{what} byte {at}: {got:#04x}, not {expected:#04x}; {place}"));
                }
            }
        }
        if self.decodes {
            self.dequantize_all(&expected);
        }
    }

    /// One tensor, decoded into the three types.
    fn dequantize_all<S: AsRef<[u8]> + Sync>(&mut self, tensor: &QuantizedTensor<S>) {
        self.dequantize::<f32, S>(tensor);
        self.dequantize::<bf16, S>(tensor);
        self.dequantize::<f16, S>(tensor);
    }

    fn dequantize<T: Value, S: AsRef<[u8]> + Sync>(&mut self, tensor: &QuantizedTensor<S>) {
        self.cases += 1;
        let expected = tensor.dequantize_with::<T>(Backend::Reference);
        for worker in self.workers.clone() {
            let mut values = Guarded::<T>::new(&mut self.random, expected.len());
            let inner = values.inner();
            worker.call(|cpu| tensor.dequantize_into(cpu, inner).unwrap());
            let mut differs = |text: String| {
                let profile = format!("{} {}", tensor.format(), tensor.profile());
                let output = format!("to {} {:?}", T::NAME, tensor.shape());
                self.differs("dequantize", &profile, &worker, &format!("{output}: {text}"));
            };
            if !values.is_guarded() {
                differs("wrote beyond the values".to_owned());
            }
            let got = values.inner();
            let mut pairs = got.iter().zip(&expected);
            if let Some(at) = pairs.position(|(a, b)| a.bits() != b.bits()) {
                let k = *tensor.shape().last().unwrap();
                let (column, block) = (at % k, tensor.format().block());
                let columns = tensor.format().scales_per_row(k);
                let scale = tensor.scales().as_bytes()[at / k * columns + column / block];
                let (got, expected) = (got[at].bits(), expected[at].bits());
                let stored = bits_of(tensor.tensor_scale());
                differs(format!(
                    "element {at}: {got:#x}, not {expected:#x}; scale {scale:#04x}, tensor scale \
                     {stored:x?}"
                ));
            }
        }
    }

    fn amax<T: Value>(&mut self, x: &[T]) {
        self.cases += 1;
        let expected = amax_with(x, Backend::Reference);
        for worker in self.workers.clone() {
            let got = worker.call(|cpu| amax_with(x, cpu));
            if got.to_bits() != expected.to_bits() {
                let (got, expected) = (got.to_bits(), expected.to_bits());
                let text = format!("{} values: {got:#x}, not {expected:#x}", x.len());
                self.differs("amax", T::NAME, &worker, &text);
            }
        }
    }

    fn finish(self) {
        let Self { cases, different, shown, .. } = self;
        assert!(cases > 0, "no case ran");
        let lines: Vec<_> = shown.iter().map(|(key, text)| format!("{key}:\n    {text}")).collect();
        let lines = lines.join("\n");
        assert!(different == 0, "{different} differences in {cases} cases, such as\n{lines}");
    }
}

fn bits_of(scale: Option<TensorScale>) -> Option<(&'static str, u32)> {
    scale.map(|scale| (scale.name(), scale.value().to_bits()))
}

fn first_difference(a: &[u8], b: &[u8]) -> Option<usize> {
    assert_eq!(a.len(), b.len());
    if a == b { None } else { a.iter().zip(b).position(|(a, b)| a != b) }
}

/// Where a byte of codes or scales lies, and the values of its block.
fn place<T: Value>(choice: Choice, x: &[T], shape: &[usize], what: &str, at: usize) -> String {
    let format = choice.profile.format();
    let k = *shape.last().unwrap();
    let (bytes, per_byte) = match (what, format.element().bits()) {
        ("scale", _) => (format.scales_per_row(k), format.block()),
        (_, 4) => (k.div_ceil(2), 2),
        _ => (k, 1),
    };
    let (row, column) = (at / bytes, at % bytes * per_byte);
    let start = row * k + column - column % format.block();
    let end = (start + format.block()).min((row + 1) * k);
    let block: Vec<_> = x[start..end].iter().map(|x| format!("{:x}", x.bits())).collect();
    format!("row {row}, element {column}, block {}", block.join(" "))
}

/// A buffer at any offset, with something on both sides that must stay.
struct Guarded<T> {
    all: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Cell> Guarded<T> {
    /// Elements on both sides together.
    const GUARD: usize = 192;

    fn new(random: &mut Random, len: usize) -> Self {
        let start = 64 + random.below(64);
        Self { all: vec![T::FILL; len + Self::GUARD], start, len }
    }
    fn inner(&mut self) -> &mut [T] {
        &mut self.all[self.start..][..self.len]
    }
    fn is_guarded(&self) -> bool {
        let (before, after) = (&self.all[..self.start], &self.all[self.start + self.len..]);
        before.iter().chain(after).all(|cell| cell.is_fill())
    }
}

/// Every named profile of every named format.
fn profiles() -> Vec<Profile> {
    Format::NAMED.iter().flat_map(|(_, format)| Profile::all(*format)).collect()
}

/// Built formats and altered profiles: what fast code may not take for a named one.
fn unnamed_profiles() -> Vec<Profile> {
    let rows = [
        ("e3m2x64:e8m0", "rceil"),
        ("e2m1x7:e8m0", "ocp"),
        ("e2m1x1:e8m0", "even"),
        ("e2m1x48:e8m0", "rceil"),
        ("e2m1x1024:e8m0", "ceil"),
        ("int8x16:e8m0", "ceil"),
        ("int4x33:e8m0", "ocp"),
        ("e3m4ix32:e8m0", "rceil"),
        ("e4m3x128:e8m0", "rceil"),
        ("e2m1x32:e4m3+tensor", "two-level"),
        ("e4m3x16:e4m3", "direct"),
        ("e2m3x16:ue5m3i", "direct"),
        ("e2m1x8:e4m3", "direct"),
        ("mxfp4", "ocp+headroom=3/4"),
        ("mxfp4", "rceil+scale=rms-nearest"),
        ("mxfp4", "rceil+scale=rms-floor"),
        ("mxfp4", "rceil+map=reciprocal-zero"),
        ("mxfp4", "rceil+decode=halved"),
        ("mxint8", "ceil+scale=ceil"),
        ("nvfp4", "transformer-engine+headroom=16/17"),
        ("nvfp4", "torchao+bound=256"),
        ("nvfp4", "four-over-six-mse+headroom=16/17"),
        ("fp4-ue5m3", "direct+headroom=16/17"),
        // Without mantissa bits the even side of a tie changes from binade to binade.
        ("e2m0fx32:e8m0", "rceil"),
        ("e4m0fx32:e8m0", "rceil"),
        ("e7m0fx32:e8m0", "rceil"),
        // The largest exponent field is of numbers.
        ("e5m2fx32:e8m0", "rceil"),
        ("e5m2nx32:e8m0", "ocp"),
        ("e5m1fx32:e8m0", "rceil"),
        // Exponents near the ends of f32's.
        ("e6m1f@-43x32:e8m0", "rceil"),
        ("e5m2i@-15x32:e8m0", "rceil"),
        ("mxfp4", "ggml+sign=bit"),
        ("mxfp4", "ggml+sign=not-positive"),
        ("nvfp4", "ggml+sign=negative"),
        ("nvfp4", "four-over-six-mse+map=encode-over-scale"),
        ("nvfp4", "four-over-six-mae+map=encode-over-scale+sign=bit"),
        ("nvfp4", "four-over-six-mse+bound=1e30"),
        ("nvfp4", "torchao+range=non-zero"),
        // Ties that the named profiles of these elements have otherwise.
        ("mxfp4", "rceil+ties=away"),
        ("mxfp8-e4m3", "ocp+ties=away"),
        ("mxint8", "ceil+ties=away"),
        ("mxfp6-e2m3", "rceil+ties=zero"),
        ("mxint4", "ocp+ties=zero"),
        ("nvfp4", "transformer-engine+ties=away-by-addition"),
    ];
    let profile = |(format, text): (&str, &str)| Profile::parse(format.parse().unwrap(), text);
    rows.map(|row| profile(row).unwrap()).into()
}

/// Profiles that search scales, those that kernels know and others.
fn searches() -> Vec<Profile> {
    let rows = [
        ("nvfp4", "four-over-six-mse+search=four-over-six-absmax"),
        ("nvfp4", "four-over-six-mse+bound=448+search=four-over-six-absmax"),
        ("nvfp4", "four-over-six-mae+sign=bit+search=four-over-six-absmax"),
        ("nvfp4", "transformer-engine+search=four-over-six-absmax"),
        ("nvfp4", "transformer-engine+search=four-over-six-mse"),
        ("nvfp4", "torchao+search=four-over-six-mae"),
        ("nvfp4", "four-over-six-mse+search=sweep"),
        ("nvfp4", "transformer-engine+search=sweep"),
        ("nvfp4", "torchao+search=sweep"),
        ("nvfp4", "modelopt+search=sweep"),
        ("nvfp4", "compressed-tensors+search=sweep"),
        ("nvfp4", "ggml+search=sweep"),
        ("nvfp4", "transformer-engine+ties=away+search=sweep"),
        ("nvint4", "four-over-six+search=sweep"),
        ("fp4-ue5m3", "direct+search=sweep"),
        ("fp4-ue5m3-tensor", "two-level+search=sweep"),
        ("mxfp4", "rceil+search=sweep"),
        ("mxfp4", "ocp+search=sweep"),
        ("mxfp4", "compressed-tensors+search=sweep"),
        ("mxfp4", "modelopt+search=sweep"),
        ("mxfp4", "ggml+search=sweep"),
        ("mxfp4", "microxcaling+search=sweep"),
        ("mxfp4", "ocp+headroom=3/4+search=sweep"),
        ("mxfp8-e4m3", "ocp+search=sweep"),
        ("mxint8", "ceil+search=sweep"),
        ("mxfp4", "rceil+search=clip"),
        ("mxfp4", "ocp+search=clip"),
        ("e2m1x16:e8m0", "rceil+search=clip"),
        ("e2m1x16:e8m0", "ocp+search=sweep"),
        ("e2m1x32:e4m3+tensor", "two-level+search=sweep"),
        ("e2m1x32:e8m0+tensor", "two-level+search=sweep"),
        ("e2m1x48:e8m0", "rceil+search=sweep"),
    ];
    let profile = |(format, text): (&str, &str)| Profile::parse(format.parse().unwrap(), text);
    rows.map(|row| profile(row).unwrap()).into()
}

/// Nearest, and draws of both widths for a shard of at most `room` rows and columns: at the first
/// counters, at the last, and somewhere in between.
fn roundings(format: Format, room: [u64; 2], random: &mut Random) -> [Rounding; 3] {
    let block = format.block() as u64;
    let mut draws = |bits: DrawBits| {
        let columns = (128 / u64::from(bits.bits())) << 32;
        let mut offset = |end: u64, room: u64| {
            let last = end.saturating_sub(room);
            random.pick(&[0, 0, 5 * block, last / 3, last]) / block * block
        };
        let (row, column) = (offset(1 << 32, room[0]), offset(columns, room[1]));
        // Centred draws of 16 bits are the reference's on both sides.
        let rules: &[DrawRule] = match bits {
            DrawBits::Eight => &[DrawRule::Truncated, DrawRule::Midpoint],
            DrawBits::Sixteen => &[DrawRule::Truncated],
        };
        let rule = random.pick(rules);
        let draws = Stochastic::new(random.bits(), "tensor").with_bits(bits).with_rule(rule);
        let (stream, step) = (random.bits() as u32 >> random.below(32), random.bits() as u32);
        Rounding::Stochastic(draws.with_stream(stream).with_step(step).with_offset(row, column))
    };
    [Rounding::Nearest, draws(DrawBits::Eight), draws(DrawBits::Sixteen)]
}

/// Tensor amaxes to give: what is usual, too small, too large, and no magnitude at all.
const AMAXES: [f32; 11] = [
    2688.0,
    1.0,
    0.337,
    0.0,
    -0.0,
    1e-40,
    f32::from_bits(1),
    f32::MIN_POSITIVE,
    f32::MAX,
    f32::INFINITY,
    f32::NAN,
];

/// None, and each of [`AMAXES`] where the profile looks at it.
fn amaxes(profile: Profile) -> Vec<Option<f32>> {
    let given = AMAXES.map(Some).to_vec();
    let used = if profile.tensor_scale_name().is_some() { given } else { Vec::new() };
    core::iter::once(None).chain(used).collect()
}

/// The magnitudes of an element, ascending.
fn magnitudes(element: Element) -> Vec<f32> {
    let codes = 0..=(u8::MAX >> (8 - element.bits()));
    let mut values: Vec<f32> = codes.map(|code| element.decode(code).abs()).collect();
    values.retain(|value| value.is_finite());
    values.sort_by(f32::total_cmp);
    values.dedup();
    values
}

/// Blocks of everything that is special in `T`.
fn special_blocks<T: Value>(block: usize) -> Vec<Vec<T>> {
    let of = |x: f32| T::from_f32(x);
    let bits = T::of_bits;
    let sign = T::SIGN;
    let (largest, nan) = (bits(T::INFINITY - 1), bits(T::MAGNITUDE));
    let (infinity, minus_infinity) = (bits(T::INFINITY), bits(T::INFINITY | sign));
    let signalling = bits(T::INFINITY | sign | 1);
    let mantissa = (T::INFINITY & T::INFINITY.wrapping_neg()) - 1;
    let (smallest, subnormal, normal) = (bits(1), bits(mantissa), bits(mantissa + 1));
    let zero = of(0.0);
    let all = [zero, of(-0.0), smallest, subnormal, normal, largest, of(1.0), infinity, nan];
    let mut blocks: Vec<Vec<T>> = all.iter().map(|x| vec![*x; block]).collect();
    // One of them alone among others, in different places.
    let alone = [
        of(-0.0),
        smallest,
        bits(sign | 1),
        subnormal,
        normal,
        largest,
        bits((T::INFINITY - 1) | sign),
        infinity,
        minus_infinity,
        nan,
        signalling,
    ];
    let others = [zero, of(-0.0), smallest, of(0.7), of(-3.3), largest];
    for (i, x) in alone.into_iter().enumerate() {
        for (j, other) in others.into_iter().enumerate() {
            let mut values = vec![other; block];
            values[[0, block - 1, block / 2, 3 % block][(i + j) % 4]] = x;
            blocks.push(values);
        }
    }
    // All of them together, and huge beside tiny.
    let mixed = [nan, of(1.0), minus_infinity, of(-0.0), smallest, signalling, infinity, largest];
    blocks.push((0..block).map(|i| mixed[i % mixed.len()]).collect());
    blocks.push((0..block).map(|i| [largest, smallest, of(1.0), of(-0.0)][i % 4]).collect());
    let wide =
        |i: usize| bits((i as u32).wrapping_mul(0x9e37_79b9) % T::INFINITY + i as u32 % 2 * sign);
    blocks.push((0..block).map(wide).collect());
    blocks
}

/// Every element, every tie between two, and the neighbours of both, times `scale`, in blocks that
/// begin with the largest element: their scale is `scale` or near it.
fn tie_blocks<T: Value>(format: Format, scale: f32) -> Vec<Vec<T>> {
    let magnitudes = magnitudes(format.element());
    let ties = magnitudes.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0);
    let beyond = [magnitudes[magnitudes.len() - 1] * 1.06, magnitudes[1] / 4.0];
    let points = ties.chain(magnitudes.iter().copied()).chain(beyond);
    let values = points.flat_map(|x| {
        let x = T::from_f32(x * scale);
        let sign = T::SIGN;
        [-1, 0, 1]
            .map(|ulps| x.step(ulps))
            .into_iter()
            .flat_map(move |x| [x, T::of_bits(x.bits() | sign)])
    });
    let values: Vec<T> = values.collect();
    let largest = T::from_f32(format.element().max() * scale);
    let mut blocks = Vec::new();
    for chunk in values.chunks((format.block() - 1).max(1)) {
        let mut block = vec![T::from_f32(0.0); format.block()];
        block[0] = largest;
        // A block of one element has no room for it.
        let at = usize::from(format.block() > 1);
        block[at..][..chunk.len()].copy_from_slice(chunk);
        blocks.push(block);
    }
    blocks
}

/// Powers of two over the whole range, and numbers that are none.
const SCALES: [f32; 11] = [
    1.0,
    8.0,
    0.015_625,
    8.507_059e37,
    1.469_368e-39, // 2^-129
    5.877_472e-39, // 2^-127
    0.001_3,
    0.337,
    3.7,
    1234.567,
    0.999_999_94,
];

fn hostile_blocks<T: Value>(format: Format) -> Vec<T> {
    let mut blocks = special_blocks(format.block());
    blocks.extend(SCALES.into_iter().flat_map(|scale| tie_blocks(format, scale)));
    blocks.concat()
}

/// Blocks whose amax lies at, just below and just above a power of two, or another place at which a
/// scale rule moves on, for every exponent.
fn amax_blocks<T: Value>(format: Format, mantissas: &[f32], ulps: &[i32]) -> Vec<T> {
    let width = format.block();
    let mut values = Vec::new();
    for exponent in -149..=127 {
        for (i, mantissa) in mantissas.iter().enumerate() {
            let amax = T::from_f32((f64::from(*mantissa) * 2f64.powi(exponent)) as f32);
            for (j, ulps) in ulps.iter().enumerate() {
                let start = values.len();
                let amax = amax.step(*ulps);
                values.resize(start + width, T::from_f32(0.0));
                values[start + width / 2] = T::from_f32(-0.3 * amax.to_f32());
                values[start + (i + 5 * j) % width] = amax;
            }
        }
    }
    values
}

/// Shapes that a run of whole blocks is looked at in: a block to a row, rows of many with blocks
/// left over, and matrices of one row, of which tiles are no more.
fn shapes(blocks: usize, width: usize) -> [(usize, Vec<usize>); 3] {
    let rows = blocks / 13;
    [
        (blocks * width, vec![blocks, width]),
        (rows * 13 * width, vec![rows, 13 * width]),
        (blocks * width, vec![blocks, 1, width]),
    ]
}

fn hostile<T: Value>(runner: &mut Runner<'_>, profile: Profile) {
    let format = profile.format();
    let x = hostile_blocks::<T>(format);
    let shapes = shapes(x.len() / format.block(), format.block());
    let room = [x.len() / format.block(), 13 * format.block()].map(|n| n as u64);
    for rounding in roundings(format, room, &mut runner.random) {
        for (i, amax) in amaxes(profile).into_iter().enumerate() {
            for blocks in [Blocks::Row, Blocks::Tile] {
                let choice = Choice { profile, rounding, blocks, amax };
                for (len, shape) in &shapes {
                    // Rows do not care which matrix they belong to.
                    if blocks == Blocks::Tile
                        || shape.len() == 2 && (i == 0 || shape[1] > format.block())
                    {
                        runner.decodes = i < 2;
                        runner.quantize(choice, &x[..*len], shape);
                    }
                }
            }
        }
    }
}

#[test]
fn hostile_blocks_of_f32() {
    let mut runner = Runner::new(workers(), 1);
    profiles().into_iter().for_each(|profile| hostile::<f32>(&mut runner, profile));
    runner.finish();
}

#[test]
fn hostile_blocks_of_bf16() {
    let mut runner = Runner::new(workers(), 2);
    profiles().into_iter().for_each(|profile| hostile::<bf16>(&mut runner, profile));
    runner.finish();
}

#[test]
fn hostile_blocks_of_f16() {
    let mut runner = Runner::new(workers(), 3);
    profiles().into_iter().for_each(|profile| hostile::<f16>(&mut runner, profile));
    runner.finish();
}

#[test]
fn block_amaxes_at_every_threshold() {
    let mut runner = Runner::new(workers(), 4);
    runner.decodes = false;
    for profile in profiles() {
        amax_thresholds::<f32>(
            &mut runner,
            profile,
            &[1.0, 1.25, 1.5, 1.75, 1.875],
            &[-45, -22, -11, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 11, 45],
        );
        amax_thresholds::<bf16>(&mut runner, profile, &[1.0, 1.5, 1.75], &[-2, -1, 0, 1]);
        amax_thresholds::<f16>(&mut runner, profile, &[1.0, 1.5, 1.75], &[-2, -1, 0, 1]);
    }
    runner.finish();
}

fn amax_thresholds<T: Value>(
    runner: &mut Runner<'_>,
    profile: Profile,
    mantissas: &[f32],
    ulps: &[i32],
) {
    let format = profile.format();
    let x = amax_blocks::<T>(format, mantissas, ulps);
    let k = 9 * format.block();
    let rows = x.len() / k;
    // A tensor amax that leaves block scales within the range of their format.
    let amax = profile.tensor_scale_name().map(|_| 2688.0);
    runner.quantize(Choice { amax, ..Choice::new(profile) }, &x[..rows * k], &[rows, k]);
}

/// Values of many kinds, changing from block to block.
fn any_values<T: Value>(random: &mut Random, len: usize) -> Vec<T> {
    let kinds = if random.below(3) == 0 { 8 } else { 5 };
    let mut values = Vec::with_capacity(len);
    while values.len() < len {
        let (kind, run) = (random.below(kinds), 1 + random.below(48));
        let scale = 2f32.powi(random.below(24) as i32 - 12);
        for _ in 0..run.min(len - values.len()) {
            let bits = random.bits();
            values.push(match kind {
                0 | 1 => T::from_f32(random.normal() * scale),
                2 => T::from_f32(((bits % 129) as f32 - 64.0) / 8.0 * scale),
                3 => T::from_f32(if bits.is_multiple_of(4) { random.normal() } else { 0.0 }),
                4 => T::from_f32([0.0, -0.0, 1e-40, -1e-45][bits as usize % 4]),
                // Any finite bits, so that huge and tiny share a block.
                5 | 6 => {
                    let magnitude = (bits as u32 & T::MAGNITUDE) % T::INFINITY;
                    T::of_bits(magnitude + (bits >> 32) as u32 % 2 * T::SIGN)
                }
                // Any bits at all.
                _ => T::of_bits(bits as u32 & (T::MAGNITUDE << 1 | 1)),
            });
        }
    }
    values
}

/// A tensor of any small shape, which starts at any of 64 offsets in a larger buffer.
fn any_tensor<T: Value>(runner: &mut Runner<'_>, choice: Choice, longest: usize) {
    let random = &mut runner.random;
    let (k, rows, batches) = (random.below(longest + 1), random.below(6), 1 + random.below(3));
    let shape = match (random.below(5), choice.blocks) {
        (0, Blocks::Row) => vec![k],
        (1 | 2, _) => vec![batches, rows, k],
        _ => vec![rows, k],
    };
    let len = shape.iter().product();
    let offset = runner.cases % 64;
    let buffer = any_values::<T>(&mut runner.random, len + 64);
    runner.quantize(choice, &buffer[offset..][..len], &shape);
    runner.amax(&buffer[offset..][..len]);
}

fn any_tensors<T: Value>(runner: &mut Runner<'_>, profiles: &[Profile], cases: usize) {
    for profile in profiles {
        for case in 0..cases {
            for rounding in roundings(profile.format(), [15, 700], &mut runner.random) {
                for blocks in [Blocks::Row, Blocks::Tile] {
                    let amax = runner.random.pick(&amaxes(*profile)).filter(|_| case % 3 == 0);
                    let choice = Choice { profile: *profile, rounding, blocks, amax };
                    any_tensor::<T>(runner, choice, [700, 70][case % 2]);
                }
            }
        }
    }
}

#[test]
fn tensors_of_any_shape_and_offset() {
    let mut runner = Runner::new(workers(), 5);
    any_tensors::<f32>(&mut runner, &profiles(), 12);
    any_tensors::<bf16>(&mut runner, &profiles(), 8);
    any_tensors::<f16>(&mut runner, &profiles(), 8);
    runner.finish();
}

#[test]
fn built_formats_and_altered_profiles() {
    let mut runner = Runner::new(workers(), 6);
    for profile in unnamed_profiles() {
        any_tensors::<f32>(&mut runner, &[profile], 4);
        any_tensors::<bf16>(&mut runner, &[profile], 2);
        any_tensors::<f16>(&mut runner, &[profile], 2);
    }
    runner.finish();
}

/// Searches, with and without importance.
#[test]
fn searched_scales() {
    let mut runner = Runner::new(workers(), 14);
    runner.decodes = false;
    for profile in searches() {
        let weighted = matches!(profile.search, Search::Sweep | Search::Clip);
        for weighs in [false, true].into_iter().take(1 + usize::from(weighted)) {
            runner.weighs = weighs;
            any_tensors::<f32>(&mut runner, &[profile], 3);
            any_tensors::<bf16>(&mut runner, &[profile], 1);
            any_tensors::<f16>(&mut runner, &[profile], 1);
        }
    }
    runner.finish();
}

/// Hostile blocks, and every exponent that a block's amax can have.
#[test]
fn searched_scales_of_hostile_blocks() {
    let mut runner = Runner::new(workers(), 15);
    runner.decodes = false;
    for (i, profile) in searches().into_iter().enumerate() {
        let format = profile.format();
        let x = hostile_blocks::<f32>(format);
        let k = 13 * format.block();
        let shape = [x.len() / k, k];
        for amax in amaxes(profile).into_iter().skip(i % 2).step_by(2) {
            let choice = Choice { amax, ..Choice::new(profile) };
            runner.quantize(choice, &x[..shape[0] * k], &shape);
        }
        amax_thresholds::<f32>(&mut runner, profile, &[1.0, 1.4, 1.5], &[-1, 0]);
    }
    runner.finish();
}

/// Rows and columns of draws count from the tensor's first, not from that of the piece that a thread takes.
#[test]
fn draws_of_later_pieces() {
    let mut runner = Runner::new(workers(), 13);
    runner.decodes = false;
    let x = large_values::<f32>(&mut runner.random, 3 << 17);
    // Many short rows, two long ones, and rows of tiles in several matrices.
    let shapes: [(Blocks, &[usize]); 3] = [
        (Blocks::Row, &[5003, 33]),
        (Blocks::Row, &[2, (1 << 17) + 301]),
        (Blocks::Tile, &[3, 70, 129]),
    ];
    for (blocks, shape) in shapes {
        for format in [Format::MXFP4, Format::MXINT8] {
            let room = [5003, (1 << 17) + 301];
            for rounding in &roundings(format, room, &mut runner.random)[1..] {
                let profile = Profile::default_for(format);
                let choice = Choice { rounding: *rounding, blocks, ..Choice::new(profile) };
                runner.quantize(choice, &x[..shape.iter().product()], shape);
            }
        }
    }
    runner.finish();
}

/// Every length of a row up to two vectors of everything, at every level.
#[test]
fn every_length_of_a_row() {
    let mut runner = Runner::new(workers(), 7);
    for (_, format) in Format::NAMED {
        let choice = Choice::new(Profile::default_for(format));
        for k in 0..=300 {
            let x = any_values::<f32>(&mut runner.random, 2 * k + 64);
            let x = &x[k % 64..][..2 * k];
            runner.quantize(choice, x, &[2, k]);
        }
    }
    runner.finish();
}

#[test]
fn amaxes_of_any_length_and_offset() {
    let mut runner = Runner::new(workers(), 8);
    amaxes_of::<f32>(&mut runner);
    amaxes_of::<bf16>(&mut runner);
    amaxes_of::<f16>(&mut runner);
    runner.finish();
}

fn amaxes_of<T: Value>(runner: &mut Runner<'_>) {
    for len in 0..700 {
        let mut x = any_values::<T>(&mut runner.random, len + 64);
        let x = &mut x[len % 64..][..len];
        runner.amax(x);
        // One value that stands out, at every place in turn.
        x.fill(T::from_f32(-0.0));
        for bits in [1, T::INFINITY - 1, T::INFINITY, T::INFINITY + 1, T::MAGNITUDE] {
            if let Some(at) = len.checked_sub(1) {
                let at = runner.random.below(at + 1);
                x[at] = T::of_bits(bits | T::SIGN);
                runner.amax(x);
                x[at] = T::from_f32(0.0);
            }
        }
    }
}

/// Tensor scales as [`AMAXES`], and the named kind of the profile around them.
fn tensor_scales(profile: Profile) -> Vec<Option<TensorScale>> {
    let Some(name) = profile.tensor_scale_name() else { return vec![None] };
    let kinds = [TensorScale::Amax, TensorScale::Decode, TensorScale::Encode];
    let kind = kinds.into_iter().find(|kind| kind(1.0).name() == name).unwrap();
    AMAXES.map(|value| Some(kind(value))).into()
}

/// A tensor of every code under every scale: a row a scale. With the codes of NaN and Inf no group of some
/// elements is for the kernels, so there is one of `finite` codes as well.
fn every_code(
    profile: Profile,
    tensor_scale: Option<TensorScale>,
    finite: bool,
) -> QuantizedTensor {
    let format = profile.format();
    let element = format.element();
    let bits = element.bits();
    let all = 0..=(u8::MAX >> (8 - bits));
    let mut codes: Vec<u8> =
        all.filter(|code| !finite || element.decode(*code).is_finite()).collect();
    // The largest code twice, so that rows end within a block.
    codes.push(codes[codes.len() - 1]);
    let k = codes.len();
    let scales: Vec<u8> = match format.scale() {
        // Its sign bit belongs to NaN only.
        Scale::E4M3 => (0..0x80).chain([0xff]).collect(),
        _ => (0..=u8::MAX).collect(),
    };
    let row: Vec<u8> = match bits {
        4 => codes.chunks(2).map(|pair| pair[0] | pair.get(1).unwrap_or(&0) << 4).collect(),
        _ => codes,
    };
    let codes = row.repeat(scales.len());
    let rows = scales.len();
    let columns = format.scales_per_row(k);
    let scales = scales.into_iter().flat_map(|scale| vec![scale; columns]).collect();
    let (blocks, shape) = (Blocks::Row, [rows, k]);
    QuantizedTensor::from_parts(profile, blocks, &shape, codes, scales, tensor_scale).unwrap()
}

#[test]
fn every_code_under_every_scale() {
    let mut runner = Runner::new(workers(), 9);
    for profile in profiles().into_iter().chain(unnamed_profiles()) {
        for tensor_scale in tensor_scales(profile) {
            for finite in [false, true] {
                runner.dequantize_all(&every_code(profile, tensor_scale, finite));
            }
        }
    }
    runner.finish();
}

fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

/// All levels without a limit and the best one with limits, each outside of pools and in one.
fn threaded<'a>(free: &'a rayon::ThreadPool, limited: &'a rayon::ThreadPool) -> Vec<Worker<'a>> {
    let limit = |n| workers()[0].cpu.threads(NonZeroUsize::new(n).unwrap());
    let limits = [1, 2, 3, 7].map(|n| limit(n).level(Level::best()).unwrap());
    let all = workers().into_iter().map(|worker| (worker.cpu, free));
    let all = all.chain(limits.map(|cpu| (cpu, limited)));
    let both = |(cpu, pool)| [None, Some(pool)].map(|pool| Worker { cpu, pool });
    all.flat_map(both).collect()
}

/// Values for large tensors: quickly made, with something special here and there.
fn large_values<T: Value>(random: &mut Random, len: usize) -> Vec<T> {
    let special = [f32::NAN, f32::INFINITY, -0.0, 1e-40, 3e38];
    let part = any_values::<T>(random, 1 << 16);
    let mut x: Vec<T> = (0..len).map(|i| part[(i + i / 65521 * 97) % part.len()]).collect();
    for value in &mut x {
        if !value.to_f32().is_finite() || value.to_f32().abs() > 1e6 {
            *value = T::from_f32(0.25);
        }
    }
    for value in special {
        let at = random.below(len);
        x[at] = T::from_f32(value);
    }
    x
}

#[test]
fn large_tensors_on_threads() {
    let (two, three) = (pool(2), pool(3));
    let mut runner = Runner::new(threaded(&two, &three), 10);
    runner.decodes = false;
    let mut x = large_values::<f32>(&mut runner.random, (3 << 20) + 77);
    x.iter_mut().filter(|x| x.is_nan()).for_each(|x| *x = 1.0);
    let shapes: [&[usize]; 4] = [&[1021, 3071], &[7, 129, 1031], &[1, 1_500_001], &[70_001, 5]];
    for (i, (_, format)) in Format::NAMED.into_iter().enumerate() {
        let profile = Profile::default_for(format);
        let shape = shapes[i % shapes.len()];
        let len = shape.iter().product();
        let room = [70_001, 1_500_001];
        let rounding = roundings(format, room, &mut runner.random)[i / 2 % 3];
        let blocks = [Blocks::Row, Blocks::Row, Blocks::Tile][i % 3];
        let choice = Choice { rounding, blocks, ..Choice::new(profile) };
        runner.quantize(choice, &x[i..][..len], shape);
    }
    runner.amax(&x[5..]);
    runner.finish();
}

#[test]
fn large_tensors_of_16_bits_on_threads() {
    let two = pool(2);
    let mut runner = Runner::new(threaded(&two, &two), 11);
    runner.decodes = false;
    fn run<T: Value>(runner: &mut Runner<'_>, formats: [Format; 3]) {
        let x = large_values::<T>(&mut runner.random, 1 << 20);
        for format in formats {
            // The values have a NaN, which must not take the tensor scale with it.
            let amax = Some(77.0).filter(|_| format.has_tensor_scale());
            let choice = Choice { amax, ..Choice::new(Profile::default_for(format)) };
            runner.quantize(choice, &x[3..][..1000 * 1001], &[1000, 1001]);
        }
        runner.amax(&x[3..]);
    }
    run::<bf16>(&mut runner, [Format::NVFP4, Format::MXFP4, Format::MXFP8_E4M3]);
    run::<f16>(&mut runner, [Format::NVFP4, Format::MXINT8, Format::MXFP6_E2M3]);
    runner.finish();
}

/// Outputs beyond any cache, which may be stored another way than small ones.
#[test]
fn large_tensors_decoded() {
    let two = pool(2);
    let best = Cpu::new().level(Level::best()).unwrap();
    let mut all = workers();
    all.push(Worker { cpu: best, pool: Some(&two) });
    all.push(Worker { cpu: best.threads(NonZeroUsize::MIN), pool: None });
    let mut runner = Runner::new(all, 12);
    for (format, k) in [(Format::NVFP4, 4099), (Format::MXFP4, 4096), (Format::MXFP8_E4M3, 2053)] {
        let rows = (10 << 20) / k;
        let profile = Profile::default_for(format);
        let scales = rows * format.scales_per_row(k);
        let scales: Vec<u8> = (0..scales).map(|i| 0x30 + (i * 7 % 64) as u8).collect();
        let codes = match format.element().bits() {
            4 => rows * k.div_ceil(2),
            _ => rows * k,
        };
        let mut codes: Vec<u8> = (0..codes).map(|_| runner.random.bits() as u8).collect();
        if k % 2 == 1 && format.element().bits() == 4 {
            // What pads a row is zero.
            codes.iter_mut().skip(k / 2).step_by(k.div_ceil(2)).for_each(|code| *code &= 0xf);
        }
        let tensor_scale = tensor_scales(profile)[0];
        let (blocks, shape) = (Blocks::Row, [rows, k]);
        let tensor =
            QuantizedTensor::from_parts(profile, blocks, &shape, codes, scales, tensor_scale);
        let tensor = tensor.unwrap();
        runner.dequantize::<f32, _>(&tensor);
        runner.dequantize::<bf16, _>(&tensor);
        if format == Format::NVFP4 {
            runner.dequantize::<f16, _>(&tensor);
        }
    }
    runner.finish();
}

/// Callers that are themselves jobs of a pool.
#[test]
fn calls_from_jobs_of_a_pool() {
    let pool = pool(3);
    let run = |seed: u64| {
        let mut runner = Runner::new(workers(), seed);
        let x = large_values::<f32>(&mut runner.random, 100_000);
        for format in [Format::NVFP4, Format::MXFP8_E4M3] {
            let amax = Some(77.0).filter(|_| format.has_tensor_scale());
            let choice = Choice { amax, ..Choice::new(Profile::default_for(format)) };
            runner.quantize(choice, &x, &[100, 1000]);
        }
        runner.finish();
    };
    pool.install(|| (20..28u64).into_par_iter().for_each(run));
}

/// A float environment that is not IEEE's changes no byte, and is the caller's again afterwards.
#[cfg(target_arch = "x86_64")]
mod environment {
    use super::*;
    use core::arch::asm;

    /// All but the flags of exceptions that have happened.
    const CONTROL: u32 = 0xffc0;
    const DEFAULT: u32 = 0x1f80;
    const FLUSH_TO_ZERO: u32 = 1 << 15;
    const SUBNORMALS_ARE_ZERO: u32 = 1 << 6;
    const CHILD: &str = "BLOCKSCALE_TEST_HOSTILE_CHILD";

    fn read() -> u32 {
        let mut value = 0u32;
        // SAFETY: stores MXCSR in a variable of its size.
        unsafe { asm!("stmxcsr [{}]", in(reg) &mut value, options(nostack, preserves_flags)) };
        value
    }

    fn write(value: u32) {
        // SAFETY: loads MXCSR from a variable of its size; only bits that every x86-64 processor
        // has are set.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &value, options(nostack, preserves_flags)) };
    }

    /// Runs `work` under `control`, and returns what it found of the control bits afterwards.
    fn under<R>(control: u32, work: impl FnOnce() -> R) -> (R, u32) {
        let before = read();
        write(control);
        let result = work();
        let after = read() & CONTROL;
        write(before);
        (result, after)
    }

    /// Every rounding mode, with and without FTZ and DAZ.
    fn hostile() -> Vec<u32> {
        let flushes = [0, FLUSH_TO_ZERO, SUBNORMALS_ARE_ZERO, FLUSH_TO_ZERO | SUBNORMALS_ARE_ZERO];
        flushes
            .into_iter()
            .flat_map(|flush| (0..4).map(move |mode| DEFAULT | flush | mode << 13))
            .collect()
    }

    /// Bytes of all verbs on one input.
    #[derive(PartialEq, Debug)]
    struct Bytes {
        codes: Vec<u8>,
        scales: Vec<u8>,
        stored: Option<(&'static str, u32)>,
        values: [Vec<u32>; 3],
        amax: u32,
        rotated: [Vec<u32>; 3],
        both: Vec<u8>,
        chosen: Vec<u32>,
    }

    impl Bytes {
        /// What is not the same.
        fn differences(&self, other: &Self) -> Vec<&'static str> {
            let pairs = [
                ("codes", self.codes == other.codes),
                ("scales", self.scales == other.scales),
                ("tensor scale", self.stored == other.stored),
                ("f32", self.values[0] == other.values[0]),
                ("bf16", self.values[1] == other.values[1]),
                ("f16", self.values[2] == other.values[2]),
                ("amax", self.amax == other.amax),
                ("rotated", self.rotated[0] == other.rotated[0]),
                ("quantized rotated", self.rotated[1] == other.rotated[1]),
                ("by an inverse", self.rotated[2] == other.rotated[2]),
                ("both directions", self.both == other.both),
                ("chosen rounding", self.chosen == other.chosen),
            ];
            pairs.into_iter().filter(|(_, same)| !same).map(|(what, _)| what).collect()
        }
    }

    /// The rotations of `x`, which is whole rows of 32: by a Hadamard matrix, quantized under a tensor
    /// scale, and by the inverse of a matrix.
    fn rotated<T: Value>(backend: Backend, x: &[T]) -> [Vec<u32>; 3] {
        let shape = [x.len() / 32, 32];
        let hadamard = Hadamard::new(32).unwrap().with_drawn_signs(1, "w");
        let values: Vec<f32> = Rotate::new(hadamard).backend(backend).run_as(x, &shape).unwrap();
        let quantize = Quantize::new(Profile::default_for(Format::NVFP4)).rotated(hadamard);
        let q = quantize.backend(backend).run(x, &shape).unwrap();
        // Exact in any environment.
        let entry =
            |at: usize| (at % 7) as f32 / 1024.0 + if at.is_multiple_of(33) { 3.0 } else { 0.0 };
        let matrix = Matrix::new(32, &(0..32 * 32).map(entry).collect::<Vec<_>>()).unwrap();
        let rows = &x[..x.len().min(320)];
        let back = Rotate::new(&matrix).inverse().backend(backend);
        let back: Vec<f32> = back.run_as(rows, &[rows.len() / 32, 32]).unwrap();
        [
            values.into_iter().map(Value::bits).collect(),
            q.codes().as_bytes().iter().map(|code| u32::from(*code)).collect(),
            back.into_iter().map(Value::bits).collect(),
        ]
    }

    /// `x`, which is whole rows of 32, as 32 rows: along them, and rotated along its columns.
    fn both<T: Value>(backend: Backend, x: &[T]) -> Vec<u8> {
        let quantize = Quantize::new(Profile::default_for(Format::NVFP4)).backend(backend);
        let both = QuantizeBoth::new(quantize, quantize.rotated(Hadamard::new(32).unwrap()));
        let (rows, columns) = both.run(x, &[32, x.len() / 32]).unwrap();
        let (rows, columns) = (rows.into_parts(), columns.into_parts());
        [rows.0, rows.1, columns.0, columns.1].concat()
    }

    /// Neighbours of some elements under divisors that may be subnormal, and the mask of the nearer ones.
    fn chosen<T: Value>(x: &[T]) -> Vec<u32> {
        let x = &x[..x.len().min(320)];
        let divisors: Vec<f32> =
            (0..x.len() as u32).map(|i| f32::from_bits(1 + (i << 22))).collect();
        let profile = Profile::default_for(Format::NVFP4);
        let chosen = ChosenRounding::new(Quantize::new(profile)).divisors(&divisors);
        let neighbours = chosen.neighbours(x, &[x.len()]).unwrap();
        let mask = neighbours.nearest(profile.ties);
        let fractions = neighbours.fraction().iter().map(|fraction| fraction.to_bits());
        let codes = neighbours.lower().iter().chain(neighbours.upper()).chain(&mask);
        fractions.chain(codes.map(|code| u32::from(*code))).collect()
    }

    fn bytes<T: Value>(
        choice: Choice,
        backend: impl Into<Backend>,
        x: &[T],
        shape: &[usize],
    ) -> Bytes {
        fn values<T: Value>(q: &QuantizedTensor, backend: Backend) -> Vec<u32> {
            let mut values = vec![T::FILL; q.shape().iter().product()];
            q.dequantize_into(backend, &mut values).unwrap();
            values.into_iter().map(Value::bits).collect()
        }
        let backend = backend.into();
        let q = choice.quantize().backend(backend).run(x, shape).unwrap();
        Bytes {
            codes: q.codes().as_bytes().into(),
            scales: q.scales().as_bytes().into(),
            stored: bits_of(q.tensor_scale()),
            values: [
                values::<f32>(&q, backend),
                values::<bf16>(&q, backend),
                values::<f16>(&q, backend),
            ],
            amax: amax_with(x, backend).to_bits(),
            rotated: rotated(backend, x),
            both: both(backend, x),
            chosen: chosen(x),
        }
    }

    /// Several pieces of work, so that more than one thread has some.
    const LARGE: [usize; 2] = [300, 1000];
    const SMALL: [usize; 2] = [40, 1000];

    /// Subnormals, ties and sums that round.
    fn input<T: Value>(random: &mut Random, shape: [usize; 2]) -> Vec<T> {
        let mut x = any_values::<T>(random, shape.iter().product());
        for (i, value) in x.iter_mut().enumerate() {
            match (value.to_f32().is_finite(), i / 640 % 3) {
                (false, _) => *value = T::from_f32(0.5),
                (true, 0) => *value = T::of_bits(value.bits() % (T::INFINITY / 200)),
                _ => {}
            }
        }
        x
    }

    /// All hostile environments on all levels, in this thread and in a pool.
    fn compare<T: Value>(profile: Profile, pool: Option<&rayon::ThreadPool>, seed: u64) {
        let mut random = Random(seed);
        let shape = if pool.is_some() { LARGE } else { SMALL };
        let x = input::<T>(&mut random, shape);
        // A tensor amax that is given, and one that is computed.
        let amax =
            [None, Some(1e-39)][random.below(2)].filter(|_| profile.tensor_scale_name().is_some());
        let rounding = roundings(profile.format(), [300, 1000], &mut random)[random.below(3)];
        let choice = Choice { rounding, amax, ..Choice::new(profile) };
        let expected = bytes(choice, Backend::Reference, &x, &shape);
        let levels = levels();
        for (i, control) in hostile().into_iter().enumerate() {
            let cpu = Cpu::new().level(levels[i % levels.len()]).unwrap();
            let worker = Worker { cpu, pool };
            let (got, after) = under(control, || worker.call(|cpu| bytes(choice, cpu, &x, &shape)));
            let label =
                format!("{} {} MXCSR {control:#x} {}", T::NAME, choice.label(), worker.label());
            assert_eq!(got.differences(&expected), [""; 0], "{label}");
            assert_eq!(after, control & CONTROL, "{label}: the caller's control bits");
        }
        // The reference is no exception.
        let (got, after) = under(hostile()[15], || bytes(choice, Backend::Reference, &x, &shape));
        assert!(got == expected && after == hostile()[15] & CONTROL, "the reference");
    }

    fn compare_all(pool: Option<&rayon::ThreadPool>, seed: u64) {
        for (i, (_, format)) in Format::NAMED.into_iter().enumerate() {
            let profiles = Profile::all(format);
            let profile = profiles[(seed as usize + i) % profiles.len()];
            match i % 3 {
                0 => compare::<bf16>(profile, pool, seed + i as u64),
                1 => compare::<f16>(profile, pool, seed + i as u64),
                _ => compare::<f32>(profile, pool, seed + i as u64),
            }
        }
    }

    #[test]
    fn of_the_caller() {
        compare_all(None, 30);
    }

    #[test]
    fn of_the_threads_of_a_pool() {
        // Threads take over the environment of whoever starts them.
        let control = DEFAULT | FLUSH_TO_ZERO | SUBNORMALS_ARE_ZERO | 1 << 13;
        let (pool, _) = under(control, || pool(2));
        let in_pool = pool.install(read) & CONTROL;
        assert_eq!(in_pool, control, "this system gives threads another environment");
        compare_all(Some(&pool), 50);
        assert_eq!(pool.broadcast(|_| read() & CONTROL), [control; 2], "a worker's control bits");
    }

    /// The same for the global pool, which must not exist yet: in a process of its own.
    #[test]
    fn before_the_global_pool_exists() {
        if std::env::var_os(CHILD).is_none() {
            let child = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "environment::before_the_global_pool_exists", "--nocapture"])
                .env(CHILD, "1")
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&child.stderr);
            assert!(child.status.success(), "{text}");
            return;
        }
        let control = hostile()[15];
        let mut random = Random(60);
        let x = input::<f32>(&mut random, LARGE);
        let choice = Choice::new(Profile::default_for(Format::NVFP4));
        let shape = LARGE;
        let (got, after) = under(control, || bytes(choice, Cpu::new(), &x, &shape));
        assert_eq!(after, control & CONTROL);
        let expected = bytes(choice, Backend::Reference, &x, &shape);
        assert!(got == expected, "the first call");
        assert!(bytes(choice, Cpu::new(), &x, &shape) == expected, "a later call");
    }
}
