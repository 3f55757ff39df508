//! Signatures of differences about failed writes, refused unlocks and shutdown.

use std::collections::BTreeSet;

use actor_pager::object::{PageIndex, PageState};

use super::canon::{PAGE, Seen, What};
use super::difference::{Difference, sim_of};
use super::trace::{number, text_of};
use super::world::{PagerSim, World};

pub(crate) fn shutdown_asks_once(difference: &mut Difference<'_>) -> bool {
    let one = difference.pair(|world, missing, extra| match (&missing.what, &extra.what) {
        (
            What::LockRequest {
                offset,
                length,
                should_return,
                flush: false,
                reply: true,
                ..
            },
            What::LockRequest {
                offset: o,
                length: l,
                should_return: r,
                flush: true,
                reply: true,
                ..
            },
        ) => {
            let shut = sim_of(world, missing).is_some_and(|sim| sim.shutting_down);
            shut && (offset, length, should_return) == (o, l, r) && r == "all"
        }
        _ => false,
    });
    let extent = difference.world.extent;
    let two = difference.drop_missing(|world, seen| {
        if let What::LockRequest {
            offset,
            length,
            should_return,
            flush: true,
            reply: true,
            ..
        } = &seen.what
        {
            let shut = sim_of(world, seen).is_some_and(|sim| sim.shutting_down);
            shut && should_return == "none" && (*offset, *length) == extent
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
    difference.drop_extra(|_, seen| {
        if let What::Error { page, .. } = &seen.what {
            about(seen, *page)
        } else {
            matches!(seen.what, What::Released { .. })
        }
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

/// `get_error` knows of a failed write, or of a read, as soon as it failed.
pub(crate) fn known_at_once(difference: &mut Difference<'_>) -> bool {
    let page = number(&difference.step.action["offset"]) / PAGE;
    difference.pair(|world, missing, extra| match (&missing.what, &extra.what) {
        (What::Returned { call, step, result }, What::Returned { call: c, step: s, .. }) => {
            let bad = sim_of(world, missing).is_some_and(|sim| sim.bad.contains(&page));
            call == "get_error" && (call, step) == (c, s) && result == "success" && bad
        }
        _ => false,
    })
}

/// A page whose write failed is good again once a write of it succeeded.
pub(crate) fn healed(difference: &mut Difference<'_>) -> bool {
    let mut pages = BTreeSet::new();
    let one = difference.drop_missing(|world, seen| {
        if let What::Error { page, .. } = &seen.what {
            sim_of(world, seen).is_some_and(|sim| sim.healed.contains(page))
        } else {
            false
        }
    });
    for seen in difference.extra.iter().filter(|_| one) {
        if let What::ReadPage { page } | What::Supply { page, .. } = &seen.what {
            pages.insert(*page);
        }
    }
    if one {
        difference.drop_extra(|_, seen| {
            if let What::ReadPage { page } | What::Supply { page, .. } = &seen.what {
                pages.contains(page)
            } else {
                false
            }
        });
    }
    let page = number(&difference.step.action["offset"]) / PAGE;
    let two = difference.pair(|world, missing, extra| match (&missing.what, &extra.what) {
        (
            What::Returned { call, step, .. },
            What::Returned {
                call: c,
                step: s,
                result,
            },
        ) => {
            let healed = sim_of(world, missing).is_some_and(|sim| sim.healed.contains(&page));
            call == "get_error" && (call, step) == (c, s) && result == "success" && healed
        }
        _ => false,
    });
    one | two
}

/// The page is in core or on its way: an offer is ignored.
pub(crate) fn offer_ignored(difference: &mut Difference<'_>) -> bool {
    let page = number(&difference.step.action["offset"]) / PAGE;
    let offers = difference.op() == "offer_page";
    offers
        && difference.drop_missing(|world, seen| {
            if let What::Supply { page: p, .. } = &seen.what {
                *p == page
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
    let write = text_of(&difference.step.action["access"]).contains("write");
    write
        && difference.op() == "data_request"
        && error_instead_of_read(difference, |sim, page| sim.refused.contains(&page))
}

/// A failed write is still known, and its data kept, after a terminate.
pub(crate) fn outlives_terminate(difference: &mut Difference<'_>) -> bool {
    error_instead_of_read(difference, |sim, page| sim.bad.contains(&page))
}

pub(crate) fn error_instead_of_read(
    difference: &mut Difference<'_>,
    right: impl Fn(&PagerSim, u64) -> bool,
) -> bool {
    let mut pages = BTreeSet::new();
    difference.drop_extra(|world, seen| {
        if let What::Error { page, .. } = &seen.what
            && sim_of(world, seen).is_some_and(|sim| right(sim, *page))
        {
            pages.insert(*page);
            true
        } else {
            false
        }
    });
    difference.drop_missing(|_, seen| {
        if let What::ReadPage { page } | What::Supply { page, .. } | What::Error { page, .. } = &seen.what {
            pages.contains(page)
        } else {
            false
        }
    });
    !pages.is_empty()
}

/// A page whose write failed was let be written before: an unlock is granted at once.
pub(crate) fn unlock_of_kept(difference: &mut Difference<'_>) -> bool {
    let page = number(&difference.step.action["offset"]) / PAGE;
    let kept =
        difference.op() == "data_unlock" && difference.world.pagers.iter().any(|sim| sim.bad.contains(&page));
    let asked = difference
        .missing
        .iter()
        .any(|seen| seen.what == What::UnlockPage { page });
    if kept && asked {
        difference.missing.clear();
        difference.extra.clear();
    }
    kept && asked
}
