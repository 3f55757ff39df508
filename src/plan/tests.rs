//! Plans come back as they were saved, and damaged files are told.

use super::*;
use crate::mach::eviction::traces::Random;

fn run(start: u64, end: u64) -> PageRange {
    PageRange::new(PageIndex(start), PageIndex(end))
}

fn sample() -> Plan {
    let mut plan = Plan::new(PageSize::KIB_4);
    for range in [
        run(10, 12),
        run(12, 20),
        run(3, 4),
        run(15, 25),
        run(1 << 50, (1 << 50) + 1),
    ] {
        plan.record(range);
    }
    plan
}

#[test]
fn accesses_that_follow_each_other_are_one_run() {
    assert_eq!(sample().runs()[..2], [run(10, 20), run(3, 4)]);
}

#[test]
fn the_working_set_names_every_page_once_in_order_of_first_use() {
    let set = sample().working_set(run(0, 24));
    assert_eq!(set, [run(10, 20), run(3, 4), run(20, 24)]);
}

#[test]
fn working_sets_of_random_plans_cover_exactly_what_was_used() {
    let mut random = Random::new(7);
    for _ in 0..200 {
        let mut plan = Plan::new(PageSize::KIB_4);
        let mut used = std::collections::BTreeSet::new();
        for _ in 0..random.below(60) {
            let start = random.below(200);
            let range = run(start, start + random.below(12));
            used.extend(range.iter());
            plan.record(range);
        }
        let mut set: Vec<_> = plan
            .working_set(run(0, 1000))
            .into_iter()
            .flat_map(PageRange::iter)
            .collect();
        set.sort_unstable();
        assert_eq!(set, used.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_plan_comes_back_from_its_file() {
    let path = std::env::temp_dir().join(format!("plan-{}.actplan", std::process::id()));
    let plan = sample();
    plan.save(&path).unwrap();
    plan.save(&path).unwrap();
    let loaded = Plan::load(&path);
    fs::remove_file(&path).unwrap();
    assert_eq!(loaded.unwrap(), plan);
    assert!(matches!(Plan::load(&path), Err(PlanError::Io(_))));
}

#[test]
fn saving_where_nothing_can_be_written_is_an_error() {
    let path = Path::new("/proc/no such folder/plan");
    assert!(matches!(sample().save(path), Err(PlanError::Io(_))));
}

#[test]
fn every_flipped_bit_is_told() {
    let good = sample().to_bytes();
    assert_eq!(Plan::from_bytes(&good).unwrap(), sample());
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Plan::from_bytes(&bad).is_err(), "bit {bit}");
    }
}

#[test]
fn every_cut_is_told() {
    let good = sample().to_bytes();
    for length in 0..good.len() {
        let error = Plan::from_bytes(&good[..length]).unwrap_err();
        assert!(
            matches!(error, PlanError::Length | PlanError::NotAPlan),
            "{length}: {error}"
        );
    }
    let longer = [&good[..], &[0]].concat();
    assert!(matches!(Plan::from_bytes(&longer), Err(PlanError::Length)));
}

#[test]
fn a_right_checksum_over_nonsense_is_not_enough() {
    let empty = Plan::new(PageSize::KIB_4).to_bytes();
    // A page size, a count of runs, and a body that cannot be.
    for (at, byte) in [(12, 3), (12, 200), (16, 1)] {
        let mut bad = empty.clone();
        bad[at] = byte;
        let sum = crc::crc32(&bad[..32]).to_le_bytes();
        bad[32..].copy_from_slice(&sum);
        assert!(
            matches!(Plan::from_bytes(&bad), Err(PlanError::Malformed)),
            "byte {at}"
        );
    }
}

#[test]
fn plans_are_compact() {
    let mut plan = Plan::new(PageSize::KIB_4);
    let mut random = Random::new(8);
    for _ in 0..10_000 {
        let start = random.below(1 << 18);
        plan.record(run(start, start + 1));
    }
    assert!(plan.to_bytes().len() < 10_000 * 4 + 100);
}
