//! One private copy: memory of its own that is filled from the object page by page.

mod taking;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::task::Context;
use std::time::Instant;

use super::host::Shared;
use super::memory::Memory;
use super::page_table::PageTable;
use super::page_table::flag::RESIDENT;
use super::poison::STAY;
use super::share::ObjectShare;
use super::space::{Mapping, Place};
use super::spaces::{Fault, Spaces};
use super::uffd::{Stop, Uffd};
use super::view::ClientView;
use crate::mach::kernel::RawMapping;
use crate::mach::stream::StreamDetector;
use crate::object::{PageIndex, PageRange, PageSize, Prot};

/// The copy has this page, and needs the object's no more.
const TAKEN: u8 = RESIDENT;
/// The page could not be read when it had to be taken: it cannot be had any more.
const LOST: u8 = 1 << 7;

/// What a copy has of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Its own page.
    Taken,
    /// Whatever the object has.
    Shared,
    /// Nothing, for good.
    Lost,
}

/// A thread that waits for a page of the copy.
#[derive(Clone, Copy, Debug)]
struct Sleeper {
    place: Place,
    page: PageIndex,
}

/// An error marker that is dropped when it is due.
#[derive(Clone, Copy, Debug)]
struct Marker {
    at: Sleeper,
    due: Instant,
}

/// A private copy of pages of an object.
///
/// Its mapping is registered for missing faults alone: whatever is in its memory the system maps by
/// itself. A page is in its memory if and only if it is `TAKEN`, unless it was set aside. Pages are named by those of the object;
/// in the copy's own memory and address spaces they count from the first.
#[derive(Debug)]
pub(super) struct PrivateCopy {
    pub(super) id: u64,
    pub(super) range: PageRange,
    /// Handed out only when every page is taken.
    pub(super) at_once: bool,
    size: PageSize,
    memory: Arc<Memory>,
    spaces: Spaces,
    pages: PageTable,
    /// No page before it is shared.
    first_shared: PageIndex,
    sleepers: Vec<Sleeper>,
    markers: VecDeque<Marker>,
    /// Pages for which there was no memory, and since when.
    short: HashMap<PageIndex, Instant>,
    /// Taken pages for which there was no memory when they could not wait for it.
    aside: HashMap<PageIndex, Vec<u8>>,
}

impl PrivateCopy {
    /// Maps a copy that has no page yet.
    pub(super) fn new(
        raw: (u64, PageRange),
        size: PageSize,
        prot: Prot,
        uffd: Uffd,
        host: &Shared,
        share: &Arc<ObjectShare>,
    ) -> io::Result<(Self, RawMapping)> {
        let (id, range) = raw;
        let bytes = range.bytes(size);
        let length = usize::try_from(bytes).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let memory = host.memory(&format!("{}:copy", share.name), length, (size, share))?;
        let mut spaces = Spaces::new(uffd, size, bytes, share.clone());
        let view = ClientView::new(memory.file(), 0, length, prot, false)?;
        let mapping = RawMapping {
            id,
            address: view.address(),
            length,
            range,
        };
        let space = spaces.own().ok_or(io::ErrorKind::NotFound)?;
        if let Err(errno) = view.register_missing(&space.uffd) {
            view.unmap()?;
            return Err(errno.into());
        }
        space.add(Mapping {
            id,
            view,
            offset: 0,
            streams: StreamDetector::new(range, 1),
        });
        let copy = Self {
            id,
            range,
            at_once: false,
            size,
            memory: Arc::new(memory),
            spaces,
            pages: PageTable::default(),
            first_shared: range.start(),
            sleepers: Vec::new(),
            markers: VecDeque::new(),
            short: HashMap::new(),
            aside: HashMap::new(),
        };
        Ok((copy, mapping))
    }

    pub(super) fn part(&self, page: PageIndex) -> Part {
        match self.pages.get(page) {
            0 => Part::Shared,
            bits if bits & LOST != 0 => Part::Lost,
            _ => Part::Taken,
        }
    }

    /// True if the copy shows this page, and has only the object's.
    pub(super) fn shares(&self, page: PageIndex) -> bool {
        self.range.contains(page) && self.part(page) == Part::Shared
    }

    /// True if the copy still needs the object.
    pub(super) fn needs_object(&self) -> bool {
        self.pages.resident() < self.range.len() && self.spaces.any_mapping()
    }

    /// The first pages, at most `most`, that the copy shares with the object.
    pub(super) fn next_shared(&mut self, most: u64) -> PageRange {
        let end = self.range.end();
        while self.first_shared < end && !self.shares(self.first_shared) {
            self.first_shared = self.first_shared.next();
        }
        let ahead = PageRange::with_len(self.first_shared, most.min(end.0 - self.first_shared.0));
        let count = ahead.iter().take_while(|&page| self.shares(page)).count();
        PageRange::with_len(self.first_shared, count as u64)
    }

    fn local(&self, page: PageIndex) -> PageRange {
        PageRange::single(PageIndex(page.0 - self.range.start().0))
    }

    fn local_offset(&self, offset: u64) -> u64 {
        offset - self.range.offset(self.size)
    }

    /// Whoever waits for a page that is decided touches it again, or gets SIGBUS.
    fn settle(&mut self, page: PageIndex) {
        match self.part(page) {
            // Its memory is still to come.
            Part::Taken if self.aside.contains_key(&page) => {}
            Part::Taken => self.wake(page),
            Part::Lost => self.fail(page),
            Part::Shared => {}
        }
    }

    fn wake(&mut self, page: PageIndex) {
        let local = self.local(page);
        self.sleepers.retain(|sleeper| {
            if sleeper.page == page {
                self.spaces.wake(sleeper.place, local);
            }
            sleeper.page != page
        });
    }

    /// Whoever waits for the page gets SIGBUS.
    pub(super) fn fail(&mut self, page: PageIndex) {
        let local = self.local(page);
        let (failed, rest) = std::mem::take(&mut self.sleepers)
            .into_iter()
            .partition(|sleeper: &Sleeper| sleeper.page == page);
        self.sleepers = rest;
        for sleeper in failed {
            let marked = self.spaces.run(sleeper.place, local, |uffd, at| {
                uffd.poison(at.address, at.length)
            });
            if matches!(marked, Err((_, stop)) if stop != Stop::ProcessGone) {
                // Something else is there by now; whoever waits shall look.
                self.spaces.wake(sleeper.place, local);
            }
            let due = Instant::now() + STAY;
            self.markers.push_back(Marker { at: sleeper, due });
        }
    }

    /// When the next error marker is to be dropped.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.markers.iter().map(|marker| marker.due).min()
    }

    /// Drops the error markers that are due: the next touch asks the pager again.
    pub(super) fn heal_due(&mut self, now: Instant) {
        self.heal(|marker| marker.due <= now);
    }

    /// Drops the error markers of a page, so that the next touch asks again.
    pub(super) fn heal_page(&mut self, page: PageIndex) {
        self.heal(|marker| marker.at.page == page);
    }

    fn heal(&mut self, which: impl Fn(&Marker) -> bool) {
        let mut markers = std::mem::take(&mut self.markers);
        markers.retain(|marker| {
            let heal = which(marker);
            if heal {
                self.drop_marker(marker.at);
            }
            !heal
        });
        self.markers = markers;
    }

    fn drop_marker(&self, at: Sleeper) {
        let offset = self.local_offset(at.page.offset(self.size));
        if let Some(mapping) = self.spaces.mapping(at.place)
            && let Some(stretch) = mapping.stretch(offset, self.size.bytes())
        {
            mapping.view.forget(stretch.address, stretch.length);
        }
    }

    /// True if something was read that only a poll can settle, or the faults are not watched yet.
    pub(super) fn needs_poll(&self) -> bool {
        self.spaces.needs_poll()
    }

    /// Reads the faults. True if there may be more now.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        self.spaces.poll(cx)
    }

    /// The next poll watches anew, perhaps in another runtime.
    pub(super) fn unwatch(&mut self) {
        self.spaces.unwatch();
    }

    /// Notes the threads whose faults were read, and lets go on those whose page is decided.
    pub(super) fn take_faults(&mut self) {
        for Fault { place, page, .. } in std::mem::take(&mut self.spaces.inbox) {
            let page = PageIndex(page.0 + self.range.start().0);
            self.sleepers.push(Sleeper { place, page });
            self.settle(page);
        }
    }

    /// The pages of the object that threads wait for; appended to `out`.
    pub(super) fn wanted(&self, out: &mut Vec<PageIndex>) {
        let from = out.len();
        let pages = self.sleepers.iter().map(|sleeper| sleeper.page);
        out.extend(pages.filter(|&page| self.shares(page)));
        out[from..].sort_unstable();
        out.dedup();
    }

    /// Takes the mapping down.
    pub(super) fn unmap(mut self) -> io::Result<()> {
        self.spaces.refresh();
        let Some(space) = self.spaces.own() else {
            return Ok(());
        };
        let uffd = space.uffd.clone();
        for Mapping { view, .. } in space.take_all() {
            // Without this the call would wait for its own event to be read. Threads that still wait are
            // woken by it.
            uffd.unregister(view.address(), view.length())?;
            view.unmap()?;
        }
        Ok(())
    }

    /// What is left of the copy when its object goes: its mappings, with the memory if that is whole.
    pub(super) fn outlive(mut self) -> (Spaces, Option<Arc<Memory>>) {
        self.spaces.refresh();
        let whole = self.put_back() && !self.needs_object();
        for watch in self.spaces.descriptors() {
            self.memory.guard(watch.clone());
        }
        (self.spaces, whole.then_some(self.memory))
    }
}
