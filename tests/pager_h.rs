//! `pager.h`, function by function, as its users rely on it: on the simulated kernel and on the system's.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod kernels;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use actor_pager::backend::{
    Backend, BackendError, CallKind, Fault, FaultyBackend, MemoryBackend, Point, ReadRun, WriteError,
    WriteRun,
};
use actor_pager::error::{CallError, CopyError, InhibitError, MapError, OfferError, StartError, SyncError};
use actor_pager::object::{CopyStrategy, PageError, PageIndex, PageRange, PageSize};
use actor_pager::{Bucket, Pager, PagerOptions, Protection, Wait};

const PAGE: u64 = 4096;
const LIMIT: Duration = Duration::from_secs(60);

/// A store in memory that counts what it is asked and locks the pages it is told to lock.
#[derive(Default)]
struct Watched {
    locked: Mutex<Vec<PageIndex>>,
    refuse: Mutex<Option<PageError>>,
    unlocked: AtomicU64,
    evicted: Mutex<Vec<PageRange>>,
    cleared: Arc<AtomicU64>,
    weak_asked: Arc<AtomicU64>,
}

struct Store {
    memory: MemoryBackend,
    watched: Watched,
}

impl Store {
    fn new(pages: u64) -> Self {
        Self {
            memory: MemoryBackend::new(pages * PAGE),
            watched: Watched::default(),
        }
    }
}

impl Backend for Store {
    fn extent(&self) -> u64 {
        self.memory.extent()
    }

    fn read_pages(&self, run: &mut ReadRun<'_>) -> Result<(), BackendError> {
        self.memory.read_pages(run)?;
        for &page in &*self.watched.locked.lock().unwrap() {
            run.write_lock(page);
        }
        Ok(())
    }

    fn write_pages(&self, run: &WriteRun<'_>) -> Result<(), WriteError> {
        self.memory.write_pages(run)
    }

    fn unlock_pages(&self, _: PageRange, _: PageSize) -> Result<(), BackendError> {
        self.watched.unlocked.fetch_add(1, Ordering::SeqCst);
        match *self.watched.refuse.lock().unwrap() {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    fn notify_evict(&self, range: PageRange, _: PageSize) {
        self.watched.evicted.lock().unwrap().push(range);
    }

    fn clear_user_data(&self) {
        self.watched.cleared.fetch_add(1, Ordering::SeqCst);
    }

    fn drop_weak(&self) {
        self.watched.weak_asked.fetch_add(1, Ordering::SeqCst);
    }
}

fn memory(bucket: &Bucket, pages: u64) -> Pager<MemoryBackend> {
    bucket
        .create_pager(MemoryBackend::new(pages * PAGE), PagerOptions::default())
        .unwrap()
}

fn resident(pager: &Pager<impl Backend>) -> u64 {
    pager.residency_blocking().unwrap().resident
}

/// Waits until `value` is `wanted`: the end of a pager is not announced to anybody who could wait.
fn becomes(value: &AtomicU64, wanted: u64) {
    let end = std::time::Instant::now() + LIMIT;
    while value.load(Ordering::SeqCst) != wanted {
        assert!(
            std::time::Instant::now() < end,
            "is {}, not {wanted}",
            value.load(Ordering::SeqCst)
        );
        std::thread::yield_now();
    }
}

#[test]
fn start_workers_refuses_numbers_that_make_no_sense() {
    let error = Bucket::builder().workers(0).start().err().unwrap();
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
    let error = Bucket::builder().arbiters(0).start().err().unwrap();
    assert!(matches!(error, StartError::TooSmall { .. }), "{error}");
}

#[test]
fn an_inhibited_bucket_keeps_requests_and_answers_questions() {
    kernels::on_each(|bucket: Bucket| {
        let pager = memory(&bucket, 1);
        bucket.inhibit_blocking().unwrap();
        assert!(matches!(
            bucket.inhibit_blocking(),
            Err(InhibitError::AlreadyInhibited)
        ));
        let (done, written) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| done.send(pager.write_at_blocking(0, b"late")).unwrap());
            assert_eq!(pager.page_error_blocking(PageIndex(0)).unwrap(), None);
            assert!(written.try_recv().is_err());
            bucket.resume_blocking().unwrap();
            written.recv_timeout(LIMIT).unwrap().unwrap();
        });
        assert!(matches!(
            bucket.resume_blocking(),
            Err(InhibitError::NotInhibited)
        ));
    });
}

#[test]
fn inhibit_returns_only_when_the_io_begun_before_is_over() {
    kernels::on_each(|bucket: Bucket| {
        let (store, faults) = FaultyBackend::new(MemoryBackend::new(4 * PAGE), 1);
        let pager = bucket.create_pager(store, PagerOptions::default()).unwrap();
        faults.hold_all(Point::Before(CallKind::Read));
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| pager.read_at_blocking(0, &mut [0; 8]));
            assert!(faults.wait_parked(Point::Before(CallKind::Read), 1, LIMIT));
            let inhibiting = scope.spawn(|| bucket.inhibit_blocking());
            assert!(!inhibiting.is_finished());
            faults.release(Point::Before(CallKind::Read));
            inhibiting.join().unwrap().unwrap();
            assert_eq!(faults.counts(CallKind::Read).calls, 1);
            reading.join().unwrap().unwrap();
            bucket.resume_blocking().unwrap();
        });
    });
}

#[test]
fn sync_writes_back_and_keeps_pages_resident() {
    kernels::on_each(|bucket: Bucket| {
        let pager = memory(&bucket, 4);
        pager.write_at_blocking(PAGE, b"abc").unwrap();
        pager.sync_blocking(Wait::Yes).unwrap();
        assert_eq!(pager.backend().read(PAGE, 3), b"abc");
        assert!(resident(&pager) >= 1);
        assert_eq!(pager.residency_blocking().unwrap().dirty, 0);
        pager.write_at_blocking(PAGE, b"xyz").unwrap();
        pager.sync_blocking(Wait::No).unwrap();
        pager.sync_blocking(Wait::Yes).unwrap();
        assert_eq!(pager.backend().read(PAGE, 3), b"xyz");
    });
}

#[test]
fn sync_of_a_part_leaves_the_rest_alone() {
    kernels::on_each(|bucket: Bucket| {
        let pager = memory(&bucket, 4);
        pager.write_at_blocking(0, b"one").unwrap();
        pager.write_at_blocking(2 * PAGE, b"two").unwrap();
        pager.sync_range_blocking(2 * PAGE..3 * PAGE, Wait::Yes).unwrap();
        assert_eq!(pager.backend().read(0, 3), [0; 3]);
        assert_eq!(pager.backend().read(2 * PAGE, 3), b"two");
    });
}

#[test]
fn flush_drops_pages_and_their_modifications() {
    kernels::on_each(|bucket: Bucket| {
        let pager = memory(&bucket, 4);
        pager.write_at_blocking(0, b"gone").unwrap();
        pager.flush_blocking(Wait::Yes).unwrap();
        assert_eq!(resident(&pager), 0);
        let mut back = [1; 4];
        pager.read_at_blocking(0, &mut back).unwrap();
        assert_eq!(back, [0; 4]);
        pager.flush_range_blocking(0..PAGE, Wait::No).unwrap();
    });
}

#[test]
fn return_writes_back_and_drops() {
    kernels::on_each(|bucket: Bucket| {
        let pager = memory(&bucket, 4);
        pager.write_at_blocking(PAGE, b"kept").unwrap();
        pager.return_pages_blocking(Wait::Yes).unwrap();
        assert_eq!(pager.backend().read(PAGE, 4), b"kept");
        assert_eq!(resident(&pager), 0);
    });
}

#[test]
fn a_page_whose_write_fails_stays_and_is_reported_once() {
    kernels::on_each(|bucket: Bucket| {
        let (store, faults) = FaultyBackend::new(MemoryBackend::new(4 * PAGE), 1);
        let pager = bucket.create_pager(store, PagerOptions::default()).unwrap();
        let page = PageRange::single(PageIndex(1));
        faults.fail(CallKind::Write, page, Fault::Error(PageError::Quota));
        pager.write_at_blocking(PAGE, b"stays").unwrap();
        let error = pager.return_pages_blocking(Wait::Yes).unwrap_err();
        let SyncError::Pages(failed) = error else {
            panic!("{error}")
        };
        assert_eq!(
            failed
                .iter()
                .map(|failed| (failed.range, failed.error))
                .collect::<Vec<_>>(),
            [(page, PageError::Quota)]
        );
        let mut back = [0; 5];
        pager.read_at_blocking(PAGE, &mut back).unwrap();
        assert_eq!(&back, b"stays");
        faults.heal_all();
        pager.sync_blocking(Wait::Yes).unwrap();
        assert_eq!(pager.backend().inner().read(PAGE, 5), b"stays");
    });
}

#[test]
fn an_offered_page_is_there_unasked_and_a_precious_one_is_written_back() {
    kernels::on_each(|bucket: Bucket| {
        let pager = memory(&bucket, 4);
        // An object that no kernel uses takes no offer.
        let mut byte = [0];
        pager.read_at_blocking(0, &mut byte).unwrap();
        let page = vec![7; PAGE as usize];
        pager
            .offer_page_blocking(PageIndex(2), &page, true, false)
            .unwrap();
        pager.read_at_blocking(2 * PAGE, &mut byte).unwrap();
        assert_eq!(byte, [7]);
        // In core already: ignored.
        pager
            .offer_page_blocking(PageIndex(2), &vec![8; PAGE as usize], false, false)
            .unwrap();
        pager.read_at_blocking(2 * PAGE, &mut byte).unwrap();
        assert_eq!(byte, [7]);
        pager.return_pages_blocking(Wait::Yes).unwrap();
        assert_eq!(pager.backend().read(2 * PAGE, 2), [7, 7]);
        let error = pager
            .offer_page_blocking(PageIndex(9), &page, false, false)
            .unwrap_err();
        assert!(
            matches!(error, OfferError::Call(CallError::OutsideExtent { .. })),
            "{error}"
        );
        let error = pager
            .offer_page_blocking(PageIndex(1), &page[1..], false, false)
            .unwrap_err();
        assert!(
            matches!(
                error,
                OfferError::Length {
                    page_size: 4096,
                    given: 4095
                }
            ),
            "{error}"
        );
    });
}

#[test]
fn a_write_locked_page_asks_before_the_first_write_and_a_refusal_reaches_the_writer() {
    kernels::on_each(|bucket: Bucket| {
        let store = Store::new(4);
        store.watched.locked.lock().unwrap().push(PageIndex(1));
        let pager = bucket.create_pager(store, PagerOptions::default()).unwrap();
        let mut byte = [1];
        pager.read_at_blocking(PAGE, &mut byte).unwrap();
        assert_eq!(pager.backend().watched.unlocked.load(Ordering::SeqCst), 0);
        *pager.backend().watched.refuse.lock().unwrap() = Some(PageError::NoSpace);
        let error = pager.write_at_blocking(PAGE, b"no").unwrap_err();
        assert!(
            matches!(
                error,
                CopyError::Page {
                    copied: 0,
                    error: PageError::NoSpace,
                    ..
                }
            ),
            "{error:?}"
        );
        *pager.backend().watched.refuse.lock().unwrap() = None;
        pager.write_at_blocking(PAGE, b"yes").unwrap();
        pager.sync_blocking(Wait::Yes).unwrap();
        assert_eq!(pager.backend().memory.read(PAGE, 3), b"yes");
        assert!(pager.backend().watched.unlocked.load(Ordering::SeqCst) >= 2);
    });
}

#[test]
fn every_eviction_is_told_if_asked_for() {
    kernels::on_each(|bucket: Bucket| {
        let options = PagerOptions {
            notify_on_evict: true,
            ..PagerOptions::default()
        };
        let pager = bucket.create_pager(Store::new(4), options).unwrap();
        pager.read_at_blocking(0, &mut [0; 2 * 4096]).unwrap();
        pager.return_pages_blocking(Wait::Yes).unwrap();
        pager.write_at_blocking(3 * PAGE, b"x").unwrap();
        pager.flush_blocking(Wait::Yes).unwrap();
        let told = |page| {
            let evicted = pager.backend().watched.evicted.lock().unwrap();
            evicted
                .iter()
                .filter(|range| range.contains(PageIndex(page)))
                .count()
        };
        let end = std::time::Instant::now() + LIMIT;
        while [0, 1, 3].iter().any(|&page| told(page) == 0) {
            assert!(
                std::time::Instant::now() < end,
                "{:?}",
                pager.backend().watched.evicted.lock().unwrap()
            );
            std::thread::yield_now();
        }
        assert_eq!([told(0), told(1), told(2), told(3)], [1, 1, 0, 1]);
    });
}

#[test]
fn page_error_names_the_last_failure_until_a_success() {
    kernels::on_each(|bucket: Bucket| {
        let (store, faults) = FaultyBackend::new(MemoryBackend::new(4 * PAGE), 1);
        let pager = bucket.create_pager(store, PagerOptions::default()).unwrap();
        faults.fail_next_read(PageIndex(2), PageError::Io);
        let mut buffer = [9; 3 * 4096];
        let error = pager.read_at_blocking(100, &mut buffer).unwrap_err();
        assert!(
            matches!(
                error,
                CopyError::Page {
                    page: PageIndex(2),
                    error: PageError::Io,
                    ..
                }
            ),
            "{error:?}"
        );
        assert_eq!(error.copied() as u64, 2 * PAGE - 100);
        assert_eq!(
            pager.page_error_blocking(PageIndex(2)).unwrap(),
            Some(PageError::Io)
        );
        assert_eq!(pager.page_error_blocking(PageIndex(1)).unwrap(), None);
        assert_eq!(pager.page_error_blocking(PageIndex(1 << 40)).unwrap(), None);
        pager.read_at_blocking(100, &mut buffer).unwrap();
        assert_eq!(pager.page_error_blocking(PageIndex(2)).unwrap(), None);
    });
}

#[test]
fn a_read_only_port_refuses_mappings_for_writing() {
    kernels::on_each(|bucket: Bucket| {
        let pager = memory(&bucket, 4);
        let port = pager.read_only_port();
        let error = port.map_blocking(0, PAGE, Protection::ReadWrite).err().unwrap();
        assert!(matches!(error, MapError::ReadOnly), "{error}");
        let mapping = port.map_blocking(0, PAGE, Protection::Read).unwrap();
        assert!(matches!(mapping.write_at(0, b"no"), Err(CopyError::ReadOnly)));
        let writable = pager.port().map_blocking(0, PAGE, Protection::ReadWrite).unwrap();
        writable.write_at(0, b"yes").unwrap();
        let mut back = [0; 3];
        mapping.read_at(0, &mut back).unwrap();
        assert_eq!(&back, b"yes");
    });
}

#[test]
fn user_data_is_cleared_once_after_the_last_reference_and_right() {
    kernels::on_each(|bucket: Bucket| {
        let store = Store::new(4);
        let cleared = store.watched.cleared.clone();
        let weak_asked = store.watched.weak_asked.clone();
        let pager = bucket.create_pager(store, PagerOptions::default()).unwrap();
        let port = pager.port();
        let mapping = port.map_blocking(0, 4 * PAGE, Protection::ReadWrite).unwrap();
        let weak = pager.downgrade();
        assert!(weak.upgrade().is_some());
        drop(pager);
        drop(port);
        mapping.write_at(0, b"still here").unwrap();
        assert_eq!(cleared.load(Ordering::SeqCst), 0);
        drop(mapping);
        becomes(&weak_asked, 1);
        assert_eq!(cleared.load(Ordering::SeqCst), 0);
        assert!(weak.upgrade().is_none());
        drop(weak);
        becomes(&cleared, 1);
        bucket.shutdown_blocking().unwrap();
        assert_eq!(cleared.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn what_was_written_is_stored_when_the_last_handle_goes() {
    kernels::on_each(|bucket: Bucket| {
        let store = Arc::new(Store::new(4));
        let pager = bucket
            .create_pager_shared(store.clone(), PagerOptions::default())
            .unwrap();
        pager.write_at_blocking(PAGE, b"not lost").unwrap();
        drop(pager);
        becomes(&store.watched.cleared, 1);
        assert_eq!(store.memory.read(PAGE, 8), b"not lost");
    });
}

#[test]
fn attributes_change_before_and_after_the_first_use() {
    kernels::on_each(|bucket: Bucket| {
        let pager = memory(&bucket, 4);
        pager
            .change_attributes_blocking(true, CopyStrategy::Delay, Wait::Yes)
            .unwrap();
        pager.read_at_blocking(0, &mut [0; 8]).unwrap();
        pager
            .change_attributes_blocking(false, CopyStrategy::None, Wait::Yes)
            .unwrap();
        pager
            .change_attributes_blocking(true, CopyStrategy::None, Wait::No)
            .unwrap();
        pager
            .change_attributes_blocking(true, CopyStrategy::None, Wait::Yes)
            .unwrap();
    });
}

#[test]
fn what_stays_cached_when_the_last_mapping_goes_is_for_may_cache_to_say() {
    for may_cache in [true, false] {
        kernels::on_each(|bucket: Bucket| {
            let options = PagerOptions {
                may_cache,
                ..PagerOptions::default()
            };
            let pager = bucket
                .create_pager(MemoryBackend::new(4 * PAGE), options)
                .unwrap();
            let mapping = pager.map_all_blocking(Protection::ReadWrite).unwrap();
            mapping.write_at(0, b"data").unwrap();
            drop(mapping);
            let end = std::time::Instant::now() + LIMIT;
            while (resident(&pager) > 0) != may_cache {
                assert!(std::time::Instant::now() < end, "resident: {}", resident(&pager));
                std::thread::yield_now();
            }
            let again = pager.map_all_blocking(Protection::ReadWrite).unwrap();
            let mut back = [0; 4];
            again.read_at(0, &mut back).unwrap();
            assert_eq!(&back, b"data");
            if !may_cache {
                assert_eq!(pager.backend().read(0, 4), b"data");
            }
        });
    }
}

#[test]
fn after_a_shutdown_calls_get_errors_and_everything_is_stored() {
    kernels::on_each(|bucket: Bucket| {
        let pager = memory(&bucket, 4);
        pager.write_at_blocking(0, b"last").unwrap();
        pager.shutdown_blocking().unwrap();
        assert_eq!(pager.backend().read(0, 4), b"last");
        assert!(pager.read_at_blocking(PAGE, &mut [0; 1]).is_err());
        assert!(matches!(
            pager.sync_blocking(Wait::Yes),
            Err(SyncError::Call(CallError::ShutDown))
        ));
        let page = vec![0; PAGE as usize];
        assert!(
            pager
                .offer_page_blocking(PageIndex(0), &page, false, false)
                .is_err()
        );
    });
}

#[test]
fn a_shutdown_that_cannot_write_hands_the_pages_back() {
    kernels::on_each(|bucket: Bucket| {
        let (store, faults) = FaultyBackend::new(MemoryBackend::new(4 * PAGE), 1);
        let pager = bucket.create_pager(store, PagerOptions::default()).unwrap();
        let page = PageRange::single(PageIndex(1));
        faults.fail(CallKind::Write, page, Fault::Error(PageError::NoSpace));
        pager.write_at_blocking(PAGE, b"unsaved").unwrap();
        pager.write_at_blocking(2 * PAGE, b"saved").unwrap();
        let error = pager.shutdown_blocking().unwrap_err();
        let actor_pager::error::ShutdownError::Pages(unsaved) = error else {
            panic!("{error}")
        };
        assert_eq!(unsaved.len(), 1);
        assert_eq!((unsaved[0].range, unsaved[0].error), (page, PageError::NoSpace));
        assert_eq!(&unsaved[0].bytes[..7], b"unsaved");
        assert_eq!(pager.backend().inner().read(2 * PAGE, 5), b"saved");
    });
}

#[test]
fn a_blocking_call_from_a_callback_is_an_error_and_no_deadlock() {
    struct Caller {
        memory: MemoryBackend,
        bucket: Mutex<Option<Bucket>>,
        seen: Mutex<Vec<bool>>,
    }
    impl Backend for Caller {
        fn extent(&self) -> u64 {
            self.memory.extent()
        }
        fn read_pages(&self, run: &mut ReadRun<'_>) -> Result<(), BackendError> {
            if let Some(bucket) = &*self.bucket.lock().unwrap() {
                let inhibited = bucket.inhibit_blocking();
                let refused = matches!(inhibited, Err(InhibitError::Call(CallError::WouldDeadlock)));
                self.seen.lock().unwrap().push(refused);
            }
            self.memory.read_pages(run)
        }
        fn write_pages(&self, run: &WriteRun<'_>) -> Result<(), WriteError> {
            self.memory.write_pages(run)
        }
    }
    kernels::on_each(|bucket: Bucket| {
        let caller = Caller {
            memory: MemoryBackend::new(PAGE),
            bucket: Mutex::new(Some(bucket.clone())),
            seen: Mutex::default(),
        };
        let pager = bucket.create_pager(caller, PagerOptions::default()).unwrap();
        pager.read_at_blocking(0, &mut [0; 4]).unwrap();
        assert_eq!(*pager.backend().seen.lock().unwrap(), [true]);
        pager.backend().bucket.lock().unwrap().take();
    });
}
