//! The pager itself panics, or the thread that runs it dies.

use std::sync::atomic::Ordering::SeqCst;
use std::thread;

use actor_pager::backend::{CallKind, Fault, Point};
use actor_pager::error::{CallError, MapError};
use actor_pager::{EventKind, FailurePolicy, Intensity, Protection, Wait};

use crate::support::*;

fn is_restart(kind: &EventKind) -> bool {
    *kind == EventKind::PagerRestarted
}

pub(crate) fn a_pager_that_panics_in_a_poll_is_made_anew(machine: &Machine) {
    let (bucket, trouble) = machine.troubled();
    let mut events = bucket.events();
    let (pager, _control) = pager(&bucket, policy());
    fill(&pager, 1, 0x11);
    for page in [16, 24, 32, 40, 48] {
        trouble.panic_in_poll.store(1, SeqCst);
        assert_eq!(load(&pager, page), all(page as u8 + 1));
        wait_for(&mut events, is_restart);
    }
    assert_eq!(load(&pager, 1), all(0x11));
    pager.sync_blocking(Wait::Yes).unwrap();
    assert_eq!(stored(&pager, 1), all(0x11));
}

pub(crate) fn a_pager_that_panics_in_a_call_is_made_anew(machine: &Machine) {
    let (bucket, trouble) = machine.troubled();
    let mut events = bucket.events();
    let (pager, _control) = pager(&bucket, policy());
    fill(&pager, 1, 0x11);
    // Several threads wait for pages while the pager goes down over one of them.
    trouble.panic_in_supply.store(1, SeqCst);
    thread::scope(|scope| {
        for index in 2..6 {
            let pager = &pager;
            scope.spawn(move || assert_eq!(load(pager, index * 8), all(index as u8 * 8 + 1)));
        }
    });
    wait_for(&mut events, is_restart);
    assert_eq!(load(&pager, 1), all(0x11));
    pager.shutdown_blocking().unwrap();
    assert_eq!(stored(&pager, 1), all(0x11));
}

pub(crate) fn a_pager_that_panics_while_it_maps_is_made_anew(machine: &Machine) {
    let (bucket, trouble) = machine.troubled();
    let mut events = bucket.events();
    let (pager, _control) = pager(&bucket, policy());
    trouble.panic_in_map.store(1, SeqCst);
    let told = pager.map_all_blocking(Protection::Read).err().unwrap();
    assert!(matches!(told, MapError::Call(CallError::Gone)), "{told}");
    wait_for(&mut events, is_restart);
    let mapping = pager.map_all_blocking(Protection::Read).unwrap();
    let mut byte = [0];
    mapping.read_at(9 * PAGE as usize, &mut byte).unwrap();
    assert_eq!(byte, [10]);
}

pub(crate) fn a_panic_during_a_sync_loses_neither_bytes_nor_durability(machine: &Machine) {
    let (bucket, trouble) = machine.troubled();
    let mut events = bucket.events();
    let (pager, control) = pager(&bucket, policy());
    for index in 0..32 {
        fill(&pager, index, 0xD0);
    }
    // The pager goes down while the first pages are on their way to the store.
    control.hold_all(Point::Before(CallKind::Write));
    let sync = thread::spawn({
        let pager = pager.clone();
        move || pager.sync_blocking(Wait::Yes)
    });
    assert!(control.wait_parked(Point::Before(CallKind::Write), 1, LONG));
    trouble.panic_in_supply.store(1, SeqCst);
    assert_eq!(load(&pager, 60), all(61));
    wait_for(&mut events, is_restart);
    // The page may be held still for a write that waits for the one of before.
    let newer = thread::spawn({
        let pager = pager.clone();
        move || fill(&pager, 0, 0xD1)
    });
    control.release(Point::Before(CallKind::Write));
    newer.join().unwrap();
    let told = failed(sync.join().unwrap());
    let again = failed(pager.sync_blocking(Wait::Yes));
    println!("told of {} pages, then of {}", told.len(), again.len());
    while !failed(pager.sync_blocking(Wait::Yes)).is_empty() {}
    assert!(control.counts(CallKind::Sync).calls > 0);
    assert_eq!(stored(&pager, 0), all(0xD1));
    for index in 1..32 {
        assert_eq!(stored(&pager, index), all(0xD0));
    }
}

pub(crate) fn a_panic_during_a_shutdown_loses_nothing(machine: &Machine) {
    let (bucket, trouble) = machine.troubled();
    let mut events = bucket.events();
    let (pager, control) = pager(&bucket, policy());
    for index in 0..8 {
        fill(&pager, index, 0xE0);
    }
    trouble.panic_in_lock_request.store(1, SeqCst);
    pager.shutdown_blocking().unwrap();
    wait_for(&mut events, is_restart);
    for index in 0..8 {
        assert_eq!(stored(&pager, index), all(0xE0));
    }
    assert!(control.counts(CallKind::Sync).calls > 0);
    // What was shut down before a panic stays so.
    trouble.panic_in_map.store(1, SeqCst);
    let told = pager.map_all_blocking(Protection::Read).err().unwrap();
    assert!(matches!(told, MapError::Call(CallError::Gone)), "{told}");
    wait_for(&mut events, is_restart);
    assert!(pager.sync_blocking(Wait::Yes).is_err());
}

pub(crate) fn a_sync_that_finds_a_pager_being_made_anew_writes(machine: &Machine) {
    let (bucket, trouble) = machine.troubled();
    let mut events = bucket.events();
    let (pager, _control) = pager(&bucket, policy());
    for round in 0..8 {
        fill(&pager, 3, 0xC0 + round);
        trouble.panic_in_map.store(1, SeqCst);
        assert!(pager.map_all_blocking(Protection::Read).is_err());
        pager.sync_blocking(Wait::Yes).unwrap();
        assert_eq!(stored(&pager, 3), all(0xC0 + round));
        wait_for(&mut events, is_restart);
    }
}

pub(crate) fn a_pager_whose_thread_dies_goes_on_elsewhere(machine: &Machine) {
    let (bucket, trouble) = machine.troubled();
    let mut events = bucket.events();
    let (pager, control) = pager(&bucket, policy());
    fill(&pager, 1, 0x11);
    control.hold(Point::Before(CallKind::Read), page(40));
    let reader = thread::spawn({
        let pager = pager.clone();
        move || load(&pager, 40)
    });
    assert!(control.wait_parked(Point::Before(CallKind::Read), 1, LONG));
    for _ in 0..3 {
        trouble.stop_thread.store(1, SeqCst);
        // Whatever wakes the pager makes it look at its kernel.
        let residency = pager.residency_blocking();
        wait_for(&mut events, |kind| *kind == EventKind::PagerMoved);
        residency.unwrap();
        assert_eq!(load(&pager, 1), all(0x11));
    }
    control.release(Point::Before(CallKind::Read));
    assert_eq!(reader.join().unwrap(), all(41));
    pager.sync_blocking(Wait::Yes).unwrap();
    assert_eq!(stored(&pager, 1), all(0x11));
}

pub(crate) fn a_quarantined_pager_stays_quarantined_when_its_thread_dies(machine: &Machine) {
    let (bucket, trouble) = machine.troubled();
    let mut events = bucket.events();
    let strict = FailurePolicy {
        intensity: Intensity {
            failures: 0,
            period: LONG,
        },
        ..policy()
    };
    let (pager, control) = pager(&bucket, strict);
    assert_eq!(load(&pager, 1), all(2));
    control.fail_next(CallKind::Read, page(40), Fault::Panic);
    pager.read_at_blocking(40 * PAGE, &mut [0]).unwrap_err();
    wait_for(&mut events, |kind| *kind == EventKind::Quarantined);
    trouble.stop_thread.store(1, SeqCst);
    pager.residency_blocking().unwrap();
    wait_for(&mut events, |kind| *kind == EventKind::PagerMoved);
    let reads = control.counts(CallKind::Read).calls;
    assert_eq!(load(&pager, 1), all(2));
    pager.read_at_blocking(50 * PAGE, &mut [0]).unwrap_err();
    assert_eq!(control.counts(CallKind::Read).calls, reads);
    pager.revive();
    wait_for(&mut events, |kind| *kind == EventKind::BackendRestarted);
    assert_eq!(load(&pager, 50), all(51));
}
