//! Touching mapped memory: the one place where the program follows raw addresses.

use std::marker::PhantomData;
use std::ptr;

use actor_pager::Mapping;

/// The memory of a mapping, to be touched by several threads.
///
/// Touching an absent page stops the thread until the page is there; touching one that cannot be
/// had is a `SIGBUS`. Each page must be touched by one thread at a time: whoever calls from
/// several threads shares the pages out among them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory<'a> {
    reading: *const u8,
    writing: *mut u8,
    length: usize,
    mapping: PhantomData<&'a Mapping>,
}

// SAFETY: the addresses stay mapped as long as the mapping is borrowed, for all threads alike; the
// callers share the pages out, so that no two threads copy from and into the same bytes.
unsafe impl Send for Memory<'_> {}
// SAFETY: as for `Send`.
unsafe impl Sync for Memory<'_> {}

impl<'a> Memory<'a> {
    /// The memory of `mapping`, which shows whole pages of this size.
    pub(crate) fn new(mapping: &'a Mapping, page_size: usize) -> Self {
        Self {
            reading: mapping.as_ptr(),
            writing: mapping.as_mut_ptr(),
            length: mapping.len().next_multiple_of(page_size),
            mapping: PhantomData,
        }
    }

    /// Where it begins and how many bytes it has.
    pub(crate) fn addresses(&self) -> (usize, usize) {
        (self.reading.expose_provenance(), self.length)
    }

    /// Copies from `offset` on; returns how many bytes lay within the mapping.
    pub(crate) fn read(&self, offset: usize, into: &mut [u8]) -> usize {
        let count = into.len().min(self.length.saturating_sub(offset));
        // SAFETY: `offset + count` is at most `length`, which `Mapping` keeps mapped for reading
        // while it is borrowed; `into` is this thread's own; no thread writes to a page that
        // another copies, as the callers of `Memory` have promised.
        unsafe { ptr::copy_nonoverlapping(self.reading.add(offset), into.as_mut_ptr(), count) };
        count
    }

    /// Copies to `offset` on; returns how many bytes lay within the mapping: none if it is for
    /// reading only.
    pub(crate) fn write(&self, offset: usize, from: &[u8]) -> usize {
        if self.writing.is_null() {
            return 0;
        }
        let count = from.len().min(self.length.saturating_sub(offset));
        // SAFETY: as in `read`; `writing` is not null only where `Mapping` maps for writing.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), self.writing.add(offset), count) };
        count
    }
}
