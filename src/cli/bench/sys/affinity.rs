//! On which processors a thread and those it starts may run.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Processors for everybody who takes part in a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cpus {
    /// One: the handler runs where the faulting threads run.
    One,
    /// All there are.
    All,
}

impl Cpus {
    /// Runs `work`, and every thread that it starts, on these processors.
    pub(crate) fn run<T>(self, work: impl FnOnce() -> T) -> io::Result<T> {
        if self == Self::All {
            return Ok(work());
        }
        let before = sched_getaffinity(None)?;
        let mut one = CpuSet::new();
        let first = (0..CpuSet::MAX_CPU).find(|&cpu| before.is_set(cpu));
        one.set(first.unwrap_or(0));
        sched_setaffinity(None, &one)?;
        let result = work();
        sched_setaffinity(None, &before)?;
        Ok(result)
    }
}
