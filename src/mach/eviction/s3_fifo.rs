//! Three simple queues: a small one on probation, a main one, and a memory of those evicted.

use super::EvictionPolicy;
use super::ghost::Ghost;
use super::queue::{Queue, wants_sweep};
use super::slots::{MAX_USES, Slots};
use crate::object::PageIndex;

/// The part of the resident pages that is on probation: one in ten.
const PROBATION: usize = 10;

/// The default policy (S3-FIFO): pages used once leave soon, so that a scan cannot push out the
/// pages that are used again and again.
///
/// A new page starts on probation. If it is used there, it moves to the main queue; if not, it is
/// evicted but remembered for a while, and goes to the main queue at once if it comes back. Pages
/// of the main queue get as many further rounds as they were used, up to three.
#[derive(Debug, Default)]
pub struct S3Fifo {
    slots: Slots,
    probation: Queue,
    main: Queue,
    ghost: Ghost,
}

impl S3Fifo {
    /// Takes up to `most` steps, until `out` holds `end` pages.
    fn search(
        &mut self,
        most: usize,
        step: fn(&mut Self, &mut dyn FnMut(PageIndex) -> bool) -> Step,
        end: usize,
        may_evict: &mut dyn FnMut(PageIndex) -> bool,
        out: &mut Vec<PageIndex>,
    ) {
        for _ in 0..most {
            if out.len() >= end || self.slots.len() == 0 {
                break;
            }
            if let Step::Victim(page) = step(self, may_evict) {
                out.push(page);
            }
        }
    }

    /// One step of the search: a victim, or a page moved on.
    fn step(&mut self, may_evict: &mut dyn FnMut(PageIndex) -> bool) -> Step {
        if self.probation.len() * PROBATION > self.slots.len() || self.main.len() == 0 {
            self.step_probation(may_evict)
        } else {
            self.step_main(may_evict)
        }
    }

    fn step_probation(&mut self, may_evict: &mut dyn FnMut(PageIndex) -> bool) -> Step {
        let Some(slot) = self.probation.pop(&mut self.slots) else {
            return Step::Moved;
        };
        if self.slots.uses(slot) > 0 {
            self.slots.set_uses(slot, 0);
            self.main.push(&mut self.slots, slot);
            return Step::Moved;
        }
        match self.slots.page(slot).filter(|&page| may_evict(page)) {
            Some(page) => {
                self.ghost.fit(self.slots.len());
                self.ghost.add(page);
                self.slots.release(slot);
                Step::Victim(page)
            }
            // A pinned page is in use, whoever pinned it.
            None => {
                self.main.push(&mut self.slots, slot);
                Step::Moved
            }
        }
    }

    fn step_main(&mut self, may_evict: &mut dyn FnMut(PageIndex) -> bool) -> Step {
        let Some(slot) = self.main.pop(&mut self.slots) else {
            return Step::Moved;
        };
        let uses = self.slots.uses(slot);
        match self.slots.page(slot).filter(|&page| uses == 0 && may_evict(page)) {
            Some(page) => {
                self.slots.release(slot);
                Step::Victim(page)
            }
            None => {
                self.slots.set_uses(slot, uses.saturating_sub(1));
                self.main.push(&mut self.slots, slot);
                Step::Moved
            }
        }
    }

    fn sweep(&mut self) {
        if wants_sweep(self.probation.len() + self.main.len(), &self.slots) {
            self.probation.sweep(&mut self.slots);
            self.main.sweep(&mut self.slots);
        }
    }
}

enum Step {
    Victim(PageIndex),
    Moved,
}

impl EvictionPolicy for S3Fifo {
    fn inserted(&mut self, page: PageIndex) {
        if self.slots.find(page).is_some() {
            return self.touched(page);
        }
        let slot = self.slots.add(page);
        let queue = if self.ghost.take(page) {
            &mut self.main
        } else {
            &mut self.probation
        };
        queue.push(&mut self.slots, slot);
    }

    fn touched(&mut self, page: PageIndex) {
        if let Some(slot) = self.slots.find(page) {
            self.slots
                .set_uses(slot, (self.slots.uses(slot) + 1).min(MAX_USES));
        }
    }

    fn removed(&mut self, page: PageIndex) {
        if self.slots.kill(page) {
            self.sweep();
        }
    }

    fn victims(
        &mut self,
        want: usize,
        may_evict: &mut dyn FnMut(PageIndex) -> bool,
        out: &mut Vec<PageIndex>,
    ) {
        let end = out.len().saturating_add(want);
        // Once through probation, and through the main queue until every use is counted down; two
        // more may find a queue that only holds pages which were removed.
        let most = self.slots.len() * (usize::from(MAX_USES) + 2) + 2;
        self.search(most, Self::step, end, may_evict, out);
        // Whoever is pinned in the main queue must not shield the few on probation.
        self.search(self.probation.len(), Self::step_probation, end, may_evict, out);
        self.search(self.main.len(), Self::step_main, end, may_evict, out);
    }

    fn coming(&self, most: usize, out: &mut Vec<PageIndex>) {
        let unused = |slot: &u32| self.slots.uses(*slot) == 0;
        let end = out.len().saturating_add(most);
        let probation = self.probation.slots(&self.slots).filter(unused).take(most);
        out.extend(probation.filter_map(|slot| self.slots.page(slot)));
        let main = self.main.slots(&self.slots).take(most).filter(unused);
        out.extend(
            main.filter_map(|slot| self.slots.page(slot))
                .take(end - out.len()),
        );
    }

    fn len(&self) -> usize {
        self.slots.len()
    }

    fn memory(&self) -> usize {
        self.slots.memory() + self.ghost.memory()
    }
}
