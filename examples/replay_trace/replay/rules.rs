//! Differences by design: each a signature, and a row of docs/differences.md.
//!
//! A rule takes out of the two lists what it explains: events that were recorded and did not come,
//! and events that came and were not recorded. What comes early or late by design is remembered:
//! it must turn up in the other list later.

use std::collections::BTreeSet;

use super::canon::{PAGE, Seen, What};
use super::trace::{Step, Trace, number, text_of, truth};
use super::world::World;

/// A row of docs/differences.md.
pub type Rule = &'static str;

/// What differs in one step.
pub struct Difference<'a> {
    pub world: &'a World,
    pub step: &'a Step,
    pub missing: &'a mut Vec<Seen>,
    pub extra: &'a mut Vec<Seen>,
}

pub struct Rules {
    used: BTreeSet<Rule>,
    /// Came early.
    credits: Vec<Seen>,
    /// Still has to come.
    debts: Vec<Seen>,
    /// From here on events are not compared one by one: the row that says why.
    pub apart: Option<Rule>,
    fallback: Option<Rule>,
    legal: bool,
    /// Pages that were busy before the step, by pager.
    busy: BTreeSet<(String, u64)>,
}

impl Rules {
    pub fn new(trace: &Trace) -> Self {
        let fallback = match trace {
            _ if trace.undefined => Some("undefined-behaviour"),
            _ if trace.defect => Some("defect"),
            _ if trace.unsteady => Some("schedule"),
            _ => None,
        };
        Self {
            used: BTreeSet::new(),
            credits: Vec::new(),
            debts: Vec::new(),
            apart: None,
            fallback,
            legal: trace.legal_kernel,
            busy: BTreeSet::new(),
        }
    }

    pub fn used(&self) -> BTreeSet<Rule> {
        self.used.clone()
    }

    /// What is still to come, if events are compared one by one to the end.
    pub fn open_debts(&self) -> &[Seen] {
        if self.apart.is_some() { &[] } else { &self.debts }
    }

    /// Looks around before a step is done.
    pub fn before(&mut self, world: &World, _step: &Step) {
        self.busy.clear();
        for pager in &world.pagers {
            for &page in pager.arrivals.keys().chain(pager.known().iter()) {
                if pager.is_busy(page) {
                    self.busy.insert((pager.name.clone(), page));
                }
            }
        }
    }

    /// Explains what it can.
    pub fn explain(&mut self, world: &World, step: &Step, missing: &mut Vec<Seen>, extra: &mut Vec<Seen>) {
        settle(&mut self.credits, missing);
        settle(&mut self.debts, extra);
        if missing.is_empty() && extra.is_empty() {
            return;
        }
        let mut difference = Difference {
            world,
            step,
            missing,
            extra,
        };
        for (row, rule) in PLAIN {
            if rule(&mut difference) {
                self.used.insert(row);
            }
        }
        for (row, rule) in PARTING {
            if rule(&mut difference) {
                self.used.insert(row);
                self.apart.get_or_insert(row);
            }
        }
        self.timing(&mut difference);
        if !(missing.is_empty() && extra.is_empty()) {
            self.fall_back(missing, extra);
        }
    }

    fn fall_back(&mut self, missing: &mut Vec<Seen>, extra: &mut Vec<Seen>) {
        let Some(row) = self.apart.or(self.fallback) else {
            return;
        };
        self.apart = Some(row);
        self.used.insert(row);
        missing.clear();
        extra.clear();
    }

    /// What comes earlier or later than recorded.
    fn timing(&mut self, difference: &mut Difference<'_>) {
        let extra = std::mem::take(difference.extra);
        for seen in extra {
            match self.early(difference, &seen) {
                Some(row) => {
                    self.used.insert(row);
                    self.credits.push(seen);
                }
                None => difference.extra.push(seen),
            }
        }
        let missing = std::mem::take(difference.missing);
        for seen in missing {
            match self.late(difference, &seen) {
                Some(row) => {
                    self.used.insert(row);
                    self.debts.push(seen);
                }
                None => difference.missing.push(seen),
            }
        }
        let in_turn = self.in_turn(difference);
        if in_turn && !(difference.missing.is_empty() && difference.extra.is_empty()) {
            self.used.insert("in-turn");
            self.apart.get_or_insert("in-turn");
        }
    }

    fn early(&self, difference: &Difference<'_>, seen: &Seen) -> Option<Rule> {
        match &seen.what {
            What::Returned { call, .. } if call == "change_attributes" => Some("own-confirmation"),
            What::Returned { call, .. } if is_lock_call(call) => {
                let gone = matches!(
                    difference.step.action["op"].as_str(),
                    Some("no_senders" | "terminate")
                );
                Some(if gone { "kernel-gone" } else { "own-confirmation" })
            }
            What::ClearUserData | What::Freed | What::PortDestroyed => Some("freed-at-once"),
            _ => None,
        }
    }

    fn late(&self, difference: &Difference<'_>, seen: &Seen) -> Option<Rule> {
        let pager = difference
            .world
            .pagers
            .iter()
            .find(|pager| pager.name == seen.pager)?;
        match &seen.what {
            What::Returned { call, step, .. } if is_lock_call(call) || call == "shutdown" => {
                let waits = pager.calls.values().any(|waiting| waiting.1 == *step);
                (waits && !pager.object.is_idle()).then_some("earlier-writes")
            }
            _ => None,
        }
    }

    /// A page of this step was busy before: it waits its turn, and other pages do not wait for it.
    fn in_turn(&self, difference: &Difference<'_>) -> bool {
        let action = &difference.step.action;
        let name = action["pager"].as_str().unwrap_or("P0").to_owned();
        let first = number(&action["offset"]) / PAGE;
        let count = action["pages"].as_array().map_or(1, Vec::len) as u64;
        let pages = matches!(
            action["op"].as_str(),
            Some("data_request" | "data_return" | "data_unlock" | "offer_page")
        );
        pages && (first..first + count).any(|page| self.busy.contains(&(name.clone(), page)))
    }
}

fn is_lock_call(call: &str) -> bool {
    matches!(
        call,
        "sync" | "sync_some" | "flush" | "flush_some" | "return" | "return_some"
    )
}

/// Takes out of `list` what was due.
fn settle(due: &mut Vec<Seen>, list: &mut Vec<Seen>) {
    list.retain(|seen| match due.iter().position(|other| other == seen) {
        Some(at) => {
            due.remove(at);
            false
        }
        None => true,
    });
}

type Plain = fn(&mut Difference<'_>) -> bool;

/// Rules for one step alone: true if something was explained.
const PLAIN: &[(Rule, Plain)] = &[
    ("shutdown-asks-once", shutdown_asks_once),
    ("shutdown-refuses", shutdown_refuses),
    ("error-kinds", error_kinds),
    ("kept-data", kept_data),
    ("known-at-once", known_at_once),
    ("healed", healed),
    ("stale-refusal", stale_refusal),
    ("refused-is-answered", refused_is_answered),
    ("runs", runs),
    ("offer-refused", offer_refused),
    ("offer-ignored", offer_ignored),
    ("offered-is-written", offered_is_written),
    ("supplied-precious", supplied_precious),
    ("evict-notice-on-flush", evict_notice_on_flush),
    ("failed-while-wanted", failed_while_wanted),
    ("init-at-once", init_at_once),
    ("truth-values", truth_values),
    ("copy-count", copy_count),
    ("refusal-kept", refusal_kept),
    ("outlives-terminate", outlives_terminate),
    ("terminate-at-once", terminate_at_once),
];

/// Rules after which the two go their own ways.
const PARTING: &[(Rule, Plain)] = &[
    ("no-initialize", no_initialize),
    ("out-of-memory", out_of_memory),
    ("unlock-of-kept", unlock_of_kept),
];

impl Difference<'_> {
    fn op(&self) -> &str {
        self.step.action["op"].as_str().unwrap_or_default()
    }

    fn sim(&self, seen: &Seen) -> Option<&super::world::PagerSim> {
        self.world.pagers.iter().find(|pager| pager.name == seen.pager)
    }

    /// Drops pairs of a missing and an extra event that `fits` says belong together.
    fn pair(&mut self, fits: impl Fn(&World, &Seen, &Seen) -> bool) -> bool {
        let before = self.missing.len();
        let extra = &mut *self.extra;
        let world = self.world;
        self.missing.retain(|missing| {
            let partner = extra
                .iter()
                .position(|extra| extra.pager == missing.pager && fits(world, missing, extra));
            partner.map(|at| extra.remove(at)).is_none()
        });
        self.missing.len() != before
    }

    fn drop_missing(&mut self, fits: impl Fn(&World, &Seen) -> bool) -> bool {
        let before = self.missing.len();
        let world = self.world;
        self.missing.retain(|seen| !fits(world, seen));
        self.missing.len() != before
    }

    fn drop_extra(&mut self, mut fits: impl FnMut(&World, &Seen) -> bool) -> bool {
        let before = self.extra.len();
        let world = self.world;
        self.extra.retain(|seen| !fits(world, seen));
        self.extra.len() != before
    }
}

fn sim_of<'a>(world: &'a World, seen: &Seen) -> Option<&'a super::world::PagerSim> {
    world.pagers.iter().find(|pager| pager.name == seen.pager)
}

fn shutdown_asks_once(difference: &mut Difference<'_>) -> bool {
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
    let two = difference.drop_missing(|world, seen| match &seen.what {
        What::LockRequest {
            offset,
            length,
            should_return,
            flush: true,
            reply: true,
            ..
        } => {
            let shut = sim_of(world, seen).is_some_and(|sim| sim.shutting_down);
            shut && should_return == "none" && (*offset, *length) == extent
        }
        _ => false,
    });
    one | two
}

/// A request during shutdown gets an error; what is being written is not given back either.
fn shutdown_refuses(difference: &mut Difference<'_>) -> bool {
    let refused: BTreeSet<(String, u64)> = difference
        .extra
        .iter()
        .filter(|seen| sim_of(difference.world, seen).is_some_and(|sim| sim.shutting_down))
        .filter_map(|seen| match &seen.what {
            What::Error { page, .. } => Some((seen.pager.clone(), *page)),
            _ => None,
        })
        .collect();
    if refused.is_empty() {
        return false;
    }
    let about = |seen: &Seen, page: u64| refused.contains(&(seen.pager.clone(), page));
    difference.drop_missing(|_, seen| match &seen.what {
        What::ReadPage { page } | What::Supply { page, .. } | What::UnlockPage { page } => about(seen, *page),
        What::LockRequest {
            offset, reply: false, ..
        } => about(seen, offset / PAGE),
        _ => false,
    });
    difference.drop_extra(|_, seen| match &seen.what {
        What::Error { page, .. } => about(seen, *page),
        What::Released { .. } => true,
        _ => false,
    })
}

fn error_kinds(difference: &mut Difference<'_>) -> bool {
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
fn kept_data(difference: &mut Difference<'_>) -> bool {
    let is_kept = |world: &World, seen: &Seen| match &seen.what {
        What::Released { tag } => world.kept_once.contains(tag),
        _ => false,
    };
    difference.drop_missing(is_kept) | difference.drop_extra(is_kept)
}

/// `get_error` knows of a failed write, or of a read, as soon as it failed.
fn known_at_once(difference: &mut Difference<'_>) -> bool {
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
fn healed(difference: &mut Difference<'_>) -> bool {
    let mut pages = BTreeSet::new();
    let one = difference.drop_missing(|world, seen| match &seen.what {
        What::Error { page, .. } => sim_of(world, seen).is_some_and(|sim| sim.healed.contains(page)),
        _ => false,
    });
    for seen in difference.extra.iter().filter(|_| one) {
        if let What::ReadPage { page } | What::Supply { page, .. } = &seen.what {
            pages.insert(*page);
        }
    }
    if one {
        difference.drop_extra(|_, seen| match &seen.what {
            What::ReadPage { page } | What::Supply { page, .. } => pages.contains(page),
            _ => false,
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

/// A later unlock that is granted, or a terminate, takes the note of a refused one back.
fn stale_refusal(difference: &mut Difference<'_>) -> bool {
    if difference.op() != "data_request" {
        return false;
    }
    let page = number(&difference.step.action["offset"]) / PAGE;
    let reads = difference
        .extra
        .iter()
        .any(|seen| seen.what == What::ReadPage { page });
    let refused = difference.missing.iter().any(|seen| match &seen.what {
        What::Error { page: p, .. } => {
            *p == page && difference.sim(seen).is_some_and(|sim| sim.unlocked.contains(p))
        }
        _ => false,
    });
    if !(reads && refused) {
        return false;
    }
    difference.missing.clear();
    difference.extra.clear();
    true
}

/// A refused message gets an error, and its memory is given back.
fn refused_is_answered(difference: &mut Difference<'_>) -> bool {
    if difference.world.refused.is_empty() {
        return false;
    }
    let control = text_of(&difference.step.action["control"]);
    difference.drop_extra(|_, seen| match &seen.what {
        What::Error {
            control: c, error, ..
        } => *c == control && error == "EIO",
        What::Released { .. } => true,
        _ => false,
    })
}

/// Requests and unlocks may be of several pages.
fn runs(difference: &mut Difference<'_>) -> bool {
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

fn offer_refused(difference: &mut Difference<'_>) -> bool {
    let refused = difference.op() == "offer_page" && !difference.world.refused.is_empty();
    refused && difference.drop_missing(|_, seen| matches!(seen.what, What::Supply { .. }))
}

/// The pager holds newer data of the page: an offer is ignored, as where the kernel holds it.
fn offer_ignored(difference: &mut Difference<'_>) -> bool {
    let page = number(&difference.step.action["offset"]) / PAGE;
    let offers = difference.op() == "offer_page";
    offers
        && difference.drop_missing(|world, seen| match &seen.what {
            What::Supply { page: p, .. } => {
                *p == page && sim_of(world, seen).is_some_and(|sim| sim.bad.contains(&page))
            }
            _ => false,
        })
}

/// A page offered as precious is written when it comes back, clean or not.
fn offered_is_written(difference: &mut Difference<'_>) -> bool {
    let clean = difference.op() == "data_return" && !truth(&difference.step.action["dirty"]);
    let later = difference.pair(|world, missing, extra| match (&missing.what, &extra.what) {
        (What::Supply { page, .. }, What::Supply { page: p, tag, .. }) => {
            page == p && world.offered.contains(tag)
        }
        _ => false,
    });
    let now = clean
        && difference.drop_extra(|world, seen| match &seen.what {
            What::WritePage { tag, .. } => world.offered.contains(tag),
            What::WritePages { tags, .. } => tags.iter().any(|tag| world.offered.contains(tag)),
            _ => false,
        });
    now | later
}

/// Where evictions are to be told, every page is supplied as precious.
fn supplied_precious(difference: &mut Difference<'_>) -> bool {
    let notify = difference.world.options.notify_on_evict;
    notify
        && difference.pair(|_, missing, extra| match &missing.what {
            What::Supply {
                control,
                page,
                tag,
                lock,
                precious: false,
            } => {
                extra.what
                    == What::Supply {
                        control: control.clone(),
                        page: *page,
                        tag: tag.clone(),
                        lock: lock.clone(),
                        precious: true,
                    }
            }
            _ => false,
        })
}

/// A flush is confirmed so that its evictions can be told; so are those of a refused unlock.
fn evict_notice_on_flush(difference: &mut Difference<'_>) -> bool {
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

/// A request that waits for a write that fails gets the error; the data is kept.
fn failed_while_wanted(difference: &mut Difference<'_>) -> bool {
    difference.pair(|world, missing, extra| match (&missing.what, &extra.what) {
        (What::Supply { page, tag, .. }, What::Error { page: p, .. }) => {
            page == p && world.kept_once.contains(tag)
        }
        _ => false,
    })
}

/// A kernel that comes while the last one is still being served is served at once.
fn init_at_once(difference: &mut Difference<'_>) -> bool {
    let init = difference.op() == "init";
    init && difference.drop_extra(|_, seen| matches!(seen.what, What::Ready { .. }))
}

/// Attributes are truth values: 2 is the same as 1.
fn truth_values(difference: &mut Difference<'_>) -> bool {
    let odd = number(&difference.step.action["may_cache"]) > 1;
    odd && difference.drop_missing(|_, seen| matches!(seen.what, What::ChangeAttributes { .. }))
}

/// A copy counts the bytes that were copied, from where it started.
fn copy_count(difference: &mut Difference<'_>) -> bool {
    let unaligned = number(&difference.step.action["offset"]) % PAGE != 0;
    unaligned
        && difference.pair(|_, missing, extra| match (&missing.what, &extra.what) {
            (What::Returned { call, .. }, What::Returned { call: c, .. }) => call == "memcpy" && call == c,
            _ => false,
        })
}

/// The note of a refused unlock lasts until a request for writing has met it.
fn refusal_kept(difference: &mut Difference<'_>) -> bool {
    let write = text_of(&difference.step.action["access"]).contains("write");
    write
        && difference.op() == "data_request"
        && error_instead_of_read(difference, |sim, page| sim.refused.contains(&page))
}

/// A failed write is still known, and its data kept, after a terminate.
fn outlives_terminate(difference: &mut Difference<'_>) -> bool {
    error_instead_of_read(difference, |sim, page| sim.bad.contains(&page))
}

fn error_instead_of_read(
    difference: &mut Difference<'_>,
    right: impl Fn(&super::world::PagerSim, u64) -> bool,
) -> bool {
    let mut pages = BTreeSet::new();
    difference.drop_extra(|world, seen| match &seen.what {
        What::Error { page, .. } if sim_of(world, seen).is_some_and(|sim| right(sim, *page)) => {
            pages.insert(*page);
            true
        }
        _ => false,
    });
    difference.drop_missing(|_, seen| match &seen.what {
        What::ReadPage { page } | What::Supply { page, .. } | What::Error { page, .. } => {
            pages.contains(page)
        }
        _ => false,
    });
    !pages.is_empty()
}

/// After a terminate nothing is asked of the kernel that is gone.
fn terminate_at_once(difference: &mut Difference<'_>) -> bool {
    difference.drop_missing(|world, seen| {
        let gone = sim_of(world, seen).is_some_and(|sim| sim.object.control().is_none());
        gone && matches!(
            seen.what,
            What::LockRequest { .. } | What::ChangeAttributes { .. }
        )
    })
}

/// No message of the present interface initializes pages.
fn no_initialize(difference: &mut Difference<'_>) -> bool {
    let initialize = difference.op() == "data_initialize";
    if initialize {
        difference.missing.clear();
        difference.extra.clear();
    }
    initialize
}

/// What malloc's failures do in C is not played here.
fn out_of_memory(difference: &mut Difference<'_>) -> bool {
    let inject = !difference.step.action["inject"].is_null();
    if inject {
        difference.missing.clear();
        difference.extra.clear();
    }
    inject
}

/// A page whose write failed was let be written before: an unlock is granted at once.
fn unlock_of_kept(difference: &mut Difference<'_>) -> bool {
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
