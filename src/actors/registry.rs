//! The pagers of a bucket, as client threads may read them without asking the supervisor.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use dashmap::DashMap;

use super::cell::PagerCell;

/// The number of a pager in its bucket, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PagerId(pub u64);

/// Every pager of a bucket that has not ended.
#[derive(Default)]
pub(crate) struct Registry {
    pagers: DashMap<PagerId, Arc<PagerCell>>,
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
    pub(crate) fn insert(&self, cell: Arc<PagerCell>) -> bool {
        self.pagers.insert(cell.id, cell);
        self.inhibited.load(Ordering::SeqCst)
    }

    pub(crate) fn remove(&self, id: PagerId) {
        self.pagers.remove(&id);
    }

    /// The pager with this number.
    pub(crate) fn get(&self, id: PagerId) -> Option<Arc<PagerCell>> {
        self.pagers.get(&id).map(|cell| cell.value().clone())
    }

    pub(crate) fn cells(&self) -> Vec<Arc<PagerCell>> {
        self.pagers.iter().map(|cell| cell.value().clone()).collect()
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
