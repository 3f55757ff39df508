//! Sync, flush, return, shutdown: what is sent, what is waited for, what is reported.

use super::batch::Tell;
use super::failures::{self, Kept};
use super::lock::{Failure, LockWait, Purpose};
use super::memory_object::{Life, MemoryObject};
use super::page::PageState;
use super::user_events::answer;
use super::{
    Answer, Effect, LockKind, PageError, PageFate, PageIndex, PageRange, Prot, RequestToken, ShouldReturn,
};

/// Every page there can be.
const ALL: PageRange = PageRange::new(PageIndex(0), PageIndex(u64::MAX));

impl MemoryObject {
    pub(crate) fn lock(
        &mut self,
        token: RequestToken,
        kind: LockKind,
        range: PageRange,
        wait: bool,
        effects: &mut Vec<Effect>,
    ) {
        let mut failed = Vec::new();
        self.failures.take_unreported(range, &mut failed);
        match kind {
            LockKind::Sync | LockKind::Return if self.options.retry_on_sync => self.retry_kept(range),
            LockKind::Sync | LockKind::Return => {}
            LockKind::Flush => self.discard_kept(range, &mut failed),
        }
        let flushes = kind != LockKind::Sync;
        let should_return = match kind {
            LockKind::Sync | LockKind::Return => ShouldReturn::All,
            LockKind::Flush => ShouldReturn::None,
        };
        let purpose = if wait {
            Purpose::User(token, kind)
        } else {
            let outcome = self.outcome(&failed);
            answer(token, outcome, effects);
            failed.clear();
            Purpose::Notice
        };
        let reply = wait || flushes && self.options.notify_on_evict;
        self.send_lock_request(range, should_return, flushes, reply, effects);
        if reply {
            self.add_wait(purpose, range, range, flushes, failed);
        }
    }

    /// Sends a lock request, if there is a kernel to send it to.
    fn send_lock_request(
        &mut self,
        range: PageRange,
        should_return: ShouldReturn,
        should_flush: bool,
        reply: bool,
        effects: &mut Vec<Effect>,
    ) {
        self.flush(effects);
        let Some(control) = self.sessions.control() else {
            return;
        };
        let size = self.options.page_size;
        effects.push(Effect::LockRequest {
            control,
            offset: range.offset(size),
            length: range.bytes(size),
            should_return,
            should_flush,
            lock: Prot::NO_CHANGE,
            reply,
        });
        if should_flush && reply {
            self.mark_flushing(range);
        }
    }

    fn mark_flushing(&mut self, range: PageRange) {
        let pages = self.take_known(range);
        for &page in &pages {
            self.set_state(page, self.page_state(page).with_flush());
        }
        self.scratch = pages;
    }

    /// Everything that is being written or waits to be is waited for, and what comes until the
    /// kernel confirms.
    fn add_wait(
        &mut self,
        purpose: Purpose,
        range: PageRange,
        asked: PageRange,
        flushes: bool,
        failed: Vec<Failure>,
    ) {
        let confirmed = self.sessions.control().is_none() || asked.is_empty();
        self.locks.add(LockWait {
            purpose,
            range,
            asked,
            flushes,
            closed_at: confirmed.then_some(self.next_seq),
            pending: self.ops.writes_in(range) + self.queues.returns_in(range),
            failed,
        });
    }

    /// Writes again what is kept.
    fn retry_kept(&mut self, range: PageRange) {
        let kept: Vec<_> = self.failures.kept_in(range).collect();
        let control = self.sessions.control().unwrap_or_default();
        let seq = self.take_seq();
        for (page, kept) in kept {
            if let (Kept::Here(data), PageState::Failed { kernel_copy }) = (kept, self.page_state(page)) {
                self.failures.take_kept(page);
                self.start_write(page, (control, data, seq), kernel_copy, !kernel_copy);
            }
        }
    }

    /// A flush drops modifications, those of failed writes, too.
    fn discard_kept(&mut self, range: PageRange, failed: &mut [Failure]) {
        let kept: Vec<_> = self.failures.kept_in(range).collect();
        for (page, kept) in kept {
            self.failures.forget(page);
            self.set_error(page, None);
            match (kept, self.page_state(page)) {
                (Kept::Here(data), PageState::Failed { kernel_copy: true }) => {
                    self.release(page, data);
                    self.set_state(page, PageState::CLEAN);
                }
                (Kept::Here(data), _) => {
                    self.release(page, data);
                    self.set_state(page, PageState::Absent);
                }
                (Kept::InKernel, _) => {}
            }
            for failure in failed.iter_mut().filter(|failure| failure.page == page) {
                failure.dropped = true;
            }
        }
        let pages = self.take_known(range);
        for &page in &pages {
            self.set_state(page, self.page_state(page).saved());
        }
        self.scratch = pages;
    }

    pub(crate) fn shutdown(&mut self, token: RequestToken, extent: u64, effects: &mut Vec<Effect>) {
        match self.life {
            Life::ShutDown => return answer(token, Answer::ShutDown, effects),
            Life::ShuttingDown => return self.shutdown_tokens.push(token),
            Life::Open => {}
        }
        self.life = Life::ShuttingDown;
        self.shutdown_tokens.push(token);
        let mut failed = Vec::new();
        self.failures.take_unreported(ALL, &mut failed);
        if self.options.retry_on_sync {
            self.retry_kept(ALL);
        }
        let size = self.options.page_size;
        let pages = extent.div_ceil(size.bytes()).min(u64::MAX >> size.shift());
        let asked = PageRange::with_len(PageIndex(0), pages);
        if asked.is_empty() {
            self.flush(effects);
        } else {
            self.send_lock_request(asked, ShouldReturn::All, true, true, effects);
        }
        self.add_wait(Purpose::Shutdown, ALL, asked, true, failed);
    }

    /// A shutdown tries again itself, once, and hands back what fails then.
    pub(crate) fn retry_writes(&mut self) {
        if self.life != Life::Open {
            return;
        }
        self.retry_kept(ALL);
        let Some(control) = self.sessions.control() else {
            return;
        };
        let kept: Vec<_> = self.failures.kept_in(ALL).collect();
        for (page, kept) in kept {
            if kept == Kept::InKernel && !self.page_state(page).is_busy() {
                self.tell(page, control, Tell::Fetch);
            }
        }
    }

    /// Answers every lock request that is over, and ends the shutdown if it is.
    pub(crate) fn finish_locks(&mut self, effects: &mut Vec<Effect>) {
        while let Some(wait) = self.locks.take_over() {
            match wait.purpose {
                Purpose::User(token, _) => {
                    let outcome = self.outcome(&wait.failed);
                    answer(token, outcome, effects);
                }
                Purpose::Notice => {}
                Purpose::Held(held) => {
                    self.end_check(held);
                    self.flush(effects);
                }
                Purpose::Shutdown => self.finish_shutdown(&wait.failed, effects),
            }
        }
    }

    fn finish_shutdown(&mut self, failed: &[Failure], effects: &mut Vec<Effect>) {
        self.life = Life::ShutDown;
        let outcome = self.hand_back(failed);
        while let Some(wait) = self.locks.take_first() {
            match wait.purpose {
                Purpose::User(token, _) => answer(token, Answer::ShutDown, effects),
                Purpose::Held(held) => self.end_check(held),
                Purpose::Shutdown | Purpose::Notice => {}
            }
        }
        self.flush(effects);
        effects.push(Effect::DestroyPort);
        while let Some(token) = self.attributes.take_first() {
            answer(token, Answer::ShutDown, effects);
        }
        let mut outcome = Some(outcome);
        for token in self.shutdown_tokens.drain(..) {
            answer(token, outcome.take().unwrap_or(Answer::Done), effects);
        }
    }

    /// The outcome of a shutdown: what could not be written is the caller's.
    fn hand_back(&mut self, failed: &[Failure]) -> Answer {
        let kept: Vec<_> = self.failures.kept_in(ALL).collect();
        let mut pages: std::collections::BTreeMap<_, _> = failed
            .iter()
            .map(|failure| (failure.page, (failure.error, self.fate(failure))))
            .collect();
        for (page, kept) in kept {
            let Kept::Here(data) = kept else { continue };
            let error = self.page_error(page).unwrap_or(PageError::Io);
            pages.insert(page, (error, PageFate::HandedBack(data)));
            self.failures.forget(page);
            self.set_state(page, PageState::Absent);
        }
        let runs = failures::runs(pages.into_iter().map(|(page, (error, fate))| (page, error, fate)));
        if runs.is_empty() {
            Answer::Done
        } else {
            Answer::Failed(runs)
        }
    }

    fn outcome(&self, failed: &[Failure]) -> Answer {
        if failed.is_empty() {
            return Answer::Done;
        }
        let mut failed = failed.to_vec();
        failed.sort_unstable_by_key(|failure| failure.page);
        let pages = failed
            .iter()
            .map(|failure| (failure.page, failure.error, self.fate(failure)));
        Answer::Failed(failures::runs(pages))
    }

    fn fate(&self, failure: &Failure) -> PageFate {
        let known = self.pages.get(failure.page);
        let is_kept = self.failures.kept(failure.page).is_some();
        let is_retried = matches!(known.state, PageState::Returning { .. }) && known.error.is_some();
        if failure.dropped {
            PageFate::Dropped
        } else if is_kept || is_retried {
            PageFate::Kept
        } else {
            PageFate::Stored
        }
    }
}
