//! What was measured on, and when.

use crate::Result;
use blockscale::cuda::{Device, report};
use cudarc::driver::sys::CUdevice_attribute as Attribute;
use std::time::{SystemTime, UNIX_EPOCH};

pub struct Machine {
    pub device: String,
    pub capability: (u32, u32),
    pub l2_bytes: usize,
    /// The newest CUDA of the driver, and its own version where the system tells.
    pub cuda: (u32, u32),
    pub driver: Option<String>,
    /// The release of nvcc.
    pub toolkit: String,
    /// Of today, in UTC.
    pub date: String,
    pub is_emulated: bool,
}

impl Machine {
    pub fn new(device: &Device) -> Result<Self> {
        let context = device.stream().context();
        let (major, minor) = context.compute_capability()?;
        let l2_bytes = context.attribute(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?.max(0);
        let found = report();
        let name = context.name()?;
        let is_emulated = name.starts_with("blockscale emulator");
        let driver = std::fs::read_to_string("/sys/module/nvidia/version").ok();
        Ok(Self {
            capability: (major as u32, minor as u32),
            l2_bytes: l2_bytes as usize,
            cuda: found.driver?.version,
            driver: driver.filter(|_| !is_emulated).map(|text| text.trim().to_owned()),
            toolkit: found.toolkit.unwrap_or_default(),
            date: date(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / 86400),
            is_emulated,
            device: name,
        })
    }

    pub fn driver_text(&self) -> String {
        let (major, minor) = self.cuda;
        let version = self.driver.as_ref().map(|version| format!("{version}, "));
        format!("{}for CUDA {major}.{minor}", version.unwrap_or_default())
    }
}

/// The Gregorian date of a day since 1970-01-01.
fn date(day: u64) -> String {
    // Days since 0000-03-01, so that a leap day ends a year; 146 097 of them in 400 years.
    let days = day + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}
