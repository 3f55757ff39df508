//! Named points at which a test can park a worker, so that a race happens for certain.

use super::plan::CallKind;
use crate::object::PageRange;

/// A place in a call at which it can be parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Point {
    /// Before anything was done.
    Before(CallKind),
    /// After everything was done, before the call returns.
    After(CallKind),
}

impl Point {
    fn kind(self) -> CallKind {
        match self {
            Self::Before(kind) | Self::After(kind) => kind,
        }
    }
}

/// Where calls park and hang, and how many wait there.
#[derive(Debug, Default)]
pub(super) struct Gates {
    holds: Vec<Hold>,
    /// Raised to end every hang that began before.
    hang_round: u64,
    hanging: u64,
    /// Nobody is left to release anything: nothing waits.
    open: bool,
}

#[derive(Debug)]
struct Hold {
    point: Point,
    range: PageRange,
    parked: u64,
}

impl Hold {
    fn keeps(&self, point: Point, range: PageRange) -> bool {
        self.point == point && self.range.overlaps(range)
    }
}

impl Gates {
    pub(super) fn hold(&mut self, point: Point, range: PageRange) {
        self.holds.push(Hold {
            point,
            range,
            parked: 0,
        });
    }

    pub(super) fn release(&mut self, point: Point) {
        self.holds.retain(|hold| hold.point != point);
    }

    pub(super) fn open(&mut self) {
        self.open = true;
        self.holds.clear();
    }

    /// True if a call stops here.
    pub(super) fn holds(&self, point: Point, range: PageRange) -> bool {
        self.holds.iter().any(|hold| hold.keeps(point, range))
    }

    /// True if calls of this kind on these pages would stop somewhere.
    pub(super) fn holds_kind(&self, kind: CallKind, range: PageRange) -> bool {
        let kind_matches = |hold: &Hold| hold.point.kind() == kind && hold.range.overlaps(range);
        self.holds.iter().any(kind_matches)
    }

    /// Counts a call as parked.
    pub(super) fn count_parked(&mut self, point: Point, range: PageRange) {
        if let Some(hold) = self.holds.iter_mut().find(|hold| hold.keeps(point, range)) {
            hold.parked += 1;
        }
    }

    /// How many calls have parked at `point` since it was held.
    pub(super) fn parked(&self, point: Point) -> u64 {
        let there = self.holds.iter().filter(|hold| hold.point == point);
        there.map(|hold| hold.parked).sum()
    }

    /// Begins a hang; the result says when it [is over](Self::hang_is_over).
    pub(super) fn begin_hang(&mut self) -> u64 {
        self.hanging += 1;
        self.hang_round
    }

    pub(super) fn hang_is_over(&self, round: u64) -> bool {
        self.open || self.hang_round != round
    }

    pub(super) fn end_hang(&mut self) {
        self.hanging -= 1;
    }

    pub(super) fn release_hangs(&mut self) {
        self.hang_round += 1;
    }

    /// How many calls hang now.
    pub(super) fn hanging(&self) -> u64 {
        self.hanging
    }
}
