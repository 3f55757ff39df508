//! On which processors a bucket's threads run.

use std::io;

use crate::error::PlacementError;

/// Where the arbiters and workers of a bucket run.
///
/// A thread that faults waits for the arbiter of its pager. Where that is asleep on another processor, waking it
/// and being woken by it may cost several times what the fault itself costs; so where few threads fault, and
/// they run on known processors, the bucket's threads are best put there, too. `docs/benchmarks.md` says what
/// it is worth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Placement {
    /// Wherever the thread that starts the bucket may run, as the system sees fit.
    #[default]
    Anywhere,
    /// On these processors only, numbered as the system does, from 0. Linux only.
    Cpus(Vec<usize>),
}

impl Placement {
    /// An error where threads cannot be placed like this. Leaves the calling thread where it is.
    pub(crate) fn check(&self) -> Result<(), PlacementError> {
        let Self::Cpus(cpus) = self else { return Ok(()) };
        let cpus = cpus.clone();
        // Whether a processor may be used is found out by going there.
        let tried = std::thread::Builder::new().spawn(move || {
            let tried = cpus.iter().map(|&cpu| {
                let source = run_on(&[cpu]).err();
                source.map_or(Ok(()), |source| Err(PlacementError::Cpu { cpu, source }))
            });
            match cpus.is_empty() {
                true => Err(PlacementError::None),
                false => tried.collect(),
            }
        });
        let gone = |_| Err(PlacementError::Thread(io::ErrorKind::Other.into()));
        tried.map_err(PlacementError::Thread)?.join().unwrap_or_else(gone)
    }

    /// Puts the calling thread there, and with it all threads that it starts from now on.
    pub(crate) fn apply(&self) -> io::Result<()> {
        match self {
            Self::Anywhere => Ok(()),
            Self::Cpus(cpus) => run_on(cpus),
        }
    }
}

#[cfg(target_os = "linux")]
fn run_on(cpus: &[usize]) -> io::Result<()> {
    use rustix::thread::{CpuSet, sched_setaffinity};
    let mut set = CpuSet::new();
    for &cpu in cpus {
        if cpu >= CpuSet::MAX_CPU {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        set.set(cpu);
    }
    Ok(sched_setaffinity(None, &set)?)
}

#[cfg(not(target_os = "linux"))]
fn run_on(_: &[usize]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
