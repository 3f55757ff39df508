//! First in, first out.

use super::EvictionPolicy;
use super::queue::{Queue, wants_sweep};
use super::slots::Slots;
use crate::object::PageIndex;

/// Evicts the page that came first, used or not: the yardstick for the others.
#[derive(Debug, Default)]
pub struct Fifo {
    slots: Slots,
    queue: Queue,
}

impl EvictionPolicy for Fifo {
    fn inserted(&mut self, page: PageIndex) {
        if self.slots.find(page).is_none() {
            let slot = self.slots.add(page);
            self.queue.push(&mut self.slots, slot);
        }
    }

    fn touched(&mut self, _page: PageIndex) {}

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
        for _ in 0..self.slots.len() {
            if out.len() == end {
                break;
            }
            let Some(slot) = self.queue.pop(&mut self.slots) else {
                break;
            };
            match self.slots.page(slot).filter(|&page| may_evict(page)) {
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
