//! The invariants of a [`MemoryObject`], numbered as in its documentation.

use super::failures::Kept;
use super::memory_object::MemoryObject;
use super::ops::{Op, OpKind};
use super::page::PageState;
use super::{PageIndex, PageRange};

impl MemoryObject {
    /// Checks the invariants; says which one is broken, and where.
    pub fn check_invariants(&self) -> Result<(), String> {
        self.check_ops()?;
        self.check_queues()?;
        self.check_failures()?;
        self.check_locks()
    }

    fn check_ops(&self) -> Result<(), String> {
        for op in self.ops.iter() {
            for page in op.runs().flat_map(PageRange::iter) {
                if !fits(op, self.page_state(page)) {
                    return broken(1, page, "an operation covers a page in another state");
                }
            }
        }
        if cfg!(any(test, debug_assertions)) && self.ops.iter().count() <= 64 {
            self.check_busy()?;
        }
        Ok(())
    }

    /// Each busy page is covered by exactly one operation. It allocates nothing, as it is checked at every
    /// event of a debug build.
    fn check_busy(&self) -> Result<(), String> {
        let runs = || self.ops.iter().flat_map(Op::runs);
        for (at, run) in runs().enumerate() {
            if let Some(twice) = runs().skip(at + 1).find(|other| other.overlaps(run)) {
                return broken(
                    1,
                    run.intersection(twice).start(),
                    "two operations cover the page",
                );
            }
        }
        let covered: u64 = runs().map(PageRange::len).sum();
        if covered != self.pages.busy() {
            return broken(
                1,
                PageIndex(self.pages.busy()),
                "so many pages are busy, others are covered",
            );
        }
        Ok(())
    }

    fn check_queues(&self) -> Result<(), String> {
        match self.queues.pages().find(|&page| !self.page_state(page).is_busy()) {
            Some(page) => broken(2, page, "something waits for a page that is not busy"),
            None => Ok(()),
        }
    }

    fn check_failures(&self) -> Result<(), String> {
        let all = PageRange::new(PageIndex(0), PageIndex(u64::MAX));
        for (page, kept) in self.failures.kept_in(all) {
            let state = self.page_state(page);
            let right = match kept {
                Kept::Here(_) => matches!(state, PageState::Failed { .. }),
                Kept::InKernel => state.is_unsaved(),
            };
            if !right {
                return broken(
                    3,
                    page,
                    "data is kept that the state of the page does not know of",
                );
            }
        }
        Ok(())
    }

    fn check_locks(&self) -> Result<(), String> {
        for wait in self.locks.iter() {
            let queued = self
                .queues
                .seqs()
                .filter(|&(page, seq)| wait.waits_for(page, seq))
                .count() as u64;
            let written: u64 = self.ops.iter().map(|op| waited_for(op, wait)).sum();
            if wait.pending != queued + written {
                return broken(4, wait.range.start(), "a lock request counts its writes wrongly");
            }
            if wait.closed_at.is_some() && wait.pending == 0 {
                return broken(5, wait.range.start(), "a lock request is over but not answered");
            }
        }
        Ok(())
    }
}

fn fits(op: &Op, state: PageState) -> bool {
    match op.kind {
        OpKind::Read => matches!(state, PageState::Filling { .. }),
        OpKind::Write { .. } => matches!(state, PageState::Returning { .. }),
        OpKind::Unlock => matches!(state, PageState::Unlocking { .. }),
    }
}

fn waited_for(op: &Op, wait: &super::lock::LockWait) -> u64 {
    match op.kind {
        OpKind::Write { seq, .. } if wait.counts(seq) => {
            op.runs().map(|run| run.intersection(wait.range).len()).sum()
        }
        OpKind::Write { .. } | OpKind::Read | OpKind::Unlock => 0,
    }
}

fn broken(number: u32, page: PageIndex, what: &str) -> Result<(), String> {
    Err(format!("invariant {number}, page {}: {what}", page.0))
}
