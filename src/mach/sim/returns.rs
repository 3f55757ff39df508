//! Pages on their way back to the pager: evictions, and what a lock request brings.

use std::sync::Arc;

use super::loan::Loan;
use super::machine::Machine;
use super::object::Object;
use super::page::{PageState, Worth};
use crate::mach::{PageData, Upcall};
use crate::object::{PageIndex, PageRange, Prot, ShouldReturn};

/// What a lock request wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct LockOrder {
    pub(super) pages: PageRange,
    pub(super) should_return: ShouldReturn,
    pub(super) flush: bool,
    pub(super) lock: Prot,
}

impl LockOrder {
    fn wants(self, worth: Worth) -> bool {
        match (self.should_return, worth) {
            (ShouldReturn::None, _) | (_, Worth::Nothing) | (ShouldReturn::Dirty, Worth::Precious) => false,
            (ShouldReturn::Dirty | ShouldReturn::All, Worth::Dirty) => true,
            (ShouldReturn::All, Worth::Precious) => true,
        }
    }
}

impl Machine {
    /// Takes one page out of the cache, as memory pressure does; returns it if it is worth that.
    pub(super) fn evict(&mut self, id: u64, page: PageIndex) -> bool {
        let lend = self.options.lend_returns;
        let Some(object) = self.objects.get_mut(&id) else {
            return false;
        };
        let Some(worth) = object.resident(page).map(super::page::Page::worth) else {
            return false;
        };
        if worth == Worth::Nothing {
            object.drop_page(page);
        } else {
            object.send_return(PageRange::single(page), worth, false, lend);
        }
        true
    }

    /// Carries out a lock request: returns first, then the drops; in offset order.
    pub(super) fn lock_pages(&mut self, id: u64, order: LockOrder) {
        let (lend, longest) = (self.options.lend_returns, self.options.return_run.max(1));
        let Some(object) = self.objects.get_mut(&id) else {
            return;
        };
        let pages: Vec<PageIndex> = (object.pages.range(order.pages.start()..order.pages.end()))
            .filter(|(_, page)| page.is_resident())
            .map(|(index, _)| *index)
            .collect();
        let mut run: Option<(PageRange, Worth)> = None;
        for index in pages {
            let Some(worth) = object.apply_lock(index, order) else {
                continue;
            };
            let wired = object.pages.get(&index).is_some_and(|page| page.wired);
            if wired && order.flush {
                // It cannot go: it is returned by itself, and stays.
                object.return_run(run.take(), order.flush, lend);
                object.send_return(PageRange::single(index), worth, true, lend);
                continue;
            }
            match run {
                Some((range, kind)) if range.end() == index && kind == worth && range.len() < longest => {
                    run = Some((PageRange::new(range.start(), index.next()), kind));
                }
                _ => {
                    object.return_run(run.take(), order.flush, lend);
                    run = Some((PageRange::single(index), worth));
                }
            }
        }
        object.return_run(run, order.flush, lend);
    }
}

impl Object {
    /// Locks or drops one resident page; says what it is worth if it is to be returned.
    fn apply_lock(&mut self, index: PageIndex, order: LockOrder) -> Option<Worth> {
        let page = self.resident_mut(index)?;
        if order.lock != Prot::NO_CHANGE {
            page.lock = order.lock;
            page.unlock_asked = Prot::NONE;
        }
        let worth = page.worth();
        if order.wants(worth) {
            return Some(worth);
        }
        if order.flush && !page.wired {
            self.preserve_copies(index);
            self.drop_page(index);
        }
        None
    }

    fn return_run(&mut self, run: Option<(PageRange, Worth)>, flush: bool, lend: bool) {
        if let Some((range, worth)) = run {
            self.send_return(range, worth, !flush, lend);
        }
    }

    /// Sends resident pages back. Without a kernel copy they leave the cache; with one they are
    /// clean afterwards, and as precious as before.
    fn send_return(&mut self, range: PageRange, worth: Worth, kernel_copy: bool, lend: bool) {
        let offset = range.offset(self.spec.page_size);
        let mut bytes = Vec::with_capacity(range.bytes(self.spec.page_size) as usize);
        for index in range.iter() {
            if !kernel_copy {
                self.preserve_copies(index);
            }
            if let Some(page) = self.pages.get(&index) {
                bytes.extend_from_slice(&page.bytes);
                self.oracle.learn(index, &page.bytes);
            }
            self.take_for_return(index, kernel_copy, lend);
        }
        let data = if lend {
            let length = bytes.len();
            let memory = Arc::new(Loan { offset, bytes });
            PageData::Cached {
                memory,
                offset,
                length,
            }
        } else {
            PageData::Owned(bytes)
        };
        let control = self.control;
        let dirty = worth == Worth::Dirty;
        self.send(Upcall::DataReturn {
            control,
            offset,
            data,
            dirty,
            kernel_copy,
        });
    }

    fn take_for_return(&mut self, index: PageIndex, kernel_copy: bool, lend: bool) {
        let Some(page) = self.pages.get_mut(&index) else {
            return;
        };
        page.unsaved |= lend && page.dirty;
        page.dirty = false;
        page.loans += u32::from(lend);
        if lend && kernel_copy {
            page.lent.clone_from(&page.bytes);
        }
        if !kernel_copy {
            self.drop_page(index);
        }
    }

    /// Drops a page from the cache; one that is on loan stays, out of reach, until it is released.
    pub(super) fn drop_page(&mut self, index: PageIndex) {
        let Some(page) = self.pages.get_mut(&index) else {
            return;
        };
        if page.loans == 0 {
            self.pages.remove(&index);
        } else {
            if page.dirty && !page.lent.is_empty() {
                page.bytes = std::mem::take(&mut page.lent);
            }
            page.state = PageState::Lent { asked: false };
            page.dirty = false;
            page.precious = false;
        }
    }

    /// The pager is done with a page of a return.
    pub(super) fn end_loan(&mut self, index: PageIndex) {
        let Some(page) = self.pages.get_mut(&index) else {
            return;
        };
        page.loans = page.loans.saturating_sub(1);
        if page.loans > 0 {
            return;
        }
        page.unsaved = false;
        match page.state {
            PageState::Lent { asked: true } => page.state = PageState::Requested,
            PageState::Lent { asked: false } => {
                self.pages.remove(&index);
            }
            PageState::Requested | PageState::Resident | PageState::Failed(_) => {}
        }
    }
}
