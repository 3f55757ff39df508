//! Offsets, page indices and ranges: checked, never bare integers.

use std::fmt;

/// Why a range of bytes or pages was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// The page size is not a power of two between 4 KiB and 2 MiB.
    #[error("page size {0} is not a power of two between 4096 and 2097152")]
    PageSize(u64),
    /// An offset is not a multiple of the page size.
    #[error("offset {offset} is not a multiple of the page size {page_size}")]
    Misaligned {
        /// The offset, in bytes.
        offset: u64,
        /// The page size, in bytes.
        page_size: u64,
    },
    /// Offset plus length lies beyond the end of the address space.
    #[error("offset {offset} plus length {length} overflows")]
    Overflow {
        /// The offset, in bytes.
        offset: u64,
        /// The length, in bytes.
        length: u64,
    },
}

/// The size of an object's pages: a power of two from 4 KiB to 2 MiB.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PageSize(u8);

impl PageSize {
    /// 4 KiB.
    pub const KIB_4: Self = Self(12);
    /// 2 MiB, the largest.
    pub const MIB_2: Self = Self(21);

    /// The page size of `bytes` bytes.
    pub const fn new(bytes: u64) -> Result<Self, RangeError> {
        if bytes.is_power_of_two() && bytes >= 4096 && bytes <= 2 << 20 {
            Ok(Self(bytes.trailing_zeros() as u8))
        } else {
            Err(RangeError::PageSize(bytes))
        }
    }

    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        1 << self.0
    }

    /// The base-2 logarithm of the size.
    pub const fn shift(self) -> u32 {
        self.0 as u32
    }

    /// The page that holds the byte at `offset`.
    pub const fn page_of(self, offset: u64) -> PageIndex {
        PageIndex(offset >> self.0)
    }

    /// The pages that hold `length` bytes from `offset` on, whole or in part.
    pub fn pages_around(self, offset: u64, length: u64) -> Result<PageRange, RangeError> {
        let overflow = RangeError::Overflow { offset, length };
        let end = offset.checked_add(length).ok_or(overflow)?;
        let end = end.checked_add(self.bytes() - 1).ok_or(overflow)? >> self.0;
        Ok(PageRange::new(self.page_of(offset), PageIndex(end)))
    }

    /// The pages from `offset` on, where both `offset` and `length` are whole pages.
    pub fn pages_exact(self, offset: u64, length: u64) -> Result<PageRange, RangeError> {
        for value in [offset, length] {
            if value & (self.bytes() - 1) != 0 {
                return Err(RangeError::Misaligned {
                    offset: value,
                    page_size: self.bytes(),
                });
            }
        }
        self.pages_around(offset, length)
    }
}

impl fmt::Debug for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes())
    }
}

/// The number of a page within its object, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PageIndex(pub u64);

impl PageIndex {
    /// The offset of the page's first byte; the largest offset there is if it lies beyond that.
    pub const fn offset(self, size: PageSize) -> u64 {
        self.0.saturating_mul(size.bytes())
    }

    /// The page after this one; the largest index is its own successor.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A half-open range of pages.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PageRange {
    start: PageIndex,
    end: PageIndex,
}

impl PageRange {
    /// The pages from `start` up to but not including `end`; empty where `end` is not above `start`.
    pub const fn new(start: PageIndex, end: PageIndex) -> Self {
        let end = if end.0 < start.0 { start } else { end };
        Self { start, end }
    }

    /// One page.
    pub const fn single(page: PageIndex) -> Self {
        Self {
            start: page,
            end: page.next(),
        }
    }

    /// `count` pages from `start` on; cut off at the largest page index.
    pub const fn with_len(start: PageIndex, count: u64) -> Self {
        Self {
            start,
            end: PageIndex(start.0.saturating_add(count)),
        }
    }

    /// The first page.
    pub const fn start(self) -> PageIndex {
        self.start
    }

    /// The page after the last.
    pub const fn end(self) -> PageIndex {
        self.end
    }

    /// How many pages.
    pub const fn len(self) -> u64 {
        self.end.0 - self.start.0
    }

    /// True if there is no page in the range.
    pub const fn is_empty(self) -> bool {
        self.start.0 == self.end.0
    }

    /// True if `page` lies in the range.
    pub const fn contains(self, page: PageIndex) -> bool {
        self.start.0 <= page.0 && page.0 < self.end.0
    }

    /// The pages in both ranges.
    pub fn intersection(self, other: Self) -> Self {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }

    /// True if some page lies in both ranges.
    pub fn overlaps(self, other: Self) -> bool {
        !self.intersection(other).is_empty()
    }

    /// The pages, in order.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = PageIndex> + use<> {
        (self.start.0..self.end.0).map(PageIndex)
    }

    /// The offset of the first byte.
    pub const fn offset(self, size: PageSize) -> u64 {
        self.start.offset(size)
    }

    /// The length in bytes.
    pub const fn bytes(self, size: PageSize) -> u64 {
        self.len() << size.shift()
    }
}

impl fmt::Debug for PageRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start.0, self.end.0)
    }
}
