//! Pages on their way back: lock requests, returns, writes, releases.

use std::sync::Arc;

use super::evict::LONGEST_RUN;
use super::kill_point;
use super::object::LinuxObject;
use super::page_table::flag::{DIRTY, LENT, PRECIOUS, RESIDENT, UNSAVED, WRITE_LOCKED, WRITING};
use super::waits::Stage;
use crate::mach::kernel::KernelError;
use crate::mach::message::{PageData, PageMemory, Upcall};
use crate::object::{PageIndex, PageRange, Prot, ShouldReturn};

/// Pages that are protected at a time, at most; and those that are written before they are unmapped from
/// the pager's own view.
const LONGEST_STRETCH: u64 = 1 << 12;

/// What a lock request does to a resident page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    HandBack { dirty: bool },
    Drop,
    Keep { dirty: bool },
}

impl LinuxObject {
    pub(super) fn lock_request(
        &mut self,
        range: PageRange,
        should_return: ShouldReturn,
        flush: bool,
        lock: Prot,
    ) -> Result<(), KernelError> {
        let range = range.intersection(self.pages);
        if lock != Prot::NO_CHANGE && lock.writes() {
            self.see_writes()?;
        }
        if flush || should_return != ShouldReturn::None {
            self.learn_writes(range, flush);
        }
        let notify = self.notify_on_evict && flush;
        let deed = move |bits: u8| {
            let dirty = bits & DIRTY != 0;
            let precious = bits & PRECIOUS != 0 || notify;
            let back = match should_return {
                ShouldReturn::None => false,
                ShouldReturn::Dirty => dirty,
                ShouldReturn::All => dirty || precious,
            };
            (bits & RESIDENT != 0).then_some(match (back, flush) {
                (true, _) => Deed::HandBack { dirty },
                (false, true) => Deed::Drop,
                (false, false) => Deed::Keep { dirty },
            })
        };
        if should_return != ShouldReturn::None && !self.writes_unseen() {
            self.protect_dirty(range);
        }
        let mut rest = range;
        while let Some((run, deed)) = self.table.first_run(rest, LONGEST_RUN, deed) {
            rest = PageRange::new(run.end(), rest.end());
            self.relock(run, lock, deed == Deed::Keep { dirty: true });
            if flush {
                self.force_copies(run);
            }
            match deed {
                Deed::HandBack { dirty } => self.lend(run, dirty, !flush),
                Deed::Drop => self.flush(run),
                Deed::Keep { .. } => {}
            }
        }
        self.fill_holes();
        if lock != Prot::NO_CHANGE && !lock.writes() {
            self.unlocked(range);
        }
        Ok(())
    }

    pub(super) fn lock_completed(&mut self, offset: u64, length: u64) {
        let control = self.control;
        self.say(Upcall::LockCompleted {
            control,
            offset,
            length,
        });
    }

    /// Protects the dirty pages of a range, with the clean ones between them, which are protected
    /// already: many runs at a time.
    pub(super) fn protect_dirty(&mut self, range: PageRange) {
        let mut rest = range;
        let resident = |bits: u8| (bits & RESIDENT != 0).then_some(());
        while let Some((stretch, ())) = self.table.first_run(rest, LONGEST_STRETCH, resident) {
            rest = PageRange::new(stretch.end(), rest.end());
            let dirty = |bits: u8| (bits & RESIDENT != 0 && bits & DIRTY != 0).then_some(());
            if self.table.first_run(stretch, 1, dirty).is_some() {
                self.spaces.protect_everywhere(stretch);
            }
        }
    }

    fn relock(&mut self, run: PageRange, lock: Prot, protect: bool) {
        if lock == Prot::NO_CHANGE {
            return;
        }
        for page in run.iter() {
            match lock.writes() {
                true => self.table.set(page, WRITE_LOCKED),
                false => self.table.clear(page, WRITE_LOCKED),
            }
        }
        if protect && lock.writes() {
            self.spaces.protect_everywhere(run);
        }
    }

    /// Dropped, modifications too. What the pager is still writing stays readable until it is released.
    fn flush(&mut self, run: PageRange) {
        // Where writes are not seen, clients have lost the pages already.
        if !self.writes_unseen() && run.iter().any(|page| self.table.has(page, LENT | DIRTY)) {
            self.spaces.protect_everywhere(run);
        }
        self.drop_pages(run);
    }

    /// Those who wait for a lock to be lifted may go on.
    fn unlocked(&mut self, range: PageRange) {
        self.serve_stage(range, Stage::Unlocking);
    }

    fn serve_stage(&mut self, range: PageRange, stage: Stage) {
        if self.waits.is_empty() {
            return;
        }
        let mut pages = std::mem::take(&mut self.scratch.pages);
        self.waits.within(range, &mut pages);
        for page in pages.drain(..) {
            if self.waits.get(page).is_some_and(|wait| wait.stage == stage) && self.table.has(page, RESIDENT)
            {
                self.serve(page);
            }
        }
        self.scratch.pages = pages;
    }

    /// Hands resident pages to the pager; with `keep` clients may go on using them.
    pub(super) fn hand_back(&mut self, run: PageRange, dirty: bool, keep: bool) {
        // Where writes are not seen, clients have lost the pages already.
        if dirty && !self.writes_unseen() {
            self.spaces.protect_everywhere(run);
        }
        self.lend(run, dirty, keep);
    }

    /// Hands pages to the pager that are protected wherever they are mapped, or known to be written to.
    fn lend(&mut self, run: PageRange, dirty: bool, keep: bool) {
        if dirty {
            kill_point::pass("protected");
            self.count(|stats| &stats.pages_out, run.len());
        }
        if !keep {
            self.preserve_unsaved(run);
        }
        for page in run.iter() {
            let bits = self.table.get(page);
            if bits & LENT != 0 {
                *self.lent_again.entry(page.0).or_default() += 1;
            }
            let gone = if keep {
                DIRTY
            } else {
                DIRTY | PRECIOUS | RESIDENT | WRITE_LOCKED
            };
            let unsaved = if dirty || bits & PRECIOUS != 0 { UNSAVED } else { 0 };
            self.table.put(page, (bits | LENT | unsaved) & !gone);
            kill_point::pass("lent");
            if !keep {
                self.policy_removed(page);
                self.ask_again(page);
            }
        }
        self.say_return(run, dirty, keep);
    }

    /// Says that pages, which are lent from now on, come back.
    pub(super) fn say_return(&mut self, run: PageRange, dirty: bool, kernel_copy: bool) {
        let offset = run.offset(self.size);
        let data = PageData::Cached {
            memory: self.lent_memory(kernel_copy),
            offset,
            length: run.bytes(self.size) as usize,
        };
        let control = self.control;
        self.say(Upcall::DataReturn {
            control,
            offset,
            data,
            dirty,
            kernel_copy,
        });
    }

    /// The pages themselves, to be looked at, or to be copied if clients go on writing unseen.
    fn lent_memory(&self, kernel_copy: bool) -> Arc<dyn PageMemory> {
        if kernel_copy && self.writes_unseen() {
            return self.live.clone();
        }
        self.memory.clone()
    }

    /// From now on the pages hold still. What was written to them meanwhile goes along. Not so where
    /// they are to be copied.
    pub(super) fn begin_write(&mut self, range: PageRange, own: bool) {
        if !own {
            return;
        }
        let again = |bits: u8| (bits & (LENT | DIRTY) == LENT | DIRTY).then_some(());
        let mut rest = range;
        while let Some((run, ())) = self.table.first_run(rest, LONGEST_RUN, again) {
            rest = PageRange::new(run.end(), rest.end());
            self.spaces.protect_everywhere(run);
            for page in run.iter() {
                self.table.put(page, (self.table.get(page) | UNSAVED) & !DIRTY);
            }
        }
        for page in range.iter() {
            if self.table.has(page, LENT) {
                self.table.set(page, WRITING);
            }
        }
        kill_point::pass("writing");
    }

    pub(super) fn end_write(&mut self, range: PageRange) {
        for page in range.iter() {
            self.table.clear(page, WRITING);
        }
        self.forget_written(range);
        self.serve_stage(range, Stage::Held);
        self.after_call();
    }

    /// Unmaps what was written from the pager's own view: many runs at a time, with whatever lies between
    /// them, as each time has its price.
    /// Where memory is not bounded they stay, as the next write would only map them again.
    fn forget_written(&mut self, range: PageRange) {
        if self.policy.is_none() {
            return;
        }
        let (span, pages) = self.written;
        let (start, end) = match pages {
            0 => (range.start(), range.end()),
            _ => (range.start().min(span.start()), range.end().max(span.end())),
        };
        self.written = (PageRange::new(start, end), pages + range.len());
        if self.written.1 >= LONGEST_STRETCH {
            let (span, _) = std::mem::take(&mut self.written);
            self.memory
                .forget_own(span.offset(self.size), span.bytes(self.size) as usize);
        }
    }

    /// The pager released pages: those that clients may not have any more are freed.
    pub(super) fn take_back(&mut self, range: PageRange) {
        for page in range.iter() {
            if self.unlend(page) && !self.table.has(page, RESIDENT) {
                self.table.put(page, 0);
                kill_point::pass("released");
                self.free_page(page);
            }
        }
        if !self.holes.is_empty() {
            // They are freed together with those that are released in the same turn.
            self.share.wake();
        }
    }

    /// One loan of the page less; true if that was the last.
    pub(super) fn unlend(&mut self, page: PageIndex) -> bool {
        if !self.table.has(page, LENT) {
            return false;
        }
        if let Some(again) = self.lent_again.get_mut(&page.0) {
            *again -= 1;
            if *again == 0 {
                self.lent_again.remove(&page.0);
            }
            return false;
        }
        self.table.clear(page, LENT | WRITING | UNSAVED);
        true
    }
}
