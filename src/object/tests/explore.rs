//! Every state that can be reached with few pages: no invariant breaks, and everything is answered.

use std::collections::{HashSet, VecDeque};

use super::canonical::Canonical;
use super::surroundings::{Ending, Surroundings};
use crate::object::{FailedPagePolicy, MemoryObject, ObjectOptions, PageSize};

/// The bounds of an exploration: what the surroundings do not do any more once they are reached.
struct Bounds {
    pages: u64,
    /// What waits for one page.
    queue: usize,
    /// Calls of one kind that wait.
    locks: usize,
}

/// Explores until no new state is found; gives their number.
fn explore(options: ObjectOptions, bounds: &Bounds) -> usize {
    let mut seen = HashSet::new();
    let first = Surroundings::new(MemoryObject::new(options), bounds.pages);
    seen.insert(Canonical::of(&first.object, bounds.pages));
    let mut frontier = VecDeque::from([first]);
    while let Some(mut state) = frontier.pop_front() {
        for event in state.events(bounds.queue, bounds.locks) {
            let mut next = state.clone();
            let told = format!("{event:?}");
            if let Err(broken) = next.feed(event) {
                panic!("{broken}\nafter {told}\nin {:#?}", state.object);
            }
            if seen.insert(Canonical::of(&next.object, bounds.pages)) {
                check_drains(&next);
                frontier.push_back(next);
            }
        }
    }
    seen.len()
}

fn check_drains(state: &Surroundings) {
    for ending in [Ending::Well, Ending::Badly] {
        if let Err(broken) = state.clone().drain(ending) {
            panic!(
                "{broken}\nwhen everything ends {ending:?}\nfrom {:#?}",
                state.object
            );
        }
    }
}

fn options(policy: FailedPagePolicy, notify_on_evict: bool) -> ObjectOptions {
    let mut options = ObjectOptions::new(PageSize::KIB_4);
    options.failed_page = policy;
    options.notify_on_evict = notify_on_evict;
    options
}

#[test]
fn one_page_and_every_event_close() {
    for policy in [FailedPagePolicy::SupplyKept, FailedPagePolicy::Error] {
        let bounds = Bounds {
            pages: 1,
            queue: 1,
            locks: 1,
        };
        let states = explore(options(policy, true), &bounds);
        println!("{policy:?}: {states} states");
        assert!(states > 1000, "only {states} states were reached");
    }
}
