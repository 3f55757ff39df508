//! Every state that can be reached with few pages: no invariant breaks, and everything is answered.
//!
//! Each exploration is a breadth-first search over the pure core that ends when no event leads to a
//! state that was not seen before: the space is closed, nothing is cut off (a space that grows
//! without bound fails the test at `TOO_MANY`). Kernel, store and users do anything at any time, also
//! what a true kernel never does; only this is bounded, by `Bounds`:
//!
//! - the pages: one or two, and messages for each page and for both together;
//! - what waits for busy pages at one time, over all pages: one item. A queue's items are served one
//!   by one and each only after the one before it, so a second item meets the states that a first meets;
//! - the lock requests of users that are open at one time, one or two, over all pages;
//! - the attribute changes that are open at one time: one;
//! - the kernels: two, of which one may still be owed answers;
//! - errors: all of one kind, since the core never looks at it.
//!
//! After each event the invariants are checked, that page memory is neither lost nor given away twice,
//! and that every question of the kernel and every request of a user is answered or still known. From
//! each state the object is also run empty, with a store that succeeds and one that fails, and with a
//! kernel that confirms and one that never does and goes away: nothing may be left.

use std::collections::{HashSet, VecDeque};

use super::canonical::Canonical;
use super::events::Bounds;
use super::surroundings::{Ending, Surroundings};
use crate::object::{Event, FailedPagePolicy, MemoryObject, ObjectOptions, PageSize};

/// More states than any of the spaces here has by far.
const TOO_MANY: usize = 5_000_000;

/// Explores until no new state is found; gives their number.
fn explore(options: ObjectOptions, bounds: &Bounds) -> usize {
    let mut space = Space::default();
    let first = Surroundings::new(MemoryObject::new(options), bounds.pages);
    space.seen.insert(first.canonical());
    let mut frontier = VecDeque::from([first]);
    while let Some(mut state) = frontier.pop_front() {
        for event in state.events(bounds) {
            let mut next = state.clone();
            if let Err(broken) = next.feed(event.clone()) {
                panic!("{broken}\nafter {event:?}\nin {:#?}", state.object);
            }
            let canonical = next.canonical();
            if !space.seen.contains(&canonical) {
                space.check_drains(&next);
                space.seen.insert(canonical);
                frontier.push_back(next);
            }
        }
        assert!(space.seen.len() < TOO_MANY, "it grows: {:#?}", state.object);
    }
    space.seen.len()
}

/// The states that were met.
#[derive(Default)]
struct Space {
    /// Each of them runs empty.
    seen: HashSet<Canonical>,
    /// States after the kernel went that run empty, when operations end well and when badly.
    left: [HashSet<Canonical>; 2],
}

impl Space {
    /// The state runs empty: it comes to one that is known to.
    fn check_drains(&mut self, state: &Surroundings) {
        for (ending, left) in [Ending::Well, Ending::Badly].into_iter().zip(&mut self.left) {
            let drained = state
                .clone()
                .drain(ending, |state| self.seen.contains(&state.canonical()));
            check_drained(drained, ending, state);
            let mut gone = state.clone();
            let mut way = Vec::new();
            let drained = gone.feed(Event::NoSenders).and_then(|_| {
                gone.drain(ending, |state| {
                    way.push(state.canonical());
                    left.contains(&state.canonical())
                })
            });
            check_drained(drained, ending, state);
            left.extend(way);
        }
    }
}

fn check_drained(drained: Result<(), String>, ending: Ending, state: &Surroundings) {
    if let Err(broken) = drained {
        panic!(
            "{broken}\nwhen everything ends {ending:?}\nfrom {:#?}",
            state.object
        );
    }
}

fn options(policy: FailedPagePolicy, notify_on_evict: bool) -> ObjectOptions {
    let mut options = ObjectOptions::new(PageSize::KIB_4);
    options.failed_page = policy;
    options.notify_on_evict = notify_on_evict;
    options
}

const POLICIES: [FailedPagePolicy; 2] = [FailedPagePolicy::SupplyKept, FailedPagePolicy::Error];

const PAGES: Bounds = Bounds {
    pages: 2,
    all_words: true,
    queue: 1,
    locks: 0,
    sessions: false,
    attributes: false,
    shutdown: false,
};

const OBJECT: Bounds = Bounds {
    pages: 1,
    all_words: true,
    queue: 1,
    locks: 1,
    sessions: true,
    attributes: true,
    shutdown: true,
};

/// What takes more than some seconds is run optimised: `cargo xtask explore`.
#[test]
#[cfg_attr(
    debug_assertions,
    ignore = "1.9 million states: `cargo xtask explore` runs it"
)]
fn two_pages_and_every_event_on_them_close() {
    closes("two pages", FailedPagePolicy::SupplyKept, true, &PAGES, 1_000_000);
}

#[test]
fn one_page_with_lock_requests_closes() {
    let bounds = Bounds {
        sessions: false,
        attributes: false,
        shutdown: false,
        ..OBJECT
    };
    for policy in POLICIES {
        closes("lock requests", policy, true, &bounds, 10_000);
    }
}

#[test]
fn one_page_with_kernels_that_come_and_go_closes() {
    let bounds = Bounds {
        locks: 0,
        attributes: false,
        ..OBJECT
    };
    for policy in POLICIES {
        closes("sessions", policy, false, &bounds, 4000);
    }
}

#[test]
#[cfg_attr(debug_assertions, ignore = "260 000 states: `cargo xtask explore` runs it")]
fn one_page_and_every_event_close() {
    for policy in POLICIES {
        closes("everything", policy, true, &OBJECT, 100_000);
    }
}

#[test]
#[cfg_attr(debug_assertions, ignore = "140 000 states: `cargo xtask explore` runs it")]
fn one_page_with_two_lock_requests_at_once_closes() {
    let bounds = Bounds {
        locks: 2,
        sessions: false,
        attributes: false,
        ..OBJECT
    };
    closes(
        "two lock requests",
        FailedPagePolicy::SupplyKept,
        true,
        &bounds,
        100_000,
    );
}

#[test]
#[cfg_attr(debug_assertions, ignore = "as many states: `cargo xtask explore` runs it")]
fn two_pages_with_lock_requests_and_shutdown_close() {
    let bounds = Bounds {
        all_words: false,
        queue: 0,
        locks: 1,
        shutdown: true,
        ..PAGES
    };
    for policy in POLICIES {
        closes("two pages with lock requests", policy, true, &bounds, 50_000);
    }
}

/// Explores and says how far it went; fewer states than `least` mean that something was not tried.
fn closes(what: &str, policy: FailedPagePolicy, notify: bool, bounds: &Bounds, least: usize) {
    let states = explore(options(policy, notify), bounds);
    println!("{what}, {policy:?}: closed at {states} states");
    assert!(states > least, "only {states} states were reached");
}
