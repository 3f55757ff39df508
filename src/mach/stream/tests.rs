//! Streams that must be found, and faults that are none.

use super::*;
use crate::mach::eviction::traces::Random;
use crate::object::{PageIndex, PageRange};

const PAGES: u64 = 1 << 20;

fn detector() -> StreamDetector {
    StreamDetector::new(PageRange::with_len(PageIndex(0), PAGES), 64)
}

/// Touches `pages` in order, a fault for each that no window before has brought in; the windows' sizes.
fn windows(detector: &mut StreamDetector, pages: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut present = std::collections::HashSet::new();
    let mut counts = Vec::new();
    for page in pages.map(PageIndex) {
        if present.contains(&page) {
            continue;
        }
        let window = detector.on_fault(page);
        assert_eq!(window.start(), page, "the page that faulted comes first");
        assert!(window.pages().all(|page| page.0 < PAGES), "{window:?}");
        present.extend(window.pages());
        counts.push(window.count());
    }
    counts
}

#[test]
fn a_forward_scan_doubles_up_to_the_bound() {
    let counts = windows(&mut detector(), 100..500);
    assert_eq!(counts[..7], [1, 4, 8, 16, 32, 64, 64]);
}

#[test]
fn a_backward_scan_is_a_stream_too() {
    let mut detector = detector();
    let counts = windows(&mut detector, (100..500).rev());
    assert_eq!(counts[..6], [1, 4, 8, 16, 32, 64]);
    let run = detector.on_fault(PageIndex(310)).run();
    assert!(run.is_some_and(|run| run.contains(PageIndex(310))), "{run:?}");
}

#[test]
fn strides_are_found_at_the_third_fault() {
    let counts = windows(&mut detector(), (0..4000).map(|at| at * 7));
    assert_eq!(counts[..6], [1, 1, 4, 8, 16, 32]);
    let mut detector = detector();
    windows(&mut detector, (0..3).map(|at| at * 7));
    let window = detector.on_fault(PageIndex(6 * 7));
    assert_eq!((window.stride(), window.run()), (7, None));
}

#[test]
fn interleaved_streams_are_kept_apart() {
    let mut detector = detector();
    let pages = (0..2000).flat_map(|at| [at, 100_000 + at, 500_000 - at]);
    let counts = windows(&mut detector, pages);
    assert!(
        counts.len() < 3 * 2000 / 30,
        "{} faults for 6000 pages",
        counts.len()
    );
}

#[test]
fn random_faults_bring_in_nothing_else() {
    let mut random = Random::new(6);
    let pages: Vec<u64> = (0..10_000).map(|_| random.below(PAGES)).collect();
    let counts = windows(&mut detector(), pages.into_iter());
    let more = counts.iter().filter(|&&count| count > 1).count();
    assert!(
        more < 30,
        "{more} of {} random faults took for a stream",
        counts.len()
    );
}

#[test]
fn windows_end_with_the_mapping() {
    let mut detector = StreamDetector::new(PageRange::new(PageIndex(10), PageIndex(20)), 64);
    detector.on_fault(PageIndex(16));
    assert_eq!(
        detector.on_fault(PageIndex(17)).run(),
        Some(PageRange::new(PageIndex(17), PageIndex(20)))
    );
    let mut detector = StreamDetector::new(PageRange::new(PageIndex(10), PageIndex(20)), 64);
    detector.on_fault(PageIndex(13));
    assert_eq!(
        detector.on_fault(PageIndex(12)).run(),
        Some(PageRange::new(PageIndex(10), PageIndex(13)))
    );
}

#[test]
fn a_window_shrinks_when_its_pages_leave_unused() {
    let mut detector = detector();
    windows(&mut detector, 0..61);
    let before = detector.on_fault(PageIndex(61)).count();
    assert_eq!(before, 64);
    (70..125).for_each(|page| detector.on_dropped_unused(PageIndex(page)));
    let after = detector.on_fault(PageIndex(125)).count();
    assert!(after < before / 2, "{after}");
}

#[test]
fn windows_of_a_mapping_shrink_when_streams_stall_and_grow_again() {
    let mut detector = detector();
    // Two neighbours here and there look like streams, and none goes on.
    let mut ahead = Vec::new();
    for place in 1..40 {
        detector.on_fault(PageIndex(place * 5000));
        let window = detector.on_fault(PageIndex(place * 5000 + 1));
        ahead.push(window.count());
        window.pages().for_each(|page| detector.on_evicted(page));
    }
    assert_eq!((ahead[0], ahead[38]), (4, 1), "{ahead:?}");
    // A stream that goes on gets its windows back.
    let counts = windows(&mut detector, 500_000..501_000);
    assert!(counts.contains(&64), "{counts:?}");
}

#[test]
fn what_a_stream_has_passed_may_leave() {
    let mut detector = detector();
    windows(&mut detector, 0..61);
    assert_eq!(detector.on_fault(PageIndex(61)).count(), 64);
    (0..61).for_each(|page| detector.on_evicted(PageIndex(page)));
    assert_eq!(detector.on_fault(PageIndex(125)).count(), 64);
}

#[test]
fn threads_that_run_into_a_window_do_not_end_the_stream() {
    let mut detector = detector();
    windows(&mut detector, 0..61);
    assert_eq!(detector.on_fault(PageIndex(61)).count(), 64);
    assert_eq!(detector.on_fault(PageIndex(90)), Window::single(PageIndex(90)));
    assert_eq!(detector.on_fault(PageIndex(125)).count(), 64);
}

#[test]
fn pages_of_nobody_shrink_nothing() {
    let mut detector = detector();
    windows(&mut detector, 0..61);
    (1000..2000).for_each(|page| detector.on_dropped_unused(PageIndex(page)));
    assert_eq!(detector.on_fault(PageIndex(61)).count(), 64);
}

#[test]
fn advice_wins_over_what_is_seen() {
    let all = PageRange::with_len(PageIndex(0), PAGES);
    let mut random = detector();
    random.advise(all, Advice::Random);
    assert!(windows(&mut random, 0..100).iter().all(|&count| count == 1));
    let mut sequential = detector();
    sequential.advise(all, Advice::Sequential);
    assert_eq!(windows(&mut sequential, 0..256), [64; 4]);
    sequential.advise(all, Advice::WillNeed);
    assert_eq!(
        sequential.on_fault(PageIndex(256)).count(),
        64,
        "a request is no pattern"
    );
    sequential.advise(all, Advice::Normal);
    assert_eq!(sequential.on_fault(PageIndex(5000)).count(), 1);
}

#[test]
fn extreme_pages_do_no_harm() {
    let all = PageRange::new(PageIndex(0), PageIndex(u64::MAX));
    let mut detector = StreamDetector::new(all, 64);
    for page in [u64::MAX - 2, u64::MAX - 1, 0, 1, 2, u64::MAX - 1, 1, 0] {
        let window = detector.on_fault(PageIndex(page));
        assert!(window.pages().all(|page| all.contains(page)), "{window:?}");
        detector.on_dropped_unused(PageIndex(page));
    }
}
