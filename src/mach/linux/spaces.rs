//! All address spaces of one object: reads their messages, and carries ioctls out in them.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::forks::{self, Watch};
use super::message::Message;
use super::share::ObjectShare;
use super::space::{Mapping, Place, Space, Stretch};
use super::uffd::{Progress, Stop, Uffd};
use crate::mach::stats::Stats;
use crate::mach::stream::{Advice, Window};
use crate::object::{PageIndex, PageRange, PageSize};

/// A thread that waits at a page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) place: Place,
    pub(super) page: PageIndex,
    pub(super) write: bool,
    pub(super) protected: bool,
}

/// The address spaces, and what was read from them.
#[derive(Debug)]
pub(super) struct Spaces {
    pub(super) list: Vec<Option<Space>>,
    pub(super) size: PageSize,
    /// Bytes of the object, whole pages.
    pub(super) length: u64,
    pub(super) share: Arc<ObjectShare>,
    /// Faults not yet looked at.
    pub(super) inbox: Vec<Fault>,
    /// Faults at addresses that no known mapping covers: their event may still come.
    pub(super) strays: Vec<(u32, usize)>,
    pub(super) scratch: Vec<Message>,
    /// Where the last fault came from.
    pub(super) latest: u32,
    /// Counts changes of the table, so that a walk over it can be repeated.
    pub(super) changes: u64,
    /// Pages that were shown where nothing is shown any more: whether they were written to is not known.
    pub(super) lost: Vec<PageRange>,
    /// This process's writes raise no faults.
    pub(super) unseen: bool,
}

impl Spaces {
    pub(super) fn new(own: Uffd, size: PageSize, length: u64, share: Arc<ObjectShare>) -> Self {
        Self {
            list: vec![Some(Space::new(own, &share))],
            size,
            length,
            share,
            inbox: Vec::new(),
            strays: Vec::new(),
            scratch: Vec::new(),
            latest: 0,
            changes: 0,
            lost: Vec::new(),
            unseen: false,
        }
    }

    /// Takes another process's address space in.
    pub(super) fn add_space(&mut self, space: Space) {
        self.changes += 1;
        // The first place is this process's.
        match self.list.iter_mut().skip(1).find(|slot| slot.is_none()) {
            Some(slot) => *slot = Some(space),
            None => self.list.push(Some(space)),
        }
    }

    /// A client detached or died.
    pub(super) fn remove_client(&mut self, client: u64) {
        for slot in self.list.iter_mut().skip(1) {
            if slot.as_ref().is_some_and(|space| space.client == Some(client)) {
                *slot = None;
            }
        }
    }

    /// Lets every thread that waits anywhere touch its page again.
    pub(super) fn wake_all(&self) {
        for space in self.list.iter().flatten() {
            for mapping in space.mappings() {
                space.uffd.wake(mapping.view.address(), mapping.view.length());
            }
        }
    }

    /// This process.
    pub(super) fn own(&mut self) -> Option<&mut Space> {
        self.list.first_mut()?.as_mut()
    }

    pub(super) fn space(&self, at: u32) -> Option<&Space> {
        self.list.get(at as usize)?.as_ref()
    }

    pub(super) fn mapping(&self, place: Place) -> Option<&Mapping> {
        self.space(place.space)?.mapping(place.mapping)
    }

    /// Every descriptor, to be kept open elsewhere.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = &Arc<Watch>> {
        self.list.iter().flatten().map(|space| &space.forks)
    }

    /// The next poll watches anew, perhaps in another runtime.
    pub(super) fn unwatch(&mut self) {
        for space in self.list.iter_mut().flatten() {
            space.watch = None;
        }
    }

    /// Which pages to bring in or to map at a fault of this place.
    pub(super) fn follow(&mut self, place: Place, page: PageIndex) -> Option<Window> {
        let space = self.list.get_mut(place.space as usize)?.as_mut()?;
        let mapping = space.mapping_mut(place.mapping)?;
        Some(mapping.streams.on_fault(page))
    }

    /// Pages leave to make room: where they were read ahead in vain, less is read ahead from now on.
    pub(super) fn evicted(&mut self, pages: &[PageIndex]) {
        for mapping in self.list.iter_mut().flatten().flat_map(Space::mappings_mut) {
            pages.iter().for_each(|&page| mapping.streams.on_evicted(page));
        }
    }

    /// Takes advice about the accesses to come, for every mapping.
    pub(super) fn advise(&mut self, range: PageRange, advice: Advice) {
        for mapping in self.list.iter_mut().flatten().flat_map(Space::mappings_mut) {
            mapping.streams.advise(range, advice);
        }
    }

    /// True if there is a mapping in any process.
    pub(super) fn any_mapping(&self) -> bool {
        self.list
            .iter()
            .flatten()
            .any(|space| space.mappings().next().is_some())
    }

    /// Forgets the address spaces of processes that ended.
    pub(super) fn sweep(&mut self) {
        for slot in self.list.iter_mut().skip(1) {
            if slot.as_ref().is_some_and(|space| space.uffd.process_gone()) {
                *slot = None;
            }
        }
    }

    pub(super) fn count(&self, counter: fn(&Stats) -> &AtomicU64) {
        Stats::count(counter(&self.share.stats), 1);
    }

    /// The places where pages of `range` are mapped; appended to `out`.
    pub(super) fn places(&self, range: PageRange, out: &mut Vec<Place>) {
        let (offset, bytes) = (range.offset(self.size), range.bytes(self.size));
        for (at, space) in (0..).zip(&self.list) {
            let Some(space) = space else { continue };
            for slot in 0..space.slots() {
                let shown = space
                    .mapping(slot)
                    .and_then(|mapping| mapping.stretch(offset, bytes));
                if shown.is_some() {
                    out.push(Place {
                        space: at,
                        mapping: slot,
                    });
                }
            }
        }
    }

    /// True if a place shows all of `range`.
    pub(super) fn covers(&self, place: Place, range: PageRange) -> bool {
        let bytes = range.bytes(self.size);
        let stretch = self
            .mapping(place)
            .and_then(|mapping| mapping.stretch(range.offset(self.size), bytes));
        stretch.is_some_and(|stretch| stretch.length as u64 == bytes)
    }

    /// Carries an ioctl out on what a place shows of `range`, repeating it while events come between.
    ///
    /// Gives the first byte of the object that was not done, and why.
    pub(super) fn run(
        &mut self,
        place: Place,
        range: PageRange,
        mut op: impl FnMut(&Uffd, Stretch) -> Progress,
    ) -> Result<(), (u64, Stop)> {
        let mut from = range.offset(self.size);
        let end = from + range.bytes(self.size);
        loop {
            let Some(space) = self.space(place.space) else {
                return Err((from, Stop::ProcessGone));
            };
            let mapping = space.mapping(place.mapping);
            let Some(stretch) = mapping.and_then(|mapping| mapping.stretch(from, end - from)) else {
                return Err((from, Stop::Unmapped));
            };
            let progress = op(&space.uffd, stretch);
            from = stretch.offset + progress.done as u64;
            match progress.stop {
                None => return Ok(()),
                Some(Stop::Retry) if progress.done > 0 => {}
                Some(Stop::Retry) => self.catch_up(),
                Some(Stop::ProcessGone) => {
                    self.forget_space(place.space);
                    return Err((from, Stop::ProcessGone));
                }
                Some(stop) => return Err((from, stop)),
            }
        }
    }

    pub(super) fn forget_space(&mut self, at: u32) {
        if at > 0
            && let Some(slot) = self.list.get_mut(at as usize)
        {
            *slot = None;
        }
    }

    /// Lets everybody who waits in `range` at `place` touch it again.
    pub(super) fn wake(&self, place: Place, range: PageRange) {
        let Some(space) = self.space(place.space) else {
            return;
        };
        let mapping = space.mapping(place.mapping);
        let stretch =
            mapping.and_then(|mapping| mapping.stretch(range.offset(self.size), range.bytes(self.size)));
        if let Some(stretch) = stretch {
            space.uffd.wake(stretch.address, stretch.length);
        }
    }

    /// Write-protects `range` in every mapping of every process.
    pub(super) fn protect_everywhere(&mut self, range: PageRange) {
        let mut places = Vec::new();
        loop {
            let changes = self.changes;
            places.clear();
            self.places(range, &mut places);
            for &place in &places {
                self.protect_at(place, range);
            }
            // A fork that began before the protection has a child that is not in the table yet.
            if forks::pending() {
                self.refresh();
            }
            if changes == self.changes {
                return;
            }
        }
    }

    /// Write-protects `range` at one place.
    pub(super) fn protect_at(&mut self, place: Place, range: PageRange) {
        let protect = |uffd: &Uffd, at: Stretch| whole(at, uffd.protect(at.address, at.length));
        // What is not mapped any more needs no protection.
        let Err((from, Stop::NoMemory)) = self.run(place, range, protect) else {
            return;
        };
        let rest = PageRange::new(self.size.page_of(from), range.end());
        let bytes = rest.bytes(self.size);
        let Some(mapping) = self.mapping(place) else {
            return;
        };
        if mapping.view.is_own() {
            // Unmapping takes no memory, and whoever writes there stops as well.
            if let Some(at) = mapping.stretch(rest.offset(self.size), bytes) {
                mapping.view.forget(at.address, at.length);
            }
            return;
        }
        for page in rest.iter() {
            // Memory is taken only for a table of entries that is not there: nothing is mapped by it.
            let _ = self.run(place, PageRange::single(page), protect);
        }
    }

    /// True while a client moves or unmaps addresses of this process, of which an event will tell.
    pub(super) fn is_changing(&self) -> bool {
        self.space(0).is_some_and(|space| space.uffd.is_changing())
    }

    /// Lifts the protection of `range` at `place`; wakes unless told otherwise.
    pub(super) fn unprotect(
        &mut self,
        place: Place,
        range: PageRange,
        wake: bool,
    ) -> Result<(), (u64, Stop)> {
        self.run(place, range, |uffd, at| {
            whole(at, uffd.unprotect(at.address, at.length, wake))
        })
    }
}

fn whole(at: Stretch, result: Result<(), Stop>) -> Progress {
    Progress {
        done: if result.is_ok() { at.length } else { 0 },
        stop: result.err(),
    }
}
