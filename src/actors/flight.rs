//! The calls of the store that are under way: their deadlines, second attempts and late results.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use super::attempts::{Attempts, JobId};
use super::engine::{Job, JobDone, JobReport, Outline, ReadAgain};
use super::policy::FailurePolicy;
use crate::backend::PageOutcome;
use crate::object::{PageError, PageRange};

/// An attempt that is about to begin.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) id: JobId,
    pub(crate) job: Job,
}

/// An attempt that was given up.
#[derive(Debug)]
pub(crate) struct Overdue {
    /// The pages it is about.
    pub(crate) range: PageRange,
    /// A worker is stuck in it.
    pub(crate) stuck: Option<JobId>,
    /// The pages that it may still read in order to write them.
    pub(crate) pins: Option<PageRange>,
    /// What happens instead.
    pub(crate) instead: Instead,
}

/// What is to be done with a result.
#[derive(Debug)]
pub(crate) enum Landing {
    /// Give it to the engine.
    Deliver(JobDone),
    /// Nothing yet: the job is tried again later.
    Again,
    /// Nobody waits for it any more.
    Late(Stuck),
}

/// An attempt that was given up while its call goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stuck {
    /// The pages it is about.
    pub(crate) range: PageRange,
    /// It may still write: its pages must not be written by another call.
    writes: bool,
    /// It took too long; or else nobody is left who asked for it.
    overdue: bool,
}

impl Stuck {
    /// The pages whose memory it may still read.
    pub(crate) fn pins(self) -> Option<PageRange> {
        self.writes.then_some(self.range)
    }
}

/// What the death of a worker means.
#[derive(Debug)]
pub(crate) struct Lost {
    /// What happens instead of its attempt, where somebody waits for it.
    pub(crate) instead: Option<Instead>,
    /// The pages that were pinned for it.
    pub(crate) pinned: Option<PageRange>,
}

#[derive(Debug)]
struct Flying {
    job: Outline,
    since: Instant,
    attempts: u32,
}

#[derive(Debug)]
struct Delayed {
    due: Instant,
    read: ReadAgain,
    attempts: u32,
}

/// A read or write that waits for a write to land.
#[derive(Debug)]
struct Blocked {
    since: Instant,
    job: Job,
    attempts: u32,
}

impl Blocked {
    /// A read that may be tried more often waits once more instead.
    fn waits_on(&mut self, now: Instant, policy: &FailurePolicy) -> bool {
        let again = matches!(self.job, Job::Read { .. }) && self.attempts + 1 < policy.read_attempts;
        if again {
            (self.since, self.attempts) = (now, self.attempts + 1);
        }
        again
    }
}

/// What becomes of a job.
#[derive(Debug)]
pub(crate) enum Departure {
    /// It begins.
    Begins(Launched),
    /// It must not begin; the engine gets this.
    Refused(JobDone),
    /// It begins later.
    Waits,
}

/// The calls of the store that are under way.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    /// The oldest first: numbers and times of departure grow together.
    flying: BTreeMap<JobId, Flying>,
    delayed: Vec<Delayed>,
    blocked: Vec<Blocked>,
    stuck: HashMap<JobId, Stuck>,
    next: u64,
    /// Where they are.
    attempts: Arc<Attempts>,
    /// When it was last seen what is overdue.
    looked: Option<Instant>,
}

impl Flight {
    /// Where the attempts are, for those who make them.
    pub(crate) fn attempts(&self) -> &Arc<Attempts> {
        &self.attempts
    }

    /// How many attempts are under way that were not given up.
    pub(crate) fn flying(&self) -> usize {
        self.flying.len()
    }

    /// Notes that `job` begins, if it may.
    ///
    /// A write waits for one of the same pages that nobody wants any more but that is still under
    /// way, so that it lands last. Where that one is overdue already, it is refused instead. A read waits
    /// for such a write as long as a call may take: before, the store may have older data.
    pub(crate) fn launch(&mut self, job: Job, attempts: u32, now: Instant) -> Departure {
        match self.in_the_way(&job) {
            Some(true) if matches!(job, Job::Write { .. }) => {
                return Departure::Refused(job.failed(PageError::Io));
            }
            Some(_) => {
                self.blocked.push(Blocked {
                    since: now,
                    job,
                    attempts,
                });
                return Departure::Waits;
            }
            None => {}
        }
        self.next += 1;
        let id = JobId(self.next);
        self.flying.insert(
            id,
            Flying {
                job: job.outline(),
                since: now,
                attempts: attempts + 1,
            },
        );
        Departure::Begins(Launched { id, job })
    }

    /// Whether a call that was given up may still write pages of `job`, and whether it is overdue.
    fn in_the_way(&self, job: &Job) -> Option<bool> {
        let (Job::Write { range, .. } | Job::Read { range, .. }) = job else {
            return None;
        };
        let writes = self
            .stuck
            .values()
            .filter(|stuck| stuck.writes && stuck.range.overlaps(*range));
        writes
            .map(|stuck| stuck.overdue)
            .reduce(|one, other| one || other)
    }

    /// The reads and writes that nothing is in the way of any more; to be [launched](Self::launch).
    pub(crate) fn unblocked(&mut self) -> Vec<(Job, u32)> {
        let (waiting, free): (Vec<_>, Vec<_>) = std::mem::take(&mut self.blocked)
            .into_iter()
            .partition(|blocked| self.in_the_way(&blocked.job).is_some());
        self.blocked = waiting;
        free.into_iter()
            .map(|blocked| (blocked.job, blocked.attempts))
            .collect()
    }

    /// Takes in the result of an attempt.
    pub(crate) fn landed(
        &mut self,
        id: JobId,
        report: JobReport,
        policy: &FailurePolicy,
        now: Instant,
    ) -> Landing {
        let Some(flying) = self.flying.remove(&id) else {
            return Landing::Late(self.stuck.remove(&id).unwrap_or_default());
        };
        if read_failed(&report.done)
            && flying.attempts < policy.read_attempts
            && let Some(read) = ReadAgain::of(flying.job)
        {
            let due = now + policy.read_backoff.after(flying.attempts, id.0);
            self.delayed.push(Delayed {
                due,
                read,
                attempts: flying.attempts,
            });
            return Landing::Again;
        }
        Landing::Deliver(report.done)
    }

    /// The attempts that have waited long enough; to be [launched](Self::launch).
    pub(crate) fn due(&mut self, now: Instant) -> Vec<(ReadAgain, u32)> {
        let due = self.delayed.extract_if(.., |delayed| delayed.due <= now);
        due.map(|delayed| (delayed.read, delayed.attempts)).collect()
    }

    /// Gives up the attempts that are overdue. Time in the queue does not count, unless the pool is
    /// exhausted: then nobody may ever come to them.
    pub(crate) fn overdue(&mut self, now: Instant, policy: &FailurePolicy, exhausted: bool) -> Vec<Overdue> {
        self.looked = Some(now);
        let late = |since: Instant| now.duration_since(since) >= policy.deadline;
        let stuck = |id: JobId| self.attempts.begun(id).map_or(exhausted, late);
        let oldest = self.flying.iter().take_while(|(_, flying)| late(flying.since));
        let ids: Vec<JobId> = oldest.map(|(id, _)| *id).filter(|id| stuck(*id)).collect();
        let flying = ids.into_iter().filter_map(|id| self.give_up(id, policy));
        let mut overdue: Vec<Overdue> = flying.collect();
        let blocked = self.blocked.extract_if(.., |blocked| {
            late(blocked.since) && !blocked.waits_on(now, policy)
        });
        overdue.extend(blocked.map(|blocked| Overdue {
            range: blocked.job.outline().range(),
            stuck: None,
            pins: None,
            instead: Instead::Deliver(blocked.job.failed(PageError::Io)),
        }));
        overdue
    }

    /// The worker of an attempt died.
    pub(crate) fn lost(&mut self, id: JobId, policy: &FailurePolicy) -> Lost {
        // A call that died cannot come back and write.
        if let Some(stuck) = self.stuck.remove(&id) {
            return Lost {
                instead: None,
                pinned: stuck.pins(),
            };
        }
        let instead = self.give_up(id, policy).map(|overdue| overdue.instead);
        self.stuck.remove(&id);
        Lost {
            instead,
            pinned: None,
        }
    }

    fn give_up(&mut self, id: JobId, policy: &FailurePolicy) -> Option<Overdue> {
        let Flying { job, attempts, .. } = self.flying.remove(&id)?;
        let range = job.range();
        let occupies_worker = !self.attempts.cancel(id);
        let stuck = stuck(job, true);
        if occupies_worker {
            self.stuck.insert(id, stuck);
        }
        // A call that hangs is always tried once more: by another worker.
        let most = policy.read_attempts.max(if occupies_worker { 2 } else { 1 });
        let instead = match ReadAgain::of(job).filter(|_| attempts < most) {
            Some(read) => Instead::Again(read, attempts),
            None => Instead::Deliver(job.failed(PageError::Io)),
        };
        Some(Overdue {
            range,
            stuck: occupies_worker.then_some(id),
            pins: stuck.pins().filter(|_| occupies_worker),
            instead,
        })
    }

    /// Forgets all attempts: whoever asked for them is gone. Writes stay noted until they return; the pages
    /// that they may still read are to be pinned.
    pub(crate) fn forget(&mut self) -> Vec<PageRange> {
        let mut pins = Vec::new();
        for (id, flying) in std::mem::take(&mut self.flying) {
            if !self.attempts.cancel(id) {
                let stuck = stuck(flying.job, false);
                pins.extend(stuck.pins());
                self.stuck.insert(id, stuck);
            }
        }
        self.delayed.clear();
        self.blocked.clear();
        pins
    }

    /// When something is due next.
    pub(crate) fn next_due(&self, policy: &FailurePolicy) -> Option<Instant> {
        let oldest = self.flying.values().next();
        // What is old and not overdue waits in the queue: it is looked at again and again.
        let again = self.looked.map(|looked| looked + policy.deadline / 8);
        let overdue = oldest.map(|flying| {
            let due = flying.since + policy.deadline;
            again.map_or(due, |again| due.max(again))
        });
        overdue
            .into_iter()
            .chain(self.delayed.iter().map(|delayed| delayed.due))
            .chain(self.blocked.iter().map(|blocked| blocked.since + policy.deadline))
            .min()
    }
}

fn stuck(job: Outline, overdue: bool) -> Stuck {
    Stuck {
        range: job.range(),
        writes: matches!(job, Outline::Write { .. }),
        overdue,
    }
}

/// What happens instead of an attempt that was given up.
#[derive(Debug)]
pub(crate) enum Instead {
    /// The engine gets this.
    Deliver(JobDone),
    /// It is tried again, after so many attempts.
    Again(ReadAgain, u32),
}

fn read_failed(done: &JobDone) -> bool {
    match done {
        JobDone::PagesRead { outcomes, .. } => outcomes
            .iter()
            .any(|outcome| matches!(outcome, PageOutcome::Failed(_))),
        JobDone::PagesWritten { .. }
        | JobDone::PagesUnlocked { .. }
        | JobDone::EvictNotified
        | JobDone::Synced { .. }
        | JobDone::Restarted { .. }
        | JobDone::WeakDropped
        | JobDone::UserDataCleared => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::backend::PageBuffer;
    use crate::object::{OpId, PageIndex, PageSize, Prot};

    fn policy(read_attempts: u32) -> FailurePolicy {
        FailurePolicy {
            read_attempts,
            deadline: Duration::from_secs(1),
            ..FailurePolicy::default()
        }
    }

    fn read() -> Job {
        Job::Read {
            op: OpId(1),
            range: PageRange::single(PageIndex(3)),
            access: Prot::READ,
            buffer: PageBuffer::zeroed(4096),
        }
    }

    /// Whether a read that nobody comes to is tried again, second by second.
    fn tries(policy: &FailurePolicy, rounds: u32) -> Vec<bool> {
        let (mut flight, mut now) = (Flight::default(), Instant::now());
        let (mut job, mut attempts) = (read(), 0);
        let mut tries = Vec::new();
        for _ in 0..rounds {
            assert!(matches!(flight.launch(job, attempts, now), Departure::Begins(_)));
            now += policy.deadline;
            match flight
                .overdue(now, policy, true)
                .pop()
                .map(|overdue| overdue.instead)
            {
                Some(Instead::Again(again, before)) => {
                    (job, attempts) = (again.job(PageSize::KIB_4), before);
                }
                Some(Instead::Deliver(_)) | None => return tries,
            }
            tries.push(true);
        }
        tries
    }

    #[test]
    fn a_read_that_no_worker_comes_to_is_tried_as_often_as_the_policy_says() {
        assert_eq!(tries(&policy(1), 5).len(), 0);
        assert_eq!(tries(&policy(3), 5).len(), 2);
        assert_eq!(tries(&policy(u32::MAX), 100).len(), 100);
    }

    /// After how many deadlines a read behind a write that hangs is answered.
    fn patience(policy: &FailurePolicy, rounds: u32) -> Option<u32> {
        let (mut flight, mut now) = (Flight::default(), Instant::now());
        let (range, writes) = (PageRange::single(PageIndex(3)), true);
        let overdue = true;
        let stuck = Stuck {
            range,
            writes,
            overdue,
        };
        flight.stuck.insert(JobId(7), stuck);
        assert!(matches!(flight.launch(read(), 0, now), Departure::Waits));
        (1..=rounds).find(|_| {
            now += policy.deadline;
            assert!(flight.next_due(policy).is_some_and(|due| due <= now));
            !flight.overdue(now, policy, false).is_empty()
        })
    }

    #[test]
    fn a_read_waits_behind_a_write_that_hangs_as_often_as_the_policy_says() {
        assert_eq!(patience(&policy(1), 5), Some(1));
        assert_eq!(patience(&policy(3), 5), Some(3));
        assert_eq!(patience(&policy(u32::MAX), 100), None);
    }
}
