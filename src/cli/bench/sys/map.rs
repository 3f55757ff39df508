//! Mappings of the benches' own.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::{self, NonNull};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};

use super::{PAGE, Target};

/// Memory: a shared mapping of a file, or private and of no file.
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
    /// Maps the first `pages` pages of a file for reading and writing.
    pub(crate) fn new(fd: impl AsFd, pages: usize) -> io::Result<Self> {
        Self::with(fd, pages, ProtFlags::READ | ProtFlags::WRITE)
    }

    /// Maps the first `pages` pages of a file for reading.
    pub(crate) fn read_only(fd: impl AsFd, pages: usize) -> io::Result<Self> {
        Self::with(fd, pages, ProtFlags::READ)
    }

    /// Maps `pages` pages of no file.
    pub(crate) fn anonymous(pages: usize) -> io::Result<Self> {
        let bytes = pages * PAGE;
        let (prot, flags) = (
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE | MapFlags::NORESERVE,
        );
        // SAFETY: a new mapping where the kernel finds room; it replaces nothing.
        let base = unsafe { mmap_anonymous(ptr::null_mut(), bytes, prot, flags)? };
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self { base, bytes })
    }

    fn with(fd: impl AsFd, pages: usize, prot: ProtFlags) -> io::Result<Self> {
        let bytes = pages * PAGE;
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

    /// Copies a page's bytes out.
    pub(crate) fn copy_out(&self, page: usize, into: &mut [u8; PAGE]) {
        assert!((page + 1) * PAGE <= self.bytes);
        // SAFETY: the page lies in this mapping, as was just checked, and the buffer is the caller's own;
        // the callers have write-protected the page, so nobody writes to it meanwhile.
        unsafe { ptr::copy_nonoverlapping(self.base.as_ptr().add(page * PAGE), into.as_mut_ptr(), PAGE) };
    }

    /// Takes the pages out of the page tables; those of a file stay, others are gone.
    pub(crate) fn forget(&self, page: usize, count: usize) -> io::Result<()> {
        self.advise(page, count, Advice::LinuxDontNeed)
    }

    /// Takes single pages out of the page tables, all in one call where the kernel can.
    pub(crate) fn forget_each(&self, pages: &[usize]) -> io::Result<()> {
        let me =
            rustix::process::pidfd_open(rustix::process::getpid(), rustix::process::PidfdFlags::empty())?;
        let ranges: Vec<libc::iovec> = pages
            .iter()
            .map(|&page| {
                assert!((page + 1) * PAGE <= self.bytes);
                libc::iovec {
                    iov_base: self.base.as_ptr().wrapping_add(page * PAGE).cast(),
                    iov_len: PAGE,
                }
            })
            .collect();
        // SAFETY: every range lies in this mapping, to which no reference exists; the kernel reads the list,
        // which is there until the call returns.
        let done = unsafe {
            libc::syscall(
                libc::SYS_process_madvise,
                me.as_raw_fd(),
                ranges.as_ptr(),
                ranges.len(),
                libc::MADV_DONTNEED,
                0,
            )
        };
        if usize::try_from(done).is_ok_and(|done| done == ranges.len() * PAGE) {
            return Ok(());
        }
        // Older kernels take this advice one range at a time only.
        pages.iter().try_for_each(|&page| self.forget(page, 1))
    }

    /// No fault-around and no read-ahead.
    pub(crate) fn expect_random(&self) -> io::Result<()> {
        self.advise(0, self.bytes / PAGE, Advice::Random)
    }

    fn advise(&self, page: usize, count: usize, advice: Advice) -> io::Result<()> {
        assert!((page + count) * PAGE <= self.bytes);
        // SAFETY: the range lies in this mapping, to which no reference exists; neither advice changes
        // what a file holds.
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
