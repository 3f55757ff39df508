//! Threads that touch real memory: the truth, by userfaultfd.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use actor_pager::backend::MemoryBackend;
use actor_pager::{Bucket, Mapping, PagerOptions, Protection, Wait};

const PAGE: u64 = 4096;

/// The word at the start of `page`, as an atomic that threads may share.
fn word(mapping: &Mapping, page: u64) -> &AtomicU64 {
    assert!(page * PAGE < mapping.len() as u64);
    let at = mapping.as_ptr() as usize + (page * PAGE) as usize;
    // SAFETY: the word lies inside of the mapping, is aligned, and is only ever used as an atomic.
    unsafe { &*std::ptr::with_exposed_provenance::<AtomicU64>(at) }
}

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn eight_threads_far_over_the_bound_lose_no_store() {
    let (pages, threads, steps) = (16384, 8, 20_000);
    let bucket = Bucket::builder()
        .workers(4)
        .resident_limit(512 * PAGE)
        .start()
        .unwrap();
    let pager = bucket
        .create_pager(MemoryBackend::new(pages * PAGE), PagerOptions::default())
        .unwrap();
    let mapping = pager.map_all_blocking(Protection::ReadWrite).unwrap();
    let added: u64 = thread::scope(|scope| {
        let run = |thread: u64| {
            let mapping = &mapping;
            move || {
                let mut state = 0x9e37_79b9 + thread;
                let mut added = 0;
                for _ in 0..steps {
                    let page = random(&mut state) % pages;
                    if random(&mut state).is_multiple_of(3) {
                        word(mapping, page).fetch_add(page + 1, Ordering::Relaxed);
                        added += page + 1;
                    } else {
                        assert_eq!(word(mapping, page).load(Ordering::Relaxed) % (page + 1), 0);
                    }
                }
                added
            }
        };
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(run(thread))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    pager.sync_blocking(Wait::Yes).unwrap();
    let in_memory: u64 = (0..pages)
        .map(|page| word(&mapping, page).load(Ordering::Relaxed))
        .sum();
    assert_eq!(in_memory, added);
    let stored = |page| {
        let bytes = pager.backend().read(page * PAGE, 8);
        u64::from_le_bytes(bytes.try_into().unwrap())
    };
    assert_eq!((0..pages).map(stored).sum::<u64>(), added);
    let stats = bucket.stats();
    println!("{stats:?}");
}
