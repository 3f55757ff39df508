//! Who waits for which page, and for what.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::time::Instant;

use super::space::Place;
use crate::object::{NumberHasher, PageIndex, PageRange};

/// What a page that is waited for waits for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// A frame, or the object's being ready; then it is asked for.
    Queued,
    /// The pager's answer to a data request.
    Requested,
    /// The pager's answer to an unlock request.
    Unlocking,
    /// The end of a write to the store.
    Held,
}

/// A page that somebody waits for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    pub(super) stage: Stage,
    /// Some waiter wants to write.
    pub(super) write: bool,
    /// Where a thread waits.
    pub(super) place: Option<Place>,
    /// Where a thread will want the page next, although none waits.
    pub(super) hint: Option<Place>,
    /// Threads wait in several mappings.
    pub(super) many: bool,
    /// A `touch` waits.
    pub(super) touch: bool,
    /// A frame is reserved.
    pub(super) reserved: bool,
    /// Since when.
    pub(super) since: Instant,
}

/// A map by page number.
pub(super) type PageMap<T> = HashMap<u64, T, BuildHasherDefault<NumberHasher>>;

/// The waits of one object. Keeps its memory, so that a fault allocates nothing once warm.
#[derive(Debug, Default)]
pub(super) struct Waits {
    pages: PageMap<Wait>,
    queue: VecDeque<PageIndex>,
}

impl Waits {
    pub(super) fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    pub(super) fn contains(&self, page: PageIndex) -> bool {
        self.pages.contains_key(&page.0)
    }

    pub(super) fn get(&self, page: PageIndex) -> Option<&Wait> {
        self.pages.get(&page.0)
    }

    pub(super) fn get_mut(&mut self, page: PageIndex) -> Option<&mut Wait> {
        self.pages.get_mut(&page.0)
    }

    /// Notes a new waiter; false if somebody waited already.
    pub(super) fn join(&mut self, page: PageIndex, wait: Wait) -> bool {
        let Some(known) = self.pages.get_mut(&page.0) else {
            self.pages.insert(page.0, wait);
            return true;
        };
        known.write |= wait.write;
        known.touch |= wait.touch;
        match (known.place, wait.place) {
            // How long threads wait is measured.
            (None, Some(place)) => (known.place, known.since) = (Some(place), wait.since),
            (Some(before), Some(now)) if before != now => known.many = true,
            (Some(_), Some(_)) | (_, None) => {}
        }
        false
    }

    /// Puts a page into the line for frames.
    pub(super) fn enqueue(&mut self, page: PageIndex) {
        if let Some(wait) = self.pages.get_mut(&page.0) {
            wait.stage = Stage::Queued;
            self.queue.push_back(page);
        }
    }

    /// The first page in the line that still waits there.
    pub(super) fn queued(&mut self) -> Option<PageIndex> {
        while let Some(&page) = self.queue.front() {
            match self.pages.get(&page.0) {
                Some(wait) if wait.stage == Stage::Queued => return Some(page),
                Some(_) | None => self.queue.pop_front(),
            };
        }
        None
    }

    /// Every page that is waited for, in order.
    pub(super) fn all(&self) -> Vec<PageIndex> {
        let mut pages: Vec<_> = self.pages.keys().map(|&page| PageIndex(page)).collect();
        pages.sort_unstable();
        pages
    }

    /// Ends the wait for a page.
    pub(super) fn take(&mut self, page: PageIndex) -> Option<Wait> {
        if self.pages.is_empty() {
            return None;
        }
        self.pages.remove(&page.0)
    }

    /// The pages of `range` that are waited for, in order; appended to `out`.
    pub(super) fn within(&self, range: PageRange, out: &mut Vec<PageIndex>) {
        if range.len() <= self.pages.len() as u64 {
            out.extend(range.iter().filter(|&page| self.contains(page)));
            return;
        }
        let from = out.len();
        let pages = self.pages.keys().map(|&page| PageIndex(page));
        out.extend(pages.filter(|&page| range.contains(page)));
        out[from..].sort_unstable();
    }
}

impl Wait {
    /// A thread waits at `place`.
    pub(super) fn at(place: Place, write: bool, since: Instant) -> Self {
        Self {
            stage: Stage::Queued,
            write,
            place: Some(place),
            hint: None,
            many: false,
            touch: false,
            reserved: false,
            since,
        }
    }

    /// A touch waits.
    pub(super) fn of_touch(write: bool) -> Self {
        Self {
            place: None,
            touch: true,
            write,
            ..Self::nobody()
        }
    }

    /// The page is asked for ahead of need.
    pub(super) fn ahead(hint: Option<Place>) -> Self {
        Self {
            hint,
            ..Self::nobody()
        }
    }

    fn nobody() -> Self {
        Self {
            stage: Stage::Queued,
            write: false,
            place: None,
            hint: None,
            many: false,
            touch: false,
            reserved: false,
            since: Instant::now(),
        }
    }
}
