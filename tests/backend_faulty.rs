//! A store that fails on purpose: it fails as told, the same way for the same seed, and lets go.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use actor_pager::backend::{
    Backend, CallKind, Fault, FaultControl, FaultRates, FaultyBackend, MemoryBackend, PageOutcome, Point,
    ReadRun, WriteError, WriteRun,
};
use actor_pager::object::{PageError, PageIndex, PageRange, PageSize};

const SIZE: PageSize = PageSize::KIB_4;
const PAGE: usize = 4096;
const LONG: Duration = Duration::from_secs(60);

fn store(seed: u64) -> (Arc<FaultyBackend<MemoryBackend>>, FaultControl) {
    let (store, control) = FaultyBackend::new(MemoryBackend::new(64 * PAGE as u64), seed);
    (Arc::new(store), control)
}

fn pages(start: u64, count: u64) -> PageRange {
    PageRange::with_len(PageIndex(start), count)
}

fn read(store: &impl Backend, range: PageRange) -> Vec<PageOutcome> {
    let mut bytes = vec![0; range.bytes(SIZE) as usize];
    let mut outcomes = Vec::new();
    let mut run = ReadRun::new(range, SIZE, &mut bytes, &mut outcomes);
    let result = store.read_pages(&mut run);
    run.finish(result);
    outcomes
}

fn write(store: &impl Backend, range: PageRange, byte: u8) -> Result<(), WriteError> {
    let bytes = vec![byte; range.bytes(SIZE) as usize];
    store.write_pages(&WriteRun::new(range, SIZE, &bytes))
}

fn good(outcomes: &[PageOutcome]) -> Vec<bool> {
    let is_good = |outcome: &PageOutcome| matches!(outcome, PageOutcome::Supplied { .. });
    outcomes.iter().map(is_good).collect()
}

#[test]
fn a_scripted_error_strikes_once_and_keeps_its_kind() {
    let (store, control) = store(0);
    control.fail_next_read(PageIndex(3), PageError::Quota);
    assert_eq!(good(&read(&*store, pages(0, 2))), [true, true], "another page");
    assert_eq!(
        read(&*store, pages(3, 1)),
        [PageOutcome::Failed(PageError::Quota)]
    );
    assert_eq!(good(&read(&*store, pages(3, 1))), [true]);
    control.fail_next_write(PageIndex(3), PageError::NoSpace);
    let error = write(&*store, pages(2, 4), 1).unwrap_err();
    assert_eq!(
        (error.written, error.source.page_error()),
        (1, PageError::NoSpace),
        "the page before the bad one is written"
    );
    assert_eq!(control.counts(CallKind::Write).errors, 1);
}

#[test]
fn a_bad_page_fails_alone_in_a_longer_read() {
    let (store, control) = store(0);
    control.fail(CallKind::Read, pages(4, 1), Fault::Error(PageError::Io));
    let expected = [true, true, false, true];
    assert_eq!(good(&read(&*store, pages(2, 4))), expected);
}

#[test]
fn a_broken_range_stays_broken_until_it_is_healed_page_by_page() {
    let (store, control) = store(0);
    control.fail(CallKind::Read, pages(4, 3), Fault::Error(PageError::Io));
    let state = |store: &FaultyBackend<_>| [4, 5, 6].map(|page| good(&read(store, pages(page, 1)))[0]);
    assert_eq!(state(&store), [false, false, false]);
    control.heal(PageIndex(5));
    assert_eq!(state(&store), [false, true, false]);
    control.heal_all();
    assert_eq!(state(&store), [true, true, true]);
}

#[test]
fn a_short_write_says_how_far_it_came_and_a_torn_one_spoils_the_next_page() {
    for (fault, torn) in [(Fault::Short, 0), (Fault::Torn, PAGE / 2)] {
        let (store, control) = store(0);
        control.fail_next(CallKind::Write, pages(0, 4), fault);
        assert_eq!(write(&*store, pages(0, 4), 9).unwrap_err().written, 2);
        let contents = store.inner().read(0, 4 * PAGE);
        let written = contents.iter().filter(|&&byte| byte == 9).count();
        assert_eq!(written, 2 * PAGE + torn, "{fault:?}");
        write(&*store, pages(0, 4), 9).expect("the next write is whole");
        assert!(store.inner().read(0, 4 * PAGE).iter().all(|&byte| byte == 9));
    }
}

#[test]
fn a_short_read_fails_only_the_second_half() {
    for fault in [Fault::Short, Fault::Torn] {
        let (store, control) = store(0);
        control.fail_next(CallKind::Read, pages(0, 4), fault);
        assert_eq!(good(&read(&*store, pages(0, 4))), [true, true, false, false]);
    }
}

#[test]
fn a_panic_leaves_the_store_usable() {
    let (store, control) = store(0);
    control.fail_next(CallKind::Read, pages(0, 1), Fault::Panic);
    let caught = catch_unwind(AssertUnwindSafe(|| read(&*store, pages(0, 1))));
    assert!(caught.is_err());
    assert_eq!(good(&read(&*store, pages(0, 1))), [true]);
    assert_eq!(control.counts(CallKind::Read).panics, 1);
}

#[test]
fn a_hanging_write_goes_on_when_released_and_lands_late() {
    let (store, control) = store(0);
    control.fail_next(CallKind::Write, pages(0, 1), Fault::Hang);
    let worker = thread::spawn({
        let store = Arc::clone(&store);
        move || write(&*store, pages(0, 1), 1).is_ok()
    });
    assert!(control.wait_hanging(1, LONG));
    write(&*store, pages(0, 1), 2).expect("another call goes through");
    control.release_hangs();
    assert!(worker.join().unwrap());
    assert_eq!(store.inner().read(0, 1), [1]);
}

#[test]
fn dropping_the_control_lets_everything_go() {
    let (store, control) = store(0);
    control.fail(CallKind::Read, pages(0, 1), Fault::Hang);
    control.hold_all(Point::After(CallKind::Write));
    let spawn = |call: fn(&FaultyBackend<MemoryBackend>)| {
        let store = Arc::clone(&store);
        thread::spawn(move || call(&store))
    };
    let hung = spawn(|store| drop(read(store, pages(0, 1))));
    let parked = spawn(|store| drop(write(store, pages(5, 1), 3)));
    assert!(control.wait_hanging(1, LONG));
    assert!(control.wait_parked(Point::After(CallKind::Write), 1, LONG));
    drop(control);
    hung.join().unwrap();
    parked.join().unwrap();
    assert_eq!(
        good(&read(&*store, pages(0, 1))),
        [true],
        "nothing hangs any more"
    );
}

#[test]
fn a_call_parks_before_or_after_its_work() {
    for (point, landed) in [
        (Point::Before(CallKind::Write), 0),
        (Point::After(CallKind::Write), 8),
    ] {
        let (store, control) = store(0);
        control.hold(point, pages(1, 1));
        write(&*store, pages(0, 1), 8).expect("another page does not park");
        let worker = thread::spawn({
            let store = Arc::clone(&store);
            move || write(&*store, pages(1, 1), 8).is_ok()
        });
        assert!(control.wait_parked(point, 1, LONG));
        assert_eq!(store.inner().read(PAGE as u64, 1), [landed], "{point:?}");
        control.release(point);
        assert!(worker.join().unwrap());
        assert_eq!(store.inner().read(PAGE as u64, 1), [8]);
    }
}

#[test]
fn an_inline_read_leaves_the_page_to_the_pool_where_a_fault_may_strike() {
    let (store, control) = store(0);
    let inline = |page| {
        let mut bytes = vec![0; PAGE];
        let mut outcomes = Vec::new();
        let mut run = ReadRun::new(pages(page, 1), SIZE, &mut bytes, &mut outcomes);
        store.try_read_pages(&mut run).map(|result| result.is_ok())
    };
    assert_eq!(inline(0), Some(true));
    control.fail_next_read(PageIndex(0), PageError::Io);
    assert_eq!((inline(0), inline(1)), (None, Some(true)));
    control.fail_next(CallKind::TryRead, pages(1, 1), Fault::Error(PageError::Io));
    assert_eq!(inline(1), Some(false));
    control.hold(Point::Before(CallKind::Read), pages(1, 1));
    assert_eq!(inline(1), None);
}

/// The pages whose n-th reads fail, with four threads or one.
fn failures(seed: u64, threads: u64) -> Vec<(u64, Vec<bool>)> {
    let (store, control) = store(seed);
    let rates = FaultRates {
        error: 0.2,
        short: 0.1,
        ..FaultRates::default()
    };
    control.set_rates(CallKind::Read, rates);
    let mut all = thread::scope(|scope| {
        let spawn = |first| {
            let store = &store;
            scope.spawn(move || {
                let mine = (first..64).step_by(threads as usize);
                let reads = |page| {
                    (0..10)
                        .map(|_| good(&read(&**store, pages(page, 1)))[0])
                        .collect()
                };
                mine.map(|page| (page, reads(page))).collect::<Vec<_>>()
            })
        };
        let workers: Vec<_> = (0..threads).map(spawn).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("a worker"))
            .collect::<Vec<_>>()
    });
    all.sort();
    all
}

#[test]
fn one_seed_is_one_course_however_many_threads() {
    let once = failures(7, 1);
    assert_eq!(once, failures(7, 4));
    assert_ne!(once, failures(8, 1));
    let failed = once
        .iter()
        .flat_map(|(_, reads)| reads)
        .filter(|good| !**good)
        .count();
    assert!((130..260).contains(&failed), "30 % of 640 reads: {failed}");
}

#[test]
fn unlock_and_sync_fail_as_told() {
    let (store, control) = store(0);
    control.fail_next(CallKind::Unlock, pages(0, 1), Fault::Error(PageError::NoSpace));
    control.fail_next(CallKind::Sync, pages(0, 1), Fault::Error(PageError::Io));
    let error = store.unlock_pages(pages(0, 1), SIZE).unwrap_err();
    assert_eq!(error.page_error(), PageError::NoSpace);
    assert_eq!(store.sync().unwrap_err().page_error(), PageError::Io);
    assert!(store.unlock_pages(pages(0, 1), SIZE).is_ok() && store.sync().is_ok());
}
