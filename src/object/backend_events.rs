//! What the store says: reads, writes and unlocks that ended, whole or in part.

use super::batch::{Action, Begin, Tell};
use super::failures::Kept;
use super::memory_object::{Life, MemoryObject};
use super::ops::{Op, OpKind};
use super::page::PageState;
use super::waiting::Waiting;
use super::{
    DataId, Effect, Event, OpId, PageError, PageIndex, PageRange, PagesSupplied, PortName, Prot, Refusal,
};

/// A write of one page, as it ended.
#[derive(Clone, Copy)]
struct EndedWrite {
    data: DataId,
    seq: u64,
}

impl MemoryObject {
    pub(crate) fn backend_event(&mut self, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::PagesRead { op, range, result } => self.pages_read(op, range, result, effects),
            Event::PagesWritten { op, written, error } => self.pages_written(op, written, error, effects),
            Event::PagesUnlocked { op, result } => self.pages_unlocked(op, result, effects),
            Event::Init { .. }
            | Event::DataRequest { .. }
            | Event::DataReturn { .. }
            | Event::DataUnlock { .. }
            | Event::LockCompleted { .. }
            | Event::ChangeCompleted { .. }
            | Event::Terminate { .. }
            | Event::NoSenders
            | Event::Lock { .. }
            | Event::Offer { .. }
            | Event::ChangeAttributes { .. }
            | Event::Shutdown { .. }
            | Event::RetryWrites => {}
        }
    }

    fn pages_read(
        &mut self,
        id: OpId,
        range: PageRange,
        result: Result<PagesSupplied, PageError>,
        effects: &mut Vec<Effect>,
    ) {
        let op = self.ops.get_mut(id).filter(|op| op.kind == OpKind::Read);
        let Some(control) = op.and_then(|op| op.take(range).then_some(op.control)) else {
            if let Ok(PagesSupplied { data, .. }) = result {
                effects.push(Effect::ReleaseWhole { data });
            }
            return effects.push(Effect::Refused(Refusal::Unmatched));
        };
        if self.ops.get_mut(id).is_some_and(|op| op.is_answered()) {
            self.ops.end(id);
        }
        for page in range.iter() {
            self.answer_read(page, control, result);
        }
        for page in range.iter() {
            self.settle(page);
        }
    }

    fn answer_read(&mut self, page: PageIndex, control: PortName, result: Result<PagesSupplied, PageError>) {
        self.set_error(page, result.err());
        // What the kernel has returned meanwhile is newer, and it had the page already, by an offer.
        if self.queues.holds_return(page, control) {
            self.set_state(page, PageState::Absent);
            if let Ok(PagesSupplied { data, .. }) = result {
                self.release(page, data);
            }
            // Should it wait all the same, it is answered after its return.
            let (access, doubted) = (Prot::READ, true);
            return self.queues.push(
                page,
                Waiting::Request {
                    control,
                    access,
                    doubted,
                },
            );
        }
        match result {
            Ok(PagesSupplied { data, write_lock }) if self.life == Life::Open => {
                let lock = if write_lock { Prot::WRITE } else { Prot::NONE };
                let doubted = self.page_state(page) == PageState::Filling { doubted: true };
                self.supply(page, control, data, lock, doubted);
            }
            Ok(PagesSupplied { data, .. }) => {
                self.set_state(page, PageState::Absent);
                self.release(page, data);
                self.tell(page, control, Tell::Error(PageError::Io));
            }
            Err(error) => {
                self.set_state(page, PageState::Absent);
                self.tell(page, control, Tell::Error(error));
            }
        }
        self.drop_answered(page, control);
    }

    /// Supplies a page that the store has; as precious where the kernel may not wait for it, so that it
    /// does not leave the kernel unseen.
    fn supply(&mut self, page: PageIndex, control: PortName, data: DataId, lock: Prot, doubted: bool) {
        let alive = self.is_alive(control);
        self.set_state(
            page,
            if alive {
                PageState::Resident {
                    write_locked: lock.writes(),
                    unsaved: false,
                    flushing: false,
                    offered: doubted,
                }
            } else {
                PageState::Absent
            },
        );
        let what = Tell::Supply {
            data,
            lock,
            precious: doubted || self.options.notify_on_evict,
        };
        self.tell(page, control, what);
    }

    fn pages_written(&mut self, id: OpId, written: u64, error: Option<PageError>, effects: &mut Vec<Effect>) {
        let ended = self.ops.get_mut(id).and_then(|op| match op.kind {
            OpKind::Write {
                data,
                kernel_copy,
                seq,
            } => Some((op.left, op.control, data, kernel_copy, seq)),
            OpKind::Read | OpKind::Unlock => None,
        });
        let Some((range, control, data, kernel_copy, seq)) = ended else {
            return effects.push(Effect::Refused(Refusal::Unmatched));
        };
        self.ops.end(id);
        let good = PageRange::with_len(range.start(), written).intersection(range);
        let bad = PageRange::with_len(good.end(), 1).intersection(range);
        let rest = PageRange::new(bad.end(), range.end());
        let write = EndedWrite { data, seq };
        for page in good.iter() {
            self.page_written(page, write);
        }
        for page in bad.iter() {
            self.page_not_written(page, write, error.unwrap_or(PageError::Io));
        }
        for page in rest.iter() {
            let what = Begin::Write {
                data,
                kernel_copy,
                seq,
            };
            self.batches.push(page, Action::Begin { control, what });
        }
        for page in good.iter().chain(bad.iter()) {
            self.settle(page);
        }
    }

    fn page_written(&mut self, page: PageIndex, write: EndedWrite) {
        self.locks.write_ended(page, write.seq, None);
        self.failures.forget(page);
        self.set_error(page, None);
        let (kernel_copy, told) = self.copy_of(page);
        if self.answer_from(page, write) {
            return;
        }
        self.release(page, write.data);
        let state = if kernel_copy {
            PageState::CLEAN
        } else {
            PageState::Absent
        };
        self.set_state(page, state);
        if !kernel_copy && !told {
            self.tell_evicted(page);
        }
    }

    /// Answers the request that is next in turn from the data that was just written.
    fn answer_from(&mut self, page: PageIndex, write: EndedWrite) -> bool {
        let Some(Waiting::Request {
            control,
            access,
            doubted,
        }) = self.queues.front(page)
        else {
            return false;
        };
        let is_refused = self.pages.get(page).refusal.is_some() && access.writes();
        if self.life != Life::Open || is_refused || !self.is_alive(control) {
            return false;
        }
        self.supply(page, control, write.data, Prot::NONE, doubted);
        self.drop_answered(page, control);
        true
    }

    /// Whether the kernel kept a copy of a page that was written; if not, whether that was told.
    fn copy_of(&self, page: PageIndex) -> (bool, bool) {
        match self.page_state(page) {
            PageState::Returning {
                kernel_copy, told, ..
            } => (kernel_copy, told),
            PageState::Absent
            | PageState::Filling { .. }
            | PageState::Resident { .. }
            | PageState::Unlocking { .. }
            | PageState::Failed { .. } => (false, true),
        }
    }

    fn page_not_written(&mut self, page: PageIndex, write: EndedWrite, error: PageError) {
        let (kernel_copy, told) = self.copy_of(page);
        let reported = self.locks.write_ended(page, write.seq, Some(error));
        // A retry that nobody asked for is no news, as long as every sync tries again itself.
        let known = self.options.retry_on_sync && self.failures.was_told(page);
        if reported {
            self.failures.now_told(page);
        } else if !known {
            self.failures.report_later(page, error);
        }
        self.failures.keep(page, Kept::Here(write.data));
        self.set_state(page, PageState::Failed { kernel_copy });
        self.set_error(page, Some(error));
        self.batches.push(page, Action::WriteFailed { error });
        if !kernel_copy && !told {
            self.tell_evicted(page);
        }
    }

    fn pages_unlocked(&mut self, id: OpId, result: Result<(), PageError>, effects: &mut Vec<Effect>) {
        let is_unlock = self.ops.get_mut(id).is_some_and(|op| op.kind == OpKind::Unlock);
        let Some(Op { left, control, .. }) = is_unlock.then(|| self.ops.end(id)).flatten() else {
            return effects.push(Effect::Refused(Refusal::Unmatched));
        };
        for page in left.iter() {
            self.end_unlock(page, control, result);
        }
        for page in left.iter() {
            self.settle(page);
        }
    }
}
