//! Pages that were evicted a short while ago, as 16-bit fingerprints.

use super::slots::{below, hash};
use crate::object::PageIndex;

const WAYS: usize = 8;

/// Remembers about as many evicted pages as it has places, the latest ones, 2 bytes each.
///
/// It may take a page for another one (1 time in 4000) and may forget a page early; both only cost
/// a hit now and then.
#[derive(Debug, Default)]
pub(super) struct Ghost {
    /// Sets of `WAYS` fingerprints, the latest first; 0 is no page.
    sets: Vec<[u16; WAYS]>,
}

impl Ghost {
    /// Makes room for the evicted pages of a cache of `pages` pages; forgets all when it grows.
    pub(super) fn fit(&mut self, pages: usize) {
        let sets = pages.div_ceil(WAYS);
        if sets > self.sets.len() {
            self.sets = vec![[0; WAYS]; sets + sets / 4];
        }
    }

    /// Remembers `page`.
    pub(super) fn add(&mut self, page: PageIndex) {
        let (set, print) = self.locate(page);
        if let Some(ways) = self.sets.get_mut(set) {
            ways.copy_within(0..WAYS - 1, 1);
            ways[0] = print;
        }
    }

    /// Forgets `page`; true if it was remembered.
    pub(super) fn take(&mut self, page: PageIndex) -> bool {
        let (set, print) = self.locate(page);
        let Some(ways) = self.sets.get_mut(set) else {
            return false;
        };
        let found = ways.iter_mut().find(|way| **way == print);
        found.map(|way| *way = 0).is_some()
    }

    /// How many bytes of memory are held.
    pub(super) fn memory(&self) -> usize {
        self.sets.capacity() * WAYS * 2
    }

    fn locate(&self, page: PageIndex) -> (usize, u16) {
        let hash = hash(page.0);
        (below(hash, self.sets.len()), hash as u16 | 1)
    }
}
