//! Differences by design: each a signature, and a row of docs/differences.md.
//!
//! A rule takes out of the two lists what it explains: events that were recorded and did not come,
//! and events that came and were not recorded. What comes early or late by design is remembered:
//! it must turn up in the other list later.

use std::collections::BTreeSet;

use super::canon::{Seen, What};
use super::difference::Difference;
use super::parted::Parted;
use super::trace::{Step, Trace};
use super::world::World;
use super::{kernel_rules, store_rules};

/// A row of docs/differences.md.
pub(crate) type Rule = &'static str;

pub(crate) struct Rules {
    used: BTreeSet<Rule>,
    /// Came early.
    credits: Vec<Seen>,
    /// Still has to come.
    debts: Vec<Seen>,
    /// Pages, and answers, that are not compared any more.
    parted: Parted,
    /// From here on events are not compared one by one: the row that says why.
    pub(crate) apart: Option<Rule>,
    /// What the recording says of itself.
    fallback: Option<Rule>,
}

impl Rules {
    pub(crate) fn new(trace: &Trace) -> Self {
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
            parted: Parted::new(trace),
            apart: None,
            fallback,
        }
    }

    pub(crate) fn used(&self) -> BTreeSet<Rule> {
        self.used.clone()
    }

    /// What is still to come, if events are compared one by one to the end.
    pub(crate) fn open_debts(&self) -> &[Seen] {
        if self.apart.is_some() { &[] } else { &self.debts }
    }

    /// What came early and was never recorded, although nothing kept the original from it.
    pub(crate) fn open_credits(&self) -> Option<&Seen> {
        let told = self.apart.is_none() && self.fallback.is_none();
        self.credits.iter().filter(|_| told).find(|seen| {
            let blocked = |step: u64| self.parted.is_blocked(step);
            matches!(seen.what, What::Returned { step, .. } if !blocked(step))
        })
    }

    /// True if what is stored for `page` at the end can be compared.
    pub(crate) fn compares(&self, pager: &str, page: u64) -> bool {
        self.apart.is_none() && !self.parted.is_parted(pager, page)
    }

    /// Looks around before a step is done.
    pub(crate) fn before(&mut self, world: &World, step: &Step) {
        self.parted.note_busy(world, step);
    }

    /// Explains what it can.
    pub(crate) fn explain(
        &mut self,
        world: &World,
        step: &Step,
        missing: &mut Vec<Seen>,
        extra: &mut Vec<Seen>,
    ) {
        settle(&mut self.credits, missing);
        settle(&mut self.debts, extra);
        let before = missing.clone();
        self.parted.leave_out(world, missing, extra);
        if missing.is_empty() && extra.is_empty() {
            return self.parted.write_off(world, &before, missing);
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
                self.parted.note(row, step);
            }
        }
        self.timing(&mut difference);
        self.parted.write_off(world, &before, missing);
        if self.parted.in_turn(world, missing, extra) {
            self.used.insert("in-turn");
        }
        for row in self.partings(step) {
            self.part(world, row, missing, extra);
        }
    }

    /// The rows, if any, by which what is left goes another way from here on.
    fn partings(&self, step: &Step) -> Vec<Rule> {
        let mut rows = Vec::new();
        if step.action["op"] == "data_initialize" {
            rows.push("no-initialize");
        }
        if !step.action["inject"].is_null() {
            rows.push("out-of-memory");
        }
        rows.extend(self.fallback);
        rows
    }

    /// Pages that are left go their own way; calls must return sometime; all else parts for good.
    fn part(&mut self, world: &World, row: Rule, missing: &mut Vec<Seen>, extra: &mut Vec<Seen>) {
        if missing.is_empty() && extra.is_empty() {
            return;
        }
        self.used.insert(row);
        self.parted.part(world, row, missing, extra);
        let returned = |seen: &Seen| matches!(seen.what, What::Returned { .. });
        missing.retain(
            |seen| match extra.iter().position(|other| is_same_call(seen, other)) {
                Some(at) => {
                    extra.remove(at);
                    false
                }
                None => true,
            },
        );
        self.debts.extend(missing.extract_if(.., |seen| returned(seen)));
        self.credits.extend(extra.extract_if(.., |seen| returned(seen)));
        if !(missing.is_empty() && extra.is_empty()) {
            self.apart = Some(row);
            missing.clear();
            extra.clear();
        }
    }

    /// What comes earlier or later than recorded.
    fn timing(&mut self, difference: &mut Difference<'_>) {
        let extra = std::mem::take(difference.extra);
        for seen in extra {
            match early(difference, &seen) {
                Some(row) => {
                    self.used.insert(row);
                    self.credits.push(seen);
                }
                None => difference.extra.push(seen),
            }
        }
        let missing = std::mem::take(difference.missing);
        for seen in missing {
            match late(difference, &seen) {
                Some(row) => {
                    self.used.insert(row);
                    self.debts.push(seen);
                }
                None => difference.missing.push(seen),
            }
        }
    }
}

fn early(difference: &Difference<'_>, seen: &Seen) -> Option<Rule> {
    if let What::Returned { call, .. } = &seen.what
        && call == "change_attributes"
    {
        Some("own-confirmation")
    } else if let What::Returned { call, .. } = &seen.what
        && is_lock_call(call)
    {
        let gone = matches!(difference.op(), "no_senders" | "terminate");
        Some(if gone { "kernel-gone" } else { "own-confirmation" })
    } else if let What::ClearUserData | What::Freed | What::PortDestroyed = &seen.what {
        let shut = difference.sim(seen).is_some_and(|sim| sim.shutting_down);
        shut.then_some("freed-at-once")
    } else {
        None
    }
}

fn late(difference: &Difference<'_>, seen: &Seen) -> Option<Rule> {
    let pager = difference.sim(seen)?;
    let waits = |step: u64| pager.calls.values().any(|waiting| waiting.1 == step);
    let is_busy = !pager.object.is_idle();
    if let What::Returned { call, step, .. } = &seen.what {
        if is_lock_call(call) || call == "shutdown" {
            (waits(*step) && is_busy).then_some("earlier-writes")
        } else {
            (call == "change_attributes" && waits(*step)).then_some("attributes-in-order")
        }
    } else {
        let shuts = seen.what == What::PortDestroyed && pager.shutting_down;
        (shuts && is_busy).then_some("earlier-writes")
    }
}

/// True if the two are the return of one call, whatever it says.
fn is_same_call(one: &Seen, other: &Seen) -> bool {
    match (&one.what, &other.what) {
        (What::Returned { call, step, .. }, What::Returned { call: c, step: s, .. }) => {
            (call, step) == (c, s)
        }
        _ => false,
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
    ("shutdown-asks-once", store_rules::shutdown_asks_once),
    ("shutdown-refuses", store_rules::shutdown_refuses),
    ("error-kinds", store_rules::error_kinds),
    ("kept-data", store_rules::kept_data),
    ("known-at-once", store_rules::known_at_once),
    ("healed", store_rules::healed),
    ("flush-forgets", store_rules::flush_forgets),
    ("stale-refusal", kernel_rules::stale_refusal),
    ("refused-is-answered", kernel_rules::refused_is_answered),
    ("runs", kernel_rules::runs),
    ("offer-refused", kernel_rules::offer_refused),
    ("offered-precious", kernel_rules::offered_precious),
    ("offer-ignored", store_rules::offer_ignored),
    ("held-is-checked", kernel_rules::held_is_checked),
    ("offered-is-written", kernel_rules::offered_is_written),
    ("supplied-precious", kernel_rules::supplied_precious),
    ("evict-notice-on-flush", kernel_rules::evict_notice_on_flush),
    ("failed-while-wanted", store_rules::failed_while_wanted),
    ("unlock-of-kept", store_rules::unlock_of_kept),
    ("init-at-once", kernel_rules::init_at_once),
    ("attributes-in-order", kernel_rules::attributes_in_order),
    ("truth-values", kernel_rules::truth_values),
    ("copy-count", kernel_rules::copy_count),
    ("refusal-kept", store_rules::refusal_kept),
    ("outlives-terminate", store_rules::outlives_terminate),
    ("terminate-at-once", kernel_rules::terminate_at_once),
];
