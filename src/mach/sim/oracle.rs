//! The oracle: what every byte must be.

use std::collections::BTreeMap;

use crate::object::{PageIndex, PageRange};

/// Bytes that are not what they must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("page {page:?} was supplied with byte {found:#04x} at {at}, but the pager was given {expected:#04x}")]
pub struct Mismatch {
    /// The page.
    pub page: PageIndex,
    /// The first wrong byte within the page.
    pub at: usize,
    /// What it must be.
    pub expected: u8,
    /// What it was.
    pub found: u8,
}

/// Remembers, page by page, what the pager was last known to have: what it supplied, or what it was
/// given back. A supply that differs is a mismatch.
#[derive(Clone, Debug, Default)]
pub(super) struct Oracle {
    known: BTreeMap<PageIndex, Vec<u8>>,
    mismatches: Vec<Mismatch>,
}

impl Oracle {
    /// The pager supplied a page that was asked for.
    pub(super) fn supplied(&mut self, page: PageIndex, bytes: &[u8]) {
        match self.known.get_mut(&page) {
            Some(known) if known.as_slice() == bytes => {}
            Some(known) => {
                let at = (known.iter().zip(bytes)).position(|(a, b)| a != b).unwrap_or(0);
                self.mismatches.push(Mismatch {
                    page,
                    at,
                    expected: known.get(at).copied().unwrap_or(0),
                    found: bytes.get(at).copied().unwrap_or(0),
                });
            }
            None => self.learn(page, bytes),
        }
    }

    /// The pager has these bytes from now on: it was given them, or offered them itself.
    pub(super) fn learn(&mut self, page: PageIndex, bytes: &[u8]) {
        let known = self.known.entry(page).or_default();
        known.clear();
        known.extend_from_slice(bytes);
    }

    /// Nothing is known of these pages any more: the store was changed behind the pager's back.
    pub(super) fn forget(&mut self, range: PageRange) {
        self.known.retain(|page, _| !range.contains(*page));
    }

    /// What the pager must supply for `page`, if that is known.
    pub(super) fn expected(&self, page: PageIndex) -> Option<&[u8]> {
        self.known.get(&page).map(Vec::as_slice)
    }

    pub(super) fn mismatches(&self) -> &[Mismatch] {
        &self.mismatches
    }
}
