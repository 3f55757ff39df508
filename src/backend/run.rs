//! One request to a store: a run of pages to read or to write, and its errors.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::object::{PageError, PageIndex, PageRange, PageSize};

/// Why a store could not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// The store could not read or write.
    #[error("the store failed")]
    Io(#[source] io::Error),
    /// No space left.
    #[error("no space left in the store")]
    NoSpace,
    /// The quota is used up.
    #[error("the quota of the store is used up")]
    Quota,
}

impl BackendError {
    /// The kind a client can tell apart.
    pub fn page_error(&self) -> PageError {
        match self {
            Self::Io(_) => PageError::Io,
            Self::NoSpace => PageError::NoSpace,
            Self::Quota => PageError::Quota,
        }
    }
}

impl From<io::Error> for BackendError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::StorageFull {
            Self::NoSpace
        } else if error.kind() == io::ErrorKind::QuotaExceeded {
            Self::Quota
        } else {
            Self::Io(error)
        }
    }
}

impl From<PageError> for BackendError {
    fn from(error: PageError) -> Self {
        match error {
            PageError::Io => Self::Io(io::Error::other("input/output error")),
            PageError::NoSpace => Self::NoSpace,
            PageError::Quota => Self::Quota,
        }
    }
}

/// A write that stopped half-way.
#[derive(Debug, thiserror::Error)]
#[error("only {written} pages were written")]
pub struct WriteError {
    /// How many pages from the first on are in the store.
    pub written: u64,
    /// Why the next one is not.
    #[source]
    pub source: BackendError,
}

impl From<BackendError> for WriteError {
    fn from(source: BackendError) -> Self {
        Self { written: 0, source }
    }
}

/// Pages to read: a buffer to fill, page by page or as a whole.
///
/// The buffer reads as zeros until it is written to; a store that fills every byte anyway spares
/// the zeroing by [`buffer_to_fill`](Self::buffer_to_fill).
#[derive(Debug)]
pub struct ReadRun<'a> {
    range: PageRange,
    page_size: PageSize,
    buffer: &'a mut [u8],
    /// The buffer still holds what somebody else left in it.
    stale: bool,
    outcomes: &'a mut Vec<PageOutcome>,
    filled: u64,
    shared: Option<SharedBytes>,
}

/// Bytes of a store that are read where they lie.
pub(crate) struct SharedBytes {
    memory: Arc<dyn AsRef<[u8]> + Send + Sync>,
    start: usize,
    length: usize,
}

impl SharedBytes {
    pub(crate) fn bytes(&self) -> &[u8] {
        let memory = (*self.memory).as_ref();
        memory
            .get(self.start..self.start + self.length)
            .unwrap_or_default()
    }
}

impl fmt::Debug for SharedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedBytes({} bytes)", self.length)
    }
}

/// What became of one page of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageOutcome {
    /// Supplied; whether it is write-locked.
    Supplied {
        /// Writing needs an unlock first.
        write_lock: bool,
    },
    /// Failed.
    Failed(PageError),
}

impl<'a> ReadRun<'a> {
    /// A run over `buffer`, which is as long as the pages of `range` and may hold anything.
    pub fn new(
        range: PageRange,
        page_size: PageSize,
        buffer: &'a mut [u8],
        outcomes: &'a mut Vec<PageOutcome>,
    ) -> Self {
        debug_assert_eq!(buffer.len() as u64, range.bytes(page_size));
        outcomes.clear();
        outcomes.resize(range.len() as usize, PageOutcome::Supplied { write_lock: false });
        Self {
            range,
            page_size,
            buffer,
            stale: true,
            outcomes,
            filled: 0,
            shared: None,
        }
    }

    /// The pages wanted.
    pub fn range(&self) -> PageRange {
        self.range
    }

    /// The size of a page.
    pub fn page_size(&self) -> PageSize {
        self.page_size
    }

    /// The offset of the first byte within the object.
    pub fn offset(&self) -> u64 {
        self.range.offset(self.page_size)
    }

    /// The memory of the whole run, zero where nothing was written yet.
    pub fn buffer(&mut self) -> &mut [u8] {
        self.zero_if_stale();
        self.buffer
    }

    /// The memory of the whole run, holding anything: for a store that overwrites every byte.
    ///
    /// Whatever it leaves of a page that it does not fail, the reader sees, even if it is
    /// another object's.
    pub fn buffer_to_fill(&mut self) -> &mut [u8] {
        self.unshare();
        self.stale = false;
        self.buffer
    }

    /// Supplies the whole run from memory that holds it already, from its byte `start` on: a store in
    /// memory spares a copy by it. False, and nothing is done, where that memory ends before the run does.
    pub fn share(&mut self, memory: Arc<dyn AsRef<[u8]> + Send + Sync>, start: usize) -> bool {
        let length = self.buffer.len();
        let end = start.checked_add(length);
        let there = end.is_some_and(|end| end <= (*memory).as_ref().len());
        if there {
            self.shared = Some(SharedBytes {
                memory,
                start,
                length,
            });
        }
        there
    }

    /// The memory that the run was supplied from; its buffer is not needed then.
    pub(crate) fn take_shared(&mut self) -> Option<SharedBytes> {
        self.stale &= self.shared.is_none();
        self.shared.take()
    }

    fn unshare(&mut self) {
        if let Some(shared) = self.shared.take() {
            let bytes = shared.bytes();
            self.stale = bytes.len() != self.buffer.len();
            if !self.stale {
                self.buffer.copy_from_slice(bytes);
            }
        }
    }

    /// The memory of the bytes below `extent`, holding anything, for a store that overwrites them
    /// all; what lies beyond is made zero.
    pub fn zero_beyond(&mut self, extent: u64) -> &mut [u8] {
        let inside = extent.saturating_sub(self.offset());
        let inside = inside.min(self.buffer.len() as u64) as usize;
        let (inside, beyond) = self.buffer_to_fill().split_at_mut(inside);
        beyond.fill(0);
        inside
    }

    /// The memory of one page; `None` if the page is not in the run.
    pub fn page_mut(&mut self, page: PageIndex) -> Option<&mut [u8]> {
        let size = self.page_size.bytes() as usize;
        let at = self.position(page)? * size;
        self.zero_if_stale();
        self.buffer.get_mut(at..at + size)
    }

    /// Supplies `page` write-locked: before it is written to, `unlock_pages` is asked.
    pub fn write_lock(&mut self, page: PageIndex) {
        self.set(page, PageOutcome::Supplied { write_lock: true });
    }

    /// Fails `page` alone.
    pub fn fail(&mut self, page: PageIndex, error: PageError) {
        self.set(page, PageOutcome::Failed(error));
    }

    /// Says that the first `pages` pages are good, whatever comes after.
    pub fn filled(&mut self, pages: u64) {
        self.filled = pages.min(self.range.len());
    }

    /// Ends the run: an error fails the pages that were not filled.
    pub fn finish(mut self, result: Result<(), BackendError>) {
        self.zero_if_stale();
        if let Err(error) = result {
            let failed = PageOutcome::Failed(error.page_error());
            self.outcomes[self.filled as usize..].fill(failed);
        }
    }

    fn zero_if_stale(&mut self) {
        self.unshare();
        if std::mem::take(&mut self.stale) {
            self.buffer.fill(0);
        }
    }

    fn position(&self, page: PageIndex) -> Option<usize> {
        self.range
            .contains(page)
            .then(|| (page.0 - self.range.start().0) as usize)
    }

    fn set(&mut self, page: PageIndex, outcome: PageOutcome) {
        if let Some(at) = self.position(page) {
            self.outcomes[at] = outcome;
        }
    }
}

/// Pages to write; they hold still while the call runs.
#[derive(Clone, Copy, Debug)]
pub struct WriteRun<'a> {
    range: PageRange,
    page_size: PageSize,
    bytes: &'a [u8],
}

impl<'a> WriteRun<'a> {
    /// A run over `bytes`, which hold the pages of `range`.
    pub fn new(range: PageRange, page_size: PageSize, bytes: &'a [u8]) -> Self {
        debug_assert_eq!(bytes.len() as u64, range.bytes(page_size));
        Self {
            range,
            page_size,
            bytes,
        }
    }

    /// The pages.
    pub fn range(&self) -> PageRange {
        self.range
    }

    /// The size of a page.
    pub fn page_size(&self) -> PageSize {
        self.page_size
    }

    /// The offset of the first byte within the object.
    pub fn offset(&self) -> u64 {
        self.range.offset(self.page_size)
    }

    /// The contents of the whole run.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The run of the first `pages` pages alone.
    pub fn first(&self, pages: u64) -> Self {
        let range = PageRange::with_len(self.range.start(), pages).intersection(self.range);
        let bytes = range.bytes(self.page_size) as usize;
        Self::new(range, self.page_size, &self.bytes[..bytes])
    }

    /// The contents below `extent`: what a store of that length keeps.
    pub fn bytes_within(&self, extent: u64) -> &'a [u8] {
        let inside = extent.saturating_sub(self.offset());
        &self.bytes[..inside.min(self.bytes.len() as u64) as usize]
    }

    /// The contents of one page; `None` if the page is not in the run.
    pub fn page(&self, page: PageIndex) -> Option<&'a [u8]> {
        if !self.range.contains(page) {
            return None;
        }
        let size = self.page_size.bytes() as usize;
        let at = (page.0 - self.range.start().0) as usize * size;
        self.bytes.get(at..at + size)
    }
}
