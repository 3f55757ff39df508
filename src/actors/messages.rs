//! Who says what to whom.
//!
//! ```text
//!   user ──UserCall──▶ PagerCell ──Wake──▶ PagerActor ──Work──▶ BackendPool
//!                          ▲                  ▲                     │
//!                          └────JobAnswer─────│─────────────────────┘
//!                                             └ KernelPoll (the kernel's upcalls)
//!   user ──BucketCall─▶ BucketSupervisor ──UserCall::Control──▶ every PagerCell
//!                          ▲
//!                          └──Report── PagerActor (panics, overdue calls, the end)
//! ```
//!
//! Calls and results stand in the pager's cell until the actor takes them: they outlive it.

use actix::Message;
use tokio::sync::oneshot;

use super::engine::{Copied, Outcome};
use super::policy::FailurePolicy;
use super::registry::PagerId;
use crate::backend::PageBuffer;
use crate::error::MapError;
use crate::mach::stream::Advice;
use crate::mach::{KernelError, RawMapping, Residency};
use crate::object::{CopyStrategy, LockKind, PageError, PageIndex, PageRange, Prot, Reference};
use crate::plan::Plan;

/// Where an answer goes; dropping it tells the user that the pager is gone.
pub(crate) type Reply<T> = oneshot::Sender<T>;

/// What a user, or the supervisor, asks of one pager.
pub(crate) enum UserCall {
    /// Waits while the pager is inhibited.
    Request(Request),
    /// Is served at once.
    Control(Control),
}

/// Calls that make the pager work.
pub(crate) enum Request {
    Lock {
        kind: LockKind,
        offset: u64,
        length: u64,
        wait: bool,
        reply: Reply<Outcome>,
    },
    Copy {
        offset: u64,
        buffer: Vec<u8>,
        access: Prot,
        /// A mapped copy, whose pages are meant instead of the object's own.
        of: Option<RawMapping>,
        reply: Reply<Copied>,
    },
    Populate {
        offset: u64,
        length: usize,
        reply: Reply<Copied>,
    },
    Offer {
        page: PageIndex,
        bytes: PageBuffer,
        precious: bool,
        write_lock: bool,
        reply: Reply<Outcome>,
    },
    ChangeAttributes {
        may_cache: bool,
        copy_strategy: CopyStrategy,
        wait: bool,
        reply: Reply<Outcome>,
    },
    Map {
        range: PageRange,
        prot: Prot,
        reply: Reply<Result<RawMapping, KernelError>>,
    },
    MapCopy {
        range: PageRange,
        prot: Prot,
        reply: Reply<Result<RawMapping, MapError>>,
    },
    Shutdown {
        reply: Reply<Outcome>,
    },
}

/// Questions, and what governs or ends a pager.
pub(crate) enum Control {
    PageError {
        page: PageIndex,
        reply: Reply<Option<PageError>>,
    },
    Residency {
        reply: Reply<Residency>,
    },
    Unmap {
        mapping: RawMapping,
        reply: Reply<()>,
    },
    /// Take no more requests; answered when those before are finished.
    Inhibit {
        reply: Reply<()>,
    },
    /// Every pager of the bucket has finished: hear nothing more of the kernel; answered when the last of
    /// the I/O is over.
    Close {
        reply: Reply<()>,
    },
    Resume {
        reply: Reply<()>,
    },
    Advise {
        range: PageRange,
        advice: Advice,
    },
    /// Begin to record the pages that are asked for; a recording under way begins anew.
    Record,
    /// End the recording.
    TakePlan {
        reply: Reply<Option<Plan>>,
    },
    Hold {
        range: PageRange,
        reply: Reply<()>,
    },
    Release {
        range: PageRange,
        reply: Reply<bool>,
    },
    /// The first reference of a kind is there.
    Added(Reference),
    /// The last reference of a kind is gone.
    Dropped(Reference),
    AddWeak,
    WeakDropped,
    /// Make the core anew: it panicked.
    Restart,
    /// Have the store made anew: it is broken.
    RestartBackend,
    /// Leave the store alone: it failed too often.
    Quarantine,
    /// Use the store again.
    Revive,
}

/// Look into the inbox.
pub(crate) struct Wake;

impl Message for Wake {
    type Result = ();
}

/// What a user asks of the supervisor.
pub(crate) enum BucketCall {
    Inhibit {
        reply: Reply<Result<(), AlreadyInhibited>>,
    },
    Resume {
        reply: Reply<Result<(), NotInhibited>>,
    },
    /// The answer names the pagers that could not write all their pages back.
    Shutdown {
        reply: Reply<Vec<String>>,
    },
}

impl Message for BucketCall {
    type Result = ();
}

/// A second inhibition of a bucket.
pub(crate) struct AlreadyInhibited;

/// A resumption of a bucket that runs.
pub(crate) struct NotInhibited;

/// What a pager tells the supervisor.
pub(crate) enum Report {
    /// The store panicked, or a call of it is overdue, or it could not be made anew.
    BackendFailed { pager: PagerId, policy: FailurePolicy },
    /// The pager panicked and waits for a verdict.
    PagerPanicked {
        pager: PagerId,
        policy: FailurePolicy,
        text: String,
    },
    /// The pager has ended.
    Ended { pager: PagerId },
}

impl Message for Report {
    type Result = ();
}
