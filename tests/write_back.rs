//! When pages are written back: holds, ordered syncs, and writers who wait for a full store.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod kernels;

use std::sync::mpsc;
use std::time::Duration;

use actor_pager::backend::{CallKind, Fault, FaultyBackend, MemoryBackend, Point};
use actor_pager::object::{PageError, PageIndex, PageRange};
use actor_pager::{BackPressure, Bucket, FailurePolicy, PagerOptions, UnsavedLimit, Wait};

const PAGE: u64 = 4096;
const LIMIT: Duration = Duration::from_secs(60);

fn pages(start: u64, count: u64) -> PageRange {
    PageRange::with_len(PageIndex(start), count)
}

fn no_room(pages: PageRange) -> (CallKind, PageRange, Fault) {
    (CallKind::Write, pages, Fault::Error(PageError::NoSpace))
}

#[test]
fn held_pages_are_not_written_before_their_release() {
    kernels::on_each(|bucket: Bucket| {
        let pager = bucket
            .create_pager(MemoryBackend::new(8 * PAGE), PagerOptions::default())
            .unwrap();
        pager.hold_blocking(0..PAGE).unwrap();
        pager.write_at_blocking(10, b"data").unwrap();
        pager.write_at_blocking(PAGE, b"other").unwrap();
        let (done, synced) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| done.send(pager.sync_blocking(Wait::Yes)).unwrap());
            pager.sync_range_blocking(PAGE..2 * PAGE, Wait::Yes).unwrap();
            assert_eq!(pager.backend().read(PAGE, 5), b"other");
            assert_eq!(pager.backend().read(10, 4), [0; 4]);
            assert!(synced.try_recv().is_err());
            assert!(pager.release_blocking(0..PAGE).unwrap());
            synced.recv_timeout(LIMIT).unwrap().unwrap();
        });
        assert_eq!(pager.backend().read(10, 4), b"data");
        assert!(!pager.release_blocking(0..PAGE).unwrap());
    });
}

#[test]
fn objects_are_synced_in_the_order_that_was_said() {
    kernels::on_each(|bucket: Bucket| {
        let (store, faults) = FaultyBackend::new(MemoryBackend::new(PAGE), 1);
        let data = bucket.create_pager(store, PagerOptions::default()).unwrap();
        let metadata = bucket
            .create_pager(MemoryBackend::new(PAGE), PagerOptions::default())
            .unwrap();
        data.write_at_blocking(0, b"data").unwrap();
        metadata.write_at_blocking(0, b"meta").unwrap();
        faults.hold_all(Point::Before(CallKind::Sync));
        std::thread::scope(|scope| {
            let order = [data.any(), metadata.any()];
            let bucket = &bucket;
            let syncing = scope.spawn(move || bucket.sync_all_blocking(&order));
            assert!(faults.wait_parked(Point::Before(CallKind::Sync), 1, LIMIT));
            assert_eq!(metadata.backend().read(0, 4), [0; 4]);
            faults.release(Point::Before(CallKind::Sync));
            syncing.join().unwrap().unwrap();
        });
        assert_eq!(metadata.backend().read(0, 4), b"meta");
    });
}

#[test]
fn a_failed_sync_stops_the_order_before_the_next_object() {
    kernels::on_each(|bucket: Bucket| {
        let (store, faults) = FaultyBackend::new(MemoryBackend::new(PAGE), 1);
        let data = bucket.create_pager(store, PagerOptions::default()).unwrap();
        let metadata = bucket
            .create_pager(MemoryBackend::new(PAGE), PagerOptions::default())
            .unwrap();
        data.write_at_blocking(0, b"data").unwrap();
        metadata.write_at_blocking(0, b"meta").unwrap();
        let (kind, range, fault) = no_room(pages(0, 1));
        faults.fail(kind, range, fault);
        let error = bucket
            .sync_all_blocking(&[data.any(), metadata.any()])
            .unwrap_err();
        assert_eq!(error.position, 0);
        assert_eq!(metadata.backend().read(0, 4), [0; 4]);
        faults.heal_all();
        bucket.sync_all_blocking(&[data.any(), metadata.any()]).unwrap();
        assert_eq!(metadata.backend().read(0, 4), b"meta");
    });
}

fn limited(beyond: BackPressure) -> PagerOptions {
    let unsaved_limit = Some(UnsavedLimit { pages: 1, beyond });
    let policy = FailurePolicy {
        unsaved_limit,
        ..FailurePolicy::default()
    };
    PagerOptions {
        policy,
        ..PagerOptions::default()
    }
}

#[test]
fn writers_wait_while_more_pages_than_allowed_cannot_be_written() {
    kernels::on_each(|bucket: Bucket| {
        let (store, faults) = FaultyBackend::new(MemoryBackend::new(8 * PAGE), 1);
        let pager = bucket.create_pager(store, limited(BackPressure::Block)).unwrap();
        let (kind, range, fault) = no_room(pages(0, 2));
        faults.fail(kind, range, fault);
        pager.write_at_blocking(0, b"a").unwrap();
        pager.write_at_blocking(PAGE, b"b").unwrap();
        assert!(pager.sync_blocking(Wait::Yes).is_err());
        let (done, written) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| done.send(pager.write_at_blocking(4 * PAGE, b"late")).unwrap());
            // What the writer waits for is asked for before this question, which is answered.
            let mut byte = [0];
            pager.read_at_blocking(0, &mut byte).unwrap();
            assert_eq!(&byte, b"a");
            assert!(written.try_recv().is_err());
            faults.heal_all();
            written.recv_timeout(LIMIT).unwrap().unwrap();
        });
        pager.sync_blocking(Wait::Yes).unwrap();
        assert_eq!(pager.backend().inner().read(4 * PAGE, 4), b"late");
        assert_eq!(pager.backend().inner().read(PAGE, 1), b"b");
    });
}

#[test]
fn writers_get_the_stores_error_where_the_policy_says_so() {
    kernels::on_each(|bucket: Bucket| {
        let (store, faults) = FaultyBackend::new(MemoryBackend::new(8 * PAGE), 1);
        let pager = bucket.create_pager(store, limited(BackPressure::Fail)).unwrap();
        let (kind, range, fault) = no_room(pages(0, 2));
        faults.fail(kind, range, fault);
        pager.write_at_blocking(0, b"a").unwrap();
        pager.write_at_blocking(PAGE, b"b").unwrap();
        assert!(pager.sync_blocking(Wait::Yes).is_err());
        let error = pager.write_at_blocking(4 * PAGE, b"no").unwrap_err();
        assert!(matches!(
            error,
            actor_pager::error::CopyError::Page {
                error: PageError::NoSpace,
                copied: 0,
                ..
            }
        ));
        let mut byte = [7];
        pager.read_at_blocking(4 * PAGE, &mut byte).unwrap();
        assert_eq!(byte, [0]);
        faults.heal_all();
        pager.sync_blocking(Wait::Yes).unwrap();
        pager.write_at_blocking(4 * PAGE, b"yes").unwrap();
    });
}
