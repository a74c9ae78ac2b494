//! The cases of `scripts/kernel-report`: what each kernel is measured at.
//!
//! Every case is launched once at an aligned shape larger than those of `tests/cuda.rs`, and its
//! bytes are compared with the reference. With `BLOCKSCALE_KERNEL_CASES` set to a folder, the
//! images and a line of JSON for each case are written there; which entry a case used, and what
//! it executed, stands in the emulator's log. Where the emulator executes nothing
//! (`BLOCKSCALE_EMULATOR_DRY=1`), the same is launched at the size of a large tensor, which tells
//! how many threads it would get there.
#![cfg(feature = "cuda")]

use blockscale::cuda::{CudaError, Device, DeviceReal, IMAGES};
use blockscale::format::Format;
use blockscale::numerics::{Hadamard, Profile, Rounding, Stochastic, philox4x32_10};
use blockscale::{Axis, Backend, Quantize, Rotate};
use half::{bf16, f16};
use std::path::PathBuf;

/// Rows and K of every case: whole blocks of every named format, aligned to 16 bytes.
const SHAPE: [usize; 2] = [16, 4096];
/// The shape of dry launches: a layer of a large model.
const LARGE: [usize; 2] = [4096, 8192];

/// The shape of rotations along rows: as many elements, whole tiles.
const SQUARE: [usize; 2] = [256, 256];

/// Why a case is measured, but not held to the goals of fast kernels.
fn exempt(_verb: &str, _format: &str, _dtype: &str, _rounding: &str) -> Option<&'static str> {
    None
}

/// How the cases are run, and what is written of them.
struct Run {
    device: Device,
    shape: [usize; 2],
    /// Nothing is executed, so there are no bytes to compare.
    dry: bool,
    folder: Option<PathBuf>,
    lines: String,
}

impl Run {
    fn new(device: Device) -> Self {
        let dry = std::env::var("BLOCKSCALE_EMULATOR_DRY").is_ok_and(|v| v == "1");
        let folder = std::env::var_os("BLOCKSCALE_KERNEL_CASES").map(PathBuf::from);
        Self { device, shape: if dry { LARGE } else { SHAPE }, dry, folder, lines: String::new() }
    }

    fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Normal values, as weights and activations have them; zeros where nobody reads them.
    fn values<T: DeviceReal>(&self) -> Vec<T> {
        if self.dry {
            return vec![T::from_f32(0.0); self.elements()];
        }
        let normal = |i: usize| {
            let words = philox4x32_10([i as u32, 0, 0, 0], [3, 4]);
            let uniform = words.map(|word| (word as f64 + 0.5) / 4294967296.0);
            let radius = (-2.0 * uniform[0].ln()).sqrt();
            (radius * (std::f64::consts::TAU * uniform[1]).cos()) as f32
        };
        (0..self.elements()).map(|i| T::from_f32(normal(i))).collect()
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
            "elements": self.elements(), "read": read, "written": written,
            "launches": [first, Self::launches()],
        });
        self.lines += &format!("{case}\n");
    }

    fn write(&self) {
        let Some(folder) = &self.folder else { return };
        let images = folder.join("images");
        std::fs::create_dir_all(&images).unwrap();
        for image in IMAGES {
            let name = format!("{}.{}", image.unit, image.architecture);
            std::fs::write(images.join(format!("{name}.ptx")), image.ptx()).unwrap();
            let cubin = image.cubin().unwrap_or_default();
            std::fs::write(images.join(format!("{name}.cubin")), cubin).unwrap();
        }
        let architecture = self.device.images()[0].architecture;
        let kind = if self.dry { "large" } else { "small" };
        std::fs::write(folder.join(format!("{architecture}.{kind}.jsonl")), &self.lines).unwrap();
    }

    fn amax<T: DeviceReal>(&mut self, dtype: &str) {
        let x: Vec<T> = self.values();
        let on_device = self.device.upload(&x).unwrap();
        let first = Self::launches();
        let profile = Profile::default_for(Format::NVFP4);
        let got = self.device.amax(&profile, &on_device, &self.shape).unwrap();
        if !self.dry {
            let got = self.device.stream().clone_dtoh(&got).unwrap()[0];
            assert_eq!(got, blockscale::amax(&x));
        }
        self.case(["amax", "-", dtype, "-"], first, size_of_val(x.as_slice()), 0);
    }

    /// Every format by the largest rotation that is quantized at once, two by the smallest.
    fn quantize_rotated<T: DeviceReal>(&mut self, dtype: &str) {
        let of = |(format, size)| {
            let plain = Hadamard::new(size).unwrap();
            (format, Some(plain.with_drawn_signs(7, "kernel report")))
        };
        let largest = Format::NAMED.map(|(name, _)| of((name, 128)));
        let formats = [&largest[..], &[("nvfp4", 16), ("mxfp4", 16)].map(of)].concat();
        self.quantize_by::<T>("rotate-quantize", &formats, dtype);
    }

    fn quantize<T: DeviceReal>(&mut self, dtype: &str) {
        let formats = Format::NAMED.map(|(name, _)| (name, None));
        self.quantize_by::<T>("quantize", &formats, dtype);
    }

    fn quantize_by<T: DeviceReal>(
        &mut self,
        verb: &str,
        formats: &[(&str, Option<Hadamard>)],
        dtype: &str,
    ) {
        let x: Vec<T> = self.values();
        let on_device = self.device.upload(&x).unwrap();
        let amax = if self.dry { 0.0 } else { blockscale::amax(&x) };
        let roundings = [
            ("nearest", Rounding::Nearest),
            ("stochastic", Rounding::Stochastic(Stochastic::new(7, "kernel report"))),
        ];
        for (format, rotation) in formats {
            let profile = Profile::default_for(format.parse().unwrap());
            let format = match rotation {
                None => (*format).to_owned(),
                Some(hadamard) => format!("{format}-h{}", hadamard.size()),
            };
            for (rounding, choice) in roundings {
                let mut quantize = Quantize::new(profile).rounding(choice);
                if let Some(hadamard) = rotation {
                    quantize = quantize.rotated(*hadamard);
                }
                // Known beforehand, so that the case is one kernel.
                if profile.tensor_scale_name().is_some() {
                    quantize = quantize.tensor_amax(amax);
                }
                let first = Self::launches();
                let got = self.device.quantize(&quantize, &on_device, &self.shape).unwrap();
                let written = got.codes().len() + got.scales().len();
                let name = [verb, &format, dtype, rounding];
                self.case(name, first, size_of_val(x.as_slice()), written);
                if !self.dry {
                    let expected = quantize.backend(Backend::Reference).run(&x, &self.shape);
                    let got = got.download().unwrap();
                    assert_eq!(got, expected.unwrap(), "{format} {dtype} {rounding}");
                }
            }
        }
    }

    /// Back, which has signs last, of a few sizes along both axes.
    fn rotate<T: DeviceReal>(&mut self, dtype: &str) {
        let x: Vec<T> = self.values();
        let on_device = self.device.upload(&x).unwrap();
        for size in [16, 128, 256] {
            let hadamard = Hadamard::new(size).unwrap().with_drawn_signs(7, "kernel report");
            let rotate = Rotate::new(hadamard).inverse().backend(Backend::Reference);
            for (along, axis) in [("k", Axis::K), ("rows", Axis::Rows)] {
                let shape = if axis == Axis::K || self.dry { self.shape } else { SQUARE };
                let rotate = rotate.along(axis);
                let first = Self::launches();
                let got = self.device.rotate(&rotate, &on_device, &shape).unwrap();
                let bytes = size_of_val(x.as_slice());
                self.case(["rotate", &format!("h{size}-{along}"), dtype, "-"], first, bytes, bytes);
                if !self.dry {
                    let got = self.device.stream().clone_dtoh(&got).unwrap();
                    let expected = rotate.run(&x, &shape).unwrap();
                    let bits = |x: &[T]| x.iter().map(|x| x.to_f32().to_bits()).collect::<Vec<_>>();
                    assert!(bits(&got) == bits(&expected), "{size} along {along} {dtype}");
                }
            }
            let first = Self::launches();
            let profile = Profile::default_for(Format::NVFP4);
            let got =
                self.device.amax_rotated(&profile, hadamard, &on_device, &self.shape).unwrap();
            let name = ["rotate-amax", &format!("h{size}"), dtype, "-"];
            self.case(name, first, size_of_val(x.as_slice()), 0);
            if !self.dry {
                let got = self.device.stream().clone_dtoh(&got).unwrap()[0];
                let forward = Rotate::new(hadamard).backend(Backend::Reference);
                let rotated: Vec<f32> = forward.run_as(&x, &self.shape).unwrap();
                assert_eq!(got, blockscale::amax(&rotated));
            }
        }
    }

    fn dequantize<T: DeviceReal>(&mut self, dtype: &str) {
        let x: Vec<f32> = self.values();
        let on_device = self.device.upload(&x).unwrap();
        for (format, value) in Format::NAMED {
            let quantize = Quantize::new(Profile::default_for(value));
            let expected = (!self.dry).then(|| quantize.run(&x, &self.shape).unwrap());
            let q = match &expected {
                Some(expected) => self.device.upload_tensor(expected).unwrap(),
                None => self.device.quantize(&quantize, &on_device, &self.shape).unwrap(),
            };
            let first = Self::launches();
            let y = q.dequantize::<T>().unwrap();
            let name = ["dequantize", format, dtype, "-"];
            self.case(name, first, q.codes().len() + q.scales().len(), y.len() * size_of::<T>());
            if let Some(expected) = expected {
                let y = self.device.stream().clone_dtoh(&y).unwrap();
                let expected = expected.dequantize_with::<T>(Backend::Reference);
                let mut pairs = y.iter().zip(&expected);
                assert!(
                    pairs.all(|(y, expected)| y.to_f32().to_bits() == expected.to_f32().to_bits()),
                    "{format} to {dtype}"
                );
            }
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
    let mut run = Run::new(device);
    macro_rules! cases {
        ($($real:ty: $dtype:literal),+) => {$(
            run.quantize::<$real>($dtype);
            run.dequantize::<$real>($dtype);
            run.amax::<$real>($dtype);
            run.rotate::<$real>($dtype);
            run.quantize_rotated::<$real>($dtype);
        )+};
    }
    cases!(f32: "f32", bf16: "bf16", f16: "f16");
    run.write();
}
