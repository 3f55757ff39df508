//! Every state that can be reached with few pages: no invariant breaks, and everything is answered.

use std::collections::{HashSet, VecDeque};

use super::canonical::Canonical;
use super::surroundings::{Bounds, Ending, Surroundings};
use crate::object::{FailedPagePolicy, MemoryObject, ObjectOptions, PageSize};

/// Explores until no new state is found; gives their number.
fn explore(options: ObjectOptions, bounds: &Bounds) -> usize {
    let mut seen = HashSet::new();
    let first = Surroundings::new(MemoryObject::new(options), bounds.pages);
    seen.insert(Canonical::of(&first.object, bounds.pages));
    let mut frontier = VecDeque::from([first]);
    while let Some(mut state) = frontier.pop_front() {
        for event in state.events(bounds) {
            let mut next = state.clone();
            if let Err(broken) = next.feed(event.clone()) {
                panic!("{broken}\nafter {event:?}\nin {:#?}", state.object);
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

/// With `ACTOR_PAGER_EXPLORE=all` the explorations are run that take minutes.
fn wants_all() -> bool {
    std::env::var_os("ACTOR_PAGER_EXPLORE").is_some_and(|value| value == "all")
}

const POLICIES: [FailedPagePolicy; 2] = [FailedPagePolicy::SupplyKept, FailedPagePolicy::Error];

const PAGES: Bounds = Bounds {
    pages: 2,
    queue: 1,
    locks: 0,
    sessions: false,
    attributes: false,
    shutdown: false,
};

const OBJECT: Bounds = Bounds {
    pages: 1,
    queue: 1,
    locks: 1,
    sessions: true,
    attributes: true,
    shutdown: true,
};

#[test]
fn two_pages_and_every_event_on_them_close() {
    if !wants_all() {
        println!("skipped: takes minutes; run with ACTOR_PAGER_EXPLORE=all");
        return;
    }
    for policy in POLICIES {
        let states = explore(options(policy, true), &PAGES);
        println!("two pages, {policy:?}: {states} states");
        assert!(states > 1000, "only {states} states were reached");
    }
}

#[test]
fn one_page_with_lock_requests_closes() {
    if !wants_all() {
        println!("skipped: takes minutes; run with ACTOR_PAGER_EXPLORE=all");
        return;
    }
    let bounds = Bounds {
        sessions: false,
        attributes: false,
        shutdown: false,
        ..OBJECT
    };
    for policy in POLICIES {
        let states = explore(options(policy, true), &bounds);
        println!("lock requests, {policy:?}: {states} states");
        assert!(states > 1000, "only {states} states were reached");
    }
}

#[test]
fn one_page_with_kernels_that_come_and_go_closes() {
    if !wants_all() {
        println!("skipped: takes minutes; run with ACTOR_PAGER_EXPLORE=all");
        return;
    }
    let bounds = Bounds {
        locks: 0,
        attributes: false,
        ..OBJECT
    };
    let states = explore(options(FailedPagePolicy::SupplyKept, false), &bounds);
    println!("sessions: {states} states");
    assert!(states > 1000, "only {states} states were reached");
}

#[test]
fn one_page_and_every_event_close() {
    if !wants_all() {
        println!("skipped: takes minutes; run with ACTOR_PAGER_EXPLORE=all");
        return;
    }
    for policy in POLICIES {
        let states = explore(options(policy, true), &OBJECT);
        println!("all, {policy:?}: {states} states");
        assert!(states > 1000, "only {states} states were reached");
    }
}

#[test]
fn two_pages_with_lock_requests_close() {
    if !wants_all() {
        println!("skipped: takes minutes; run with ACTOR_PAGER_EXPLORE=all");
        return;
    }
    let bounds = Bounds { locks: 1, ..PAGES };
    let states = explore(options(FailedPagePolicy::SupplyKept, true), &bounds);
    println!("two pages with lock requests: {states} states");
    assert!(states > 1000, "only {states} states were reached");
}
