//! What this build and this machine have: images, driver, devices, and which image serves which.

use super::driver::require_driver;
use super::{CudaError, IMAGES, Image, image_for};
use cudarc::driver::sys::{self, CUdevice_attribute as Attribute};
use cudarc::driver::{DriverError, result};

type Result<T> = std::result::Result<T, CudaError>;

/// The operations that have kernels. Each is a unit of [`IMAGES`] or the start of a unit's name.
pub const OPERATIONS: [&str; 5] = ["amax", "quantize", "dequantize", "relayout", "rotate"];

/// What [`report`] found.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// The release of nvcc that compiled the images, as `13.0.88`; `None` where there are none.
    pub toolkit: Option<String>,
    /// Every image of this build.
    pub images: &'static [Image],
    /// The driver, or why there is none that answers.
    pub driver: Result<DriverReport>,
}

/// A driver that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DriverReport {
    /// The newest CUDA that it supports: (13, 0).
    pub version: (u32, u32),
    /// Its devices, by ordinal.
    pub devices: Vec<DeviceReport>,
}

/// A device that the driver sees.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceReport {
    /// The number that [`Device::new`](super::Device::new) takes.
    pub ordinal: usize,
    /// What the driver calls it.
    pub name: String,
    /// Its compute capability: (9, 0).
    pub capability: (u32, u32),
    /// Bytes of its memory.
    pub memory: u64,
}

/// What an operation runs on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Choice {
    /// One of [`OPERATIONS`].
    pub operation: &'static str,
    /// The unit of kernels.
    pub unit: &'static str,
    /// The image that [`Device::new`](super::Device::new) loads; `None` where none runs there.
    pub image: Option<&'static Image>,
}

/// Looks at this build, the driver and its devices; creates no context and loads no kernel.
///
/// A missing driver, a missing device and missing kernels are findings, never an error or a panic.
///
/// ```
/// let report = blockscale::cuda::report();
/// assert_eq!(report.images.is_empty(), report.toolkit.is_none());
/// match &report.driver {
///     Ok(driver) => println!("CUDA {}.{}", driver.version.0, driver.version.1),
///     Err(error) => println!("{error}"),
/// }
/// ```
pub fn report() -> Report {
    let toolkit = IMAGES.iter().find_map(Image::toolkit);
    Report { toolkit, images: IMAGES, driver: driver() }
}

impl Report {
    /// Whether the driver is of an older major release than the toolkit: it refuses every image,
    /// with [`CudaError::DriverTooOld`].
    pub fn driver_is_too_old(&self) -> bool {
        let major = |release: &str| release.split('.').next().and_then(|n| n.parse::<u32>().ok());
        match (&self.driver, self.toolkit.as_deref().and_then(major)) {
            (Ok(driver), Some(toolkit)) => driver.version.0 < toolkit,
            _ => false,
        }
    }
}

impl DeviceReport {
    /// For each operation, the image that would be loaded.
    ///
    /// ```
    /// # use blockscale::cuda::report;
    /// for device in report().driver.map(|driver| driver.devices).unwrap_or_default() {
    ///     for choice in device.choices() {
    ///         println!("{}: {:?}", choice.operation, choice.image.map(|image| image.architecture));
    ///     }
    /// }
    /// ```
    pub fn choices(&self) -> Vec<Choice> {
        let of = |operation: &'static str| {
            let mut units: Vec<_> = IMAGES.iter().map(|image| image.unit).collect();
            units.retain(|unit| unit.split('_').next() == Some(operation));
            units.sort_unstable();
            units.dedup();
            let units = if units.is_empty() { vec![operation] } else { units };
            let capability = self.capability;
            units.into_iter().map(move |unit| Choice {
                operation,
                unit,
                image: image_for(unit, capability),
            })
        };
        OPERATIONS.into_iter().flat_map(of).collect()
    }
}

impl Image {
    /// The release of nvcc that made it, as `13.0.88`.
    pub fn toolkit(&self) -> Option<String> {
        release(&self.ptx())
    }
}

fn release(ptx: &str) -> Option<String> {
    let line = ptx.lines().find(|line| line.contains("compilation tools, release"))?;
    Some(line.rsplit_once(", V")?.1.trim().to_owned())
}

fn driver() -> Result<DriverReport> {
    require_driver()?;
    let mut version = 0;
    // SAFETY: a driver is loaded; it writes one integer.
    unsafe { sys::cuDriverGetVersion(&mut version) }
        .result()
        .map_err(CudaError::driver("cuDriverGetVersion"))?;
    let version = version.max(0) as u32;
    let devices = (0..device_count()?).map(device).collect::<Result<_>>()?;
    Ok(DriverReport { version: (version / 1000, version % 1000 / 10), devices })
}

/// How many devices the driver sees; a driver without any is no error.
pub(super) fn device_count() -> Result<usize> {
    match result::init().and_then(|()| result::device::get_count()) {
        Ok(count) => Ok(count.max(0) as usize),
        Err(DriverError(sys::cudaError_enum::CUDA_ERROR_NO_DEVICE)) => Ok(0),
        Err(error) => Err(CudaError::driver("cuDeviceGetCount")(error)),
    }
}

fn device(ordinal: usize) -> Result<DeviceReport> {
    let failed = CudaError::driver("cuDeviceGet");
    let device = result::device::get(ordinal as i32).map_err(&failed)?;
    // SAFETY: the driver gave the device.
    let attribute = |which| unsafe { result::device::get_attribute(device, which) };
    let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
    let minor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
    let capability = (major.map_err(&failed)? as u32, minor.map_err(&failed)? as u32);
    let name = result::device::get_name(device).map_err(&failed)?;
    // SAFETY: as above.
    let memory = unsafe { result::device::total_mem(device) }.map_err(&failed)? as u64;
    Ok(DeviceReport { ordinal, name, capability, memory })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ptx_names_its_toolkit() {
        let ptx = "//\n// Cuda compilation tools, release 13.0, V13.0.88\n.version 9.0\n";
        assert_eq!(release(ptx).as_deref(), Some("13.0.88"));
        assert_eq!(release(".version 9.0"), None);
        for image in IMAGES {
            assert!(image.toolkit().is_some(), "{image:?}");
        }
    }

    #[test]
    fn a_driver_of_an_older_release_is_noticed() {
        let report = |toolkit: Option<&str>, version| Report {
            toolkit: toolkit.map(str::to_owned),
            images: &[],
            driver: Ok(DriverReport { version, devices: vec![] }),
        };
        assert!(report(Some("13.0.88"), (12, 9)).driver_is_too_old());
        assert!(!report(Some("13.5.37"), (13, 0)).driver_is_too_old());
        assert!(!report(Some("13.0.88"), (14, 1)).driver_is_too_old());
        assert!(!report(None, (12, 9)).driver_is_too_old());
        let missing = Err(CudaError::NoDriver(String::new()));
        assert!(!Report { driver: missing, ..report(Some("13.0.88"), (0, 0)) }.driver_is_too_old());
    }

    #[test]
    fn every_operation_has_a_choice_on_every_device() {
        for capability in [(7, 5), (8, 0), (9, 0), (12, 1)] {
            let device = DeviceReport { ordinal: 0, name: String::new(), capability, memory: 0 };
            let choices = device.choices();
            for operation in OPERATIONS {
                let choice = choices.iter().find(|choice| choice.operation == operation).unwrap();
                assert_eq!(choice.image, image_for(choice.unit, capability));
                assert!(choice.image.is_none_or(|image| image.runs_on(capability)));
            }
        }
    }
}
