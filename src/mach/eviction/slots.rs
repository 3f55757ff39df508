//! The resident pages of a policy: a slab of numbered slots, found by page through a hash index.

use crate::object::PageIndex;

/// No slot.
pub(super) const NONE: u32 = u32::MAX;
/// The most a use count can say.
pub(super) const MAX_USES: u8 = 3;

const USES: u64 = MAX_USES as u64;
const DEAD: u64 = u64::MAX;

/// Slots for pages, 12 bytes each, and an index of 4 bytes per place, at most three quarters full.
///
/// A slot that was [killed](Self::kill) stays where it is until the queue it is in gives it up.
#[derive(Debug)]
pub(super) struct Slots {
    /// Page number times four plus use count; `DEAD` for a slot that holds no page.
    pages: Vec<u64>,
    /// The slot behind this one, in whatever queue or free list it is.
    links: Vec<u32>,
    index: Vec<u32>,
    free: u32,
    live: usize,
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            pages: Vec::new(),
            links: Vec::new(),
            index: Vec::new(),
            free: NONE,
            live: 0,
        }
    }
}

impl Slots {
    /// How many pages.
    pub(super) fn len(&self) -> usize {
        self.live
    }

    /// How many bytes of memory are held.
    pub(super) fn memory(&self) -> usize {
        self.pages.capacity() * 8 + (self.links.capacity() + self.index.capacity()) * 4
    }

    /// The slot of `page`.
    pub(super) fn find(&self, page: PageIndex) -> Option<u32> {
        let place = self.place_of(page)?;
        Some(self.index[place])
    }

    /// A new slot for `page`, which must not have one; in no queue yet.
    pub(super) fn add(&mut self, page: PageIndex) -> u32 {
        debug_assert!(self.find(page).is_none());
        if (self.live + 1) * 4 > self.index.len() * 3 {
            self.grow_index();
        }
        let slot = self.new_slot(page.0 << 2);
        self.enter(slot);
        self.live += 1;
        slot
    }

    /// The page in `slot`; `None` if it was killed.
    pub(super) fn page(&self, slot: u32) -> Option<PageIndex> {
        let page = self.pages[slot as usize];
        (page != DEAD).then_some(PageIndex(page >> 2))
    }

    /// Forgets `page`; its slot stays in its queue, empty.
    pub(super) fn kill(&mut self, page: PageIndex) -> bool {
        let Some(place) = self.place_of(page) else {
            return false;
        };
        self.pages[self.index[place] as usize] = DEAD;
        self.vacate(place);
        self.live -= 1;
        true
    }

    /// Gives `slot` back, which is in no queue any more; forgets its page if it holds one.
    pub(super) fn release(&mut self, slot: u32) {
        if let Some(page) = self.page(slot) {
            self.kill(page);
        }
        self.links[slot as usize] = self.free;
        self.free = slot;
    }

    /// How often the page in `slot` was used, up to [`MAX_USES`].
    pub(super) fn uses(&self, slot: u32) -> u8 {
        (self.pages[slot as usize] & USES) as u8
    }

    /// Sets the use count of a slot that holds a page.
    pub(super) fn set_uses(&mut self, slot: u32, uses: u8) {
        let page = &mut self.pages[slot as usize];
        *page = *page & !USES | u64::from(uses.min(MAX_USES));
    }

    /// The slot behind `slot`.
    pub(super) fn link(&self, slot: u32) -> u32 {
        self.links[slot as usize]
    }

    /// Sets the slot behind `slot`.
    pub(super) fn set_link(&mut self, slot: u32, next: u32) {
        self.links[slot as usize] = next;
    }

    fn new_slot(&mut self, page: u64) -> u32 {
        if self.free == NONE {
            if self.pages.len() == self.pages.capacity() {
                let more = self.pages.len() / 4 + 16;
                self.pages.reserve_exact(more);
                self.links.reserve_exact(more);
            }
            self.pages.push(page);
            self.links.push(NONE);
            return (self.pages.len() - 1) as u32;
        }
        let slot = self.free;
        self.free = self.links[slot as usize];
        self.pages[slot as usize] = page;
        slot
    }

    fn grow_index(&mut self) {
        let places = self.index.len() + self.index.len() / 4 + 16;
        let old = std::mem::replace(&mut self.index, vec![NONE; places]);
        for slot in old.into_iter().filter(|&slot| slot != NONE) {
            self.enter(slot);
        }
    }

    fn enter(&mut self, slot: u32) {
        let mut place = self.home(self.pages[slot as usize] >> 2);
        while self.index[place] != NONE {
            place = self.after(place);
        }
        self.index[place] = slot;
    }

    fn place_of(&self, page: PageIndex) -> Option<usize> {
        if self.index.is_empty() {
            return None;
        }
        let mut place = self.home(page.0);
        loop {
            match self.index[place] {
                NONE => return None,
                slot if self.pages[slot as usize] >> 2 == page.0 => return Some(place),
                _ => place = self.after(place),
            }
        }
    }

    /// Empties a place of the index and moves those behind it up, so that no search stops short.
    fn vacate(&mut self, mut hole: usize) {
        let places = self.index.len();
        let distance = |from: usize, to: usize| if to >= from { to - from } else { to + places - from };
        let mut place = self.after(hole);
        while self.index[place] != NONE {
            let home = self.home(self.pages[self.index[place] as usize] >> 2);
            if distance(home, place) >= distance(hole, place) {
                self.index[hole] = self.index[place];
                hole = place;
            }
            place = self.after(place);
        }
        self.index[hole] = NONE;
    }

    fn home(&self, page: u64) -> usize {
        below(hash(page), self.index.len())
    }

    fn after(&self, place: usize) -> usize {
        if place + 1 == self.index.len() {
            0
        } else {
            place + 1
        }
    }
}

/// Spreads page numbers over 64 bits.
pub(super) fn hash(page: u64) -> u64 {
    let mixed = (page ^ page >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 29
}

/// A number below `end` from the upper half of a hash.
pub(super) fn below(hash: u64, end: usize) -> usize {
    (((hash >> 32) * end as u64) >> 32) as usize
}
