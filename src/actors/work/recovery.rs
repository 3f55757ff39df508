//! What a pager does when its store, a worker, or the pager itself fails.

use std::any::Any;
use std::time::Instant;

use super::{Condition, PagerWork, Waiting};
use crate::actors::engine::{Job, panic_text};
use crate::actors::events::EventKind;
use crate::actors::flight::{Instead, JobId};
use crate::actors::messages::Report;
use crate::object::{Event, PageError, PageRange};

impl PagerWork {
    /// When something is due; the actor is to call [`tick`](Self::tick) then.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let flight = self.flight.next_due(&self.parts.policy);
        flight.into_iter().chain(self.retry_at).min()
    }

    /// Does what has become due.
    pub(crate) fn tick(&mut self, now: Instant) {
        for (range, instead) in self.flight.overdue(now, &self.parts.policy) {
            self.tell(EventKind::Overdue { range });
            self.parts.supervisor.do_send(Report::WorkerStuck);
            self.report_failure();
            self.go_on(instead);
        }
        for (job, attempts) in self.flight.due(now) {
            self.launch(job.again(self.parts.page_size), attempts);
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
        self.parts.supervisor.do_send(Report::WorkerDied);
        if let Some((_, instead)) = self.flight.lost(id, &self.parts.policy) {
            self.report_failure();
            self.go_on(instead);
        }
    }

    pub(super) fn landed_late(&mut self, range: PageRange) {
        self.parts.supervisor.do_send(Report::WorkerBack);
        self.tell(EventKind::LateResult { range });
        if self.retry_at.is_some() {
            self.retry_at = Some(Instant::now());
        }
    }

    /// Writes that fail are tried again with a back-off, for as long as it takes.
    pub(super) fn retry_later(&mut self, range: PageRange, error: PageError) {
        self.tell(EventKind::WritesFailed { range, error });
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

    /// Notes when everything that could not be written is in the store.
    pub(super) fn look_for_recovery(&mut self) {
        if self.retries > 0 && self.parts.engine.unsaved_pages() == 0 {
            self.retries = 0;
            self.tell(EventKind::WritesRecovered);
        }
    }

    /// The pager panicked: its core cannot be trusted any more. What the kernel knows can.
    pub(super) fn stunned(&mut self, payload: &(dyn Any + Send)) {
        self.condition = Condition::Stunned;
        let pager = self.parts.id;
        let policy = self.parts.policy;
        let text = panic_text(payload);
        tracing::error!(pager = pager.0, %text, "a pager panicked");
        self.parts
            .supervisor
            .do_send(Report::PagerPanicked { pager, policy, text });
    }

    /// Makes the core anew from what the kernel knows and serves whoever waits.
    pub(super) fn restart(&mut self) {
        self.flight.forget();
        self.restarting = None;
        self.condition = Condition::Well;
        self.turn(|engine| engine.restart());
        self.waiting
            .retain(|_, waiting| !matches!(waiting, Waiting::Answer { again: None, .. }));
        let requested = |waiting: &Waiting| match waiting {
            Waiting::Answer { again, .. } => again.clone(),
            Waiting::Copied(_) | Waiting::Farewell(_) => None,
        };
        let again: Vec<Event> = self.waiting.values().filter_map(requested).collect();
        for event in again {
            self.turn(|engine| engine.handle(event));
        }
        if self.leaving {
            self.waiting
                .retain(|_, waiting| !matches!(waiting, Waiting::Farewell(_)));
            self.farewell();
        }
        self.tell(EventKind::PagerRestarted);
        self.serve_kept();
    }

    /// Has the store make itself anew; other calls wait for that.
    pub(super) fn restart_backend(&mut self) {
        if self.restarting.is_none() {
            self.restarting = Some(Vec::new());
            self.launch(Job::Restart, 0);
        }
    }

    pub(super) fn backend_restarted(&mut self, result: Result<(), PageError>) {
        for (job, attempts) in self.restarting.take().into_iter().flatten() {
            self.launch(job, attempts);
        }
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
            Instead::Again(job, attempts) => self.launch(job.again(self.parts.page_size), attempts),
        }
    }

    fn tell(&self, kind: EventKind) {
        self.parts.events.tell(self.parts.id, kind);
    }
}
