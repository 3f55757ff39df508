//! Advice and recorded plans.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod kernels;

use actor_pager::backend::{CallKind, FaultyBackend, MemoryBackend};
use actor_pager::object::{PageError, PageIndex};
use actor_pager::{Advice, Bucket, Pager, PagerOptions, Plan};

const PAGE: u64 = 4096;

fn pager(bucket: &Bucket) -> Pager<MemoryBackend> {
    let store: Vec<u8> = (0..64 * PAGE).map(|at| (at / PAGE) as u8).collect();
    bucket
        .create_pager(MemoryBackend::from_bytes(&store), PagerOptions::default())
        .unwrap()
}

#[test]
fn populated_pages_are_resident_when_the_call_returns() {
    kernels::on_each(|bucket: Bucket| {
        let pager = pager(&bucket);
        pager.advise_blocking(PAGE..41 * PAGE, Advice::Populate).unwrap();
        assert!(pager.residency_blocking().unwrap().resident >= 40);
    });
}

#[test]
fn populating_stops_at_a_page_that_cannot_be_had() {
    kernels::on_each(|bucket: Bucket| {
        let (store, faults) = FaultyBackend::new(MemoryBackend::new(8 * PAGE), 1);
        let pager = bucket.create_pager(store, PagerOptions::default()).unwrap();
        faults.fail(
            CallKind::Read,
            actor_pager::object::PageRange::single(PageIndex(3)),
            actor_pager::backend::Fault::Error(PageError::Io),
        );
        let error = pager.advise_blocking(0..8 * PAGE, Advice::Populate).unwrap_err();
        assert_eq!(error.copied() as u64, 3 * PAGE);
    });
}

#[test]
fn a_recorded_plan_names_the_pages_that_were_touched_and_brings_them_back() {
    kernels::on_each(|bucket: Bucket| {
        let first = pager(&bucket);
        assert_eq!(first.take_plan_blocking().unwrap(), None);
        first.record_plan();
        let mut byte = [0];
        for page in [3, 9, 50] {
            first.read_at_blocking(page * PAGE, &mut byte).unwrap();
        }
        let plan = first.take_plan_blocking().unwrap().unwrap();
        for page in [3, 9, 50] {
            assert!(
                plan.runs().iter().any(|run| run.contains(PageIndex(page))),
                "{plan:?}"
            );
        }
        let again = Plan::from_bytes(&plan.to_bytes()).unwrap();
        let second = pager(&bucket);
        second.prefetch(&again);
        for page in [3, 9, 50] {
            second.read_at_blocking(page * PAGE, &mut byte).unwrap();
            assert_eq!(u64::from(byte[0]), page);
        }
    });
}
