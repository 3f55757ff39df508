//! Inhibition while pagers need each other's frames.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use actor_pager::backend::{CallKind, FaultControl, FaultyBackend, MemoryBackend, Point};
use actor_pager::mach::KernelHost;
use actor_pager::mach::linux::{LinuxHost, LinuxOptions};
use actor_pager::mach::sim::{SimHost, SimOptions};
use actor_pager::{Backoff, Bucket, EventKind, FailurePolicy, Pager, Protection, Wait};

use crate::support::*;

/// Pages that all objects together may have, and pages of each pager.
const FRAMES: u64 = 256;
/// Pages that are read by one call: more than are asked for at a time.
const READ: u64 = 128;

fn bounded() -> Vec<Arc<dyn KernelHost>> {
    let simulated = SimOptions {
        resident_limit: Some(FRAMES),
        ..SimOptions::default()
    };
    let mut hosts: Vec<Arc<dyn KernelHost>> = vec![Arc::new(SimHost::new(simulated))];
    match LinuxHost::new(LinuxOptions::default().resident_limit(Some(FRAMES * PAGE))) {
        Ok(linux) => hosts.push(Arc::new(linux)),
        Err(error) => println!("skipped: {error}"),
    }
    hosts
}

fn big(bucket: &Bucket, policy: FailurePolicy) -> (Pager<Store>, FaultControl) {
    let bytes: Vec<u8> = (0..FRAMES * PAGE)
        .map(|at| ((at / PAGE) % 255) as u8 + 1)
        .collect();
    let (store, control) = FaultyBackend::new(MemoryBackend::from_bytes(&bytes), 1);
    (bucket.create_pager(store, options(policy)).unwrap(), control)
}

#[test]
fn what_came_before_an_inhibition_gets_the_frames_of_pagers_that_are_done() {
    for host in bounded() {
        let bucket = Bucket::builder().workers(2).kernel(host).start().unwrap();
        let (full, _control) = big(&bucket, never_by_itself());
        let (needy, control) = big(&bucket, policy());
        // The copy has begun, and waits for its first page.
        control.hold(Point::Before(CallKind::Read), page(0));
        let copy = thread::spawn({
            let needy = needy.clone();
            move || {
                let mut bytes = vec![0; (READ * PAGE) as usize];
                needy.read_at_blocking(0, &mut bytes).map(|()| bytes)
            }
        });
        assert!(control.wait_parked(Point::Before(CallKind::Read), 1, LONG));
        for page in 0..FRAMES {
            fill(&full, page, 0x55);
        }
        let mut inhibition = pin!(bucket.inhibit());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(inhibition.as_mut().poll(&mut cx).is_pending());
        // The second is refused when the first has told every pager; what is asked then comes after that.
        assert!(bucket.inhibit_blocking().is_err());
        full.residency_blocking().unwrap();
        control.release(Point::Before(CallKind::Read));
        let begun = Instant::now();
        while inhibition.as_mut().poll(&mut cx).is_pending() {
            assert!(begun.elapsed() < LONG, "the copy never gets its frames");
            thread::yield_now();
        }
        let bytes = copy.join().unwrap().unwrap();
        for (page, bytes) in bytes.chunks(PAGE as usize).enumerate() {
            assert!(bytes.iter().all(|&byte| byte == page as u8 + 1));
        }
        bucket.resume_blocking().unwrap();
        full.sync_blocking(Wait::Yes).unwrap();
        for page in 0..FRAMES {
            assert_eq!(stored(&full, page), all(0x55));
        }
    }
}

#[test]
fn a_pager_that_panics_while_it_is_inhibited_goes_on_when_it_is_resumed() {
    let Some(machine) = Machine::linux() else { return };
    let (bucket, trouble) = machine.troubled();
    let mut events = bucket.events();
    let late = Backoff {
        first: Duration::from_millis(500),
        longest: Duration::from_millis(500),
    };
    let (pager, _control) = pager(
        &bucket,
        FailurePolicy {
            restart_backoff: late,
            ..policy()
        },
    );
    let mapping = pager.map_all_blocking(Protection::Read).unwrap();
    bucket.inhibit_blocking().unwrap();
    trouble.panic_in_poll.store(1, SeqCst);
    thread::scope(|scope| {
        let touches = scope.spawn(|| {
            // SAFETY: the page lies in the mapping, and nobody writes to it.
            unsafe { mapping.as_ptr().add(9 * PAGE as usize).read_volatile() }
        });
        // It is down, and not made anew yet.
        while trouble.panic_in_poll.load(SeqCst) > 0 {
            thread::yield_now();
        }
        bucket.resume_blocking().unwrap();
        wait_for(&mut events, |kind| *kind == EventKind::PagerRestarted);
        assert_eq!(touches.join().unwrap(), 10);
    });
    bucket.inhibit_blocking().unwrap();
    bucket.resume_blocking().unwrap();
    assert_eq!(load(&pager, 20), all(21));
}
