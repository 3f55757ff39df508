//! Pages of which nobody knows what the store has: a write of them was given up and goes on.

use super::Engine;
use crate::object::PageRange;

/// The ranges in doubt, once for each write.
#[derive(Debug, Default)]
pub(super) struct Doubts(Vec<PageRange>);

impl Doubts {
    /// The pages from the first of `range` on that are all in doubt, or all not, and which of these.
    pub(super) fn first_part(&self, range: PageRange) -> (PageRange, bool) {
        if self.0.is_empty() {
            return (range, false);
        }
        let doubtful = |page| self.0.iter().any(|doubt| doubt.contains(page));
        let first = doubtful(range.start());
        let count = range.iter().take_while(|&page| doubtful(page) == first).count();
        (PageRange::with_len(range.start(), count as u64), first)
    }
}

impl Engine {
    /// A write of these pages is given up, and its call goes on: it may still read their memory, and what
    /// the store has of them is not known.
    pub(crate) fn doubt(&mut self, pages: PageRange) {
        self.kernel.pin(pages);
        self.doubts.0.push(pages);
    }

    /// A call that was given up has ended.
    pub(crate) fn believe(&mut self, pages: PageRange) {
        self.kernel.unpin(pages);
        if let Some(at) = self.doubts.0.iter().position(|doubt| *doubt == pages) {
            self.doubts.0.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::PageIndex;

    #[test]
    fn a_range_falls_into_parts_that_are_in_doubt_and_parts_that_are_not() {
        let range = |start, end| PageRange::new(PageIndex(start), PageIndex(end));
        let doubts = Doubts(vec![range(2, 4), range(3, 6)]);
        assert_eq!(doubts.first_part(range(0, 9)), (range(0, 2), false));
        assert_eq!(doubts.first_part(range(2, 9)), (range(2, 6), true));
        assert_eq!(doubts.first_part(range(6, 9)), (range(6, 9), false));
        assert_eq!(Doubts::default().first_part(range(0, 9)), (range(0, 9), false));
    }
}
