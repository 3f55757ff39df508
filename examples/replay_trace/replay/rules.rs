//! Differences by design: each a signature, and a row of docs/differences.md.
//!
//! A rule takes out of the two lists what it explains: events that were recorded and did not come,
//! and events that came and were not recorded. What comes early or late by design is remembered:
//! it must turn up in the other list later.

use std::collections::BTreeSet;

use super::canon::{PAGE, Seen, What};
use super::difference::Difference;
use super::trace::{Step, Trace, number};
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
    /// From here on events are not compared one by one: the row that says why.
    pub(crate) apart: Option<Rule>,
    fallback: Option<Rule>,
    /// Pages that were busy before the step, by pager.
    busy: BTreeSet<(String, u64)>,
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
            apart: None,
            fallback,
            busy: BTreeSet::new(),
        }
    }

    pub(crate) fn used(&self) -> BTreeSet<Rule> {
        self.used.clone()
    }

    /// What is still to come, if events are compared one by one to the end.
    pub(crate) fn open_debts(&self) -> &[Seen] {
        if self.apart.is_some() { &[] } else { &self.debts }
    }

    /// Looks around before a step is done.
    pub(crate) fn before(&mut self, world: &World, _step: &Step) {
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
    pub(crate) fn explain(
        &mut self,
        world: &World,
        step: &Step,
        missing: &mut Vec<Seen>,
        extra: &mut Vec<Seen>,
    ) {
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
        if let What::Returned { call, .. } = &seen.what
            && call == "change_attributes"
        {
            Some("own-confirmation")
        } else if let What::Returned { call, .. } = &seen.what
            && is_lock_call(call)
        {
            let gone = matches!(
                difference.step.action["op"].as_str(),
                Some("no_senders" | "terminate")
            );
            Some(if gone { "kernel-gone" } else { "own-confirmation" })
        } else if let What::ClearUserData | What::Freed | What::PortDestroyed = &seen.what {
            Some("freed-at-once")
        } else {
            None
        }
    }

    fn late(&self, difference: &Difference<'_>, seen: &Seen) -> Option<Rule> {
        let pager = difference
            .world
            .pagers
            .iter()
            .find(|pager| pager.name == seen.pager)?;
        if let What::Returned { call, step, .. } = &seen.what
            && (is_lock_call(call) || call == "shutdown")
        {
            let waits = pager.calls.values().any(|waiting| waiting.1 == *step);
            (waits && !pager.object.is_idle()).then_some("earlier-writes")
        } else {
            None
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
    ("shutdown-asks-once", store_rules::shutdown_asks_once),
    ("shutdown-refuses", store_rules::shutdown_refuses),
    ("error-kinds", store_rules::error_kinds),
    ("kept-data", store_rules::kept_data),
    ("known-at-once", store_rules::known_at_once),
    ("healed", store_rules::healed),
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
    ("init-at-once", kernel_rules::init_at_once),
    ("truth-values", kernel_rules::truth_values),
    ("copy-count", kernel_rules::copy_count),
    ("refusal-kept", store_rules::refusal_kept),
    ("outlives-terminate", store_rules::outlives_terminate),
    ("terminate-at-once", kernel_rules::terminate_at_once),
];

/// Rules after which the two go their own ways.
const PARTING: &[(Rule, Plain)] = &[
    ("no-initialize", kernel_rules::no_initialize),
    ("out-of-memory", kernel_rules::out_of_memory),
    ("unlock-of-kept", store_rules::unlock_of_kept),
];
