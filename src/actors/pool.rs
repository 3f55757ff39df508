//! The backend pool: blocking actors that call the user's store.
//!
//! The threads are actix's (`SyncArbiter`). The work goes through one queue that all workers pull
//! from: a hop then wakes a worker directly instead of passing through the arbiter that pumps a
//! `SyncArbiter`'s mailbox, and a worker that is awake takes the next job without being woken.

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Weak};
use std::time::Instant;

use actix::{Actor, Handler, Message, SyncArbiter, SyncContext, System};

use super::attempts::{Attempts, JobId};
use super::cell::{JobAnswer, Notice, PagerCell};
use super::engine::{Job, JobReport};
use super::flight::Launched;
use super::line::{Line, QUICK};
use super::local::mark_bucket_thread;
use crate::backend::Backend;
use crate::object::{PageError, PageSize};

/// How many workers may stand in for stuck ones at the same time.
const STAND_INS: usize = 64;

/// What all jobs of a pager have in common: whom to ask, and where results go.
pub(crate) struct Client {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) page_size: PageSize,
    pub(crate) attempts: Arc<Attempts>,
    pub(crate) reply_to: Weak<PagerCell>,
    /// Where a worker is missing should one die, or one too many should one come back late.
    pub(crate) pool: BackendPool,
}

impl Client {
    /// The pager is to wait for the results of so many jobs more.
    fn begins(&self, jobs: usize) {
        if let Some(cell) = self.reply_to.upgrade() {
            cell.begins(jobs);
        }
    }
}

/// A job and where its result goes. Dropped without a result, it says that its worker died.
///
/// It goes back with its result: what it holds is let go on the processor where it was taken hold of.
pub(crate) struct Work {
    id: JobId,
    job: Job,
    client: Arc<Client>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Queued,
    Begun,
    /// There is a result, or nobody wants one.
    Over,
}

impl Work {
    pub(crate) fn new(Launched { id, job }: Launched, client: Arc<Client>) -> Self {
        Self {
            id,
            job,
            client,
            stage: Stage::Queued,
        }
    }

    /// Calls the store, if anybody still wants it; says when that was done.
    ///
    /// While its pager waits for many more, a write that is done is not worth a wake-up of its own.
    fn run(mut self, since: Instant) -> Instant {
        let client = &*self.client;
        if !client.attempts.begin(self.id, since) {
            self.stage = Stage::Over;
            return since;
        }
        self.stage = Stage::Begun;
        let report = self.job.run(&*client.backend, client.page_size);
        let end = Instant::now();
        let notice = match self.is_write() {
            false => Notice::Now,
            true if end.saturating_duration_since(since) >= QUICK => Notice::WithOthers,
            true => Notice::WithOthersSoon,
        };
        // Before anybody hears of it, whether or not its pager is still there.
        if client.attempts.end(self.id) {
            client.pool.line.retire_worker();
        }
        self.answer(report, notice);
        end
    }

    fn refuse(self) {
        let done = self.job.failed(PageError::Io);
        self.answer(JobReport { done, panic: None }, Notice::Now);
    }

    pub(crate) fn id(&self) -> JobId {
        self.id
    }

    pub(crate) fn is_write(&self) -> bool {
        matches!(self.job, Job::Write { .. })
    }

    /// Nobody takes the answer if the pager is over.
    fn answer(mut self, report: JobReport, notice: Notice) {
        self.stage = Stage::Over;
        if let Some(cell) = self.client.reply_to.upgrade() {
            cell.answer(JobAnswer::of(self, report), notice);
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if self.stage == Stage::Over {
            return;
        }
        let client = &*self.client;
        // A job that was begun and not answered: its worker is dying.
        if self.stage == Stage::Begun {
            client.pool.replace_dead(client.attempts.end(self.id));
        }
        if let Some(cell) = client.reply_to.upgrade() {
            cell.answer(JobAnswer::none(self.id), Notice::Now);
        }
    }
}

/// The way to the workers of a bucket; cheap to clone.
#[derive(Clone)]
pub(crate) struct BackendPool {
    line: Arc<Line<Work>>,
    bucket: u64,
}

impl BackendPool {
    /// Starts `workers` blocking actors. Must be called on a thread with an actix `System`.
    ///
    /// Where a thread cannot be started this panics, as `SyncArbiter` does, after the workers that
    /// were started have been told to go.
    pub(crate) fn start(workers: usize, bucket: u64) -> Self {
        let pool = Self {
            line: Arc::default(),
            bucket,
        };
        let started = panic::catch_unwind(AssertUnwindSafe(|| pool.add_workers(workers)));
        if let Err(payload) = started {
            pool.close();
            panic::resume_unwind(payload);
        }
        pool
    }

    /// Adds a job to the queue.
    pub(crate) fn submit(&self, work: Work) {
        work.client.begins(1);
        let urgent = !work.is_write();
        if let Err(refused) = self.line.add(work, urgent) {
            refused.refuse();
        }
    }

    /// Adds writes of one pager to the queue, in order.
    pub(crate) fn submit_all(&self, writes: &mut Vec<Work>) {
        let Some(first) = writes.first() else { return };
        first.client.begins(writes.len());
        self.line.add_all(writes);
        // What is left is refused.
        writes.drain(..).for_each(Work::refuse);
    }

    /// Lets the workers go when the queue is empty.
    pub(crate) fn close(&self) {
        self.line.close();
    }

    /// Starts a worker in place of one that is stuck, up to a limit. `note` notes it with the call that one is
    /// stuck in; false if it is not any more.
    pub(crate) fn stand_in(&self, note: impl FnOnce() -> bool) {
        if !self.line.stand_in(STAND_INS) {
        } else if !self.add_one() {
            self.line.no_stand_in();
        } else if !note() {
            // It came back meanwhile.
            self.line.retire_worker();
        }
    }

    /// True if no more workers are started in place of stuck ones.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.line.is_exhausted(STAND_INS)
    }

    /// A worker's thread is gone for good: starts another, unless one stands in for it already.
    fn replace_dead(&self, stood_in: bool) {
        if self.line.lost_worker(stood_in) {
            let pool = self.clone();
            // The dying thread itself is not to be relied on.
            let system = System::try_current();
            if let Some(system) = system {
                system.arbiter().spawn_fn(move || {
                    pool.add_one();
                });
            }
        }
    }

    fn add_one(&self) -> bool {
        let added = panic::catch_unwind(AssertUnwindSafe(|| self.add_workers(1))).is_ok();
        if !added {
            tracing::error!("no thread can be started in place of a worker");
        }
        added
    }

    fn add_workers(&self, count: usize) {
        let (line, bucket) = (self.line.clone(), self.bucket);
        let address = SyncArbiter::start(count, move || BackendWorker {
            line: line.clone(),
            bucket,
        });
        for _ in 0..count {
            address.do_send(Serve);
        }
    }
}

/// One blocking actor.
struct BackendWorker {
    line: Arc<Line<Work>>,
    bucket: u64,
}

/// Work until there is none for this worker any more.
struct Serve;

impl Message for Serve {
    type Result = ();
}

impl Actor for BackendWorker {
    type Context = SyncContext<Self>;
}

impl Handler<Serve> for BackendWorker {
    type Result = ();

    fn handle(&mut self, _: Serve, _: &mut Self::Context) {
        mark_bucket_thread(self.bucket);
        let mut next = self.line.first();
        while let Some((work, taken)) = next {
            let end = work.run(taken.since());
            next = self.line.next(taken, end);
        }
    }
}
