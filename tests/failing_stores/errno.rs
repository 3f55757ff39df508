//! Errors, short and torn transfers.

use actor_pager::backend::{CallKind, Fault};
use actor_pager::error::{CopyError, SyncError};
use actor_pager::object::{PageError, PageIndex};
use actor_pager::{EventKind, FailurePolicy, Wait};

use crate::support::*;

pub(crate) fn a_failed_read_is_an_error_and_heals(machine: &Machine) {
    let bucket = machine.bucket();
    let (pager, control) = pager(&bucket, policy());
    for error in [PageError::Io, PageError::NoSpace, PageError::Quota] {
        control.fail(CallKind::Read, page(3), Fault::Error(error));
        let mut bytes = vec![0; 3 * PAGE as usize];
        let stopped = pager.read_at_blocking(PAGE, &mut bytes).unwrap_err();
        assert_eq!(stopped.copied(), 2 * PAGE as usize);
        assert!(matches!(stopped, CopyError::Page { page: PageIndex(3), error: told, .. } if told == error));
        assert_eq!(bytes[..PAGE as usize], all(2).0);
        assert_eq!(pager.page_error_blocking(PageIndex(3)).unwrap(), Some(error));
        control.heal_all();
        assert_eq!(load(&pager, 3), all(4));
        assert_eq!(pager.page_error_blocking(PageIndex(3)).unwrap(), None);
        drop_pages(&pager, pages(0, 8));
    }
}

pub(crate) fn a_read_is_tried_as_often_as_the_policy_says(machine: &Machine) {
    let bucket = machine.bucket();
    let patient = FailurePolicy {
        read_attempts: 3,
        ..policy()
    };
    let (pager, control) = pager(&bucket, patient);
    for _ in 0..2 {
        control.fail_next_read(PageIndex(0), PageError::Io);
    }
    assert_eq!(load(&pager, 0), all(1));
    control.fail(CallKind::Read, page(9), Fault::Error(PageError::Io));
    let before = control.counts(CallKind::Read).errors;
    pager.read_at_blocking(9 * PAGE, &mut [0]).unwrap_err();
    assert_eq!(control.counts(CallKind::Read).errors - before, 3);
}

pub(crate) fn a_failed_write_is_kept_told_once_and_tried_again(machine: &Machine) {
    let bucket = machine.bucket();
    let mut events = bucket.events();
    let (pager, control) = pager(&bucket, policy());
    control.fail(CallKind::Write, page(5), Fault::Error(PageError::NoSpace));
    for index in 4..7 {
        fill(&pager, index, 0xEE);
    }
    let bad = vec![(PageIndex(5), PageError::NoSpace)];
    assert_eq!(failed(pager.sync_blocking(Wait::Yes)), bad);
    assert_eq!(stored(&pager, 4), all(0xEE));
    assert_eq!(stored(&pager, 5), all(6));
    assert_eq!(stored(&pager, 6), all(0xEE));
    assert_eq!(load(&pager, 5), all(0xEE));
    wait_for(&mut events, |kind| {
        *kind
            == EventKind::WritesFailed {
                range: page(5),
                error: PageError::NoSpace,
            }
    });
    control.heal_all();
    // Nobody asks for it: the pager writes it by itself.
    wait_for(&mut events, |kind| *kind == EventKind::WritesRecovered);
    assert_eq!(stored(&pager, 5), all(0xEE));
    failed(pager.sync_blocking(Wait::Yes));
    assert_eq!(failed(pager.sync_blocking(Wait::Yes)), []);
}

pub(crate) fn a_failed_sync_is_told_and_done_by_the_next(machine: &Machine) {
    let bucket = machine.bucket();
    let (pager, control) = pager(&bucket, policy());
    fill(&pager, 1, 0x11);
    control.fail_next(CallKind::Sync, page(0), Fault::Error(PageError::Io));
    let told = pager.sync_blocking(Wait::Yes);
    assert!(matches!(told, Err(SyncError::Durability(PageError::Io))));
    pager.sync_blocking(Wait::Yes).unwrap();
    assert_eq!(control.counts(CallKind::Sync).calls, 2);
    assert_eq!(stored(&pager, 1), all(0x11));
}

pub(crate) fn a_refused_unlock_reaches_the_writer(machine: &Machine) {
    let bucket = machine.bucket();
    let (pager, control) = pager(&bucket, policy());
    let mapping = pager
        .map_all_blocking(actor_pager::Protection::ReadWrite)
        .unwrap();
    pager
        .offer_page_blocking(PageIndex(2), &all(3).0, false, true)
        .unwrap();
    control.fail_next(CallKind::Unlock, page(2), Fault::Error(PageError::NoSpace));
    let refused = mapping.write_at(2 * PAGE as usize, b"x").unwrap_err();
    assert!(
        matches!(
            refused,
            CopyError::Page {
                error: PageError::NoSpace,
                ..
            }
        ),
        "{refused:?}"
    );
    assert_eq!(load(&pager, 2), all(3));
    mapping.write_at(2 * PAGE as usize, b"x").unwrap();
    pager.sync_blocking(Wait::Yes).unwrap();
    assert_eq!(stored(&pager, 2).0[..2], [b'x', 3]);
}

pub(crate) fn a_short_read_fails_the_rest_alone(machine: &Machine) {
    let bucket = machine.bucket();
    let (pager, control) = pager(&bucket, policy());
    for fault in [Fault::Short, Fault::Torn] {
        control.fail(CallKind::Read, pages(0, 8), fault);
        let mut bytes = vec![0; 8 * PAGE as usize];
        let stopped = pager.read_at_blocking(0, &mut bytes).unwrap_err();
        let whole = stopped.copied() / PAGE as usize;
        for index in 0..whole {
            let at = index * PAGE as usize;
            assert_eq!(bytes[at..at + PAGE as usize], all(index as u8 + 1).0);
        }
        control.heal_all();
        for index in 0..8 {
            assert_eq!(load_healed(&pager, index), all(index as u8 + 1));
        }
        drop_pages(&pager, pages(0, 8));
    }
}

fn a_write_that_stops_half_way(machine: &Machine, fault: Fault) {
    let bucket = machine.bucket();
    let (pager, control) = pager(&bucket, never_by_itself());
    for index in 8..16 {
        fill(&pager, index, 0x80 + index as u8);
    }
    control.fail_next(CallKind::Write, pages(8, 16), fault);
    let told = failed(pager.sync_blocking(Wait::Yes));
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(failed(pager.sync_blocking(Wait::Yes)), []);
    for index in 8..16 {
        assert_eq!(stored(&pager, index), all(0x80 + index as u8));
        assert_eq!(load(&pager, index), all(0x80 + index as u8));
    }
}

pub(crate) fn a_short_write_loses_nothing(machine: &Machine) {
    a_write_that_stops_half_way(machine, Fault::Short);
}

pub(crate) fn a_torn_write_is_written_again_whole(machine: &Machine) {
    a_write_that_stops_half_way(machine, Fault::Torn);
}

pub(crate) fn a_full_store_keeps_dirty_pages_until_there_is_room(machine: &Machine) {
    let bucket = machine.bucket();
    let mut events = bucket.events();
    let (pager, control) = pager(&bucket, policy());
    control.fail(CallKind::Write, pages(0, 64), Fault::Error(PageError::NoSpace));
    for index in 0..64 {
        fill(&pager, index, 0xC0 ^ index as u8);
    }
    let told = failed(pager.return_pages_blocking(Wait::Yes));
    let every: Vec<_> = pages(0, 64)
        .iter()
        .map(|page| (page, PageError::NoSpace))
        .collect();
    assert_eq!(told, every);
    for index in 0..64 {
        assert_eq!(load(&pager, index), all(0xC0 ^ index as u8));
    }
    control.heal_all();
    wait_for(&mut events, |kind| *kind == EventKind::WritesRecovered);
    for index in 0..64 {
        assert_eq!(stored(&pager, index), all(0xC0 ^ index as u8));
    }
}
