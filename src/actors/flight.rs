//! The calls of the store that are under way: their deadlines, second attempts and late results.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use super::engine::{Job, JobDone, JobReport};
use super::policy::FailurePolicy;
use crate::backend::PageOutcome;
use crate::object::{PageError, PageRange};

/// One attempt at a job; never used twice, so that a late result is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct JobId(pub(crate) u64);

/// What is to be done with a result.
#[derive(Debug)]
pub(crate) enum Landing {
    /// Give it to the engine.
    Deliver(JobDone),
    /// Nothing yet: the job is tried again later.
    Again,
    /// Nobody waits for it any more.
    Late(Option<PageRange>),
}

#[derive(Debug)]
struct Flying {
    /// The job without its buffer, to be tried again.
    job: Job,
    since: Instant,
    attempts: u32,
}

#[derive(Debug)]
struct Delayed {
    due: Instant,
    job: Job,
    attempts: u32,
}

/// The calls of the store that are under way.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    /// The oldest first: numbers and times of departure grow together.
    flying: BTreeMap<JobId, Flying>,
    delayed: Vec<Delayed>,
    /// Writes that were given up while their call goes on: their pages must not be written.
    stuck: HashMap<JobId, PageRange>,
    next: u64,
}

impl Flight {
    /// Notes that `job` begins; the engine's answer where it must not begin.
    pub(crate) fn launch(&mut self, job: Job, attempts: u32, now: Instant) -> Result<(JobId, Job), JobDone> {
        if let Job::Write { range, .. } = &job
            && self.stuck.values().any(|stuck| stuck.overlaps(*range))
        {
            return Err(job.failed(PageError::Io));
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
        Ok((id, job))
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
            return Landing::Late(self.stuck.remove(&id));
        };
        if read_failed(&report.done) && flying.attempts < policy.read_attempts {
            let due = now + policy.read_backoff.after(flying.attempts, id.0);
            self.delayed.push(Delayed {
                due,
                job: flying.job,
                attempts: flying.attempts,
            });
            return Landing::Again;
        }
        Landing::Deliver(report.done)
    }

    /// The attempts that have waited long enough; to be [launched](Self::launch).
    pub(crate) fn due(&mut self, now: Instant) -> Vec<(Job, u32)> {
        let due = self.delayed.extract_if(.., |delayed| delayed.due <= now);
        due.map(|delayed| (delayed.job, delayed.attempts)).collect()
    }

    /// Gives up the attempts that are overdue: their pages, and what happens instead.
    pub(crate) fn overdue(&mut self, now: Instant, policy: &FailurePolicy) -> Vec<(PageRange, Instead)> {
        let late = |flying: &Flying| now.duration_since(flying.since) >= policy.deadline;
        let oldest = self.flying.iter().take_while(|(_, flying)| late(flying));
        let ids: Vec<JobId> = oldest.map(|(id, _)| *id).collect();
        ids.into_iter()
            .filter_map(|id| self.give_up(id, policy))
            .collect()
    }

    /// The worker of an attempt died: what happens instead.
    pub(crate) fn lost(&mut self, id: JobId, policy: &FailurePolicy) -> Option<(PageRange, Instead)> {
        let instead = self.give_up(id, policy);
        // A call that died cannot come back and write.
        self.stuck.remove(&id);
        instead
    }

    fn give_up(&mut self, id: JobId, policy: &FailurePolicy) -> Option<(PageRange, Instead)> {
        let Flying { job, attempts, .. } = self.flying.remove(&id)?;
        let range = job.range();
        if let Job::Write { range, .. } = &job {
            self.stuck.insert(id, *range);
        }
        let again = matches!(job, Job::Read { .. }) && attempts < policy.read_attempts.max(2);
        let instead = if again {
            Instead::Again(job, attempts)
        } else {
            Instead::Deliver(job.failed(PageError::Io))
        };
        Some((range, instead))
    }

    /// Forgets all attempts: whoever asked for them is gone. Writes stay noted until they return.
    pub(crate) fn forget(&mut self) {
        for (id, flying) in std::mem::take(&mut self.flying) {
            if let Job::Write { range, .. } = flying.job {
                self.stuck.insert(id, range);
            }
        }
        self.delayed.clear();
    }

    /// When something is due next.
    pub(crate) fn next_due(&self, policy: &FailurePolicy) -> Option<Instant> {
        let oldest = self.flying.values().next();
        let overdue = oldest.map(|flying| flying.since + policy.deadline);
        overdue
            .into_iter()
            .chain(self.delayed.iter().map(|delayed| delayed.due))
            .min()
    }
}

/// What happens instead of an attempt that was given up.
#[derive(Debug)]
pub(crate) enum Instead {
    /// The engine gets this.
    Deliver(JobDone),
    /// It is tried again, after so many attempts.
    Again(Job, u32),
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
