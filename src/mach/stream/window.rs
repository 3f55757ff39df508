//! The pages to bring in at one fault.

use crate::object::{PageIndex, PageRange};

/// Pages at equal distances, the faulting one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    start: PageIndex,
    stride: i64,
    count: u64,
}

impl Window {
    /// One page.
    pub const fn single(page: PageIndex) -> Self {
        Self {
            start: page,
            stride: 1,
            count: 1,
        }
    }

    /// `count` pages from `start` on, `stride` apart, as far as they lie in `within`.
    ///
    /// The first page is always in the window.
    pub(super) fn new(start: PageIndex, stride: i64, count: u64, within: PageRange) -> Self {
        let room = match stride {
            1.. => (within.end().0.saturating_sub(start.0 + 1)) / stride as u64,
            0 => 0,
            _ => start.0.saturating_sub(within.start().0) / stride.unsigned_abs(),
        };
        Self {
            start,
            stride,
            count: count.min(room + 1).max(1),
        }
    }

    /// The page that faulted.
    pub const fn start(self) -> PageIndex {
        self.start
    }

    /// The distance from each page to the next, in pages; negative for a stream that goes back.
    pub const fn stride(self) -> i64 {
        self.stride
    }

    /// How many pages, at least one.
    pub const fn count(self) -> u64 {
        self.count
    }

    /// The pages as one run, if there is no gap between them.
    pub fn run(self) -> Option<PageRange> {
        match (self.stride, self.count) {
            (_, 1) | (1, _) => Some(PageRange::with_len(self.start, self.count)),
            (-1, count) => Some(PageRange::new(
                PageIndex(self.start.0 + 1 - count),
                self.start.next(),
            )),
            _ => None,
        }
    }

    /// The pages, the faulting one first.
    pub fn pages(self) -> impl Iterator<Item = PageIndex> + use<> {
        (0..self.count).map(move |at| self.page(at))
    }

    fn page(self, at: u64) -> PageIndex {
        PageIndex(self.start.0.wrapping_add_signed(self.stride * at as i64))
    }
}
