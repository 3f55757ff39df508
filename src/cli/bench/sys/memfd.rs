//! Memory as a file, and files that vanish.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{FallocateFlags, MemfdFlags, OFlags, fallocate, ftruncate, memfd_create};

use super::PAGE;

/// Memory as a file.
#[derive(Debug)]
pub(crate) struct Memfd(OwnedFd);

impl Memfd {
    /// `pages` pages of holes.
    pub(crate) fn new(pages: usize) -> io::Result<Self> {
        let fd = memfd_create("bench", MemfdFlags::CLOEXEC)?;
        ftruncate(&fd, (pages * PAGE) as u64)?;
        Ok(Self(fd))
    }

    /// Makes holes of pages.
    pub(crate) fn punch(&self, page: usize, count: usize) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(fallocate(
            &self.0,
            flags,
            (page * PAGE) as u64,
            (count * PAGE) as u64,
        )?)
    }
}

impl AsFd for Memfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A file that is removed when its owner goes.
#[derive(Debug)]
pub(crate) struct TempFile {
    path: PathBuf,
    file: File,
}

impl TempFile {
    /// `pages` pages in `folder`, each with its number at the start; on the disk when this returns.
    pub(crate) fn new(folder: &Path, pages: usize) -> io::Result<Self> {
        let temp = Self::empty(folder)?;
        let mut page = vec![0; PAGE];
        // One at a time: larger writes make large folios in the page cache, of which some file systems
        // walk every block at each small write, which takes several times as long as the write.
        for number in 0..pages {
            page[..8].copy_from_slice(&(number as u64).to_le_bytes());
            temp.file.write_all_at(&page, (number * PAGE) as u64)?;
        }
        temp.file.sync_all()?;
        Ok(temp)
    }

    fn empty(folder: &Path) -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("actor-pager-bench-{}-{number}", std::process::id()));
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok(Self { path, file })
    }

    /// A copy of another file, in `folder`.
    pub(crate) fn copy_of(original: &Path, folder: &Path) -> io::Result<Self> {
        let mut from = File::open(original)?;
        Self::filled(folder, |file| io::copy(&mut from, file).map(drop))
    }

    /// What `write` puts into it, in `folder`.
    pub(crate) fn filled(folder: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<Self> {
        let mut temp = Self::empty(folder)?;
        write(&mut temp.file)?;
        temp.file.sync_all()?;
        Ok(temp)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file, through the page cache.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// The file once more, past the page cache.
    pub(crate) fn open_direct(&self) -> io::Result<File> {
        let flags = OFlags::DIRECT.bits() as i32;
        OpenOptions::new().read(true).custom_flags(flags).open(&self.path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // Nobody could do anything about a file that stays.
        let _ = std::fs::remove_file(&self.path);
    }
}
