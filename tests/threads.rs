//! A system that gives no more threads. One test, so that it can count them.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod gate;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use actor_pager::error::{PlacementError, StartError};
use actor_pager::mach::sim::{SimHost, SimOptions};
use actor_pager::{Bucket, Placement};
use gate::{Kind, Verdict};

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

fn start() -> Result<Bucket, StartError> {
    let kernel = Arc::new(SimHost::new(SimOptions::default()));
    Bucket::builder().kernel(kernel).workers(2).arbiters(2).start()
}

#[test]
fn a_bucket_that_gets_no_threads_says_so_and_leaves_none_behind() {
    // How many threads may still be made before one is refused; below 0 all may.
    let left = Arc::new(AtomicI64::new(-1));
    let judged = left.clone();
    let judge = move |_| match judged.fetch_sub(1, SeqCst) {
        0 => Verdict::Refuse(libc::EAGAIN),
        _ => Verdict::Pass,
    };
    let kinds = [Kind::of(libc::SYS_clone3), Kind::of(libc::SYS_clone)];
    gate::behind(&kinds, judge, || {
        let before = threads();
        for nth in 0.. {
            left.store(nth, SeqCst);
            let started = start();
            left.store(-1, SeqCst);
            let Err(error) = started else {
                assert!(nth >= 5, "two workers, two arbiters, and the bucket's own");
                break;
            };
            assert!(matches!(error, StartError::Threads(_)), "thread {nth}: {error}");
            let begun = Instant::now();
            while threads() > before {
                assert!(begun.elapsed() < Duration::from_secs(60), "threads are left");
                std::thread::yield_now();
            }
        }
        // Where its threads are to run is tried on a thread.
        left.store(0, SeqCst);
        let placed = Bucket::builder().placement(Placement::Cpus(vec![0])).start();
        left.store(-1, SeqCst);
        assert!(matches!(
            placed.err().unwrap(),
            StartError::Placement(PlacementError::Thread(_))
        ));
        start().unwrap().shutdown_blocking().unwrap();
    });
}
