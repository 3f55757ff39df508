//! What a pager does when its store, a worker, or the pager itself fails.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::time::Instant;

use super::{Again, Condition, PagerWork, Waiting};
use crate::actors::attempts::JobId;
use crate::actors::engine::{Job, panic_text};
use crate::actors::events::EventKind;
use crate::actors::flight::{Instead, Lost, Stuck};
use crate::actors::messages::Report;
use crate::object::{Event, ObjectState, PageError, PageRange, RequestToken};

impl PagerWork {
    /// When something is due; the actor is to call [`tick`](Self::tick) then.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let flight = self.flight.next_due(&self.parts.policy);
        flight.into_iter().chain(self.retry_at).min()
    }

    /// Does what has become due.
    pub(crate) fn tick(&mut self, now: Instant) {
        let exhausted = self.parts.pool.is_exhausted();
        for overdue in self.flight.overdue(now, &self.parts.policy, exhausted) {
            self.tell(EventKind::Overdue { range: overdue.range });
            if let Some(id) = overdue.stuck {
                let attempts = self.flight.attempts();
                self.parts.pool.stand_in(|| attempts.stood_in(id));
            }
            self.report_failure();
            if let Some(pages) = overdue.pins {
                self.parts.engine.doubt(pages);
            }
            self.go_on(overdue.instead);
        }
        for (read, attempts) in self.flight.due(now) {
            self.launch(read.job(self.parts.page_size), attempts);
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.retry_writes();
            if self.leaving
                && !self
                    .waiting
                    .values()
                    .any(|waiting| matches!(waiting, Waiting::Farewell(_)))
            {
                self.farewell();
            }
        }
    }

    pub(super) fn worker_died(&mut self, id: JobId) {
        let Lost { instead, pinned } = self.flight.lost(id, &self.parts.policy);
        self.unpin(pinned);
        self.tell(EventKind::WorkerDied);
        if let Some(instead) = instead {
            self.report_failure();
            self.go_on(instead);
        }
        self.launch_unblocked();
        self.retry_now();
    }

    /// A call that was given up has ended: it reads nothing any more.
    fn unpin(&mut self, pages: Option<PageRange>) {
        if let Some(pages) = pages {
            self.parts.engine.believe(pages);
        }
    }

    pub(super) fn landed_late(&mut self, stuck: Stuck) {
        self.unpin(stuck.pins());
        self.tell(EventKind::LateResult { range: stuck.range });
        self.launch_unblocked();
        self.retry_now();
    }

    /// Begins what waited for a write that has landed.
    fn launch_unblocked(&mut self) {
        for (job, attempts) in self.flight.unblocked() {
            self.launch(job, attempts);
        }
    }

    /// What stood in the way of failed writes is gone.
    fn retry_now(&mut self) {
        if self.retry_at.is_some() {
            self.retry_at = Some(Instant::now());
        }
    }

    /// Failed writes are behind us once nothing is kept any more.
    pub(super) fn note_recovery(&mut self) {
        if self.failing && !self.parts.engine.object().keeps_failed_writes() {
            self.failing = false;
            self.retries = 0;
            self.tell(EventKind::WritesRecovered);
        }
    }

    /// Writes that fail are tried again with a back-off, for as long as it takes.
    pub(super) fn retry_later(&mut self, range: PageRange, error: PageError) {
        self.tell(EventKind::WritesFailed { range, error });
        self.failing = true;
        self.retry_soon();
    }

    /// Sets the time of the next attempt, if it is not set.
    pub(super) fn retry_soon(&mut self) {
        if self.retry_at.is_none() {
            self.retries = self.retries.saturating_add(1);
            let noise = self.parts.id.0 ^ self.next_token;
            self.retry_at = Some(Instant::now() + self.parts.policy.write_backoff.after(self.retries, noise));
        }
    }

    /// The pager panicked: its core cannot be trusted any more. What the kernel knows can.
    pub(super) fn stunned(&mut self, payload: Box<dyn Any + Send>) {
        self.condition = Condition::Stunned;
        self.depart();
        let pager = self.parts.id;
        let policy = self.parts.policy;
        let text = panic_text(&*payload);
        if panic::catch_unwind(AssertUnwindSafe(|| drop(payload))).is_err() {
            tracing::error!(pager = pager.0, "what a pager panicked with panicked, too");
        }
        tracing::error!(pager = pager.0, %text, "a pager panicked");
        self.parts
            .supervisor
            .do_send(Report::PagerPanicked { pager, policy, text });
    }

    /// Makes the core anew from what the kernel knows and serves whoever waits.
    pub(super) fn restart(&mut self) {
        match self.condition {
            Condition::Ended => return,
            Condition::Stunned => self.condition = Condition::Well,
            Condition::Well | Condition::Quarantined => {}
        }
        for pages in self.flight.forget() {
            self.parts.engine.doubt(pages);
        }
        self.restarting = None;
        self.choose_reads();
        self.results.clear();
        let over = self.is_over();
        self.reviving = false;
        self.turn(|engine| engine.restart(over));
        if self.condition == Condition::Stunned {
            return; // Again: the next verdict comes.
        }
        self.waiting
            .retain(|_, waiting| !matches!(waiting, Waiting::Answer { again: None, .. }));
        self.reviving = true;
        self.tell(EventKind::PagerRestarted);
        self.flush();
    }

    /// True if the object was shut down, and nobody waits for the end of that any more.
    fn is_over(&self) -> bool {
        let shuts_down = |waiting: &Waiting| match waiting {
            Waiting::Answer { again, .. } => again
                .as_ref()
                .is_some_and(|again| matches!(again.event, Event::Shutdown { .. })),
            Waiting::Farewell(_) => true,
            Waiting::Copied(_) | Waiting::Mapped(_) => false,
        };
        self.parts.engine.object().state() == ObjectState::ShutDown && !self.waiting.values().any(shuts_down)
    }

    /// Makes the requests that were under way of the new core, once it has heard of its kernel: before that
    /// it would find nothing to write, and nothing to wait for.
    pub(super) fn ask_again(&mut self) {
        if !self.reviving || self.parts.engine.awaits_init() {
            return;
        }
        self.reviving = false;
        let requested = |(token, waiting): (&RequestToken, &Waiting)| match waiting {
            Waiting::Answer { again, .. } => again.clone().map(|again| (*token, again)),
            Waiting::Copied(_) | Waiting::Mapped(_) | Waiting::Farewell(_) => None,
        };
        let mut again: Vec<(RequestToken, Again)> = self.waiting.iter().filter_map(requested).collect();
        again.sort_unstable_by_key(|(token, _)| *token);
        for (token, again) in again {
            self.turn(|engine| again.ask(engine, token));
        }
        if self.leaving {
            self.waiting
                .retain(|_, waiting| !matches!(waiting, Waiting::Farewell(_)));
            self.farewell();
        }
        self.serve_kept();
    }

    /// Has the store make itself anew; other calls wait for that.
    pub(super) fn restart_backend(&mut self) {
        if self.restarting.is_none() {
            self.restarting = Some(Vec::new());
            self.choose_reads();
            self.launch(Job::Restart, 0);
        }
    }

    /// A store that is quarantined or being made anew is not read in passing.
    fn choose_reads(&mut self) {
        let inline = self.condition != Condition::Quarantined && self.restarting.is_none();
        self.parts.engine.set_inline_reads(inline);
    }

    pub(super) fn backend_restarted(&mut self, result: Result<(), PageError>) {
        for (job, attempts) in self.restarting.take().into_iter().flatten() {
            self.launch(job, attempts);
        }
        self.choose_reads();
        match result {
            Ok(()) => {
                self.tell(EventKind::BackendRestarted);
                self.retry_writes();
            }
            Err(error) => {
                self.tell(EventKind::BackendRestartFailed(error));
                self.report_failure();
            }
        }
    }

    pub(super) fn quarantine(&mut self) {
        if self.condition == Condition::Stunned {
            self.restart();
        }
        self.condition = Condition::Quarantined;
        self.choose_reads();
        self.retry_at = None;
        self.tell(EventKind::Quarantined);
    }

    pub(super) fn revive(&mut self) {
        if self.condition == Condition::Quarantined {
            self.condition = Condition::Well;
            self.tell(EventKind::Revived);
            self.restart_backend();
        }
    }

    /// Tells the supervisor that the store failed in a way that an answer does not mend.
    pub(super) fn report_failure(&mut self) {
        let (pager, policy) = (self.parts.id, self.parts.policy);
        self.parts
            .supervisor
            .do_send(Report::BackendFailed { pager, policy });
    }

    fn retry_writes(&mut self) {
        if self.condition == Condition::Quarantined {
            return;
        }
        self.turn(|engine| engine.handle(Event::RetryWrites));
    }

    fn go_on(&mut self, instead: Instead) {
        match instead {
            Instead::Deliver(done) => self.deliver(done),
            Instead::Again(read, attempts) => self.launch(read.job(self.parts.page_size), attempts),
        }
    }

    fn tell(&self, kind: EventKind) {
        self.parts.events.tell(self.parts.id, kind);
    }
}
