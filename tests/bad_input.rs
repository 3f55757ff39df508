//! What comes back for each bad input to a public call; the rows of `docs/errors.md` name these.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::sync::Arc;
use std::sync::mpsc;

use actor_pager::backend::{
    Backend, BackendError, CallKind, Fault, FaultControl, FaultyBackend, MemoryBackend, ReadRun, WriteError,
    WriteRun,
};
use actor_pager::error::{
    BucketShutdownError, CallError, CopyError, CreateError, InhibitError, MapError, OfferError,
    ShutdownError, StartError, SyncError,
};
use actor_pager::mach::sim::{SimHost, SimOptions};
use actor_pager::object::{PageError, PageIndex, PageRange, RangeError, Refusal};
use actor_pager::{Bucket, BucketBuilder, Pager, PagerOptions, Protection, Wait};

const PAGE: u64 = 4096;

fn builder() -> BucketBuilder {
    let kernel = SimHost::new(SimOptions::default());
    Bucket::builder().kernel(Arc::new(kernel)).workers(2)
}

fn pager() -> (Bucket, Pager<MemoryBackend>) {
    let bucket = builder().start().unwrap();
    let store = MemoryBackend::new(4 * PAGE + 100);
    let pager = bucket.create_pager(store, PagerOptions::default()).unwrap();
    (bucket, pager)
}

fn faulty() -> (Bucket, Pager<FaultyBackend<MemoryBackend>>, FaultControl) {
    let bucket = builder().start().unwrap();
    let (store, faults) = FaultyBackend::new(MemoryBackend::new(4 * PAGE), 0);
    let pager = bucket.create_pager(store, PagerOptions::default()).unwrap();
    (bucket, pager, faults)
}

#[test]
fn a_bucket_needs_workers_and_arbiters() {
    for builder in [builder().workers(0), builder().arbiters(0)] {
        let error = builder.start().err().unwrap();
        assert!(
            matches!(
                error,
                StartError::TooSmall {
                    least: 1,
                    given: 0,
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[test]
fn a_pager_needs_a_store_with_bytes_and_a_bucket_that_lives() {
    let bucket = builder().start().unwrap();
    let error = bucket.create_pager(MemoryBackend::new(0), PagerOptions::default());
    assert!(matches!(error.err().unwrap(), CreateError::Empty));
    bucket.shutdown_blocking().unwrap();
    let error = bucket.create_pager(MemoryBackend::new(1), PagerOptions::default());
    assert!(matches!(error.err().unwrap(), CreateError::ShutDown));
}

#[test]
fn a_mapping_needs_bytes_at_the_start_of_a_page_within_the_object() {
    let (_bucket, pager) = pager();
    let map = |offset, length| {
        pager
            .map_blocking(offset, length, Protection::Read)
            .err()
            .unwrap()
    };
    assert!(matches!(map(0, 0), MapError::Empty));
    let misaligned = map(1, PAGE);
    assert!(
        matches!(
            misaligned,
            MapError::Call(CallError::Range(RangeError::Misaligned { .. }))
        ),
        "{misaligned}"
    );
    assert!(matches!(
        map(0, 6 * PAGE),
        MapError::Call(CallError::OutsideExtent { .. })
    ));
    for (offset, length) in [(u64::MAX - PAGE + 1, PAGE), (PAGE, u64::MAX), (0, u64::MAX)] {
        assert!(
            matches!(map(offset, length), MapError::Call(_)),
            "{offset} {length}"
        );
    }
}

#[test]
fn a_copy_beyond_the_end_copies_nothing() {
    let (_bucket, pager) = pager();
    let end = 4 * PAGE + 100;
    let mut buffer = [7; 101];
    for offset in [end - 100, end, u64::MAX - 50] {
        for error in [
            pager.read_at_blocking(offset, &mut buffer).unwrap_err(),
            pager.write_at_blocking(offset, &buffer).unwrap_err(),
        ] {
            assert!(
                matches!(error, CopyError::Call(CallError::OutsideExtent { .. })),
                "{error}"
            );
            assert_eq!(error.copied(), 0);
        }
    }
    assert_eq!(buffer, [7; 101]);
    pager.read_at_blocking(end, &mut []).unwrap();
}

#[test]
fn a_copy_stops_at_the_first_bad_page_with_the_exact_count() {
    let (_bucket, pager, faults) = faulty();
    let bad = PageRange::single(PageIndex(2));
    faults.fail(CallKind::Read, bad, Fault::Error(PageError::Quota));
    let mut buffer = vec![0; 3 * PAGE as usize];
    let error = pager.read_at_blocking(100, &mut buffer).unwrap_err();
    assert_eq!(error.copied() as u64, 2 * PAGE - 100);
    let named = matches!(
        error,
        CopyError::Page {
            page: PageIndex(2),
            error: PageError::Quota,
            ..
        }
    );
    assert!(named, "{error}");
    faults.heal_all();
    pager.read_at_blocking(100, &mut buffer).unwrap();
}

#[test]
fn a_read_only_mapping_takes_no_copies() {
    let (_bucket, pager) = pager();
    let mapping = pager.map_all_blocking(Protection::Read).unwrap();
    assert!(mapping.as_mut_ptr().is_null());
    let error = mapping.write_at(0, b"x").unwrap_err();
    assert!(matches!(error, CopyError::ReadOnly), "{error}");
}

#[test]
fn ranges_beyond_the_end_are_not_synced_flushed_or_returned() {
    let (_bucket, pager) = pager();
    let beyond = 0..6 * PAGE;
    for error in [
        pager.sync_range_blocking(beyond.clone(), Wait::Yes).unwrap_err(),
        pager.flush_range_blocking(beyond.clone(), Wait::Yes).unwrap_err(),
        pager
            .return_range_blocking(beyond.clone(), Wait::Yes)
            .unwrap_err(),
    ] {
        assert!(
            matches!(error, SyncError::Call(CallError::OutsideExtent { .. })),
            "{error}"
        );
    }
}

#[test]
fn an_offered_page_is_one_page_within_the_object() {
    let (_bucket, pager) = pager();
    let _mapping = pager.map_all_blocking(Protection::Read).unwrap();
    let offer = |page, bytes: &[u8]| pager.offer_page_blocking(PageIndex(page), bytes, false, false);
    let error = offer(0, &[0; 100]).unwrap_err();
    assert!(
        matches!(
            error,
            OfferError::Length {
                page_size: PAGE,
                given: 100
            }
        ),
        "{error}"
    );
    for page in [5, u64::MAX, u64::MAX / PAGE, 1 << 52] {
        let error = offer(page, &[0; PAGE as usize]).unwrap_err();
        assert!(
            matches!(
                error,
                OfferError::Call(CallError::OutsideExtent { .. } | CallError::Refused(_))
            ),
            "page {page}: {error}"
        );
    }
}

#[test]
fn the_error_of_a_page_beyond_the_end_is_none() {
    let (_bucket, pager) = pager();
    for page in [5, 1 << 52, u64::MAX] {
        assert_eq!(pager.page_error_blocking(PageIndex(page)).unwrap(), None);
    }
}

#[test]
fn a_page_is_not_offered_to_nobody() {
    let (_bucket, pager) = pager();
    let error = pager.offer_page_blocking(PageIndex(0), &[0; PAGE as usize], false, false);
    let error = error.unwrap_err();
    let refused = matches!(error, OfferError::Call(CallError::Refused(Refusal::WrongState)));
    assert!(refused, "{error}");
}

#[test]
fn inhibiting_and_resuming_take_turns() {
    let (bucket, _pager) = pager();
    assert!(matches!(
        bucket.resume_blocking().unwrap_err(),
        InhibitError::NotInhibited
    ));
    bucket.inhibit_blocking().unwrap();
    assert!(matches!(
        bucket.inhibit_blocking().unwrap_err(),
        InhibitError::AlreadyInhibited
    ));
    bucket.resume_blocking().unwrap();
}

#[test]
fn a_pager_that_was_shut_down_says_so() {
    let (_bucket, pager) = pager();
    pager.shutdown_blocking().unwrap();
    let error = pager.shutdown_blocking().unwrap_err();
    assert!(
        matches!(error, ShutdownError::Call(CallError::ShutDown)),
        "{error}"
    );
    let error = pager.sync_blocking(Wait::Yes).unwrap_err();
    assert!(matches!(error, SyncError::Call(CallError::ShutDown)), "{error}");
    assert!(pager.read_at_blocking(0, &mut [0]).is_err());
    assert!(pager.write_at_blocking(0, &[0]).is_err());
}

#[test]
fn a_sync_names_the_pages_that_could_not_be_written_once() {
    let (_bucket, pager, faults) = faulty();
    let bad = PageRange::single(PageIndex(1));
    faults.fail(CallKind::Write, bad, Fault::Error(PageError::NoSpace));
    pager.write_at_blocking(PAGE, b"new").unwrap();
    let error = pager.sync_blocking(Wait::Yes).unwrap_err();
    let SyncError::Pages(pages) = &error else {
        panic!("{error}");
    };
    assert_eq!((pages[0].range, pages[0].error), (bad, PageError::NoSpace));
    faults.heal_all();
    pager.sync_blocking(Wait::Yes).unwrap();
    assert_eq!(pager.backend().inner().read(PAGE, 3), b"new");
}

#[test]
fn a_sync_says_that_the_store_is_not_durable() {
    let (_bucket, pager, faults) = faulty();
    pager.write_at_blocking(0, b"new").unwrap();
    faults.fail(
        CallKind::Sync,
        PageRange::single(PageIndex(0)),
        Fault::Error(PageError::Io),
    );
    let error = pager.sync_blocking(Wait::Yes).unwrap_err();
    assert!(matches!(error, SyncError::Durability(PageError::Io)), "{error}");
}

#[test]
fn a_shutdown_that_cannot_write_hands_the_data_back() {
    let (bucket, pager, faults) = faulty();
    let bad = PageRange::single(PageIndex(1));
    faults.fail(CallKind::Write, bad, Fault::Error(PageError::NoSpace));
    pager.write_at_blocking(PAGE, b"new").unwrap();
    let error = bucket.shutdown_blocking().unwrap_err();
    assert!(
        matches!(&error, BucketShutdownError::Pagers(names) if names.len() == 1),
        "{error}"
    );
}

#[test]
fn a_shutdown_of_a_pager_says_what_was_not_stored() {
    let (_bucket, pager, faults) = faulty();
    let bad = PageRange::single(PageIndex(1));
    faults.fail(CallKind::Write, bad, Fault::Error(PageError::NoSpace));
    pager.write_at_blocking(PAGE, &[7; PAGE as usize]).unwrap();
    let error = pager.shutdown_blocking().unwrap_err();
    let ShutdownError::Pages(pages) = &error else {
        panic!("{error}");
    };
    assert_eq!((pages[0].range, pages[0].error), (bad, PageError::NoSpace));
    assert_eq!(pages[0].bytes, [7; PAGE as usize]);
    let (_bucket, pager, faults) = faulty();
    pager.write_at_blocking(0, b"new").unwrap();
    faults.fail(
        CallKind::Sync,
        PageRange::single(PageIndex(0)),
        Fault::Error(PageError::Io),
    );
    let error = pager.shutdown_blocking().unwrap_err();
    assert!(
        matches!(error, ShutdownError::Durability(PageError::Io)),
        "{error}"
    );
}

/// A store that calls its own pager and bucket, which must not wait for themselves.
struct Caller {
    handles: std::sync::Mutex<Option<(Bucket, Pager<Self>)>>,
    heard: mpsc::Sender<()>,
}

fn would_wait(error: &CallError) {
    assert!(matches!(error, CallError::WouldDeadlock), "{error}");
    assert!(error.to_string().contains("async"));
}

impl Backend for Caller {
    fn extent(&self) -> u64 {
        PAGE
    }

    fn read_pages(&self, _: &mut ReadRun<'_>) -> Result<(), BackendError> {
        let Some((bucket, pager)) = self.handles.lock().unwrap().take() else {
            return Ok(());
        };
        let SyncError::Call(error) = pager.sync_blocking(Wait::Yes).unwrap_err() else {
            panic!("another error");
        };
        would_wait(&error);
        let MapError::Call(error) = pager.map_all_blocking(Protection::Read).err().unwrap() else {
            panic!("another error");
        };
        would_wait(&error);
        let CopyError::Call(error) = pager.read_at_blocking(0, &mut [0]).unwrap_err() else {
            panic!("another error");
        };
        would_wait(&error);
        let ShutdownError::Call(error) = pager.shutdown_blocking().unwrap_err() else {
            panic!("another error");
        };
        would_wait(&error);
        let offer = pager.offer_page_blocking(PageIndex(0), &[0; PAGE as usize], false, false);
        let OfferError::Call(error) = offer.unwrap_err() else {
            panic!("another error");
        };
        would_wait(&error);
        would_wait(&pager.page_error_blocking(PageIndex(0)).unwrap_err());
        for told in [bucket.inhibit_blocking(), bucket.resume_blocking()] {
            let InhibitError::Call(error) = told.unwrap_err() else {
                panic!("another error");
            };
            would_wait(&error);
        }
        let BucketShutdownError::Call(error) = bucket.shutdown_blocking().unwrap_err() else {
            panic!("another error");
        };
        would_wait(&error);
        let error = bucket.sync_all_blocking(&[pager.any()]).unwrap_err();
        let SyncError::Call(error) = error.source else {
            panic!("another error");
        };
        would_wait(&error);
        self.heard.send(()).unwrap();
        Ok(())
    }

    fn write_pages(&self, _: &WriteRun<'_>) -> Result<(), WriteError> {
        Ok(())
    }
}

#[test]
fn a_blocking_call_on_a_thread_of_the_bucket_is_refused() {
    let bucket = builder().start().unwrap();
    let (heard, hear) = mpsc::channel();
    let store = Caller {
        handles: Default::default(),
        heard,
    };
    let pager = bucket.create_pager(store, PagerOptions::default()).unwrap();
    *pager.backend().handles.lock().unwrap() = Some((bucket.clone(), pager.clone()));
    pager.read_at_blocking(0, &mut [0]).unwrap();
    hear.recv().unwrap();
}

/// A kernel that makes no objects.
struct Barren;

impl actor_pager::mach::KernelHost for Barren {
    fn create_object(
        &self,
        _: actor_pager::mach::ObjectSpec,
    ) -> Result<Box<dyn actor_pager::mach::ObjectKernel>, actor_pager::mach::KernelError> {
        Err(actor_pager::mach::KernelError::Gone)
    }

    fn describe(&self) -> String {
        "barren".to_owned()
    }
}

#[test]
fn a_kernel_that_makes_no_object_is_told() {
    let bucket = Bucket::builder()
        .kernel(std::sync::Arc::new(Barren))
        .start()
        .unwrap();
    let refused = bucket.create_pager(MemoryBackend::new(4096), PagerOptions::default());
    assert!(matches!(refused, Err(CreateError::Kernel(_))));
}
