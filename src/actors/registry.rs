//! The pagers of a bucket, as client threads may read them without asking the supervisor.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use actix::Addr;
use dashmap::DashMap;

use super::pager::PagerActor;

/// The number of a pager in its bucket, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PagerId(pub u64);

/// A pager's way in.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) address: Addr<PagerActor>,
}

/// Every pager of a bucket that has not ended.
#[derive(Default)]
pub(crate) struct Registry {
    pagers: DashMap<PagerId, Entry>,
    next: AtomicU64,
    inhibited: AtomicBool,
    closed: AtomicBool,
}

impl Registry {
    /// A number for a new pager.
    pub(crate) fn reserve(&self) -> PagerId {
        PagerId(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Adds a pager; says whether it must begin inhibited.
    ///
    /// The entry is in before the flag is read, and whoever sets the flag reads the entries
    /// afterwards: a pager made during an inhibition is caught by one of the two.
    pub(crate) fn insert(&self, id: PagerId, entry: Entry) -> bool {
        self.pagers.insert(id, entry);
        self.inhibited.load(Ordering::SeqCst)
    }

    pub(crate) fn remove(&self, id: PagerId) {
        self.pagers.remove(&id);
    }

    pub(crate) fn entries(&self) -> Vec<(PagerId, Entry)> {
        self.pagers
            .iter()
            .map(|entry| (*entry.key(), entry.value().clone()))
            .collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.pagers.len()
    }

    /// Sets the flag that new pagers look at; returns what it was.
    pub(crate) fn set_inhibited(&self, inhibited: bool) -> bool {
        self.inhibited.swap(inhibited, Ordering::SeqCst)
    }

    /// No pager is taken in any more.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }
}

/// The registry is shared by the supervisor, the pagers and the users.
pub(crate) type SharedRegistry = Arc<Registry>;
