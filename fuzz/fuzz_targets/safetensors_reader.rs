//! Any file: refused with an error, or every tensor in it can be read.
#![no_main]

use blockscale::checkpoint::Reader;
use blockscale_fuzz::{exercise, told};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use std::sync::OnceLock;
use tempfile::NamedTempFile;

fuzz_target!(|data: &[u8]| {
    static FILE: OnceLock<NamedTempFile> = OnceLock::new();
    let path = FILE.get_or_init(|| NamedTempFile::new().unwrap()).path();
    std::fs::write(path, data).unwrap();
    let Some(mut reader) = told(Reader::open(path)) else { return };
    assert_eq!(reader.file_bytes(), data.len());
    for stored in reader.tensors() {
        assert_eq!(reader.tensor(stored.name).unwrap(), stored);
        told(reader.values(stored.name).map(|values| values.to_f32()));
    }
    for name in reader.records().keys() {
        if let Some(tensor) = told(reader.quantized(name)) {
            exercise(&tensor);
        }
    }
    let names: Vec<_> = reader.entries().iter().map(|entry| entry.name().to_owned()).collect();
    for name in names {
        reader.release(&name);
    }
});

// Nearly every mutation moves the end of the header, and with a wrong length nothing of it would
// be looked at; so the length is set right, but for a few.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let size = fuzzer_mutate(data, size, max_size);
    if let Some((length, rest)) = data[..size].split_first_chunk_mut::<8>()
        && let Some(end) = rest.iter().rposition(|byte| *byte == b'}')
        && !seed.is_multiple_of(8)
    {
        *length = (end as u64 + 1).to_le_bytes();
    }
    size
});
