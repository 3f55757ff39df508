//! The store fails on purpose, and comes back: an error on a page, a panic, a full disk.

use actor_pager::backend::{Backend, CallKind, Fault, FaultControl};
use actor_pager::error::{CopyError, SyncError};
use actor_pager::object::{PageError, PageIndex, PageRange};
use actor_pager::{Mapping, Pager, Wait};

use super::contents::Contents;
use super::failure::Failure;
use super::score::Score;

/// How many pages a drill has to itself.
pub(crate) const PAGES: u64 = 16;

/// Where in those the failures are.
const EIO_AT: u64 = 3;
const PANIC_AT: u64 = 8;
const FULL_AT: u64 = 12;

/// How often a read is tried after a panic.
const TRIES: u32 = 100;

/// A drill on the last pages of an object.
pub(crate) struct Drill<'a, B: Backend> {
    pub(crate) pager: &'a Pager<B>,
    pub(crate) mapping: &'a Mapping,
    pub(crate) faults: &'a FaultControl,
    pub(crate) contents: &'a Contents,
    pub(crate) score: &'a Score,
    /// The first of its pages.
    pub(crate) first: u64,
}

impl<B: Backend> Drill<'_, B> {
    /// Goes through all failures; `versions` are those of its pages.
    pub(crate) fn run(&self, versions: &mut [u32]) -> Result<(), Failure> {
        self.bad_page(versions)?;
        self.panic(versions)?;
        self.full_disk(versions)
    }

    /// A page that cannot be read until it heals.
    fn bad_page(&self, versions: &[u32]) -> Result<(), Failure> {
        let bad = PageIndex(self.first + EIO_AT);
        self.drop_pages()?;
        self.faults.fail(
            CallKind::Read,
            PageRange::single(bad),
            Fault::Error(PageError::Io),
        );
        let mut buffer = vec![0; PAGES as usize * self.page_size()];
        match self.mapping.read_at(self.offset(0), &mut buffer) {
            Err(CopyError::Page {
                copied,
                page,
                error: PageError::Io,
            }) if page == bad && copied == EIO_AT as usize * self.page_size() => {}
            other => return Err(drill(format!("a read over a bad page gave {other:?}"))),
        }
        self.score.met();
        self.expect_error(bad, Some(PageError::Io))?;
        self.faults.heal(bad);
        self.read(&mut buffer)?;
        self.compare(versions, &mut buffer);
        self.expect_error(bad, None)?;
        self.score.recovered();
        Ok(())
    }

    /// A worker that panics in the middle of a read.
    fn panic(&self, versions: &[u32]) -> Result<(), Failure> {
        self.drop_pages()?;
        let page = PageRange::single(PageIndex(self.first + PANIC_AT));
        self.faults.fail_next(CallKind::Read, page, Fault::Panic);
        let mut buffer = vec![0; PAGES as usize * self.page_size()];
        let tries = (0..TRIES).take_while(|_| self.read(&mut buffer).is_err()).count();
        if tries == TRIES as usize {
            return Err(drill("a page did not come back after a panic".to_owned()));
        }
        if self.faults.counts(CallKind::Read).panics == 0 {
            return Err(drill("the panic on purpose never happened".to_owned()));
        }
        self.score.met();
        self.compare(versions, &mut buffer);
        self.score.recovered();
        Ok(())
    }

    /// A page that cannot be written until there is space.
    fn full_disk(&self, versions: &mut [u32]) -> Result<(), Failure> {
        let page = PageIndex(self.first + FULL_AT);
        self.change(versions, FULL_AT)?;
        let range = PageRange::single(page);
        self.faults
            .fail(CallKind::Write, range, Fault::Error(PageError::NoSpace));
        match self.pager.sync_range_blocking(self.bytes(), Wait::Yes) {
            Err(SyncError::Pages(failed)) if failed.iter().any(|part| part.range.contains(page)) => {}
            other => return Err(drill(format!("a sync to a full disk gave {other:?}"))),
        }
        self.score.met();
        self.faults.heal(page);
        // A try that began before the disk had room again may fail under the first sync, not the second.
        let first = self.pager.sync_range_blocking(self.bytes(), Wait::Yes);
        first.or_else(|_| self.pager.sync_range_blocking(self.bytes(), Wait::Yes))?;
        self.score.recovered();
        Ok(())
    }

    /// Turns a page into its next version.
    fn change(&self, versions: &mut [u32], at: u64) -> Result<(), Failure> {
        let page = self.first + at;
        let Some(version) = versions.get_mut(at as usize) else {
            return Ok(());
        };
        let mut buffer = vec![0; self.contents.bytes_of(page)];
        let offset = self.offset(at);
        let copied = self.mapping.read_at(offset, &mut buffer).and_then(|()| {
            self.contents.change(page, *version, *version + 1, &mut buffer);
            self.mapping.write_at(offset, &buffer)
        });
        copied.map_err(|error| drill(format!("a good page could not be changed: {error}")))?;
        *version += 1;
        Ok(())
    }

    /// Makes the next read of the pages go to the store.
    fn drop_pages(&self) -> Result<(), Failure> {
        Ok(self.pager.return_range_blocking(self.bytes(), Wait::Yes)?)
    }

    fn read(&self, buffer: &mut [u8]) -> Result<(), Failure> {
        let read = self.mapping.read_at(self.offset(0), buffer);
        read.map_err(|error| drill(format!("the pages did not come back: {error}")))
    }

    fn compare(&self, versions: &[u32], buffer: &mut [u8]) {
        let pages = (self.first..).zip(buffer.chunks_mut(self.page_size()));
        for ((page, bytes), version) in pages.zip(versions) {
            if !self.contents.is_right(page, *version, bytes) {
                self.score.wrong(page);
            }
        }
    }

    fn expect_error(&self, page: PageIndex, expected: Option<PageError>) -> Result<(), Failure> {
        match self.pager.page_error_blocking(page) {
            Ok(error) if error == expected => Ok(()),
            other => Err(drill(format!(
                "the error of page {} is {other:?}, not {expected:?}",
                page.0
            ))),
        }
    }

    fn page_size(&self) -> usize {
        self.contents.page_size()
    }

    /// Where one of the pages begins.
    fn offset(&self, at: u64) -> usize {
        (self.first + at) as usize * self.page_size()
    }

    /// All of the pages.
    fn bytes(&self) -> std::ops::Range<u64> {
        let start = self.offset(0) as u64;
        start..start + PAGES * self.page_size() as u64
    }
}

fn drill(what: String) -> Failure {
    Failure::Drill(what)
}
