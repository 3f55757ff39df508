//! `Port`: a send right to a pager, and what every handle of a pager shares.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::actors::engine::Copied;
use crate::actors::{Control, PagerCell, PagerId, Reply, Request, UserCall, block_on};
use crate::bucket::BucketInner;
use crate::error::{CallError, MapError};
use crate::mach::RawMapping;
use crate::mapping::{Mapping, Protection};
use crate::object::{PageRange, PageSize, Prot, Reference};

/// What every handle of a pager shares.
pub(crate) struct PagerCore {
    pub(crate) bucket: Arc<BucketInner>,
    pub(crate) cell: Arc<PagerCell>,
    pub(crate) page_size: PageSize,
    /// The length of the object in bytes.
    pub(crate) extent: u64,
    /// How many send rights there are.
    pub(crate) rights: Mutex<u64>,
}

impl PagerCore {
    /// Sends a request and waits for its answer.
    pub(crate) async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, CallError> {
        self.send(|reply| UserCall::Request(request(reply))).await
    }

    /// Asks what is answered even while the pager is inhibited.
    pub(crate) async fn control<T>(&self, control: impl FnOnce(Reply<T>) -> Control) -> Result<T, CallError> {
        self.send(|reply| UserCall::Control(control(reply))).await
    }

    async fn send<T>(&self, call: impl FnOnce(Reply<T>) -> UserCall) -> Result<T, CallError> {
        let (reply, answer) = oneshot::channel();
        self.cell.call(call(reply));
        answer.await.map_err(|_| CallError::Gone)
    }

    /// Tells the pager something that has no answer.
    pub(crate) fn tell(&self, control: Control) {
        self.cell.call(UserCall::Control(control));
    }

    /// The extent rounded up to whole pages.
    pub(crate) fn end(&self) -> u64 {
        self.extent.next_multiple_of(self.page_size.bytes())
    }

    /// An error where the range leaves the object.
    pub(crate) fn inside(&self, range: Range<u64>) -> Result<(), CallError> {
        if range.end > self.end() || range.start > range.end {
            return Err(CallError::OutsideExtent {
                end: range.end,
                extent: self.extent,
            });
        }
        Ok(())
    }

    /// The pages that hold `range`.
    pub(crate) fn pages(&self, range: Range<u64>) -> Result<PageRange, CallError> {
        self.inside(range.clone())?;
        Ok(self
            .page_size
            .pages_around(range.start, range.end - range.start)?)
    }

    /// Copies to or from the object's own pages or, with `of`, those of a mapped copy.
    pub(crate) async fn copy(
        &self,
        offset: u64,
        buffer: Vec<u8>,
        access: Prot,
        of: Option<RawMapping>,
    ) -> Result<Copied, CallError> {
        let end = offset.saturating_add(buffer.len() as u64);
        if end > self.extent {
            return Err(CallError::OutsideExtent {
                end,
                extent: self.extent,
            });
        }
        self.ask(|reply| Request::Copy {
            offset,
            buffer,
            access,
            of,
            reply,
        })
        .await
    }
}

/// One send right; the last one to go tells the pager (`mach_notify_no_senders`).
pub(crate) struct SendRight {
    pub(crate) core: Arc<PagerCore>,
}

impl SendRight {
    /// Rights are counted under a lock, so that the pager hears of the first and the last in order.
    pub(crate) fn new(core: &Arc<PagerCore>) -> Self {
        let mut rights = core.rights.lock().unwrap_or_else(PoisonError::into_inner);
        if *rights == 0 {
            core.tell(Control::Added(Reference::SendRights));
        }
        *rights += 1;
        Self { core: core.clone() }
    }
}

impl Clone for SendRight {
    fn clone(&self) -> Self {
        Self::new(&self.core)
    }
}

impl Drop for SendRight {
    fn drop(&mut self) {
        let mut rights = self.core.rights.lock().unwrap_or_else(PoisonError::into_inner);
        *rights -= 1;
        if *rights == 0 {
            self.core.tell(Control::Dropped(Reference::SendRights));
        }
    }
}

/// A send right to a pager's port, which can be mapped (`pager_get_port`).
///
/// It keeps the pager alive as a user reference does. A read-only port (`pager_create_ro_port`)
/// refuses mappings for writing.
#[derive(Clone)]
pub struct Port {
    right: SendRight,
    read_only: bool,
}

impl Port {
    pub(crate) fn new(core: &Arc<PagerCore>, read_only: bool) -> Self {
        Self {
            right: SendRight::new(core),
            read_only,
        }
    }

    /// The number of the pager in its bucket.
    pub fn pager(&self) -> PagerId {
        self.right.core.cell.id
    }

    /// True if only mappings for reading are allowed.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// The length of the object in bytes.
    pub fn extent(&self) -> u64 {
        self.right.core.extent
    }

    /// A port to the same pager that refuses mappings for writing (`memory_object_create_proxy`).
    pub fn read_only(&self) -> Self {
        Self {
            right: self.right.clone(),
            read_only: true,
        }
    }

    /// Maps `length` bytes from `offset` on, which must be at the start of a page (`vm_map`).
    pub async fn map(&self, offset: u64, length: u64, protection: Protection) -> Result<Mapping, MapError> {
        if self.read_only && protection == Protection::ReadWrite {
            return Err(MapError::ReadOnly);
        }
        Mapping::new(&self.right.core, offset, length, protection).await
    }

    /// Maps a private copy of `length` bytes from `offset` on (`vm_map` with `copy`); see
    /// [`Pager::map_copy`](crate::Pager::map_copy).
    ///
    /// Through a read-only port, too, the copy may be written to: the object is only read.
    pub async fn map_copy(
        &self,
        offset: u64,
        length: u64,
        protection: Protection,
    ) -> Result<Mapping, MapError> {
        Mapping::copy_of(&self.right.core, offset, length, protection).await
    }

    /// [`map_copy`](Self::map_copy) for callers without a runtime.
    pub fn map_copy_blocking(
        &self,
        offset: u64,
        length: u64,
        protection: Protection,
    ) -> Result<Mapping, MapError> {
        self.right.core.bucket.may_block()?;
        block_on(self.map_copy(offset, length, protection))
    }

    /// [`map`](Self::map) for callers without a runtime.
    pub fn map_blocking(
        &self,
        offset: u64,
        length: u64,
        protection: Protection,
    ) -> Result<Mapping, MapError> {
        self.right.core.bucket.may_block()?;
        block_on(self.map(offset, length, protection))
    }
}
