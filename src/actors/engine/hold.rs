//! What keeps writes back: ranges that users hold, and too many pages that could not be written.

use super::{Engine, Job};
use crate::mach::Call;
use crate::object::{DataId, Event, OpId, PageError, PageIndex, PageRange, Prot, ShouldReturn};

/// What writers of clean pages meet while too many pages cannot be written back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackPressure {
    /// They wait until the store takes pages again.
    #[default]
    Block,
    /// They get the error that the store gave.
    Fail,
}

/// A bound on the pages that could not be written back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnsavedLimit {
    /// How many pages.
    pub pages: u64,
    /// What writers meet beyond it.
    pub beyond: BackPressure,
}

/// A write that waits.
#[derive(Clone, Copy, Debug)]
struct HeldWrite {
    op: OpId,
    range: PageRange,
    data: DataId,
}

/// The writes and the writers that wait.
#[derive(Debug, Default)]
pub(super) struct Holds {
    /// Ranges that are not to be written, each as often as it is held.
    ranges: Vec<PageRange>,
    writes: Vec<HeldWrite>,
    /// The limit is exceeded, for this reason.
    pressed: Option<PageError>,
    unlocks: Vec<(OpId, PageRange)>,
}

impl Holds {
    /// Forgets what waits: whoever asked for it is gone. The ranges stay held.
    pub(super) fn forget_waiting(&mut self) {
        self.writes.clear();
        self.unlocks.clear();
        self.pressed = None;
    }
}

/// Every page an object can have.
fn everything() -> PageRange {
    PageRange::new(PageIndex(0), PageIndex(u64::MAX))
}

impl Engine {
    /// Keeps the pages of `range` from being written back until they are [released](Self::release_hold).
    ///
    /// Writes that have begun go on.
    pub fn hold(&mut self, range: PageRange) {
        self.holds.ranges.push(range);
    }

    /// Ends one hold of exactly `range`; false where there is none.
    pub fn release_hold(&mut self, range: PageRange) -> bool {
        let Some(at) = self.holds.ranges.iter().position(|&held| held == range) else {
            return false;
        };
        self.holds.ranges.swap_remove(at);
        for write in std::mem::take(&mut self.holds.writes) {
            self.write_or_hold(write.op, write.range, write.data);
        }
        true
    }

    /// Begins a write, unless a user holds some page of it.
    pub(super) fn write_or_hold(&mut self, op: OpId, range: PageRange, data: DataId) {
        if self.holds.ranges.iter().any(|held| held.overlaps(range)) {
            self.holds.writes.push(HeldWrite { op, range, data });
        } else {
            self.write(op, range, data);
        }
    }

    /// Asks the store to let pages be written to, unless it already has more than it can take.
    pub(super) fn unlock_or_press(&mut self, op: OpId, range: PageRange) {
        let beyond = self.unsaved_limit.map(|limit| limit.beyond).unwrap_or_default();
        match (self.holds.pressed, beyond) {
            (None, _) => self.submit(Job::Unlock { op, range }),
            (Some(_), BackPressure::Block) => self.holds.unlocks.push((op, range)),
            (Some(error), BackPressure::Fail) => {
                self.events.push_back(Event::PagesUnlocked {
                    op,
                    result: Err(error),
                });
            }
        }
    }

    /// The accesses to prohibit where the core would prohibit `lock`.
    pub(super) fn pressed_lock(&self, lock: Prot) -> Prot {
        if self.holds.pressed.is_some() {
            lock.union(Prot::WRITE)
        } else {
            lock
        }
    }

    /// Looks whether the limit is exceeded, after a write failed for the reason `error`.
    pub(super) fn press(&mut self, error: PageError) {
        let Some(limit) = self.unsaved_limit else { return };
        if self.holds.pressed.is_some() || self.unsaved_pages() <= limit.pages {
            return;
        }
        let Some(control) = self.object.control() else {
            return;
        };
        self.holds.pressed = Some(error);
        // Whoever writes to a clean page from now on asks first.
        let called = self.kernel.call(Call::LockRequest {
            control,
            offset: 0,
            length: self.backend.extent().next_multiple_of(self.page_size.bytes()),
            should_return: ShouldReturn::None,
            should_flush: false,
            lock: Prot::WRITE,
            reply: false,
        });
        super::perform::note(called);
    }

    /// Looks whether the limit is kept again, after a write went well.
    pub(super) fn ease(&mut self) {
        let within = self
            .unsaved_limit
            .is_none_or(|limit| self.unsaved_pages() <= limit.pages);
        if self.holds.pressed.is_none() || !within {
            return;
        }
        self.holds.pressed = None;
        for (op, range) in std::mem::take(&mut self.holds.unlocks) {
            self.submit(Job::Unlock { op, range });
        }
    }

    /// How many pages could not be written and are kept.
    pub fn unsaved_pages(&self) -> u64 {
        self.object.kept_pages(everything()).count() as u64
    }
}
