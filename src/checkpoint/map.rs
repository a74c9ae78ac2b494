//! A file as bytes, read by the operating system as they are touched.
#![allow(unsafe_code)]

use super::error::{Error, Result};
use memmap2::Mmap;
use std::fs::{self, File};
use std::ops::{Deref, Range};
use std::path::Path;

/// The bytes of a file, mapped read-only.
#[derive(Debug)]
pub(super) struct Map {
    bytes: Mmap,
}

impl Map {
    /// Maps the regular file at `path`.
    pub fn open(path: &Path) -> Result<Self> {
        let io = |action| move |source| Error::Io { path: path.to_owned(), action, source };
        // Asked of the path, as opening a pipe would wait for its other end.
        if !fs::metadata(path).map_err(io("open"))?.is_file() {
            return Err(Error::Path { path: path.to_owned(), rule: "not a regular file" });
        }
        let file = File::open(path).map_err(io("open"))?;
        // SAFETY: the map is read-only and private to this process's reading. The one thing that
        // a map asks of the world, that nobody changes or shortens the file while it is mapped,
        // cannot be enforced; it is told to callers at `Reader::open`, and this crate itself only
        // ever replaces files by rename, which leaves a mapped file as it was.
        let bytes = unsafe { Mmap::map(&file) }.map_err(io("map"))?;
        Ok(Self { bytes })
    }

    /// Lets go of the memory behind `range`; it is read again from the file if it is touched.
    ///
    /// The exclusive borrow makes sure that nobody looks at the bytes meanwhile.
    #[cfg_attr(not(unix), allow(unused_variables, clippy::unused_self))]
    pub fn release(&mut self, range: Range<usize>) {
        #[cfg(unix)]
        if range.start < range.end && range.end <= self.bytes.len() {
            let (advice, length) = (memmap2::UncheckedAdvice::DontNeed, range.len());
            // SAFETY: the range lies in the map and nothing borrows from it. The map is a
            // read-only one of a file, so dropped pages come back with the same bytes.
            let advised = unsafe { self.bytes.unchecked_advise_range(advice, range.start, length) };
            // Advice only: memory that stays costs nothing but memory.
            drop(advised);
        }
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}
