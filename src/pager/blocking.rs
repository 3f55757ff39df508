//! The calls of a pager for callers without a runtime.

use std::ops::Range;

use super::{Pager, Wait};
use crate::actors::block_on;
use crate::backend::Backend;
use crate::error::{CallError, CopyError, MapError, OfferError, ShutdownError, SyncError};
use crate::mach::Residency;
use crate::mach::stream::Advice;
use crate::mapping::{Mapping, Protection};
use crate::object::{CopyStrategy, PageError, PageIndex};
use crate::plan::Plan;

/// The blocking twins, for callers without a runtime. On one of the bucket's own threads they return
/// [`CallError::WouldDeadlock`].
impl<B: Backend> Pager<B> {
    /// [`sync`](Self::sync), blocking.
    pub fn sync_blocking(&self, wait: Wait) -> Result<(), SyncError> {
        self.core.bucket.may_block()?;
        block_on(self.sync(wait))
    }

    /// [`sync_range`](Self::sync_range), blocking.
    pub fn sync_range_blocking(&self, range: Range<u64>, wait: Wait) -> Result<(), SyncError> {
        self.core.bucket.may_block()?;
        block_on(self.sync_range(range, wait))
    }

    /// [`flush`](Self::flush), blocking.
    pub fn flush_blocking(&self, wait: Wait) -> Result<(), SyncError> {
        self.core.bucket.may_block()?;
        block_on(self.flush(wait))
    }

    /// [`flush_range`](Self::flush_range), blocking.
    pub fn flush_range_blocking(&self, range: Range<u64>, wait: Wait) -> Result<(), SyncError> {
        self.core.bucket.may_block()?;
        block_on(self.flush_range(range, wait))
    }

    /// [`return_pages`](Self::return_pages), blocking.
    pub fn return_pages_blocking(&self, wait: Wait) -> Result<(), SyncError> {
        self.core.bucket.may_block()?;
        block_on(self.return_pages(wait))
    }

    /// [`return_range`](Self::return_range), blocking.
    pub fn return_range_blocking(&self, range: Range<u64>, wait: Wait) -> Result<(), SyncError> {
        self.core.bucket.may_block()?;
        block_on(self.return_range(range, wait))
    }

    /// [`offer_page`](Self::offer_page), blocking.
    pub fn offer_page_blocking(
        &self,
        page: PageIndex,
        data: &[u8],
        precious: bool,
        write_lock: bool,
    ) -> Result<(), OfferError> {
        self.core.bucket.may_block()?;
        block_on(self.offer_page(page, data, precious, write_lock))
    }

    /// [`change_attributes`](Self::change_attributes), blocking.
    pub fn change_attributes_blocking(
        &self,
        may_cache: bool,
        copy_strategy: CopyStrategy,
        wait: Wait,
    ) -> Result<(), CallError> {
        self.core.bucket.may_block()?;
        block_on(self.change_attributes(may_cache, copy_strategy, wait))
    }

    /// [`page_error`](Self::page_error), blocking.
    pub fn page_error_blocking(&self, page: PageIndex) -> Result<Option<PageError>, CallError> {
        self.core.bucket.may_block()?;
        block_on(self.page_error(page))
    }

    /// [`residency`](Self::residency), blocking.
    pub fn residency_blocking(&self) -> Result<Residency, CallError> {
        self.core.bucket.may_block()?;
        block_on(self.residency())
    }

    /// [`read_at`](Self::read_at), blocking.
    pub fn read_at_blocking(&self, offset: u64, into: &mut [u8]) -> Result<(), CopyError> {
        self.core.bucket.may_block()?;
        block_on(self.read_at(offset, into))
    }

    /// [`write_at`](Self::write_at), blocking.
    pub fn write_at_blocking(&self, offset: u64, from: &[u8]) -> Result<(), CopyError> {
        self.core.bucket.may_block()?;
        block_on(self.write_at(offset, from))
    }

    /// [`map`](Self::map), blocking.
    pub fn map_blocking(
        &self,
        offset: u64,
        length: u64,
        protection: Protection,
    ) -> Result<Mapping, MapError> {
        self.core.bucket.may_block()?;
        block_on(self.map(offset, length, protection))
    }

    /// [`map_copy`](Self::map_copy), blocking.
    pub fn map_copy_blocking(
        &self,
        offset: u64,
        length: u64,
        protection: Protection,
    ) -> Result<Mapping, MapError> {
        self.core.bucket.may_block()?;
        block_on(self.map_copy(offset, length, protection))
    }

    /// [`map_all`](Self::map_all), blocking.
    pub fn map_all_blocking(&self, protection: Protection) -> Result<Mapping, MapError> {
        self.core.bucket.may_block()?;
        block_on(self.map_all(protection))
    }

    /// [`advise`](Self::advise), blocking.
    pub fn advise_blocking(&self, range: Range<u64>, advice: Advice) -> Result<(), CopyError> {
        self.core.bucket.may_block()?;
        block_on(self.advise(range, advice))
    }

    /// [`take_plan`](Self::take_plan), blocking.
    pub fn take_plan_blocking(&self) -> Result<Option<Plan>, CallError> {
        self.core.bucket.may_block()?;
        block_on(self.take_plan())
    }

    /// [`hold`](Self::hold), blocking.
    pub fn hold_blocking(&self, range: Range<u64>) -> Result<(), CallError> {
        self.core.bucket.may_block()?;
        block_on(self.hold(range))
    }

    /// [`release`](Self::release), blocking.
    pub fn release_blocking(&self, range: Range<u64>) -> Result<bool, CallError> {
        self.core.bucket.may_block()?;
        block_on(self.release(range))
    }

    /// [`shutdown`](Self::shutdown), blocking.
    pub fn shutdown_blocking(&self) -> Result<(), ShutdownError> {
        self.core.bucket.may_block()?;
        block_on(self.shutdown())
    }
}
