//! The ticket that an attempt at a job and its place in the queue share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Where an attempt is: in the queue, with a worker, or taken out of the queue again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ticket(Arc<Mutex<Stage>>);

#[derive(Clone, Copy, Debug, Default)]
enum Stage {
    #[default]
    Queued,
    Begun(Instant),
    Cancelled,
}

impl Ticket {
    fn lock(&self) -> MutexGuard<'_, Stage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker takes it; false if nobody wants it any more.
    pub(crate) fn begin(&self) -> bool {
        let mut stage = self.lock();
        let wanted = matches!(*stage, Stage::Queued);
        if wanted {
            *stage = Stage::Begun(Instant::now());
        }
        wanted
    }

    /// True if a worker has been at it for so long.
    pub(crate) fn has_taken(&self, time: Duration) -> bool {
        self.begun().is_some_and(|since| since.elapsed() >= time)
    }

    /// When a worker took it.
    pub(crate) fn begun(&self) -> Option<Instant> {
        match *self.lock() {
            Stage::Begun(at) => Some(at),
            Stage::Queued | Stage::Cancelled => None,
        }
    }

    /// Takes it out of the queue; false if a worker has it.
    pub(crate) fn cancel(&self) -> bool {
        let mut stage = self.lock();
        let queued = matches!(*stage, Stage::Queued);
        if queued {
            *stage = Stage::Cancelled;
        }
        queued
    }
}
