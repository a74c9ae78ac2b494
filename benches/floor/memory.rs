//! Memory that is measured: huge pages, touched beforehand.

use crate::Result;
use blockscale::Real;
use memmap2::MmapMut;

pub struct Memory(MmapMut);

impl Memory {
    pub fn new(bytes: usize) -> Result<Self> {
        let mut map = MmapMut::map_anon(bytes)?;
        // Where the system has none, small ones serve.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        map.fill(1);
        Ok(Self(map))
    }

    pub fn bytes(&mut self, len: usize) -> &mut [u8] {
        &mut self.0[..len]
    }

    pub fn values<T: Real>(&mut self, len: usize) -> &mut [T] {
        let bytes = self.bytes(len * size_of::<T>());
        // SAFETY: as many bytes, aligned to a page; every bit pattern of the three types is a value.
        unsafe { core::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), len) }
    }
}

/// The bytes of floats.
pub fn bytes_of<T: Real>(values: &[T]) -> &[u8] {
    // SAFETY: f32, bf16 and f16 have no padding.
    unsafe { core::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

/// The bytes of floats, to be written.
pub fn bytes_of_mut<T: Real>(values: &mut [T]) -> &mut [u8] {
    // SAFETY: as above, and every bit pattern is a value.
    unsafe { core::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), size_of_val(values)) }
}
