//! A pager that lost its memory is told everything again, and no thread notices.
#![cfg(target_os = "linux")]

mod linux_support;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use actor_pager::mach::linux::LinuxOptions;
use actor_pager::object::{PageIndex, PageRange, PortName, Prot, ShouldReturn};
use linux_support::*;

/// The pager forgets what it holds and was asked; its store stays.
fn forget(server: &mut Server) {
    server.held.clear();
    server.control = PortName::NULL;
    server.kernel.reissue();
}

#[test]
fn threads_that_wait_are_asked_for_again() {
    let Some(host) = host(LinuxOptions::default().read_ahead(1)) else {
        return;
    };
    let pager = Pager::new(&host, 8 * PAGE);
    let mapping = pager.map(Prot::READ_WRITE);
    peek(&mapping, 0);
    std::thread::scope(|scope| {
        pager.with_server(|server| server.deaf = true);
        let reader = scope.spawn(|| peek(&mapping, 5 * PAGE));
        let writer = scope.spawn(|| poke(&mapping, 6 * PAGE, 0x66));
        pager.wait_until("both requests", |server| server.unheard == 2);
        pager.with_server(|server| {
            server.deaf = false;
            forget(server);
        });
        assert_eq!(reader.join().unwrap(), pattern(5 * PAGE));
        writer.join().unwrap();
    });
    assert_eq!(peek(&mapping, 6 * PAGE), 0x66);
}

#[test]
fn returned_pages_come_again_and_reach_the_store() {
    let Some(host) = host(LinuxOptions::default()) else {
        return;
    };
    let pager = Pager::new(&host, 8 * PAGE);
    let mapping = pager.map(Prot::READ_WRITE);
    pager.store.lock().unwrap().hold_returns = true;
    poke(&mapping, PAGE, 0x11);
    poke(&mapping, 2 * PAGE, 0x22);
    let page = |page| PageRange::single(PageIndex(page));
    pager.lock_request(page(1), ShouldReturn::Dirty, false, Prot::NO_CHANGE);
    pager.lock_request(page(2), ShouldReturn::Dirty, true, Prot::NO_CHANGE);
    pager.store.lock().unwrap().hold_returns = false;
    pager.with_server(forget);
    pager.wait_until("the flushed page was written", |server| {
        server.store.lock().unwrap().bytes[2 * PAGE] == 0x22
    });
    assert_eq!(pager.with_server(|server| server.kernel.residency().dirty), 1);
    pager.sync();
    assert_eq!(pager.store.lock().unwrap().bytes[PAGE], 0x11);
    assert_eq!((peek(&mapping, PAGE), peek(&mapping, 2 * PAGE)), (0x11, 0x22));
}

#[test]
fn a_pager_that_forgets_all_the_time_loses_nothing() {
    let options = LinuxOptions::default().resident_limit(Some(16 * PAGE as u64));
    let Some(host) = host(options) else { return };
    let pager = Pager::new(&host, 64 * PAGE);
    let mapping = pager.map(Prot::READ_WRITE);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let mut random = Random(7);
            let mut known: Vec<u8> = (0..64).map(|page| pattern(page * PAGE)).collect();
            for _ in 0..4000 {
                let page = random.below(64);
                assert_eq!(peek(&mapping, page * PAGE), known[page], "page {page}");
                known[page] = random.below(256) as u8;
                poke(&mapping, page * PAGE, known[page]);
            }
            done.store(true, Relaxed);
            known
        });
        while !done.load(Relaxed) && !worker.is_finished() {
            pager.with_server(forget);
        }
        let known = worker.join().unwrap();
        pager.sync();
        for (page, value) in known.into_iter().enumerate() {
            assert_eq!(pager.store.lock().unwrap().bytes[page * PAGE], value);
        }
    });
    assert!(host.high_water_bytes() <= 16 * PAGE as u64);
    pager.unmap(mapping);
}
