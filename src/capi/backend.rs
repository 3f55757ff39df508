//! The callbacks of a C program as a store.

use std::sync::Arc;

use super::codes::{EIO, EOPNOTSUPP, Errno, page_error};
use super::lent::lend;
use super::mappings::deallocate;
use super::pager::CPager;
use super::raw::copy_page;
use crate::backend::{Backend, BackendError, ReadRun, WriteError, WriteRun};
use crate::object::{PageError, PageIndex, PageRange, PageSize};

/// The store behind a pager of C's.
pub(super) struct CBackend(pub(super) Arc<CPager>);

impl CBackend {
    fn read_page(&self, page: PageIndex, run: &mut ReadRun<'_>) -> Result<(), PageError> {
        let size = run.page_size();
        let read = self.0.callbacks().read_page(self.0.upi(), page.offset(size));
        let read = read.map_err(page_error)?;
        if read.address == 0 {
            return Err(PageError::Io);
        }
        if let Some(into) = run.page_mut(page) {
            copy_page(read.address, into);
        }
        deallocate(read.address, size.bytes() as usize);
        if read.write_lock {
            run.write_lock(page);
        }
        Ok(())
    }

    /// How many bytes `pager_write_pages` has written, if the program has it and it can.
    fn write_in_bulk(&self, run: &WriteRun<'_>) -> std::io::Result<usize> {
        if !self.0.callbacks().writes_in_bulk() {
            return Ok(0);
        }
        let page = run.page_size().bytes() as usize;
        let length = run.bytes().len();
        let call = |address| {
            self.0
                .callbacks()
                .write_pages(self.0.upi(), run.offset(), address, length)
        };
        let (errno, written) = lend(run.bytes(), page, call)?;
        Ok(if errno == EOPNOTSUPP {
            0
        } else {
            written / page * page
        })
    }

    fn write_page(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        let call = |address| self.0.callbacks().write_page(self.0.upi(), offset, address);
        lend(bytes, bytes.len(), call).map_err(|_| EIO)?
    }
}

impl Backend for CBackend {
    /// Whole pages: the program cuts the tail of the last one off itself.
    fn extent(&self) -> u64 {
        self.0.extent()
    }

    fn read_pages(&self, run: &mut ReadRun<'_>) -> Result<(), BackendError> {
        for page in run.range().iter() {
            if let Err(error) = self.read_page(page, run) {
                run.fail(page, error);
            }
        }
        Ok(())
    }

    fn write_pages(&self, run: &WriteRun<'_>) -> Result<(), WriteError> {
        let page = run.page_size().bytes() as usize;
        let done = self.write_in_bulk(run).map_err(BackendError::from)?;
        for at in (done..run.bytes().len()).step_by(page) {
            let offset = run.offset() + at as u64;
            let written = self.write_page(offset, &run.bytes()[at..at + page]);
            written.map_err(|errno| WriteError {
                written: (at / page) as u64,
                source: page_error(errno).into(),
            })?;
        }
        Ok(())
    }

    fn unlock_pages(&self, range: PageRange, page_size: PageSize) -> Result<(), BackendError> {
        for page in range.iter() {
            let unlocked = self
                .0
                .callbacks()
                .unlock_page(self.0.upi(), page.offset(page_size));
            unlocked.map_err(page_error)?;
        }
        Ok(())
    }

    fn notify_evict(&self, range: PageRange, page_size: PageSize) {
        for page in range.iter() {
            self.0
                .callbacks()
                .notify_evict(self.0.upi(), page.offset(page_size));
        }
    }

    fn clear_user_data(&self) {
        self.0.clear();
    }
}
