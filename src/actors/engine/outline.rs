//! What jobs are about: all that must be known of one while a worker has it.

use super::{Job, JobDone};
use crate::backend::{PageBuffer, PageOutcome};
use crate::object::{OpId, PageError, PageRange, PageSize, Prot, RequestToken};

/// What a job is about, without the memory that it takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outline {
    Read {
        op: OpId,
        range: PageRange,
        access: Prot,
    },
    Write {
        op: OpId,
        range: PageRange,
    },
    Unlock {
        op: OpId,
        range: PageRange,
    },
    NotifyEvict {
        range: PageRange,
    },
    Sync {
        token: RequestToken,
    },
    Restart,
    DropWeak,
    ClearUserData,
}

impl Outline {
    /// The pages the job is about; none for one that is about the whole store.
    pub(crate) fn range(self) -> PageRange {
        match self {
            Self::Read { range, .. } | Self::Write { range, .. } => range,
            Self::Unlock { range, .. } | Self::NotifyEvict { range } => range,
            Self::Sync { .. } | Self::Restart | Self::DropWeak | Self::ClearUserData => PageRange::default(),
        }
    }

    /// The answer that stands in for the result of a job that will never end, or was never begun.
    pub(crate) fn failed(self, error: PageError) -> JobDone {
        match self {
            Self::Read { op, range, .. } => {
                let outcomes = vec![PageOutcome::Failed(error); range.len() as usize];
                JobDone::PagesRead {
                    op,
                    range,
                    buffer: PageBuffer::zeroed(0),
                    outcomes,
                }
            }
            Self::Write { op, .. } => JobDone::PagesWritten {
                op,
                written: 0,
                error: Some(error),
            },
            Self::Unlock { op, .. } => JobDone::PagesUnlocked {
                op,
                result: Err(error),
            },
            Self::NotifyEvict { .. } => JobDone::EvictNotified,
            Self::Restart => JobDone::Restarted { result: Err(error) },
            Self::DropWeak => JobDone::WeakDropped,
            Self::ClearUserData => JobDone::UserDataCleared,
            Self::Sync { token } => JobDone::Synced {
                token,
                result: Err(error),
            },
        }
    }
}

/// A read that can be tried again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadAgain {
    op: OpId,
    range: PageRange,
    access: Prot,
}

impl ReadAgain {
    /// None where the job is no read.
    pub(crate) fn of(outline: Outline) -> Option<Self> {
        if let Outline::Read { op, range, access } = outline {
            Some(Self { op, range, access })
        } else {
            None
        }
    }

    /// The job, with a buffer of its own.
    pub(crate) fn job(self, page_size: PageSize) -> Job {
        let Self { op, range, access } = self;
        let buffer = PageBuffer::zeroed(range.bytes(page_size) as usize);
        Job::Read {
            op,
            range,
            access,
            buffer,
        }
    }
}
