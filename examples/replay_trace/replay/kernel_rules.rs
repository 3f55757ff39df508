//! Signatures of differences in what the kernel is told, and of what is not played.

use super::canon::{PAGE, What};
use super::difference::{Difference, sim_of};
use super::trace::{number, text_of, truth};

/// A later unlock that is granted, or a terminate, takes the note of a refused one back.
pub(crate) fn stale_refusal(difference: &mut Difference<'_>) -> bool {
    if difference.op() != "data_request" {
        return false;
    }
    let page = number(&difference.step.action["offset"]) / PAGE;
    let reads = difference
        .extra
        .iter()
        .any(|seen| seen.what == What::ReadPage { page });
    let refused = difference.missing.iter().any(|seen| {
        if let What::Error { page: p, .. } = &seen.what {
            *p == page && difference.sim(seen).is_some_and(|sim| sim.unlocked.contains(p))
        } else {
            false
        }
    });
    if !(reads && refused) {
        return false;
    }
    difference.missing.clear();
    difference.extra.clear();
    true
}

/// A refused message gets an error, and its memory is given back.
pub(crate) fn refused_is_answered(difference: &mut Difference<'_>) -> bool {
    if difference.world.refused.is_empty() {
        return false;
    }
    let control = text_of(&difference.step.action["control"]);
    difference.drop_extra(|_, seen| {
        if let What::Error {
            control: c, error, ..
        } = &seen.what
        {
            *c == control && error == "EIO"
        } else {
            matches!(seen.what, What::Released { .. })
        }
    })
}

/// Requests and unlocks may be of several pages.
pub(crate) fn runs(difference: &mut Difference<'_>) -> bool {
    let long = number(&difference.step.action["length"]) > PAGE;
    if !long || !matches!(difference.op(), "data_request" | "data_unlock") {
        return false;
    }
    difference.drop_extra(|_, seen| {
        matches!(
            seen.what,
            What::ReadPage { .. } | What::Supply { .. } | What::UnlockPage { .. } | What::LockRequest { .. }
        )
    })
}

pub(crate) fn offer_refused(difference: &mut Difference<'_>) -> bool {
    let refused = difference.op() == "offer_page" && !difference.world.refused.is_empty();
    refused && difference.drop_missing(|_, seen| matches!(seen.what, What::Supply { .. }))
}

/// A page offered as precious is written when it comes back, clean or not.
pub(crate) fn offered_is_written(difference: &mut Difference<'_>) -> bool {
    let clean = difference.op() == "data_return" && !truth(&difference.step.action["dirty"]);
    let later = difference.pair(|world, missing, extra| match (&missing.what, &extra.what) {
        (What::Supply { page, .. }, What::Supply { page: p, tag, .. }) => {
            page == p && world.offered.contains(tag)
        }
        _ => false,
    });
    let now = clean
        && difference.drop_extra(|world, seen| {
            if let What::WritePage { tag, .. } = &seen.what {
                world.offered.contains(tag)
            } else if let What::WritePages { tags, .. } = &seen.what {
                tags.iter().any(|tag| world.offered.contains(tag))
            } else {
                false
            }
        });
    now | later
}

/// An offered page is supplied as precious, so that the kernel tells when it gives it up.
pub(crate) fn offered_precious(difference: &mut Difference<'_>) -> bool {
    difference.op() == "offer_page"
        && difference.pair(|_, missing, extra| is_precious_twin(&missing.what, &extra.what))
}

/// The kernel is asked whether it holds a page that it should have.
pub(crate) fn held_is_checked(difference: &mut Difference<'_>) -> bool {
    let request = difference.op() == "data_request";
    request
        && difference.drop_extra(|_, seen| {
            matches!(
                seen.what,
                What::LockRequest {
                    length: PAGE,
                    flush: false,
                    reply: true,
                    ..
                }
            )
        })
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
    notify && difference.pair(|_, missing, extra| is_precious_twin(&missing.what, &extra.what))
}

/// A flush is confirmed so that its evictions can be told; so are those of a refused unlock.
pub(crate) fn evict_notice_on_flush(difference: &mut Difference<'_>) -> bool {
    if !difference.world.options.notify_on_evict {
        return false;
    }
    let asks = difference.pair(|_, missing, extra| match (&missing.what, &extra.what) {
        (
            What::LockRequest {
                offset,
                length,
                flush: true,
                reply: false,
                ..
            },
            What::LockRequest {
                offset: o,
                length: l,
                flush: true,
                ..
            },
        ) => (offset, length) == (o, l),
        _ => false,
    });
    let tells = difference.drop_extra(|_, seen| matches!(seen.what, What::NotifyEvict { .. }));
    asks | tells
}

/// A kernel that comes while the last one is still being served is served at once.
pub(crate) fn init_at_once(difference: &mut Difference<'_>) -> bool {
    let init = difference.op() == "init";
    init && difference.drop_extra(|_, seen| matches!(seen.what, What::Ready { .. }))
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
            (What::Returned { call, .. }, What::Returned { call: c, .. }) => call == "memcpy" && call == c,
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

/// No message of the present interface initializes pages.
pub(crate) fn no_initialize(difference: &mut Difference<'_>) -> bool {
    let initialize = difference.op() == "data_initialize";
    if initialize {
        difference.missing.clear();
        difference.extra.clear();
    }
    initialize
}

/// What malloc's failures do in C is not played here.
pub(crate) fn out_of_memory(difference: &mut Difference<'_>) -> bool {
    let inject = !difference.step.action["inject"].is_null();
    if inject {
        difference.missing.clear();
        difference.extra.clear();
    }
    inject
}
