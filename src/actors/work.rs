//! A pager's work: its engine, the users who wait, and what is under way in the store.

mod calls;
mod farewell;
mod listen;
mod recovery;

use std::collections::{HashMap, VecDeque};
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Weak};
use std::time::Instant;

use actix::Addr;

use super::cell::{JobAnswer, PagerCell};
use super::engine::{Copied, Engine, Job, JobDone, Outcome, Output, panic_text};
use super::events::{EventKind, EventSink};
use super::flight::{Departure, Flight, Landing};
use super::messages::{Reply, Request};
use super::policy::FailurePolicy;
use super::pool::{BackendPool, Client, Work};
use super::registry::PagerId;
use super::supervisor::BucketSupervisor;
use crate::backend::Backend;
use crate::error::MapError;
use crate::mach::{KernelError, RawMapping};
use crate::object::{Event, PageSize, References, RequestToken};

/// A user who waits for an answer.
enum Waiting {
    Answer {
        reply: Reply<Outcome>,
        /// The request, to be made again of a core that is made anew; none where it is answered at once.
        again: Option<Again>,
    },
    Copied(Reply<Copied>),
    /// A copy is being mapped.
    Mapped(Reply<Result<RawMapping, MapError>>),
    /// The pager itself: it writes back, then shuts down, because nobody holds it any more.
    Farewell(Farewell),
}

/// How far a pager is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Farewell {
    /// Writing back, as often as it takes: nobody is left who could be handed the pages.
    Sync,
    /// Everything is stored.
    Shutdown,
}

/// A request that can be made more than once.
#[derive(Clone)]
struct Again {
    event: Event,
    /// It is answered only when the store is durable.
    durable: bool,
}

impl Again {
    fn ask(&self, engine: &mut Engine, token: RequestToken) {
        if self.durable {
            engine.make_durable(token);
        }
        engine.handle(self.event.clone());
    }
}

/// Whether requests are taken.
enum Intake {
    Open,
    /// Finishing what came before the inhibition.
    Draining(Vec<Reply<()>>),
    /// Finished. Pages that the kernel returns are still written: another pager of the bucket, which has
    /// not finished, may need their frames.
    Drained,
    /// Finishing the last of these writes.
    Closing(Vec<Reply<()>>),
    Closed,
}

/// What a pager is made of.
pub(crate) struct PagerParts {
    pub(crate) id: PagerId,
    pub(crate) engine: Engine,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) page_size: PageSize,
    pub(crate) pool: BackendPool,
    pub(crate) supervisor: Addr<BucketSupervisor>,
    pub(crate) events: EventSink,
    pub(crate) policy: FailurePolicy,
}

/// How the pager is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Well,
    /// It panicked and waits for the supervisor's verdict.
    Stunned,
    /// It does not touch its store.
    Quarantined,
    /// It is over.
    Ended,
}

/// How a mapping went.
type Mapped = Result<RawMapping, KernelError>;

/// A pager's work; an actor drives it.
pub(crate) struct PagerWork {
    parts: PagerParts,
    /// Whose the jobs are.
    client: Arc<Client>,
    waiting: HashMap<RequestToken, Waiting>,
    next_token: u64,
    intake: Intake,
    kept: VecDeque<Request>,
    /// Mappings whose users wait until the object is ready.
    mapped: Vec<(Reply<Mapped>, Mapped)>,
    flight: Flight,
    /// Results that came and that nobody has looked at yet.
    pub(crate) fetched: VecDeque<JobAnswer>,
    /// Writes that are about to begin, together.
    departing: Vec<Work>,
    /// Results that the engine has not taken in yet.
    results: VecDeque<JobDone>,
    references: References,
    condition: Condition,
    /// When failed writes are tried again, and how often they were.
    retry_at: Option<Instant>,
    retries: u32,
    /// Writes failed and have not all succeeded since.
    failing: bool,
    /// Nobody holds the pager any more.
    leaving: bool,
    /// The core was made anew, and the requests of before are still to be made again.
    reviving: bool,
    /// Jobs that wait while the store is made anew; none while it is not.
    restarting: Option<Vec<(Job, u32)>>,
}

impl PagerWork {
    pub(crate) fn new(parts: PagerParts, cell: Weak<PagerCell>) -> Self {
        let flight = Flight::default();
        let client = Client {
            backend: parts.backend.clone(),
            page_size: parts.page_size,
            attempts: flight.attempts().clone(),
            reply_to: cell,
            pool: parts.pool.clone(),
        };
        Self {
            parts,
            client: Arc::new(client),
            waiting: HashMap::new(),
            next_token: 0,
            intake: Intake::Open,
            kept: VecDeque::new(),
            mapped: Vec::new(),
            flight,
            fetched: VecDeque::new(),
            departing: Vec::new(),
            results: VecDeque::new(),
            references: References::new(),
            condition: Condition::Well,
            retry_at: None,
            retries: 0,
            failing: false,
            leaving: false,
            reviving: false,
            restarting: None,
        }
    }

    /// True when the pager is over and its actor may go.
    pub(crate) fn has_ended(&self) -> bool {
        self.condition == Condition::Ended
    }

    /// How many jobs are under way whose results are waited for.
    pub(crate) fn flying(&self) -> usize {
        self.flight.flying()
    }

    /// Takes in the result of a job.
    pub(crate) fn answer(&mut self, answer: JobAnswer) {
        let Some(mut report) = answer.report else {
            return self.worker_died(answer.id);
        };
        if let Some(text) = report.panic.take() {
            self.backend_panicked(text);
        }
        match self
            .flight
            .landed(answer.id, report, &self.parts.policy, Instant::now())
        {
            Landing::Deliver(done) => self.deliver(done),
            Landing::Again => {}
            Landing::Late(stuck) => self.landed_late(stuck),
        }
    }

    /// Lets the engine work, then carries out what it wants done.
    ///
    /// A core that panicked is not touched before it is made anew.
    fn turn(&mut self, work: impl FnOnce(&mut Engine)) {
        if self.condition == Condition::Stunned {
            return;
        }
        let engine = &mut self.parts.engine;
        let worked = panic::catch_unwind(AssertUnwindSafe(|| {
            work(engine);
            engine.settle();
        }));
        match worked {
            Ok(()) => self.flush(),
            Err(payload) => self.stunned(payload),
        }
    }

    /// Does something that must not take the actor down with it: a panic makes the pager anew.
    pub(crate) fn guarded(&mut self, act: impl FnOnce(&mut Self)) {
        let acted = panic::catch_unwind(AssertUnwindSafe(|| {
            act(self);
            self.flush();
        }));
        if let Err(payload) = acted {
            self.stunned(payload);
        }
    }

    /// The length of the object; what it was before where the store panics.
    fn extent(&mut self) -> u64 {
        let backend = self.parts.backend.clone();
        let asked = panic::catch_unwind(AssertUnwindSafe(|| backend.extent()));
        asked.unwrap_or_else(|payload| {
            self.backend_panicked(panic_text(&*payload));
            self.parts.engine.object().options().extent.unwrap_or_default()
        })
    }

    fn backend_panicked(&mut self, text: String) {
        let id = self.parts.id;
        self.parts.events.tell(id, EventKind::BackendPanicked(text));
        self.report_failure();
    }

    /// Carries out what the engine could not do by itself, and what follows from that.
    fn flush(&mut self) {
        while self.condition != Condition::Stunned {
            self.carry_out();
            let Some(done) = self.results.pop_front() else {
                self.note_recovery();
                self.ask_again();
                return self.finish_draining();
            };
            let engine = &mut self.parts.engine;
            let worked = panic::catch_unwind(AssertUnwindSafe(|| engine.job_done(done)));
            if let Err(payload) = worked {
                self.stunned(payload);
            }
        }
    }

    fn carry_out(&mut self) {
        while let Some(text) = self.parts.engine.next_panic() {
            self.backend_panicked(text);
        }
        while let Some(news) = self.parts.engine.kernel_news() {
            self.parts.events.tell(self.parts.id, EventKind::Kernel(news));
        }
        while let Some(output) = self.parts.engine.next_output() {
            match output {
                Output::Job(job) => self.launch(job, 0),
                Output::Answer(token, outcome) => self.answer_user(token, outcome),
                Output::Copied(token, copied) => {
                    if let Some(Waiting::Copied(reply)) = self.waiting.remove(&token) {
                        // A user who stopped waiting wants no answer.
                        let _ = reply.send(copied);
                    }
                }
                Output::Mapped(token, mapped) => self.copy_mapped(token, mapped),
                Output::RetryLater { range, error } => self.retry_later(range, error),
                Output::Refused(refusal) => tracing::debug!(%refusal, "a message was refused"),
                Output::PortDestroyed | Output::Terminated | Output::NoSenders => {}
            }
        }
        self.depart();
    }

    /// Sends the writes to the pool that were gathered.
    fn depart(&mut self) {
        self.parts.pool.submit_all(&mut self.departing);
    }

    /// Sends a job to the pool, or answers it here where the store must not be touched.
    fn launch(&mut self, job: Job, attempts: u32) {
        if self.condition == Condition::Quarantined && !matches!(job, Job::ClearUserData | Job::Restart) {
            return self.take_in(job.failed(crate::object::PageError::Io));
        }
        if let Some(waiting) = &mut self.restarting
            && !matches!(job, Job::Restart)
        {
            return waiting.push((job, attempts));
        }
        match self.flight.launch(job, attempts, Instant::now()) {
            Departure::Begins(launched) => {
                let work = Work::new(launched, self.client.clone());
                if work.is_write() {
                    self.departing.push(work);
                } else {
                    // In the order of their numbers.
                    self.depart();
                    self.parts.pool.submit(work);
                }
            }
            Departure::Refused(done) => self.take_in(done),
            Departure::Waits => {}
        }
    }

    fn deliver(&mut self, done: JobDone) {
        match done {
            JobDone::Restarted { result } => self.backend_restarted(result),
            JobDone::UserDataCleared => self.end(),
            JobDone::PagesRead { .. }
            | JobDone::PagesWritten { .. }
            | JobDone::PagesUnlocked { .. }
            | JobDone::EvictNotified
            | JobDone::Synced { .. }
            | JobDone::WeakDropped => {
                self.take_in(done);
                self.flush();
            }
        }
    }

    /// Queues a result for the engine. A job that is refused is answered in the turn that made it: one
    /// after the other, however many there are.
    fn take_in(&mut self, done: JobDone) {
        if !matches!(done, JobDone::WeakDropped) && self.condition != Condition::Stunned {
            self.results.push_back(done);
        }
    }

    fn answer_user(&mut self, token: RequestToken, outcome: Outcome) {
        match self.waiting.remove(&token) {
            // A user who stopped waiting wants no answer.
            Some(Waiting::Answer { reply, .. }) => drop(reply.send(outcome)),
            Some(Waiting::Farewell(stage)) => self.said_farewell(stage, &outcome),
            Some(Waiting::Copied(_) | Waiting::Mapped(_)) | None => {}
        }
    }

    fn finish_draining(&mut self) {
        let (Intake::Draining(replies) | Intake::Closing(replies)) = &mut self.intake else {
            return;
        };
        if self.condition == Condition::Stunned || !self.parts.engine.is_quiet() || self.reviving {
            return;
        }
        for reply in replies.drain(..) {
            let _ = reply.send(());
        }
        self.intake = if matches!(self.intake, Intake::Draining(_)) {
            Intake::Drained
        } else {
            self.parts.engine.close();
            Intake::Closed
        };
    }

    fn token(&mut self, waiting: impl FnOnce(RequestToken) -> Waiting) -> RequestToken {
        self.next_token += 1;
        let token = RequestToken(self.next_token);
        self.waiting.insert(token, waiting(token));
        token
    }
}
