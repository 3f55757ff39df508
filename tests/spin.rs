//! Arbiters that stay awake for a while.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use actor_pager::backend::MemoryBackend;
use actor_pager::{Bucket, Mapping, Pager, PagerOptions, Protection, Wait};

const PAGE: usize = 4096;
const PAGES: usize = 64;
const LIMIT: Duration = Duration::from_secs(60);
const SAMPLE: Duration = Duration::from_millis(50);

fn pager(bucket: &Bucket) -> Pager<MemoryBackend> {
    let bytes: Vec<u8> = (0..PAGES * PAGE).map(|at| (at / PAGE) as u8).collect();
    bucket
        .create_pager(MemoryBackend::from_bytes(&bytes), PagerOptions::default())
        .unwrap()
}

fn load(mapping: &Mapping, at: usize) -> u8 {
    // SAFETY: the byte lies in the mapping, to which no reference is made.
    unsafe { mapping.as_ptr().wrapping_add(at).read_volatile() }
}

/// Every page is absent, and faults.
fn faults(pager: &Pager<MemoryBackend>, mapping: &Mapping) {
    pager.flush_blocking(Wait::Yes).unwrap();
    for page in 0..PAGES {
        assert_eq!(load(mapping, page * PAGE + 7), page as u8);
    }
}

/// What all threads but this one have spent.
fn spent() -> Duration {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let own = rustix::thread::gettid().as_raw_nonzero().to_string();
    let others = tasks.filter(|task| *task.file_name() != *own);
    let times = others.filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(times.sum())
}

/// In one test, as it looks at all threads of the process.
#[test]
fn arbiters_stay_awake_as_long_as_they_may_and_serve_everybody_meanwhile() {
    if Bucket::builder().start().is_err() {
        return println!("skipped: userfaultfd is not to be had here");
    }
    let endless = Bucket::builder().spin(Duration::from_secs(3600)).start().unwrap();
    let first = pager(&endless);
    let mapping = first.map_all_blocking(Protection::Read).unwrap();
    faults(&first, &mapping);
    let (before, limit) = (spent(), Instant::now() + LIMIT);
    while spent() - before < 2 * SAMPLE {
        assert!(Instant::now() < limit, "it does not stay awake");
        thread::sleep(SAMPLE);
    }
    // Made, served and closed while the arbiter is awake for the first.
    let second = pager(&endless);
    let other = second.map_all_blocking(Protection::Read).unwrap();
    faults(&second, &other);
    faults(&first, &mapping);
    drop((mapping, other, first, second, endless));

    let bucket = Bucket::builder().spin(Duration::from_millis(1)).start().unwrap();
    let third = pager(&bucket);
    let mapping = third.map_all_blocking(Protection::Read).unwrap();
    faults(&third, &mapping);
    let limit = Instant::now() + LIMIT;
    loop {
        let before = spent();
        thread::sleep(SAMPLE);
        if spent() - before < SAMPLE / 10 {
            break;
        }
        assert!(Instant::now() < limit, "it does not fall asleep without work");
    }
    faults(&third, &mapping);
}
