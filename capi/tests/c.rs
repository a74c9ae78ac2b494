//! A C program over the header and the libraries: compiled here, run on the machine's driver or on
//! the emulator.
#![cfg(target_os = "linux")]

use blockscale::format::Format;
use blockscale::layout::{Scales, Tiled128x4};
use blockscale::numerics::{DrawBits, Profile, Rounding, Stochastic, TensorScale};
use blockscale::{Quantize, QuantizedTensor};
use blockscale_capi::{DequantizeArguments, Input, QuantizeArguments, Status};
use std::collections::BTreeMap;
use std::env;
use std::mem::offset_of;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use tempfile::TempDir;

/// A library that was built beside this test.
fn built(name: &str) -> PathBuf {
    let test = env::current_exe().unwrap();
    let folder = test.parent().unwrap();
    let places = [folder.join(name), folder.parent().unwrap().join(name)];
    let built = places.into_iter().filter(|place| place.exists());
    built
        .max_by_key(|place| place.metadata().and_then(|data| data.modified()).ok())
        .expect("the library is built with the test")
}

fn compiler(variable: &str, default: &str) -> Command {
    Command::new(env::var_os(variable).unwrap_or_else(|| default.into()))
}

fn done(output: Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// The program over the shared library, and over the static one. Those of the folder that
/// `BLOCKSCALE_C_PROGRAMS` names, made there if need be, can be carried to another machine with it.
fn programs() -> &'static [PathBuf; 2] {
    static BUILT: OnceLock<(TempDir, [PathBuf; 2])> = OnceLock::new();
    let (_, programs) = BUILT.get_or_init(|| {
        let temporary = tempfile::tempdir().unwrap();
        let kept = env::var_os("BLOCKSCALE_C_PROGRAMS").map(PathBuf::from);
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let programs = ["libblockscale_capi.so", "libblockscale_capi.a"].map(|name| {
            let folder = kept.as_deref().unwrap_or(temporary.path());
            let program = folder.join(name.replace('.', "_"));
            if program.exists() {
                return program;
            }
            let library = folder.join(name);
            std::fs::copy(built(name), &library).unwrap();
            let mut cc = compiler("CC", "cc");
            cc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-I"]).arg(package.join("include"));
            cc.arg(package.join("tests/quantize.c"))
                .arg("-L")
                .arg(folder)
                .arg(format!("-l:{name}"));
            cc.arg("-Wl,-rpath,$ORIGIN");
            cc.args(["-ldl", "-lm", "-lpthread", "-lgcc_s", "-o"]).arg(&program);
            done(cc.output().expect("a C compiler"));
            if name.ends_with(".a") {
                std::fs::remove_file(library).unwrap(); // it is in the program
            }
            program
        });
        (temporary, programs)
    });
    programs
}

fn run(program: &Path, words: &[&str]) -> String {
    done(Command::new(program).args(words).output().unwrap())
}

#[test]
fn structs_of_the_header_are_those_of_the_library() {
    macro_rules! lines {
        ($($name:literal $type:ty, $($member:ident)+;)+) => {
            [$(
                vec![format!("{} {}", $name, size_of::<$type>())],
                vec![$(format!("{}.{} {}", $name, stringify!($member), offset_of!($type, $member))),+],
            )+].concat()
        };
    }
    type RoundingArguments = blockscale_capi::Rounding;
    let mut expected = vec![format!("blockscale_status {}", size_of::<Status>())];
    expected.extend(lines! {
        "blockscale_input" Input, shape rank dtype row_stride batch_stride;
        "blockscale_rounding" RoundingArguments, name bits stream step row_offset column_offset;
        "blockscale_quantize_arguments" QuantizeArguments,
            profile rounding x blocks amax amax_pointer amax_value codes scales tensor_scale;
        "blockscale_dequantize_arguments" DequantizeArguments,
            profile shape rank dtype codes scales tensor_scale y;
    });
    let printed = run(&programs()[0], &["layout"]);
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn status_codes_of_the_header_are_those_of_the_library() {
    let header = include_str!("../include/blockscale.h");
    let statuses = [
        ("OK", Status::Ok),
        ("ERROR_ARGUMENT", Status::Argument),
        ("ERROR_NO_DRIVER", Status::NoDriver),
        ("ERROR_NO_DEVICE", Status::NoDevice),
        ("ERROR_KERNELS_NOT_COMPILED", Status::KernelsNotCompiled),
        ("ERROR_NO_IMAGE", Status::NoImage),
        ("ERROR_DRIVER_TOO_OLD", Status::DriverTooOld),
        ("ERROR_OUT_OF_MEMORY", Status::OutOfMemory),
        ("ERROR_MISALIGNED", Status::Misaligned),
        ("ERROR_OVERLAP", Status::Overlap),
        ("ERROR_CONTEXT", Status::Context),
        ("ERROR_CAPTURE", Status::Capture),
        ("ERROR_DRIVER", Status::Driver),
        ("ERROR_INTERNAL", Status::Internal),
    ];
    for (name, status) in statuses {
        let value = format!("BLOCKSCALE_{name} = {}", status as i32);
        let found = header.lines().any(|line| {
            line.trim_start()
                .strip_prefix(&value)
                .is_some_and(|rest| rest.starts_with([',', ' ']) || rest.is_empty())
        });
        assert!(found, "{value}");
    }
    assert_eq!(header.matches("\n    BLOCKSCALE_ERROR_").count() + 1, statuses.len());
}

#[test]
fn mistakes_without_a_device_have_messages() {
    // A driver that is no library, whatever the machine has.
    let folder = tempfile::tempdir().unwrap();
    for name in ["libcuda.so", "libcuda.so.1"] {
        std::fs::write(folder.path().join(name), b"").unwrap();
    }
    for program in programs() {
        let output =
            Command::new(program).arg("errors").env("LD_LIBRARY_PATH", folder.path()).output();
        let printed = done(output.unwrap());
        let expected = format!("{} no CUDA driver: ", Status::NoDriver as i32);
        assert!(printed.starts_with(&expected), "{printed}");
    }
}

#[test]
fn the_header_is_cpp_too() {
    let header = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/blockscale.h");
    let mut cxx = compiler("CXX", "c++");
    cxx.args(["-std=c++11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c++"])
        .arg(header);
    done(cxx.output().expect("a C++ compiler"));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn c_gets_the_references_bytes() {
    if env::var("BLOCKSCALE_REQUIRE_DEVICE") != Ok("1".to_owned()) {
        return;
    }
    let memory: Vec<f32> = (0..400).map(|i| (i * 37 % 101 - 50) as f32 / 16.0).collect();
    let rows = |starts: [usize; 6]| -> Vec<f32> {
        starts.iter().flat_map(|start| &memory[*start..start + 40]).copied().collect()
    };
    let x = rows([0, 48, 96, 200, 248, 296]);
    let draws =
        Stochastic::new(7, "w").with_bits(DrawBits::Sixteen).with_step(3).with_offset(64, 0);
    let cases = [
        ("nvfp4", "transformer-engine"),
        ("nvfp4", "torchao"),
        ("mxfp8-e4m3", "rceil"),
        ("mxfp4", "ocp"),
        ("fp4-ue5m3-tensor", "two-level"),
    ];
    for (format, name) in cases {
        let profile = Profile::named(format.parse::<Format>().unwrap(), name).unwrap();
        let quantize = Quantize::new(profile);
        let q = quantize.rounding(Rounding::Stochastic(draws)).run(&x, &[2, 3, 40]).unwrap();
        let repeated = quantize.run(&rows([0, 48, 96, 0, 48, 96]), &[2, 3, 40]).unwrap();
        let stores = if q.tensor_scale().is_some() { "1" } else { "0" };
        for program in programs() {
            let printed = run(program, &["run", format, name, stores]);
            let printed: BTreeMap<_, _> =
                printed.lines().filter_map(|line| line.split_once(' ')).collect();
            compare(&printed, &q, &repeated, &x);
        }
    }
}

fn compare(
    printed: &BTreeMap<&str, &str>,
    q: &QuantizedTensor,
    repeated: &QuantizedTensor,
    x: &[f32],
) {
    let label = format!("{} {}", q.format(), q.profile());
    assert_eq!(printed["codes"], hex(q.codes().as_bytes()), "{label}");
    assert_eq!(printed["scales"], hex(q.scales().as_bytes()), "{label}");
    let stored = q.tensor_scale().map(TensorScale::value).map(|scale| hex(&scale.to_le_bytes()));
    assert_eq!(printed.get("tensor_scale").map(|text| text.to_string()), stored, "{label}");
    assert_eq!(printed["amax"], hex(&blockscale::amax(x).to_le_bytes()), "{label}");
    let y: Vec<u8> =
        q.dequantize::<half::bf16>().iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(printed["y"], hex(&y), "{label}");
    let tiled: Scales<Tiled128x4> = q.scales().view().relayout().unwrap();
    assert_eq!(printed["tiled"], hex(tiled.as_bytes()), "{label}");
    assert_eq!(printed["repeated"], hex(repeated.codes().as_bytes()), "{label}");
}
