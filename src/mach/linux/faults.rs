//! Faults: those that the kernel resolves by itself, and those that need the pager.

use std::time::Instant;

use super::kill_point;
use super::object::{LinuxObject, Phase};
use super::page_table::flag::{DIRTY, LENT, RESIDENT, WRITE_LOCKED, WRITING};
use super::space::Place;
use super::spaces::Fault;
use super::uffd::Stop;
use super::waits::{Stage, Wait};
use crate::mach::message::Upcall;
use crate::mach::stream::Window;
use crate::object::{PageIndex, PageRange, Prot};

/// Pages per data request at most.
pub(super) const LONGEST_REQUEST: u64 = 256;

impl LinuxObject {
    /// Takes all faults that were read.
    pub(super) fn take_faults(&mut self) {
        if self.spaces.inbox.is_empty() {
            return;
        }
        let since = Instant::now();
        let mut faults = std::mem::take(&mut self.scratch.faults);
        std::mem::swap(&mut faults, &mut self.spaces.inbox);
        for fault in faults.drain(..) {
            self.take_fault(fault, since);
        }
        self.scratch.faults = faults;
    }

    fn take_fault(&mut self, fault: Fault, since: Instant) {
        let Fault {
            place,
            page,
            write,
            protected,
        } = fault;
        let bits = self.table.get(page);
        if self.phase == Phase::Destroyed {
            self.poison_at(place, page);
        } else if bits & RESIDENT == 0 {
            self.count(|stats| &stats.faults_missing, 1);
            self.want(page, Wait::at(place, write, since));
        } else {
            match protected {
                true => self.count(|stats| &stats.faults_protected, 1),
                false => self.count(|stats| &stats.faults_minor, 1),
            }
            self.hit(fault, bits, since);
        }
    }

    /// A fault on a resident page.
    fn hit(&mut self, fault: Fault, bits: u8, since: Instant) {
        let wait = Wait::at(fault.place, fault.write, since);
        if fault.write && bits & WRITE_LOCKED != 0 {
            self.want_unlock(fault.page, wait);
        } else if fault.write && bits & WRITING != 0 {
            self.hold(fault.page, wait);
        } else if fault.write && !self.preserve(fault.page) {
            self.want_memory(fault.page, wait);
        } else if self.resolve(fault.place, fault.page, fault.write, fault.protected) {
            self.served(since);
            if !fault.protected
                && let Some(policy) = &mut self.policy
            {
                policy.touched(fault.page);
            }
        } else {
            // The page is not there: a client punched it out.
            self.forget_page(fault.page);
            self.want(fault.page, wait);
        }
    }

    /// Lets a waiter have a resident page. False if the page turned out not to be there.
    pub(super) fn resolve(&mut self, place: Place, page: PageIndex, write: bool, protected: bool) -> bool {
        if write {
            self.table.set(page, DIRTY);
            kill_point::pass("dirtied");
        }
        let range = PageRange::single(page);
        if protected {
            // Where that is not mapped any more, nobody waits.
            let _ = self.spaces.unprotect(place, range, true);
            return true;
        }
        let around = if write {
            range
        } else {
            self.map_window(place, page)
        };
        self.map_pages(place, page, around, write)
    }

    /// Pages that are mapped together with `page`: its neighbours that are alike.
    fn map_window(&mut self, place: Place, page: PageIndex) -> PageRange {
        let stream = self
            .spaces
            .follow(place, page)
            .filter(|window| window.count() > 1);
        let ahead = stream.and_then(Window::run).filter(|run| run.start() == page);
        let window = ahead.unwrap_or_else(|| self.host.window(page, self.pages));
        let protect = self.protects(page);
        let alike = |at: &PageIndex| self.table.has(*at, RESIDENT) && self.protects(*at) == protect;
        let rest = PageRange::new(page, window.end());
        PageRange::with_len(page, rest.iter().take_while(alike).count() as u64)
    }

    /// True if the page must be mapped write-protected.
    pub(super) fn protects(&self, page: PageIndex) -> bool {
        let bits = self.table.get(page);
        bits & DIRTY == 0 || bits & (WRITE_LOCKED | WRITING) != 0 || self.shared_with_copies(page)
    }

    fn map_pages(&mut self, place: Place, page: PageIndex, range: PageRange, write: bool) -> bool {
        let protect = self.protects(page);
        let mapped = self.spaces.run(place, range, |uffd, at| {
            uffd.map_present(at.address, at.length, protect)
        });
        let Err((stopped, stop)) = mapped else { return true };
        if stopped >= page.next().offset(self.size) {
            return true; // The page is there; its neighbours were extra.
        }
        match stop {
            Stop::Hole => return false,
            Stop::Present => self.map_rest(place, page, write),
            Stop::NoMemory => {
                // There is no memory for the page tables.
                self.want(page, Wait::at(place, write, Instant::now()));
                self.run_short();
            }
            Stop::Retry | Stop::Other(_) => self.spaces.wake(place, PageRange::single(page)),
            Stop::Unmapped | Stop::ProcessGone => {}
        }
        true
    }

    /// Part of the page is mapped already: maps what is left, and lifts the protection for a writer.
    fn map_rest(&mut self, place: Place, page: PageIndex, write: bool) {
        let protect = self.protects(page);
        let range = PageRange::single(page);
        // Pages of one system page are whole by now; larger ones are walked through.
        let _ = self.spaces.run(place, range, |uffd, at| {
            let step = at.length.min(4096);
            let mut progress = uffd.map_present(at.address, step, protect);
            if progress.stop == Some(Stop::Present) {
                progress.done = step;
                progress.stop = None;
            }
            if progress.stop.is_none() && step < at.length {
                progress.stop = Some(Stop::Retry);
            }
            progress
        });
        if write && !protect {
            let _ = self.spaces.unprotect(place, range, true);
        }
        self.spaces.wake(place, range);
    }

    /// Notes a waiter for an absent page, and asks for the page if nobody did.
    pub(super) fn want(&mut self, page: PageIndex, wait: Wait) {
        if self.waits.join(page, wait) {
            self.waits.enqueue(page);
        }
    }

    /// Whoever wants to write to a page waits until the copies had memory for it as it was.
    pub(super) fn want_memory(&mut self, page: PageIndex, wait: Wait) {
        self.want(page, wait);
        self.run_short();
    }

    pub(super) fn want_unlock(&mut self, page: PageIndex, wait: Wait) {
        if self.waits.join(page, wait) {
            if let Some(wait) = self.waits.get_mut(page) {
                wait.stage = Stage::Unlocking;
            }
            self.ask_unlock(page);
        }
    }

    fn ask_unlock(&mut self, page: PageIndex) {
        let (offset, bytes) = (page.offset(self.size), self.size.bytes());
        if let Some(Upcall::DataUnlock {
            offset: start,
            length,
            ..
        }) = self.out.back_mut()
            && *start + *length == offset
            && *length < LONGEST_REQUEST * bytes
        {
            *length += bytes;
            return;
        }
        let control = self.control;
        self.say(Upcall::DataUnlock {
            control,
            offset,
            length: bytes,
            access: Prot::WRITE,
        });
    }

    fn hold(&mut self, page: PageIndex, wait: Wait) {
        if self.waits.join(page, wait)
            && let Some(wait) = self.waits.get_mut(page)
        {
            wait.stage = Stage::Held;
        }
    }

    /// Asks for the pages in the line, as long as there are frames.
    pub(super) fn ask_for_queued(&mut self) {
        if self.phase != Phase::Ready {
            // Nobody else waits in the line for an object that is not in use.
            return self.host.budget.sated(&self.share);
        }
        while let Some(page) = self.waits.queued() {
            if !self.shortage.may_try() {
                break;
            }
            if self.table.has(page, RESIDENT) {
                self.serve(page); // It came back while it stood in the line.
            } else if !self.ask_for(page) {
                return;
            }
        }
        self.host.budget.sated(&self.share);
        self.granted = 0;
    }

    /// Asks for one page and what lies around it. False if there is no frame.
    fn ask_for(&mut self, page: PageIndex) -> bool {
        let away = self.table.has(page, LENT);
        if !away && !self.frames(1) {
            return false;
        }
        let wait = self.waits.get(page);
        let write = wait.is_some_and(|wait| wait.write);
        let place = wait.and_then(|wait| wait.place);
        self.mark_requested(page, !away);
        let stream = place.and_then(|place| self.spaces.follow(place, page));
        match stream.filter(|window| window.count() > 1) {
            Some(window) => self.ask_stream(window, write, place),
            None if away => self.say_request(PageRange::single(page), write),
            None => {
                let around = self.request_window(page, place);
                self.say_request(around, write);
            }
        }
        true
    }

    /// Asks for a page and those that its stream will come to.
    fn ask_stream(&mut self, window: Window, write: bool, hint: Option<Place>) {
        let (page, most) = (window.start(), window.count().min(LONGEST_REQUEST));
        let mut run = PageRange::single(page);
        let mut ahead = window.pages().skip(1).take(most as usize - 1);
        if window.stride().abs() != 1 {
            self.say_request(run, write);
            for page in ahead {
                if self.read_ahead(page, hint) {
                    self.say_request(PageRange::single(page), false);
                }
            }
            return;
        }
        // A run, cut off where a page is here already.
        for next in ahead.by_ref() {
            if !self.read_ahead(next, hint) {
                break;
            }
            run = PageRange::new(run.start().min(next), run.end().max(next.next()));
        }
        self.say_request(run, write);
    }

    /// Asks for the absent pages of a range ahead of need, as long as there is room.
    pub(super) fn bring_in(&mut self, range: PageRange) {
        if self.phase != Phase::Ready {
            return;
        }
        let most = self.host.budget.limit() >> self.size.shift();
        for page in range.iter().take((most / 2) as usize) {
            if self.read_ahead(page, None) {
                self.say_request(PageRange::single(page), false);
            }
        }
    }

    fn mark_requested(&mut self, page: PageIndex, reserved: bool) {
        if let Some(wait) = self.waits.get_mut(page) {
            wait.stage = Stage::Requested;
            wait.reserved = reserved;
        }
    }

    /// The absent pages around `page` that are asked for with it; their frames are reserved.
    fn request_window(&mut self, page: PageIndex, hint: Option<Place>) -> PageRange {
        let window = self.host.window(page, self.pages);
        let mut range = PageRange::single(page);
        while range.end() < window.end() && self.read_ahead(range.end(), hint) {
            range = PageRange::new(range.start(), range.end().next());
        }
        while range.start() > window.start() && self.read_ahead(PageIndex(range.start().0 - 1), hint) {
            range = PageRange::new(PageIndex(range.start().0 - 1), range.end());
        }
        range
    }

    fn read_ahead(&mut self, page: PageIndex, hint: Option<Place>) -> bool {
        if self.table.get(page) & (RESIDENT | LENT) != 0 || self.waits.contains(page) || !self.spare_frame() {
            return false;
        }
        self.waits.join(page, Wait::ahead(hint));
        self.mark_requested(page, true);
        true
    }

    /// Sends a data request, or extends the last one.
    fn say_request(&mut self, range: PageRange, write: bool) {
        self.count(|stats| &stats.requests, 1);
        let wanted = if write { Prot::READ_WRITE } else { Prot::READ };
        let (start, bytes) = (range.offset(self.size), range.bytes(self.size));
        let most = LONGEST_REQUEST * self.size.bytes();
        if let Some(Upcall::DataRequest {
            offset,
            length,
            access,
            ..
        }) = self.out.back_mut()
            && *access == wanted
            && *offset + *length == start
            && *length + bytes <= most
        {
            *length += bytes;
            return;
        }
        let control = self.control;
        self.say(Upcall::DataRequest {
            control,
            offset: start,
            length: bytes,
            access: wanted,
        });
    }

    /// Ends the wait for a resident page: its threads get it.
    pub(super) fn serve(&mut self, page: PageIndex) {
        let Some(wait) = self.waits.take(page) else { return };
        self.serve_wait(page, wait);
    }

    /// Lets those who waited have the page; its wait is no longer in the table.
    pub(super) fn serve_wait(&mut self, page: PageIndex, wait: Wait) {
        if wait.place.is_some() {
            self.served(wait.since);
        }
        let locked = self.table.get(page) & (WRITE_LOCKED | WRITING) != 0;
        let write = wait.write && !locked;
        if write && !self.preserve(page) {
            return self.want_memory(page, wait);
        }
        let protected = write && matches!(wait.stage, Stage::Unlocking | Stage::Held);
        let mut places = std::mem::take(&mut self.scratch.places);
        match wait.place {
            Some(place) if !wait.many => places.push(place),
            Some(_) => self.spaces.places(PageRange::single(page), &mut places),
            None => {}
        }
        let mut there = true;
        for &place in &places {
            there &= self.resolve(place, page, write, protected);
        }
        places.clear();
        self.scratch.places = places;
        if !there {
            self.forget_page(page);
            self.want(
                page,
                Wait {
                    reserved: false,
                    ..wait
                },
            );
        }
    }
}
