//! The file that becomes the output once it is complete.

use super::writer::Existing;
use std::fs::File;
use std::io;
use std::path::Path;
use tempfile::{Builder, NamedTempFile};

/// A file without a name where the file system has such files: whatever ends the process, nothing
/// is left of it. Elsewhere a named one beside the output, which only a process that ends by itself
/// removes.
#[derive(Debug)]
pub(super) enum Temporary {
    /// A file that has no name yet.
    #[cfg(target_os = "linux")]
    Unnamed(File),
    /// A file that is removed when it is dropped.
    Named(NamedTempFile),
}

impl Temporary {
    /// An empty file in `directory`, with the permissions of any new file.
    pub fn new(directory: &Path) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        if let Ok(file) = unnamed::create(directory) {
            return Ok(Self::Unnamed(file));
        }
        named(directory)
    }

    /// The file.
    pub fn file(&mut self) -> &mut File {
        match self {
            #[cfg(target_os = "linux")]
            Self::Unnamed(file) => file,
            Self::Named(file) => file.as_file_mut(),
        }
    }

    /// Makes it the file at `path` in `directory`, in one step.
    #[cfg_attr(not(target_os = "linux"), allow(unused_variables))]
    pub fn persist(self, directory: &Path, path: &Path, existing: Existing) -> io::Result<()> {
        match (self, existing) {
            #[cfg(target_os = "linux")]
            (Self::Unnamed(file), Existing::Keep) => unnamed::link(&file, path),
            // A link replaces nothing, so the complete file gets a name for the renaming.
            #[cfg(target_os = "linux")]
            (Self::Unnamed(file), Existing::Replace) => {
                let linked = builder().make_in(directory, |name| unnamed::link(&file, name))?;
                Ok(linked.persist(path).map(drop)?)
            }
            (Self::Named(file), Existing::Keep) => Ok(file.persist_noclobber(path).map(drop)?),
            (Self::Named(file), Existing::Replace) => Ok(file.persist(path).map(drop)?),
        }
    }
}

fn named(directory: &Path) -> io::Result<Temporary> {
    let mut builder = builder();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(directory).map(Temporary::Named)
}

fn builder() -> Builder<'static, 'static> {
    let mut builder = Builder::new();
    builder.prefix(".blockscale-").suffix(".tmp");
    builder
}

/// Files without a name.
#[cfg(target_os = "linux")]
mod unnamed {
    use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open};
    use std::fs::{self, File};
    use std::io;
    use std::os::fd::AsRawFd;
    use std::path::{Path, PathBuf};

    /// Fails where the file system has no such files, or where no name could be given later.
    pub fn create(directory: &Path) -> io::Result<File> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = File::from(open(directory, flags, Mode::from_raw_mode(0o666))?);
        fs::metadata(alias(&file))?;
        Ok(file)
    }

    /// Gives `file` a name that is free.
    pub fn link(file: &File, path: &Path) -> io::Result<()> {
        Ok(linkat(CWD, alias(file), CWD, path, AtFlags::SYMLINK_FOLLOW)?)
    }

    /// Where the system shows the file without a name.
    fn alias(file: &File) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    /// Both kinds, whatever the file system has.
    #[test]
    fn either_kind_takes_its_place_and_leaves_nothing_else() {
        type New = fn(&Path) -> io::Result<Temporary>;
        for new in [Temporary::new as New, named] {
            let folder = tempfile::tempdir().unwrap();
            let names = || fs::read_dir(folder.path()).unwrap().count();
            let path = folder.path().join("out");
            let full = |text: &[u8]| {
                let mut file = new(folder.path()).unwrap();
                file.file().write_all(text).unwrap();
                file
            };
            full(b"first").persist(folder.path(), &path, Existing::Keep).unwrap();
            let kept = full(b"second").persist(folder.path(), &path, Existing::Keep);
            assert_eq!(kept.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            assert_eq!((fs::read(&path).unwrap(), names()), (b"first".to_vec(), 1));
            full(b"third").persist(folder.path(), &path, Existing::Replace).unwrap();
            assert_eq!((fs::read(&path).unwrap(), names()), (b"third".to_vec(), 1));
            fs::remove_file(&path).unwrap();
            full(b"fourth").persist(folder.path(), &path, Existing::Replace).unwrap();
            drop(full(b"fifth"));
            assert_eq!((fs::read(&path).unwrap(), names()), (b"fourth".to_vec(), 1));
        }
    }
}
