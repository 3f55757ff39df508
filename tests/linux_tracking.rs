//! Writes that no fault tells of: found by asking the page tables, with real memory.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod linux_support;

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use actor_pager::backend::{Backend, BackendError, ReadRun, WriteError, WriteRun};
use actor_pager::mach::KernelHost;
use actor_pager::mach::linux::{DirtyTracking, LinuxHost, LinuxOptions};
use actor_pager::mach::stream::Advice;
use actor_pager::object::{PageIndex, PageRange, Prot, ShouldReturn};
use actor_pager::{Bucket, PagerOptions, Protection, Wait};
use linux_support::*;

fn asynchronous() -> Option<LinuxHost> {
    host(LinuxOptions::default().dirty_tracking(DirtyTracking::Async))
}

fn range(start: u64, end: u64) -> PageRange {
    PageRange::new(PageIndex(start), PageIndex(end))
}

/// Pages that were returned dirty since the last call.
fn returned(host: &LinuxHost, since: &mut u64) -> u64 {
    let now = host.stats().pages_out;
    now - std::mem::replace(since, now)
}

fn stored(pager: &Pager, at: usize) -> u8 {
    pager.store.lock().unwrap().bytes[at]
}

#[test]
fn exactly_the_written_pages_come_back_and_no_write_faults() {
    let Some(host) = asynchronous() else { return };
    let pager = Pager::new(&host, 64 * PAGE);
    let mapping = pager.map(Prot::READ_WRITE);
    let other = pager.map(Prot::READ_WRITE);
    (0..64).for_each(|page| assert_eq!(peek(&mapping, page * PAGE), pattern(page * PAGE)));
    let mut out = 0;
    pager.sync();
    assert_eq!(returned(&host, &mut out), 0, "nothing was written");
    [3, 4, 5, 40]
        .into_iter()
        .for_each(|page| poke(&mapping, page * PAGE + 7, 0xa0 + page as u8));
    poke(&other, 50 * PAGE, 0x50);
    pager.sync();
    assert_eq!(returned(&host, &mut out), 5);
    [3, 4, 5, 40]
        .into_iter()
        .for_each(|page| assert_eq!(stored(&pager, page * PAGE + 7), 0xa0 + page as u8));
    assert_eq!(stored(&pager, 50 * PAGE), 0x50);
    pager.sync();
    assert_eq!(returned(&host, &mut out), 0, "written once, returned once");
    poke(&mapping, 4 * PAGE, 0x11);
    pager.sync();
    assert_eq!((returned(&host, &mut out), stored(&pager, 4 * PAGE)), (1, 0x11));
    assert_eq!(host.stats().faults_protected, 0);
}

#[test]
fn what_is_returned_and_dropped_is_exactly_what_was_written() {
    let Some(host) = asynchronous() else { return };
    let pager = Pager::new(&host, 64 * PAGE);
    let mapping = pager.map(Prot::READ_WRITE);
    (0..64).for_each(|page| assert_eq!(peek(&mapping, page * PAGE), pattern(page * PAGE)));
    [0, 31, 63]
        .into_iter()
        .for_each(|page| poke(&mapping, page * PAGE, 0xee));
    let mut out = 0;
    pager.lock_request(range(0, 64), ShouldReturn::Dirty, true, Prot::NO_CHANGE);
    assert_eq!(returned(&host, &mut out), 3);
    pager.wait_until("all pages are gone", |server| {
        server.kernel.residency().resident == 0
    });
    [0, 31, 63]
        .into_iter()
        .for_each(|page| assert_eq!(peek(&mapping, page * PAGE), 0xee));
    assert_eq!(peek(&mapping, 5 * PAGE), pattern(5 * PAGE));
}

#[test]
fn what_a_client_forgets_moves_or_unmaps_is_not_lost() {
    let Some(host) = asynchronous() else { return };
    let pager = Pager::new(&host, 64 * PAGE);
    let mapping = pager.map(Prot::READ_WRITE);
    (0..64).for_each(|page| assert_eq!(peek(&mapping, page * PAGE), pattern(page * PAGE)));
    poke(&mapping, 0, 1);
    poke(&mapping, 20 * PAGE, 2);
    poke(&mapping, 40 * PAGE, 3);
    let at = |page: usize| (mapping.address + page * PAGE) as *mut libc::c_void;
    // SAFETY: the range is part of a shared mapping that this test owns.
    assert_eq!(unsafe { libc::madvise(at(0), PAGE, libc::MADV_DONTNEED) }, 0);
    // SAFETY: as above; nobody uses the addresses any more.
    assert_eq!(unsafe { libc::munmap(at(20), PAGE) }, 0);
    // SAFETY: as above; the kernel chooses where it goes.
    let moved = unsafe { libc::mremap(at(40), PAGE, PAGE, libc::MREMAP_MAYMOVE) };
    assert_ne!(moved, libc::MAP_FAILED);
    pager.sync();
    assert_eq!(
        (
            stored(&pager, 0),
            stored(&pager, 20 * PAGE),
            stored(&pager, 40 * PAGE)
        ),
        (1, 2, 3)
    );
    let mut out = host.stats().pages_out;
    pager.sync();
    assert_eq!(returned(&host, &mut out), 0, "known to be clean again");
}

#[test]
fn what_was_written_is_not_lost_when_the_mapping_goes_or_pages_are_given_up() {
    let Some(host) = asynchronous() else { return };
    let pager = Pager::new(&host, 16 * PAGE);
    let (mapping, second) = (pager.map(Prot::READ_WRITE), pager.map(Prot::READ_WRITE));
    (0..16).for_each(|page| assert_eq!(peek(&mapping, page * PAGE), pattern(page * PAGE)));
    poke(&mapping, PAGE, 0x77);
    pager.unmap(mapping);
    pager.sync();
    assert_eq!(stored(&pager, PAGE), 0x77);
    poke(&second, 2 * PAGE, 0x78);
    pager.with_server(|server| server.kernel.advise(range(0, 16), Advice::DontNeed));
    assert_eq!(peek(&second, 2 * PAGE), 0x78);
    poke(&second, 3 * PAGE, 0x79);
    pager.unmap(second);
    pager.sync();
    assert_eq!(stored(&pager, 3 * PAGE), 0x79);
}

#[test]
fn eight_writing_threads_and_syncs() {
    let Some(host) = asynchronous() else { return };
    threads_and_syncs(&host, |pager, round| {
        if round % 3 == 2 {
            let all = pager.with_server(|server| server.pages());
            pager.lock_request(all, ShouldReturn::Dirty, true, Prot::NO_CHANGE);
        } else {
            pager.sync();
        }
    });
}

#[test]
fn eight_writing_threads_while_tracking_changes() {
    let Some(host) = asynchronous() else { return };
    threads_and_syncs(&host, |pager, round| {
        if round == 5 {
            pager.lock_request(range(0, 8), ShouldReturn::None, false, Prot::WRITE);
        }
        pager.sync();
    });
    assert!(host.stats().faults_protected > 0, "writes raise faults by now");
}

/// Each thread writes bytes of its own to all pages, while `between` is done again and again.
fn threads_and_syncs(host: &LinuxHost, between: impl Fn(&Pager, usize)) {
    const PAGES: usize = 128;
    let pager = Pager::new(host, PAGES * PAGE);
    let mapping = pager.map(Prot::READ_WRITE);
    let last: Vec<Vec<AtomicU8>> = (0..8)
        .map(|thread| {
            (0..PAGES)
                .map(|page| AtomicU8::new(pattern(page * PAGE + thread)))
                .collect()
        })
        .collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (thread, mine) in last.iter().enumerate() {
            let (mapping, done) = (&mapping, &done);
            scope.spawn(move || {
                let mut random = Random(thread as u64 + 1);
                while !done.load(Relaxed) {
                    let page = random.below(PAGES);
                    let at = page * PAGE + thread;
                    assert_eq!(
                        peek(mapping, at),
                        mine[page].load(Relaxed),
                        "thread {thread} page {page}"
                    );
                    let value = random.below(256) as u8;
                    poke(mapping, at, value);
                    mine[page].store(value, Relaxed);
                }
            });
        }
        for round in 0..60 {
            between(&pager, round);
        }
        done.store(true, Relaxed);
    });
    pager.sync();
    for (thread, mine) in last.iter().enumerate() {
        for (page, value) in mine.iter().enumerate() {
            assert_eq!(
                stored(&pager, page * PAGE + thread),
                value.load(Relaxed),
                "thread {thread} page {page}"
            );
        }
    }
}

#[test]
fn a_write_lock_that_appears_is_kept() {
    let Some(host) = asynchronous() else { return };
    let pager = Pager::new(&host, 32 * PAGE);
    let mapping = pager.map(Prot::READ_WRITE);
    (0..32).for_each(|page| assert_eq!(peek(&mapping, page * PAGE), pattern(page * PAGE)));
    poke(&mapping, 9 * PAGE, 0x99);
    pager.lock_request(range(4, 5), ShouldReturn::None, false, Prot::WRITE);
    assert_eq!(peek(&mapping, 4 * PAGE), pattern(4 * PAGE), "reading is allowed");
    poke(&mapping, 4 * PAGE, 0x44);
    // The thread may look once more before the lock is gone from its mapping.
    assert!(host.stats().faults_protected >= 1, "writing is asked for");
    let mut out = 0;
    pager.sync();
    assert_eq!(
        returned(&host, &mut out),
        2,
        "what was written before is known, and no more"
    );
    assert_eq!((stored(&pager, 9 * PAGE), stored(&pager, 4 * PAGE)), (0x99, 0x44));
    assert_eq!(peek(&mapping, 10 * PAGE), pattern(10 * PAGE));
    poke(&mapping, 10 * PAGE, 0x10);
    assert!(
        host.stats().faults_protected > 1,
        "a first write is a fault from now on"
    );
    pager.unmap(mapping);
}

#[test]
fn a_page_that_comes_locked_is_kept_locked() {
    let Some(host) = asynchronous() else { return };
    let pager = Pager::new(&host, 8 * PAGE);
    pager.store.lock().unwrap().locked.insert(2);
    let mapping = pager.map(Prot::READ_WRITE);
    poke(&mapping, PAGE, 0x11);
    assert_eq!(peek(&mapping, 2 * PAGE), pattern(2 * PAGE));
    poke(&mapping, 2 * PAGE, 0x22);
    // The thread may look once more before the lock is gone from its mapping.
    assert!(host.stats().faults_protected >= 1, "writing is asked for");
    pager.sync();
    assert_eq!((stored(&pager, PAGE), stored(&pager, 2 * PAGE)), (0x11, 0x22));
}

/// A store that looks at its pages twice, and lets a client write to them in between.
struct LooksTwice {
    bytes: Mutex<Vec<u8>>,
    begun: mpsc::Sender<()>,
    written: Mutex<mpsc::Receiver<()>>,
    same: AtomicBool,
}

impl Backend for LooksTwice {
    fn extent(&self) -> u64 {
        4 * PAGE as u64
    }

    fn read_pages(&self, run: &mut ReadRun<'_>) -> Result<(), BackendError> {
        run.buffer();
        Ok(())
    }

    fn write_pages(&self, run: &WriteRun<'_>) -> Result<(), WriteError> {
        let first = run.bytes().to_vec();
        if self.begun.send(()).is_ok() {
            // Where the writer is stopped by a fault it comes only after this.
            let _ = self.written.lock().unwrap().recv_timeout(Duration::from_secs(10));
        }
        self.same.fetch_and(first == run.bytes(), Relaxed);
        let at = run.offset() as usize;
        self.bytes.lock().unwrap()[at..at + first.len()].copy_from_slice(&first);
        Ok(())
    }
}

#[test]
fn pages_hold_still_while_they_are_written_and_what_comes_meanwhile_is_written_later() {
    let Some(host) = asynchronous() else { return };
    let (begun, begins) = mpsc::channel();
    let (wrote, written) = mpsc::channel();
    let store = LooksTwice {
        bytes: Mutex::new(vec![0; 4 * PAGE]),
        begun,
        written: Mutex::new(written),
        same: AtomicBool::new(true),
    };
    let bucket = Bucket::builder().kernel(Arc::new(host)).start().unwrap();
    let pager = bucket.create_pager(store, PagerOptions::default()).unwrap();
    let mapping = pager.map_all_blocking(Protection::ReadWrite).unwrap();
    let address = mapping.as_mut_ptr() as usize;
    let write = move |byte: u8| {
        // SAFETY: within the mapping, which outlives the threads; bytes are written one at a time.
        unsafe { (address as *mut u8).add(PAGE + 5).write_volatile(byte) }
    };
    write(1);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            begins.recv().unwrap();
            write(2);
            wrote.send(()).unwrap();
        });
        pager.sync_blocking(Wait::Yes).unwrap();
    });
    let byte = || pager.backend().bytes.lock().unwrap()[PAGE + 5];
    assert!(
        pager.backend().same.load(Relaxed),
        "the page changed under the store"
    );
    assert_eq!(byte(), 1);
    pager.sync_blocking(Wait::Yes).unwrap();
    assert_eq!(byte(), 2);
}
