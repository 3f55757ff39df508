//! Opening a file as a store, and everything that can be wrong with it.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI32};

use super::{BOUNCE_BUFFERS, FileBackend};
use crate::backend::BufferPool;

/// How a file is opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileOptions {
    read_only: bool,
    direct: bool,
    reserve: bool,
    create: Option<u64>,
}

/// Why a file cannot be a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no such file.
    #[error("{path}: there is no such file; give the path of one that exists, or create it with a length", path = path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It is a directory.
    #[error("{path}: this is a directory; give the path of a file in it", path = path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
    },
    /// It may not be opened in this way.
    #[error(
        "{path}: permission denied; open it read-only, or have its owner allow {access}",
        path = path.display(),
        access = if *read_only { "reading" } else { "reading and writing" }
    )]
    Permission {
        /// The file.
        path: PathBuf,
        /// It was to be opened for reading only.
        read_only: bool,
    },
    /// It lies on a file system that cannot be written to.
    #[error("{path}: the file system is read-only; open the file read-only", path = path.display())]
    ReadOnlyFileSystem {
        /// The file.
        path: PathBuf,
    },
    /// There is no byte in it, so that there would be no page.
    #[error("{path}: the file is empty, so there is nothing to page; give it a length first", path = path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// It is a pipe, a socket or a terminal.
    #[error("{path}: not a regular file or block device, so it has no pages", path = path.display())]
    NotSeekable {
        /// The file.
        path: PathBuf,
    },
    /// `O_DIRECT` is not to be had.
    #[error("{path}: the file system does not support direct I/O; open the file without it", path = path.display())]
    NoDirect {
        /// The file.
        path: PathBuf,
    },
    /// Something else.
    #[error("{path}: cannot be opened", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl FileOptions {
    /// Refuse writes; for files that may not be written to.
    pub fn read_only(mut self, yes: bool) -> Self {
        self.read_only = yes;
        self
    }

    /// Go past the page cache (`O_DIRECT`). The tail of a file whose length is not a multiple of
    /// 4096 bytes still goes through it.
    pub fn direct(mut self, yes: bool) -> Self {
        self.direct = yes;
        self
    }

    /// Reserve space for a page in a hole before it is written to, so that a full disk is seen by
    /// the writer and not by a later sync.
    pub fn reserve(mut self, yes: bool) -> Self {
        self.reserve = yes;
        self
    }

    /// Make the file, sparse and `length` bytes long, if it does not exist or is shorter.
    pub fn create(mut self, length: u64) -> Self {
        self.create = Some(length);
        self
    }

    /// Opens the file at `path`.
    pub fn open(self, path: impl AsRef<Path>) -> Result<FileBackend, OpenError> {
        let path = path.as_ref();
        let fail = |error| self.name(path, error);
        let file = self.std_options().open(path).map_err(fail)?;
        let length = self.length(path, &file)?;
        let direct = self.direct.then(|| self.open_direct(path)).transpose()?;
        Ok(FileBackend {
            file,
            direct,
            length,
            read_only: self.read_only,
            reserve: self.reserve && !self.read_only,
            no_nowait: AtomicBool::new(false),
            no_reserve: AtomicBool::new(false),
            sync_error: AtomicI32::new(0),
            bounce: BufferPool::new(if self.direct { BOUNCE_BUFFERS } else { 0 }),
        })
    }

    fn std_options(self) -> OpenOptions {
        let mut options = OpenOptions::new();
        options.read(true).write(!self.read_only);
        if self.create.is_some() && !self.read_only {
            options.create(true).truncate(false);
        }
        nonblocking(&mut options);
        options
    }

    fn length(self, path: &Path, file: &File) -> Result<u64, OpenError> {
        let fail = |error| self.name(path, error);
        let path = || path.to_path_buf();
        let metadata = file.metadata().map_err(fail)?;
        if metadata.is_dir() {
            return Err(OpenError::Directory { path: path() });
        }
        if metadata.is_file() && !self.read_only {
            let wanted = self.create.unwrap_or(0);
            if metadata.len() < wanted {
                file.set_len(wanted).map_err(fail)?;
            }
        }
        // The metadata of a block device say 0; its end says how long it is.
        let mut end = file;
        match end.seek(SeekFrom::End(0)) {
            Ok(0) if metadata.is_file() => Err(OpenError::Empty { path: path() }),
            Ok(0) | Err(_) => Err(OpenError::NotSeekable { path: path() }),
            Ok(length) => Ok(length),
        }
    }

    #[cfg(target_os = "linux")]
    fn open_direct(self, path: &Path) -> Result<File, OpenError> {
        use std::os::unix::fs::OpenOptionsExt;

        let mut options = OpenOptions::new();
        options.read(true).write(!self.read_only);
        options.custom_flags(rustix::fs::OFlags::DIRECT.bits() as i32);
        options.open(path).map_err(|error| {
            if error.kind() == io::ErrorKind::InvalidInput {
                let path = path.to_path_buf();
                return OpenError::NoDirect { path };
            }
            self.name(path, error)
        })
    }

    #[cfg(not(target_os = "linux"))]
    fn open_direct(self, path: &Path) -> Result<File, OpenError> {
        Err(OpenError::NoDirect {
            path: path.to_path_buf(),
        })
    }

    fn name(self, path: &Path, source: io::Error) -> OpenError {
        let path = path.to_path_buf();
        let read_only = self.read_only;
        let kind = source.kind();
        if kind == io::ErrorKind::NotFound {
            OpenError::Missing { path }
        } else if kind == io::ErrorKind::IsADirectory {
            OpenError::Directory { path }
        } else if kind == io::ErrorKind::PermissionDenied {
            OpenError::Permission { path, read_only }
        } else if kind == io::ErrorKind::ReadOnlyFilesystem {
            OpenError::ReadOnlyFileSystem { path }
        } else {
            OpenError::Io { path, source }
        }
    }
}

/// Opening a pipe must not wait for its other end.
#[cfg(target_os = "linux")]
fn nonblocking(options: &mut OpenOptions) {
    use std::os::unix::fs::OpenOptionsExt;

    options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32);
}

#[cfg(not(target_os = "linux"))]
fn nonblocking(_options: &mut OpenOptions) {}
