//! The handles that C holds: addresses that are looked up, never followed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::bucket::CBucket;
use super::pager::CPager;

/// Every bucket; `struct port_bucket *` and `struct pager_requests *`.
pub(super) static BUCKETS: Table<CBucket> = Table::new();
/// Every pager that somebody can still name; `struct pager *`.
pub(super) static PAGERS: Table<CPager> = Table::new();

/// Things by handle.
pub(super) struct Table<T>(Mutex<BTreeMap<usize, Arc<T>>>);

impl<T> Table<T> {
    const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    /// The handle of `thing`.
    pub(super) fn handle(thing: &Arc<T>) -> usize {
        Arc::as_ptr(thing).expose_provenance()
    }

    pub(super) fn insert(&self, thing: Arc<T>) -> usize {
        let handle = Self::handle(&thing);
        self.lock().insert(handle, thing);
        handle
    }

    /// `None` for a null handle, and for one whose thing is gone.
    pub(super) fn get(&self, handle: usize) -> Option<Arc<T>> {
        self.lock().get(&handle).cloned()
    }

    pub(super) fn remove(&self, thing: &Arc<T>) {
        // Dropped after the lock: what goes with it may ask this table.
        let removed = self.lock().remove(&Self::handle(thing));
        drop(removed);
    }

    pub(super) fn all(&self) -> Vec<Arc<T>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, Arc<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
