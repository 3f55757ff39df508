//! What a user sees of a pager's calls, on the simulated kernel.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;

use actor_pager::backend::MemoryBackend;
use actor_pager::mach::sim::{SimHost, SimOptions};
use actor_pager::{Bucket, PagerOptions, Protection, Wait};

fn bucket() -> Bucket {
    Bucket::builder()
        .kernel(Arc::new(SimHost::new(SimOptions::default())))
        .workers(2)
        .start()
        .unwrap()
}

#[test]
fn bytes_written_reach_the_store_with_a_sync() {
    let bucket = bucket();
    let pager = bucket
        .create_pager(MemoryBackend::new(16 * 4096), PagerOptions::default())
        .unwrap();
    pager.write_at_blocking(5000, b"hello, page").unwrap();
    let mut back = [0; 11];
    pager.read_at_blocking(5000, &mut back).unwrap();
    assert_eq!(&back, b"hello, page");
    pager.sync_blocking(Wait::Yes).unwrap();
    assert_eq!(pager.backend().read(5000, 11), b"hello, page");
    let mapping = pager.map_all_blocking(Protection::ReadWrite).unwrap();
    mapping.write_at(1, b"x").unwrap();
    drop(mapping);
    pager.shutdown_blocking().unwrap();
    assert_eq!(pager.backend().read(1, 1), b"x");
    bucket.shutdown_blocking().unwrap();
}

#[test]
fn an_inhibited_bucket_serves_nothing_and_loses_nothing() {
    let bucket = bucket();
    let pager = bucket
        .create_pager(MemoryBackend::new(16 * 4096), PagerOptions::default())
        .unwrap();
    pager.write_at_blocking(0, b"before").unwrap();
    bucket.inhibit_blocking().unwrap();
    assert!(bucket.inhibit_blocking().is_err());
    let waiting = std::thread::spawn({
        let pager = pager.clone();
        move || pager.write_at_blocking(0, b"after!")
    });
    assert_eq!(pager.backend().read(0, 6), [0; 6]);
    bucket.resume_blocking().unwrap();
    waiting.join().unwrap().unwrap();
    pager.sync_blocking(Wait::Yes).unwrap();
    assert_eq!(pager.backend().read(0, 6), b"after!");
    assert!(bucket.resume_blocking().is_err());
}
