//! The memory of one object: a memfd or a file of huge pages, the pager's own view of it, and clients' mappings of it.

use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fd::OwnedFd;
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

use super::forks::Watch;
use crate::mach::message::PageMemory;

/// Runs of at most so many bytes are copied out of sparse memory.
const FEW_BYTES: usize = 4 * 4096;

/// The memory of one object.
///
/// The pager's own mapping is not registered with any userfaultfd: reading an absent page through it
/// would allocate that page. So it is read only where pages are known to be present: those that were
/// lent out in a `DataReturn`.
///
/// When the last owner goes, the file is cut to nothing before the userfaultfds are closed, so that
/// threads still using a mapping get SIGBUS, never zeros.
#[derive(Debug)]
pub(super) struct Memory {
    fd: OwnedFd,
    base: NonNull<u8>,
    length: usize,
    /// Others hold the file and go on using it when this value goes.
    shared: bool,
    /// What is written to a hole takes huge pages.
    huge: bool,
    /// Few pages that lie near each other are present: mapping one in the own view maps no other.
    sparse: AtomicBool,
    /// Descriptors to be closed only after the file was cut.
    guards: Mutex<Vec<Arc<Watch>>>,
}

// SAFETY: the mapping belongs to this value alone and lives as long as it; it is only read, and only
// where `PageMemory::bytes` allows.
unsafe impl Send for Memory {}
// SAFETY: as above; reading from several threads is fine.
unsafe impl Sync for Memory {}

impl Memory {
    /// A sparse object of `length` bytes, at least one page.
    pub(super) fn new(name: &str, length: usize) -> io::Result<Self> {
        // Names go to the kernel as C strings of at most 249 bytes.
        let name: String = name.chars().filter(|c| *c != '\0').take(60).collect();
        let fd = memfd_create(format!("actor-pager:{name}"), MemfdFlags::CLOEXEC)?;
        ftruncate(&fd, length as u64)?;
        Self::of(fd, length, false)
    }

    /// The same in an empty file of huge pages; `length` is a multiple of theirs.
    pub(super) fn huge(fd: OwnedFd, length: usize) -> io::Result<Self> {
        ftruncate(&fd, length as u64)?;
        let mut memory = Self::of(fd, length, false)?;
        memory.huge = true;
        Ok(memory)
    }

    /// The memory in a file that holds `length` bytes; `shared` if others hold it, too.
    pub(super) fn of(fd: OwnedFd, length: usize, shared: bool) -> io::Result<Self> {
        if rustix::fs::fstat(&fd)?.st_size as u64 != length as u64 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let flags = MapFlags::SHARED | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice; nobody else's memory is concerned.
        let address = unsafe { mmap(ptr::null_mut(), length, ProtFlags::READ, flags, &fd, 0) }?;
        let base = NonNull::new(address.cast::<u8>()).ok_or(Errno::NOMEM)?;
        let memory = Self {
            fd,
            base,
            length,
            shared,
            huge: false,
            sparse: AtomicBool::new(false),
            guards: Mutex::default(),
        };
        // SAFETY: the range is the mapping just made, and no child is meant to use it.
        unsafe { madvise(address, length, Advice::LinuxDontFork) }?;
        Ok(memory)
    }

    /// Bytes.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// Keeps a descriptor open for as long as the memory lives.
    pub(super) fn guard(&self, uffd: Arc<Watch>) {
        self.guards
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(uffd);
    }

    /// Says that from now on few pages that lie near each other are present.
    pub(super) fn make_sparse(&self) {
        self.sparse.store(true, Relaxed);
    }

    /// True if others hold the file, too.
    pub(super) fn is_shared(&self) -> bool {
        self.shared
    }

    /// True if what is written to a hole takes huge pages, and what comes by a userfaultfd does not.
    pub(super) fn is_huge(&self) -> bool {
        self.huge
    }

    /// The file, to be mapped for clients.
    pub(super) fn file(&self) -> &OwnedFd {
        &self.fd
    }

    /// Unmaps pages from the pager's own view, so that they are not counted twice.
    pub(super) fn forget_own(&self, offset: u64, length: usize) {
        let Some(start) = self.checked(offset, length) else {
            return;
        };
        // SAFETY: within the own mapping, a shared one of a file: no contents are lost, and a reader only
        // faults the page in again.
        let _ = unsafe { madvise(start.as_ptr().cast(), length, Advice::LinuxDontNeed) };
    }

    /// Frees pages and takes them out of every mapping in every process.
    pub(super) fn punch(&self, offset: u64, length: u64) -> io::Result<()> {
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(fallocate(&self.fd, mode, offset, length)?)
    }

    /// Reads without touching any mapping.
    pub(super) fn read(&self, mut offset: u64, mut into: &mut [u8]) -> io::Result<()> {
        while !into.is_empty() {
            match rustix::io::pread(&self.fd, &mut *into, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    into = &mut into[count..];
                    offset += count as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Writes without touching any mapping.
    pub(super) fn write(&self, mut offset: u64, mut from: &[u8]) -> io::Result<()> {
        while !from.is_empty() {
            match rustix::io::pwrite(&self.fd, from, offset) {
                Ok(count) => {
                    from = &from[count..];
                    offset += count as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn checked(&self, offset: u64, length: usize) -> Option<NonNull<u8>> {
        let offset = usize::try_from(offset).ok()?;
        let end = offset.checked_add(length)?;
        // SAFETY: the offset lies within the mapping.
        (end <= self.length).then(|| unsafe { self.base.add(offset) })
    }
}

impl PageMemory for Memory {
    fn bytes(&self, offset: u64, length: usize) -> &[u8] {
        match self.checked(offset, length) {
            // SAFETY: the range lies in the mapping, which lives as long as `self`. Its pages are lent: the
            // kernel neither frees them nor lets anybody write to them between `write_begins` and
            // `write_ended`, which is when this may be called.
            Some(start) => unsafe { std::slice::from_raw_parts(start.as_ptr(), length) },
            None => &[],
        }
    }

    /// To map a page, and to unmap it when it goes, takes longer than to copy it.
    fn copy(&self, offset: u64, into: &mut [u8]) -> bool {
        self.sparse.load(Relaxed) && into.len() <= FEW_BYTES && self.read(offset, into).is_ok()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if !self.shared {
            let _ = ftruncate(&self.fd, 0);
        }
        // SAFETY: the mapping is this value's own, and no slice of it outlives `self`.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.length) };
    }
}
