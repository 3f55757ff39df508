//! Calls of the store that never return.

use std::thread;
use std::time::Duration;

use actor_pager::backend::{CallKind, Fault, FaultControl, FaultyBackend, MemoryBackend};
use actor_pager::error::{CopyError, ShutdownError, SyncError};
use actor_pager::object::{PageError, PageIndex};
use actor_pager::{Bucket, EventKind, FailurePolicy, Pager, Wait};

use crate::support::*;

fn impatient() -> FailurePolicy {
    FailurePolicy {
        deadline: Duration::from_millis(500),
        ..policy()
    }
}

pub(crate) fn a_read_that_never_returns_is_served_by_another_worker(machine: &Machine) {
    let bucket = machine.builder().workers(1).start().unwrap();
    let mut events = bucket.events();
    let (pager, control) = pager(&bucket, impatient());
    control.fail_next(CallKind::Read, page(6), Fault::Hang);
    assert_eq!(load(&pager, 6), all(7));
    wait_for(&mut events, |kind| matches!(kind, EventKind::Overdue { .. }));
    fill(&pager, 6, 0x66);
    control.release_hangs();
    wait_for(
        &mut events,
        |kind| matches!(kind, EventKind::LateResult { range } if range.contains(PageIndex(6))),
    );
    // What the store said late is not believed any more.
    assert_eq!(load(&pager, 6), all(0x66));
    assert_eq!(load(&pager, 20), all(21));
}

pub(crate) fn reads_that_hang_again_and_again_are_an_error(machine: &Machine) {
    let bucket = machine.bucket();
    let (pager, control) = pager(&bucket, impatient());
    control.fail(CallKind::Read, page(6), Fault::Hang);
    let stopped = pager.read_at_blocking(6 * PAGE, &mut [0]).unwrap_err();
    assert!(matches!(
        stopped,
        CopyError::Page {
            error: PageError::Io,
            ..
        }
    ));
    control.heal_all();
    assert_eq!(load(&pager, 6), all(7));
    control.release_hangs();
}

pub(crate) fn a_write_that_is_done_is_not_taken_for_one_of_those_that_hang(machine: &Machine) {
    // So many that the result of the last would rather come with theirs.
    const HANGING: u64 = 70;
    let bucket = machine.builder().workers(HANGING as usize + 2).start().unwrap();
    let memory = MemoryBackend::new((2 * HANGING + 1) * PAGE);
    let (store, control) = FaultyBackend::new(memory, 1);
    let pager = bucket.create_pager(store, options(impatient())).unwrap();
    let hanging = (0..HANGING).map(|number| 2 * number);
    for number in hanging.clone() {
        fill(&pager, number, 0xA1);
        control.fail_next(CallKind::Write, page(number), Fault::Hang);
    }
    fill(&pager, 2 * HANGING, 0xA2);
    let hung: Vec<_> = hanging.map(|number| (PageIndex(number), PageError::Io)).collect();
    assert_eq!(failed(pager.sync_blocking(Wait::Yes)), hung);
    assert_eq!(stored(&pager, 2 * HANGING), all(0xA2));
    control.release_hangs();
}

pub(crate) fn a_late_write_never_overwrites_newer_data(machine: &Machine) {
    let bucket = machine.bucket();
    let mut events = bucket.events();
    let (pager, control) = pager(&bucket, impatient());
    fill(&pager, 1, 0xA1);
    control.fail_next(CallKind::Write, page(1), Fault::Hang);
    assert_eq!(
        failed(pager.sync_blocking(Wait::Yes)),
        [(PageIndex(1), PageError::Io)]
    );
    assert!(control.wait_hanging(1, LONG));
    // Newer bytes, while the old ones are still under way: they wait for them.
    fill(&pager, 1, 0xB2);
    failed(pager.sync_blocking(Wait::Yes));
    assert_eq!(stored(&pager, 1), all(2));
    assert_eq!(load(&pager, 1), all(0xB2));
    control.release_hangs();
    wait_for(&mut events, |kind| *kind == EventKind::WritesRecovered);
    assert_eq!(stored(&pager, 1), all(0xB2));
    failed(pager.sync_blocking(Wait::Yes));
    assert_eq!(failed(pager.sync_blocking(Wait::Yes)), []);
}

/// A pager with a write of page 1 that hangs, its pages unsaved.
fn hanging_write(bucket: &Bucket) -> (Pager<Store>, FaultControl) {
    let once = FailurePolicy {
        deadline: Duration::from_millis(500),
        ..never_by_itself()
    };
    let (pager, control) = pager(bucket, once);
    fill(&pager, 1, 0xA1);
    control.fail_next(CallKind::Write, page(1), Fault::Hang);
    assert_eq!(
        failed(pager.sync_blocking(Wait::Yes)),
        [(PageIndex(1), PageError::Io)]
    );
    assert!(control.wait_hanging(1, LONG));
    (pager, control)
}

fn is_late(kind: &EventKind) -> bool {
    matches!(kind, EventKind::LateResult { .. })
}

pub(crate) fn a_late_write_of_flushed_pages_stores_what_it_was_given(machine: &Machine) {
    let bucket = machine.bucket();
    let mut events = bucket.events();
    let (pager, control) = hanging_write(&bucket);
    pager.flush_range_blocking(PAGE..2 * PAGE, Wait::Yes).unwrap();
    control.release_hangs();
    wait_for(&mut events, is_late);
    assert_eq!(stored(&pager, 1), all(0xA1));
    assert_eq!(load(&pager, 1), all(0xA1));
    fill(&pager, 1, 0xB2);
    pager.sync_blocking(Wait::Yes).unwrap();
    assert_eq!(stored(&pager, 1), all(0xB2));
}

pub(crate) fn a_read_waits_for_a_late_write_of_its_page(machine: &Machine) {
    let bucket = machine.bucket();
    let (pager, control) = hanging_write(&bucket);
    pager.flush_range_blocking(PAGE..2 * PAGE, Wait::Yes).unwrap();
    thread::scope(|scope| {
        let reader = scope.spawn(|| load(&pager, 1));
        assert_eq!(load(&pager, 2), all(3), "its neighbour need not wait");
        control.release_hangs();
        assert_eq!(reader.join().unwrap(), all(0xA1), "not what the store had before");
    });
}

pub(crate) fn a_page_whose_write_does_not_return_cannot_be_read(machine: &Machine) {
    let bucket = machine.bucket();
    let mut events = bucket.events();
    let (pager, control) = hanging_write(&bucket);
    pager.flush_range_blocking(PAGE..2 * PAGE, Wait::Yes).unwrap();
    let stopped = pager
        .read_at_blocking(0, &mut [0; 3 * PAGE as usize])
        .unwrap_err();
    let (bad, io) = (PageIndex(1), PageError::Io);
    let right = matches!(
        stopped,
        CopyError::Page { copied, page, error } if (copied, page, error) == (PAGE as usize, bad, io)
    );
    assert!(right, "{stopped:?}");
    assert_eq!(load(&pager, 2), all(3));
    control.release_hangs();
    wait_for(&mut events, is_late);
    assert_eq!(load_healed(&pager, 1), all(0xA1));
}

pub(crate) fn a_late_write_of_pages_handed_back_stores_what_it_was_given(machine: &Machine) {
    let bucket = machine.bucket();
    let mut events = bucket.events();
    let (pager, control) = hanging_write(&bucket);
    let Err(ShutdownError::Pages(unsaved)) = pager.shutdown_blocking() else {
        panic!("the page could not be written");
    };
    assert_eq!(unsaved.len(), 1);
    assert_eq!(Bytes(unsaved[0].bytes.clone()), all(0xA1));
    control.release_hangs();
    wait_for(&mut events, is_late);
    assert_eq!(stored(&pager, 1), all(0xA1));
}

pub(crate) fn a_sync_that_never_returns_is_an_error(machine: &Machine) {
    let bucket = machine.bucket();
    let (pager, control) = pager(&bucket, impatient());
    fill(&pager, 1, 0x11);
    control.fail_next(CallKind::Sync, page(0), Fault::Hang);
    let told = pager.sync_blocking(Wait::Yes);
    assert!(matches!(told, Err(SyncError::Durability(PageError::Io))));
    pager.sync_blocking(Wait::Yes).unwrap();
    control.release_hangs();
}

pub(crate) fn more_hangs_than_workers_stop_nobody(machine: &Machine) {
    let bucket = machine.bucket();
    let mut events = bucket.events();
    // Pages may be asked for in one run: then its calls hang one after the other.
    let patient = FailurePolicy {
        read_attempts: 16,
        ..impatient()
    };
    let (pager, control) = pager(&bucket, patient);
    for index in 0..8 {
        control.fail_next(CallKind::Read, page(index * 8), Fault::Hang);
    }
    thread::scope(|scope| {
        for index in 0..8 {
            let pager = &pager;
            scope.spawn(move || assert_eq!(load(pager, index * 8), all(index as u8 * 8 + 1)));
        }
    });
    control.release_hangs();
    for _ in 0..8 {
        wait_for(&mut events, |kind| matches!(kind, EventKind::LateResult { .. }));
    }
    // The workers that stood in have gone; those that are left do the work.
    for index in 0..64 {
        assert_eq!(load(&pager, index), all(index as u8 + 1));
    }
}

pub(crate) fn workers_that_come_back_after_their_pager_ended_are_let_go(machine: &Machine) {
    let bucket = machine.builder().workers(1).start().unwrap();
    // More often than workers may stand in for stuck ones.
    for _ in 0..70 {
        let mut events = bucket.events();
        let hasty = FailurePolicy {
            deadline: Duration::from_millis(20),
            ..never_by_itself()
        };
        let (dying, control) = pager(&bucket, hasty);
        fill(&dying, 1, 0xA1);
        control.fail_next(CallKind::Write, page(1), Fault::Hang);
        failed(dying.sync_blocking(Wait::Yes));
        assert!(control.wait_hanging(1, LONG));
        let told = dying.shutdown_blocking();
        assert!(matches!(told, Err(ShutdownError::Pages(_))), "{told:?}");
        drop(dying);
        wait_for(&mut events, |kind| *kind == EventKind::Ended);
        control.release_hangs();
    }
    // Another can still stand in for one that is stuck.
    let (pager, control) = pager(&bucket, impatient());
    control.fail_next(CallKind::Read, page(6), Fault::Hang);
    assert_eq!(load(&pager, 6), all(7));
    control.release_hangs();
}
