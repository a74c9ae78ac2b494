//! The compiled kernels as constants: no CUDA types, so that any runtime can load them.

/// One unit of kernels compiled for one architecture.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Image {
    /// The source file under `kernels/`, without its ending.
    pub unit: &'static str,
    /// The architecture it was compiled for, as nvcc names it: `80`, `90a`, `100a` …
    pub architecture: &'static str,
    /// The compute capability of that architecture.
    pub capability: (u32, u32),
    packed_ptx: &'static [u8],
    packed_cubin: Option<&'static [u8]>,
}

include!(concat!(env!("OUT_DIR"), "/images.rs"));

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Image({} for {}, {} bytes)", self.unit, self.architecture, self.embedded_bytes())
    }
}

impl Image {
    /// PTX, which the driver compiles.
    pub fn ptx(&self) -> String {
        // What build.rs packed is whole and is text; unpacking it is tested for every image.
        String::from_utf8(unpacked(self.packed_ptx)).unwrap_or_default()
    }

    /// Machine code, where ptxas was there at build time.
    pub fn cubin(&self) -> Option<Vec<u8>> {
        self.packed_cubin.map(unpacked)
    }

    /// Whether there is machine code.
    pub const fn has_cubin(&self) -> bool {
        self.packed_cubin.is_some()
    }

    /// The names of its kernels.
    pub fn entries(&self) -> Vec<String> {
        let ptx = self.ptx();
        let names = ptx.split(".entry ").skip(1).filter_map(|rest| rest.split('(').next());
        names.map(|name| name.trim().to_owned()).collect()
    }

    /// Bytes that the image adds to a program.
    pub fn embedded_bytes(&self) -> usize {
        self.packed_ptx.len() + self.packed_cubin.map_or(0, <[u8]>::len)
    }

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

fn unpacked(packed: &[u8]) -> Vec<u8> {
    miniz_oxide::inflate::decompress_to_vec_zlib(packed).unwrap_or_default()
}

/// The image of a unit that suits a device best: the latest architecture that runs there.
pub fn image_for(unit: &str, capability: (u32, u32)) -> Option<&'static Image> {
    let suits = |image: &&Image| image.unit == unit && image.runs_on(capability);
    IMAGES.iter().filter(suits).max_by_key(|image| image.capability)
}
