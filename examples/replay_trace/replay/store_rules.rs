//! Signatures of differences about failed writes, refused unlocks and shutdown.

use std::collections::BTreeSet;

use actor_pager::object::{PageIndex, PageState};

use super::canon::{PAGE, Seen, What};
use super::difference::{Difference, sim_of};
use super::parted::pages_of;
use super::trace::number;
use super::world::{PagerSim, World};

pub(crate) fn shutdown_asks_once(difference: &mut Difference<'_>) -> bool {
    let one = difference.pair(|world, missing, extra| match (&missing.what, &extra.what) {
        (
            What::LockRequest {
                offset,
                length,
                should_return,
                flush: false,
                lock,
                reply: true,
            },
            What::LockRequest {
                offset: o,
                length: l,
                should_return: r,
                flush: true,
                lock: k,
                reply: true,
            },
        ) => {
            let shut = sim_of(world, missing).is_some_and(|sim| sim.shutting_down);
            shut && (offset, length, should_return, lock) == (o, l, r, k) && r == "all"
        }
        _ => false,
    });
    let extent = difference.world.extent;
    let mut second = BTreeSet::new();
    let two = difference.drop_missing(|world, seen| {
        if let What::LockRequest {
            offset,
            length,
            should_return,
            flush: true,
            lock,
            reply: true,
        } = &seen.what
        {
            let shut = sim_of(world, seen).is_some_and(|sim| sim.shutting_down);
            let flushes = should_return == "none" && lock == "no_change" && (*offset, *length) == extent;
            shut && flushes && second.insert(seen.pager.clone())
        } else {
            false
        }
    });
    one | two
}

/// A request during shutdown gets an error; what is being written is not given back either.
pub(crate) fn shutdown_refuses(difference: &mut Difference<'_>) -> bool {
    let refused: BTreeSet<(String, u64)> = difference
        .extra
        .iter()
        .filter(|seen| sim_of(difference.world, seen).is_some_and(|sim| sim.shutting_down))
        .filter_map(|seen| {
            if let What::Error { page, .. } = &seen.what {
                Some((seen.pager.clone(), *page))
            } else {
                None
            }
        })
        .collect();
    if refused.is_empty() {
        return false;
    }
    let about = |seen: &Seen, page: u64| refused.contains(&(seen.pager.clone(), page));
    difference.drop_missing(|_, seen| {
        if let What::ReadPage { page } | What::Supply { page, .. } | What::UnlockPage { page } = &seen.what {
            about(seen, *page)
        } else if let What::LockRequest {
            offset, reply: false, ..
        } = &seen.what
        {
            about(seen, offset / PAGE)
        } else {
            false
        }
    });
    difference.drop_extra(|world, seen| {
        let pages = pages_of(world, seen);
        let answers = matches!(seen.what, What::Error { .. } | What::Released { .. });
        answers && pages.iter().any(|page| about(seen, *page))
    })
}

pub(crate) fn error_kinds(difference: &mut Difference<'_>) -> bool {
    difference.pair(|_, missing, extra| match (&missing.what, &extra.what) {
        (
            What::Error { control, page, error },
            What::Error {
                control: c,
                page: p,
                error: e,
            },
        ) => (control, page) == (c, p) && error == "EIO" && e != "EIO",
        (
            What::Returned { call, step, result },
            What::Returned {
                call: c,
                step: s,
                result: r,
            },
        ) => {
            let kinds = matches!(r.split(' ').next(), Some("ENOSPC" | "EDQUOT"));
            (call, step) == (c, s) && result.starts_with("EIO") && kinds
        }
        _ => false,
    })
}

/// The data of a failed write is not released; when it is at last, nobody recorded that.
pub(crate) fn kept_data(difference: &mut Difference<'_>) -> bool {
    let is_kept = |world: &World, seen: &Seen| {
        if let What::Released { tag } = &seen.what {
            world.kept_once.contains(tag)
        } else {
            false
        }
    };
    difference.drop_missing(is_kept) | difference.drop_extra(is_kept)
}

/// `get_error` knows of a failed write as soon as it failed.
pub(crate) fn known_at_once(difference: &mut Difference<'_>) -> bool {
    tells_error(difference, |sim, page| sim.bad.get(&page).copied())
}

/// A `get_error` that tells what `right` says of its page, whatever was recorded.
fn tells_error(
    difference: &mut Difference<'_>,
    right: impl Fn(&PagerSim, u64) -> Option<&'static str>,
) -> bool {
    let page = number(&difference.step.action["offset"]) / PAGE;
    difference.pair(|world, missing, extra| match (&missing.what, &extra.what) {
        (
            What::Returned { call, step, .. },
            What::Returned {
                call: c,
                step: s,
                result,
            },
        ) => {
            let told = sim_of(world, extra).and_then(|sim| right(sim, page));
            call == "get_error" && (call, step) == (c, s) && told == Some(result.as_str())
        }
        _ => false,
    })
}

/// A page whose write failed is good again once a write of it succeeded.
pub(crate) fn healed(difference: &mut Difference<'_>) -> bool {
    good_again(difference, |sim, page| sim.healed.contains(&page))
}

/// A flush drops what was kept of a failed write: the page is good again.
pub(crate) fn flush_forgets(difference: &mut Difference<'_>) -> bool {
    good_again(difference, |sim, page| {
        sim.flushed.contains(&page) && !sim.healed.contains(&page)
    })
}

/// The page is served, and no failure told, although a write of it failed once.
fn good_again(difference: &mut Difference<'_>, good: impl Fn(&PagerSim, u64) -> bool) -> bool {
    let is_good = |world: &World, seen: &Seen, page: u64| {
        sim_of(world, seen)
            .is_some_and(|sim| sim.was_bad.contains(&page) && !sim.keeps(page) && good(sim, page))
    };
    let mut pages = BTreeSet::new();
    difference.drop_missing(|world, seen| {
        let error = seen.what.error();
        let error = error.filter(|(page, error)| *error == "EIO" && is_good(world, seen, *page));
        pages.extend(error.map(|(page, _)| (seen.pager.clone(), page)));
        error.is_some()
    });
    difference.drop_served(&pages);
    let told = tells_error(difference, |sim, page| {
        let was_bad = sim.was_bad.contains(&page) && !sim.keeps(page) && good(sim, page);
        was_bad.then_some("success")
    });
    told || !pages.is_empty()
}

/// The page is in core or on its way: an offer is ignored.
pub(crate) fn offer_ignored(difference: &mut Difference<'_>) -> bool {
    let page = number(&difference.step.action["offset"]) / PAGE;
    let offers = difference.op() == "offer_page";
    offers
        && difference.drop_missing(|world, seen| {
            if let What::Supply { page: p, .. } = &seen.what {
                *p == page
                    && !world.did_supply(&seen.pager, page)
                    && sim_of(world, seen)
                        .is_some_and(|sim| sim.object.page_state(PageIndex(page)) != PageState::Absent)
            } else {
                false
            }
        })
}

/// A request that waits for a write that fails gets the error; the data is kept.
pub(crate) fn failed_while_wanted(difference: &mut Difference<'_>) -> bool {
    difference.pair(|world, missing, extra| match (&missing.what, &extra.what) {
        (What::Supply { page, tag, .. }, What::Error { page: p, .. }) => {
            page == p && world.kept_once.contains(tag)
        }
        _ => false,
    })
}

/// The note of a refused unlock lasts until a request for writing has met it.
pub(crate) fn refusal_kept(difference: &mut Difference<'_>) -> bool {
    error_instead_of_read(difference, |sim, page| sim.refused.contains(&page))
}

/// A failed write is still known, and its data kept, after a terminate.
pub(crate) fn outlives_terminate(difference: &mut Difference<'_>) -> bool {
    error_instead_of_read(difference, |sim, page| sim.bad.contains_key(&page))
}

/// A request of a page that `right` is true of was answered with an error, and nothing was read.
fn error_instead_of_read(difference: &mut Difference<'_>, right: impl Fn(&PagerSim, u64) -> bool) -> bool {
    let world = difference.world;
    let is_read = |pager: &str, page: u64| {
        let mut did = world.did.iter();
        did.any(|seen| seen.pager == pager && seen.what == What::ReadPage { page })
    };
    let asked = |pager: &str, page: u64| {
        let mut missing = difference.missing.iter();
        missing.any(|seen| {
            let served = seen.what.error().is_none() && seen.what.served() == Some(page);
            served && seen.pager == pager
        })
    };
    let mut pages = BTreeSet::new();
    for seen in &world.did {
        if let What::Error { page, .. } = seen.what
            && sim_of(world, seen).is_some_and(|sim| right(sim, page))
            && asked(&seen.pager, page)
            && !is_read(&seen.pager, page)
        {
            pages.insert((seen.pager.clone(), page));
        }
    }
    let asked = difference.drop_missing(|_, seen| {
        let page = seen.what.served();
        page.is_some_and(|page| pages.contains(&(seen.pager.clone(), page)))
    });
    let told = difference.drop_served(&pages);
    asked | told
}

/// A page whose write failed was let be written before: an unlock is granted at once.
pub(crate) fn unlock_of_kept(difference: &mut Difference<'_>) -> bool {
    let mut pages = BTreeSet::new();
    difference.drop_missing(|world, seen| {
        if let What::UnlockPage { page } = &seen.what
            && sim_of(world, seen).is_some_and(|sim| sim.keeps(*page))
        {
            pages.insert((seen.pager.clone(), *page));
            true
        } else {
            false
        }
    });
    let about = |seen: &Seen, grants: bool| {
        seen.what.lock().is_some_and(|(offset, lock)| {
            (lock == "none" || !grants) && pages.contains(&(seen.pager.clone(), offset / PAGE))
        })
    };
    // What the refusal would have told the next writer, the failed write tells.
    let told = difference.pair(|world, missing, extra| match (&missing.what, &extra.what) {
        (What::Error { page, .. }, What::Error { page: p, error, .. }) => {
            let bad = sim_of(world, extra).and_then(|sim| sim.bad.get(page).copied());
            let op = world.op_of(missing.thread);
            page == p && op == "data_request" && bad == Some(error.as_str())
        }
        _ => false,
    });
    difference.drop_missing(|_, seen| about(seen, false));
    difference.drop_extra(|_, seen| about(seen, true));
    told || !pages.is_empty()
}
