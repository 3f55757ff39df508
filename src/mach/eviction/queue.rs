//! A first-in, first-out queue of slots.

use super::slots::{NONE, Slots};
use crate::object::PageIndex;

/// A queue through the links of its slots.
#[derive(Debug)]
pub(super) struct Queue {
    head: u32,
    tail: u32,
    len: usize,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            head: NONE,
            tail: NONE,
            len: 0,
        }
    }
}

impl Queue {
    /// How many slots, those of killed pages too.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The pages of the queue, the oldest first.
    pub(super) fn pages(&self, slots: &Slots) -> impl Iterator<Item = PageIndex> {
        self.slots(slots).filter_map(|slot| slots.page(slot))
    }

    /// The slots of the queue, the oldest first.
    pub(super) fn slots(&self, slots: &Slots) -> impl Iterator<Item = u32> {
        let some = |slot: u32| (slot != NONE).then_some(slot);
        std::iter::successors(some(self.head), move |&slot| some(slots.link(slot)))
    }

    /// Appends a slot that is in no queue.
    pub(super) fn push(&mut self, slots: &mut Slots, slot: u32) {
        slots.set_link(slot, NONE);
        match self.tail {
            NONE => self.head = slot,
            tail => slots.set_link(tail, slot),
        }
        self.tail = slot;
        self.len += 1;
    }

    /// Takes the oldest slot that holds a page; gives those back that hold none.
    pub(super) fn pop(&mut self, slots: &mut Slots) -> Option<u32> {
        loop {
            let slot = self.pop_any(slots)?;
            if slots.page(slot).is_some() {
                return Some(slot);
            }
            slots.release(slot);
        }
    }

    /// Gives the slots back that hold no page.
    pub(super) fn sweep(&mut self, slots: &mut Slots) {
        for _ in 0..self.len {
            match self.pop_any(slots) {
                Some(slot) if slots.page(slot).is_some() => self.push(slots, slot),
                Some(slot) => slots.release(slot),
                None => break,
            }
        }
    }

    fn pop_any(&mut self, slots: &Slots) -> Option<u32> {
        let slot = self.head;
        if slot == NONE {
            return None;
        }
        self.head = slots.link(slot);
        if self.head == NONE {
            self.tail = NONE;
        }
        self.len -= 1;
        Some(slot)
    }
}

/// True when so many of `queued` slots hold no page that sweeping pays: each sweep is then paid for
/// by as many removals as it has slots to look at.
pub(super) fn wants_sweep(queued: usize, slots: &Slots) -> bool {
    queued > slots.len() * 2 + 64
}
