//! A store that fails too often, and the end of a pager that cannot write.

use std::time::Duration;

use actor_pager::backend::{CallKind, Fault, FaultyBackend, MemoryBackend};
use actor_pager::error::ShutdownError;
use actor_pager::object::{PageError, PageIndex};
use actor_pager::{EventKind, FailurePolicy, Intensity, Wait};

use crate::support::*;

fn strict() -> FailurePolicy {
    FailurePolicy {
        intensity: Intensity {
            failures: 3,
            period: Duration::from_secs(3600),
        },
        ..policy()
    }
}

fn quarantine(pager: &actor_pager::Pager<Store>, control: &actor_pager::backend::FaultControl, page: u64) {
    control.fail(CallKind::Read, crate::support::page(page), Fault::Panic);
    for _ in 0..4 {
        pager.read_at_blocking(page * PAGE, &mut [0]).unwrap_err();
    }
}

pub(crate) fn a_store_that_fails_too_often_is_left_alone(machine: &Machine) {
    let bucket = machine.bucket();
    let mut events = bucket.events();
    let (pager, control) = pager(&bucket, strict());
    fill(&pager, 0, 0x10);
    assert_eq!(load(&pager, 1), all(2));
    quarantine(&pager, &control, 40);
    let seen = wait_for(&mut events, |kind| *kind == EventKind::Quarantined);
    let panics = seen
        .iter()
        .filter(|kind| matches!(kind, EventKind::BackendPanicked(_)));
    assert_eq!(panics.count(), 4);
    // What is resident is served; the store is not touched.
    let calls = control.counts(CallKind::Read).calls;
    assert_eq!(load(&pager, 0), all(0x10));
    assert_eq!(load(&pager, 1), all(2));
    pager.read_at_blocking(50 * PAGE, &mut [0]).unwrap_err();
    assert_eq!(
        failed(pager.sync_blocking(Wait::Yes)),
        [(PageIndex(0), PageError::Io)]
    );
    assert_eq!(control.counts(CallKind::Read).calls, calls);
    assert_eq!(control.counts(CallKind::Write).calls, 0);
    control.heal_all();
    pager.revive();
    wait_for(&mut events, |kind| *kind == EventKind::WritesRecovered);
    assert_eq!(stored(&pager, 0), all(0x10));
    assert_eq!(load(&pager, 50), all(51));
    assert_eq!(load(&pager, 40), all(41));
}

pub(crate) fn a_quarantined_pager_answers_for_many_dirty_pages(machine: &Machine) {
    let bucket = machine.bucket();
    let mut events = bucket.events();
    let count = 4096;
    let (store, control) = FaultyBackend::new(MemoryBackend::new(count * PAGE), 1);
    let pager = bucket.create_pager(store, options(strict())).unwrap();
    quarantine(&pager, &control, 0);
    wait_for(&mut events, |kind| *kind == EventKind::Quarantined);
    control.heal_all();
    for index in 1..count {
        // A whole page needs no read where the kernel can tell; here it fails, so offer it.
        pager
            .offer_page_blocking(PageIndex(index), &all(index as u8).0, true, false)
            .unwrap();
    }
    let told = failed(pager.sync_blocking(Wait::Yes));
    assert_eq!(told.len() as u64, count - 1);
    pager.revive();
    while !failed(pager.sync_blocking(Wait::Yes)).is_empty() {}
    for index in 1..count {
        assert_eq!(stored(&pager, index), all(index as u8));
    }
}

pub(crate) fn a_shutdown_that_cannot_write_hands_the_bytes_back(machine: &Machine) {
    let bucket = machine.bucket();
    let (pager, control) = pager(&bucket, policy());
    fill(&pager, 2, 0x21);
    fill(&pager, 3, 0x22);
    fill(&pager, 9, 0x23);
    control.fail(CallKind::Write, pages(2, 4), Fault::Error(PageError::NoSpace));
    let Err(ShutdownError::Pages(unsaved)) = pager.shutdown_blocking() else {
        panic!("the shutdown must tell");
    };
    let bytes: Vec<u8> = unsaved.iter().flat_map(|run| run.bytes.iter().copied()).collect();
    assert!(unsaved.iter().all(|run| run.error == PageError::NoSpace));
    assert_eq!(bytes, [all(0x21).0, all(0x22).0].concat());
    assert_eq!(stored(&pager, 9), all(0x23));
    // Told, and handed over: there is nothing left to tell.
    assert!(!matches!(pager.shutdown_blocking(), Err(ShutdownError::Pages(_))));
}
