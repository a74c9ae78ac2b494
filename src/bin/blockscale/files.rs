//! Input and output files.

use crate::failure::Failure;
use std::fs;
use std::path::Path;

/// Refuses an output that is the input under this or another name.
pub fn check_distinct(input: &Path, output: &Path) -> Result<(), Failure> {
    match same_file(input, output) {
        true => Err(Failure::User(format!(
            "{}: is the input; name another file for the output",
            output.display()
        ))),
        false => Ok(()),
    }
}

#[cfg(unix)]
fn same_file(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |path| fs::metadata(path).ok().map(|there| (there.dev(), there.ino()));
    identity(a).is_some_and(|a| identity(b) == Some(a))
}

#[cfg(not(unix))]
fn same_file(a: &Path, b: &Path) -> bool {
    fs::canonicalize(a).is_ok_and(|a| fs::canonicalize(b).is_ok_and(|b| a == b))
}
