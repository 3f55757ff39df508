//! Private copies of the object's pages, copied on write or at once.
//!
//! A page that a copy still shares with the object is write-protected in every mapping, so that a writer
//! stops before it changes anything: the copy takes the page, then the writer goes on. Flushes, and
//! returns of pages whose contents the store does not have yet, do the same. A page that the object has
//! not is brought in for the copy as for any mapping: the pager supplies what it was when it left.

use std::io;
use std::task::{Context, Poll};
use std::time::Instant;

use super::copy::{Part, PrivateCopy};
use super::evict::LONGEST_RUN;
use super::object::{LinuxObject, Phase};
use super::page_table::flag::{DIRTY, PRECIOUS, RESIDENT};
use crate::mach::CopyClient;
use crate::mach::kernel::{KernelError, RawMapping, Touch};
use crate::object::{CopyStrategy, PageError, PageIndex, PageRange, Prot};

/// Pages that a copy takes in one turn.
const TURN: u64 = 64;

fn failed(call: &'static str) -> impl Fn(io::Error) -> KernelError {
    move |source| KernelError::System { call, source }
}

impl LinuxObject {
    /// True if some copy has only the object's page.
    pub(super) fn shared_with_copies(&self, page: PageIndex) -> bool {
        self.copies.iter().any(|copy| copy.shares(page))
    }

    /// True if some copy still needs the object.
    pub(super) fn copies_need_pages(&self) -> bool {
        self.copies.iter().any(PrivateCopy::needs_object)
    }

    /// True if copies wait for memory.
    pub(super) fn copies_are_short(&self) -> bool {
        self.copies.iter().any(PrivateCopy::is_short)
    }

    /// A resident page is about to change or to go: the copies take it first. False if there is no memory
    /// for that now.
    pub(super) fn preserve(&mut self, page: PageIndex) -> bool {
        let mut taken = true;
        for copy in &mut self.copies {
            taken &= copy.take(&self.memory, page);
        }
        taken
    }

    /// Forces the pending copies of the resident pages of a range.
    pub(super) fn force_copies(&mut self, range: PageRange) {
        self.preserve_where(range, |bits| bits & RESIDENT != 0);
    }

    /// A page that is to be evicted: the copies take it first if the store has it not. False if it must stay
    /// because there is no memory for that.
    pub(super) fn preserve_victim(&mut self, page: PageIndex) -> bool {
        let unsaved = self.table.get(page) & (DIRTY | PRECIOUS) != 0;
        !unsaved || self.preserve(page)
    }

    /// A run of resident pages goes back to the pager: the copies take what the store has not.
    pub(super) fn preserve_unsaved(&mut self, run: PageRange) {
        self.preserve_where(run, |bits| bits & RESIDENT != 0 && bits & (DIRTY | PRECIOUS) != 0);
    }

    fn preserve_where(&mut self, range: PageRange, which: fn(u8) -> bool) {
        for copy in &mut self.copies {
            let mut rest = range.intersection(copy.range);
            while let Some((run, ())) = self
                .table
                .first_run(rest, LONGEST_RUN, |bits| which(bits).then_some(()))
            {
                rest = PageRange::new(run.end(), rest.end());
                run.iter().for_each(|page| copy.take_now(&self.memory, page));
            }
        }
        if self.copies_are_short() {
            self.run_short();
        }
    }

    /// The object goes: copies keep what is here.
    pub(super) fn force_all_copies(&mut self) {
        self.force_copies(self.pages);
    }

    /// Reads the faults of the copies. True if there may be more now.
    pub(super) fn poll_copies(&mut self, cx: &mut Context<'_>) -> bool {
        let polled = self.copies.iter_mut().map(|copy| copy.poll(cx));
        polled.fold(false, |more, this| more | this)
    }

    pub(super) fn copies_need_poll(&self) -> bool {
        self.copies.iter().any(PrivateCopy::needs_poll)
    }

    pub(super) fn copies_due(&self) -> Option<Instant> {
        self.copies.iter().filter_map(PrivateCopy::next_due).min()
    }

    pub(super) fn heal_copies(&mut self, now: Instant) {
        self.copies.iter_mut().for_each(|copy| copy.heal_due(now));
    }

    /// Gives copies the pages that their threads wait for, and asks for those that are not here.
    pub(super) fn serve_copies(&mut self) {
        if self.copies.is_empty() {
            return;
        }
        let needed = self.copies_need_pages();
        let mut copies = std::mem::take(&mut self.copies);
        let mut pages = std::mem::take(&mut self.scratch.copied);
        for copy in &mut copies {
            copy.take_faults();
            pages.clear();
            copy.wanted(&mut pages);
            for &page in &pages {
                self.serve_copy(copy, page);
            }
            if copy.at_once {
                self.take_resident(copy);
            }
            self.serve_short(copy);
        }
        self.scratch.copied = pages;
        self.copies = copies;
        if needed && !self.copies_need_pages() {
            self.terminate_if_unused();
        }
    }

    fn serve_copy(&mut self, copy: &mut PrivateCopy, page: PageIndex) {
        match self.want_for_copy(page) {
            Touch::Ready => {
                if let Touch::Failed { .. } = self.take_for(copy, page) {
                    copy.fail(page);
                }
            }
            Touch::Pending => {}
            Touch::Failed { .. } => copy.fail(page),
        }
    }

    /// A copy takes a resident page as soon as there is memory for it; whoever has waited too long for that
    /// gets an error.
    fn take_for(&mut self, copy: &mut PrivateCopy, page: PageIndex) -> Touch {
        if !copy.shares(page) {
            return Touch::Ready;
        }
        if !self.shortage.may_try() {
            copy.wait_for_memory(page);
        } else if copy.take(&self.memory, page) {
            self.shortage.page_came();
            return Touch::Ready;
        } else {
            self.run_short();
        }
        match copy.gives_up(page, self.shortage.patience()) {
            true => Touch::Failed {
                page,
                error: PageError::Io,
            },
            false => Touch::Pending,
        }
    }

    /// Gives a copy what there was no memory for before.
    fn serve_short(&mut self, copy: &mut PrivateCopy) {
        if !copy.is_short() {
            return;
        }
        let mut pages = Vec::new();
        copy.short_of(&mut pages);
        for page in pages {
            if !self.table.has(page, RESIDENT) {
                copy.forget_short(page);
            } else if let Touch::Failed { .. } = self.take_for(copy, page) {
                copy.fail(page);
            }
        }
        if self.shortage.may_try() && !copy.put_back() {
            self.run_short();
        }
    }

    /// Wants one page of the object for a copy.
    fn want_for_copy(&mut self, page: PageIndex) -> Touch {
        if self.phase == Phase::Destroyed {
            let error = PageError::Io;
            return Touch::Failed { page, error };
        }
        self.ensure_init();
        match self.take_error(page) {
            Some(error) => Touch::Failed { page, error },
            None => self.touch_page(page, false),
        }
    }

    /// The pages that a copy made at once was waiting for.
    fn take_resident(&mut self, copy: &mut PrivateCopy) {
        let window = copy.next_shared(TURN);
        for page in window.iter() {
            if self.table.has(page, RESIDENT) && !copy.take(&self.memory, page) {
                return self.run_short();
            }
        }
    }

    fn make_copy(&mut self, range: PageRange, prot: Prot, at_once: bool) -> Result<RawMapping, KernelError> {
        // What is shared must be copied before anybody writes to it.
        self.see_writes()?;
        let uffd = self.host.capabilities.open()?;
        let id = self.host.new_id();
        let made = PrivateCopy::new((id, range), self.size, prot, uffd, &self.host, &self.share);
        let (mut copy, mapping) = made.map_err(failed("memfd_create, mmap or ioctl(UFFDIO_REGISTER)"))?;
        copy.at_once = at_once;
        self.copies.push(copy);
        // What the copy does not have yet must not change unnoticed.
        self.protect_dirty(range);
        self.after_call();
        Ok(mapping)
    }

    /// Takes a copy down; false if there is none of this number.
    pub(super) fn unmap_copy(&mut self, id: u64) -> Result<bool, KernelError> {
        let Some(at) = self.copies.iter().position(|copy| copy.id == id) else {
            return Ok(false);
        };
        let copy = self.copies.swap_remove(at);
        copy.unmap().map_err(failed("munmap"))?;
        self.terminate_if_unused();
        self.after_call();
        Ok(true)
    }

    /// The object is gone: copies that are whole stay as they are, the others get SIGBUS.
    pub(super) fn orphan_copies(&mut self) {
        for copy in self.copies.drain(..) {
            let (mut spaces, memory) = copy.outlive();
            self.host.adopt(&mut spaces, memory);
        }
    }

    /// Pages of a copy, found ready if it has them or, for reading alone, if the object has them.
    fn touch_pages(&mut self, copy: &mut PrivateCopy, range: PageRange, own: bool) -> Touch {
        let mut answer = Touch::Ready;
        for page in range.iter() {
            let touch = match copy.part(page) {
                Part::Taken => Touch::Ready,
                Part::Lost => Touch::Failed {
                    page,
                    error: PageError::Io,
                },
                // An error is told once, and only when every page before it is there.
                Part::Shared if answer == Touch::Pending && self.errors.contains_key(&page) => return answer,
                Part::Shared => self.want_for_copy(page),
            };
            let touch = match touch {
                Touch::Ready if own => self.take_for(copy, page),
                touch @ (Touch::Ready | Touch::Pending | Touch::Failed { .. }) => touch,
            };
            match touch {
                Touch::Ready => {}
                Touch::Pending => answer = Touch::Pending,
                Touch::Failed { .. } if answer == Touch::Pending => return answer,
                Touch::Failed { .. } => {
                    // What follows was asked for in vain: the next touch asks again.
                    self.forget_errors(range);
                    return touch;
                }
            }
        }
        answer
    }

    /// Does something with a copy, which is meanwhile not in the list.
    fn with_copy<R>(&mut self, id: u64, act: impl FnOnce(&mut Self, &mut PrivateCopy) -> R) -> Option<R> {
        let at = self.copies.iter().position(|copy| copy.id == id)?;
        let mut copy = self.copies.swap_remove(at);
        let result = act(self, &mut copy);
        self.copies.push(copy);
        Some(result)
    }

    fn load_piece(
        &self,
        copy: &PrivateCopy,
        page: PageIndex,
        offset: u64,
        into: &mut [u8],
    ) -> io::Result<()> {
        match copy.part(page) {
            Part::Taken => copy.read(offset, into),
            Part::Shared if self.table.has(page, RESIDENT) => self.memory.read(offset, into),
            Part::Shared | Part::Lost => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl CopyClient for LinuxObject {
    fn map_copy(&mut self, range: PageRange, prot: Prot) -> Poll<Result<RawMapping, KernelError>> {
        if range.is_empty() || range.intersection(self.pages) != range {
            return Poll::Ready(Err(KernelError::BadArgument { call: "map_copy" }));
        }
        self.ensure_init();
        match (self.phase, self.copy_strategy) {
            (Phase::Destroyed, _) => Poll::Ready(Err(KernelError::Gone)),
            (Phase::Idle | Phase::Initialising, _) => Poll::Pending,
            (Phase::Ready, CopyStrategy::Call) => {
                Poll::Ready(Err(KernelError::CopyStrategy(CopyStrategy::Call)))
            }
            (Phase::Ready, CopyStrategy::None) => Poll::Ready(self.make_copy(range, prot, true)),
            (Phase::Ready, CopyStrategy::Delay | CopyStrategy::Temporary) => {
                Poll::Ready(self.make_copy(range, prot, false))
            }
        }
    }

    fn finish_copy(&mut self, copy: &RawMapping) -> Touch {
        let touch = self.with_copy(copy.id, |object, copy| {
            let window = copy.next_shared(TURN);
            if !copy.at_once || window.is_empty() {
                return Touch::Ready;
            }
            match object.touch_pages(copy, window, true) {
                Touch::Ready => {
                    // The rest is for the next turn.
                    object.share.wake();
                    Touch::Pending
                }
                other @ (Touch::Pending | Touch::Failed { .. }) => other,
            }
        });
        self.after_call();
        touch.unwrap_or(Touch::Ready)
    }

    fn touch_copy(&mut self, copy: &RawMapping, range: PageRange, access: Prot) -> Touch {
        let page = range.start();
        let unknown = Touch::Failed {
            page,
            error: PageError::Io,
        };
        let touch = self.with_copy(copy.id, |object, copy| {
            match range.intersection(copy.range) == range {
                true => object.touch_pages(copy, range, access.writes()),
                false => unknown,
            }
        });
        self.after_call();
        touch.unwrap_or(unknown)
    }

    fn load(&mut self, copy: &RawMapping, offset: u64, into: &mut [u8]) -> Result<(), KernelError> {
        let bad = KernelError::BadArgument { call: "load" };
        let copy = self.copies.iter().find(|known| known.id == copy.id).ok_or(bad)?;
        let (mut offset, mut rest) = (offset, into);
        while !rest.is_empty() {
            let page = self.size.page_of(offset);
            let room = (page.next().offset(self.size) - offset) as usize;
            let (piece, after) = rest.split_at_mut(room.min(rest.len()));
            self.load_piece(copy, page, offset, piece)
                .map_err(failed("pread"))?;
            offset += piece.len() as u64;
            rest = after;
        }
        Ok(())
    }

    fn store(&mut self, copy: &RawMapping, offset: u64, from: &[u8]) -> Result<(), KernelError> {
        let bad = || KernelError::BadArgument { call: "store" };
        let known = self.copies.iter_mut().find(|known| known.id == copy.id);
        let copy = known.ok_or_else(bad)?;
        let range = self
            .size
            .pages_around(offset, from.len() as u64)
            .map_err(|_| bad())?;
        if !range.iter().all(|page| copy.part(page) == Part::Taken) {
            return Err(bad());
        }
        let (mut offset, mut rest) = (offset, from);
        while !rest.is_empty() {
            let room = (self.size.page_of(offset).next().offset(self.size) - offset) as usize;
            let (piece, after) = rest.split_at(room.min(rest.len()));
            copy.write(offset, piece).map_err(failed("pwrite"))?;
            offset += piece.len() as u64;
            rest = after;
        }
        Ok(())
    }
}
