//! The system refuses something at the worst moment: whatever it is, no page is lost for it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod gate;
mod linux_support;

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use actor_pager::backend::MemoryBackend;
use actor_pager::error::{CopyError, MapError};
use actor_pager::mach::KernelHost;
use actor_pager::mach::linux::{DirtyTracking, LinuxOptions};
use actor_pager::object::{CopyStrategy, PageError, PageIndex, PageRange, Prot, ShouldReturn};
use actor_pager::{Bucket, FailurePolicy, Mapping, PagerOptions, Protection, Wait};
use gate::{Kind, Verdict};
use linux_support::*;

fn page(index: u64) -> PageRange {
    PageRange::single(PageIndex(index))
}

fn synchronous() -> LinuxOptions {
    LinuxOptions::default().dirty_tracking(DirtyTracking::Sync)
}

/// Refuses calls of these kinds with this error while the switch is on; counts those that it refused.
#[derive(Clone, Default)]
struct Shortage {
    on: Arc<AtomicBool>,
    refused: Arc<AtomicU64>,
}

impl Shortage {
    fn set(&self, on: bool) {
        self.on.store(on, SeqCst);
    }

    fn refused(&self) -> u64 {
        self.refused.load(SeqCst)
    }

    fn judge(&self) -> Verdict {
        if !self.on.load(SeqCst) {
            return Verdict::Pass;
        }
        self.refused.fetch_add(1, SeqCst);
        Verdict::Refuse(libc::ENOMEM)
    }

    /// Runs `body` where memory for pages of a file is refused while the switch is on.
    fn of_pages(body: impl FnOnce(&Self) + Send) {
        let shortage = Self::default();
        let kind = Kind::of(libc::SYS_pwrite64);
        let judged = shortage.clone();
        gate::behind(&[kind], move |_| judged.judge(), || body(&shortage));
    }
}

#[test]
fn a_store_is_noticed_although_there_was_no_memory_to_protect_its_page() {
    let shortage = Shortage::default();
    let judged = shortage.clone();
    let judge = move |call: gate::Call| match call.field(2) {
        // To protect, not to lift a protection.
        1 => judged.judge(),
        _ => Verdict::Pass,
    };
    gate::behind(&[Kind::ioctl(gate::PROTECT)], judge, || {
        let Some(host) = host(synchronous()) else { return };
        let pager = Pager::new(&host, 8 * PAGE);
        let mapping = pager.map(Prot::READ_WRITE);
        for at in 0..8 {
            poke(&mapping, at * PAGE, 1);
        }
        shortage.set(true);
        pager.sync();
        assert!(shortage.refused() > 0, "nothing was to be protected");
        for at in 0..8 {
            poke(&mapping, at * PAGE, 2);
        }
        pager.sync();
        shortage.set(false);
        let store = pager.store.lock().unwrap();
        for at in 0..8 {
            assert_eq!(store.bytes[at * PAGE], 2, "the second store to page {at} is lost");
        }
    });
}

#[test]
fn a_page_that_a_child_must_not_write_to_is_not_lost_for_want_of_memory() {
    Shortage::of_pages(|shortage| {
        let Some(host) = host(synchronous().inherit(true)) else {
            return;
        };
        if host.describe().contains("lose their mappings") {
            return println!("skipped: {}", host.describe());
        }
        let pager = Pager::new(&host, 8 * PAGE);
        let mapping = pager.map(Prot::READ_WRITE);
        // Page 1 is newer than the store has it, and nobody may write to it.
        poke(&mapping, PAGE, 77);
        pager.lock_request(page(1), ShouldReturn::None, false, Prot::WRITE);
        pager.store.lock().unwrap().refuse_unlock = true;
        shortage.set(true);
        let child = in_child(|| {
            if peek(&mapping, PAGE) != 77 {
                return 1;
            }
            poke(&mapping, PAGE, 78);
            0
        });
        assert_eq!(exit_code(child), 1000 + libc::SIGBUS);
        assert!(shortage.refused() > 0, "the page was not made anew");
        shortage.set(false);
        assert_eq!(peek(&mapping, PAGE), 77);
        pager.sync();
        assert_eq!(pager.store.lock().unwrap().bytes[PAGE], 77);
    });
}
/// Pages of the objects below.
const PAGES: u64 = 16;

/// A pager of pages that are full of their number plus one, each of them in memory, and a copy of them.
struct Copied {
    bucket: Bucket,
    pager: actor_pager::Pager<MemoryBackend>,
    object: Mapping,
    copy: Mapping,
}

impl Copied {
    fn new(patience: Duration) -> Option<Self> {
        let bytes: Vec<u8> = (0..PAGES * PAGE as u64)
            .map(|at| (at / PAGE as u64) as u8 + 1)
            .collect();
        let host = Arc::new(host(synchronous())?);
        let bucket = Bucket::builder().workers(2).kernel(host).start().unwrap();
        let options = PagerOptions {
            copy_strategy: CopyStrategy::Delay,
            policy: FailurePolicy {
                memory_deadline: patience,
                ..FailurePolicy::default()
            },
            ..PagerOptions::default()
        };
        let pager = bucket
            .create_pager(MemoryBackend::from_bytes(&bytes), options)
            .unwrap();
        let object = pager.map_all_blocking(Protection::ReadWrite).unwrap();
        (0..PAGES).for_each(|page| assert_eq!(first_byte(&object, page), page as u8 + 1));
        let copy = pager
            .map_copy_blocking(0, pager.extent(), Protection::ReadWrite)
            .unwrap();
        Some(Self {
            bucket,
            pager,
            object,
            copy,
        })
    }

    /// Waits until memory was refused so often since `before`.
    fn wait_for_refusals(&self, before: u64, times: u64) {
        let start = Instant::now();
        while self.bucket.stats().memory_refused < before + times {
            assert!(start.elapsed() < LONG, "nothing was refused");
            thread::yield_now();
        }
    }
}

/// Longer than anything here takes, however slow the machine is.
const LONG: Duration = Duration::from_secs(60);

/// As a thread that touches memory reads it.
fn first_byte(mapping: &Mapping, page: u64) -> u8 {
    peek_at(mapping.as_ptr().expose_provenance() + page as usize * PAGE)
}

fn set_first_byte(mapping: &Mapping, page: u64, value: u8) {
    poke_at(
        mapping.as_mut_ptr().expose_provenance() + page as usize * PAGE,
        value,
    );
}

#[test]
fn a_thread_that_touches_a_copy_waits_until_there_is_memory_for_it() {
    Shortage::of_pages(|shortage| {
        let Some(world) = Copied::new(LONG) else { return };
        shortage.set(true);
        thread::scope(|scope| {
            let reader = scope.spawn(|| first_byte(&world.copy, 3));
            let writer = scope.spawn(|| set_first_byte(&world.copy, 4, 0xC4));
            world.wait_for_refusals(0, 4);
            assert!(!reader.is_finished() && !writer.is_finished());
            shortage.set(false);
            assert_eq!(reader.join().unwrap(), 4);
            writer.join().unwrap();
        });
        assert_eq!(first_byte(&world.copy, 4), 0xC4);
        assert_eq!(first_byte(&world.object, 4), 5);
    });
}

#[test]
fn a_writer_waits_until_there_is_memory_for_the_copy_of_its_page() {
    Shortage::of_pages(|shortage| {
        let Some(world) = Copied::new(LONG) else { return };
        shortage.set(true);
        thread::scope(|scope| {
            let stores = scope.spawn(|| set_first_byte(&world.object, 3, 0xA3));
            let copies = scope.spawn(|| world.pager.write_at_blocking(5 * PAGE as u64, &[0xA5; PAGE]));
            world.wait_for_refusals(0, 4);
            assert!(!stores.is_finished() && !copies.is_finished());
            shortage.set(false);
            stores.join().unwrap();
            copies.join().unwrap().unwrap();
        });
        for (page, new) in [(3, 0xA3), (5, 0xA5)] {
            assert_eq!(first_byte(&world.object, page), new);
            assert_eq!(first_byte(&world.copy, page), page as u8 + 1);
        }
    });
}

#[test]
fn what_a_flush_throws_away_stays_in_the_copy_although_there_was_no_memory_for_it() {
    Shortage::of_pages(|shortage| {
        let Some(world) = Copied::new(LONG) else { return };
        // What the store has not, and the copy has.
        set_first_byte(&world.object, 2, 0xA2);
        let copy = world
            .pager
            .map_copy_blocking(0, world.pager.extent(), Protection::ReadWrite)
            .unwrap();
        shortage.set(true);
        world.pager.flush_blocking(Wait::Yes).unwrap();
        let mut byte = [0];
        copy.read_at(2 * PAGE, &mut byte).unwrap();
        assert_eq!(byte, [0xA2], "where it is now it can be read");
        copy.write_at(2 * PAGE + 1, &[0xA3]).unwrap();
        shortage.set(false);
        assert_eq!(first_byte(&copy, 2), 0xA2);
        assert_eq!(peek_at(copy.as_ptr().expose_provenance() + 2 * PAGE + 1), 0xA3);
        assert_eq!(first_byte(&world.object, 2), 3, "the flush threw it away");
        assert_eq!(first_byte(&world.copy, 2), 3);
    });
}

#[test]
fn whoever_has_waited_too_long_for_memory_of_a_copy_gets_an_error_and_may_try_again() {
    Shortage::of_pages(|shortage| {
        let Some(world) = Copied::new(Duration::from_millis(50)) else {
            return;
        };
        let refused = |result: Result<(), CopyError>, page: u64| {
            let told = result.unwrap_err();
            let error = PageError::Io;
            let at = PageIndex(page);
            assert!(
                matches!(told, CopyError::Page { page, error: why, .. } if page == at && why == error),
                "{told:?}"
            );
        };
        shortage.set(true);
        refused(world.copy.write_at(3 * PAGE, &[0xC3]), 3);
        refused(world.pager.write_at_blocking(4 * PAGE as u64, &[0xA4]), 4);
        shortage.set(false);
        world.copy.write_at(3 * PAGE, &[0xC3]).unwrap();
        world.pager.write_at_blocking(4 * PAGE as u64, &[0xA4]).unwrap();
        assert_eq!(
            (first_byte(&world.copy, 3), first_byte(&world.object, 3)),
            (0xC3, 4)
        );
        assert_eq!(
            (first_byte(&world.copy, 4), first_byte(&world.object, 4)),
            (5, 0xA4)
        );
    });
}

#[test]
fn a_copy_made_at_once_waits_for_memory_or_says_which_page_had_none() {
    Shortage::of_pages(|shortage| {
        for patience in [LONG, Duration::from_millis(50)] {
            let Some(world) = Copied::new(patience) else {
                return;
            };
            let change = world
                .pager
                .change_attributes_blocking(true, CopyStrategy::None, Wait::Yes);
            change.unwrap();
            shortage.set(true);
            thread::scope(|scope| {
                let making = scope.spawn(|| {
                    world
                        .pager
                        .map_copy_blocking(0, world.pager.extent(), Protection::Read)
                });
                if patience == LONG {
                    world.wait_for_refusals(0, 4);
                    shortage.set(false);
                    let copy = making.join().unwrap().unwrap();
                    (0..PAGES).for_each(|page| assert_eq!(first_byte(&copy, page), page as u8 + 1));
                } else {
                    let told = making.join().unwrap().map(drop).unwrap_err();
                    let page = PageIndex(0);
                    assert!(
                        matches!(told, MapError::Page { page: at, .. } if at == page),
                        "{told:?}"
                    );
                    shortage.set(false);
                }
            });
        }
    });
}

/// Stores a byte as a system call does, which says EFAULT where a thread gets SIGBUS; tells first which
/// thread it is.
fn store_by_call(address: usize, value: u8, thread: &mpsc::Sender<libc::pid_t>) -> std::io::Result<()> {
    let (mut sent, received) = std::os::unix::net::UnixStream::pair().unwrap();
    std::io::Write::write_all(&mut sent, &[value]).unwrap();
    // SAFETY: no arguments, never fails.
    thread.send(unsafe { libc::gettid() }).unwrap();
    let to = std::ptr::with_exposed_provenance_mut(address);
    // SAFETY: one byte within a mapping; whatever is behind it, the call answers.
    match unsafe { libc::read(received.as_raw_fd(), to, 1) } {
        1 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Waits until a thread of this process waits for a page; false if it has ended before.
fn waits_for_a_page<T>(thread: libc::pid_t, handle: &thread::ScopedJoinHandle<'_, T>) -> bool {
    let at = format!("/proc/self/task/{thread}/wchan");
    while !std::fs::read_to_string(&at).is_ok_and(|place| place.contains("userfault")) {
        if handle.is_finished() {
            return false;
        }
        thread::yield_now();
    }
    true
}

#[test]
fn nobody_writes_to_a_page_while_it_gets_its_error() {
    let (reached, reaches) = mpsc::channel();
    let (go, goes) = mpsc::channel::<()>();
    let armed = Arc::new(AtomicBool::new(false));
    let judged = armed.clone();
    let mut lifted = false;
    let judge = move |call: gate::Call| {
        if call.arguments[1] == u64::from(gate::PROTECT) {
            // A protection is lifted without waking anybody.
            lifted |= call.field(2) == 2 && judged.swap(false, SeqCst);
        } else if std::mem::take(&mut lifted) {
            // Whatever comes next: the error, if the page is unmapped already.
            reached.send(()).unwrap();
            let _ = goes.recv();
        }
        Verdict::Pass
    };
    let kinds = [gate::PROTECT, gate::POISON].map(Kind::ioctl);
    let kinds = [kinds[0], kinds[1], Kind::of(libc::SYS_madvise)];
    gate::behind(&kinds, judge, move || {
        let Some(host) = host(synchronous()) else { return };
        if host.describe().contains("user mode only") {
            return println!("skipped: {}", host.describe());
        }
        let pager = Pager::new(&host, 8 * PAGE);
        let mapping = pager.map(Prot::READ_WRITE);
        {
            let mut store = pager.store.lock().unwrap();
            store.locked.insert(1);
            store.refuse_unlock = true;
        }
        assert_eq!(peek(&mapping, PAGE), pattern(PAGE));
        armed.store(true, SeqCst);
        let (tell, told) = mpsc::channel();
        thread::scope(|scope| {
            let refused = scope.spawn(|| store_by_call(mapping.address + PAGE, 1, &tell));
            told.recv().unwrap();
            // The protection is lifted, and the error is not there yet.
            reaches.recv_timeout(LONG).unwrap();
            let between = scope.spawn(|| store_by_call(mapping.address + PAGE, 2, &tell));
            let waits = waits_for_a_page(told.recv().unwrap(), &between);
            go.send(()).unwrap();
            assert!(waits, "a store slipped through");
            let fault = Some(libc::EFAULT);
            assert_eq!(refused.join().unwrap().unwrap_err().raw_os_error(), fault);
            assert_eq!(between.join().unwrap().unwrap_err().raw_os_error(), fault);
        });
        pager.store.lock().unwrap().refuse_unlock = false;
        assert_eq!(pager.read_at(PAGE as u64, 1).0, [pattern(PAGE)]);
    });
}
