//! Error markers: how a thread gets SIGBUS for a page that cannot be had, and how the page heals.
//!
//! `UFFDIO_POISON` puts a marker where nothing is mapped; whoever touches it gets SIGBUS and the kernel
//! says nothing. `UFFDIO_COPY` and `UFFDIO_CONTINUE` put a page over a marker, `PUNCH_HOLE` leaves it,
//! and `MADV_DONTNEED` drops it. The latter does not wait for anybody, because this kernel does not
//! ask for remove events: it finds absent pages out when they are touched. So in this process a marker
//! is dropped shortly after it was set, and the next touch asks the pager again. In a forked child
//! nobody else can drop it: there the page is asked for again, at growing intervals, and mapped over
//! the marker when it comes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::object::{LinuxObject, Phase};
use super::page_table::flag::{DIRTY, LENT, MARKED, PRECIOUS, RESIDENT};
use super::space::Place;
use super::uffd::Stop;
use super::waits::{PageMap, Wait};
use crate::mach::message::{PageData, Upcall};
use crate::object::{PageError, PageIndex, PageRange};

/// How long a marker stays: long enough for the waiting threads to run into it.
pub(super) const STAY: Duration = Duration::from_millis(10);
/// The interval doubles at most this often in children.
const DOUBLINGS: u32 = 7;

#[derive(Clone, Copy, Debug)]
struct Marker {
    place: Place,
    page: PageIndex,
    due: Instant,
}

/// The markers that were set and not yet dropped.
#[derive(Debug, Default)]
pub(super) struct Poisons {
    own: VecDeque<Marker>,
    children: Vec<Marker>,
    /// How often pages were asked for again on behalf of children.
    tries: PageMap<u32>,
}

impl Poisons {
    pub(super) fn next_due(&self) -> Option<Instant> {
        let own = self.own.front().map(|marker| marker.due);
        let children = self.children.iter().map(|marker| marker.due).min();
        own.into_iter().chain(children).min()
    }

    /// The page came: what was tried before is forgotten.
    pub(super) fn page_came(&mut self, page: PageIndex) {
        if !self.tries.is_empty() {
            self.tries.remove(&page.0);
        }
    }

    fn add(&mut self, place: Place, page: PageIndex, own: bool) {
        let now = Instant::now();
        if own {
            let due = now + STAY;
            self.own.push_back(Marker { place, page, due });
        } else {
            let tries = self.tries.entry(page.0).or_default();
            let due = now + STAY * (1 << (*tries).min(DOUBLINGS));
            *tries += 1;
            self.children.push(Marker { place, page, due });
        }
    }
}

impl LinuxObject {
    pub(super) fn data_error(&mut self, range: PageRange, error: PageError) {
        let mut pages = std::mem::take(&mut self.scratch.pages);
        self.waits.within(range, &mut pages);
        for page in pages.drain(..) {
            self.fail(page, error);
        }
        self.scratch.pages = pages;
    }

    /// Whoever waits for the page gets an error.
    pub(super) fn fail(&mut self, page: PageIndex, error: PageError) {
        let Some(wait) = self.waits.take(page) else { return };
        let Wait {
            place,
            many,
            touch,
            reserved,
            ..
        } = wait;
        if reserved {
            self.host.budget.release(&self.share, self.size.bytes());
        }
        if touch {
            self.errors.insert(page, error);
        }
        let mut places = Vec::new();
        match place {
            Some(place) if !many => places.push(place),
            Some(_) => self.spaces.places(PageRange::single(page), &mut places),
            None => {}
        }
        for place in places {
            self.poison_at(place, page);
        }
    }

    /// Threads that wait for the page at `place` get SIGBUS.
    pub(super) fn poison_at(&mut self, place: Place, page: PageIndex) {
        let Some(own) = self.spaces.mapping(place).map(|mapping| mapping.view.is_own()) else {
            return;
        };
        let range = PageRange::single(page);
        if !own {
            self.table.foretell(page, MARKED);
        }
        let mut result = self.set_marker(place, range);
        if matches!(result, Err((_, Stop::Present))) {
            // The marker of a protection is in the way, or the page itself, which a lock keeps from
            // being written. It is unmapped first: nobody may write to it in between.
            self.forget_mapped(place, page);
            let _ = self.spaces.unprotect(place, range, false);
            result = self.set_marker(place, range);
        }
        if result.is_err() {
            // Something else is there by now; whoever waits shall look.
            self.spaces.wake(place, range);
        }
        self.count(|stats| &stats.poisons, 1);
        if self.phase != Phase::Destroyed {
            self.poisons.add(place, page, own);
        }
    }

    /// Markers that a pager before may have set in other processes are healed as if they were new.
    pub(super) fn inherit_markers(&mut self, page: PageIndex) {
        let mut places = Vec::new();
        self.spaces.places(PageRange::single(page), &mut places);
        for place in places {
            self.poisons.add(place, page, false);
        }
    }

    fn set_marker(&mut self, place: Place, range: PageRange) -> Result<(), (u64, Stop)> {
        self.spaces
            .run(place, range, |uffd, at| uffd.poison(at.address, at.length))
    }

    /// Unmaps a page at one place; its contents stay.
    fn forget_mapped(&mut self, place: Place, page: PageIndex) {
        let (offset, bytes) = (page.offset(self.size), self.size.bytes());
        let Some(mapping) = self.spaces.mapping(place) else {
            return;
        };
        match mapping.stretch(offset, bytes) {
            Some(at) if mapping.view.is_own() => mapping.view.forget(at.address, at.length),
            Some(_) | None => self.remake(page),
        }
    }

    /// Takes a page out of every mapping of every process, by freeing it and making it anew.
    fn remake(&mut self, page: PageIndex) {
        if !self.table.has(page, RESIDENT) || self.table.has(page, LENT) || self.pins.hold(page) {
            return;
        }
        if self.memory.is_shared() {
            // What is freed and made anew would be lost if this process died in between.
            return self.drop_clean(page);
        }
        let (offset, length) = (page.offset(self.size), self.size.bytes());
        let mut bytes = vec![0; length as usize];
        let memory = &self.memory;
        let freed = memory
            .read(offset, &mut bytes)
            .and_then(|()| memory.punch(offset, length));
        if let Err(error) = freed {
            // It is still there, and whoever is refused asks again.
            return tracing::error!(object = %self.share.name, ?page, %error, "cannot unmap a page");
        }
        if let Err(error) = memory.write(offset, &bytes) {
            tracing::debug!(object = %self.share.name, ?page, %error, "a page goes for want of memory");
            self.evict_bytes(page, bytes);
        }
    }

    /// A page whose memory is gone already is evicted: what it held travels with the message.
    fn evict_bytes(&mut self, page: PageIndex, bytes: Vec<u8>) {
        let dirty = self.table.has(page, DIRTY);
        if dirty || self.table.has(page, PRECIOUS) || self.notify_on_evict {
            let (control, offset) = (self.control, page.offset(self.size));
            self.say(Upcall::DataReturn {
                control,
                offset,
                data: PageData::Owned(bytes),
                dirty,
                kernel_copy: false,
            });
        }
        self.drop_pages(PageRange::single(page));
        self.fill_holes();
        self.run_short();
    }

    fn drop_clean(&mut self, page: PageIndex) {
        if !self.table.has(page, DIRTY) && !self.table.has(page, PRECIOUS) {
            self.drop_pages(PageRange::single(page));
            self.fill_holes();
        }
    }

    /// Lets the next touch of a page ask the pager again.
    pub(super) fn heal_page(&mut self, page: PageIndex) {
        self.heal_where(|marker| marker.page == page);
    }

    /// When the next error marker is to be dropped.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.poisons.next_due().into_iter().chain(self.copies_due()).min()
    }

    pub(super) fn heal_due(&mut self, now: Instant) {
        if self.poisons.next_due().is_some_and(|due| due <= now) {
            self.heal_where(|marker| marker.due <= now);
        }
        self.heal_copies(now);
    }

    fn heal_where(&mut self, which: impl Fn(&Marker) -> bool) {
        let mut own = std::mem::take(&mut self.poisons.own);
        own.retain(|marker| {
            let heal = which(marker);
            if heal {
                self.drop_marker(marker);
            }
            !heal
        });
        self.poisons.own = own;
        let mut children = std::mem::take(&mut self.poisons.children);
        let due: Vec<_> = children.extract_if(.., |marker| which(marker)).collect();
        self.poisons.children = children;
        for marker in due {
            self.ask_for_child(marker);
        }
        self.ask_for_queued();
    }

    fn drop_marker(&mut self, marker: &Marker) {
        let (offset, bytes) = (marker.page.offset(self.size), self.size.bytes());
        if let Some(mapping) = self.spaces.mapping(marker.place)
            && let Some(at) = mapping.stretch(offset, bytes)
        {
            mapping.view.forget(at.address, at.length);
            self.count(|stats| &stats.heals, 1);
        }
    }

    fn ask_for_child(&mut self, marker: Marker) {
        if self.spaces.mapping(marker.place).is_none() {
            return;
        }
        self.count(|stats| &stats.heals, 1);
        let wait = Wait::at(marker.place, false, Instant::now());
        if !self.table.has(marker.page, RESIDENT) {
            self.want(marker.page, wait);
        } else if !self.resolve(marker.place, marker.page, false, false) {
            self.forget_page(marker.page);
            self.want(marker.page, wait);
        }
    }
}
