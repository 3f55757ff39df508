//! Signatures of differences in what the kernel is told, and of what is not played.

use std::collections::BTreeSet;

use super::canon::{PAGE, Seen, What};
use super::difference::{Difference, sim_of};
use super::parted::pages_of;
use super::trace::number;
use super::world::World;

/// A later unlock that is granted, or a terminate, takes the note of a refused one back.
pub(crate) fn stale_refusal(difference: &mut Difference<'_>) -> bool {
    let mut pages = BTreeSet::new();
    difference.drop_missing(|world, seen| {
        let granted = |page: u64| {
            let sim = sim_of(world, seen);
            sim.is_some_and(|sim| sim.unlocked.contains(&page) && !sim.refused.contains(&page))
        };
        let error = seen.what.error().filter(|(page, _)| granted(*page));
        pages.extend(error.map(|(page, _)| (seen.pager.clone(), page)));
        error.is_some()
    });
    difference.drop_served(&pages);
    !pages.is_empty()
}

/// A refused message gets an error, and its memory is given back.
pub(crate) fn refused_is_answered(difference: &mut Difference<'_>) -> bool {
    difference.drop_extra(|world, seen| {
        let refused = seen.what.error().is_some_and(|(_, error)| error == "EIO");
        let answers = refused || matches!(seen.what, What::Released { .. });
        answers && world.refused.contains(&seen.thread)
    })
}

/// Requests and unlocks may be of several pages.
pub(crate) fn runs(difference: &mut Difference<'_>) -> bool {
    let action = &difference.step.action;
    let (offset, length) = (number(&action["offset"]), number(&action["length"]));
    if length <= PAGE || !matches!(difference.op(), "data_request" | "data_unlock") {
        return false;
    }
    let pages = offset / PAGE..offset.saturating_add(length).div_ceil(PAGE);
    difference.drop_extra(|_, seen| {
        if let What::UnlockPage { page } = &seen.what {
            pages.contains(page)
        } else if let Some((offset, lock)) = seen.what.lock() {
            lock != "no_change" && pages.contains(&(offset / PAGE))
        } else {
            seen.what.served().is_some_and(|page| pages.contains(&page))
        }
    })
}

pub(crate) fn offer_refused(difference: &mut Difference<'_>) -> bool {
    let refused = difference.op() == "offer_page" && !difference.world.refused.is_empty();
    refused && difference.drop_missing(|_, seen| matches!(seen.what, What::Supply { .. }))
}

/// A page offered as precious is written when it comes back, clean or not; so is one whose unlock
/// was refused.
pub(crate) fn offered_is_written(difference: &mut Difference<'_>) -> bool {
    let offers = difference.op() == "offer_page";
    let later = !offers
        && difference.pair(|world, missing, extra| match (&missing.what, &extra.what) {
            (What::Supply { page, .. }, What::Supply { page: p, tag, .. }) => {
                page == p && world.offered.contains(tag)
            }
            _ => false,
        });
    let offered = |world: &World, seen: &Seen| {
        let pages = pages_of(world, seen);
        let sim = sim_of(world, seen);
        sim.is_some_and(|sim| pages.iter().all(|page| sim.ever_offered.contains(page)))
    };
    let now = difference.drop_extra(|world, seen| {
        let writes = matches!(seen.what, What::WritePage { .. } | What::WritePages { .. });
        writes && offered(world, seen)
    });
    let back = difference.pair(|world, missing, extra| {
        let one = !pages_of(world, extra).is_empty();
        one && offered(world, extra) && asks_back(&missing.what, &extra.what)
    });
    now | later | back
}

/// True if the two are one flush, but for what is asked back, or confirmed.
fn asks_back(missing: &What, extra: &What) -> bool {
    let (
        What::LockRequest {
            offset,
            length,
            should_return,
            flush: true,
            lock,
            reply,
        },
        What::LockRequest {
            offset: o,
            length: l,
            should_return: r,
            flush: true,
            lock: k,
            reply: p,
        },
    ) = (missing, extra)
    else {
        return false;
    };
    let more = r == should_return || r == "all";
    (offset, length, lock) == (o, l, k) && more && (*p || !*reply)
}

/// An offered page is supplied as precious, so that the kernel tells when it gives it up.
pub(crate) fn offered_precious(difference: &mut Difference<'_>) -> bool {
    difference.op() == "offer_page"
        && difference.pair(|_, missing, extra| is_precious_twin(&missing.what, &extra.what))
}

/// The kernel is asked whether it holds a page that it should have; if not, and nobody else has its
/// data, the request gets an error.
pub(crate) fn held_is_checked(difference: &mut Difference<'_>) -> bool {
    let was_checked = |world: &World, seen: &Seen, page: u64| {
        sim_of(world, seen).is_some_and(|sim| sim.checked.contains(&page))
    };
    let asked = difference.drop_extra(|world, seen| {
        if let What::LockRequest {
            offset,
            length: PAGE,
            flush: false,
            lock,
            reply: true,
            ..
        } = &seen.what
        {
            lock == "no_change" && was_checked(world, seen, offset / PAGE)
        } else {
            false
        }
    });
    let checked = |world: &World, seen: &Seen| {
        let page = seen.what.served();
        page.is_some_and(|page| was_checked(world, seen, page))
    };
    let answered = difference.drop_missing(checked);
    let lost = difference.drop_extra(checked);
    asked | answered | lost
}

/// True if the two are one supply, but for being precious.
fn is_precious_twin(missing: &What, extra: &What) -> bool {
    if let What::Supply {
        control,
        page,
        tag,
        lock,
        precious: false,
    } = missing
    {
        let precious = What::Supply {
            control: control.clone(),
            page: *page,
            tag: tag.clone(),
            lock: lock.clone(),
            precious: true,
        };
        *extra == precious
    } else {
        false
    }
}

/// Where evictions are to be told, every page is supplied as precious.
pub(crate) fn supplied_precious(difference: &mut Difference<'_>) -> bool {
    let notify = difference.world.options.notify_on_evict;
    // The original does so only where it answers a request from the store.
    notify
        && difference.pair(|world, missing, extra| {
            let op = world.op_of(missing.thread);
            matches!(op, "data_return" | "offer_page") && is_precious_twin(&missing.what, &extra.what)
        })
}

/// A flush is confirmed so that its evictions can be told; so are those of a refused unlock.
pub(crate) fn evict_notice_on_flush(difference: &mut Difference<'_>) -> bool {
    if !difference.world.options.notify_on_evict {
        return false;
    }
    let asks = difference.pair(|_, missing, extra| asks_back(&missing.what, &extra.what));
    let tells = difference.drop_extra(|world, seen| {
        if let What::NotifyEvict { page } = &seen.what {
            sim_of(world, seen).is_some_and(|sim| sim.flush_sent.contains(page))
        } else {
            false
        }
    });
    asks | tells
}

/// A kernel that comes while the last one is still being served is served at once.
pub(crate) fn init_at_once(difference: &mut Difference<'_>) -> bool {
    let world = difference.world;
    let dying = difference
        .own_sim()
        .and_then(|sim| sim.terminated)
        .is_some_and(|step| world.is_open(step));
    let init = difference.op() == "init" && dying;
    init && difference.drop_extra(|_, seen| matches!(seen.what, What::Ready { .. }))
}

/// A call that waits is told when the kernel has confirmed, even if it changes nothing.
pub(crate) fn attributes_in_order(difference: &mut Difference<'_>) -> bool {
    let waits = difference.op() == "change_attributes" && difference.step.action["wait"] == true;
    let number = difference.step.number;
    let returned = |seen: &Seen| matches!(seen.what, What::Returned { step, .. } if step == number);
    waits
        && difference.missing.iter().any(returned)
        && difference.drop_extra(|_, seen| matches!(seen.what, What::ChangeAttributes { reply: true, .. }))
}

/// Attributes are truth values: 2 is the same as 1.
pub(crate) fn truth_values(difference: &mut Difference<'_>) -> bool {
    let odd = number(&difference.step.action["may_cache"]) > 1;
    odd && difference.drop_missing(|_, seen| matches!(seen.what, What::ChangeAttributes { .. }))
}

/// A copy counts the bytes that were copied, from where it started.
pub(crate) fn copy_count(difference: &mut Difference<'_>) -> bool {
    let unaligned = !number(&difference.step.action["offset"]).is_multiple_of(PAGE);
    unaligned
        && difference.pair(|_, missing, extra| match (&missing.what, &extra.what) {
            (
                What::Returned { call, result, .. },
                What::Returned {
                    call: c, result: r, ..
                },
            ) => {
                let same_error = result.split(' ').next() == r.split(' ').next();
                call == "memcpy" && call == c && same_error && counted(result) > counted(r)
            }
            _ => false,
        })
}

/// After a terminate nothing is asked of the kernel that is gone.
pub(crate) fn terminate_at_once(difference: &mut Difference<'_>) -> bool {
    difference.drop_missing(|world, seen| {
        let gone = sim_of(world, seen).is_some_and(|sim| sim.object.control().is_none());
        gone && matches!(
            seen.what,
            What::LockRequest { .. } | What::ChangeAttributes { .. }
        )
    })
}

/// What a copy says that it copied, in bytes.
fn counted(result: &str) -> Option<u64> {
    result.split(' ').nth(1)?.parse().ok()
}
