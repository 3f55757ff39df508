//! Words that say whose they are and which version: nothing can take their place unnoticed.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use actor_pager::takeover::RemoteMapping;

use crate::cli::rng::mix;

/// Bytes per page.
pub(super) const PAGE: usize = 4096;
/// Words per page.
pub(super) const WORDS: usize = PAGE / 8;

/// What word `at` of `page` holds in a version: a checksum of all three, then the version.
pub(super) fn word(page: usize, at: usize, version: u32) -> u64 {
    let place = (page as u64) << 41 | (at as u64) << 32 | u64::from(version);
    // Never zero, so that a page of zeros is always wrong.
    (mix(place) >> 32 | 1) << 32 | u64::from(version)
}

/// The version in a word, if it is one of this place.
pub(super) fn version(page: usize, at: usize, found: u64) -> Option<u32> {
    (found == word(page, at, found as u32)).then_some(found as u32)
}

/// The memory of a mapping as words that threads share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words<'a> {
    base: *const AtomicU64,
    pages: usize,
    mapping: PhantomData<&'a RemoteMapping>,
}

// SAFETY: the words are mapped as long as the mapping is borrowed, and are only used as atomics.
unsafe impl Send for Words<'_> {}
// SAFETY: as for `Send`.
unsafe impl Sync for Words<'_> {}

impl<'a> Words<'a> {
    /// The words of a mapping for reading and writing.
    pub(super) fn new(mapping: &'a RemoteMapping) -> Self {
        Self {
            base: mapping.as_mut_ptr().cast_const().cast(),
            pages: mapping.len() / PAGE,
            mapping: PhantomData,
        }
    }

    /// How many pages there are.
    pub(super) fn pages(&self) -> usize {
        self.pages
    }

    /// A word; the first one of the memory where there is no such word.
    fn at(&self, page: usize, at: usize) -> &AtomicU64 {
        let index = if page < self.pages && at < WORDS {
            page * WORDS + at
        } else {
            0
        };
        // SAFETY: the index lies within the mapping, whose address is that of a page; nobody uses the
        // words but as atomics.
        unsafe { &*self.base.add(index) }
    }

    /// Reads a word.
    pub(super) fn load(&self, page: usize, at: usize) -> u64 {
        self.at(page, at).load(Relaxed)
    }

    /// Writes a word.
    pub(super) fn store(&self, page: usize, at: usize, value: u64) {
        self.at(page, at).store(value, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_right_in_one_place_only() {
        assert_eq!(version(3, 4, word(3, 4, 5)), Some(5));
        assert_eq!(version(3, 5, word(3, 4, 5)), None);
        assert_eq!(version(2, 4, word(3, 4, 5)), None);
        assert_eq!(version(0, 0, 0), None);
    }
}
