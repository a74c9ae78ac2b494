//! `doctor` and `--backend cuda`: on a device where `BLOCKSCALE_REQUIRE_DEVICE=1` promises one.

use crate::support::*;
use safetensors::Dtype;
use serde_json::Value;
use std::fs;
use std::process::Command;

/// Whether a device must be there.
fn device() -> bool {
    cfg!(feature = "cuda") && std::env::var("BLOCKSCALE_REQUIRE_DEVICE").is_ok_and(|v| v == "1")
}

/// The command where the driver is a file that is no library, whatever the machine has.
fn without_driver(folder: &Folder) -> Command {
    for name in ["libcuda.so", "libcuda.so.1"] {
        folder.bytes(name, b"");
    }
    let mut command = command();
    command.env("LD_LIBRARY_PATH", folder.path("libcuda.so").parent().unwrap());
    command
}

fn texts<'a>(list: &'a Value, field: &str) -> Vec<&'a str> {
    list.as_array().unwrap().iter().map(|entry| entry[field].as_str().unwrap()).collect()
}

#[test]
fn doctor_says_what_is_missing_and_exits_with_zero() {
    let folder = Folder::new();
    let run = |args: &[&str]| Run::from(without_driver(&folder).args(args).output().unwrap());
    let (json, text) = (run(&["doctor", "--json"]).json(), run(&["doctor"]).ok().out);
    assert_eq!(json["command"], "doctor");
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    assert!(text.starts_with(&format!("blockscale {}\n", env!("CARGO_PKG_VERSION"))));
    let cuda = &json["cuda"];
    if !cfg!(feature = "cuda") {
        assert_eq!(cuda, &Value::Null);
        assert!(text.contains("without feature `cuda`"), "{text}");
        return;
    }
    assert_eq!(cuda["devices"], Value::Array(vec![]));
    assert_eq!(cuda["driver"]["found"], false);
    let error = cuda["driver"]["error"].as_str().unwrap();
    assert!(error.starts_with("no CUDA driver: "), "{error}");
    assert!(text.contains(&format!("driver: {error}")), "{text}");
    let images = cuda["images"].as_array().unwrap();
    assert_eq!(images.is_empty(), cuda["toolkit"] == Value::Null);
    assert_eq!(images.is_empty(), text.contains("compiled without nvcc"), "{text}");
    for image in images {
        assert!(image["ptx_bytes"].as_u64().unwrap() > 0);
        let unit = image["unit"].as_str().unwrap();
        let kernels = image["kernels"].as_array().unwrap();
        let prefix = format!("blockscale_{}", unit.split('_').next().unwrap());
        assert!(!kernels.is_empty());
        assert!(kernels.iter().all(|name| name.as_str().unwrap().starts_with(&prefix)), "{unit}");
    }
}

#[test]
fn doctor_names_the_image_of_each_operation() {
    if !device() {
        return;
    }
    let (json, text) = (run(&["doctor", "--json"]).json(), run(&["doctor"]).ok().out);
    let cuda = &json["cuda"];
    assert_eq!(cuda["driver"]["found"], true);
    assert_eq!(cuda["driver"]["error"], Value::Null);
    assert_eq!(cuda["driver"]["too_old"], false);
    let device = &cuda["devices"][0];
    assert!(device["memory_bytes"].as_u64().unwrap() > 1 << 20);
    let capability = device["capability"].as_str().unwrap();
    if let Ok(emulated) = std::env::var("BLOCKSCALE_EMULATOR_CC") {
        assert_eq!(capability, emulated);
    }
    let number: u32 = capability.replace('.', "").parse().unwrap();
    let operations = &device["operations"];
    for name in ["amax", "quantize", "dequantize", "relayout", "rotate"] {
        assert!(texts(operations, "operation").contains(&name));
    }
    for operation in operations.as_array().unwrap() {
        let image = operation["image"].as_str().unwrap();
        let built: u32 = image.trim_end_matches(['a', 'f']).parse().unwrap();
        assert!(built == number || image.ends_with(char::is_numeric) && built < number);
        let kernel = operation["kernels"][0].as_str().unwrap();
        assert!(text.contains(kernel), "{text}");
    }
    for dtype in ["f32", "bf16", "f16"] {
        assert!(text.contains(&format!("blockscale_quantize_{dtype}")), "{text}");
    }
    assert!(text.contains(&format!("compute capability {capability}")), "{text}");
}

#[test]
fn a_device_that_is_not_there_is_the_users_to_mend() {
    let folder = Folder::new();
    let input = folder.file("in", &[("w", f32s(&[2, 32], &weights(64, 1)))]);
    let output = folder.path("out");
    let quantize = |command: &mut Command, backend: &str| -> Run {
        command.arg("quantize").arg(&input).arg("-o").arg(&output);
        command.args(["--format", "mxfp4", "--backend", backend]).output().unwrap().into()
    };
    let says = match cfg!(feature = "cuda") {
        true => "no CUDA driver",
        false => "without feature `cuda`",
    };
    for backend in ["cuda", "cuda:0", "cuda:3"] {
        quantize(&mut without_driver(&folder), backend).refuses(&["--backend cuda: ", says]);
    }
    if device() {
        quantize(&mut command(), "cuda:4096").refuses(&["no CUDA device 4096: the driver sees"]);
    }
    for backend in ["cuda:", "cuda:x", "cuda:-1", "cuda0", "gpu", ""] {
        let run = quantize(&mut command(), backend);
        assert_eq!((run.code, run.out.as_str()), (Some(2), ""), "{backend}");
        assert!(run.err.contains("known: auto, cpu, reference, cuda, cuda:N"), "{}", run.err);
    }
    assert!(!output.exists());
}

#[test]
fn a_device_writes_the_same_file() {
    if !device() {
        return;
    }
    let folder = Folder::new();
    let halves = |dtype, shape: &[usize], seed| {
        let bytes = weights(shape.iter().product(), seed).into_iter().flat_map(|x| match dtype {
            Dtype::BF16 => half::bf16::from_f32(x).to_le_bytes(),
            _ => half::f16::from_f32(x).to_le_bytes(),
        });
        Tensor { dtype, shape: shape.to_vec(), bytes: bytes.collect() }
    };
    let tensors = [
        ("single", f32s(&[17, 70], &weights(17 * 70, 1))),
        ("upper", halves(Dtype::BF16, &[33, 48], 2)),
        ("half", halves(Dtype::F16, &[2, 3, 64], 3)),
        ("odd", f32s(&[5, 33], &weights(5 * 33, 4))),
        ("empty", f32s(&[0, 64], &[])),
        ("copied", raw(Dtype::I64, &[3])),
    ];
    let input = folder.file("in", &tensors);
    let log = folder.path("launches");
    let both = |more: &[&str]| {
        let [device, host] = ["cuda:0", "cpu"].map(|backend| {
            let output = folder.path("q");
            let mut command = command();
            command.arg("quantize").arg(&input).arg("-o").arg(&output).args(more);
            command.args(["--backend", backend, "--force", "--json"]);
            let run: Run = command.env("BLOCKSCALE_EMULATOR_LOG", &log).output().unwrap().into();
            let totals = run.json()["totals"].clone();
            (fs::read(output).unwrap(), totals)
        });
        assert!(device.0 == host.0, "{more:?}");
        assert_eq!(device.1, host.1, "{more:?}");
        assert_eq!(device.1["quantized"], 5, "{more:?}");
    };
    for format in NAMED {
        both(&["--format", format]);
        both(&["--format", format, "--rounding", "stochastic", "--seed", "9"]);
    }
    both(&["--format", "nvfp4", "--profile", "torchao", "--block-2d"]);
    // On the emulator it is known that kernels ran: at least one for each tensor that is not empty.
    if std::env::var_os("BLOCKSCALE_EMULATOR_CC").is_some() {
        let launches = fs::read_to_string(log).unwrap();
        let launches = launches.lines().filter(|line| line.contains("blockscale_quantize"));
        assert!(launches.count() >= 4 * (2 * NAMED.len() + 1));
    }
}

#[test]
fn a_tensor_that_the_device_has_no_room_for_leaves_no_file() {
    if !device() || std::env::var_os("BLOCKSCALE_EMULATOR_CC").is_none() {
        return;
    }
    let folder = Folder::new();
    let input = folder.file("in", &[("w", f32s(&[64, 512], &weights(64 * 512, 1)))]);
    let mut command = command();
    command.arg("quantize").arg(&input).arg("-o").arg(folder.path("out"));
    command.args(["--format", "mxfp4", "--backend", "cuda"]);
    let run: Run = command.env("BLOCKSCALE_EMULATOR_MEMORY", "65536").output().unwrap().into();
    run.refuses(&["--backend cuda: out of device memory while allocating 131072 bytes"]);
    assert_eq!(folder.names(), ["in"]);
}
