//! Stores that say more than they did.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use actor_pager::Wait;
use actor_pager::backend::{Backend, BackendError, MemoryBackend, ReadRun, WriteError, WriteRun};

use crate::support::*;

/// Writes nothing and counts too much, so many times; reads, it says, more than it was asked for.
struct Liar {
    inner: MemoryBackend,
    lies: AtomicU64,
}

impl Liar {
    fn new(lies: u64) -> Self {
        Self {
            inner: MemoryBackend::from_bytes(&vec![7; 64 * PAGE as usize]),
            lies: AtomicU64::new(lies),
        }
    }

    fn lies(&self) -> bool {
        self.lies
            .fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1))
            .is_ok()
    }
}

fn stopped() -> BackendError {
    BackendError::Io(io::Error::other("stopped half-way"))
}

impl Backend for Liar {
    fn extent(&self) -> u64 {
        self.inner.extent()
    }

    fn read_pages(&self, run: &mut ReadRun<'_>) -> Result<(), BackendError> {
        self.inner.read_pages(run)?;
        if self.lies() {
            run.filled(u64::MAX);
            return Err(stopped());
        }
        Ok(())
    }

    fn write_pages(&self, run: &WriteRun<'_>) -> Result<(), WriteError> {
        if self.lies() {
            return Err(WriteError {
                written: run.range().len() + 5,
                source: stopped(),
            });
        }
        self.inner.write_pages(run)
    }
}

pub(crate) fn a_write_that_counts_more_than_there_was_is_not_believed(machine: &Machine) {
    let bucket = machine.bucket();
    let pager = bucket
        .create_pager(Liar::new(0), options(never_by_itself()))
        .unwrap();
    pager
        .write_at_blocking(2 * PAGE, &[9; 2 * PAGE as usize])
        .unwrap();
    pager.backend().lies.store(1, SeqCst);
    assert!(!failed(pager.sync_blocking(Wait::Yes)).is_empty());
    assert_eq!(failed(pager.sync_blocking(Wait::Yes)), []);
    assert_eq!(
        pager.backend().inner.read(2 * PAGE, 2 * PAGE as usize),
        [9; 2 * PAGE as usize]
    );
}

pub(crate) fn a_read_that_fills_more_than_there_is_stays_inside(machine: &Machine) {
    let bucket = machine.bucket();
    let pager = bucket.create_pager(Liar::new(1), options(policy())).unwrap();
    let mut bytes = vec![0; 2 * PAGE as usize];
    pager.read_at_blocking(0, &mut bytes).unwrap();
    assert_eq!(bytes, [7; 2 * PAGE as usize]);
}
