//! What happens to the pagers of a bucket, as a stream that users subscribe to.

use tokio::sync::broadcast;

use super::local::block_on;
use super::registry::PagerId;
use crate::mach::KernelNews;
use crate::object::{PageError, PageRange};

/// How many events a subscriber may lag behind before the oldest are lost to it.
const CAPACITY: usize = 1024;

/// Something that happened to a pager.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BucketEvent {
    /// Which.
    pub pager: PagerId,
    /// What.
    pub kind: EventKind,
}

/// What can happen to a pager.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// The store panicked; the request was answered with EIO or is tried again.
    BackendPanicked(String),
    /// The thread that called the store died; another takes its place.
    WorkerDied,
    /// A call of the store is overdue; another worker stands in for the one that is stuck.
    Overdue {
        /// The pages it is about.
        range: PageRange,
    },
    /// An overdue call has returned after all; its result was discarded.
    LateResult {
        /// The pages it is about.
        range: PageRange,
    },
    /// Pages could not be written; they are kept and tried again.
    WritesFailed {
        /// The pages.
        range: PageRange,
        /// Why.
        error: PageError,
    },
    /// All pages that could not be written before are in the store now.
    WritesRecovered,
    /// The pager panicked and was made anew from what the kernel knows.
    PagerRestarted,
    /// The thread that ran the pager died; it goes on on another.
    PagerMoved,
    /// The store was told to make itself anew, and did.
    BackendRestarted,
    /// The store was told to make itself anew, and could not.
    BackendRestartFailed(PageError),
    /// The pager failed too often: it serves what is resident and does not touch its store.
    Quarantined,
    /// The pager uses its store again.
    Revived,
    /// What the kernel has to say, beside the protocol.
    Kernel(KernelNews),
    /// The pager has ended.
    Ended,
}

/// Where events are told.
#[derive(Clone, Debug)]
pub(crate) struct EventSink {
    sender: broadcast::Sender<BucketEvent>,
}

impl Default for EventSink {
    fn default() -> Self {
        Self {
            sender: broadcast::Sender::new(CAPACITY),
        }
    }
}

impl EventSink {
    /// Tells all subscribers, and the log.
    pub(crate) fn tell(&self, pager: PagerId, kind: EventKind) {
        tracing::info!(pager = pager.0, event = ?kind, "pager event");
        // Without a subscriber there is nobody to tell.
        let _ = self.sender.send(BucketEvent { pager, kind });
    }

    pub(crate) fn subscribe(&self) -> Events {
        Events {
            receiver: self.sender.subscribe(),
        }
    }
}

/// A subscription to what happens in a bucket, from the moment it was made.
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<BucketEvent>,
}

impl Events {
    /// Waits for the next event; `None` when the bucket is gone.
    ///
    /// A subscriber that lags more than 1024 events behind misses the oldest.
    pub async fn next(&mut self) -> Option<BucketEvent> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// [`next`](Self::next) for callers without a runtime.
    pub fn next_blocking(&mut self) -> Option<BucketEvent> {
        block_on(self.next())
    }

    /// The next event if it has happened already.
    pub fn try_next(&mut self) -> Option<BucketEvent> {
        loop {
            match self.receiver.try_recv() {
                Ok(event) => return Some(event),
                Err(broadcast::error::TryRecvError::Lagged(_)) => {}
                Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed) => {
                    return None;
                }
            }
        }
    }
}
