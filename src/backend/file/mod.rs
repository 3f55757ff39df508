//! A store in a file or on a block device.

mod holes;
mod options;
mod transfer;

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

pub use options::{FileOptions, OpenError};

use self::transfer::{Transferred, read_full, write_full};
use super::{BUFFER_ALIGNMENT, Backend, BackendError, BufferPool, ReadRun, WriteError, WriteRun};
use crate::object::{PageRange, PageSize};

/// Bounce buffers kept for memory that `O_DIRECT` cannot take; one for each of so many workers.
const BOUNCE_BUFFERS: usize = 16;

/// Pages in a regular file, sparse or not and of any length, or on a block device.
///
/// The length is that at opening; a file that is cut short later fails the pages beyond its new
/// end. Reading never waits for the disk on the pager's own thread.
///
/// A sync that failed may have lost pages for good: the system tells of it once and counts them as
/// clean. So every later sync reports the same error, until the file is opened anew.
#[derive(Debug)]
pub struct FileBackend {
    file: File,
    /// The same file, opened with `O_DIRECT`.
    direct: Option<File>,
    length: u64,
    read_only: bool,
    /// Reserve space before a page may be written to.
    reserve: bool,
    /// The system cannot say whether a read would wait.
    no_nowait: AtomicBool,
    /// The file system cannot reserve space.
    no_reserve: AtomicBool,
    /// The error of the sync that failed, as the system numbers it; 0: none did.
    sync_error: AtomicI32,
    bounce: BufferPool,
}

impl FileBackend {
    /// How a file is to be opened.
    pub fn options() -> FileOptions {
        FileOptions::default()
    }

    /// True if the store refuses writes.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// True if space is reserved before a page is written to; becomes false when the file system
    /// turns out not to be able to.
    pub fn reserves(&self) -> bool {
        self.reserve && !self.no_reserve.load(Ordering::Relaxed)
    }

    /// Reads into `into`, which lies below the length; past the page cache where that was asked for.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> Transferred {
        let Some(direct) = &self.direct else {
            return read_full(&self.file, offset, into);
        };
        let (whole, tail) = into.split_at_mut(whole_blocks(into.len()));
        let done = self.read_direct(direct, offset, whole);
        match done.error {
            Some(_) => done,
            None => done.then(read_full(&self.file, offset + done_bytes(whole), tail)),
        }
    }

    /// Remembers a failed sync: the system tells of it once, and counts the pages clean that it lost.
    fn keep_error(&self, synced: io::Result<()>) -> io::Result<()> {
        if let Err(error) = &synced {
            let number = error
                .raw_os_error()
                .unwrap_or(rustix::io::Errno::IO.raw_os_error());
            self.sync_error.store(number, Ordering::Release);
        }
        synced
    }

    fn read_direct(&self, direct: &File, offset: u64, into: &mut [u8]) -> Transferred {
        if is_aligned(into) {
            return read_full(direct, offset, into);
        }
        let mut bounce = self.bounce.take(into.len());
        let done = read_full(direct, offset, &mut bounce);
        into.copy_from_slice(&bounce);
        self.bounce.give(bounce);
        done
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Transferred {
        let Some(direct) = &self.direct else {
            return write_full(&self.file, offset, bytes);
        };
        let (whole, tail) = bytes.split_at(whole_blocks(bytes.len()));
        let done = self.write_direct(direct, offset, whole);
        match done.error {
            Some(_) => done,
            None => done.then(write_full(&self.file, offset + done_bytes(whole), tail)),
        }
    }

    fn write_direct(&self, direct: &File, offset: u64, bytes: &[u8]) -> Transferred {
        if is_aligned(bytes) {
            return write_full(direct, offset, bytes);
        }
        let mut bounce = self.bounce.take(bytes.len());
        bounce.copy_from_slice(bytes);
        let done = write_full(direct, offset, &bounce);
        self.bounce.give(bounce);
        done
    }
}

impl Backend for FileBackend {
    fn extent(&self) -> u64 {
        self.length
    }

    fn read_pages(&self, run: &mut ReadRun<'_>) -> Result<(), BackendError> {
        let offset = run.offset();
        let page_size = run.page_size();
        let done = self.read_at(offset, run.zero_beyond(self.length));
        run.filled(done.bytes >> page_size.shift());
        if self.reserves() {
            holes::lock(&self.file, run, self.length);
        }
        done.into_result().map_err(BackendError::from)
    }

    fn try_read_pages(&self, run: &mut ReadRun<'_>) -> Option<Result<(), BackendError>> {
        if self.direct.is_some() || self.no_nowait.load(Ordering::Relaxed) {
            return None;
        }
        let offset = run.offset();
        let done = transfer::read_cached(&self.file, offset, run.zero_beyond(self.length));
        match done {
            Ok(true) => {}
            Ok(false) => return None,
            Err(_unsupported) => {
                self.no_nowait.store(true, Ordering::Relaxed);
                return None;
            }
        }
        if self.reserves() {
            // Asking where the holes are may wait: let the first write to any page ask.
            run.range().iter().for_each(|page| run.write_lock(page));
        }
        Some(Ok(()))
    }

    fn write_pages(&self, run: &WriteRun<'_>) -> Result<(), WriteError> {
        let bytes = run.bytes_within(self.length);
        if self.read_only && !bytes.is_empty() {
            return Err(BackendError::Io(io::ErrorKind::ReadOnlyFilesystem.into()).into());
        }
        let done = self.write_at(run.offset(), bytes);
        let written = done.bytes >> run.page_size().shift();
        done.into_result().map_err(|error| WriteError {
            written,
            source: error.into(),
        })
    }

    /// Past the page cache they would reach the disk while they change, and checksums below would not fit.
    fn takes_moving_pages(&self) -> bool {
        self.direct.is_none()
    }

    fn unlock_pages(&self, range: PageRange, page_size: PageSize) -> Result<(), BackendError> {
        if self.read_only {
            return Err(BackendError::Io(io::ErrorKind::ReadOnlyFilesystem.into()));
        }
        let offset = range.offset(page_size);
        let length = range.bytes(page_size).min(self.length.saturating_sub(offset));
        if !self.reserves() || length == 0 {
            return Ok(());
        }
        if !holes::reserve(&self.file, offset, length)? {
            tracing::warn!("the file system cannot reserve space: a full disk shows at the write-back");
            self.no_reserve.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), BackendError> {
        if self.read_only {
            return Ok(());
        }
        let known = self.sync_error.load(Ordering::Acquire);
        if known != 0 {
            return Err(io::Error::from_raw_os_error(known).into());
        }
        self.keep_error(transfer::retry(|| self.file.sync_data()))
            .map_err(BackendError::from)
    }
}

/// How many of `length` bytes `O_DIRECT` can transfer; the rest goes through the page cache.
fn whole_blocks(length: usize) -> usize {
    length & !(BUFFER_ALIGNMENT - 1)
}

fn done_bytes(part: &[u8]) -> u64 {
    part.len() as u64
}

fn is_aligned(bytes: &[u8]) -> bool {
    bytes.as_ptr().align_offset(BUFFER_ALIGNMENT) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_after_one_that_failed_fails_as_well() {
        let path = std::env::temp_dir().join(format!("actor-pager-sync-{}", std::process::id()));
        std::fs::write(&path, [0; 4096]).unwrap();
        let backend = FileBackend::options().open(&path).unwrap();
        backend.sync().unwrap();
        let failed = backend.keep_error(Err(rustix::io::Errno::NOSPC.into()));
        assert!(failed.is_err());
        assert!(
            backend.sync().is_err(),
            "the system has forgotten it, the store has not"
        );
        let anew = FileBackend::options().open(&path).unwrap();
        anew.sync().unwrap();
        std::fs::remove_file(&path).unwrap();
    }
}
