//! The contract of `Backend`, as tests over any store.

use std::sync::Arc;
use std::thread;

use actor_pager::backend::{Backend, BackendError, PageBuffer, PageOutcome, ReadRun, WriteRun};
use actor_pager::object::{PageIndex, PageRange, PageSize};

const SIZE: PageSize = PageSize::KIB_4;
const PAGE: u64 = 4096;

/// A store under test, and how to look behind it.
pub(crate) trait Store: Sized {
    /// A store of `length` zero bytes.
    fn make(length: u64) -> Self;

    /// The store, as a pager sees it.
    fn backend(&self) -> Arc<dyn Backend>;

    /// Every byte that is in the store.
    fn contents(&self) -> Vec<u8>;
}

/// Makes one test of every point of the contract.
macro_rules! every_store_must {
    ($module:ident, $store:ty) => {
        mod $module {
            use super::*;

            suite::every_store_must!(@ $store:
                report_the_length_it_was_made_with,
                read_zeros_where_nothing_was_written,
                read_back_what_was_written,
                overwrite_what_the_buffer_held,
                take_memory_that_is_not_aligned,
                read_zeros_behind_an_odd_end,
                write_nothing_behind_its_end,
                take_pages_of_two_mebibytes,
                read_the_same_inline_or_not_at_all,
                unlock_what_it_locked,
                sync_and_keep,
                serve_many_threads_at_once,
            );
        }
    };
    (@ $store:ty: $($point:ident,)*) => {
        $(
            #[test]
            fn $point() {
                suite::$point::<$store>();
            }
        )*
    };
}
pub(crate) use every_store_must;

fn pages(start: u64, count: u64) -> PageRange {
    PageRange::with_len(PageIndex(start), count)
}

/// Bytes that differ from page to page and from byte to byte.
fn pattern(range: PageRange, salt: u8) -> PageBuffer {
    let mut bytes = PageBuffer::zeroed(range.bytes(SIZE) as usize);
    let first = range.offset(SIZE);
    for (offset, byte) in (first..).zip(bytes.iter_mut()) {
        *byte = (offset / PAGE) as u8 ^ (offset % 251) as u8 ^ salt | 1;
    }
    bytes
}

fn read_into(backend: &dyn Backend, range: PageRange, into: &mut [u8]) -> Vec<PageOutcome> {
    let mut outcomes = Vec::new();
    let mut run = ReadRun::new(range, SIZE, into, &mut outcomes);
    let result = backend.read_pages(&mut run);
    run.finish(result);
    outcomes
}

fn read(backend: &dyn Backend, range: PageRange) -> PageBuffer {
    let mut bytes = PageBuffer::zeroed(range.bytes(SIZE) as usize);
    let outcomes = read_into(backend, range, &mut bytes);
    let good = |outcome: &PageOutcome| matches!(outcome, PageOutcome::Supplied { .. });
    assert!(outcomes.iter().all(good), "{outcomes:?}");
    bytes
}

fn write(backend: &dyn Backend, range: PageRange, bytes: &[u8]) {
    backend
        .write_pages(&WriteRun::new(range, SIZE, bytes))
        .expect("write");
}

pub(crate) fn report_the_length_it_was_made_with<S: Store>() {
    for length in [1, PAGE, 3 * PAGE + 5] {
        assert_eq!(S::make(length).backend().extent(), length);
    }
}

pub(crate) fn read_zeros_where_nothing_was_written<S: Store>() {
    let store = S::make(32 * PAGE);
    let bytes = read(&*store.backend(), pages(3, 29));
    assert!(bytes.iter().all(|&byte| byte == 0));
}

pub(crate) fn read_back_what_was_written<S: Store>() {
    let store = S::make(64 * PAGE);
    let backend = store.backend();
    for range in [pages(0, 1), pages(5, 3), pages(14, 20), pages(60, 4)] {
        let bytes = pattern(range, 0);
        write(&*backend, range, &bytes);
        assert_eq!(*read(&*backend, range), *bytes, "{range:?}");
    }
    let at = 14 * PAGE as usize;
    assert_eq!(
        store.contents()[at..at + 20 * PAGE as usize],
        *pattern(pages(14, 20), 0)
    );
    let between = read(&*backend, pages(8, 6));
    assert!(between.iter().all(|&byte| byte == 0), "neighbours are untouched");
}

pub(crate) fn overwrite_what_the_buffer_held<S: Store>() {
    let store = S::make(2 * PAGE + 100);
    let mut bytes = PageBuffer::zeroed(3 * PAGE as usize);
    bytes.fill(0xEE);
    read_into(&*store.backend(), pages(0, 3), &mut bytes);
    assert!(
        bytes.iter().all(|&byte| byte == 0),
        "bytes of another reader shine through"
    );
}

pub(crate) fn take_memory_that_is_not_aligned<S: Store>() {
    let store = S::make(4 * PAGE + 9);
    let backend = store.backend();
    let range = pages(1, 2);
    let length = range.bytes(SIZE) as usize;
    let mut shifted = PageBuffer::zeroed(length + 1);
    shifted[1..].copy_from_slice(&pattern(range, 7));
    write(&*backend, range, &shifted[1..]);
    shifted.fill(0);
    read_into(&*backend, range, &mut shifted[1..]);
    assert_eq!(shifted[1..], *pattern(range, 7));
}

pub(crate) fn read_zeros_behind_an_odd_end<S: Store>() {
    let store = S::make(PAGE + 100);
    let backend = store.backend();
    write(&*backend, pages(0, 2), &pattern(pages(0, 2), 0));
    let last = read(&*backend, pages(1, 1));
    assert_eq!(last[..100], pattern(pages(1, 1), 0)[..100]);
    assert!(last[100..].iter().all(|&byte| byte == 0));
}

pub(crate) fn write_nothing_behind_its_end<S: Store>() {
    for length in [100, PAGE, 2 * PAGE + 1, 3 * PAGE - 1] {
        let store = S::make(length);
        let range = SIZE.pages_around(0, length).expect("a range");
        write(&*store.backend(), range, &pattern(range, 0));
        assert_eq!(store.contents(), pattern(range, 0)[..length as usize]);
    }
}

pub(crate) fn take_pages_of_two_mebibytes<S: Store>() {
    let size = PageSize::MIB_2;
    let store = S::make(size.bytes() + 4321);
    let backend = store.backend();
    let range = pages(0, 2);
    let mut bytes = PageBuffer::zeroed(range.bytes(size) as usize);
    bytes.fill(0x5A);
    backend
        .write_pages(&WriteRun::new(range, size, &bytes))
        .expect("write");
    let mut outcomes = Vec::new();
    let mut run = ReadRun::new(range, size, &mut bytes, &mut outcomes);
    backend.read_pages(&mut run).expect("read");
    let (inside, beyond) = bytes.split_at((size.bytes() + 4321) as usize);
    assert!(inside.iter().all(|&byte| byte == 0x5A));
    assert!(beyond.iter().all(|&byte| byte == 0));
    assert_eq!(store.contents().len() as u64, size.bytes() + 4321);
}

pub(crate) fn read_the_same_inline_or_not_at_all<S: Store>() {
    let store = S::make(8 * PAGE + 11);
    let backend = store.backend();
    let range = pages(4, 5);
    write(&*backend, range, &pattern(range, 3));
    let waiting = read(&*backend, range);
    let mut inline = PageBuffer::zeroed(range.bytes(SIZE) as usize);
    inline.fill(0xEE);
    let mut outcomes = Vec::new();
    let mut run = ReadRun::new(range, SIZE, &mut inline, &mut outcomes);
    match backend.try_read_pages(&mut run) {
        None => println!("this store reads nothing inline"),
        Some(result) => {
            run.finish(result);
            assert_eq!(*inline, *waiting);
        }
    }
}

pub(crate) fn unlock_what_it_locked<S: Store>() {
    let store = S::make(4 * PAGE + 1);
    let backend = store.backend();
    let range = pages(0, 5);
    backend.unlock_pages(range, SIZE).expect("unlock");
    let unlocked = read(&*backend, range);
    assert!(
        unlocked.iter().all(|&byte| byte == 0),
        "unlocking changes no byte"
    );
    assert_eq!(
        store.contents().len() as u64,
        4 * PAGE + 1,
        "unlocking changes no length"
    );
    write(&*backend, range, &pattern(range, 0));
}

pub(crate) fn sync_and_keep<S: Store>() {
    let store = S::make(2 * PAGE);
    let backend = store.backend();
    write(&*backend, pages(0, 2), &pattern(pages(0, 2), 9));
    let synced: Result<(), BackendError> = backend.sync();
    synced.expect("sync");
    assert_eq!(*read(&*backend, pages(0, 2)), *pattern(pages(0, 2), 9));
}

pub(crate) fn serve_many_threads_at_once<S: Store>() {
    let store = S::make(64 * PAGE);
    let backend = store.backend();
    thread::scope(|scope| {
        for thread in 0..8 {
            let backend = &backend;
            scope.spawn(move || {
                let mine = pages(thread * 8, 8);
                for round in 0..20 {
                    let bytes = pattern(mine, round);
                    write(&**backend, mine, &bytes);
                    assert_eq!(*read(&**backend, mine), *bytes);
                }
            });
        }
    });
}
