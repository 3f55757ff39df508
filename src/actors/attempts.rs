//! Where the calls of a pager's store are, as its workers and the pager both see it.
//!
//! All attempts of a pager stand in one place: memory of its own for each would travel between the
//! processors with every one of them.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// One attempt at a job; never used twice, so that a late result is recognised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct JobId(pub(crate) u64);

/// The attempts of one pager: in the queue, with a worker, done, or taken out of the queue again.
#[derive(Debug, Default)]
pub(crate) struct Attempts(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The newest that a worker has taken: what is newer is in the queue.
    newest: JobId,
    /// Older ones that are in the queue all the same. Few, as workers take the oldest first.
    passed: Vec<JobId>,
    cancelled: HashSet<JobId>,
    begun: Vec<Begun>,
}

/// An attempt that a worker is at.
#[derive(Debug)]
struct Begun {
    id: JobId,
    since: Instant,
    /// Its worker is stuck in it, and another was started in the worker's place.
    stood_in: bool,
}

impl Attempts {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker takes one; false if nobody wants it any more.
    pub(crate) fn begin(&self, id: JobId, since: Instant) -> bool {
        let mut state = self.lock();
        state.pass(id);
        let wanted = state.cancelled.is_empty() || !state.cancelled.remove(&id);
        if wanted {
            state.begun.push(Begun {
                id,
                since,
                stood_in: false,
            });
        }
        wanted
    }

    /// Since when a worker is at it that nobody stands in for.
    pub(super) fn begun(&self, id: JobId) -> Option<Instant> {
        let state = self.lock();
        let begun = state.begun.iter().find(|begun| begun.id == id);
        begun.filter(|begun| !begun.stood_in).map(|begun| begun.since)
    }

    /// Another worker was started in place of the one that is stuck in it; false if that one is not any
    /// more.
    pub(crate) fn stood_in(&self, id: JobId) -> bool {
        let mut state = self.lock();
        let stuck = state.begun.iter_mut().find(|begun| begun.id == id);
        stuck.is_some_and(|begun| !std::mem::replace(&mut begun.stood_in, true))
    }

    /// The worker is done with it, or dies of it; true if another was started in its place.
    pub(crate) fn end(&self, id: JobId) -> bool {
        let mut state = self.lock();
        let at = state.begun.iter().position(|begun| begun.id == id);
        at.is_some_and(|at| state.begun.swap_remove(at).stood_in)
    }

    /// Takes it out of the queue; false if a worker has it, or is done with it.
    pub(super) fn cancel(&self, id: JobId) -> bool {
        let mut state = self.lock();
        let queued = id > state.newest || state.passed.contains(&id);
        queued && state.cancelled.insert(id)
    }
}

impl State {
    /// From now on the attempt is not in the queue any more.
    fn pass(&mut self, id: JobId) {
        if id > self.newest {
            self.passed.extend((self.newest.0 + 1..id.0).map(JobId));
            self.newest = id;
        } else if let Some(at) = self.passed.iter().position(|&passed| passed == id) {
            self.passed.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_newer_one_overtook_can_still_be_cancelled() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        assert!(attempts.begin(JobId(3), now));
        assert!(attempts.begin(JobId(1), now));
        assert!(attempts.cancel(JobId(2)) && !attempts.cancel(JobId(1)) && !attempts.cancel(JobId(3)));
        assert!(!attempts.begin(JobId(2), now), "it was taken out of the queue");
        assert!(attempts.cancel(JobId(4)), "nobody has come to it yet");
        assert!(!attempts.cancel(JobId(4)), "once is enough");
    }

    #[test]
    fn a_worker_that_is_stuck_is_replaced_once() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        assert!(attempts.begin(JobId(1), now));
        assert_eq!(attempts.begun(JobId(1)), Some(now));
        assert!(attempts.stood_in(JobId(1)) && !attempts.stood_in(JobId(1)));
        assert_eq!(
            attempts.begun(JobId(1)),
            None,
            "nobody waits for it a second time"
        );
        assert!(attempts.end(JobId(1)));
        assert!(!attempts.stood_in(JobId(1)), "it is back");
        assert!(!attempts.cancel(JobId(1)), "it is done");
    }
}
