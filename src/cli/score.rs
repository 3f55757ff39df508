//! What the threads count together.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many wrong pages are named; all are counted.
const NAMED: usize = 10;

/// Counters of a job.
#[derive(Debug, Default)]
pub(crate) struct Score {
    reads: AtomicU64,
    writes: AtomicU64,
    met: AtomicU64,
    recovered: AtomicU64,
    wrong: AtomicU64,
    lost: AtomicU64,
    named: Mutex<Vec<u64>>,
}

/// The counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Pages read and compared.
    pub(crate) reads: u64,
    /// Pages written.
    pub(crate) writes: u64,
    /// Times that a page could not be had, written or synced at once.
    pub(crate) met: u64,
    /// Of those, how many went well later.
    pub(crate) recovered: u64,
    /// Pages that held a wrong byte.
    pub(crate) wrong: u64,
    /// Pages that could not be had in the end.
    pub(crate) lost: u64,
    /// The first of the wrong and lost pages.
    pub(crate) named: Vec<u64>,
}

impl Score {
    /// A page was read.
    pub(crate) fn read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    /// A page was written.
    pub(crate) fn wrote(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
    }

    /// Something failed for now.
    pub(crate) fn met(&self) {
        self.met.fetch_add(1, Ordering::Relaxed);
    }

    /// Something that had failed went well.
    pub(crate) fn recovered(&self) {
        self.recovered.fetch_add(1, Ordering::Relaxed);
    }

    /// A page held a wrong byte.
    pub(crate) fn wrong(&self, page: u64) {
        self.wrong.fetch_add(1, Ordering::Relaxed);
        self.name(page);
    }

    /// A page could not be had in the end.
    pub(crate) fn lost(&self, page: u64) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        self.name(page);
    }

    /// The counters of now.
    pub(crate) fn count(&self) -> Count {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Count {
            reads: load(&self.reads),
            writes: load(&self.writes),
            met: load(&self.met),
            recovered: load(&self.recovered),
            wrong: load(&self.wrong),
            lost: load(&self.lost),
            named: self.named.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    fn name(&self, page: u64) {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if named.len() < NAMED && !named.contains(&page) {
            named.push(page);
        }
    }
}

impl Count {
    /// True if every byte was right.
    pub(crate) fn is_right(&self) -> bool {
        self.wrong == 0 && self.lost == 0
    }
}
