//! `Pager`: what a user holds of a memory object.

mod answers;
mod blocking;
mod references;

use std::ops::Range;
use std::sync::Arc;

use crate::actors::engine::Outcome;
use crate::actors::{Control, FailurePolicy, PagerId, Request};
use crate::backend::{Backend, PageBuffer};
use crate::error::{CallError, CopyError, MapError, OfferError, ShutdownError, SyncError};
use crate::mach::Residency;
use crate::mach::eviction::Share;
use crate::mach::stream::Advice;
use crate::mapping::{Mapping, Protection};
use crate::object::{CopyStrategy, LockKind, PageError, PageIndex, PageSize};
use crate::plan::Plan;
use crate::port::{PagerCore, Port};
use answers::{done, outcome, simply_done};
use references::UserReference;

pub use references::{AnyPager, WeakPager};

/// How a pager is to be.
#[derive(Clone, Debug)]
pub struct PagerOptions {
    /// For logs and errors; a number unless given.
    pub name: Option<String>,
    /// The size of the object's pages: a multiple of the system's, at most 2 MiB.
    pub page_size: PageSize,
    /// Keep pages resident when the last mapping goes (`may_cache`).
    pub may_cache: bool,
    /// How the kernel copies the object (`copy_strategy`).
    pub copy_strategy: CopyStrategy,
    /// Call [`Backend::notify_evict`] for every page that leaves the cache (`notify_on_evict`).
    pub notify_on_evict: bool,
    /// The pager's claim on the bounded memory of its bucket: a weight, and a floor in its own pages.
    pub share: Share,
    /// What to do when the store fails.
    pub policy: FailurePolicy,
}

impl Default for PagerOptions {
    fn default() -> Self {
        Self {
            name: None,
            page_size: PageSize::KIB_4,
            may_cache: true,
            copy_strategy: CopyStrategy::None,
            notify_on_evict: false,
            share: Share::default(),
            policy: FailurePolicy::default(),
        }
    }
}

/// Whether to wait until a request is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Return when it is done: written, dropped, confirmed.
    Yes,
    /// Return when it is under way.
    No,
}

/// A user reference to a pager (`struct pager`).
///
/// A clone is the same reference. When the last clone and the last mapping are gone, the pages are
/// written back and the pager ends.
pub struct Pager<B: Backend> {
    core: Arc<PagerCore>,
    user: Arc<UserReference>,
    backend: Arc<B>,
}

impl<B: Backend> Clone for Pager<B> {
    fn clone(&self) -> Self {
        Self {
            core: self.core.clone(),
            user: self.user.clone(),
            backend: self.backend.clone(),
        }
    }
}

impl<B: Backend> Pager<B> {
    pub(crate) fn new(core: PagerCore, backend: Arc<B>) -> Self {
        let core = Arc::new(core);
        let user = Arc::new(UserReference { core: core.clone() });
        Self { core, user, backend }
    }

    /// An error where waiting would mean waiting for this very thread.
    #[cfg(feature = "capi")]
    pub(crate) fn may_block(&self) -> Result<(), CallError> {
        self.core.bucket.may_block()
    }

    /// The user's own value (`pager_get_upi`).
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// The number of the pager in its bucket.
    pub fn id(&self) -> PagerId {
        self.core.cell.id
    }

    /// The size of the object's pages.
    pub fn page_size(&self) -> PageSize {
        self.core.page_size
    }

    /// The length of the object in bytes, as it was when the pager was made.
    pub fn extent(&self) -> u64 {
        self.core.extent
    }

    /// A reference that does not keep the pager alive (`ports_port_ref_weak`).
    pub fn downgrade(&self) -> WeakPager<B> {
        self.core.tell(Control::AddWeak);
        let user = Arc::downgrade(&self.user);
        WeakPager {
            core: self.core.clone(),
            user,
            backend: Arc::downgrade(&self.backend),
        }
    }

    /// A send right, which can be mapped and given away (`pager_get_port`).
    pub fn port(&self) -> Port {
        Port::new(&self.core, false)
    }

    /// A send right that refuses mappings for writing (`pager_create_ro_port`).
    pub fn read_only_port(&self) -> Port {
        Port::new(&self.core, true)
    }

    /// The same user reference without the type of its store.
    pub fn any(&self) -> AnyPager {
        AnyPager {
            core: self.core.clone(),
            _user: self.user.clone(),
        }
    }

    /// Says how the pages that hold `range` will be used (`madvise`).
    ///
    /// `Sequential` and `Random` govern read-ahead; `WillNeed` and `DontNeed` bring pages in and give
    /// them up without waiting; `Populate` returns when the pages are there, or with the error of the
    /// first that cannot be had.
    pub async fn advise(&self, range: Range<u64>, advice: Advice) -> Result<(), CopyError> {
        let pages = self.core.pages(range.clone())?;
        if advice != Advice::Populate {
            self.core.tell(Control::Advise { range: pages, advice });
            return Ok(());
        }
        let (offset, length) = (range.start, (range.end - range.start) as usize);
        let ask = self.core.ask(|reply| Request::Populate {
            offset,
            length,
            reply,
        });
        outcome(&ask.await?)
    }

    /// Begins to record which pages are asked for, to be prefetched the next time.
    pub fn record_plan(&self) {
        self.core.tell(Control::Record);
    }

    /// Ends the recording; `None` where none was begun.
    pub async fn take_plan(&self) -> Result<Option<Plan>, CallError> {
        self.core.control(|reply| Control::TakePlan { reply }).await
    }

    /// Asks for the working set of a recorded plan before anybody needs it; waits for nothing.
    pub fn prefetch(&self, plan: &Plan) {
        let Ok(extent) = self.core.pages(0..self.core.extent) else {
            return;
        };
        for range in plan.working_set(extent) {
            self.core.tell(Control::Advise {
                range,
                advice: Advice::WillNeed,
            });
        }
    }

    /// Keeps the pages that hold `range` from being written back until they are released: say, until
    /// the log that describes them is durable.
    ///
    /// Writes that have begun go on. A sync of such pages waits for the release, and they stay
    /// resident: more of them than the bucket's bound leaves no room for others. Holds add up.
    pub async fn hold(&self, range: Range<u64>) -> Result<(), CallError> {
        let range = self.core.pages(range)?;
        self.core.control(|reply| Control::Hold { range, reply }).await
    }

    /// Ends one [`hold`](Self::hold) of the same range; false where there is none.
    pub async fn release(&self, range: Range<u64>) -> Result<bool, CallError> {
        let range = self.core.pages(range)?;
        self.core.control(|reply| Control::Release { range, reply }).await
    }

    /// Lets a pager that was quarantined use its store again, which is made anew first.
    pub fn revive(&self) {
        self.core.tell(Control::Revive);
    }

    /// Writes dirty and precious pages back and keeps them resident (`pager_sync`).
    pub async fn sync(&self, wait: Wait) -> Result<(), SyncError> {
        self.sync_range(0..self.core.extent, wait).await
    }

    /// [`sync`](Self::sync) of the pages that hold `range` (`pager_sync_some`).
    pub async fn sync_range(&self, range: Range<u64>, wait: Wait) -> Result<(), SyncError> {
        self.core.lock(LockKind::Sync, range, wait).await
    }

    /// Drops the pages, modifications too (`pager_flush`).
    pub async fn flush(&self, wait: Wait) -> Result<(), SyncError> {
        self.flush_range(0..self.core.extent, wait).await
    }

    /// [`flush`](Self::flush) of the pages that hold `range` (`pager_flush_some`).
    pub async fn flush_range(&self, range: Range<u64>, wait: Wait) -> Result<(), SyncError> {
        self.core.lock(LockKind::Flush, range, wait).await
    }

    /// Writes dirty and precious pages back and drops all (`pager_return`).
    ///
    /// A page whose write fails stays, dirty.
    pub async fn return_pages(&self, wait: Wait) -> Result<(), SyncError> {
        self.return_range(0..self.core.extent, wait).await
    }

    /// [`return_pages`](Self::return_pages) of the pages that hold `range` (`pager_return_some`).
    pub async fn return_range(&self, range: Range<u64>, wait: Wait) -> Result<(), SyncError> {
        self.core.lock(LockKind::Return, range, wait).await
    }

    /// Puts a page into the kernel unasked (`pager_offer_page`); `data` is one page long.
    ///
    /// Ignored where the page is resident. A precious page is written back even if it is never
    /// changed; a write-locked one asks [`Backend::unlock_pages`] before the first write.
    pub async fn offer_page(
        &self,
        page: PageIndex,
        data: &[u8],
        precious: bool,
        write_lock: bool,
    ) -> Result<(), OfferError> {
        let size = self.core.page_size.bytes();
        if data.len() as u64 != size {
            return Err(OfferError::Length {
                page_size: size,
                given: data.len(),
            });
        }
        let start = page.0.saturating_mul(size);
        self.core.inside(start..start.saturating_add(size))?;
        let mut bytes = PageBuffer::zeroed(data.len());
        bytes.copy_from_slice(data);
        let answer = self
            .core
            .ask(|reply| Request::Offer {
                page,
                bytes,
                precious,
                write_lock,
                reply,
            })
            .await?;
        Ok(simply_done(answer)?)
    }

    /// Changes what the kernel does when the last mapping goes, and how it copies
    /// (`pager_change_attributes`).
    pub async fn change_attributes(
        &self,
        may_cache: bool,
        copy_strategy: CopyStrategy,
        wait: Wait,
    ) -> Result<(), CallError> {
        let wait = wait == Wait::Yes;
        simply_done(
            self.core
                .ask(|reply| Request::ChangeAttributes {
                    may_cache,
                    copy_strategy,
                    wait,
                    reply,
                })
                .await?,
        )
    }

    /// The error of the last failure on a page (`pager_get_error`); `None` after a success.
    pub async fn page_error(&self, page: PageIndex) -> Result<Option<PageError>, CallError> {
        self.core
            .control(|reply| Control::PageError { page, reply })
            .await
    }

    /// How much of the object is resident.
    pub async fn residency(&self) -> Result<Residency, CallError> {
        self.core.control(|reply| Control::Residency { reply }).await
    }

    /// Copies bytes from `offset` on into `into`; never faults (`pager_memcpy`).
    ///
    /// An error says exactly how many bytes were copied, up to the start of the first bad page.
    pub async fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), CopyError> {
        self.core.read_at(offset, into, None).await
    }

    /// Copies bytes into the object from `offset` on; never faults (`pager_memcpy`).
    pub async fn write_at(&self, offset: u64, from: &[u8]) -> Result<(), CopyError> {
        self.core.write_at(offset, from, None).await
    }

    /// Maps `length` bytes from `offset` on, which must be at the start of a page (`vm_map`).
    ///
    /// `length` is rounded up to whole pages.
    pub async fn map(&self, offset: u64, length: u64, protection: Protection) -> Result<Mapping, MapError> {
        Mapping::new(&self.core, offset, length, protection).await
    }

    /// Maps a private copy of `length` bytes from `offset` on, which must be at the start of a page
    /// (`vm_map` with `copy`).
    ///
    /// The copy shows the pages as they were at one moment of this call. Stores to it never reach the
    /// object, and later stores to the object never reach it. How it is made is the object's
    /// [`CopyStrategy`]:
    ///
    /// - `None`: every page is copied before this returns; [`MapError::Page`] names the first that
    ///   cannot be had.
    /// - `Delay` and `Temporary`: a page is copied when it is first touched through the copy, or first
    ///   written to, flushed or returned in the object, whichever comes first: a flush forces pending
    ///   copies. Until then a page that the object has lost is asked for again as for any mapping.
    /// - `Call`: the pager itself would have to make the copy, and does not:
    ///   [`MapError::CopyStrategy`].
    ///
    /// Pages that were copied are memory without a store: they can be neither evicted nor written
    /// back, do not count to the bucket's bound, and are freed when the mapping is dropped. A copy of
    /// n pages takes n pages at most. Forked children do not inherit it.
    pub async fn map_copy(
        &self,
        offset: u64,
        length: u64,
        protection: Protection,
    ) -> Result<Mapping, MapError> {
        Mapping::copy_of(&self.core, offset, length, protection).await
    }

    /// Maps the whole object.
    pub async fn map_all(&self, protection: Protection) -> Result<Mapping, MapError> {
        self.map(0, self.core.extent, protection).await
    }

    /// Writes everything back, drops it and takes no further requests (`pager_shutdown`).
    ///
    /// Pages that cannot be written are kept and named in the error; call it again to try again.
    pub async fn shutdown(&self) -> Result<(), ShutdownError> {
        match self.core.ask(|reply| Request::Shutdown { reply }).await? {
            Outcome::Answer(answer) => Ok(done(answer)?),
            Outcome::NotDurable(error) => Err(ShutdownError::Durability(error)),
            Outcome::Unsaved(pages) => Err(ShutdownError::Pages(pages)),
        }
    }
}
