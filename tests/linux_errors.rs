//! Errors, locks, offers and returns on the Linux kernel, as the faulting thread sees them.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod linux_support;

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use actor_pager::mach::linux::{DirtyTracking, LinuxOptions};
use actor_pager::mach::{Call, KernelHost, PageSlice, RawMapping};
use actor_pager::object::{CopyStrategy, PageError, PageIndex, PageRange, PageSize, Prot, ShouldReturn};
use linux_support::*;

/// SIGBUS signals that came, over all threads.
static SIGNALS: AtomicU64 = AtomicU64::new(0);
/// Only one test at a time counts signals.
static TURN: Mutex<()> = Mutex::new(());

extern "C" fn on_sigbus(_: libc::c_int) {
    // The instruction is tried again when this returns.
    SIGNALS.fetch_add(1, SeqCst);
    // SAFETY: allowed in signal handlers.
    unsafe { libc::sched_yield() };
}

fn count_signals() -> MutexGuard<'static, ()> {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let handler = on_sigbus as extern "C" fn(libc::c_int);
        // SAFETY: the handler does only what signal handlers may.
        unsafe { libc::signal(libc::SIGBUS, handler as *const () as libc::sighandler_t) };
    });
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    SIGNALS.store(0, SeqCst);
    turn
}

fn wait_for_signal(before: u64) {
    let start = Instant::now();
    while SIGNALS.load(SeqCst) == before {
        assert!(start.elapsed() < Duration::from_secs(60), "no SIGBUS came");
        std::thread::yield_now();
    }
}

fn page(index: u64) -> PageRange {
    PageRange::single(PageIndex(index))
}

/// Runs `access` in another thread; after its first SIGBUS `heal` is called, and the access must then
/// come to its end.
fn fails_then_heals<T: Send>(access: impl FnOnce() -> T + Send, heal: impl FnOnce()) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(access);
        wait_for_signal(0);
        heal();
        thread.join().unwrap()
    })
}

#[test]
fn a_page_that_cannot_be_read_gives_sigbus_and_heals() {
    let _turn = count_signals();
    let Some(host) = host(LinuxOptions::default()) else {
        return;
    };
    let pager = Pager::new(&host, 8 * PAGE);
    let mapping = pager.map(Prot::READ_WRITE);
    pager.store.lock().unwrap().bad.insert(3);
    let at = 3 * PAGE + 5;
    let got = fails_then_heals(|| peek(&mapping, at), || pager.store.lock().unwrap().bad.clear());
    assert_eq!(got, pattern(at));
    assert_eq!(peek(&mapping, 7 * PAGE), pattern(7 * PAGE), "the others are well");
    let stats = host.stats();
    assert!(stats.poisons > 0 && stats.heals > 0);
    assert_eq!(
        host.resident_bytes(),
        2 * PAGE as u64,
        "the frame of the error was given back"
    );
}

#[test]
fn a_page_evicted_before_can_fail_too() {
    let _turn = count_signals();
    let Some(host) = host(LinuxOptions::default()) else {
        return;
    };
    let pager = Pager::new(&host, 8 * PAGE);
    let mapping = pager.map(Prot::READ_WRITE);
    peek(&mapping, 3 * PAGE);
    pager.lock_request(page(3), ShouldReturn::All, true, Prot::NO_CHANGE);
    pager.store.lock().unwrap().bad.insert(3);
    let got = fails_then_heals(
        || peek(&mapping, 3 * PAGE),
        || pager.store.lock().unwrap().bad.clear(),
    );
    assert_eq!(got, pattern(3 * PAGE));
}

#[test]
fn every_thread_and_mapping_that_waits_is_told() {
    let _turn = count_signals();
    let Some(host) = host(LinuxOptions::default()) else {
        return;
    };
    let pager = Pager::new(&host, 8 * PAGE);
    let mappings = [pager.map(Prot::READ_WRITE), pager.map(Prot::READ)];
    pager.store.lock().unwrap().bad.insert(2);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|thread| scope.spawn(move || peek(&mappings[thread % 2], 2 * PAGE + thread)))
            .collect();
        for count in 0..8 {
            wait_for_signal(count);
        }
        pager.store.lock().unwrap().bad.clear();
        for (thread, handle) in threads.into_iter().enumerate() {
            assert_eq!(handle.join().unwrap(), pattern(2 * PAGE + thread));
        }
    });
}

#[test]
fn a_page_heals_in_a_child_too() {
    let _turn = count_signals();
    let Some(host) = host(LinuxOptions::default().inherit(true)) else {
        return;
    };
    if host.describe().contains("lose their mappings") {
        return println!("skipped: {}", host.describe());
    }
    let pager = Pager::new(&host, 8 * PAGE);
    let mapping = pager.map(Prot::READ_WRITE);
    pager.store.lock().unwrap().bad.insert(3);
    let child = in_child(|| {
        let right = peek(&mapping, 3 * PAGE) == pattern(3 * PAGE);
        let failed_before = SIGNALS.load(SeqCst) > 0;
        i32::from(right) + 2 * i32::from(failed_before)
    });
    let start = Instant::now();
    while host.stats().poisons < 3 {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "the child was not told"
        );
        std::thread::yield_now();
    }
    pager.store.lock().unwrap().bad.clear();
    assert_eq!(exit_code(child), 3);
}

/// `write(2)` from a mapping: how many bytes, or the errno.
fn send(socket: &UnixStream, mapping: &RawMapping, at: usize, length: usize) -> Result<usize, i32> {
    let from = std::ptr::with_exposed_provenance(mapping.address + at);
    // SAFETY: within a live mapping; a page that fails gives EFAULT.
    let sent = unsafe { libc::write(socket.as_raw_fd(), from, length) };
    usize::try_from(sent).map_err(|_| std::io::Error::last_os_error().raw_os_error().unwrap())
}

#[test]
fn a_system_call_gets_efault_and_heals_at_once_when_told() {
    let Some(host) = host(LinuxOptions::default()) else {
        return;
    };
    if host.describe().contains("user mode only") {
        return println!("skipped: {}", host.describe());
    }
    let pager = Pager::new(&host, 8 * PAGE);
    let mapping = pager.map(Prot::READ_WRITE);
    let (socket, _other) = UnixStream::pair().unwrap();
    pager.store.lock().unwrap().bad.insert(1);
    assert_eq!(send(&socket, &mapping, PAGE, 64), Err(libc::EFAULT));
    pager.store.lock().unwrap().bad.clear();
    pager.with_server(|server| server.kernel.heal(PageIndex(1)));
    assert_eq!(send(&socket, &mapping, PAGE, 64), Ok(64));
}

#[test]
fn a_copy_stops_at_the_bad_page_and_names_the_error_once() {
    let Some(host) = host(LinuxOptions::default()) else {
        return;
    };
    let pager = Pager::new(&host, 8 * PAGE);
    pager.store.lock().unwrap().bad.insert(2);
    let (bytes, error) = pager.read_at(100, 3 * PAGE);
    assert_eq!((bytes.len(), error), (2 * PAGE - 100, Some(PageError::NoSpace)));
    assert!(bytes.iter().zip(100..).all(|(&byte, at)| byte == pattern(at)));
    pager.store.lock().unwrap().bad.clear();
    assert_eq!(pager.read_at(100, 3 * PAGE).0.len(), 3 * PAGE);
}

#[test]
fn copies_without_a_mapping_are_written_back() {
    let Some(host) = host(LinuxOptions::default()) else {
        return;
    };
    let pager = Pager::new(&host, 8 * PAGE);
    pager.write_at(PAGE as u64 + 7, &[1, 2, 3]);
    let mapping = pager.map(Prot::READ);
    assert_eq!(peek(&mapping, PAGE + 8), 2);
    pager.sync();
    assert_eq!(pager.store.lock().unwrap().bytes[PAGE + 7..PAGE + 10], [1, 2, 3]);
    pager.write_at(PAGE as u64 + 7, &[4]);
    pager.sync();
    assert_eq!(
        pager.store.lock().unwrap().bytes[PAGE + 7],
        4,
        "the second copy is noticed"
    );
}

#[test]
fn a_write_lock_asks_first_and_is_lifted() {
    let Some(host) = host(LinuxOptions::default()) else {
        return;
    };
    let pager = Pager::new(&host, 8 * PAGE);
    let mapping = pager.map(Prot::READ_WRITE);
    pager.store.lock().unwrap().locked.extend([1, 2]);
    assert_eq!(peek(&mapping, PAGE), pattern(PAGE));
    poke(&mapping, PAGE, 1);
    poke(&mapping, 2 * PAGE, 2);
    assert_eq!((peek(&mapping, PAGE), peek(&mapping, 2 * PAGE)), (1, 2));
    pager.sync();
    assert_eq!(pager.store.lock().unwrap().bytes[2 * PAGE], 2);
}

#[test]
fn a_refused_unlock_is_seen_by_the_writer_and_readers_go_on() {
    let _turn = count_signals();
    let Some(host) = host(LinuxOptions::default()) else {
        return;
    };
    let pager = Pager::new(&host, 8 * PAGE);
    let mapping = pager.map(Prot::READ_WRITE);
    {
        let mut store = pager.store.lock().unwrap();
        store.locked.insert(1);
        store.refuse_unlock = true;
    }
    assert_eq!(peek(&mapping, PAGE + 1), pattern(PAGE + 1));
    fails_then_heals(
        || poke(&mapping, PAGE, 77),
        || {
            assert_eq!(
                peek(&mapping, PAGE + 1),
                pattern(PAGE + 1),
                "reading needs no unlock"
            );
            pager.store.lock().unwrap().refuse_unlock = false;
        },
    );
    assert_eq!(
        (peek(&mapping, PAGE), peek(&mapping, PAGE + 1)),
        (77, pattern(PAGE + 1))
    );
    pager.sync();
    assert_eq!(pager.store.lock().unwrap().bytes[PAGE], 77);
}

#[test]
fn a_lock_that_is_set_later_holds_for_dirty_pages_too() {
    let Some(host) = host(LinuxOptions::default().dirty_tracking(DirtyTracking::Sync)) else {
        return;
    };
    let pager = Pager::new(&host, 8 * PAGE);
    let mapping = pager.map(Prot::READ_WRITE);
    poke(&mapping, PAGE, 1);
    pager.lock_request(page(1), ShouldReturn::None, false, Prot::WRITE);
    let before = host.stats().faults_protected;
    poke(&mapping, PAGE, 2);
    assert!(
        host.stats().faults_protected > before,
        "the writer was not stopped"
    );
    pager.sync();
    assert_eq!(pager.store.lock().unwrap().bytes[PAGE], 2);
}

fn offer(pager: &Pager, index: u64, byte: u8, precious: bool) {
    pager.with_server(move |server| {
        let (control, bytes) = (server.control, [byte; PAGE]);
        let call = Call::DataSupply {
            control,
            range: page(index),
            pages: PageSlice::Bytes(&bytes),
            lock: Prot::NONE,
            precious,
            reply: false,
        };
        server.call(call).unwrap();
    });
}

#[test]
fn an_offered_page_is_there_without_a_request() {
    let Some(host) = host(LinuxOptions::default()) else {
        return;
    };
    let pager = Pager::new(&host, 8 * PAGE);
    let mapping = pager.map(Prot::READ_WRITE);
    peek(&mapping, 0);
    let requests = host.stats().requests;
    offer(&pager, 1, 42, false);
    assert_eq!(peek(&mapping, PAGE), 42);
    assert_eq!(host.stats().requests, requests);
    offer(&pager, 1, 43, false);
    assert_eq!(peek(&mapping, PAGE), 42, "in core already: the offer is ignored");
    offer(&pager, 2, 44, true);
    pager.lock_request(page(2), ShouldReturn::All, true, Prot::NO_CHANGE);
    let log = pager.store.lock().unwrap().log.clone();
    assert_eq!(
        log,
        ["return 8192 4096 false false"],
        "a precious page comes back"
    );
}

#[test]
fn offers_beyond_the_bound_come_back_or_are_dropped_but_never_exceed_it() {
    let limit = 8 * PAGE as u64;
    let Some(host) = host(LinuxOptions::default().resident_limit(Some(limit))) else {
        return;
    };
    let pager = Pager::new(&host, 64 * PAGE);
    let mapping = pager.map(Prot::READ_WRITE);
    peek(&mapping, 0);
    for index in 1..60 {
        offer(&pager, index, index as u8, true);
    }
    assert!(host.high_water_bytes() <= limit);
    let pages = |line: &String| {
        line.split(' ')
            .nth(2)
            .and_then(|bytes| bytes.parse::<usize>().ok())
    };
    let log = pager.store.lock().unwrap().log.clone();
    let returned = log.iter().filter_map(pages).sum::<usize>() / PAGE;
    let resident = pager.with_server(|server| server.kernel.residency().resident) as usize;
    assert!(
        returned + resident >= 59,
        "{returned} returned, {resident} resident of 59 precious pages"
    );
}

#[test]
fn a_page_that_is_being_returned_is_given_again_or_read_anew() {
    let Some(host) = host(LinuxOptions::default().dirty_tracking(DirtyTracking::Sync)) else {
        return;
    };
    let pager = Pager::new(&host, 8 * PAGE);
    let mapping = pager.map(Prot::READ_WRITE);
    poke(&mapping, PAGE, 1);
    pager.store.lock().unwrap().hold_returns = true;
    pager.lock_request(page(1), ShouldReturn::All, true, Prot::NO_CHANGE);
    assert_eq!(peek(&mapping, PAGE), 1, "what is being written is readable");
    let wrote = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            poke(&mapping, PAGE, 2);
            wrote.store(true, SeqCst);
        });
        pager.wait_until("the page is asked for", |server| server.log_contains("request 1"));
        assert!(
            !wrote.load(SeqCst),
            "written to a page that the kernel does not have"
        );
        pager.with_server(|server| {
            let call = Call::DataSupply {
                control: server.control,
                range: page(1),
                pages: PageSlice::Cached,
                lock: Prot::NONE,
                precious: false,
                reply: false,
            };
            server.call(call).unwrap();
            server.held.clear();
        });
    });
    assert_eq!(peek(&mapping, PAGE), 2);
    pager.store.lock().unwrap().hold_returns = false;
    pager.sync();
    assert_eq!(pager.store.lock().unwrap().bytes[PAGE], 2);
}

#[test]
fn nobody_writes_to_a_page_while_it_is_written_out() {
    let Some(host) = host(LinuxOptions::default().dirty_tracking(DirtyTracking::Sync)) else {
        return;
    };
    let pager = Pager::new(&host, 8 * PAGE);
    let mapping = pager.map(Prot::READ_WRITE);
    poke(&mapping, PAGE, 1);
    pager.store.lock().unwrap().hold_returns = true;
    pager.lock_request(page(1), ShouldReturn::All, false, Prot::NO_CHANGE);
    // Between the return and the write the page may change; the write then takes the newest bytes.
    poke(&mapping, PAGE, 2);
    pager.with_server(|server| {
        let data = server.held[0].clone();
        server.kernel.write_begins(&data, page(1));
    });
    let before = host.stats().faults_protected;
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| poke(&mapping, PAGE, 3));
        let start = Instant::now();
        while host.stats().faults_protected == before {
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "the writer was not stopped"
            );
            std::thread::yield_now();
        }
        pager.with_server(|server| assert_eq!(server.held[0].bytes()[0], 2));
        assert!(!writer.is_finished());
        assert_eq!(peek(&mapping, PAGE), 2, "readers are not stopped");
        pager.with_server(|server| {
            let data = server.held.remove(0);
            server.kernel.write_ended(&data, page(1));
            server.kernel.release(&data, page(1));
        });
    });
    assert_eq!(peek(&mapping, PAGE), 3);
    pager.store.lock().unwrap().hold_returns = false;
    pager.sync();
    assert_eq!(
        pager.store.lock().unwrap().bytes[PAGE],
        3,
        "what came after the write is dirty"
    );
}

#[test]
fn one_object_gives_frames_up_for_another() {
    let limit = 64 * PAGE as u64;
    let Some(host) = host(LinuxOptions::default().resident_limit(Some(limit))) else {
        return;
    };
    let pagers = [
        Pager::new(&host, 256 * PAGE),
        Pager::new(&host, 256 * PAGE),
        Pager::new(&host, 256 * PAGE),
    ];
    let mappings = pagers.each_ref().map(|pager| pager.map(Prot::READ_WRITE));
    // The first takes all there is, dirty, and then rests.
    for at in 0..64 {
        poke(&mappings[0], at * PAGE, 1);
    }
    std::thread::scope(|scope| {
        for (index, mapping) in mappings.iter().enumerate().skip(1) {
            scope.spawn(move || {
                for round in 0..4 {
                    for at in 0..256 {
                        let expected = if round == 0 {
                            pattern(at * PAGE)
                        } else {
                            round - 1 + index as u8
                        };
                        assert_eq!(peek(mapping, at * PAGE), expected);
                        poke(mapping, at * PAGE, round + index as u8);
                    }
                }
            });
        }
    });
    assert!(host.high_water_bytes() <= limit);
    assert!(
        (0..64).all(|at| peek(&mappings[0], at * PAGE) == 1),
        "the first lost a page"
    );
}

#[test]
fn what_makes_no_sense_is_refused() {
    let Some(host) = host(LinuxOptions::default()) else {
        return;
    };
    assert!(host.create_object(spec(1 << 60, PageSize::KIB_4)).is_err());
    let pager = Pager::new(&host, 8 * PAGE);
    let (outside, wrong, closed) = pager.with_server(|server| {
        let outside = server
            .kernel
            .map(PageRange::with_len(PageIndex(4), 8), Prot::READ)
            .is_err();
        let wrong = server
            .call(Call::Destroy {
                control: actor_pager::object::PortName(77),
            })
            .is_err();
        let closed = server.kernel.copy_out(0, &mut [0; 8]).is_err();
        (outside, wrong, closed)
    });
    assert!(outside && wrong && closed);
    let small = LinuxOptions::default().resident_limit(Some(PAGE as u64));
    let error = linux_support::host(small)
        .unwrap()
        .create_object(spec(4096, PageSize::KIB_4))
        .err()
        .unwrap();
    assert!(error.to_string().contains("raise the bound"), "{error}");
}

#[test]
fn an_object_that_nobody_maps_is_written_back_terminated_and_begun_anew() {
    let Some(host) = host(LinuxOptions::default()) else {
        return;
    };
    let pager = Pager::new(&host, 8 * PAGE);
    let mapping = pager.map(Prot::READ_WRITE);
    poke(&mapping, PAGE, 9);
    peek(&mapping, 3 * PAGE);
    let before = pager.with_server(|server| {
        let call = Call::ChangeAttributes {
            control: server.control,
            may_cache: false,
            copy_strategy: CopyStrategy::None,
            reply: true,
        };
        server.call(call).unwrap();
        server.control
    });
    pager.unmap(mapping);
    pager.wait_until("nothing is left", |server| {
        server.kernel.residency().resident == 0
    });
    let log = pager.store.lock().unwrap().log.clone();
    let kinds: Vec<_> = log
        .iter()
        .map(|line| line.split([' ', '(']).next().unwrap())
        .collect();
    assert_eq!(kinds, ["ChangeCompleted", "return", "Terminate"], "{log:?}");
    assert_eq!(pager.store.lock().unwrap().bytes[PAGE], 9);
    let mapping = pager.map(Prot::READ_WRITE);
    assert_eq!(peek(&mapping, PAGE), 9);
    assert_ne!(
        pager.with_server(|server| server.control),
        before,
        "a new control port"
    );
}

#[test]
fn evictions_are_told_where_that_was_asked_for() {
    let limit = 16 * PAGE as u64;
    let Some(host) = host(LinuxOptions::default().resident_limit(Some(limit))) else {
        return;
    };
    let mut spec = spec(64 * PAGE as u64, PageSize::KIB_4);
    spec.notify_on_evict = true;
    let pager = Pager::with_spec(&host, spec, (0..64 * PAGE).map(pattern).collect());
    let mapping = pager.map(Prot::READ);
    for page in (0..64).step_by(2).chain((1..64).step_by(2)) {
        assert_eq!(peek(&mapping, page * PAGE), pattern(page * PAGE));
    }
    let resident = pager.with_server(|server| server.kernel.residency().resident);
    let log = pager.store.lock().unwrap().log.clone();
    let bytes = |line: &String| line.split(' ').nth(2).and_then(|bytes| bytes.parse::<u64>().ok());
    let told = log.iter().filter_map(bytes).sum::<u64>() / PAGE as u64;
    assert_eq!(told + resident, host.stats().pages_in, "{log:?}");
}

#[test]
fn an_object_that_is_not_used_any_more_does_not_stand_in_the_line_for_frames() {
    let few = LinuxOptions::default()
        .resident_limit(Some(8 * PAGE as u64))
        .read_ahead(1)
        .clean_ahead(0);
    let Some(host) = host(few) else { return };
    let holder = Pager::new(&host, 16 * PAGE);
    let held = holder.map(Prot::READ_WRITE);
    holder.store.lock().unwrap().hold_returns = true;
    (0..8).for_each(|at| poke(&held, at * PAGE, 1));
    let first = Pager::new(&host, 8 * PAGE);
    let mapping = first.map(Prot::READ);
    first.wait_until("ready", |server| server.control.is_valid());
    // It stands in the line: the frames are on their way to the store, and stay there.
    first.with_server(|server| server.kernel.touch(page(0), Prot::READ));
    let starts = Instant::now();
    while host.stats().frame_waits == 0 {
        assert!(starts.elapsed() < Duration::from_secs(60), "it gets a frame");
        std::thread::yield_now();
    }
    holder.wait_until("given back", |server| !server.held.is_empty());
    first.with_server(|server| {
        let control = server.control;
        let call = Call::ChangeAttributes {
            control,
            may_cache: false,
            copy_strategy: CopyStrategy::None,
            reply: false,
        };
        server.call(call).unwrap();
    });
    first.unmap(mapping);
    first.wait_until("ended", |server| {
        let store = server.store.lock().unwrap();
        store.log.iter().any(|line| line.starts_with("Terminate"))
    });
    holder.with_server(|server| {
        server.store.lock().unwrap().hold_returns = false;
        server.release_held();
    });
    let (told, tells) = std::sync::mpsc::channel();
    std::thread::spawn(move || told.send(peek(&held, 10 * PAGE)));
    let read = tells
        .recv_timeout(Duration::from_secs(60))
        .expect("the line goes on");
    assert_eq!(read, pattern(10 * PAGE));
}
