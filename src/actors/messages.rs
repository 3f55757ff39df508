//! Who says what to whom.
//!
//! ```text
//!   user ──UserCall──▶ PagerActor ──Work──▶ BackendPool
//!                        ▲    ▲ └─JobAnswer─────┘
//!            KernelPoll ─┘    │
//!   user ──BucketCall─▶ BucketSupervisor ──UserCall::{Inhibit,Resume,Shutdown}──▶ every PagerActor
//!                        ▲
//!                        └──Report── PagerActor (panics, failed writes, the end)
//! ```

use actix::Message;
use tokio::sync::oneshot;

use super::engine::{Copied, Outcome};
use super::registry::PagerId;
use crate::backend::PageBuffer;
use crate::mach::{KernelError, RawMapping, Residency};
use crate::object::{CopyStrategy, LockKind, PageError, PageIndex, PageRange, Prot};

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
    Inhibit {
        reply: Reply<()>,
    },
    Resume {
        reply: Reply<()>,
    },
    /// The last user reference is gone.
    Abandoned,
}

impl Message for UserCall {
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
    /// The user's code panicked in a worker.
    BackendPanicked { pager: PagerId, text: String },
    /// The pager has ended.
    Ended { pager: PagerId },
}

impl Message for Report {
    type Result = ();
}
