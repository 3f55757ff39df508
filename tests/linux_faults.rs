//! Real faults on the Linux kernel: contents, several threads, several mappings, the bound.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod linux_support;

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use actor_pager::mach::KernelHost;
use actor_pager::mach::linux::LinuxOptions;
use actor_pager::object::{PageIndex, PageRange, PageSize, Prot, ShouldReturn};
use linux_support::*;

#[test]
fn what_is_read_is_what_the_store_holds() {
    let Some(host) = host(LinuxOptions::default()) else {
        return;
    };
    let pager = Pager::new(&host, 64 * PAGE);
    let mapping = pager.map(Prot::READ_WRITE);
    for at in (0..mapping.length).step_by(97) {
        assert_eq!(peek(&mapping, at), pattern(at), "byte {at}");
    }
    pager.unmap(mapping);
}

#[test]
fn what_is_written_reaches_the_store_by_sync() {
    let Some(host) = host(LinuxOptions::default()) else {
        return;
    };
    let pager = Pager::new(&host, 16 * PAGE);
    let mapping = pager.map(Prot::READ_WRITE);
    peek(&mapping, 3 * PAGE);
    poke(&mapping, 3 * PAGE + 5, 0xab);
    poke(&mapping, 9 * PAGE, 0xcd);
    pager.sync();
    let written = |at: usize| pager.store.lock().unwrap().bytes[at];
    assert_eq!((written(3 * PAGE + 5), written(9 * PAGE)), (0xab, 0xcd));
    poke(&mapping, 9 * PAGE, 0xce);
    pager.sync();
    assert_eq!(written(9 * PAGE), 0xce, "written to again after a sync");
    let log = pager.store.lock().unwrap().log.clone();
    assert_eq!(log.len(), 3, "clean pages are not returned: {log:?}");
}

/// Eight threads write bytes of their own and read everything, in a bounded host.
fn hammer(options: LinuxOptions, pages: usize, rounds: usize) {
    let Some(host) = host(options.clone()) else { return };
    let pager = Pager::new(&host, pages * PAGE);
    let mapping = pager.map(Prot::READ_WRITE);
    let last: Vec<Vec<AtomicU8>> = (0..8)
        .map(|thread| {
            (0..pages)
                .map(|page| AtomicU8::new(pattern(page * PAGE + thread * 100)))
                .collect()
        })
        .collect();
    std::thread::scope(|scope| {
        for (thread, mine) in last.iter().enumerate() {
            let mapping = &mapping;
            scope.spawn(move || {
                let mut random = Random(thread as u64 + 1);
                for _ in 0..rounds {
                    let page = random.below(pages);
                    let at = page * PAGE + thread * 100;
                    assert_eq!(
                        peek(mapping, at),
                        mine[page].load(Relaxed),
                        "thread {thread} page {page}"
                    );
                    if random.below(3) == 0 {
                        let value = random.below(256) as u8;
                        poke(mapping, at, value);
                        mine[page].store(value, Relaxed);
                    }
                    let other = page * PAGE + 2000 + random.below(1000);
                    assert_eq!(peek(mapping, other), pattern(other));
                }
            });
        }
    });
    pager.sync();
    for (thread, mine) in last.iter().enumerate() {
        for (page, value) in mine.iter().enumerate() {
            let at = page * PAGE + thread * 100;
            let value = value.load(Relaxed);
            assert_eq!(
                pager.store.lock().unwrap().bytes[at],
                value,
                "stored: thread {thread} page {page}"
            );
        }
    }
    let stats = host.stats();
    println!(
        "{options:?}: {} requests, {} in, {} out, {} clean and {} dirty evicted, {} waits for frames, high water {}, p50 {:?} p99 {:?}",
        stats.requests,
        stats.pages_in,
        stats.pages_out,
        stats.evicted_clean,
        stats.evicted_dirty,
        stats.frame_waits,
        host.high_water_bytes(),
        stats.latency.quantile(0.5),
        stats.latency.quantile(0.99)
    );
    if let Some(limit) = options.resident_limit {
        assert!(host.high_water_bytes() <= limit);
        assert!(
            stats.evicted_clean > 0 && stats.evicted_dirty > 0,
            "nothing was evicted"
        );
    }
}

#[test]
fn eight_threads_without_a_bound() {
    hammer(LinuxOptions::default(), 512, 4000);
}

#[test]
fn eight_threads_under_a_bound() {
    hammer(
        LinuxOptions::default().resident_limit(Some(64 * PAGE as u64)),
        512,
        4000,
    );
}

#[test]
fn eight_threads_under_a_very_small_bound() {
    hammer(
        LinuxOptions::default().resident_limit(Some(12 * PAGE as u64)),
        64,
        1000,
    );
}

#[test]
fn eight_threads_with_fault_around() {
    let options = LinuxOptions::default().resident_limit(Some(128 * PAGE as u64));
    hammer(options.fault_around(16), 1024, 4000);
}

#[test]
fn every_mapping_shows_the_same() {
    let Some(host) = host(LinuxOptions::default()) else {
        return;
    };
    let pager = Pager::new(&host, 32 * PAGE);
    let (one, two) = (pager.map(Prot::READ_WRITE), pager.map(Prot::READ_WRITE));
    let part = pager.map_range(PageRange::new(PageIndex(8), PageIndex(16)), Prot::READ);
    poke(&one, 9 * PAGE + 1, 77);
    assert_eq!((peek(&two, 9 * PAGE + 1), peek(&part, PAGE + 1)), (77, 77));
    poke(&two, 9 * PAGE + 1, 78);
    assert_eq!(peek(&one, 9 * PAGE + 1), 78);
    pager.sync();
    assert_eq!(pager.store.lock().unwrap().bytes[9 * PAGE + 1], 78);
    // After a sync, a write through either mapping is noticed.
    for (mapping, value) in [(&one, 79), (&two, 80)] {
        poke(mapping, 9 * PAGE + 1, value);
        pager.sync();
        assert_eq!(pager.store.lock().unwrap().bytes[9 * PAGE + 1], value);
    }
}

#[test]
fn return_drops_and_writes_flush_only_drops() {
    let Some(host) = host(LinuxOptions::default()) else {
        return;
    };
    let pager = Pager::new(&host, 8 * PAGE);
    let mapping = pager.map(Prot::READ_WRITE);
    let all = PageRange::with_len(PageIndex(0), 8);
    poke(&mapping, PAGE, 1);
    pager.lock_request(all, ShouldReturn::All, true, Prot::NO_CHANGE);
    assert_eq!(pager.store.lock().unwrap().bytes[PAGE], 1);
    pager.wait_until("dropped", |server| server.kernel.residency().resident == 0);
    poke(&mapping, PAGE, 2);
    pager.lock_request(all, ShouldReturn::None, true, Prot::NO_CHANGE);
    assert_eq!(peek(&mapping, PAGE), 1, "the modification was dropped");
}

#[test]
fn large_object_pages() {
    let Some(host) = host(LinuxOptions::default().resident_limit(Some(16 << 21))) else {
        return;
    };
    let bytes: Vec<u8> = (0..20usize << 21).map(pattern).collect();
    let pager = Pager::with(&host, 20 << 21, PageSize::MIB_2, bytes);
    let mapping = pager.map(Prot::READ_WRITE);
    for round in 0..3 {
        for at in (0..mapping.length).step_by((1 << 20) + 4096 + 8) {
            assert_eq!(
                peek(&mapping, at),
                pattern(at).wrapping_add(round),
                "byte {at} round {round}"
            );
            poke(&mapping, at, pattern(at).wrapping_add(round + 1));
        }
    }
    assert!(host.high_water_bytes() <= 16 << 21);
}

#[test]
fn a_tebibyte_costs_what_is_touched() {
    let Some(host) = host(LinuxOptions::default()) else {
        return;
    };
    let pager = Pager::with(&host, 1 << 40, PageSize::KIB_4, Vec::new());
    let pages = PageRange::with_len(PageIndex(0), 1 << 28);
    let mapping = pager.map_range(pages, Prot::READ_WRITE);
    for gib in (0..1024usize).step_by(7) {
        poke(&mapping, (gib << 30) + 8, gib as u8);
        assert_eq!(peek(&mapping, (gib << 30) + 8), gib as u8);
    }
    pager.lock_request(pages, ShouldReturn::Dirty, false, Prot::NO_CHANGE);
    let resident = pager.with_server(|server| server.kernel.residency());
    assert_eq!((resident.resident, resident.dirty), (147, 0));
    pager.unmap(mapping);
}

#[test]
fn streams_are_read_ahead_in_large_requests() {
    let options = LinuxOptions::default().resident_limit(Some(256 * PAGE as u64));
    let pages = 2048;
    let orders: [(&str, Vec<usize>); 3] = [
        ("forward", (0..pages).collect()),
        ("backward", (0..pages).rev().collect()),
        ("every third", (0..pages).step_by(3).collect()),
    ];
    for (name, order) in orders {
        let Some(host) = host(options.clone()) else { return };
        let pager = Pager::new(&host, pages * PAGE);
        let mapping = pager.map(Prot::READ);
        for &page in &order {
            assert_eq!(
                peek(&mapping, page * PAGE + 9),
                pattern(page * PAGE + 9),
                "{name}, page {page}"
            );
        }
        let stats = host.stats();
        let faults = stats.faults_missing + stats.faults_minor;
        println!(
            "{name}: {} pages, {faults} faults, {} came in",
            order.len(),
            stats.pages_in
        );
        assert!(faults < order.len() as u64 / 8, "{name}: {faults} faults");
        assert!(
            stats.pages_in < order.len() as u64 * 11 / 10,
            "{name}: {} came in",
            stats.pages_in
        );
        assert!(host.high_water_bytes() <= 256 * PAGE as u64);
    }
}

#[test]
fn random_faults_bring_nothing_else_in() {
    let Some(host) = host(LinuxOptions::default()) else {
        return;
    };
    let pager = Pager::new(&host, 4096 * PAGE);
    let mapping = pager.map(Prot::READ);
    let mut random = Random(3);
    let touched: std::collections::HashSet<_> = (0..500).map(|_| random.below(4096) / 4 * 4).collect();
    for page in &touched {
        peek(&mapping, page * PAGE);
    }
    assert!(
        host.stats().pages_in <= touched.len() as u64 + 50,
        "{} came in",
        host.stats().pages_in
    );
}

#[test]
fn advice_brings_pages_in_and_sends_them_away() {
    use actor_pager::mach::stream::Advice;
    let Some(host) = host(LinuxOptions::default()) else {
        return;
    };
    let pager = Pager::new(&host, 64 * PAGE);
    let mapping = pager.map(Prot::READ_WRITE);
    poke(&mapping, 0, 1);
    let all = PageRange::with_len(PageIndex(0), 64);
    pager.with_server(move |server| server.kernel.advise(all, Advice::WillNeed));
    pager.wait_until("all is there", |server| server.kernel.residency().resident == 64);
    pager.with_server(move |server| server.kernel.advise(all, Advice::DontNeed));
    pager.wait_until("all is gone", |server| server.kernel.residency().resident == 0);
    assert_eq!(
        pager.store.lock().unwrap().bytes[0],
        1,
        "the dirty page was written first"
    );
    assert_eq!(peek(&mapping, 0), 1);
}
