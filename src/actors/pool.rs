//! The backend pool: blocking actors that call the user's store.
//!
//! The threads are actix's (`SyncArbiter`). The work goes through one queue that all workers pull
//! from: a hop then wakes a worker directly instead of passing through the arbiter that pumps a
//! `SyncArbiter`'s mailbox, and a worker that is awake takes the next job without being woken.

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Weak};

use actix::{Actor, Handler, Message, SyncArbiter, SyncContext, System};

use super::cell::{JobAnswer, Notice, PagerCell};
use super::engine::{Job, JobReport};
use super::flight::{JobId, Launched};
use super::line::{Line, QUICK};
use super::local::mark_bucket_thread;
use super::ticket::Ticket;
use crate::backend::Backend;
use crate::object::{PageError, PageSize};

/// How many workers may stand in for stuck ones at the same time.
const STAND_INS: usize = 64;

/// A job and where its result goes. Dropped without a result, it says that its worker died.
pub(crate) struct Work {
    id: JobId,
    job: Option<Job>,
    ticket: Ticket,
    backend: Arc<dyn Backend>,
    page_size: PageSize,
    reply_to: Weak<PagerCell>,
    answered: bool,
    /// Where a worker is missing should this one die, or one too many should this one come back late.
    pool: BackendPool,
}

impl Work {
    pub(crate) fn new(
        Launched { id, job, ticket }: Launched,
        backend: Arc<dyn Backend>,
        page_size: PageSize,
        reply_to: Weak<PagerCell>,
        pool: BackendPool,
    ) -> Self {
        if let Some(cell) = reply_to.upgrade() {
            cell.begins_one();
        }
        Self {
            id,
            job: Some(job),
            ticket,
            backend,
            page_size,
            reply_to,
            answered: false,
            pool,
        }
    }

    /// Calls the store, if anybody still wants it.
    ///
    /// While its pager waits for many more, a write that is done is not worth a wake-up of its own.
    fn run(mut self) {
        if !self.ticket.begin() {
            self.reply_to = Weak::new();
        } else if let Some(job) = self.job.take() {
            let write = matches!(job, Job::Write { .. });
            let report = job.run(&*self.backend, self.page_size);
            self.answered = true;
            let notice = match write {
                false => Notice::Now,
                true if self.ticket.has_taken(QUICK) => Notice::WithOthers,
                true => Notice::WithOthersSoon,
            };
            // Before anybody hears of it, whether or not its pager is still there.
            if self.ticket.end() {
                self.pool.line.retire_worker();
            }
            self.answer(Some(report), notice);
        }
    }

    fn refuse(mut self) {
        if let Some(job) = self.job.take() {
            let done = job.failed(PageError::Io);
            self.answered = true;
            self.answer(Some(JobReport { done, panic: None }), Notice::Now);
        }
    }

    pub(crate) fn is_write(&self) -> bool {
        matches!(self.job, Some(Job::Write { .. }))
    }

    /// Nobody takes the answer if the pager is over.
    fn answer(&self, report: Option<JobReport>, notice: Notice) {
        if let Some(cell) = self.reply_to.upgrade() {
            cell.answer(JobAnswer { id: self.id, report }, notice);
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        // A job that was taken and not answered: its worker is dying.
        if self.job.is_none() {
            self.pool.replace_dead(self.ticket.end());
        }
        self.answer(None, Notice::Now);
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
        let urgent = !work.is_write();
        if let Err(refused) = self.line.add(work, urgent) {
            refused.refuse();
        }
    }

    /// Adds writes to the queue, in order.
    pub(crate) fn submit_all(&self, writes: &mut Vec<Work>) {
        if writes.is_empty() {
            return;
        }
        self.line.add_all(writes);
        // What is left is refused.
        writes.drain(..).for_each(Work::refuse);
    }

    /// Lets the workers go when the queue is empty.
    pub(crate) fn close(&self) {
        self.line.close();
    }

    /// Starts a worker in place of one that is stuck, up to a limit.
    pub(crate) fn stand_in(&self, stuck: &Ticket) {
        if !self.line.stand_in(STAND_INS) {
        } else if !self.add_one() {
            self.line.no_stand_in();
        } else if !stuck.stood_in() {
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
        while let Some((work, done)) = next {
            work.run();
            next = self.line.next(done);
        }
    }
}
