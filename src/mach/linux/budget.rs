//! The bound of a host: frames are reserved before pages are asked for, never after.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::share::ObjectShare;
use crate::mach::eviction::FairShare;
use crate::mach::stats::StatsSnapshot;

/// Shares are compared in units of this many bytes, as a power of two.
pub(super) const UNIT: u32 = 12;
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The objects of a host, and what each of them may hold.
#[derive(Debug, Default)]
struct Objects {
    fair: FairShare,
    /// By their seats.
    seats: Vec<Weak<ObjectShare>>,
}

/// Where room is to come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// The object itself gives so many bytes up.
    Own(u64),
    /// Another object was asked.
    Others,
}

/// The frames of a host, shared by its objects.
#[derive(Debug)]
pub(super) struct Budget {
    /// The bound that was asked for.
    ceiling: AtomicU64,
    /// How much of it may be used while memory is scarce, in thousandths.
    granted: AtomicU32,
    /// The bound that holds.
    limit: AtomicU64,
    used: AtomicU64,
    high: AtomicU64,
    line: Mutex<VecDeque<Arc<ObjectShare>>>,
    line_length: AtomicUsize,
    objects: Mutex<Objects>,
    /// Numbers of objects that are gone.
    retired: Mutex<StatsSnapshot>,
}

impl Budget {
    /// `limit` in bytes; none means none.
    pub(super) fn new(limit: Option<u64>) -> Self {
        let limit = limit.unwrap_or(u64::MAX);
        Self {
            ceiling: AtomicU64::new(limit),
            granted: AtomicU32::new(1000),
            limit: AtomicU64::new(limit),
            used: AtomicU64::new(0),
            high: AtomicU64::new(0),
            line: Mutex::default(),
            line_length: AtomicUsize::new(0),
            objects: Mutex::default(),
            retired: Mutex::default(),
        }
    }

    pub(super) fn is_bounded(&self) -> bool {
        self.limit() != u64::MAX
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit.load(Relaxed)
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    pub(super) fn high_water(&self) -> u64 {
        self.high.load(Relaxed)
    }

    /// Changes the bound; objects that hold more together are asked to give it up.
    pub(super) fn set_ceiling(&self, limit: Option<u64>) {
        self.ceiling.store(limit.unwrap_or(u64::MAX), SeqCst);
        self.apply();
    }

    /// Grants so many thousandths of the bound.
    pub(super) fn grant(&self, thousandths: u32) {
        self.granted.store(thousandths.clamp(1, 1000), SeqCst);
        self.apply();
    }

    fn apply(&self) {
        let mut objects = lock(&self.objects);
        let (ceiling, granted) = (self.ceiling.load(SeqCst), self.granted.load(SeqCst));
        let limit = match (ceiling, granted) {
            (u64::MAX, _) | (_, 1000) => ceiling,
            // However scarce memory is, every object can go on.
            (_, _) => part(ceiling, granted).max(least(&objects)).min(ceiling),
        };
        self.limit.store(limit, SeqCst);
        // Without a bound nobody told the others what it holds.
        let shares: Vec<_> = objects.seats.iter().filter_map(Weak::upgrade).collect();
        shares
            .iter()
            .for_each(|share| post(&mut objects, share, share.used()));
        drop(objects);
        shares.iter().for_each(|share| share.wake());
        self.urge();
        self.call_first();
    }

    /// The least bound under which every object of now can go on.
    pub(super) fn least(&self) -> u64 {
        least(&lock(&self.objects))
    }

    pub(super) fn join(&self, share: &Arc<ObjectShare>) {
        let mut objects = lock(&self.objects);
        let member = objects.fair.join(share.claim);
        share.seat.store(member.0, Relaxed);
        let at = member.0 as usize;
        if at >= objects.seats.len() {
            objects.seats.resize(at + 1, Weak::new());
        }
        objects.seats[at] = Arc::downgrade(share);
    }

    /// The object is gone, and all its frames with it.
    pub(super) fn leave(&self, share: &Arc<ObjectShare>) {
        lock(&self.retired).add(&share.stats.snapshot());
        self.sated(share);
        self.release(share, share.used());
        let mut objects = lock(&self.objects);
        let member = share.member();
        if let Some(seat) = objects.seats.get_mut(member.0 as usize) {
            *seat = Weak::new();
            objects.fair.leave(member);
        }
    }

    pub(super) fn shares(&self) -> Vec<Arc<ObjectShare>> {
        lock(&self.objects)
            .seats
            .iter()
            .filter_map(Weak::upgrade)
            .collect()
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
        let take = |used: u64| used.checked_add(bytes).filter(|&sum| sum <= self.limit());
        let Ok(before) = self.used.fetch_update(SeqCst, SeqCst, take) else {
            return false;
        };
        self.high.fetch_max(before + bytes, Relaxed);
        share.used.fetch_add(bytes, Relaxed);
        self.note(share);
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
        self.note(share);
        if self.is_exceeded() {
            self.urge();
        }
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

    /// True while more is in use than the bound of now allows.
    pub(super) fn is_exceeded(&self) -> bool {
        self.used() > self.limit()
    }

    /// Tells the others what an object holds, if that changed so much that it matters.
    fn note(&self, share: &ObjectShare) {
        let limit = self.limit();
        if limit == u64::MAX {
            return;
        }
        let grain = (limit >> 8).clamp(1 << UNIT, 64 << UNIT);
        if share.used().abs_diff(share.posted.load(Relaxed)) >= grain {
            post(&mut lock(&self.objects), share, share.used());
        }
    }

    /// From whom `bytes` are to be taken for `share`: from whoever holds most for its weight.
    ///
    /// Where that is another object it is asked; but who holds almost as much takes from itself, which
    /// costs no wake-up.
    pub(super) fn room_for(&self, share: &Arc<ObjectShare>, bytes: u64) -> Room {
        let mut objects = lock(&self.objects);
        post(&mut objects, share, share.used());
        let Some(take) = objects.fair.pick((bytes >> UNIT).max(1)) else {
            return Room::Own(bytes);
        };
        let taken = take.pages << UNIT;
        if take.member == share.member() {
            return Room::Own(taken);
        }
        if objects.fair.is_near(share.member(), take.member) {
            return Room::Own(bytes);
        }
        let other = objects.seats.get(take.member.0 as usize).and_then(Weak::upgrade);
        drop(objects);
        match other {
            Some(other) => other.wish(taken),
            None => return Room::Own(bytes),
        }
        Room::Others
    }

    /// The system is short of memory, bound or not: whoever else holds most is asked to give up as much.
    pub(super) fn ask_others(&self, share: &Arc<ObjectShare>, bytes: u64) {
        let others = self
            .shares()
            .into_iter()
            .filter(|other| !Arc::ptr_eq(other, share));
        if let Some(other) = others.max_by_key(|other| other.used()) {
            other.wish(bytes);
        }
    }

    /// Asks for what is in use beyond the bound.
    fn urge(&self) {
        let Some(excess) = self.used().checked_sub(self.limit()).filter(|&excess| excess > 0) else {
            return;
        };
        let objects = lock(&self.objects);
        let take = objects.fair.pick((excess >> UNIT).max(1));
        let other = take.and_then(|take| objects.seats.get(take.member.0 as usize)?.upgrade());
        drop(objects);
        if let (Some(take), Some(other)) = (take, other) {
            other.wish(take.pages << UNIT);
        }
    }

    /// An object could not give anything up: others are asked until what it holds changes.
    pub(super) fn pass_over(&self, share: &ObjectShare) {
        post(&mut lock(&self.objects), share, 0);
        self.urge();
        self.call_first();
    }
}

fn part(bytes: u64, thousandths: u32) -> u64 {
    (u128::from(bytes) * u128::from(thousandths) / 1000) as u64
}

fn post(objects: &mut Objects, share: &ObjectShare, bytes: u64) {
    share.posted.store(bytes, Relaxed);
    objects.fair.set_resident(share.member(), bytes >> UNIT);
}

/// Under a smaller bound than this many pages threads would take each other's pages for ever.
pub(super) const FEWEST_PAGES: u64 = 8;

fn least(objects: &Objects) -> u64 {
    let shares = objects.seats.iter().filter_map(Weak::upgrade);
    shares.map(|share| share.page).max().unwrap_or(1 << UNIT) * FEWEST_PAGES
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::mach::eviction::Share;
    use crate::mach::kernel::ObjectSpec;

    use crate::object::PageSize;

    fn share(weight: u32, floor: u64) -> Arc<ObjectShare> {
        Arc::new(ObjectShare::new(&ObjectSpec {
            name: "object".into(),
            length: 1 << 30,
            page_size: PageSize::KIB_4,
            notify_on_evict: false,
            share: Share { weight, floor },
            memory_deadline: std::time::Duration::from_secs(1),
        }))
    }

    fn two(limit: u64) -> (Budget, Arc<ObjectShare>, Arc<ObjectShare>) {
        of(limit, [share(16, 0), share(16, 0)])
    }

    fn of(limit: u64, shares: [Arc<ObjectShare>; 2]) -> (Budget, Arc<ObjectShare>, Arc<ObjectShare>) {
        let budget = Budget::new(Some(limit));
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

    #[test]
    fn room_comes_from_who_holds_most_for_its_weight() {
        let (budget, light, heavy) = of(100 << UNIT, [share(1, 0), share(3, 0)]);
        assert!(budget.reserve(&light, 40 << UNIT) && budget.reserve(&heavy, 60 << UNIT));
        assert_eq!(budget.room_for(&heavy, 4 << UNIT), Room::Others);
        assert_eq!(light.take_wanted(), 4 << UNIT);
        assert_eq!(budget.room_for(&light, 4 << UNIT), Room::Own(4 << UNIT));
        assert_eq!(heavy.take_wanted(), 0);
    }

    #[test]
    fn nothing_is_asked_of_who_is_at_its_floor() {
        let (budget, kept, other) = of(100 << UNIT, [share(16, 90), share(16, 0)]);
        assert!(budget.reserve(&kept, 90 << UNIT) && budget.reserve(&other, 10 << UNIT));
        assert_eq!(budget.room_for(&kept, 4 << UNIT), Room::Others);
        assert_eq!(budget.room_for(&other, 20 << UNIT), Room::Own(10 << UNIT));
        budget.pass_over(&other);
        assert_eq!(
            budget.room_for(&kept, 4 << UNIT),
            Room::Own(4 << UNIT),
            "who can give nothing is passed over, and the bound is hard"
        );
    }

    #[test]
    fn a_lower_bound_asks_for_what_is_too_much() {
        let (budget, a, _) = two(100 << UNIT);
        assert!(budget.reserve(&a, 80 << UNIT));
        budget.set_ceiling(Some(50 << UNIT));
        assert_eq!(a.take_wanted(), 30 << UNIT);
        budget.release(&a, 10 << UNIT);
        assert_eq!(a.take_wanted(), 20 << UNIT, "and again until it is reached");
        budget.release(&a, 20 << UNIT);
        assert_eq!(a.take_wanted(), 0);
        assert!(!budget.reserve(&a, 1 << UNIT));
        budget.set_ceiling(None);
        assert!(budget.reserve(&a, 1 << UNIT));
    }

    #[test]
    fn scarce_memory_leaves_a_part_of_the_bound_but_never_nothing() {
        let (budget, _, _) = two(1000 << UNIT);
        budget.grant(250);
        assert_eq!(budget.limit() >> UNIT, 250);
        budget.set_ceiling(Some(2000 << UNIT));
        assert_eq!(budget.limit() >> UNIT, 500);
        budget.grant(1);
        assert_eq!(budget.limit() >> UNIT, FEWEST_PAGES);
        budget.grant(1000);
        assert_eq!(budget.limit() >> UNIT, 2000);
    }
}
