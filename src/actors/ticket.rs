//! Where one call of a store is, as its worker and its pager both see it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Where an attempt is: in the queue, with a worker, done, or taken out of the queue again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ticket(Arc<Mutex<Stage>>);

#[derive(Clone, Copy, Debug, Default)]
enum Stage {
    #[default]
    Queued,
    Begun(Instant),
    /// Its worker is stuck in it, and another was started in the worker's place.
    StoodIn,
    /// Its worker is done with it, or dead.
    Over,
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
        match *self.lock() {
            Stage::Begun(since) => since.elapsed() >= time,
            Stage::StoodIn => true,
            Stage::Queued | Stage::Over | Stage::Cancelled => false,
        }
    }

    /// Since when a worker is at it that nobody stands in for.
    pub(super) fn begun(&self) -> Option<Instant> {
        match *self.lock() {
            Stage::Begun(at) => Some(at),
            Stage::Queued | Stage::StoodIn | Stage::Over | Stage::Cancelled => None,
        }
    }

    /// Another worker was started in place of the one that is stuck in it; false if that one is not any
    /// more.
    pub(crate) fn stood_in(&self) -> bool {
        let mut stage = self.lock();
        let stuck = matches!(*stage, Stage::Begun(_));
        if stuck {
            *stage = Stage::StoodIn;
        }
        stuck
    }

    /// The worker is done with it, or dies of it; true if another was started in its place.
    pub(crate) fn end(&self) -> bool {
        matches!(std::mem::replace(&mut *self.lock(), Stage::Over), Stage::StoodIn)
    }

    /// Takes it out of the queue; false if a worker has it.
    pub(super) fn cancel(&self) -> bool {
        let mut stage = self.lock();
        let queued = matches!(*stage, Stage::Queued);
        if queued {
            *stage = Stage::Cancelled;
        }
        queued
    }
}
