//! On which processors threads run, so that the raw handler and ours run in the same places.

use std::io;
use std::sync::OnceLock;

use actor_pager::Placement;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Processors for those who answer: the raw handler and its helpers, or the bucket's threads.
///
/// A handler that the scheduler moves about costs two to three times as much from one round to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cpus {
    /// The first; faulting threads are dealt out with [`deal`].
    First,
    /// All there are.
    All,
}

impl Cpus {
    /// Runs `work`, and every thread that it starts and that does not move, on these processors.
    pub(crate) fn run<T>(self, work: impl FnOnce() -> T) -> io::Result<T> {
        let first = allowed().first().copied();
        let (Self::First, Some(first)) = (self, first) else {
            return Ok(work());
        };
        let before = sched_getaffinity(None)?;
        pin(first)?;
        let result = work();
        sched_setaffinity(None, &before)?;
        Ok(result)
    }
}

/// Where threads run that this one starts: for a bucket that this thread is about to start.
pub(crate) fn here() -> io::Result<Placement> {
    let set = sched_getaffinity(None)?;
    let cpus = (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu));
    Ok(Placement::Cpus(cpus.collect()))
}

/// Puts this thread, one of several that fault, on a processor of its own as far as there are enough.
pub(crate) fn deal(number: usize) -> io::Result<()> {
    let cpus = allowed();
    match cpus.get(number % cpus.len().max(1)) {
        Some(&cpu) => pin(cpu),
        None => Ok(()),
    }
}

fn pin(cpu: usize) -> io::Result<()> {
    let mut one = CpuSet::new();
    one.set(cpu);
    Ok(sched_setaffinity(None, &one)?)
}

/// The processors of this process, as they were when first asked for.
fn allowed() -> &'static [usize] {
    static ALLOWED: OnceLock<Vec<usize>> = OnceLock::new();
    ALLOWED.get_or_init(|| {
        let set = sched_getaffinity(None).unwrap_or_default();
        (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect()
    })
}
