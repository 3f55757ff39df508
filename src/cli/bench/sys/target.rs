//! Memory that threads touch, page by page.

use std::marker::PhantomData;
use std::ptr;

use actor_pager::Mapping;

use super::PAGE;

/// A mapping that threads may touch while `'a` lasts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    address: usize,
    bytes: usize,
    mapping: PhantomData<&'a ()>,
}

impl<'a> Target<'a> {
    /// The memory of a mapping of the library's.
    pub(crate) fn of(mapping: &'a Mapping) -> Self {
        // SAFETY: the library keeps the range mapped while the mapping lives, which is borrowed; the
        // bench takes no reference to it.
        unsafe { Self::new(mapping.as_ptr().expose_provenance(), mapping.len()) }
    }
    /// The memory of a mapping.
    ///
    /// # Safety
    ///
    /// While `'a` lasts, the range must be mapped for the accesses that are made, and no reference to it may
    /// exist.
    pub(crate) unsafe fn new(address: usize, bytes: usize) -> Self {
        Self {
            address,
            bytes,
            mapping: PhantomData,
        }
    }

    /// Reads the first word of a page.
    pub(crate) fn read(self, page: usize) -> u64 {
        // SAFETY: the word lies in the mapping, as `word` checks; that it may change meanwhile is
        // why the access is volatile.
        unsafe { ptr::read_volatile(self.word(page)) }
    }

    /// Writes the first word of a page.
    pub(crate) fn write(self, page: usize, value: u64) {
        // SAFETY: as for reading.
        unsafe { ptr::write_volatile(self.word(page), value) }
    }

    fn word(self, page: usize) -> *mut u64 {
        let offset = page * PAGE;
        assert!(offset < self.bytes, "page {page} lies outside the mapping");
        ptr::with_exposed_provenance_mut(self.address + offset)
    }
}
