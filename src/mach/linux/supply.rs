//! Answers of the pager: pages, zeros, errors.

use super::kill_point;
use super::object::LinuxObject;
use super::page_table::flag::{DIRTY, LENT, PRECIOUS, RESIDENT, WRITE_LOCKED};
use super::shortage::is_shortage;
use super::space::Place;
use super::uffd::Stop;
use super::waits::Stage;
use crate::mach::kernel::KernelError;
use crate::mach::message::{PageData, PageSlice, Upcall};
use crate::object::{PageError, PageIndex, PageRange, Prot};

/// `KERN_SUCCESS`.
const SUCCESS: u32 = 0;
/// Zeros are supplied in pieces of this many bytes.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// How a run of absent pages is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fill {
    /// A thread waits here.
    place: Option<Place>,
    /// For a writer that may write.
    write: bool,
}

/// What is supplied beside the bytes.
#[derive(Clone, Copy, Debug)]
struct Terms {
    lock: Prot,
    precious: bool,
}

impl Terms {
    fn bits(self) -> u8 {
        let precious = if self.precious { PRECIOUS } else { 0 };
        let locked = self.lock != Prot::NO_CHANGE && self.lock.writes();
        RESIDENT | precious | if locked { WRITE_LOCKED } else { 0 }
    }
}

impl LinuxObject {
    pub(super) fn data_supply(
        &mut self,
        range: PageRange,
        pages: PageSlice<'_>,
        lock: Prot,
        precious: bool,
        reply: bool,
    ) -> Result<(), KernelError> {
        let bad = KernelError::BadArgument { call: "data_supply" };
        if range.intersection(self.pages) != range {
            return Err(bad);
        }
        let terms = Terms { lock, precious };
        if terms.bits() & WRITE_LOCKED != 0 {
            self.see_writes()?;
        }
        match pages {
            PageSlice::Bytes(bytes) if bytes.len() as u64 == range.bytes(self.size) => {
                self.fill_holes();
                self.supply_bytes(range, bytes, terms);
            }
            PageSlice::Bytes(_) => return Err(bad),
            PageSlice::Cached => self.give_again(range, terms),
        }
        if reply {
            let (control, offset) = (self.control, range.offset(self.size));
            self.say(Upcall::SupplyCompleted {
                control,
                offset,
                length: range.bytes(self.size),
                result: SUCCESS,
                error_offset: 0,
            });
        }
        Ok(())
    }

    pub(super) fn data_unavailable(&mut self, range: PageRange) {
        let terms = Terms {
            lock: Prot::NONE,
            precious: false,
        };
        self.fill_holes();
        let step = (ZEROS.len() as u64 >> self.size.shift()).max(1);
        let mut pages = Vec::new();
        // Only pages that somebody waits for: the rest of the range is of no use yet.
        self.waits.within(range.intersection(self.pages), &mut pages);
        let mut rest = &pages[..];
        while let Some(&first) = rest.first() {
            let run = (0..)
                .zip(rest)
                .take_while(|&(at, &page)| at < step && page.0 == first.0 + at);
            let count = run.count();
            rest = &rest[count..];
            self.supply_zeros(PageRange::with_len(first, count as u64), terms);
        }
    }

    fn supply_zeros(&mut self, range: PageRange, terms: Terms) {
        let bytes = range.bytes(self.size) as usize;
        match ZEROS.get(..bytes) {
            Some(zeros) => self.supply_bytes(range, zeros, terms),
            None => self.supply_bytes(range, &vec![0; bytes], terms),
        }
    }

    /// Pages of a return that the pager gives back: they are still here.
    fn give_again(&mut self, range: PageRange, terms: Terms) {
        for page in range.iter() {
            if !self.table.has(page, LENT) {
                continue;
            }
            let fresh = !self.table.has(page, RESIDENT);
            self.table.set(page, terms.bits());
            self.unlend(page);
            if fresh {
                self.policy_inserted(page);
            }
            let waits = self.waits.get(page).map(|wait| wait.stage);
            if matches!(waits, Some(Stage::Requested | Stage::Queued)) {
                self.serve_admitted(page);
            }
        }
        // Somebody may have counted on these frames.
        self.host.budget.call_first();
    }

    /// Serves a page that has a frame of its own; one that was reserved for it is not needed.
    fn serve_admitted(&mut self, page: PageIndex) {
        let Some(mut wait) = self.waits.take(page) else {
            return;
        };
        if std::mem::take(&mut wait.reserved) {
            self.host.budget.release(&self.share, self.size.bytes());
        }
        self.serve_wait(page, wait);
    }

    fn supply_bytes(&mut self, range: PageRange, bytes: &[u8], terms: Terms) {
        let mut page = range.start();
        while page < range.end() {
            let run = match self.fill_for(page, terms) {
                None => PageRange::single(page), // In core already: what is supplied is ignored.
                Some(fill) => {
                    let run = self.fill_run(PageRange::new(page, range.end()), fill, terms);
                    let from = (run.offset(self.size) - range.offset(self.size)) as usize;
                    let bytes = &bytes[from..from + run.bytes(self.size) as usize];
                    self.fill(run, bytes, fill, terms);
                    run
                }
            };
            page = run.end();
        }
    }

    /// How a page is to be filled; nothing if it needs no filling, or there is no room for it.
    fn fill_for(&self, page: PageIndex, terms: Terms) -> Option<Fill> {
        if self.table.has(page, RESIDENT) {
            return None;
        }
        let wait = self.waits.get(page);
        Some(Fill {
            place: wait.and_then(|wait| wait.place.or(wait.hint)),
            write: wait.is_some_and(|wait| wait.write && wait.place.is_some())
                && terms.bits() & WRITE_LOCKED == 0
                && !self.shared_with_copies(page),
        })
    }

    /// The pages that can be filled together with the first of `range`.
    fn fill_run(&self, range: PageRange, first: Fill, terms: Terms) -> PageRange {
        let covered = |page: PageIndex| match first.place {
            Some(place) => self.spaces.covers(place, PageRange::single(page)),
            None => true,
        };
        let alike = |&page: &PageIndex| match self.fill_for(page, terms) {
            Some(fill) if fill.place.is_none() || fill.place == first.place => {
                fill.write == first.write && covered(page)
            }
            Some(_) | None => page == range.start(),
        };
        // The first page is filled even where its place is gone: through the file.
        let count = range.iter().take_while(alike).count().max(1);
        PageRange::with_len(range.start(), count as u64)
    }

    fn fill(&mut self, run: PageRange, bytes: &[u8], fill: Fill, terms: Terms) {
        let mut done = PageRange::new(run.start(), run.start());
        // Each page's frame first; a page without one ends the run.
        for page in run.iter() {
            if !self.frame_for(page) {
                self.refuse(
                    page,
                    &bytes[(page.offset(self.size) - run.offset(self.size)) as usize..],
                    terms,
                );
                if !done.is_empty() {
                    break;
                }
                done = PageRange::new(page.next(), page.next());
                continue;
            }
            done = PageRange::new(done.start(), page.next());
        }
        if !done.is_empty() {
            let from = (done.offset(self.size) - run.offset(self.size)) as usize;
            self.fill_framed(
                done,
                &bytes[from..from + done.bytes(self.size) as usize],
                fill,
                terms,
            );
        }
        if done.end() < run.end() {
            let from = (done.end().offset(self.size) - run.offset(self.size)) as usize;
            self.supply_bytes(PageRange::new(done.end(), run.end()), &bytes[from..], terms);
        }
    }

    /// Makes sure that a page that is about to come has a frame.
    fn frame_for(&mut self, page: PageIndex) -> bool {
        if self.table.has(page, LENT) {
            return true;
        }
        if let Some(wait) = self.waits.get_mut(page)
            && wait.reserved
        {
            return true;
        }
        let got = self.frames(1);
        if let Some(wait) = self.waits.get_mut(page) {
            wait.reserved = got;
        }
        got
    }

    /// There is no room for a page: as if it were evicted at once. Whoever waits for it asks again.
    fn refuse(&mut self, page: PageIndex, bytes: &[u8], terms: Terms) {
        if terms.precious || self.notify_on_evict {
            let (control, offset) = (self.control, page.offset(self.size));
            self.say(Upcall::DataReturn {
                control,
                offset,
                data: PageData::Owned(bytes[..self.size.bytes() as usize].to_vec()),
                dirty: false,
                kernel_copy: false,
            });
        }
        self.waits.enqueue(page);
    }

    fn fill_framed(&mut self, run: PageRange, bytes: &[u8], fill: Fill, terms: Terms) {
        let base = run.offset(self.size);
        if self.memory.is_huge() {
            return self.fill_by_file(run, bytes, terms);
        }
        if fill.write {
            // A thread may write to the page before it is admitted.
            run.iter()
                .for_each(|page| self.table.foretell(page, RESIDENT | DIRTY));
        }
        let filled = match fill.place {
            Some(place) => self.spaces.run(place, run, |uffd, at| {
                let from = (at.offset - base) as usize;
                uffd.copy(at.address, &bytes[from..from + at.length], !fill.write)
            }),
            None => Err((base, Stop::Unmapped)),
        };
        kill_point::pass(if fill.write { "copied" } else { "filled" });
        let (whole, rest) = match filled {
            Ok(()) => (run, PageRange::new(run.end(), run.end())),
            Err((stopped, _)) => {
                let at = self.size.page_of(stopped);
                (PageRange::new(run.start(), at), PageRange::new(at, run.end()))
            }
        };
        if !whole.is_empty() {
            self.know_clean(whole, fill.place);
        }
        for page in whole.iter() {
            self.admit(page, terms, fill.write);
            self.settle(page, fill.place);
        }
        if !rest.is_empty() {
            rest.iter().for_each(|page| self.table.settle(page));
            let from = (rest.offset(self.size) - base) as usize;
            self.fill_by_file(rest, &bytes[from..], terms);
        }
    }

    /// The page is here from now on.
    fn admit(&mut self, page: PageIndex, terms: Terms, write: bool) {
        self.count(|stats| &stats.pages_in, 1);
        self.shortage.page_came();
        self.table.set(page, terms.bits() | if write { DIRTY } else { 0 });
        self.policy_inserted(page);
        self.poisons.page_came(page);
        if !self.errors.is_empty() {
            self.errors.remove(&page);
        }
    }

    /// The page is mapped at `place`, whose threads were woken: serves those who wait elsewhere.
    fn settle(&mut self, page: PageIndex, place: Option<Place>) {
        let Some(wait) = self.waits.take(page) else { return };
        if wait.many || (wait.place.is_some() && wait.place != place) {
            self.serve_wait(page, wait);
        } else if wait.place.is_some() {
            self.served(wait.since);
        }
    }

    /// Fills pages through the file, where no mapping waits, something is in the way, or pages are huge.
    fn fill_by_file(&mut self, run: PageRange, bytes: &[u8], terms: Terms) {
        match self.memory.write(run.offset(self.size), bytes) {
            Ok(()) => {}
            Err(error) if is_shortage(&error) => return self.put_off(run, bytes, terms),
            Err(error) => {
                tracing::error!(object = %self.share.name, ?run, %error, "pages cannot be stored in memory");
                return run.iter().for_each(|page| self.lose(page));
            }
        }
        kill_point::pass("stored");
        self.know_clean(run, None);
        for page in run.iter() {
            self.admit(page, terms, false);
            if let Some(wait) = self.waits.take(page) {
                self.serve_wait(page, wait);
            }
        }
    }

    /// The system has no memory for pages: they are asked for again when it has.
    fn put_off(&mut self, run: PageRange, bytes: &[u8], terms: Terms) {
        let step = self.size.bytes() as usize;
        for (page, bytes) in run.iter().zip(bytes.chunks(step)) {
            if self.table.has(page, LENT) {
                // It has memory already, and what is there is newer.
                self.fail(page, PageError::Io);
                continue;
            }
            if let Some(wait) = self.waits.get_mut(page) {
                wait.reserved = false;
            }
            self.refuse(page, bytes, terms);
            // What was written of it goes, and its frame with it.
            self.free_page(page);
        }
        self.run_short();
        self.fill_holes();
    }

    /// A page could not be stored in memory: whoever waits gets an error, and may touch it again.
    fn lose(&mut self, page: PageIndex) {
        if !self.table.has(page, LENT) {
            if let Some(wait) = self.waits.get_mut(page) {
                wait.reserved = false;
            }
            self.free_page(page);
        }
        self.fail(page, PageError::Io);
    }
}
