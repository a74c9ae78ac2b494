//! `blockscale doctor`.

use crate::args::DoctorArgs;
use crate::backend;
use crate::failure::{Failure, one_line};
use crate::report::{self, Table};
use blockscale::Level;
use serde::Serialize;
use std::fmt;

pub fn run(args: DoctorArgs) -> Result<(), Failure> {
    let report = Report { version: env!("CARGO_PKG_VERSION"), cpu: cpu(), cuda: cuda() };
    report::print("doctor", args.json, &report)
}

#[derive(Serialize)]
struct Report {
    version: &'static str,
    cpu: Cpu,
    /// `None` in a build without feature `cuda`.
    cuda: Option<Cuda>,
}

#[derive(Serialize)]
struct Cpu {
    /// The level in use.
    level: String,
    /// Those that this processor has, the slowest first.
    available: Vec<&'static str>,
    /// Why the level that the environment asks for is not in use: commands that compute refuse it.
    error: Option<String>,
}

#[derive(Serialize)]
struct Cuda {
    /// The release of nvcc; `None` where nothing was compiled.
    toolkit: Option<String>,
    images: Vec<Image>,
    driver: Driver,
    devices: Vec<Device>,
}

#[derive(Serialize)]
struct Image {
    unit: &'static str,
    architecture: &'static str,
    ptx_bytes: usize,
    cubin_bytes: Option<usize>,
    kernels: Vec<String>,
}

#[derive(Serialize)]
struct Driver {
    found: bool,
    /// The newest CUDA that it supports.
    version: Option<String>,
    /// Older than the toolkit: it refuses the kernels.
    too_old: bool,
    error: Option<String>,
}

#[derive(Serialize)]
struct Device {
    ordinal: usize,
    name: String,
    capability: String,
    memory_bytes: u64,
    operations: Vec<Operation>,
}

#[derive(Serialize)]
struct Operation {
    operation: &'static str,
    unit: &'static str,
    /// The architecture of the image; `None` where none runs there.
    image: Option<&'static str>,
    /// `cubin` where the image has one (PTX is the fallback), else `ptx`.
    form: Option<&'static str>,
    kernels: Vec<String>,
}

fn cpu() -> Cpu {
    let available = Level::NAMED.into_iter().filter(|(_, level)| level.is_available());
    Cpu {
        level: Level::default().to_string(),
        available: available.map(|(name, _)| name).collect(),
        error: backend::level_of_environment().err(),
    }
}

#[cfg(not(feature = "cuda"))]
fn cuda() -> Option<Cuda> {
    None
}

#[cfg(feature = "cuda")]
fn cuda() -> Option<Cuda> {
    use blockscale::cuda;
    let found = cuda::report();
    let image = |image: &cuda::Image| Image {
        unit: image.unit,
        architecture: image.architecture,
        ptx_bytes: image.ptx().len(),
        cubin_bytes: image.cubin().map(|cubin| cubin.len()),
        kernels: image.entries(),
    };
    let operation = |choice: cuda::Choice| Operation {
        operation: choice.operation,
        unit: choice.unit,
        image: choice.image.map(|image| image.architecture),
        form: choice.image.map(|image| if image.has_cubin() { "cubin" } else { "ptx" }),
        kernels: choice.image.map(cuda::Image::entries).unwrap_or_default(),
    };
    let device = |device: &cuda::DeviceReport| Device {
        ordinal: device.ordinal,
        name: device.name.clone(),
        capability: format!("{}.{}", device.capability.0, device.capability.1),
        memory_bytes: device.memory,
        operations: device.choices().into_iter().map(operation).collect(),
    };
    let too_old = found.driver_is_too_old();
    let (driver, devices) = match &found.driver {
        Ok(driver) => {
            let version = Some(format!("{}.{}", driver.version.0, driver.version.1));
            let devices = driver.devices.iter().map(device).collect();
            (Driver { found: true, version, too_old, error: None }, devices)
        }
        Err(error) => {
            let found = !matches!(error, cuda::CudaError::NoDriver(_));
            let error = Some(error.to_string());
            (Driver { found, version: None, too_old, error }, Vec::new())
        }
    };
    let images = found.images.iter().map(image).collect();
    Some(Cuda { toolkit: found.toolkit, images, driver, devices })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "blockscale {}", self.version)?;
        write!(f, "{}", self.cpu)?;
        match &self.cuda {
            Some(cuda) => write!(f, "{cuda}"),
            None => writeln!(
                f,
                "no CUDA: this build is without feature `cuda`; install it with --features cli,cuda"
            ),
        }
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "CPU: level {}; this processor has {}", self.level, self.available.join(", "))?;
        match &self.error {
            Some(error) => writeln!(f, "{}; commands that compute refuse it", one_line(error)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Cuda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.images.is_empty() {
            writeln!(
                f,
                "kernels: none; this build was compiled without nvcc; set CUDA_HOME or NVCC and \
                 build again"
            )?;
        } else {
            writeln!(
                f,
                "kernels: compiled by CUDA {}\n",
                self.toolkit.as_deref().unwrap_or("of no name")
            )?;
            let mut table =
                Table::new(&["unit", "architecture", ">PTX bytes", ">cubin bytes", ">kernels"]);
            for image in &self.images {
                table.row([
                    image.unit.to_owned(),
                    image.architecture.to_owned(),
                    image.ptx_bytes.to_string(),
                    image.cubin_bytes.map_or(report::nothing(), |bytes| bytes.to_string()),
                    image.kernels.len().to_string(),
                ]);
            }
            writeln!(f, "{table}")?;
        }
        match (&self.driver.version, &self.driver.error) {
            (_, Some(error)) => writeln!(f, "driver: {}", one_line(error))?,
            (version, None) => {
                writeln!(f, "driver: for CUDA {}", version.as_deref().unwrap_or("?"))?;
            }
        }
        if self.driver.too_old {
            writeln!(
                f,
                "the driver is older than the kernels and refuses them: install a newer one"
            )?;
        }
        if self.driver.error.is_none() && self.devices.is_empty() {
            writeln!(f, "devices: the driver sees none")?;
        }
        for device in &self.devices {
            writeln!(
                f,
                "\ndevice {}: {}, compute capability {}, {:.1} GiB\n",
                device.ordinal,
                one_line(&device.name),
                device.capability,
                device.memory_bytes as f64 / (1u64 << 30) as f64,
            )?;
            let mut table = Table::new(&["operation", "image", "form", "kernels"]);
            for operation in &device.operations {
                let image = match operation.image {
                    Some(architecture) => format!("{} for {architecture}", operation.unit),
                    None => "none runs there".to_owned(),
                };
                table.row([
                    operation.operation.to_owned(),
                    image,
                    operation.form.map_or(report::nothing(), str::to_owned),
                    operation.kernels.join(" "),
                ]);
            }
            write!(f, "{table}")?;
        }
        Ok(())
    }
}
