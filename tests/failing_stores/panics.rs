//! Panics in the user's code, and workers that die of them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};

use actor_pager::backend::{Backend, BackendError, CallKind, Fault, ReadRun, WriteError, WriteRun};
use actor_pager::error::{CopyError, SyncError};
use actor_pager::object::{PageError, PageIndex};
use actor_pager::{EventKind, Wait};

use crate::support::*;

fn is_panic(kind: &EventKind) -> bool {
    matches!(kind, EventKind::BackendPanicked(_))
}

pub(crate) fn a_panic_on_read_is_an_error_and_no_more(machine: &Machine) {
    let bucket = machine.bucket();
    let mut events = bucket.events();
    let (pager, control) = pager(&bucket, policy());
    control.fail_next(CallKind::Read, page(0), Fault::Panic);
    let stopped = pager.read_at_blocking(0, &mut [0]).unwrap_err();
    assert!(matches!(
        stopped,
        CopyError::Page {
            error: PageError::Io,
            ..
        }
    ));
    wait_for(&mut events, is_panic);
    // The supervisor has the store made anew.
    wait_for(&mut events, |kind| *kind == EventKind::BackendRestarted);
    assert_eq!(load(&pager, 0), all(1));
}

pub(crate) fn a_panic_on_write_keeps_the_page(machine: &Machine) {
    let bucket = machine.bucket();
    let mut events = bucket.events();
    let (pager, control) = pager(&bucket, policy());
    fill(&pager, 7, 0x77);
    control.fail_next(CallKind::Write, page(7), Fault::Panic);
    assert_eq!(
        failed(pager.sync_blocking(Wait::Yes)),
        [(PageIndex(7), PageError::Io)]
    );
    wait_for(&mut events, |kind| *kind == EventKind::WritesRecovered);
    assert_eq!(stored(&pager, 7), all(0x77));
    assert_eq!(failed(pager.sync_blocking(Wait::Yes)), []);
}

pub(crate) fn a_panic_on_unlock_or_sync_is_an_answer(machine: &Machine) {
    let bucket = machine.bucket();
    let (pager, control) = pager(&bucket, policy());
    let mapping = pager
        .map_all_blocking(actor_pager::Protection::ReadWrite)
        .unwrap();
    pager
        .offer_page_blocking(PageIndex(2), &all(3).0, false, true)
        .unwrap();
    control.fail_next(CallKind::Unlock, page(2), Fault::Panic);
    mapping.write_at(2 * PAGE as usize, b"x").unwrap_err();
    mapping.write_at(2 * PAGE as usize, b"x").unwrap();
    control.fail_next(CallKind::Sync, page(0), Fault::Panic);
    let told = pager.sync_blocking(Wait::Yes);
    assert!(matches!(told, Err(SyncError::Durability(PageError::Io))));
    pager.sync_blocking(Wait::Yes).unwrap();
    assert_eq!(stored(&pager, 2).0[..2], [b'x', 3]);
}

pub(crate) fn a_panic_of_a_read_in_passing_is_told(machine: &Machine) {
    let bucket = machine.bucket();
    let mut events = bucket.events();
    let (pager, control) = pager(&bucket, policy());
    control.fail_next(CallKind::TryRead, page(4), Fault::Panic);
    // A worker reads the page instead.
    assert_eq!(load(&pager, 4), all(5));
    wait_for(&mut events, is_panic);
}

/// Panics again when it is dropped: the thread that caught the first panic dies of the second.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a panic that panics");
    }
}

/// Kills the worker that reads or writes, as often as it is told to; its extent may panic, too.
#[derive(Default)]
struct Deadly {
    reads: AtomicU64,
    writes: AtomicU64,
    extent: AtomicBool,
    stored: AtomicU64,
}

fn strikes(times: &AtomicU64) -> bool {
    times
        .fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1))
        .is_ok()
}

impl Backend for Deadly {
    fn extent(&self) -> u64 {
        assert!(!self.extent.load(SeqCst), "injected panic in extent");
        64 * PAGE
    }

    fn read_pages(&self, run: &mut ReadRun<'_>) -> Result<(), BackendError> {
        if strikes(&self.reads) {
            std::panic::panic_any(Bomb);
        }
        run.buffer().fill(0x5A);
        Ok(())
    }

    fn write_pages(&self, run: &WriteRun<'_>) -> Result<(), WriteError> {
        if strikes(&self.writes) {
            std::panic::panic_any(Bomb);
        }
        self.stored.fetch_add(run.range().len(), SeqCst);
        Ok(())
    }
}

pub(crate) fn a_worker_that_dies_is_replaced_however_often(machine: &Machine) {
    let bucket = machine.bucket();
    let mut events = bucket.events();
    let pager = bucket.create_pager(Deadly::default(), options(policy())).unwrap();
    // More often than there are workers, and than may stand in for stuck ones.
    for round in 0..100 {
        pager.backend().reads.store(1, SeqCst);
        let mut byte = [0];
        // The request whose worker died is tried once more by another.
        pager.read_at_blocking(round % 64 * PAGE, &mut byte).unwrap();
        assert_eq!(byte, [0x5A]);
        wait_for(&mut events, |kind| *kind == EventKind::WorkerDied);
        pager.return_pages_blocking(Wait::Yes).unwrap();
    }
    pager.write_at_blocking(0, b"x").unwrap();
    pager.backend().writes.store(1, SeqCst);
    let told = failed(pager.sync_blocking(Wait::Yes));
    assert_eq!(told, [(PageIndex(0), PageError::Io)]);
    failed(pager.sync_blocking(Wait::Yes));
    assert_eq!(failed(pager.sync_blocking(Wait::Yes)), []);
    assert_eq!(pager.backend().stored.load(SeqCst), 1);
}

/// Kills the worker that tells it to drop weak references, when the test says so.
struct DiesLate {
    begun: Sender<()>,
    die: Mutex<Receiver<()>>,
}

impl Backend for DiesLate {
    fn extent(&self) -> u64 {
        PAGE
    }

    fn read_pages(&self, run: &mut ReadRun<'_>) -> Result<(), BackendError> {
        run.buffer().fill(0);
        Ok(())
    }

    fn write_pages(&self, _: &WriteRun<'_>) -> Result<(), WriteError> {
        Ok(())
    }

    fn drop_weak(&self) {
        self.begun.send(()).unwrap();
        self.die.lock().unwrap().recv().unwrap();
        std::panic::panic_any(Bomb);
    }
}

pub(crate) fn a_worker_that_dies_after_its_pager_ended_is_replaced(machine: &Machine) {
    let bucket = machine.bucket();
    let (other, _control) = pager(&bucket, policy());
    // As often as there are workers.
    for round in 0..2 {
        let mut events = bucket.events();
        let (begun, begins) = channel();
        let (kill, die) = channel();
        let die = Mutex::new(die);
        let dying = bucket
            .create_pager(DiesLate { begun, die }, options(policy()))
            .unwrap();
        let weak = dying.downgrade();
        drop(dying);
        begins.recv().unwrap();
        drop(weak);
        wait_for(&mut events, |kind| *kind == EventKind::Ended);
        kill.send(()).unwrap();
        assert_eq!(load(&other, round), all(round as u8 + 1));
    }
    // Without workers nobody would ever come to it.
    let (told, tells) = channel();
    let reader = std::thread::spawn(move || told.send(load(&other, 60)));
    assert_eq!(tells.recv_timeout(LONG).expect("there is a worker"), all(61));
    reader.join().unwrap().unwrap();
}

pub(crate) fn an_extent_that_panics_does_not_stop_a_shutdown(machine: &Machine) {
    let bucket = machine.bucket();
    let pager = bucket.create_pager(Deadly::default(), options(policy())).unwrap();
    pager.write_at_blocking(0, b"x").unwrap();
    pager.backend().extent.store(true, SeqCst);
    pager.shutdown_blocking().unwrap();
    assert_eq!(pager.backend().stored.load(SeqCst), 1);
}
