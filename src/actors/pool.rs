//! The backend pool: blocking actors that call the user's store.
//!
//! The threads are actix's (`SyncArbiter`). The work goes through one queue that all workers pull
//! from: a hop then wakes a worker directly instead of passing through the arbiter that pumps a
//! `SyncArbiter`'s mailbox, and a worker that is awake takes the next job without being woken.

use std::collections::VecDeque;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use actix::{Actor, Handler, Message, SyncArbiter, SyncContext};

use super::cell::{JobAnswer, PagerCell};
use super::engine::{Job, JobReport};
use super::flight::{JobId, Launched, Ticket};
use super::local::mark_bucket_thread;
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
}

impl Work {
    pub(crate) fn new(
        Launched { id, job, ticket }: Launched,
        backend: Arc<dyn Backend>,
        page_size: PageSize,
        reply_to: Weak<PagerCell>,
    ) -> Self {
        if let Some(cell) = reply_to.upgrade() {
            cell.expects_one();
        }
        Self {
            id,
            job: Some(job),
            ticket,
            backend,
            page_size,
            reply_to,
        }
    }

    /// Calls the store, if anybody still wants it.
    ///
    /// While its pager waits for many more, a write that is done is not worth a wake-up of its own.
    fn run(mut self) {
        if !self.ticket.begin() {
            if let Some(cell) = std::mem::take(&mut self.reply_to).upgrade() {
                cell.expect_one_less();
            }
        } else if let Some(job) = self.job.take() {
            let write = matches!(job, Job::Write { .. });
            let report = job.run(&*self.backend, self.page_size);
            self.answer(Some(report), write);
            // Answered: the guard has nothing left to say.
            self.reply_to = Weak::new();
        }
    }

    fn refuse(mut self) {
        if let Some(job) = self.job.take() {
            let done = job.failed(PageError::Io);
            self.answer(Some(JobReport { done, panic: None }), false);
            self.reply_to = Weak::new();
        }
    }

    fn answer(&self, report: Option<JobReport>, patient: bool) {
        if let Some(cell) = self.reply_to.upgrade() {
            cell.answer(JobAnswer { id: self.id, report }, patient);
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.answer(None, false);
    }
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Work>,
    closed: bool,
    stand_ins: usize,
    /// How many workers are to go when they come back.
    surplus: usize,
}

/// The jobs that wait for a worker.
#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    arrived: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job; `None` when the worker is to go.
    fn next(&self) -> Option<Work> {
        let mut queue = self.lock();
        loop {
            if queue.surplus > 0 {
                queue.surplus -= 1;
                return None;
            }
            if let Some(work) = queue.waiting.pop_front() {
                return Some(work);
            }
            if queue.closed {
                return None;
            }
            queue = self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The way to the workers of a bucket; cheap to clone.
#[derive(Clone)]
pub(crate) struct BackendPool {
    shared: Arc<Shared>,
    bucket: u64,
}

impl BackendPool {
    /// Starts `workers` blocking actors. Must be called on a thread with an actix `System`.
    ///
    /// Where a thread cannot be started this panics, as `SyncArbiter` does, after the workers that
    /// were started have been told to go.
    pub(crate) fn start(workers: usize, bucket: u64) -> Self {
        let pool = Self {
            shared: Arc::default(),
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
        let mut queue = self.shared.lock();
        if queue.closed {
            drop(queue);
            return work.refuse();
        }
        queue.waiting.push_back(work);
        drop(queue);
        self.shared.arrived.notify_one();
    }

    /// Lets the workers go when the queue is empty.
    pub(crate) fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.arrived.notify_all();
    }

    /// Starts a worker in place of one that is stuck, up to a limit.
    pub(crate) fn stand_in(&self) {
        let mut queue = self.shared.lock();
        if queue.closed || queue.stand_ins >= STAND_INS {
            return;
        }
        queue.stand_ins += 1;
        drop(queue);
        if !self.add_one() {
            self.shared.lock().stand_ins -= 1;
        }
    }

    /// True if no more workers are started in place of stuck ones.
    pub(crate) fn is_exhausted(&self) -> bool {
        let queue = self.shared.lock();
        queue.closed || queue.stand_ins >= STAND_INS
    }

    /// A worker's thread is gone for good: starts another, unless one stands in for it already.
    pub(crate) fn replace_dead(&self, stood_in: bool) {
        let mut queue = self.shared.lock();
        if stood_in && queue.stand_ins > 0 {
            // Who stood in takes the place.
            queue.stand_ins -= 1;
            return;
        }
        let closed = queue.closed;
        drop(queue);
        if !closed {
            self.add_one();
        }
    }

    fn add_one(&self) -> bool {
        let added = panic::catch_unwind(AssertUnwindSafe(|| self.add_workers(1))).is_ok();
        if !added {
            tracing::error!("no thread can be started in place of a worker");
        }
        added
    }

    /// A stuck worker is back: one is too many now.
    pub(crate) fn retire_worker(&self) {
        let mut queue = self.shared.lock();
        if queue.stand_ins > 0 {
            queue.stand_ins -= 1;
            queue.surplus += 1;
            drop(queue);
            self.shared.arrived.notify_one();
        }
    }

    fn add_workers(&self, count: usize) {
        let (shared, bucket) = (self.shared.clone(), self.bucket);
        let address = SyncArbiter::start(count, move || BackendWorker {
            shared: shared.clone(),
            bucket,
        });
        for _ in 0..count {
            address.do_send(Serve);
        }
    }
}

/// One blocking actor.
struct BackendWorker {
    shared: Arc<Shared>,
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
        while let Some(work) = self.shared.next() {
            work.run();
        }
    }
}
