//! Compiles `kernels/*.cu` to PTX, and to cubins where ptxas is there, and writes the table of
//! images. Without nvcc, and on docs.rs, the table is empty and the crate builds all the same.
//!
//! | variable | meaning |
//! |---|---|
//! | `NVCC` | the compiler to use |
//! | `CUDA_HOME`, `CUDA_PATH` | a toolkit whose `bin/nvcc` to use; else nvcc of PATH, else that of the Python package `nvidia/cu13` |
//! | `BLOCKSCALE_CUDA_ARCHS` | architectures, `80;90a;100a;103a;120a` by default |
//! | `BLOCKSCALE_REQUIRE_NVCC` | `1`: without nvcc the build fails |

use std::env;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const UNITS: [&str; 9] = [
    "amax",
    "dequantize",
    "dequantize_blocks",
    "quantize",
    "quantize_blocks",
    "quantize_grouped",
    "quantize_rotated",
    "relayout",
    "rotate",
];
const ARCHITECTURES: &str = "80;90a;100a;103a;120a";

/// Each product and quotient rounds once: no contraction, no flush to zero, no fast division.
const FLAGS: [&str; 6] =
    ["-O3", "-std=c++17", "-fmad=false", "-ftz=false", "-prec-div=true", "-prec-sqrt=true"];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    println!("cargo:rerun-if-changed=kernels");
    for variable in [
        "NVCC",
        "CUDA_HOME",
        "CUDA_PATH",
        "PATH",
        "BLOCKSCALE_CUDA_ARCHS",
        "BLOCKSCALE_REQUIRE_NVCC",
        "DOCS_RS",
    ] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let nvcc = match env::var_os("DOCS_RS") {
        Some(_) => None,
        None => find_nvcc(),
    };
    let table = match nvcc {
        Some(nvcc) => compile(&nvcc, &out),
        None if env::var("BLOCKSCALE_REQUIRE_NVCC").is_ok_and(|v| v == "1") => panic!(
            "BLOCKSCALE_REQUIRE_NVCC=1, but no nvcc was found by NVCC, CUDA_HOME, CUDA_PATH, PATH or \
             as the Python package nvidia/cu13"
        ),
        None => {
            println!("cargo:warning=nvcc not found: built without CUDA kernels");
            String::new()
        }
    };
    let table =
        format!("/// Every image of this build.\npub static IMAGES: &[Image] = &[\n{table}];\n");
    std::fs::write(out.join("images.rs"), table).expect("OUT_DIR is writable");
}

/// The first compiler that answers.
fn find_nvcc() -> Option<PathBuf> {
    let home = |variable| env::var_os(variable).map(|home| PathBuf::from(home).join("bin/nvcc"));
    let candidates = [env::var_os("NVCC").map(PathBuf::from), home("CUDA_HOME"), home("CUDA_PATH")];
    let answers = |nvcc: &PathBuf| {
        Command::new(nvcc).arg("--version").output().is_ok_and(|output| output.status.success())
    };
    let named = candidates.into_iter().flatten().chain([PathBuf::from("nvcc")]).find(answers);
    named.or_else(|| python_nvcc().filter(answers))
}

/// nvcc of the Python package, if a Python is there that has it.
fn python_nvcc() -> Option<PathBuf> {
    let program = "import nvidia.cu13 as m; print(list(m.__path__)[0])";
    let output = Command::new("python3").args(["-c", program]).output().ok()?;
    let folder = String::from_utf8(output.stdout).ok()?;
    (!folder.trim().is_empty()).then(|| Path::new(folder.trim()).join("bin/nvcc"))
}

/// Compiles every unit for every architecture; returns the rows of the table.
fn compile(nvcc: &Path, out: &Path) -> String {
    let list = env::var("BLOCKSCALE_CUDA_ARCHS").unwrap_or_else(|_| ARCHITECTURES.to_owned());
    let mut jobs = Vec::new();
    for architecture in list.split([';', ',', ' ']).filter(|name| !name.is_empty()) {
        let capability = capability(architecture).unwrap_or_else(|| {
            panic!("BLOCKSCALE_CUDA_ARCHS: '{architecture}' is not like 80, 90a or 120f")
        });
        jobs.extend(UNITS.map(|unit| (unit, architecture, capability)));
    }
    // nvcc is mostly one thread: as many at once as cargo allows.
    let workers = env::var("NUM_JOBS").ok().and_then(|n| n.parse().ok()).unwrap_or(1usize);
    let next = std::sync::atomic::AtomicUsize::new(0);
    let rows = std::sync::Mutex::new(vec![String::new(); jobs.len()]);
    std::thread::scope(|scope| {
        for _ in 0..workers.min(jobs.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some(job) = jobs.get(at) else { break };
                    let row = compile_one(nvcc, out, job);
                    rows.lock().expect("no worker panicked while holding it")[at] = row;
                }
            });
        }
    });
    let architectures: Vec<_> =
        list.split([';', ',', ' ']).filter(|name| !name.is_empty()).collect();
    println!("cargo:warning=CUDA kernels compiled for {}", architectures.join(", "));
    rows.into_inner().expect("no worker panicked").concat()
}

fn compile_one(nvcc: &Path, out: &Path, job: &(&str, &str, (u32, u32))) -> String {
    let (unit, architecture, (major, minor)) = job;
    let source = format!("kernels/{unit}.cu");
    let ptx = out.join(format!("{unit}.{architecture}.ptx"));
    run(nvcc, &["-ptx", &format!("-arch=compute_{architecture}"), &source], &ptx);
    let packed = pack(&ptx);
    let mut row = String::new();
    let _ = write!(
        row,
        "    Image {{ unit: {unit:?}, architecture: {architecture:?}, capability: ({major}, {minor}), \
         packed_ptx: include_bytes!({packed:?}), packed_cubin: "
    );
    // A toolkit without ptxas still gives PTX, which the driver compiles.
    let ptxas = nvcc.with_file_name("ptxas");
    let cubin = out.join(format!("{unit}.{architecture}.cubin"));
    if ptxas.exists() || nvcc == Path::new("nvcc") {
        let text = ptx.to_str().expect("cargo's paths are UTF-8 where this crate builds");
        run(nvcc, &["-cubin", &format!("-arch=sm_{architecture}"), text], &cubin);
        let _ = writeln!(row, "Some(include_bytes!({:?})) }},", pack(&cubin));
    } else {
        row += "None },\n";
    }
    row
}

/// Packs a file (zlib) beside itself.
#[cfg(feature = "cuda")]
fn pack(file: &Path) -> PathBuf {
    let bytes = std::fs::read(file).expect("the compiler wrote it");
    let packed = PathBuf::from(format!("{}.z", file.display()));
    std::fs::write(&packed, miniz_oxide::deflate::compress_to_vec_zlib(&bytes, 7))
        .expect("OUT_DIR is writable");
    packed
}

#[cfg(not(feature = "cuda"))]
fn pack(_: &Path) -> PathBuf {
    unreachable!("nothing is compiled without the feature `cuda`")
}

fn run(nvcc: &Path, arguments: &[&str], output: &Path) {
    let output = [OsStr::new("-o"), output.as_os_str()];
    let status = Command::new(nvcc).args(FLAGS).args(arguments).args(output).status();
    match status {
        Ok(status) if status.success() => {}
        other => panic!("{} {} failed: {other:?}", nvcc.display(), arguments.join(" ")),
    }
}

/// The compute capability of an architecture such as `90a`: (9, 0).
fn capability(architecture: &str) -> Option<(u32, u32)> {
    let digits = architecture.trim_end_matches(['a', 'f']);
    let number: u32 = digits.parse().ok()?;
    (number >= 50 && architecture.len() - digits.len() <= 1).then_some((number / 10, number % 10))
}
