//! Memory lent to `pager_write_page`, which may unmap it or leave it.
//!
//! After the call nobody may unmap it again without knowing that it is still there, because by then
//! another thread may have mapped something of its own at that address. Each buffer is therefore
//! a file in memory with a second view. To find out, a fresh number is put into every page through
//! the view, and read at the address that was lent: only our own page can show it.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Buffers kept between calls: one for each of so many workers.
const KEEP: usize = 32;
/// Bytes of the number that proves a page to be ours.
const MARK: usize = 8;
/// Pages asked after in one system call; systems allow 1024.
const AT_ONCE: usize = 512;

static IDLE: Mutex<Vec<Lent>> = Mutex::new(Vec::new());

/// Lends a copy of `bytes`, whole pages, to `use_it`, which gets the address.
pub(super) fn lend<T>(bytes: &[u8], page: usize, use_it: impl FnOnce(usize) -> T) -> io::Result<T> {
    let mut lent = take(bytes.len(), page)?;
    lent.fill(bytes);
    let result = use_it(lent.address);
    if lent.is_whole(bytes.len()) {
        give(lent);
    }
    Ok(result)
}

fn take(length: usize, page: usize) -> io::Result<Lent> {
    let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
    match idle.iter().position(|lent| lent.length >= length) {
        Some(at) => Ok(idle.swap_remove(at)),
        None => {
            drop(idle);
            Lent::new(length, page)
        }
    }
}

fn give(lent: Lent) {
    let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
    if idle.len() < KEEP {
        idle.push(lent);
    }
}

/// One buffer, mapped twice.
struct Lent {
    file: OwnedFd,
    /// What is lent.
    address: usize,
    /// What is never lent; longer by the room for the marks.
    view: usize,
    length: usize,
    view_length: usize,
    page: usize,
    /// Pages that were found to be gone; nothing is unmapped there.
    gone: Vec<bool>,
}

impl Lent {
    fn new(length: usize, page: usize) -> io::Result<Self> {
        let pages = length / page;
        let view_length = length + (pages * MARK).next_multiple_of(page);
        let file = memfd_create("lent pages", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, view_length as u64)?;
        let view = map(&file, view_length)?;
        let address = map(&file, length).inspect_err(|_| unmap(view, view_length))?;
        let gone = vec![false; pages];
        Ok(Self {
            file,
            address,
            view,
            length,
            view_length,
            page,
            gone,
        })
    }

    fn fill(&mut self, bytes: &[u8]) {
        self.view_mut(0, bytes.len()).copy_from_slice(bytes);
    }

    /// True if the first `length` bytes are still where they were lent.
    fn is_whole(&mut self, length: usize) -> bool {
        let pages = length / self.page;
        let mut start = 0;
        while start < pages {
            let count = (pages - start).min(AT_ONCE);
            start += self.check(start, count);
        }
        !self.gone.contains(&true)
    }

    /// Finds out about pages from `start` on, at least one and at most `count`; says how many.
    fn check(&mut self, start: usize, count: usize) -> usize {
        static NEXT: AtomicU64 = AtomicU64::new(0x9E37_79B9_7F4A_7C15);
        let first = NEXT.fetch_add(count as u64, Ordering::Relaxed);
        let mark = |page: usize| (first + page as u64).rotate_left(32).to_ne_bytes();
        for page in 0..count {
            self.view_mut((start + page) * self.page, MARK)
                .copy_from_slice(&mark(page));
        }
        let seen = self.read_lent(start, count);
        for page in 0..seen {
            self.gone[start + page] = *self.view_mut(self.length + page * MARK, MARK) != mark(page);
        }
        if seen < count {
            self.gone[start + seen] = true;
        }
        (seen + 1).min(count)
    }

    /// Has the system copy the marks at the lent addresses behind the pages of the file, as far as
    /// it can read there; says how many.
    fn read_lent(&self, start: usize, count: usize) -> usize {
        let base = |page| ptr::with_exposed_provenance(self.address + page * self.page);
        let parts: Vec<Part> = (start..start + count)
            .map(|page| Part {
                base: base(page),
                length: MARK,
            })
            .collect();
        // SAFETY: the system checks every address that it reads, and reports those that are not
        // mapped; it writes to our own file, in the part that is never lent.
        let copied = unsafe {
            pwritev(
                self.file.as_raw_fd(),
                parts.as_ptr(),
                count as c_int,
                self.length as i64,
            )
        };
        usize::try_from(copied).unwrap_or(0) / MARK
    }

    fn view_mut(&mut self, offset: usize, length: usize) -> &mut [u8] {
        debug_assert!(offset + length <= self.view_length);
        let start: *mut u8 = ptr::with_exposed_provenance_mut(self.view + offset);
        // SAFETY: the view is mapped as long as `self` lives, is as long as every caller here keeps
        // to, and nobody else knows its address. What the borrower of the other mapping writes, it
        // writes only during the call, when no such reference exists.
        unsafe { std::slice::from_raw_parts_mut(start, length) }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        unmap(self.view, self.view_length);
        for (page, gone) in self.gone.iter().enumerate() {
            if !gone {
                unmap(self.address + page * self.page, self.page);
            }
        }
    }
}

/// `struct iovec`.
#[repr(C)]
struct Part {
    base: *const u8,
    length: usize,
}

unsafe extern "C" {
    #[link_name = "pwritev64"]
    fn pwritev(file: c_int, parts: *const Part, count: c_int, offset: i64) -> isize;
}

fn map(file: &OwnedFd, length: usize) -> io::Result<usize> {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping at an address of the system's choice.
    let address = unsafe { mmap(ptr::null_mut(), length, access, MapFlags::SHARED, file, 0) }?;
    Ok(address.expose_provenance())
}

fn unmap(address: usize, length: usize) {
    // SAFETY: both callers unmap only what they mapped and know to be there still.
    let unmapped = unsafe { munmap(ptr::with_exposed_provenance_mut(address), length) };
    debug_assert!(unmapped.is_ok());
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 4096;

    #[test]
    fn memory_that_is_left_is_lent_again() {
        let bytes = vec![7; 3 * PAGE];
        let seen = |address: usize| (address, crate::capi::raw::tests::byte(address + 2 * PAGE));
        let (first, byte) = lend(&bytes, PAGE, seen).unwrap();
        assert_eq!(byte, 7);
        let mut lent = Lent::new(PAGE, PAGE).unwrap();
        assert!(lent.is_whole(PAGE));
        assert_ne!(lent.address, first);
    }

    #[test]
    fn memory_that_was_unmapped_and_mapped_by_somebody_else_is_left_alone() {
        // A thread of another test may be quicker and take the place.
        let mapped = (0..100).find_map(|_| {
            let lent = Lent::new(4 * PAGE, PAGE).unwrap();
            let (second, third) = (lent.address + PAGE, lent.address + 2 * PAGE);
            unmap(second, 2 * PAGE);
            let others = crate::capi::raw::map_zeros(Some(third), PAGE).ok()?;
            assert_eq!(others, third);
            Some((lent, third))
        });
        let (mut lent, third) = mapped.unwrap();
        assert!(!lent.is_whole(4 * PAGE));
        assert_eq!(lent.gone, [false, true, true, false]);
        drop(lent);
        assert_eq!(
            crate::capi::raw::tests::byte(third),
            0,
            "the other mapping is still there"
        );
        unmap(third, PAGE);
    }
}
