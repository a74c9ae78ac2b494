//! The cases of `scripts/kernel-report`: what each kernel is measured at.
//!
//! Every case is launched once at an aligned shape larger than those of `tests/cuda.rs`, and its
//! bytes are compared with the reference. With `BLOCKSCALE_KERNEL_CASES` set to a folder, the
//! images and a line of JSON for each case are written there; which entry a case used, and what
//! it executed, stands in the emulator's log.
#![cfg(feature = "cuda")]

use blockscale::cuda::{CudaError, Device, DeviceReal, IMAGES};
use blockscale::format::Format;
use blockscale::numerics::{Profile, Rounding, Stochastic, philox4x32_10};
use blockscale::{Backend, Quantize};
use half::{bf16, f16};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Rows and K of every case: whole blocks of every named format, aligned to 16 bytes.
const SHAPE: [usize; 2] = [16, 4096];
const ELEMENTS: usize = SHAPE[0] * SHAPE[1];

/// Why a case is measured, but not held to the goals of fast kernels.
fn exempt(_verb: &str, _format: &str, _dtype: &str, _rounding: &str) -> Option<&'static str> {
    None
}

/// Where the cases are written.
struct Report {
    folder: PathBuf,
    lines: String,
}

impl Report {
    fn from_environment() -> Option<Self> {
        let folder = PathBuf::from(std::env::var_os("BLOCKSCALE_KERNEL_CASES")?);
        Some(Self { folder, lines: String::new() })
    }

    /// Launches so far: the emulator writes a line for each.
    fn launches() -> usize {
        let log = std::env::var_os("BLOCKSCALE_EMULATOR_LOG");
        log.and_then(|log| std::fs::read(log).ok())
            .map_or(0, |text| text.iter().filter(|byte| **byte == b'\n').count())
    }

    /// One case: its name in parts, the launches that belong to it, and the bytes that it must
    /// read and write at least.
    fn case(&mut self, name: [&str; 4], first: usize, read: usize, written: usize) {
        let [verb, format, dtype, rounding] = name;
        let case = serde_json::json!({
            "verb": verb, "format": format, "dtype": dtype, "rounding": rounding,
            "exempt": exempt(verb, format, dtype, rounding),
            "elements": ELEMENTS, "read": read, "written": written,
            "launches": [first, Self::launches()],
        });
        self.lines += &format!("{case}\n");
    }

    fn write(&self, device: &Device) {
        let images = self.folder.join("images");
        std::fs::create_dir_all(&images).unwrap();
        let write = |path: &Path, bytes: &[u8]| {
            std::fs::File::create(path).and_then(|mut file| file.write_all(bytes)).unwrap();
        };
        for image in IMAGES {
            let name = format!("{}.{}", image.unit, image.architecture);
            write(&images.join(format!("{name}.ptx")), image.ptx().as_bytes());
            write(&images.join(format!("{name}.cubin")), &image.cubin().unwrap_or_default());
        }
        let architecture = device.images()[0].architecture;
        write(&self.folder.join(format!("{architecture}.jsonl")), self.lines.as_bytes());
    }
}

/// Normal values, as weights and activations have them.
fn values<T: DeviceReal>() -> Vec<T> {
    let normal = |i: usize| {
        let words = philox4x32_10([i as u32, 0, 0, 0], [3, 4]);
        let uniform = words.map(|word| (word as f64 + 0.5) / 4294967296.0);
        let radius = (-2.0 * uniform[0].ln()).sqrt();
        (radius * (std::f64::consts::TAU * uniform[1]).cos()) as f32
    };
    (0..ELEMENTS).map(|i| T::from_f32(normal(i))).collect()
}

fn amax<T: DeviceReal>(device: &Device, dtype: &str, report: &mut Option<Report>) {
    let x: Vec<T> = values();
    let on_device = device.upload(&x).unwrap();
    let first = Report::launches();
    let got = device.amax(&Profile::default_for(Format::NVFP4), &on_device, &SHAPE).unwrap();
    assert_eq!(device.stream().clone_dtoh(&got).unwrap()[0], blockscale::amax(&x));
    if let Some(report) = report {
        report.case(["amax", "-", dtype, "-"], first, size_of_val(x.as_slice()), 0);
    }
}

fn quantize<T: DeviceReal>(device: &Device, dtype: &str, report: &mut Option<Report>) {
    let x: Vec<T> = values();
    let on_device = device.upload(&x).unwrap();
    let roundings = [
        ("nearest", Rounding::Nearest),
        ("stochastic", Rounding::Stochastic(Stochastic::new(7, "kernel report"))),
    ];
    for (format, value) in Format::NAMED {
        let profile = Profile::default_for(value);
        for (rounding, choice) in roundings {
            let mut quantize = Quantize::new(profile).rounding(choice);
            // Known beforehand, so that the case is one kernel.
            if profile.tensor_scale_name().is_some() {
                quantize = quantize.tensor_amax(blockscale::amax(&x));
            }
            let expected = quantize.backend(Backend::Reference).run(&x, &SHAPE).unwrap();
            let first = Report::launches();
            let got = device.quantize(&quantize, &on_device, &SHAPE).unwrap();
            assert_eq!(got.download().unwrap(), expected, "{format} {dtype} {rounding}");
            if let Some(report) = report {
                let name = ["quantize", format, dtype, rounding];
                report.case(name, first, size_of_val(x.as_slice()), expected.stored_bytes());
            }
        }
    }
}

fn dequantize<T: DeviceReal>(device: &Device, dtype: &str, report: &mut Option<Report>) {
    let x: Vec<f32> = values();
    for (format, value) in Format::NAMED {
        let q = Quantize::new(Profile::default_for(value)).run(&x, &SHAPE).unwrap();
        let on_device = device.upload_tensor(&q).unwrap();
        let first = Report::launches();
        let y = device.stream().clone_dtoh(&on_device.dequantize::<T>().unwrap()).unwrap();
        let expected = q.dequantize_with::<T>(Backend::Reference);
        assert!(
            y.iter()
                .zip(&expected)
                .all(|(y, expected)| y.to_f32().to_bits() == expected.to_f32().to_bits()),
            "{format} to {dtype}"
        );
        if let Some(report) = report {
            let name = ["dequantize", format, dtype, "-"];
            report.case(name, first, q.stored_bytes(), size_of_val(y.as_slice()));
        }
    }
}

#[test]
fn every_case_gives_the_references_bytes() {
    let device = match Device::new(0) {
        Ok(device) => device,
        Err(
            CudaError::NoDriver(_) | CudaError::NoDevice { .. } | CudaError::KernelsNotCompiled,
        ) if std::env::var_os("BLOCKSCALE_KERNEL_CASES").is_none() => return,
        Err(error) => panic!("{error}"),
    };
    let mut report = Report::from_environment();
    macro_rules! cases {
        ($($real:ty: $dtype:literal),+) => {$(
            quantize::<$real>(&device, $dtype, &mut report);
            dequantize::<$real>(&device, $dtype, &mut report);
            amax::<$real>(&device, $dtype, &mut report);
        )+};
    }
    cases!(f32: "f32", bf16: "bf16", f16: "f16");
    if let Some(report) = report {
        report.write(&device);
    }
}
