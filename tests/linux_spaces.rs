//! What clients may do to their address spaces while the pager serves them: fork, mremap, munmap, madvise.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod linux_support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use actor_pager::mach::linux::{Lasting, LinuxHost, LinuxOptions};
use actor_pager::mach::{Call, KernelHost, PageSlice, RawMapping};
use actor_pager::object::{PageIndex, PageRange, PageSize, Prot, ShouldReturn};
use linux_support::*;

fn pages(from: u64, to: u64) -> PageRange {
    PageRange::new(PageIndex(from), PageIndex(to))
}

fn forking_host(options: LinuxOptions) -> Option<LinuxHost> {
    let host = host(options.inherit(true))?;
    if host.describe().contains("lose their mappings") {
        println!("skipped: {}", host.describe());
        return None;
    }
    Some(host)
}

#[test]
fn a_forked_child_reads_and_writes_the_same_object() {
    let Some(host) = forking_host(LinuxOptions::default()) else {
        return;
    };
    let pager = Pager::new(&host, 64 * PAGE);
    let mapping = pager.map(Prot::READ_WRITE);
    poke(&mapping, 0, 200);
    let child = in_child(|| {
        let right = peek(&mapping, 0) == 200
            && (1..64).all(|page| peek(&mapping, page * PAGE) == pattern(page * PAGE));
        poke(&mapping, 5 * PAGE + 1, 201);
        poke(&mapping, 1, 202);
        if right { 7 } else { 8 }
    });
    assert_eq!(exit_code(child), 7);
    assert_eq!((peek(&mapping, 5 * PAGE + 1), peek(&mapping, 1)), (201, 202));
    pager.sync();
    let store = pager.store.lock().unwrap();
    assert_eq!((store.bytes[5 * PAGE + 1], store.bytes[1]), (201, 202));
}

#[test]
fn writes_of_a_child_after_a_sync_are_noticed() {
    let Some(host) = forking_host(LinuxOptions::default()) else {
        return;
    };
    let pager = Pager::new(&host, 4 * PAGE);
    let mapping = pager.map(Prot::READ_WRITE);
    poke(&mapping, 0, 1);
    // A page whose bytes the two use to take turns.
    let turn = |value: u8| {
        while peek(&mapping, 3 * PAGE) != value {
            std::hint::spin_loop();
        }
    };
    poke(&mapping, 3 * PAGE, 0);
    let child = in_child(|| {
        poke(&mapping, 0, 2);
        poke(&mapping, 3 * PAGE, 1);
        turn(2);
        poke(&mapping, 0, 3);
        0
    });
    turn(1);
    pager.sync();
    assert_eq!(pager.store.lock().unwrap().bytes[0], 2);
    poke(&mapping, 3 * PAGE, 2);
    assert_eq!(exit_code(child), 0);
    pager.sync();
    assert_eq!(pager.store.lock().unwrap().bytes[0], 3);
}

#[test]
fn grandchildren_and_a_bound() {
    let limit = 24 * PAGE as u64;
    let Some(host) = forking_host(LinuxOptions::default().resident_limit(Some(limit))) else {
        return;
    };
    let pager = Pager::new(&host, 128 * PAGE);
    let mapping = pager.map(Prot::READ_WRITE);
    let check = |seed: u64| {
        let mut random = Random(seed);
        for _ in 0..600 {
            let at = random.below(128) * PAGE + 100 + random.below(1000);
            if peek(&mapping, at) != pattern(at) {
                return 1;
            }
            poke(&mapping, at / PAGE * PAGE + 2000 + seed as usize, seed as u8);
        }
        0
    };
    let children: Vec<_> = (1..4)
        .map(|seed| {
            in_child(|| {
                let grandchild = in_child(|| check(seed + 10));
                check(seed) + exit_code(grandchild)
            })
        })
        .collect();
    assert_eq!(check(20), 0);
    for child in children {
        assert_eq!(exit_code(child), 0);
    }
    assert!(host.high_water_bytes() <= limit);
    assert!(host.stats().forks >= 6);
    // The children are gone: nothing of them is in the way of the last unmap.
    pager.unmap(mapping);
}

/// `mremap`, or the test ends.
fn mremap(from: usize, old: usize, new: usize, flags: i32) -> usize {
    // SAFETY: the tests move mappings of their own that no other thread counts on.
    let to = unsafe { libc::mremap(std::ptr::with_exposed_provenance_mut(from), old, new, flags) };
    assert_ne!(to, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
    to.expose_provenance()
}

fn munmap(address: usize, length: usize) {
    // SAFETY: as above.
    let result = unsafe { libc::munmap(std::ptr::with_exposed_provenance_mut(address), length) };
    assert_eq!(result, 0);
}

/// Unmaps, and keeps the place from being taken by another test meanwhile.
fn unmap_and_reserve(address: usize, length: usize) {
    let at = std::ptr::with_exposed_provenance_mut(address);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED;
    // SAFETY: as above.
    let reserved = unsafe { libc::mmap(at, length, libc::PROT_NONE, flags, -1, 0) };
    assert_eq!(reserved, at);
}

/// Moves a mapping to a reserved place.
fn move_to(mapping: &RawMapping, to: usize) {
    let from = std::ptr::with_exposed_provenance_mut(mapping.address);
    let target = std::ptr::with_exposed_provenance_mut::<u8>(to);
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    // SAFETY: the test's own mapping; the new place is reserved for it.
    let moved = unsafe { libc::mremap(from, mapping.length, mapping.length, flags, target) };
    assert_ne!(moved, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
}

/// An address range that is kept free for a mapping to be moved there.
fn reserve(length: usize) -> usize {
    // SAFETY: a new mapping.
    let at = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            length,
            libc::PROT_NONE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(at, libc::MAP_FAILED);
    at.expose_provenance()
}

#[test]
fn a_mapping_that_was_moved_goes_on() {
    let Some(host) = host(LinuxOptions::default()) else {
        return;
    };
    let pager = Pager::new(&host, 16 * PAGE);
    let mapping = pager.map(Prot::READ_WRITE);
    poke(&mapping, 2 * PAGE, 9);
    let to = reserve(mapping.length);
    move_to(&mapping, to);
    assert_eq!(peek_at(to + 2 * PAGE), 9);
    assert_eq!(peek_at(to + 7 * PAGE), pattern(7 * PAGE));
    poke_at(to + 8 * PAGE, 10);
    pager.sync();
    poke_at(to + 8 * PAGE, 11);
    pager.sync();
    assert_eq!(pager.store.lock().unwrap().bytes[8 * PAGE], 11);
    // The old handle takes the moved mapping down.
    let file = file_at(to).expect("it is mapped");
    pager.unmap(mapping);
    assert_ne!(file_at(to), Some(file));
}

#[test]
fn a_mapping_grows_and_shrinks() {
    let Some(host) = host(LinuxOptions::default()) else {
        return;
    };
    let pager = Pager::new(&host, 16 * PAGE);
    let mapping = pager.map_range(pages(0, 8), Prot::READ_WRITE);
    let grown = mremap(mapping.address, 8 * PAGE, 16 * PAGE, libc::MREMAP_MAYMOVE);
    assert_eq!(peek_at(grown + 12 * PAGE + 3), pattern(12 * PAGE + 3));
    poke_at(grown + 13 * PAGE, 5);
    let shrunk = mremap(grown, 16 * PAGE, 4 * PAGE, 0);
    assert_eq!(peek_at(shrunk + 3 * PAGE), pattern(3 * PAGE));
    pager.sync();
    assert_eq!(pager.store.lock().unwrap().bytes[13 * PAGE], 5);
    pager.unmap(mapping);
}

#[test]
fn a_hole_in_the_middle_leaves_both_ends() {
    let Some(host) = host(LinuxOptions::default()) else {
        return;
    };
    let pager = Pager::new(&host, 16 * PAGE);
    let mapping = pager.map(Prot::READ_WRITE);
    peek(&mapping, 6 * PAGE);
    munmap(mapping.address + 5 * PAGE, 3 * PAGE);
    for page in (0..5).chain(8..16) {
        assert_eq!(peek(&mapping, page * PAGE), pattern(page * PAGE));
        poke(&mapping, page * PAGE, page as u8);
    }
    pager.sync();
    for page in (0..5).chain(8..16) {
        assert_eq!(pager.store.lock().unwrap().bytes[page * PAGE], page as u8);
    }
    pager.unmap(mapping);
}

#[test]
fn munmap_while_faults_are_in_flight() {
    let Some(host) = host(LinuxOptions::default().resident_limit(Some(32 * PAGE as u64))) else {
        return;
    };
    let pager = Pager::new(&host, 256 * PAGE);
    let steady = pager.map(Prot::READ_WRITE);
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for seed in 1..5 {
            let (steady, stop, count) = (&steady, &stop, &count);
            scope.spawn(move || {
                let mut random = Random(seed);
                while !stop.load(SeqCst) {
                    let at = random.below(256 * PAGE);
                    assert_eq!(peek(steady, at), pattern(at));
                    count.fetch_add(1, SeqCst);
                }
            });
        }
        for round in 0..150 {
            let mapping = pager.map(Prot::READ_WRITE);
            for page in 0..8 {
                let at = (round * 8 + page) % 256 * PAGE;
                assert_eq!(peek(&mapping, at), pattern(at));
            }
            // By hand and in parts, by hand as a whole, or as it should be.
            match round % 3 {
                0 => munmap(mapping.address + 16 * PAGE, 100 * PAGE),
                1 => munmap(mapping.address, mapping.length),
                _ => {}
            }
            pager.unmap(mapping);
        }
        stop.store(true, SeqCst);
    });
    assert!(count.load(SeqCst) > 0);
    assert!(host.high_water_bytes() <= 32 * PAGE as u64);
}

#[test]
fn one_munmap_over_two_objects() {
    let Some(host) = host(LinuxOptions::default()) else {
        return;
    };
    let pagers = [Pager::new(&host, 8 * PAGE), Pager::new(&host, 8 * PAGE)];
    for round in 0..50 {
        let at = reserve(16 * PAGE);
        let mappings = pagers.each_ref().map(|pager| pager.map(Prot::READ_WRITE));
        for (mapping, to) in mappings.iter().zip([at, at + 8 * PAGE]) {
            move_to(mapping, to);
        }
        std::thread::scope(|scope| {
            scope.spawn(|| munmap(at, 16 * PAGE));
            // Writes back, write-protects and drops meanwhile.
            for pager in &pagers {
                pager.write_at(round % 8 * PAGE as u64, &[round as u8]);
                pager.lock_request(pages(0, 8), ShouldReturn::All, true, Prot::NO_CHANGE);
            }
        });
        for (pager, mapping) in pagers.iter().zip(mappings) {
            pager.unmap(mapping);
            assert_eq!(
                pager.store.lock().unwrap().bytes[(round % 8) as usize * PAGE],
                round as u8
            );
        }
    }
}

fn madvise(mapping: &RawMapping, page: usize, count: usize, advice: i32) {
    let address = std::ptr::with_exposed_provenance_mut(mapping.address + page * PAGE);
    // SAFETY: within the test's own mapping.
    assert_eq!(unsafe { libc::madvise(address, count * PAGE, advice) }, 0);
}

#[test]
fn dontneed_loses_nothing_and_remove_asks_again() {
    let Some(host) = host(LinuxOptions::default()) else {
        return;
    };
    let pager = Pager::new(&host, 8 * PAGE);
    let mapping = pager.map(Prot::READ_WRITE);
    poke(&mapping, 0, 1);
    peek(&mapping, PAGE);
    madvise(&mapping, 0, 2, libc::MADV_DONTNEED);
    assert_eq!((peek(&mapping, 0), peek(&mapping, PAGE)), (1, pattern(PAGE)));
    pager.sync();
    poke(&mapping, 0, 2);
    madvise(&mapping, 0, 2, libc::MADV_DONTNEED);
    pager.sync();
    assert_eq!(pager.store.lock().unwrap().bytes[0], 2);
    pager.store.lock().unwrap().bytes[PAGE] = 99;
    madvise(&mapping, 1, 1, libc::MADV_REMOVE);
    assert_eq!(peek(&mapping, PAGE), 99, "the page was not asked for again");
    poke(&mapping, PAGE, 100);
    pager.sync();
    assert_eq!(pager.store.lock().unwrap().bytes[PAGE], 100);
}

#[test]
fn a_system_call_waits_for_a_page_like_a_thread() {
    let Some(host) = host(LinuxOptions::default()) else {
        return;
    };
    if host.describe().contains("user mode only") {
        return println!("skipped: {}", host.describe());
    }
    let pager = Pager::new(&host, 8 * PAGE);
    let mapping = pager.map(Prot::READ_WRITE);
    let (from, to) = std::os::unix::net::UnixStream::pair().unwrap();
    let slice = |page: usize| {
        let start = std::ptr::with_exposed_provenance::<u8>(mapping.address + page * PAGE);
        // SAFETY: a page of a live mapping that nobody writes to now.
        unsafe { std::slice::from_raw_parts(start, PAGE) }
    };
    std::io::Write::write_all(&mut &from, slice(3)).unwrap();
    let mut got = vec![0; PAGE];
    std::io::Read::read_exact(&mut &to, &mut got).unwrap();
    assert!(got.iter().zip(3 * PAGE..).all(|(&byte, at)| byte == pattern(at)));
}

#[test]
fn a_child_that_touches_a_bad_page_gets_sigbus() {
    let Some(host) = forking_host(LinuxOptions::default()) else {
        return;
    };
    let pager = Pager::new(&host, 8 * PAGE);
    let mapping = pager.map(Prot::READ_WRITE);
    pager.store.lock().unwrap().bad.insert(1);
    let child = in_child(|| i32::from(peek(&mapping, PAGE)));
    assert_eq!(exit_code(child), 1000 + libc::SIGBUS);
    pager.store.lock().unwrap().bad.clear();
    assert_eq!(peek(&mapping, PAGE), pattern(PAGE));
}

/// The number of the file that is mapped at an address, as /proc tells it.
fn file_at(address: usize) -> Option<u64> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut lines = maps
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let hex = |text: &str| usize::from_str_radix(text, 16).unwrap();
    let line = lines.find(|words| {
        let (start, end) = words[0].split_once('-').unwrap();
        (hex(start)..hex(end)).contains(&address)
    });
    line.map(|words| words[4].parse().unwrap())
}

#[test]
fn after_the_pager_is_gone_there_is_sigbus_and_never_zeros() {
    let Some(host) = host(LinuxOptions::default().inherit(true)) else {
        return;
    };
    let pager = Pager::new(&host, 8 * PAGE);
    let mapping = pager.map(Prot::READ_WRITE);
    poke(&mapping, 0, 1);
    drop(pager);
    for page in [0, 5] {
        let code = exit_code(in_child(|| i32::from(peek(&mapping, page * PAGE))));
        assert_eq!(code, 1000 + libc::SIGBUS, "page {page}");
    }
    assert_eq!(host.resident_bytes(), 0);
    let file = file_at(mapping.address).expect("it is mapped");
    host.unmap_orphan(&mapping);
    // Other tests may have put something else there by now.
    assert_ne!(file_at(mapping.address), Some(file));
}

/// What reading a byte of these pages ends with, in a child: its value, or 1000 plus a signal.
fn reads(address: usize, pages: &[usize]) -> Vec<i32> {
    let read = |page: &usize| exit_code(in_child(|| i32::from(peek_at(address + page * PAGE))));
    pages.iter().map(read).collect()
}

const SIGBUS: i32 = 1000 + libc::SIGBUS;

#[test]
fn after_pager_and_host_are_gone_there_is_sigbus_and_never_zeros() {
    let Some(host) = host(LinuxOptions::default().inherit(true)) else {
        return;
    };
    let pager = Pager::new(&host, 8 * PAGE);
    let mapping = pager.map(Prot::READ_WRITE);
    poke(&mapping, 0, 1);
    // A thread that waits for its page all the time.
    pager.with_server(|server| server.deaf = true);
    let waits = in_child(|| i32::from(peek(&mapping, 3 * PAGE)));
    pager.wait_until("asked for", |server| server.unheard > 0);
    drop(pager);
    drop(host);
    assert_eq!(exit_code(waits), SIGBUS);
    assert_eq!(reads(mapping.address, &[0, 5]), [SIGBUS; 2]);
}

#[test]
fn a_page_whose_mapping_is_gone_by_the_time_it_comes_is_taken_all_the_same() {
    let Some(host) = host(LinuxOptions::default()) else {
        return;
    };
    let pager = Pager::new(&host, 8 * PAGE);
    let mapping = pager.map(Prot::READ_WRITE);
    let other = pager.map(Prot::READ);
    pager.with_server(|server| server.deaf = true);
    let waits = std::thread::spawn(move || read_here(mapping.address + 3 * PAGE));
    pager.wait_until("asked for", |server| {
        server.unheard > 0 || server.kernel.residency().resident > 0
    });
    unmap_and_reserve(mapping.address, 8 * PAGE);
    assert_eq!(waits.join().unwrap(), None);
    munmap(mapping.address, 8 * PAGE);
    pager.with_server(|server| {
        server.deaf = false;
        let (control, bytes) = (server.control, vec![9; 8 * PAGE]);
        let call = Call::DataSupply {
            control,
            range: server.pages(),
            pages: PageSlice::Bytes(&bytes),
            lock: Prot::NONE,
            precious: false,
            reply: false,
        };
        server.call(call).unwrap();
    });
    assert_eq!(peek(&other, 3 * PAGE), 9);
}

/// Reads a byte in this process; none where that gives SIGBUS.
fn read_here(address: usize) -> Option<u8> {
    use std::io::Write;
    // A system call reads like a thread, and says EFAULT where a thread gets SIGBUS.
    // SAFETY: within a mapping; whatever is behind it, the call answers.
    let byte = unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance::<u8>(address), 1) };
    let (mut sent, received) = std::os::unix::net::UnixStream::pair().unwrap();
    sent.write_all(byte).ok()?;
    let mut got = [0];
    std::io::Read::read_exact(&mut &received, &mut got).unwrap();
    Some(got[0])
}

#[test]
fn after_the_pager_of_kept_memory_is_gone_there_is_sigbus_and_never_zeros() {
    let Some(host) = host(LinuxOptions::default()) else {
        return;
    };
    let lasting = Lasting::create(8 * PAGE as u64, PageSize::KIB_4).unwrap();
    let spec = linux_support::spec(8 * PAGE as u64, PageSize::KIB_4);
    let (mut object, _clients) = host.inherit_object(&spec, lasting, Vec::new()).unwrap();
    let mapping = object.map(pages(0, 8), Prot::READ_WRITE).unwrap();
    let (begun, thread) = std::sync::mpsc::channel();
    let waits = std::thread::spawn(move || {
        // SAFETY: no arguments, never fails.
        begun.send(unsafe { libc::gettid() }).unwrap();
        read_here(mapping.address + 3 * PAGE)
    });
    let at = format!("/proc/self/task/{}/wchan", thread.recv().unwrap());
    let waits_for_page = || std::fs::read_to_string(&at).is_ok_and(|at| at.contains("userfault"));
    // Without privilege a system call does not wait for pages.
    while !waits_for_page() && !waits.is_finished() {
        std::thread::yield_now();
    }
    drop(object);
    assert_eq!(waits.join().unwrap(), None);
    assert_eq!(read_here(mapping.address), None);
    host.unmap_orphan(&mapping);
    drop(host);
}

/// Blocks of a file and resident shared pages of this process, as /proc tells them.
fn memory_of(name: &str) -> (u64, u64) {
    let mut blocks = 0;
    for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
        let path = entry.unwrap().path();
        let target = std::fs::read_link(&path).unwrap_or_default();
        if target.to_string_lossy().contains(name) {
            blocks += std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&path).unwrap()) * 512;
        }
    }
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut ours = false;
    let mut pss = 0;
    for line in maps.lines() {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["Pss:", kib, _] if ours => pss += kib.parse::<u64>().unwrap() * 1024,
            [range, _, _, _, _, ..] if range.contains('-') => ours = line.contains(name),
            _ => {}
        }
    }
    (blocks, pss)
}

#[test]
fn the_bound_holds_as_seen_from_proc() {
    let limit = 64 * PAGE as u64;
    let Some(host) = host(LinuxOptions::default().resident_limit(Some(limit))) else {
        return;
    };
    let mut spec = spec(1024 * PAGE as u64, actor_pager::object::PageSize::KIB_4);
    spec.name = "seen-from-proc".into();
    let bytes = (0..1024 * PAGE).map(pattern).collect();
    let pager = Pager::with_spec(&host, spec, bytes);
    let mapping = pager.map(Prot::READ_WRITE);
    let mut most = 0;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random(5);
            for _ in 0..20_000 {
                let page = random.below(1024);
                poke(&mapping, page * PAGE, page as u8);
            }
            done.store(true, SeqCst);
        });
        while !done.load(SeqCst) {
            most = most.max(memory_of("seen-from-proc").0);
        }
    });
    // What is mapped cannot be told at one instant while pages come and go; at rest it can.
    let mapped = memory_of("seen-from-proc").1;
    println!("bound {limit}, most in the memfd {most}, mapped at rest {mapped}");
    assert!(most > 0 && most <= limit, "{most} bytes in the memfd");
    assert!(mapped <= limit, "{mapped} bytes mapped");
    pager.lock_request(pages(0, 1024), ShouldReturn::All, true, Prot::NO_CHANGE);
    pager.wait_until("everything dropped", |server| {
        server.kernel.residency().resident == 0
    });
    assert_eq!(memory_of("seen-from-proc").0, 0);
    for page in 0..1024 {
        let byte = pager.store.lock().unwrap().bytes[page * PAGE];
        assert!(byte == page as u8 || byte == pattern(page * PAGE));
    }
}

#[test]
fn a_child_does_not_keep_what_its_parent_has_closed() {
    let Some(host) = forking_host(LinuxOptions::default()) else {
        return;
    };
    let pager = Pager::new(&host, 4 * PAGE);
    let mapping = pager.map(Prot::READ_WRITE);
    poke(&mapping, 0, 1);
    let child = in_child(|| {
        // SAFETY: only waits; nobody hangs longer than that if a descriptor was kept.
        unsafe { libc::sleep(20) };
        9
    });
    // The mapping stays, and nobody serves it any more.
    drop(pager);
    assert_eq!(exit_code(in_child(|| 3)), 3);
    host.unmap_orphan(&mapping);
    // SAFETY: a child of this process that nobody has waited for yet.
    unsafe { libc::kill(child, libc::SIGKILL) };
    assert_eq!(
        exit_code(child),
        1000 + libc::SIGKILL,
        "a fork had to wait for the child"
    );
}
