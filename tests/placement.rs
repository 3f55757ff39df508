//! Where the threads of a bucket run.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use actor_pager::backend::MemoryBackend;
use actor_pager::error::{PlacementError, StartError};
use actor_pager::mach::sim::{SimHost, SimOptions};
use actor_pager::{Bucket, BucketBuilder, PagerOptions, Placement, Protection, Wait};
use rustix::thread::{CpuSet, sched_getaffinity};

fn builder() -> BucketBuilder {
    let kernel = SimHost::new(SimOptions::default());
    Bucket::builder().kernel(Arc::new(kernel)).workers(2).arbiters(2)
}

/// The processors of each thread of this process.
fn threads() -> BTreeMap<String, String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let masks = tasks.flatten().filter_map(|task| {
        let status = fs::read_to_string(task.path().join("status")).ok()?;
        let mask = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
        Some((
            task.file_name().to_string_lossy().into_owned(),
            mask.trim().to_owned(),
        ))
    });
    masks.collect()
}

fn allowed() -> Vec<usize> {
    let set = sched_getaffinity(None).unwrap();
    (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect()
}

/// In one test, as it looks at all threads of the process.
#[test]
fn every_thread_of_a_bucket_runs_where_it_is_to_and_no_other_does() {
    let last = *allowed().last().unwrap();
    let before = threads();
    let bucket = builder().placement(Placement::Cpus(vec![last])).start().unwrap();
    let store = MemoryBackend::new(1 << 16);
    let pager = bucket.create_pager(store, PagerOptions::default()).unwrap();
    let mapping = pager.map_all_blocking(Protection::ReadWrite).unwrap();
    mapping.write_at(4096, b"bytes").unwrap();
    pager.sync_blocking(Wait::Yes).unwrap();
    let during = threads();
    let ours: Vec<_> = during
        .iter()
        .filter(|(thread, _)| !before.contains_key(*thread))
        .collect();
    // The supervisor's, two arbiters, two workers.
    assert!(ours.len() >= 5, "{ours:?}");
    assert!(
        ours.iter().all(|(_, mask)| **mask == last.to_string()),
        "{ours:?}"
    );
    for (thread, mask) in &before {
        assert_eq!(during.get(thread).unwrap_or(mask), mask);
    }
}

#[test]
fn a_processor_that_cannot_be_used_is_an_error() {
    let first = allowed()[0];
    for bad in [CpuSet::MAX_CPU - 1, CpuSet::MAX_CPU, usize::MAX] {
        let started = builder().placement(Placement::Cpus(vec![first, bad])).start();
        let Err(StartError::Placement(PlacementError::Cpu { cpu, .. })) = started else {
            panic!("{:?}", started.err());
        };
        assert_eq!(cpu, bad);
    }
    let started = builder().placement(Placement::Cpus(Vec::new())).start();
    assert!(matches!(
        started.err().unwrap(),
        StartError::Placement(PlacementError::None)
    ));
}
