//! The hand on the faults: sets them, waits for parked calls, releases them, counts.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::gate::{Gates, Point};
use super::plan::{CallKind, EVERY_PAGE, Fault, FaultRates, Plan, Strike};
use crate::object::{PageError, PageIndex, PageRange};

/// How often calls of one kind were made, and what was done to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FaultCounts {
    /// Calls, with and without a fault.
    pub calls: u64,
    /// [`Fault::Error`]s.
    pub errors: u64,
    /// [`Fault::Delay`]s.
    pub delays: u64,
    /// [`Fault::Panic`]s.
    pub panics: u64,
    /// [`Fault::Hang`]s.
    pub hangs: u64,
    /// [`Fault::Short`]s.
    pub short: u64,
    /// [`Fault::Torn`]s.
    pub torn: u64,
}

impl FaultCounts {
    /// All faults together.
    pub fn faults(&self) -> u64 {
        self.errors + self.delays + self.panics + self.hangs + self.short + self.torn
    }

    fn count(&mut self, fault: Option<Fault>) {
        self.calls += 1;
        match fault {
            None => {}
            Some(Fault::Error(_)) => self.errors += 1,
            Some(Fault::Delay(_)) => self.delays += 1,
            Some(Fault::Panic) => self.panics += 1,
            Some(Fault::Hang) => self.hangs += 1,
            Some(Fault::Short) => self.short += 1,
            Some(Fault::Torn) => self.torn += 1,
        }
    }
}

/// What the store and its control share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    plan: Plan,
    gates: Gates,
    counts: [FaultCounts; CallKind::ALL.len()],
}

impl Shared {
    pub(super) fn new(seed: u64) -> Self {
        let state = State {
            plan: Plan::new(seed),
            gates: Gates::default(),
            counts: Default::default(),
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the call and says what happens to it.
    pub(super) fn draw(&self, kind: CallKind, range: PageRange) -> Option<Strike> {
        let mut state = self.lock();
        let strike = state.plan.draw(kind, range);
        state.counts[kind.index()].count(strike.map(|strike| strike.fault));
        strike
    }

    pub(super) fn may_strike(&self, kind: CallKind, range: PageRange) -> bool {
        let state = self.lock();
        state.plan.may_strike(kind, range) || state.gates.holds_kind(kind, range)
    }

    /// Waits while this point is held.
    pub(super) fn park(&self, point: Point, range: PageRange) {
        let mut state = self.lock();
        if !state.gates.holds(point, range) {
            return;
        }
        state.gates.count_parked(point, range);
        self.changed.notify_all();
        let held = |state: &mut State| state.gates.holds(point, range);
        drop(self.changed.wait_while(state, held));
    }

    /// Waits until hanging calls are released.
    pub(super) fn hang(&self) {
        let mut state = self.lock();
        let round = state.gates.begin_hang();
        self.changed.notify_all();
        let hangs = |state: &mut State| !state.gates.hang_is_over(round);
        let waited = self.changed.wait_while(state, hangs);
        waited.unwrap_or_else(PoisonError::into_inner).gates.end_hang();
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits until `reached`, at most for `limit`.
    fn wait(&self, limit: Duration, reached: impl Fn(&State) -> bool) -> bool {
        let start = Instant::now();
        let mut state = self.lock();
        while !reached(&state) {
            let left = limit.saturating_sub(start.elapsed());
            if left.is_zero() {
                return false;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// Sets the faults of one [`FaultyBackend`](super::FaultyBackend).
///
/// When it is dropped, every parked and hanging call goes on, and no more do park or hang; rates
/// and broken ranges stay as they are.
#[derive(Debug)]
pub struct FaultControl {
    shared: Arc<Shared>,
}

impl FaultControl {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// From now on, calls of this kind go wrong so often.
    pub fn set_rates(&self, kind: CallKind, rates: FaultRates) {
        self.shared.change(|state| state.plan.set_rates(kind, rates));
    }

    /// The next call of this kind that touches `range` meets `fault`; several wait in order.
    pub fn fail_next(&self, kind: CallKind, range: PageRange, fault: Fault) {
        self.shared
            .change(|state| state.plan.fail_next(kind, range, fault));
    }

    /// The next read of `page` fails.
    pub fn fail_next_read(&self, page: PageIndex, error: PageError) {
        self.fail_next(CallKind::Read, PageRange::single(page), Fault::Error(error));
    }

    /// The next write of `page` fails.
    pub fn fail_next_write(&self, page: PageIndex, error: PageError) {
        self.fail_next(CallKind::Write, PageRange::single(page), Fault::Error(error));
    }

    /// Every call of this kind that touches `range` meets `fault`, until healed.
    pub fn fail(&self, kind: CallKind, range: PageRange, fault: Fault) {
        self.shared.change(|state| state.plan.fail(kind, range, fault));
    }

    /// Makes `page` good again: ends its scripts and its part of broken ranges.
    pub fn heal(&self, page: PageIndex) {
        self.heal_range(PageRange::single(page));
    }

    /// Makes the pages of `range` good again.
    pub fn heal_range(&self, range: PageRange) {
        self.shared.change(|state| state.plan.heal(range));
    }

    /// Ends every rate, script and broken range.
    pub fn heal_all(&self) {
        self.shared.change(|state| state.plan.clear());
    }

    /// Parks every call that reaches `point` and touches `range`.
    pub fn hold(&self, point: Point, range: PageRange) {
        self.shared.change(|state| state.gates.hold(point, range));
    }

    /// Like [`hold`](Self::hold), whatever pages the call touches.
    pub fn hold_all(&self, point: Point) {
        self.hold(point, EVERY_PAGE);
    }

    /// Lets the calls parked at `point` go on, and parks no more there.
    pub fn release(&self, point: Point) {
        self.shared.change(|state| state.gates.release(point));
    }

    /// Waits until `calls` calls have parked at `point` since it was held; false after `limit`.
    pub fn wait_parked(&self, point: Point, calls: u64, limit: Duration) -> bool {
        self.shared
            .wait(limit, |state| state.gates.parked(point) >= calls)
    }

    /// Waits until so many calls hang at once; false after `limit`.
    pub fn wait_hanging(&self, calls: u64, limit: Duration) -> bool {
        self.shared.wait(limit, |state| state.gates.hanging() >= calls)
    }

    /// Lets every hanging call go on; it does its work now, late.
    pub fn release_hangs(&self) {
        self.shared.change(|state| state.gates.release_hangs());
    }

    /// What was done to calls of this kind so far.
    pub fn counts(&self, kind: CallKind) -> FaultCounts {
        self.shared.lock().counts[kind.index()]
    }
}

impl Drop for FaultControl {
    fn drop(&mut self) {
        self.shared.change(|state| state.gates.open());
    }
}
