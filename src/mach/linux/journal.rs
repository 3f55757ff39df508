//! What is known of each page, in memory that outlives the process.
//!
//! A journal is a memfd: a header of one page, then one byte per page of the object, with the bits of
//! [`flag`](super::page_table::flag). Whoever dies at any moment leaves a truth or a safe
//! over-estimate, because of the order in which the object writes: dirty before a page can be written
//! to, clean only after the store has it and the page was write-protected before that write.

use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{MemfdFlags, SeekFrom, fstat, ftruncate, memfd_create, seek};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

use crate::object::{PageIndex, PageRange, PageSize};

const HEADER: usize = 4096;
const MAGIC: [u8; 8] = *b"APJRNL01";

/// The journal of one object, mapped.
#[derive(Debug)]
pub(super) struct Journal {
    base: NonNull<AtomicU8>,
    length: usize,
    pages: u64,
}

// SAFETY: the mapping belongs to this value alone and lives as long as it; its bytes are only used as
// atomics.
unsafe impl Send for Journal {}
// SAFETY: as above.
unsafe impl Sync for Journal {}

fn header(pages: u64, size: PageSize) -> [u8; 24] {
    let mut header = [0; 24];
    header[..8].copy_from_slice(&MAGIC);
    header[8..16].copy_from_slice(&pages.to_le_bytes());
    header[16..].copy_from_slice(&size.bytes().to_le_bytes());
    header
}

impl Journal {
    /// A file with nothing noted, for an object of `pages` pages.
    pub(super) fn create(pages: u64, size: PageSize) -> io::Result<OwnedFd> {
        let fd = memfd_create("actor-pager:journal", MemfdFlags::CLOEXEC)?;
        ftruncate(&fd, HEADER as u64 + pages)?;
        rustix::io::pwrite(&fd, &header(pages, size), 0)?;
        Ok(fd)
    }

    /// Maps the journal in a file, which must be of an object of this shape.
    pub(super) fn open(fd: impl AsFd, pages: u64, size: PageSize) -> io::Result<Self> {
        let mut found = [0; 24];
        let read = rustix::io::pread(&fd, &mut found, 0)?;
        let length = HEADER + pages as usize;
        if read != found.len() || found != header(pages, size) || fstat(&fd)?.st_size as usize != length {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::SHARED | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice; nobody else's memory is concerned.
        let address = unsafe { mmap(ptr::null_mut(), length, prot, flags, fd, 0) }?;
        let base = NonNull::new(address.cast()).ok_or(Errno::NOMEM)?;
        let journal = Self { base, length, pages };
        // SAFETY: the range is the mapping just made, and no child is meant to use it.
        unsafe { madvise(address, length, Advice::LinuxDontFork) }?;
        Ok(journal)
    }

    fn byte(&self, page: PageIndex) -> Option<&AtomicU8> {
        // SAFETY: the byte lies within the mapping, which lives as long as `self`; it is only used as an
        // atomic, by whatever process.
        (page.0 < self.pages).then(|| unsafe { self.base.add(HEADER + page.0 as usize).as_ref() })
    }

    /// Notes the bits of a page; system calls that follow come after it.
    pub(super) fn put(&self, page: PageIndex, bits: u8) {
        if let Some(byte) = self.byte(page) {
            byte.store(bits, SeqCst);
        }
    }

    /// The pages of which something is noted, with their bits.
    pub(super) fn noted(&self, fd: impl AsFd) -> io::Result<Vec<(PageIndex, u8)>> {
        let mut noted = Vec::new();
        for (start, end) in data_runs(fd, HEADER as u64, self.length as u64)? {
            let pages = start - HEADER as u64..end - HEADER as u64;
            let bits = |page| self.byte(PageIndex(page)).map_or(0, |byte| byte.load(SeqCst));
            let of_run = pages.map(|page| (PageIndex(page), bits(page)));
            noted.extend(of_run.filter(|&(_, bits)| bits != 0));
        }
        Ok(noted)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and no reference into it outlives `self`.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.length) };
    }
}

/// The pages of a memfd that are there.
pub(super) fn present(fd: impl AsFd, pages: PageRange, size: PageSize) -> io::Result<Vec<PageRange>> {
    let runs = data_runs(fd, pages.offset(size), pages.end().offset(size))?;
    let range = |(start, end): (u64, u64)| {
        let first = PageIndex(start.div_ceil(size.bytes()));
        PageRange::new(first, PageIndex((end >> size.shift()).max(first.0)))
    };
    Ok(runs
        .into_iter()
        .map(range)
        .filter(|run| !run.is_empty())
        .collect())
}

/// The stretches of a file that are no holes: their first bytes and their ends.
fn data_runs(fd: impl AsFd, from: u64, to: u64) -> io::Result<Vec<(u64, u64)>> {
    let mut runs = Vec::new();
    let mut at = from;
    while at < to {
        let start = match seek(&fd, SeekFrom::Data(at)) {
            Ok(start) if start < to => start,
            Ok(_) | Err(Errno::NXIO) => break,
            Err(errno) => return Err(errno.into()),
        };
        let end = seek(&fd, SeekFrom::Hole(start))?.min(to);
        runs.push((start, end));
        at = end;
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_found_by_the_next_who_opens_it() {
        let fd = Journal::create(20_000, PageSize::KIB_4).unwrap();
        let first = Journal::open(&fd, 20_000, PageSize::KIB_4).unwrap();
        first.put(PageIndex(3), 5);
        first.put(PageIndex(19_999), 1);
        first.put(PageIndex(20_000), 7);
        drop(first);
        let next = Journal::open(&fd, 20_000, PageSize::KIB_4).unwrap();
        let expected = [(PageIndex(3), 5), (PageIndex(19_999), 1)];
        assert_eq!(next.noted(&fd).unwrap(), expected);
    }

    #[test]
    fn a_journal_of_another_shape_is_refused() {
        let fd = Journal::create(8, PageSize::KIB_4).unwrap();
        assert!(Journal::open(&fd, 9, PageSize::KIB_4).is_err());
        ftruncate(&fd, 100).unwrap();
        assert!(Journal::open(&fd, 8, PageSize::KIB_4).is_err());
    }
}
