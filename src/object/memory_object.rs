//! [`MemoryObject`]: takes one event, says what is to be done, checks its invariants.

use super::attributes::{AttributeState, Attributes};
use super::batch::Batches;
use super::failures::{Failures, Kept};
use super::lock::Locks;
use super::ops::{Op, OpKind, Ops};
use super::page::{Page, PageState};
use super::page_map::PageMap;
use super::session::Sessions;
use super::waiting::Queues;
use super::{DataId, Effect, Event, ObjectOptions, PageError, PageIndex, PageRange, PortName, RequestToken};

/// The state of an object as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObjectState {
    /// No kernel uses it.
    NotInit,
    /// A kernel uses it.
    Ready,
    /// It is being shut down: requests get errors, what is dirty is written.
    ShuttingDown,
    /// It was shut down.
    ShutDown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Open,
    ShuttingDown,
    ShutDown,
}

/// The data of a page whose write failed and that the pager keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptPage {
    /// The page.
    pub page: PageIndex,
    /// The memory that holds it.
    pub data: DataId,
    /// Why it was not written; `None` is never seen while it is kept.
    pub error: Option<PageError>,
}

/// One memory object: the protocol between a kernel, a store and the users, and nothing else.
///
/// Invariants, checked after every event in debug builds:
///
/// 1. A page is busy exactly while one operation in flight covers it.
/// 2. Something waits for a page only while it is busy.
/// 3. Data is kept for a page exactly while it is `Failed`; data that went back to the kernel
///    unwritten is marked in its page as unsaved.
/// 4. Every lock request counts exactly the page writes of its range that began or were queued
///    before the kernel confirmed it; a shutdown counts all writes.
/// 5. No lock request and no shutdown is kept waiting when all it waits for is over.
#[derive(Clone, Debug)]
pub struct MemoryObject {
    pub(crate) options: ObjectOptions,
    pub(crate) pages: PageMap,
    pub(crate) queues: Queues,
    pub(crate) ops: Ops,
    pub(crate) failures: Failures,
    pub(crate) locks: Locks,
    pub(crate) attributes: AttributeState,
    pub(crate) sessions: Sessions,
    pub(crate) life: Life,
    pub(crate) shutdown_tokens: Vec<RequestToken>,
    /// The number of the next return or retry.
    pub(crate) next_seq: u64,
    pub(crate) batches: Batches,
    pub(crate) scratch: Vec<PageIndex>,
}

impl MemoryObject {
    /// An object that no kernel uses yet.
    pub fn new(options: ObjectOptions) -> Self {
        let attributes = Attributes {
            may_cache: options.may_cache,
            copy_strategy: options.copy_strategy,
        };
        Self {
            options,
            pages: PageMap::default(),
            queues: Queues::default(),
            ops: Ops::default(),
            failures: Failures::default(),
            locks: Locks::default(),
            attributes: AttributeState::new(attributes),
            sessions: Sessions::default(),
            life: Life::Open,
            shutdown_tokens: Vec::new(),
            next_seq: 0,
            batches: Batches::default(),
            scratch: Vec::new(),
        }
    }

    /// An object that was shut down before: no kernel can use it.
    pub fn shut_down(options: ObjectOptions) -> Self {
        Self {
            life: Life::ShutDown,
            ..Self::new(options)
        }
    }

    /// Takes one event; appends what is to be done, in order, to `effects`.
    pub fn handle(&mut self, event: Event, effects: &mut Vec<Effect>) {
        self.dispatch(event, effects);
        self.flush(effects);
        self.finish_locks(effects);
        self.bury_sessions(effects);
        debug_assert_eq!(self.check_invariants(), Ok(()));
    }

    fn dispatch(&mut self, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Init { .. }
            | Event::ChangeCompleted { .. }
            | Event::Terminate { .. }
            | Event::NoSenders => {
                self.kernel_event(event, effects);
            }
            Event::DataRequest { .. }
            | Event::DataReturn { .. }
            | Event::DataUnlock { .. }
            | Event::LockCompleted { .. } => self.page_event(event, effects),
            Event::Lock { .. }
            | Event::Offer { .. }
            | Event::ChangeAttributes { .. }
            | Event::Shutdown { .. }
            | Event::RetryWrites => self.user_event(event, effects),
            Event::PagesRead { .. } | Event::PagesWritten { .. } | Event::PagesUnlocked { .. } => {
                self.backend_event(event, effects);
            }
        }
    }

    /// The state of the object as a whole.
    pub fn state(&self) -> ObjectState {
        match (self.life, self.sessions.control()) {
            (Life::Open, None) => ObjectState::NotInit,
            (Life::Open, Some(_)) => ObjectState::Ready,
            (Life::ShuttingDown, _) => ObjectState::ShuttingDown,
            (Life::ShutDown, _) => ObjectState::ShutDown,
        }
    }

    /// The control port of the kernel that uses the object.
    pub fn control(&self) -> Option<PortName> {
        self.sessions.control()
    }

    /// What the object was made with.
    pub fn options(&self) -> &ObjectOptions {
        &self.options
    }

    /// The attributes as the user wants them; the kernel may not have confirmed them yet.
    pub fn attributes(&self) -> Attributes {
        self.attributes.current
    }

    /// Changes the length of the object in bytes; `None`: nothing is refused for where it lies.
    pub fn set_extent(&mut self, extent: Option<u64>) {
        self.options.extent = extent;
    }

    /// The error of the last failure on a page; none after a success (`pager_get_error`).
    pub fn page_error(&self, page: PageIndex) -> Option<PageError> {
        self.pages.get(page).error
    }

    /// The state of one page.
    pub fn page_state(&self, page: PageIndex) -> PageState {
        self.pages.get(page).state
    }

    /// All that is known of one page.
    pub fn page(&self, page: PageIndex) -> Page {
        self.pages.get(page)
    }

    /// The pages of `range` of which something is known, in order, appended to `into`.
    pub fn known_pages(&self, range: PageRange, into: &mut Vec<PageIndex>) {
        self.pages.known(range, into);
    }

    /// The pages of `range` whose data is kept because its write failed, in order.
    pub fn kept_pages(&self, range: PageRange) -> impl Iterator<Item = KeptPage> + '_ {
        self.failures
            .kept_in(range)
            .filter_map(|(page, kept)| match kept {
                Kept::Here(data) => Some(KeptPage {
                    page,
                    data,
                    error: self.page_error(page),
                }),
                Kept::InKernel => None,
            })
    }

    /// The failed writes that nobody was told of yet, in order.
    pub fn unreported(&self) -> impl Iterator<Item = (PageIndex, PageError)> + '_ {
        self.failures.unreported()
    }

    /// The users' requests that are not answered yet, in no order.
    pub fn unanswered(&self) -> impl Iterator<Item = RequestToken> + '_ {
        let locks = self.locks.iter().filter_map(|wait| wait.purpose.token());
        let attributes = self.attributes.waiting();
        locks
            .chain(attributes)
            .chain(self.shutdown_tokens.iter().copied())
    }

    /// True if there are pages whose write failed and has not succeeded since.
    pub fn keeps_failed_writes(&self) -> bool {
        let failed_before = |page| self.page_error(page).is_some();
        let writes = self
            .ops
            .iter()
            .filter(|op| matches!(op.kind, OpKind::Write { .. }));
        let mut again = writes.flat_map(Op::runs);
        self.failures.is_keeping() || again.any(|run| run.iter().any(failed_before))
    }

    /// True if no operation is in flight.
    pub fn is_idle(&self) -> bool {
        self.ops.is_empty()
    }

    /// Bytes that the object's state takes, unused capacity included; page contents are not in it.
    pub fn state_bytes(&self) -> usize {
        size_of::<Self>()
            + self.pages.bytes()
            + self.queues.bytes()
            + self.ops.bytes()
            + self.failures.bytes()
            + self.locks.bytes()
            + self.attributes.bytes()
            + self.batches.bytes()
            + self.scratch.capacity() * size_of::<PageIndex>()
    }

    /// Turns what was gathered page by page into effects.
    pub(crate) fn flush(&mut self, effects: &mut Vec<Effect>) {
        if self.batches.is_empty() {
            return;
        }
        let max_run = self.options.max_run.max(1);
        self.batches
            .flush(&mut self.ops, self.options.page_size, max_run, effects);
    }

    fn bury_sessions(&mut self, effects: &mut Vec<Effect>) {
        if !self.sessions.any_dying() {
            return;
        }
        let (ops, queues) = (&self.ops, &self.queues);
        let in_use = |control| {
            ops.iter().any(|op| op.control == control)
                || queues.iter().any(|(_, item)| item.control() == control)
        };
        self.sessions.bury(in_use, effects);
    }

    pub(crate) fn set_state(&mut self, page: PageIndex, state: PageState) {
        let before = self.pages.get(page);
        self.pages.set(page, Page { state, ..before });
    }

    pub(crate) fn set_error(&mut self, page: PageIndex, error: Option<PageError>) {
        let before = self.pages.get(page);
        self.pages.set(page, Page { error, ..before });
    }
}
