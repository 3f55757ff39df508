//! Hit ratios of policies on traces, and the best that could have been reached.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::EvictionPolicy;
use crate::object::PageIndex;

/// The part of the accesses of `trace` that find their page among `capacity` resident ones.
///
/// The policy must know no page at first; `batch` victims are taken at a time (1 for the textbook's
/// way, more for the way a kernel does it).
pub fn hit_ratio(policy: &mut dyn EvictionPolicy, capacity: usize, batch: usize, trace: &[PageIndex]) -> f64 {
    let mut resident = HashSet::new();
    let mut victims = Vec::new();
    let mut hits = 0;
    for &page in trace {
        if resident.contains(&page) {
            hits += 1;
            policy.touched(page);
            continue;
        }
        if resident.len() >= capacity {
            policy.victims(batch, &mut |_| true, &mut victims);
            victims.drain(..).for_each(|victim| {
                resident.remove(&victim);
            });
        }
        resident.insert(page);
        policy.inserted(page);
    }
    ratio(hits, trace.len())
}

/// The hit ratio of a policy that knows the future and evicts the page that is needed last (Belady).
pub fn optimum(capacity: usize, trace: &[PageIndex]) -> f64 {
    let next_use = next_uses(trace);
    // Resident pages by the time of their next use.
    let mut by_next = BTreeSet::new();
    let mut resident = HashMap::new();
    let mut hits = 0;
    for (&page, &next) in trace.iter().zip(&next_use) {
        if let Some(expected) = resident.insert(page, next) {
            hits += 1;
            by_next.remove(&(expected, page));
        } else if resident.len() > capacity
            && let Some((_, last)) = by_next.pop_last()
        {
            resident.remove(&last);
        }
        by_next.insert((next, page));
    }
    ratio(hits, trace.len())
}

/// For every access, when its page is used next.
fn next_uses(trace: &[PageIndex]) -> Vec<usize> {
    let mut seen = HashMap::new();
    let mut next_use: Vec<usize> = trace
        .iter()
        .enumerate()
        .rev()
        .map(|(now, &page)| seen.insert(page, now).unwrap_or(usize::MAX))
        .collect();
    next_use.reverse();
    next_use
}

fn ratio(hits: usize, of: usize) -> f64 {
    if of == 0 { 0.0 } else { hits as f64 / of as f64 }
}
