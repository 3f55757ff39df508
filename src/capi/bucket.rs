//! A bucket as C sees it: made without threads, inhibited in two ways.

use std::env;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use super::codes::{EAGAIN, EBUSY, Errno, HasErrno};
use super::table::PAGERS;
use crate::bucket::Bucket;

/// Who inhibits a bucket; it is served when neither does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inhibitor {
    /// `ports_inhibit_bucket_rpcs`.
    Rpcs,
    /// `pager_inhibit_workers`.
    Workers,
}

#[derive(Default)]
pub(super) struct CBucket {
    started: Mutex<Option<Bucket>>,
    inhibitors: Mutex<Vec<Inhibitor>>,
}

impl CBucket {
    /// The bucket with its threads, which are started the first time.
    pub(super) fn start(&self) -> Result<Bucket, Errno> {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = &*started {
            return Ok(bucket.clone());
        }
        let mut builder = Bucket::builder();
        if let Some(workers) = from_environment("ACTOR_PAGER_WORKERS") {
            builder = builder.workers(workers);
        }
        if let Some(limit) = from_environment("ACTOR_PAGER_RESIDENT_LIMIT") {
            builder = builder.resident_limit(limit);
        }
        let bucket = builder.start().map_err(|error| {
            report("pager_start_workers", &error);
            EAGAIN
        })?;
        Ok(started.insert(bucket).clone())
    }

    /// How many pagers there are.
    pub(super) fn count(self: &Arc<Self>) -> usize {
        let pagers = PAGERS.all();
        pagers.iter().filter(|pager| pager.is_in(self)).count()
    }

    pub(super) fn inhibit(&self, inhibitor: Inhibitor) -> Result<(), Errno> {
        let bucket = self.start()?;
        bucket.inner.may_block().map_err(|error| error.errno())?;
        let mut inhibitors = self.inhibitors.lock().unwrap_or_else(PoisonError::into_inner);
        if inhibitors.contains(&inhibitor) {
            return Err(EBUSY);
        }
        if inhibitors.is_empty() {
            bucket.inhibit_blocking().map_err(|error| error.errno())?;
        }
        inhibitors.push(inhibitor);
        Ok(())
    }

    pub(super) fn resume(&self, inhibitor: Inhibitor) -> Result<(), Errno> {
        let bucket = self.start()?;
        bucket.inner.may_block().map_err(|error| error.errno())?;
        let mut inhibitors = self.inhibitors.lock().unwrap_or_else(PoisonError::into_inner);
        let before = inhibitors.len();
        inhibitors.retain(|other| *other != inhibitor);
        if before > 0 && inhibitors.is_empty() {
            bucket.resume_blocking().map_err(|error| error.errno())?;
        }
        Ok(())
    }
}

/// A number that the user of the program sets; one that makes no sense is reported.
fn from_environment<T: FromStr>(name: &str) -> Option<T> {
    let text = env::var(name).ok()?;
    let number = text.parse().ok();
    if number.is_none() {
        eprintln!("actor-pager: {name}={text}: not a number; the default is used");
    }
    number
}

/// Tells the user of the program what no errno value can.
pub(super) fn report(call: &str, error: &dyn std::error::Error) {
    let mut text = format!("actor-pager: {call}: {error}");
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    eprintln!("{text}");
}
