//! Calls with an answer, and what the answers mean to the caller.

use std::ops::Range;

use super::Wait;
use crate::actors::Request;
use crate::actors::engine::{Copied, Outcome};
use crate::error::{CallError, CopyError, SyncError};
use crate::mach::RawMapping;
use crate::object::{Answer, LockKind, Prot};
use crate::port::PagerCore;

impl PagerCore {
    pub(super) async fn lock(&self, kind: LockKind, range: Range<u64>, wait: Wait) -> Result<(), SyncError> {
        self.inside(range.clone())?;
        let (offset, length) = (range.start, range.end - range.start);
        let wait = wait == Wait::Yes;
        match self
            .ask(|reply| Request::Lock {
                kind,
                offset,
                length,
                wait,
                reply,
            })
            .await?
        {
            Outcome::Answer(Answer::Failed(pages)) => Err(SyncError::Pages(pages)),
            Outcome::Answer(answer) => Ok(done(answer)?),
            Outcome::NotDurable(error) => Err(SyncError::Durability(error)),
            Outcome::Unsaved(_) => Err(CallError::ShutDown.into()),
        }
    }

    pub(crate) async fn read_at(
        &self,
        offset: u64,
        into: &mut [u8],
        of: Option<RawMapping>,
    ) -> Result<(), CopyError> {
        let copied = self.copy(offset, vec![0; into.len()], Prot::READ, of).await?;
        into[..copied.copied].copy_from_slice(&copied.buffer[..copied.copied]);
        outcome(&copied)
    }

    pub(crate) async fn write_at(
        &self,
        offset: u64,
        from: &[u8],
        of: Option<RawMapping>,
    ) -> Result<(), CopyError> {
        outcome(&self.copy(offset, from.to_vec(), Prot::READ_WRITE, of).await?)
    }
}

pub(super) fn outcome(copied: &Copied) -> Result<(), CopyError> {
    match copied.failure {
        None => Ok(()),
        Some((page, error)) => Err(CopyError::Page {
            copied: copied.copied,
            page,
            error,
        }),
    }
}

/// The answer to a call that has no pages to report.
pub(super) fn done(answer: Answer) -> Result<(), CallError> {
    match answer {
        Answer::Done | Answer::Failed(_) => Ok(()),
        Answer::ShutDown => Err(CallError::ShutDown),
        Answer::Rejected(refusal) => Err(CallError::Refused(refusal)),
    }
}

/// The same, of a call that writes nothing.
pub(super) fn simply_done(outcome: Outcome) -> Result<(), CallError> {
    match outcome {
        Outcome::Answer(answer) => done(answer),
        Outcome::NotDurable(_) | Outcome::Unsaved(_) => Ok(()),
    }
}
