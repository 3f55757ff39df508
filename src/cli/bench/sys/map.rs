//! Mappings of the benches' own.

use std::io;
use std::os::fd::AsFd;
use std::ptr::{self, NonNull};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

use super::{PAGE, Target};

/// A shared mapping of a file, readable and writable.
#[derive(Debug)]
pub(crate) struct Map {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: all access goes through volatile accesses and the system calls below, none of which hands out
// a reference; what threads see of each other's accesses is up to the benches.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    /// Maps the first `pages` pages.
    pub(crate) fn new(fd: impl AsFd, pages: usize) -> io::Result<Self> {
        let bytes = pages * PAGE;
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping where the kernel finds room; it replaces nothing.
        let base = unsafe { mmap(ptr::null_mut(), bytes, prot, MapFlags::SHARED, fd, 0)? };
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self { base, bytes })
    }

    /// The address of the first byte.
    pub(crate) fn address(&self) -> usize {
        self.base.as_ptr().addr()
    }

    /// The address of a page's first byte.
    pub(crate) fn address_of(&self, page: usize) -> usize {
        self.address() + page * PAGE
    }

    /// The page that an address lies in.
    pub(crate) fn page_of(&self, address: usize) -> usize {
        (address - self.address()) / PAGE
    }

    /// Takes the pages out of the page tables; those of the file stay.
    pub(crate) fn forget(&self, page: usize, count: usize) -> io::Result<()> {
        self.advise(page, count, Advice::LinuxDontNeed)
    }

    /// No fault-around and no read-ahead.
    pub(crate) fn expect_random(&self) -> io::Result<()> {
        self.advise(0, self.bytes / PAGE, Advice::Random)
    }

    fn advise(&self, page: usize, count: usize, advice: Advice) -> io::Result<()> {
        assert!((page + count) * PAGE <= self.bytes);
        // SAFETY: the range lies in this mapping of a file, to which no reference exists; neither
        // advice changes what the file holds.
        unsafe { madvise(self.base.as_ptr().add(page * PAGE).cast(), count * PAGE, advice)? };
        Ok(())
    }

    /// Where threads may touch it.
    pub(crate) fn target(&self) -> Target<'_> {
        // SAFETY: the mapping is there as long as this value, which the target borrows.
        unsafe { Target::new(self.address(), self.bytes) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and every `Target` of it borrows it.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), self.bytes) };
        debug_assert!(unmapped.is_ok());
    }
}
