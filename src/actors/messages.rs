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
    PageError {
        page: PageIndex,
        reply: Reply<Option<PageError>>,
    },
    Map {
        range: PageRange,
        prot: Prot,
        reply: Reply<Result<RawMapping, KernelError>>,
    },
    Unmap {
        mapping: RawMapping,
        reply: Reply<()>,
    },
    Residency {
        reply: Reply<Residency>,
    },
    Shutdown {
        reply: Reply<Outcome>,
    },
    /// The last user reference is gone.
    Abandoned,
    Inhibit {
        reply: Reply<()>,
    },
    Resume {
        reply: Reply<()>,
    },
    /// End at once; the bucket is going away.
    Stop {
        reply: Reply<()>,
    },
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
    Shutdown {
        reply: Reply<Vec<PagerFailure>>,
    },
}

impl Message for BucketCall {
    type Result = ();
}

/// A second inhibition of a bucket.
pub(crate) struct AlreadyInhibited;

/// A resumption of a bucket that runs.
pub(crate) struct NotInhibited;

/// A pager that could not be shut down.
#[derive(Debug)]
pub(crate) struct PagerFailure {
    pub(crate) name: String,
    pub(crate) outcome: Option<Outcome>,
}

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
