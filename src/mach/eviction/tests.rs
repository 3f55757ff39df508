//! What every policy promises, and what sets them apart.

use std::collections::HashSet;

use super::replay::{hit_ratio, optimum};
use super::traces::{Random, loop_over, scan_and_hot_set, zipf};
use super::*;

fn policies() -> [(&'static str, Box<dyn EvictionPolicy>); 3] {
    [
        ("FIFO", Box::<Fifo>::default()),
        ("CLOCK", Box::<Clock>::default()),
        ("S3-FIFO", Box::<S3Fifo>::default()),
    ]
}

fn take(policy: &mut dyn EvictionPolicy, want: usize) -> Vec<PageIndex> {
    let mut out = Vec::new();
    policy.victims(want, &mut |_| true, &mut out);
    out
}

/// A random history; after each step the policy must agree with a plain set of pages.
fn agrees_with_a_set(name: &str, policy: &mut dyn EvictionPolicy, seed: u64) {
    let mut random = Random::new(seed);
    let mut known = HashSet::new();
    for step in 0..20_000 {
        let page = PageIndex(random.below(600) * 1_000_003);
        match random.below(8) {
            0..=2 => {
                policy.inserted(page);
                known.insert(page);
            }
            3..=4 => policy.touched(page),
            5..=6 => {
                policy.removed(page);
                known.remove(&page);
            }
            _ => {
                let pinned = |page: PageIndex| page.0.is_multiple_of(3);
                let want = random.below(9) as usize;
                let evictable = known.iter().filter(|page| !pinned(**page)).count();
                let mut out = Vec::new();
                policy.victims(want, &mut |page| !pinned(page), &mut out);
                assert_eq!(out.len(), want.min(evictable), "{name}, seed {seed}, step {step}");
                for page in out {
                    assert!(!pinned(page), "{name}: pinned page {page:?} evicted");
                    assert!(known.remove(&page), "{name}: {page:?} evicted but never inserted");
                }
            }
        }
        assert_eq!(policy.len(), known.len(), "{name}, seed {seed}, step {step}");
    }
    let rest: HashSet<_> = take(policy, usize::MAX / 2).into_iter().collect();
    assert_eq!(rest, known, "{name}: every page that is left must come out once");
}

#[test]
fn victims_are_exactly_the_known_and_unpinned_pages() {
    for seed in 0..8 {
        for (name, mut policy) in policies() {
            agrees_with_a_set(name, &mut *policy, seed);
        }
    }
}

#[test]
fn a_call_ends_when_every_page_is_pinned() {
    for (name, mut policy) in policies() {
        (0..100).for_each(|page| policy.inserted(PageIndex(page)));
        let mut out = Vec::new();
        policy.victims(10, &mut |_| false, &mut out);
        assert!(out.is_empty(), "{name}");
        assert_eq!(policy.len(), 100, "{name}");
    }
}

#[test]
fn what_is_coming_is_what_goes_and_asking_changes_nothing() {
    for (name, mut policy) in policies() {
        (0..1000).for_each(|page| policy.inserted(PageIndex(page)));
        (0..1000)
            .step_by(7)
            .for_each(|page| policy.removed(PageIndex(page)));
        let mut coming = Vec::new();
        policy.coming(50, &mut coming);
        policy.coming(50, &mut coming);
        assert_eq!(coming[..50], coming[50..], "{name}");
        // CLOCK lets every page pass once before it takes the first.
        assert_eq!(coming[..50], take(&mut *policy, 50), "{name}");
    }
}

#[test]
fn fifo_evicts_in_order_of_arrival_whatever_is_used() {
    let mut policy = Fifo::default();
    (0..4).for_each(|page| policy.inserted(PageIndex(page)));
    policy.touched(PageIndex(0));
    policy.removed(PageIndex(1));
    assert_eq!(take(&mut policy, 2), [PageIndex(0), PageIndex(2)]);
}

#[test]
fn clock_gives_used_pages_a_second_chance() {
    let mut policy = Clock::default();
    (0..4).for_each(|page| policy.inserted(PageIndex(page)));
    policy.touched(PageIndex(0));
    assert_eq!(take(&mut policy, 4), [1, 2, 3, 0].map(PageIndex));
}

#[test]
fn s3_fifo_brings_a_page_back_to_the_main_queue() {
    let mut policy = S3Fifo::default();
    (0..100).for_each(|page| policy.inserted(PageIndex(page)));
    assert_eq!(take(&mut policy, 1), [PageIndex(0)]);
    policy.inserted(PageIndex(0));
    let rest = take(&mut policy, 100);
    assert_eq!(
        rest.last(),
        Some(&PageIndex(0)),
        "evicted a moment ago, so kept longest"
    );
}

#[test]
fn a_scan_does_not_push_out_the_hot_set() {
    let trace = scan_and_hot_set(500, 100_000, 200_000, 1);
    let s3 = hit_ratio(&mut S3Fifo::default(), 1000, 1, &trace);
    let clock = hit_ratio(&mut Clock::default(), 1000, 1, &trace);
    // Half of the accesses go to the hot set; the scan never hits.
    assert!(s3 > 0.49, "S3-FIFO hit ratio {s3}");
    assert!(s3 > clock + 0.05, "S3-FIFO {s3}, CLOCK {clock}");
}

#[test]
fn nobody_beats_the_optimum() {
    for trace in [
        zipf(5000, 0.9, 50_000, 2),
        scan_and_hot_set(300, 5000, 50_000, 3),
        loop_over(800, 50_000),
    ] {
        let best = optimum(600, &trace);
        for (name, mut policy) in policies() {
            let ratio = hit_ratio(&mut *policy, 600, 1, &trace);
            assert!(ratio <= best, "{name}: {ratio} > {best}");
        }
    }
}

#[test]
fn the_optimum_of_a_loop_is_known() {
    // Of 4 pages in a loop, 3 resident ones save 2 of 3 accesses once all have been seen.
    let ratio = optimum(3, &loop_over(4, 3 + 3000));
    assert!((ratio - 2.0 / 3.0).abs() < 0.001, "{ratio}");
}

#[test]
fn memory_is_proportional_to_resident_pages() {
    let mut policy = S3Fifo::default();
    let mut random = Random::new(4);
    for _ in 0..500_000 {
        if policy.len() >= 40_000 {
            assert_eq!(take(&mut policy, 64).len(), 64);
        }
        policy.inserted(PageIndex(random.below(1 << 40)));
    }
    assert!(
        policy.memory() <= 24 * 40_000,
        "{} bytes for 40,000 pages",
        policy.memory()
    );
}

#[test]
fn pages_that_come_and_go_leave_no_memory_behind() {
    for (name, mut policy) in policies() {
        for page in (0..100_000).map(PageIndex) {
            policy.inserted(page);
            policy.removed(page);
        }
        assert!(policy.memory() < 8192, "{name}: {} bytes", policy.memory());
    }
}

mod fair_share {
    use super::*;

    fn share(weight: u32, floor: u64) -> Share {
        Share { weight, floor }
    }

    #[test]
    fn takes_from_whoever_holds_most_for_its_weight() {
        let mut shares = FairShare::default();
        let light = shares.join(share(1, 0));
        let heavy = shares.join(share(4, 0));
        shares.set_resident(light, 300);
        shares.set_resident(heavy, 1000);
        assert_eq!(
            shares.pick(64),
            Some(Take {
                member: light,
                pages: 64
            })
        );
        shares.set_resident(light, 200);
        assert_eq!(shares.pick(64).map(|take| take.member), Some(heavy));
    }

    #[test]
    fn floors_hold_until_nobody_is_above_his() {
        let mut shares = FairShare::default();
        let kept = shares.join(share(1, 100));
        let other = shares.join(share(1, 10));
        shares.set_resident(kept, 100);
        shares.set_resident(other, 15);
        assert_eq!(
            shares.pick(64),
            Some(Take {
                member: other,
                pages: 5
            })
        );
        shares.set_resident(other, 10);
        assert_eq!(
            shares.pick(64),
            Some(Take {
                member: kept,
                pages: 64
            }),
            "the bound is hard"
        );
    }

    #[test]
    fn nothing_to_take_where_nobody_holds_a_page() {
        let mut shares = FairShare::default();
        assert_eq!(shares.pick(1), None);
        let member = shares.join(Share::default());
        assert_eq!(shares.pick(1), None);
        shares.set_resident(member, 3);
        shares.leave(member);
        assert_eq!(shares.pick(1), None);
        shares.set_resident(member, 3);
        assert_eq!(shares.pick(1), None, "who left holds nothing");
    }

    #[test]
    fn the_pick_is_the_largest_of_many() {
        let mut shares = FairShare::default();
        let members: Vec<Member> = (0..1000).map(|_| shares.join(share(1, 0))).collect();
        let mut resident = vec![0; members.len()];
        let mut random = Random::new(5);
        for _ in 0..5000 {
            let at = random.below(1000) as usize;
            resident[at] = random.below(1 << 30);
            shares.set_resident(members[at], resident[at]);
            let most = resident.iter().max().copied();
            let picked = shares.pick(1).map(|take| resident[take.member.0 as usize]);
            assert_eq!(picked.or(Some(0)), most);
        }
    }
}
