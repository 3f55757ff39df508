//! The backend pool: blocking actors that call the user's store.
//!
//! The threads and the recovery from panics are actix's (`SyncArbiter`). The work itself goes
//! through one queue that all workers pull from: a hop then wakes a worker directly instead of
//! passing through the arbiter that pumps a `SyncArbiter`'s mailbox, and a worker that is awake
//! takes the next job without being woken again.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use actix::{Actor, Handler, Message, Recipient, SyncArbiter, SyncContext};

use super::engine::{Job, JobReport};
use super::local::mark_bucket_thread;
use crate::backend::Backend;
use crate::object::PageSize;

/// A job and where its result goes.
pub(crate) struct Work {
    pub(crate) job: Job,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) page_size: PageSize,
    pub(crate) reply_to: Recipient<JobAnswer>,
}

/// `PagesRead`, `PagesWritten`, …: the result of a job, with data or an error code.
pub(crate) struct JobAnswer(pub(crate) JobReport);

impl Message for JobAnswer {
    type Result = ();
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Work>,
    closed: bool,
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

    fn next(&self) -> Option<Work> {
        let mut queue = self.lock();
        loop {
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
}

impl BackendPool {
    /// Starts `workers` blocking actors. Must be called on a thread with an actix `System`.
    ///
    /// Panics where a thread cannot be started, as `SyncArbiter` does; the workers that were
    /// started before end when the pool is dropped.
    pub(crate) fn start(workers: usize, bucket: u64) -> Self {
        let pool = Self {
            shared: Arc::default(),
        };
        let closer = Closer(pool.shared.clone());
        let shared = pool.shared.clone();
        let address = SyncArbiter::start(workers, move || BackendWorker {
            shared: shared.clone(),
            bucket,
        });
        for _ in 0..workers {
            address.do_send(Serve);
        }
        std::mem::forget(closer);
        pool
    }

    /// Adds a job to the queue.
    pub(crate) fn submit(&self, work: Work) {
        let mut queue = self.shared.lock();
        if queue.closed {
            drop(queue);
            let done = work.job.failed(crate::object::PageError::Io);
            return work.reply_to.do_send(JobAnswer(JobReport { done, panic: None }));
        }
        queue.waiting.push_back(work);
        drop(queue);
        self.shared.arrived.notify_one();
    }

    /// Lets the workers end when the queue is empty.
    pub(crate) fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.arrived.notify_all();
    }
}

/// Closes the queue when the pool could not be started whole.
struct Closer(Arc<Shared>);

impl Drop for Closer {
    fn drop(&mut self) {
        BackendPool {
            shared: self.0.clone(),
        }
        .close();
    }
}

/// One blocking actor.
struct BackendWorker {
    shared: Arc<Shared>,
    bucket: u64,
}

/// Work until the pool is closed.
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
            let report = work.job.run(&*work.backend, work.page_size);
            work.reply_to.do_send(JobAnswer(report));
        }
    }
}
