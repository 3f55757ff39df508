//! Private copies of an object's pages, on the simulated kernel and on the system's.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod kernels;

use std::sync::Arc;
use std::time::Duration;

use actor_pager::backend::{CallKind, Fault, FaultControl, FaultyBackend, MemoryBackend, Point};
use actor_pager::error::{CallError, CopyError, MapError};
use actor_pager::mach::sim::{SimHost, SimOptions};
use actor_pager::object::{CopyStrategy, PageError, PageIndex, PageRange};
use actor_pager::{Bucket, Mapping, Pager, PagerOptions, Protection, Wait};

const PAGE: u64 = 4096;
const LIMIT: Duration = Duration::from_secs(20);
const STRATEGIES: [CopyStrategy; 3] = [CopyStrategy::None, CopyStrategy::Delay, CopyStrategy::Temporary];

type Store = FaultyBackend<MemoryBackend>;

/// A pager of `pages` pages, each full of its number.
fn pager(bucket: &Bucket, pages: u8, copy_strategy: CopyStrategy) -> (Pager<Store>, FaultControl) {
    let bytes: Vec<u8> = (0..pages).flat_map(|page| [page; PAGE as usize]).collect();
    let (store, faults) = FaultyBackend::new(MemoryBackend::from_bytes(&bytes), 1);
    let options = PagerOptions {
        copy_strategy,
        ..PagerOptions::default()
    };
    (bucket.create_pager(store, options).unwrap(), faults)
}

fn all(pager: &Pager<Store>) -> Mapping {
    pager
        .map_copy_blocking(0, pager.extent(), Protection::ReadWrite)
        .unwrap()
}

/// The first and the last byte of a page of a mapping.
fn ends(mapping: &Mapping, page: u64) -> [u8; 2] {
    let at = (page * PAGE) as usize;
    [0, PAGE as usize - 1].map(|within| {
        let mut byte = [0];
        mapping.read_at(at + within, &mut byte).unwrap();
        byte[0]
    })
}

fn object(pager: &Pager<Store>, page: u64) -> u8 {
    let mut byte = [0];
    pager.read_at_blocking(page * PAGE, &mut byte).unwrap();
    byte[0]
}

fn fill(pager: &Pager<Store>, page: u64, value: u8) {
    pager
        .write_at_blocking(page * PAGE, &[value; PAGE as usize])
        .unwrap();
}

fn stored(pager: &Pager<Store>, page: u64) -> u8 {
    pager.backend().inner().read(page * PAGE, 1)[0]
}

/// How often the store was read.
fn reads(faults: &FaultControl) -> u64 {
    [CallKind::Read, CallKind::TryRead]
        .map(|kind| faults.counts(kind).calls)
        .iter()
        .sum()
}

#[test]
fn stores_stay_on_their_side() {
    kernels::on_each(|bucket| {
        for strategy in STRATEGIES {
            let (pager, _faults) = pager(&bucket, 4, strategy);
            fill(&pager, 1, 100);
            let copy = all(&pager);
            assert!(copy.is_copy());
            fill(&pager, 1, 101);
            fill(&pager, 2, 102);
            copy.write_at(3 * PAGE as usize, &[200; PAGE as usize]).unwrap();
            copy.write_at(PAGE as usize, &[201]).unwrap();
            assert_eq!(ends(&copy, 0), [0, 0], "{strategy:?}");
            assert_eq!(ends(&copy, 1), [201, 100], "{strategy:?}");
            assert_eq!(ends(&copy, 2), [2, 2], "{strategy:?}");
            assert_eq!(ends(&copy, 3), [200, 200], "{strategy:?}");
            assert_eq!([0, 1, 2, 3].map(|page| object(&pager, page)), [0, 101, 102, 3]);
            pager.sync_blocking(Wait::Yes).unwrap();
            assert_eq!([0, 1, 2, 3].map(|page| stored(&pager, page)), [0, 101, 102, 3]);
        }
    });
}

#[test]
fn a_copy_made_at_once_needs_the_store_no_more() {
    kernels::on_each(|bucket| {
        let (pager, faults) = pager(&bucket, 200, CopyStrategy::None);
        let copy = all(&pager);
        pager.return_pages_blocking(Wait::Yes).unwrap();
        let everything = PageRange::with_len(PageIndex(0), 200);
        faults.fail(CallKind::Read, everything, Fault::Error(PageError::Io));
        for page in 0..200 {
            assert_eq!(ends(&copy, page), [page as u8; 2]);
        }
    });
}

#[test]
fn a_copy_made_at_once_names_the_page_that_cannot_be_had() {
    kernels::on_each(|bucket| {
        let (pager, faults) = pager(&bucket, 8, CopyStrategy::None);
        let bad = PageRange::with_len(PageIndex(5), 2);
        faults.fail(CallKind::Read, bad, Fault::Error(PageError::NoSpace));
        let failed = pager.map_copy_blocking(0, 8 * PAGE, Protection::Read);
        match failed {
            Err(MapError::Page { page, error }) => {
                assert_eq!((page, error), (PageIndex(5), PageError::NoSpace));
            }
            Err(other) => panic!("not {other:?}"),
            Ok(_) => panic!("a page that cannot be read was copied"),
        }
        faults.heal_all();
        let copy = all(&pager);
        assert_eq!((ends(&copy, 5), ends(&copy, 6)), ([5, 5], [6, 6]));
    });
}

#[test]
fn a_delayed_copy_reads_what_it_needs_and_tells_errors_until_they_heal() {
    kernels::on_each(|bucket| {
        let (pager, faults) = pager(&bucket, 8, CopyStrategy::Delay);
        let copy = all(&pager);
        assert_eq!(reads(&faults), 0, "nothing is read before it is touched");
        let bad = PageRange::single(PageIndex(5));
        faults.fail(CallKind::Read, bad, Fault::Error(PageError::Io));
        let mut byte = [0];
        let failed = copy.read_at(5 * PAGE as usize, &mut byte).unwrap_err();
        assert!(
            matches!(
                failed,
                CopyError::Page {
                    page: PageIndex(5),
                    ..
                }
            ),
            "{failed:?}"
        );
        faults.heal_all();
        assert_eq!(ends(&copy, 5), [5, 5]);
    });
}

#[test]
fn a_flush_forces_pending_copies() {
    kernels::on_each(|bucket| {
        let (pager, _faults) = pager(&bucket, 4, CopyStrategy::Delay);
        fill(&pager, 1, 100);
        let copy = all(&pager);
        pager.flush_blocking(Wait::Yes).unwrap();
        assert_eq!(object(&pager, 1), 1, "a flush drops what was stored");
        assert_eq!(ends(&copy, 1), [100, 100]);
        assert_eq!(ends(&copy, 2), [2, 2]);
    });
}

#[test]
fn a_return_forces_pending_copies() {
    kernels::on_each(|bucket| {
        let (pager, faults) = pager(&bucket, 4, CopyStrategy::Delay);
        fill(&pager, 1, 100);
        let copy = all(&pager);
        pager.return_pages_blocking(Wait::Yes).unwrap();
        fill(&pager, 1, 101);
        pager.return_pages_blocking(Wait::Yes).unwrap();
        assert_eq!(stored(&pager, 1), 101);
        let everything = PageRange::with_len(PageIndex(0), 4);
        faults.fail(CallKind::Read, everything, Fault::Error(PageError::Io));
        assert_eq!(ends(&copy, 1), [100, 100], "taken before the page went back");
    });
}

#[test]
fn each_of_several_copies_keeps_its_own_time() {
    kernels::on_each(|bucket| {
        let (pager, _faults) = pager(&bucket, 8, CopyStrategy::Delay);
        let copies: Vec<_> = (0..5)
            .map(|round| {
                fill(&pager, 3, 100 + round);
                pager
                    .map_copy_blocking(2 * PAGE, 3 * PAGE, Protection::Read)
                    .unwrap()
            })
            .collect();
        fill(&pager, 3, 99);
        fill(&pager, 4, 98);
        for (copy, round) in copies.iter().zip(0..) {
            assert_eq!((copy.offset(), copy.len()), (2 * PAGE, 3 * PAGE as usize));
            assert_eq!(ends(copy, 0), [2, 2]);
            assert_eq!(ends(copy, 1), [100 + round; 2]);
            assert_eq!(ends(copy, 2), [4, 4]);
        }
        let past = copies[0].read_at(3 * PAGE as usize, &mut [0]).unwrap_err();
        assert!(
            matches!(past, CopyError::Call(CallError::OutsideExtent { .. })),
            "{past:?}"
        );
        let refused = copies[0].write_at(0, &[1]).unwrap_err();
        assert!(matches!(refused, CopyError::ReadOnly), "{refused:?}");
    });
}

#[test]
fn a_change_of_attributes_changes_how_copies_are_made() {
    kernels::on_each(|bucket| {
        let (pager, faults) = pager(&bucket, 4, CopyStrategy::None);
        let change = |strategy| {
            pager
                .change_attributes_blocking(true, strategy, Wait::Yes)
                .unwrap();
        };
        let reads = || reads(&faults);
        drop(all(&pager));
        let after_none = reads();
        assert!(after_none > 0);
        change(CopyStrategy::Delay);
        pager.return_pages_blocking(Wait::Yes).unwrap();
        let delayed = all(&pager);
        assert_eq!(reads(), after_none, "a delayed copy reads nothing");
        change(CopyStrategy::Call);
        let refused = pager.map_copy_blocking(0, PAGE, Protection::Read).map(|_| ());
        assert!(
            matches!(refused, Err(MapError::CopyStrategy(CopyStrategy::Call))),
            "{refused:?}"
        );
        change(CopyStrategy::None);
        drop(all(&pager));
        assert!(reads() > after_none, "copied at once again");
        fill(&pager, 2, 100);
        assert_eq!(ends(&delayed, 2), [2, 2], "a copy stays what it was made as");
    });
}

#[test]
fn a_read_only_port_gives_copies_that_can_be_written_to() {
    kernels::on_each(|bucket| {
        let (pager, _faults) = pager(&bucket, 4, CopyStrategy::Delay);
        let port = pager.read_only_port();
        let copy = port
            .map_copy_blocking(0, 4 * PAGE, Protection::ReadWrite)
            .unwrap();
        copy.write_at(0, &[9]).unwrap();
        assert_eq!((ends(&copy, 0), object(&pager, 0)), ([9, 0], 0));
    });
}

#[test]
fn a_shutdown_leaves_copies_what_was_resident() {
    kernels::on_each(|bucket| {
        let (pager, _faults) = pager(&bucket, 4, CopyStrategy::Delay);
        fill(&pager, 1, 100);
        let copy = all(&pager);
        assert_eq!(ends(&copy, 2), [2, 2]);
        pager.shutdown_blocking().unwrap();
        assert_eq!(stored(&pager, 1), 100);
        assert_eq!(ends(&copy, 1), [100, 100]);
        let gone = copy.read_at(3 * PAGE as usize, &mut [0]).unwrap_err();
        assert!(matches!(gone, CopyError::Page { .. }), "{gone:?}");
    });
}

#[test]
fn an_inhibition_waits_for_a_copy_that_is_being_made() {
    kernels::on_each(|bucket| {
        let (pager, faults) = pager(&bucket, 100, CopyStrategy::None);
        let read = Point::Before(CallKind::Read);
        faults.hold_all(read);
        let copying = std::thread::spawn({
            let pager = pager.clone();
            move || all(&pager)
        });
        assert!(faults.wait_parked(read, 1, LIMIT));
        let inhibiting = std::thread::spawn({
            let bucket = bucket.clone();
            move || bucket.inhibit_blocking().unwrap()
        });
        faults.release(read);
        inhibiting.join().unwrap();
        let copy = copying.join().unwrap();
        bucket.resume_blocking().unwrap();
        assert_eq!(ends(&copy, 99), [99, 99]);
    });
}

/// Buckets in which `pages` pages can be resident.
fn on_each_bounded(pages: u64, test: impl Fn(Bucket)) {
    for lend_returns in [false, true] {
        let options = SimOptions {
            resident_limit: Some(pages),
            lend_returns,
            ..SimOptions::default()
        };
        let simulated = Arc::new(SimHost::new(options));
        test(Bucket::builder().kernel(simulated).workers(4).start().unwrap());
    }
    #[cfg(target_os = "linux")]
    test(
        Bucket::builder()
            .workers(4)
            .resident_limit(pages * PAGE)
            .start()
            .unwrap(),
    );
}

#[test]
fn evictions_under_a_small_bound_keep_the_copy() {
    on_each_bounded(16, |bucket| {
        for strategy in STRATEGIES {
            let (pager, _faults) = pager(&bucket, 200, strategy);
            for page in 0..100 {
                fill(&pager, page, 200 - page as u8);
            }
            let copy = all(&pager);
            for round in 0..2 {
                for page in 0..200 {
                    fill(&pager, page, 77 + round);
                }
            }
            for page in 0..200 {
                let then = if page < 100 { 200 - page as u8 } else { page as u8 };
                assert_eq!(ends(&copy, page), [then; 2], "page {page}, {strategy:?}");
                assert_eq!(object(&pager, page), 78);
            }
            drop(copy);
            pager.shutdown_blocking().unwrap();
        }
    });
}

/// Words at real addresses.
#[cfg(target_os = "linux")]
mod real {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
    use std::thread;

    use super::*;

    const THREADS: u64 = 4;
    const PAGES: u64 = 64;

    /// The word of `thread` in `page`.
    fn word(mapping: &Mapping, page: u64, thread: u64) -> &AtomicU64 {
        let at = page * PAGE + thread * 8;
        assert!(at < mapping.len() as u64);
        let address = mapping.as_ptr() as usize + at as usize;
        // SAFETY: the word lies inside of the mapping, is aligned, and is only ever used as an atomic.
        unsafe { &*std::ptr::with_exposed_provenance::<AtomicU64>(address) }
    }

    /// Each thread writes 1, 2, 3 … to its word of every page, in the order of the pages.
    fn write_rounds(mapping: &Mapping, thread: u64, stop: &AtomicBool) {
        let mut round = 0;
        while !stop.load(SeqCst) {
            round += 1;
            for page in 0..PAGES {
                word(mapping, page, thread).store(round, SeqCst);
            }
        }
    }

    /// A moment between two stores of each thread: what `thread` wrote falls by one somewhere at most.
    fn moment(copy: &Mapping, thread: u64) -> Vec<u64> {
        let words: Vec<_> = (0..PAGES)
            .map(|page| word(copy, page, thread).load(SeqCst))
            .collect();
        assert!(words.is_sorted_by(|a, b| a >= b), "thread {thread}: {words:?}");
        assert!(
            words[0] - words[PAGES as usize - 1] <= 1,
            "thread {thread}: {words:?}"
        );
        words
    }

    fn copies_under_writers(bucket: &Bucket, strategy: CopyStrategy) {
        let options = PagerOptions {
            copy_strategy: strategy,
            ..PagerOptions::default()
        };
        let pager = bucket
            .create_pager(MemoryBackend::new(PAGES * PAGE), options)
            .unwrap();
        let mapping = pager.map_all_blocking(Protection::ReadWrite).unwrap();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (mapping, stop) = (&mapping, &stop);
                scope.spawn(move || write_rounds(mapping, thread, stop));
            }
            let mut before: Vec<Vec<u64>> = vec![vec![0; PAGES as usize]; THREADS as usize];
            let mut kept = Vec::new();
            for round in 0..30 {
                let copy = pager
                    .map_copy_blocking(0, PAGES * PAGE, Protection::ReadWrite)
                    .unwrap();
                let now: Vec<_> = (0..THREADS).map(|thread| moment(&copy, thread)).collect();
                assert!(
                    before
                        .iter()
                        .flatten()
                        .zip(now.iter().flatten())
                        .all(|(a, b)| a <= b),
                    "time goes on"
                );
                word(&copy, 0, 100).store(1, SeqCst);
                before.clone_from(&now);
                if round % 3 == 0 {
                    kept.push((copy, now));
                }
            }
            for (copy, then) in &kept {
                for thread in 0..THREADS {
                    assert_eq!(
                        moment(copy, thread),
                        then[thread as usize],
                        "a copy never changes"
                    );
                }
            }
            stop.store(true, SeqCst);
        });
        assert_eq!(
            word(&mapping, 0, 100).load(SeqCst),
            0,
            "stores to copies stay there"
        );
        pager.sync_blocking(Wait::Yes).unwrap();
        let stored = pager.backend().read(100 * 8, 8);
        assert_eq!(stored, [0; 8]);
    }

    #[test]
    fn a_copy_is_one_moment_under_four_writing_threads() {
        let bucket = Bucket::builder().start().unwrap();
        copies_under_writers(&bucket, CopyStrategy::Delay);
        copies_under_writers(&bucket, CopyStrategy::None);
    }

    #[test]
    fn a_copy_is_one_moment_under_writers_and_evictions() {
        let bucket = Bucket::builder().resident_limit(24 * PAGE).start().unwrap();
        copies_under_writers(&bucket, CopyStrategy::Delay);
        copies_under_writers(&bucket, CopyStrategy::None);
    }

    #[test]
    fn threads_that_touch_an_absent_page_of_a_copy_wait_for_the_store() {
        const READ: Point = Point::Before(CallKind::Read);
        let bucket = Bucket::builder().start().unwrap();
        let (pager, faults) = pager(&bucket, 4, CopyStrategy::Delay);
        let copy = all(&pager);
        faults.hold_all(READ);
        thread::scope(|scope| {
            let readers: Vec<_> = (0..4)
                .map(|page| {
                    scope.spawn({
                        let copy = &copy;
                        move || word(copy, page, 0).load(SeqCst)
                    })
                })
                .collect();
            assert!(faults.wait_parked(READ, 1, LIMIT));
            faults.release(READ);
            for (page, reader) in (0..4).zip(readers) {
                assert_eq!(reader.join().unwrap(), page * 0x0101_0101_0101_0101);
            }
        });
    }

    /// SIGBUS signals that came.
    static SIGNALS: AtomicU64 = AtomicU64::new(0);

    extern "C" fn on_sigbus(_: libc::c_int) {
        // The instruction is tried again when this returns.
        SIGNALS.fetch_add(1, SeqCst);
        // SAFETY: allowed in signal handlers.
        unsafe { libc::sched_yield() };
    }

    #[test]
    fn a_bad_page_of_a_copy_gives_sigbus_until_the_store_works_again() {
        let handler = on_sigbus as extern "C" fn(libc::c_int);
        // SAFETY: the handler does only what signal handlers may.
        unsafe { libc::signal(libc::SIGBUS, handler as *const () as libc::sighandler_t) };
        let bucket = Bucket::builder().start().unwrap();
        let (pager, faults) = pager(&bucket, 4, CopyStrategy::Delay);
        let copy = all(&pager);
        let bad = PageRange::single(PageIndex(2));
        faults.fail(CallKind::Read, bad, Fault::Error(PageError::Io));
        thread::scope(|scope| {
            let reader = scope.spawn(|| word(&copy, 2, 0).load(SeqCst));
            while SIGNALS.load(SeqCst) == 0 {
                assert!(!reader.is_finished(), "a page that cannot be had was read");
                thread::yield_now();
            }
            faults.heal_all();
            assert_eq!(reader.join().unwrap(), 0x0202_0202_0202_0202);
        });
    }
}
