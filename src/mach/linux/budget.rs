//! The bound of a host: frames are reserved before pages are asked for, never after.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;

use crate::mach::stats::{Stats, StatsSnapshot};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a host knows of one object, whichever thread owns it.
#[derive(Debug)]
pub(super) struct ObjectShare {
    pub(super) name: String,
    pub(super) stats: Stats,
    used: AtomicU64,
    /// Bytes that others would like this object to give up.
    wanted: AtomicU64,
    /// In the line for frames.
    waiting: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl ObjectShare {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            stats: Stats::default(),
            used: AtomicU64::new(0),
            wanted: AtomicU64::new(0),
            waiting: AtomicBool::new(false),
            waker: Mutex::new(None),
        }
    }

    /// Bytes reserved or held.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// Makes the object's owner poll it.
    pub(super) fn wake(&self) {
        if let Some(waker) = &*lock(&self.waker) {
            waker.wake_by_ref();
        }
    }

    pub(super) fn set_waker(&self, waker: &Waker) {
        let mut slot = lock(&self.waker);
        if !slot.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }

    /// Takes the wish of others that this object gives bytes up.
    pub(super) fn take_wanted(&self) -> u64 {
        match self.wanted.load(Relaxed) {
            0 => 0,
            _ => self.wanted.swap(0, SeqCst),
        }
    }
}

/// The frames of a host, shared by its objects.
#[derive(Debug)]
pub(super) struct Budget {
    limit: u64,
    used: AtomicU64,
    high: AtomicU64,
    line: Mutex<VecDeque<Arc<ObjectShare>>>,
    line_length: AtomicUsize,
    objects: Mutex<Vec<Weak<ObjectShare>>>,
    /// Numbers of objects that are gone.
    retired: Mutex<StatsSnapshot>,
}

impl Budget {
    /// `limit` in bytes; none means none.
    pub(super) fn new(limit: Option<u64>) -> Self {
        Self {
            limit: limit.unwrap_or(u64::MAX),
            used: AtomicU64::new(0),
            high: AtomicU64::new(0),
            line: Mutex::default(),
            line_length: AtomicUsize::new(0),
            objects: Mutex::default(),
            retired: Mutex::default(),
        }
    }

    pub(super) fn is_bounded(&self) -> bool {
        self.limit != u64::MAX
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    pub(super) fn high_water(&self) -> u64 {
        self.high.load(Relaxed)
    }

    pub(super) fn join(&self, share: &Arc<ObjectShare>) {
        lock(&self.objects).push(Arc::downgrade(share));
    }

    /// The object is gone, and all its frames with it.
    pub(super) fn leave(&self, share: &Arc<ObjectShare>) {
        lock(&self.retired).add(&share.stats.snapshot());
        lock(&self.objects).retain(|known| !std::ptr::eq(known.as_ptr(), Arc::as_ptr(share)));
        self.sated(share);
        self.release(share, share.used());
    }

    pub(super) fn shares(&self) -> Vec<Arc<ObjectShare>> {
        lock(&self.objects).iter().filter_map(Weak::upgrade).collect()
    }

    /// The sum over all objects there ever were.
    pub(super) fn stats(&self) -> StatsSnapshot {
        let mut sum = lock(&self.retired).clone();
        for share in self.shares() {
            sum.add(&share.stats.snapshot());
        }
        sum
    }

    /// Reserves bytes; never beyond the limit. Whoever stands first in the line goes first.
    pub(super) fn reserve(&self, share: &Arc<ObjectShare>, bytes: u64) -> bool {
        if self.line_length.load(SeqCst) > 0 {
            let line = lock(&self.line);
            if line.front().is_some_and(|first| !Arc::ptr_eq(first, share)) {
                return false;
            }
        }
        let take = |used: u64| used.checked_add(bytes).filter(|&sum| sum <= self.limit);
        let Ok(before) = self.used.fetch_update(SeqCst, SeqCst, take) else {
            return false;
        };
        self.high.fetch_max(before + bytes, Relaxed);
        share.used.fetch_add(bytes, Relaxed);
        true
    }

    /// Counts bytes that are in use already, even beyond the limit.
    pub(super) fn inherit(&self, share: &ObjectShare, bytes: u64) {
        let before = self.used.fetch_add(bytes, SeqCst);
        self.high.fetch_max(before + bytes, Relaxed);
        share.used.fetch_add(bytes, Relaxed);
    }

    /// Gives bytes back, and calls whoever stands first in the line.
    pub(super) fn release(&self, share: &ObjectShare, bytes: u64) {
        if bytes == 0 {
            return;
        }
        share.used.fetch_sub(bytes, Relaxed);
        self.used.fetch_sub(bytes, SeqCst);
        self.call_first();
    }

    /// Calls the first in the line, if there is one.
    pub(super) fn call_first(&self) {
        if self.line_length.load(SeqCst) > 0
            && let Some(first) = lock(&self.line).front().cloned()
        {
            first.wake();
        }
    }

    /// Stands in the line until frames are free.
    pub(super) fn starve(&self, share: &Arc<ObjectShare>) {
        if !share.waiting.swap(true, SeqCst) {
            let mut line = lock(&self.line);
            line.push_back(share.clone());
            self.line_length.store(line.len(), SeqCst);
        }
    }

    /// Leaves the line; the next is called.
    pub(super) fn sated(&self, share: &Arc<ObjectShare>) {
        if share.waiting.swap(false, SeqCst) {
            let mut line = lock(&self.line);
            line.retain(|other| !Arc::ptr_eq(other, share));
            self.line_length.store(line.len(), SeqCst);
            drop(line);
            self.call_first();
        }
    }

    /// True if this object should make room itself: it holds its fair share or more.
    pub(super) fn own_turn(&self, share: &ObjectShare) -> bool {
        let objects = lock(&self.objects).len().max(1) as u64;
        share.used() > 0 && share.used() >= self.limit / objects
    }

    /// Asks the object that holds most to give bytes up; false if that is `share` itself.
    pub(super) fn ask(&self, share: &Arc<ObjectShare>, bytes: u64) -> bool {
        let biggest = self.shares().into_iter().max_by_key(|share| share.used());
        match biggest {
            Some(other) if !Arc::ptr_eq(&other, share) => {
                other.wanted.fetch_max(bytes, SeqCst);
                other.wake();
                true
            }
            Some(_) | None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two(limit: u64) -> (Budget, Arc<ObjectShare>, Arc<ObjectShare>) {
        let budget = Budget::new(Some(limit));
        let shares = ["a", "b"].map(|name| Arc::new(ObjectShare::new(name)));
        shares.iter().for_each(|share| budget.join(share));
        let [a, b] = shares;
        (budget, a, b)
    }

    #[test]
    fn nothing_beyond_the_limit() {
        let (budget, a, b) = two(8192);
        assert!(budget.reserve(&a, 4096) && budget.reserve(&b, 4096));
        assert!(!budget.reserve(&a, 4096));
        budget.release(&b, 4096);
        assert!(budget.reserve(&a, 4096));
        assert_eq!((budget.used(), budget.high_water()), (8192, 8192));
    }

    #[test]
    fn who_waits_longest_is_served_first() {
        let (budget, a, b) = two(4096);
        assert!(budget.reserve(&a, 4096));
        budget.starve(&b);
        budget.release(&a, 4096);
        assert!(!budget.reserve(&a, 4096), "b stands in the line");
        assert!(budget.reserve(&b, 4096));
        budget.sated(&b);
        assert!(!budget.reserve(&a, 4096));
    }

    #[test]
    fn an_object_that_goes_gives_its_frames_and_its_place_back() {
        let (budget, a, b) = two(4096);
        assert!(budget.reserve(&a, 4096));
        budget.starve(&a);
        budget.leave(&a);
        assert!(budget.reserve(&b, 4096));
    }
}
