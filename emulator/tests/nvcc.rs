//! Kernels compiled by nvcc, if the environment variable `NVCC` names one, and run for every target.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use blockscale_emulator::error::{FaultKind, LaunchError};
use blockscale_emulator::target::ComputeCapability;
use blockscale_emulator::{Config, Counters, Device, LaunchConfig};

const TARGETS: [(&str, &str); 5] =
    [("80", "8.0"), ("90a", "9.0"), ("100a", "10.0"), ("103a", "10.3"), ("120a", "12.0")];

/// The PTX of a kernel, or `None` without nvcc.
fn compile(name: &str, target: &str, define: &str) -> Option<String> {
    let nvcc = std::env::var_os("NVCC").filter(|path| !path.is_empty())?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/kernels/{name}.cu"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let output = folder.join(format!("{name}-{target}-{define}.ptx"));
    let result = Command::new(nvcc)
        .args(["-ptx", "-std=c++17", &format!("-arch=compute_{target}"), &format!("-D{define}")])
        .arg(&source)
        .arg("-o")
        .arg(&output)
        .output()
        .expect("NVCC names a program");
    assert!(result.status.success(), "{}", String::from_utf8_lossy(&result.stderr));
    Some(std::fs::read_to_string(output).unwrap())
}

/// Uploads buffers, launches, downloads them.
fn run(
    capability: &str,
    ptx: &str,
    entry: &str,
    config: LaunchConfig,
    buffers: &mut [Vec<u8>],
    rest: &[&[u8]],
) -> Result<Counters, LaunchError> {
    let capability = ComputeCapability::parse(capability).unwrap();
    let mut device = Device::new(Config { capability, threads: 1, ..Config::default() });
    let module = device.load(ptx.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    let memory = device.memory_mut();
    let mut addresses = Vec::new();
    for buffer in buffers.iter() {
        let address = memory.allocate(buffer.len() as u64).unwrap();
        memory.write(address, buffer).unwrap();
        addresses.push(address);
    }
    let pointers: Vec<_> = addresses.iter().map(|address| address.to_le_bytes()).collect();
    let values: Vec<&[u8]> =
        pointers.iter().map(|pointer| pointer.as_slice()).chain(rest.iter().copied()).collect();
    let arguments = Device::arguments(&module, entry, &values)?;
    let counters = device.launch(&module, entry, config, &arguments, None)?;
    for (buffer, address) in buffers.iter_mut().zip(&addresses) {
        device.memory().read(*address, buffer).unwrap();
    }
    Ok(counters)
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|word| f32::from_le_bytes(word.try_into().unwrap())).collect()
}

/// Values over many binades, ties and zeros among them.
fn samples(count: usize) -> Vec<f32> {
    let mut state = 1u32;
    (0..count)
        .map(|n| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let exponent = (state >> 8) % 12;
            let value = (state >> 20) as f32 / 512.0
                * 2f32.powi(exponent as i32 - 6 + (n / 4096 % 40) as i32 - 20);
            if state & 1 == 1 { -value } else { value }
        })
        .collect()
}

/// FP4 code of a scaled value: the first of the midpoints that is not passed, ties to even.
fn fp4(value: f32) -> u8 {
    let a = value.abs();
    let passed = [a > 0.25, a >= 0.75, a > 1.25, a >= 1.75, a > 2.5, a >= 3.5, a > 5.0];
    passed.iter().filter(|passed| **passed).count() as u8 | u8::from(value.is_sign_negative()) << 3
}

fn reference(x: &[f32]) -> (Vec<u8>, Vec<u8>) {
    let (mut codes, mut scales) = (Vec::new(), Vec::new());
    for block in x.chunks(32) {
        let amax = block.iter().fold(0f32, |amax, value| amax.max(value.abs()));
        let exponent = (amax.to_bits() >> 23).saturating_sub(2);
        let inverse = f32::from_bits((254 - exponent) << 23);
        scales.push(exponent as u8);
        for pair in block.chunks(2) {
            codes.push(fp4(pair[0] * inverse) | fp4(pair[1] * inverse) << 4);
        }
    }
    (codes, scales)
}

fn quantize(
    capability: &str,
    ptx: &str,
    x: &[f32],
) -> Result<(Vec<Vec<u8>>, Counters), LaunchError> {
    let mut buffers = vec![bytes(x), vec![0; x.len() / 2], vec![0; x.len() / 32]];
    let config = LaunchConfig::linear((x.len() / 4).div_ceil(256) as u32, 256);
    let counters =
        run(capability, ptx, "quantize", config, &mut buffers, &[&(x.len() as u32).to_le_bytes()])?;
    Ok((buffers, counters))
}

#[test]
fn quantizer_gives_the_reference_bytes_fast_enough() {
    let count = 1 << 20;
    let x = samples(count);
    let (codes, scales) = reference(&x);
    for (target, capability) in TARGETS {
        let Some(ptx) = compile("quantize", target, "NONE") else { return };
        let start = Instant::now();
        let (buffers, counters) = quantize(capability, &ptx, &x).unwrap();
        let seconds = start.elapsed().as_secs_f64();
        assert!(buffers[1] == codes && buffers[2] == scales, "sm_{target}");
        assert_eq!(counters.global_load_sectors, count as u64 / 8);
        println!(
            "quantize sm_{target}: {:.1} M elements/s, {:.0} M thread instructions/s on one thread",
            count as f64 / seconds / 1e6,
            counters.thread_instructions as f64 / seconds / 1e6
        );
    }
}

#[test]
fn transform_and_its_planted_bugs() {
    let x = samples(512);
    for (target, capability) in TARGETS {
        let go = |define: &str| {
            let ptx = compile("transform", target, define)?;
            let mut buffers = vec![bytes(&x), vec![0; 2048]];
            Some(
                run(capability, &ptx, "transform", LaunchConfig::linear(2, 256), &mut buffers, &[])
                    .map(|_| floats(&buffers[1])),
            )
        };
        let Some(result) = go("NONE") else { return };
        let mut wanted = x.clone();
        for row in wanted.chunks_mut(256) {
            for stride in [1, 2, 4, 8, 16, 32, 64, 128] {
                for i in (0..256).filter(|i| i & stride == 0) {
                    (row[i], row[i + stride]) =
                        (row[i] + row[i + stride], row[i] - row[i + stride]);
                }
            }
            row.iter_mut().for_each(|value| *value *= 0.0625);
        }
        assert_eq!(result.unwrap(), wanted, "sm_{target}");
        let fault = |define: &str| match go(define) {
            Some(Err(LaunchError::Fault(fault))) => fault.kind,
            other => panic!("{define} sm_{target}: {:?}", other.map(|result| result.is_ok())),
        };
        assert!(matches!(
            fault("MISSING_BARRIER"),
            FaultKind::SharedRace { .. } | FaultKind::UninitialisedShared { .. }
        ));
        // The lanes that skip the barrier may be caught by what they read first.
        let divergent = fault("DIVERGENT_BARRIER");
        assert!(
            matches!(
                divergent,
                FaultKind::Divergent(_)
                    | FaultKind::SharedRace { .. }
                    | FaultKind::UninitialisedShared { .. }
            ),
            "{divergent}"
        );
        assert!(matches!(fault("UNINITIALISED"), FaultKind::UninitialisedShared { .. }));
    }
}

#[test]
fn planted_bugs_of_the_quantizer() {
    let x = samples(4096);
    for (target, capability) in TARGETS {
        let fault = |define: &str| {
            let ptx = compile("quantize", target, define)?;
            match quantize(capability, &ptx, &x) {
                Err(LaunchError::Fault(fault)) => Some(fault),
                other => panic!("{define} sm_{target}: {:?}", other.is_ok()),
            }
        };
        let Some(outside) = fault("OUT_OF_BOUNDS") else { return };
        assert!(
            matches!(outside.kind, FaultKind::OutOfBounds { .. })
                && outside.text.starts_with("st.global"),
            "{outside}"
        );
        assert_eq!((outside.block, outside.thread), ([3, 0, 0], [255, 0, 0]));
        let mask = fault("WRONG_MASK").unwrap();
        assert!(matches!(mask.kind, FaultKind::BadOperand(_) | FaultKind::Divergent(_)), "{mask}");
    }
}

#[test]
fn multiplication_and_its_planted_bugs() {
    let (m, n, k) = (128usize, 64usize, 96usize);
    let value = |i: usize, j: usize| ((i * 7 + j * 13) % 17) as f32 - 8.0;
    let half = |value: f32| ((value.to_bits() >> 16) as u16).to_le_bytes();
    let a: Vec<u8> = (0..m * k).flat_map(|i| half(value(i / k, i % k))).collect();
    let b: Vec<u8> = (0..n * k).flat_map(|i| half(value(i / k + 3, i % k))).collect();
    for (target, capability) in TARGETS {
        let go = |define: &str| {
            let ptx = compile("multiply", target, define)?;
            let mut buffers = vec![a.clone(), b.clone(), vec![0; 4 * m * n]];
            let config = LaunchConfig { grid: [1, 2, 1], block: [128, 1, 1], dynamic_shared: 0 };
            let sizes = [(n as u32).to_le_bytes(), (k as u32).to_le_bytes()];
            let result =
                run(capability, &ptx, "multiply", config, &mut buffers, &[&sizes[0], &sizes[1]]);
            Some(result.map(|counters| (floats(&buffers[2]), counters)))
        };
        let Some(result) = go("NONE") else { return };
        let (c, counters) = result.unwrap();
        for (index, got) in c.iter().enumerate() {
            let (row, column) = (index / n, index % n);
            let wanted: f32 = (0..k).map(|i| value(row, i) * value(column + 3, i)).sum();
            assert_eq!(*got, wanted, "sm_{target} {row} {column}");
        }
        // Only the copies conflict: of the two 80-byte rows that eight lanes write four banks are
        // the same. 2 blocks * 4 warps * 3 stages * 2 sides * 2 copies * 4 groups of eight lanes.
        assert_eq!(counters.shared_bank_conflicts, 384);
        let fault = |define: &str| match go(define) {
            Some(Err(LaunchError::Fault(fault))) => fault.kind,
            other => panic!("{define} sm_{target}: {:?}", other.map(|result| result.is_ok())),
        };
        assert!(matches!(fault("WEAK_WAIT"), FaultKind::AsyncNotWaited { .. }));
        assert!(matches!(
            fault("EARLY_OVERWRITE"),
            FaultKind::SharedRace { .. } | FaultKind::AsyncNotWaited { .. }
        ));
    }
}

/// One source, five targets, hardware conversions or integer code: the same bits.
#[test]
fn every_target_gives_the_same_results() {
    let mut first: Option<Vec<Vec<u8>>> = None;
    for (target, capability) in TARGETS {
        let Some(ptx) = compile("mixture", target, "NONE") else { return };
        let mut buffers = vec![vec![0; 128 * 4], vec![0; (1 + 4 * 128) * 4]];
        let settings: Vec<u8> =
            bytes(&[1.0, 0.5, -0.25, 2.0]).into_iter().chain(7u32.to_le_bytes()).collect();
        let config = LaunchConfig { dynamic_shared: 512, ..LaunchConfig::linear(1, 128) };
        run(capability, &ptx, "mixture", config, &mut buffers, &[&settings])
            .unwrap_or_else(|error| panic!("sm_{target}: {error}"));
        assert_eq!(buffers[1][0], 127);
        // Thread 9: four of the weights of thread 8, whose 8 % 7 = 1 ... 9 % 7 = 2: a square root.
        let out = floats(&buffers[0]);
        let list = |t: usize| {
            (0..=t % 8)
                .map(|i| ((t + i) % 8 + 1) as f32 * [1.0, 0.5, -0.25, 2.0][i % 4])
                .sum::<f32>()
        };
        assert_eq!(out[9], list(8).sqrt(), "sm_{target}");
        assert_eq!(out[7], list(6) + 1.0, "sm_{target}");
        match &first {
            None => first = Some(buffers),
            Some(first) => assert!(*first == buffers, "sm_{target} differs"),
        }
    }
}
