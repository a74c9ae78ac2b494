//! The compiled kernels as constants: no CUDA types, so that any runtime can load them.

/// One unit of kernels compiled for one architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// The source file under `kernels/`, without its ending.
    pub unit: &'static str,
    /// The architecture it was compiled for, as nvcc names it: `80`, `90a`, `100a` …
    pub architecture: &'static str,
    /// The compute capability of that architecture.
    pub capability: (u32, u32),
    /// PTX, which the driver compiles.
    pub ptx: &'static str,
    /// Machine code, where ptxas was there at build time.
    pub cubin: Option<&'static [u8]>,
}

include!(concat!(env!("OUT_DIR"), "/images.rs"));

impl Image {
    /// Whether a device of that compute capability can run the image: with suffix `a` the same
    /// capability, with `f` the same family from that minor on, without one any later.
    pub fn runs_on(&self, capability: (u32, u32)) -> bool {
        match self.architecture.as_bytes().last() {
            Some(b'a') => self.capability == capability,
            Some(b'f') => self.capability.0 == capability.0 && self.capability <= capability,
            _ => self.capability <= capability,
        }
    }
}

/// The image of a unit that suits a device best: the latest architecture that runs there.
pub fn image_for(unit: &str, capability: (u32, u32)) -> Option<&'static Image> {
    let suits = |image: &&Image| image.unit == unit && image.runs_on(capability);
    IMAGES.iter().filter(suits).max_by_key(|image| image.capability)
}
