//! Pages that a call of the store may still read although nobody waits for it any more.
//!
//! A write that was given up goes on in its worker, with the pages of the memfd in its hands. If they
//! were freed, it would store zeros, and fill the holes with them. So the pages that it may read are
//! pinned until it returns: what is dropped or released meanwhile keeps its memory, and its frame.

use super::object::LinuxObject;
use super::page_table::flag::{LENT, RESIDENT};
use crate::object::{PageIndex, PageRange};

/// The pinned ranges, once for each call, and the pages among them that would have been freed.
#[derive(Debug, Default)]
pub(super) struct Pins {
    ranges: Vec<PageRange>,
    unfreed: Vec<PageIndex>,
}

impl Pins {
    /// True if the memory of a page must stay.
    pub(super) fn hold(&self, page: PageIndex) -> bool {
        self.ranges.iter().any(|range| range.contains(page))
    }

    /// A page that is pinned would be freed now.
    pub(super) fn put_off(&mut self, page: PageIndex) {
        self.unfreed.push(page);
    }

    fn pin(&mut self, range: PageRange) {
        self.ranges.push(range);
    }

    /// Takes one pin away; the pages that may be freed now.
    fn unpin(&mut self, range: PageRange) -> Vec<PageIndex> {
        if let Some(at) = self.ranges.iter().position(|pinned| *pinned == range) {
            self.ranges.swap_remove(at);
        }
        let unfreed = std::mem::take(&mut self.unfreed);
        let (still, mut free): (Vec<_>, Vec<_>) = unfreed.into_iter().partition(|&page| self.hold(page));
        self.unfreed = still;
        free.sort_unstable();
        free
    }
}

impl LinuxObject {
    pub(super) fn pin(&mut self, range: PageRange) {
        self.pins.pin(range);
    }

    pub(super) fn unpin(&mut self, range: PageRange) {
        for page in self.pins.unpin(range) {
            if self.table.get(page) & (RESIDENT | LENT) == 0 {
                self.free_page(page);
            } else {
                // It came back, with a frame of its own.
                self.host.budget.release(&self.share, self.size.bytes());
            }
        }
        self.fill_holes();
        self.after_call();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> PageRange {
        PageRange::new(PageIndex(start), PageIndex(end))
    }

    #[test]
    fn a_page_is_freed_when_its_last_pin_is_gone() {
        let mut pins = Pins::default();
        pins.pin(range(0, 4));
        pins.pin(range(2, 6));
        assert!(pins.hold(PageIndex(5)) && !pins.hold(PageIndex(6)));
        pins.put_off(PageIndex(3));
        pins.put_off(PageIndex(0));
        assert_eq!(pins.unpin(range(0, 4)), [PageIndex(0)]);
        assert_eq!(pins.unpin(range(2, 6)), [PageIndex(3)]);
        assert!(!pins.hold(PageIndex(3)));
    }
}
