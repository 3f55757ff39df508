//! Second chance.

use super::EvictionPolicy;
use super::queue::{Queue, wants_sweep};
use super::slots::Slots;
use crate::object::PageIndex;

/// Evicts the first page that was not used since the hand last passed it (CLOCK).
#[derive(Debug, Default)]
pub struct Clock {
    slots: Slots,
    queue: Queue,
}

impl EvictionPolicy for Clock {
    fn inserted(&mut self, page: PageIndex) {
        match self.slots.find(page) {
            Some(slot) => self.slots.set_uses(slot, 1),
            None => {
                let slot = self.slots.add(page);
                self.queue.push(&mut self.slots, slot);
            }
        }
    }

    fn touched(&mut self, page: PageIndex) {
        if let Some(slot) = self.slots.find(page) {
            self.slots.set_uses(slot, 1);
        }
    }

    fn removed(&mut self, page: PageIndex) {
        if self.slots.kill(page) && wants_sweep(self.queue.len(), &self.slots) {
            self.queue.sweep(&mut self.slots);
        }
    }

    fn victims(
        &mut self,
        want: usize,
        may_evict: &mut dyn FnMut(PageIndex) -> bool,
        out: &mut Vec<PageIndex>,
    ) {
        let end = out.len().saturating_add(want);
        // Twice round: once to take the use marks away, once to evict.
        for _ in 0..self.slots.len() * 2 {
            if out.len() == end {
                break;
            }
            let Some(slot) = self.queue.pop(&mut self.slots) else {
                break;
            };
            let unused = self.slots.uses(slot) == 0;
            self.slots.set_uses(slot, 0);
            match self.slots.page(slot).filter(|&page| unused && may_evict(page)) {
                Some(page) => {
                    out.push(page);
                    self.slots.release(slot);
                }
                None => self.queue.push(&mut self.slots, slot),
            }
        }
    }

    fn coming(&self, most: usize, out: &mut Vec<PageIndex>) {
        out.extend(self.queue.pages(&self.slots).take(most));
    }

    fn len(&self) -> usize {
        self.slots.len()
    }

    fn memory(&self) -> usize {
        self.slots.memory()
    }
}
