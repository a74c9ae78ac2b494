//! blockscale beside other implementations: equal work, one after the other in one run, on the same
//! pinned threads. README.md says how to run it and what is compared.

#[path = "../../floor/data.rs"]
mod data;
#[path = "../../floor/machine.rs"]
mod machine;
#[path = "../../floor/memory.rs"]
#[allow(dead_code)] // what the floor needs of it besides
mod memory;
mod peers;

use blockscale::format::Format;
use blockscale::numerics::Profile;
use blockscale::{Cpu, Quantize, amax};
use data::{fill, quantile};
use memory::Memory;
use peers::{PEERS, Peer};
use rayon::ThreadPool;
use serde_json::json;
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const K: usize = 4096;

struct Arguments {
    json: bool,
    threads: Vec<usize>,
    filter: String,
    mib: usize,
    rounds: usize,
}

fn arguments() -> Result<Arguments> {
    let mut parsed =
        Arguments { json: false, threads: vec![1, 2], filter: String::new(), mib: 64, rounds: 9 };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{name}: a value is missing"));
        match name.as_str() {
            "--json" => parsed.json = true,
            "--threads" => {
                parsed.threads =
                    value()?.split(',').map(str::parse).collect::<std::result::Result<_, _>>()?;
            }
            "--filter" => parsed.filter = value()?,
            "--mib" => parsed.mib = value()?.parse()?,
            "--rounds" => parsed.rounds = value()?.parse()?,
            _ => return Err(format!("unknown argument {name}").into()),
        }
    }
    Ok(parsed)
}

/// What both sides work on.
struct Buffers {
    x: Memory,
    codes: Memory,
    scales: Memory,
    theirs: Memory,
    values: Memory,
}

fn main() -> Result<()> {
    let arguments = arguments()?;
    let elements = arguments.mib << 18;
    machine::pin(0);
    peers::prepare();
    let mut buffers = Buffers {
        x: Memory::new(4 * elements)?,
        codes: Memory::new(elements)?,
        scales: Memory::new(elements / 16)?,
        theirs: Memory::new(elements / 32 * 33)?,
        values: Memory::new(4 * elements)?,
    };
    fill(buffers.x.values::<f32>(elements));
    heading(&arguments)?;
    for threads in &arguments.threads {
        let pool = if *threads > 1 { Some(machine::pool(*threads)?) } else { None };
        for peer in &PEERS {
            for profile in peer.profiles {
                pair(&arguments, &mut buffers, peer, profile, *threads, pool.as_ref())?;
            }
        }
    }
    Ok(())
}

fn heading(arguments: &Arguments) -> Result<()> {
    let (processor, date) = (machine::processor(), machine::date()?);
    let clock = machine::clocks_per_second();
    if arguments.json {
        let line = json!({
            "bench": "peers",
            "version": env!("CARGO_PKG_VERSION"),
            "date": date,
            "processor": processor,
            "level": Cpu::new().chosen_level().to_string(),
            "elements": arguments.mib << 18,
            "clocks_per_second": clock,
        });
        println!("{line}");
        return Ok(());
    }
    println!("processor  {processor}");
    println!("date       {date}");
    println!("level      {}", Cpu::new().chosen_level());
    println!("tensor     {} MiB of f32, median of {} rounds\n", arguments.mib, arguments.rounds);
    println!(
        "{:<11} {:<11} {:<19} {:<11} {:>2} {:>8} {:>8} {:>7}",
        "op", "format", "profile", "peer", "T", "Gelem/s", "peer", "ratio"
    );
    Ok(())
}

/// Quantizes and dequantizes with both.
fn pair(
    arguments: &Arguments,
    buffers: &mut Buffers,
    peer: &Peer,
    profile: &str,
    threads: usize,
    pool: Option<&ThreadPool>,
) -> Result<()> {
    let wanted = |operation: &str| {
        let text = format!("{operation} {} {profile} {} T{threads}", peer.format, peer.name);
        arguments.filter.split_whitespace().all(|word| text.split(' ').any(|part| part == word))
    };
    if !wanted("quantize") && !wanted("dequantize") {
        return Ok(());
    }
    let elements = arguments.mib << 18;
    let shape = [elements / K, K];
    let cpu = Cpu::new().threads(NonZeroUsize::new(threads).ok_or("no threads")?);
    let format: Format = peer.format.parse()?;
    let x = &*buffers.x.values::<f32>(elements);
    let mut quantize = Quantize::new(Profile::named(format, profile)?).backend(cpu);
    if quantize.profile().tensor_scale_name().is_some() {
        quantize = quantize.tensor_amax(amax(x));
    }
    let [code_bytes, scale_bytes] = quantize.output_bytes(&shape)?;
    let (codes, scales) = (buffers.codes.bytes(code_bytes), buffers.scales.bytes(scale_bytes));
    let theirs = buffers.theirs.bytes(elements / peer.elements * peer.bytes);
    let values = buffers.values.values::<f32>(elements);

    if wanted("quantize") {
        let (ours, other) = measure(
            arguments.rounds,
            &mut || {
                on(pool, || quantize.run_into(x, &shape, codes, scales).map(drop).expect("it fits"))
            },
            &mut || each(pool, x, theirs, (peer.elements, peer.bytes), peer.quantize),
        );
        line(arguments, ["quantize", profile], peer, threads, elements, &ours, &other);
    }
    if wanted("dequantize") {
        let tensor = quantize.run_into(x, &shape, codes, scales)?;
        each(pool, x, theirs, (peer.elements, peer.bytes), peer.quantize);
        // Both write the same buffer.
        let values = Mutex::new(values);
        let (ours, other) = measure(
            arguments.rounds,
            &mut || {
                on(pool, || {
                    tensor.dequantize_into(cpu, &mut values.lock().unwrap()).expect("it fits")
                })
            },
            &mut || {
                let mut values = values.lock().unwrap();
                each(pool, theirs, &mut values, (peer.bytes, peer.elements), peer.dequantize);
            },
        );
        line(arguments, ["dequantize", profile], peer, threads, elements, &ours, &other);
        check(peer, x, &values.lock().unwrap())?;
    }
    Ok(())
}

fn on<R: Send>(pool: Option<&ThreadPool>, work: impl FnOnce() -> R + Send) -> R {
    match pool {
        Some(pool) => pool.install(work),
        None => work(),
    }
}

/// A peer's loop on every thread, over chunks of `sizes` elements of `from` and `to`.
fn each<A: Sync, B: Send>(
    pool: Option<&ThreadPool>,
    from: &[A],
    to: &mut [B],
    sizes: (usize, usize),
    work: fn(&[A], &mut [B]),
) {
    let Some(pool) = pool else { return work(from, to) };
    let chunks = (from.len() / sizes.0).div_ceil(pool.current_num_threads());
    let parts = from.chunks(chunks * sizes.0).zip(to.chunks_mut(chunks * sizes.1));
    let parts: Vec<_> = parts.map(Mutex::new).collect();
    pool.broadcast(|thread| {
        if let Some(part) = parts.get(thread.index()) {
            let (from, to) = &mut *part.lock().unwrap();
            work(from, to);
        }
    });
}

/// Seconds of each round of both, the first of them in turn.
fn measure(rounds: usize, ours: &mut dyn FnMut(), other: &mut dyn FnMut()) -> (Vec<f64>, Vec<f64>) {
    let time = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    let mut seconds = (Vec::new(), Vec::new());
    // The first call finds memory that is cold.
    time(ours);
    time(other);
    for round in 0..rounds {
        for is_ours in [round % 2 == 0, round % 2 == 1] {
            match is_ours {
                true => seconds.0.push(time(ours)),
                false => seconds.1.push(time(other)),
            }
        }
    }
    seconds
}

fn line(
    arguments: &Arguments,
    [operation, profile]: [&str; 2],
    peer: &Peer,
    threads: usize,
    elements: usize,
    ours: &[f64],
    other: &[f64],
) {
    let speed = |seconds: &[f64]| elements as f64 / quantile(seconds, 0.5) / 1e9;
    let ratios: Vec<_> = other.iter().zip(ours).map(|(other, ours)| other / ours).collect();
    let ratio = quantile(&ratios, 0.5);
    if arguments.json {
        let line = json!({
            "op": operation,
            "format": peer.format,
            "profile": profile,
            "peer": peer.name,
            "peer_version": peer.version,
            "threads": threads,
            "gelem_s": speed(ours),
            "peer_gelem_s": speed(other),
            "ratio": ratio,
            "rounds": ours.len(),
        });
        return println!("{line}");
    }
    println!(
        "{operation:<11} {:<11} {profile:<19} {:<11} {threads:>2} {:>8.2} {:>8.3} {ratio:>6.1}x",
        peer.format,
        peer.name,
        speed(ours),
        speed(other),
    );
}

/// A peer that lost the values would be fast for nothing. `values` are those that it decoded, or ours.
fn check(peer: &Peer, x: &[f32], values: &[f32]) -> Result<()> {
    let square = |x: f64| x * x;
    let signal: f64 = x.iter().map(|x| square(f64::from(*x))).sum();
    let pairs = x.iter().zip(values);
    let noise: f64 = pairs.map(|(x, y)| square(f64::from(*x) - f64::from(*y))).sum();
    let decibel = 10.0 * (signal / noise).log10();
    match decibel > 15.0 {
        true => Ok(()),
        false => Err(format!("{} {}: {decibel:.1} dB are left", peer.name, peer.format).into()),
    }
}
