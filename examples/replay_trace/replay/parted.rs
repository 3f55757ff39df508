//! What goes its own way from some step on, and is not compared any more; all else still is.

use std::collections::{BTreeMap, BTreeSet};

use super::canon::{PAGE, Seen, What};
use super::rules::Rule;
use super::trace::{Step, Trace, number, text_of};
use super::world::World;

pub(crate) struct Parted {
    /// Pages that the two treat differently: by pager, with the row that says why.
    pages: BTreeMap<(String, u64), Rule>,
    /// Threads of the original whose work on a page was done otherwise here.
    written_off: BTreeSet<(String, u64, u64)>,
    /// Pages that the recorded kernel holds, and the one here does not.
    not_here: BTreeSet<(String, u64)>,
    /// The threads that were blocked after the last step.
    blocked: Vec<u64>,
    /// Messages that found a page busy, with all their pages.
    in_turn: BTreeMap<u64, BTreeSet<(String, u64)>>,
    /// The control port that the message of each step carries.
    controls: BTreeMap<u64, String>,
    /// Control ports that the original did not take.
    strangers: BTreeSet<String>,
}

impl Parted {
    pub(crate) fn new(trace: &Trace) -> Self {
        let controls = trace.steps.iter();
        Self {
            pages: BTreeMap::new(),
            written_off: BTreeSet::new(),
            not_here: BTreeSet::new(),
            blocked: Vec::new(),
            in_turn: BTreeMap::new(),
            controls: controls
                .map(|step| (step.number, text_of(&step.action["control"])))
                .collect(),
            strangers: BTreeSet::new(),
        }
    }

    /// True if the thread of this step was still blocked at the end.
    pub(crate) fn is_blocked(&self, step: u64) -> bool {
        self.blocked.contains(&step)
    }

    pub(crate) fn is_parted(&self, pager: &str, page: u64) -> bool {
        self.pages.contains_key(&(pager.to_owned(), page))
    }

    /// Drops what is about pages that parted, and the rest of what was done otherwise.
    pub(crate) fn leave_out(&self, world: &World, missing: &mut Vec<Seen>, extra: &mut Vec<Seen>) {
        let parted = |seen: &Seen| {
            let mut pages = pages_of(world, seen).into_iter();
            pages.any(|page| self.is_parted(&seen.pager, page))
        };
        let written_off = |seen: &Seen| {
            let mut pages = pages_of(world, seen).into_iter();
            let evicted = matches!(seen.what, What::NotifyEvict { .. });
            pages.any(|page| {
                let pager = seen.pager.clone();
                evicted && self.not_here.contains(&(pager.clone(), page))
                    || self.written_off.contains(&(pager, seen.thread, page))
            })
        };
        missing.retain(|seen| !parted(seen) && !written_off(seen));
        extra.retain(|seen| !parted(seen) && !self.is_strange(seen));
    }

    /// A callback that a rule explained away was done otherwise: so is what follows from it. A page
    /// that was not supplied here is held only by the recorded kernel.
    pub(crate) fn write_off(&mut self, world: &World, before: &[Seen], missing: &[Seen]) {
        for seen in before.iter().filter(|seen| !missing.contains(seen)) {
            if let What::ReadPage { page } | What::UnlockPage { page } = seen.what {
                self.written_off.insert((seen.pager.clone(), seen.thread, page));
            } else if let What::Supply { page, .. } = seen.what
                && !world.did_supply(&seen.pager, page)
            {
                self.not_here.insert((seen.pager.clone(), page));
            }
        }
    }

    /// True if it was done for a kernel that the original did not take.
    fn is_strange(&self, seen: &Seen) -> bool {
        let control = self.controls.get(&seen.thread);
        control.is_some_and(|control| self.strangers.contains(control))
    }

    /// A rule was used: a kernel may have been taken that the original did not take.
    pub(crate) fn note(&mut self, row: Rule, step: &Step) {
        if row == "init-at-once" {
            self.strangers.insert(text_of(&step.action["control"]));
        }
    }

    /// Notes the step's message if one of its pages is busy: it waits its turn there, and at the
    /// other pages it does not.
    pub(crate) fn note_busy(&mut self, world: &World, step: &Step) {
        self.not_here.retain(|of| !world.did_supply(&of.0, of.1));
        let own = own_pages(step);
        let busy = |of: &(String, u64)| {
            let mut sims = world.pagers.iter();
            sims.any(|sim| sim.name == of.0 && sim.is_busy(of.1))
        };
        if own.iter().any(busy) {
            self.in_turn.insert(step.number, own);
        }
        // An unlock may have left a note behind, in one and not in the other.
        let unlocked = |of: &(String, u64)| {
            let mut sims = world.pagers.iter().filter(|sim| sim.name == of.0);
            sims.any(|sim| sim.unlocked.contains(&of.1) || sim.refused.contains(&of.1))
        };
        let quiet = |of: &(String, u64)| world.held.is_empty() && !busy(of) && !unlocked(of);
        let blocked = self.blocked.iter();
        if blocked
            .filter(|step| world.op_of(**step).starts_with("data_"))
            .count()
            == 0
        {
            // Both have come to rest: the same page in the same state again.
            self.pages.retain(|of, row| *row != "in-turn" || !quiet(of));
            self.in_turn.retain(|_, own| !own.iter().all(quiet));
        }
        self.blocked.clone_from(&step.blocked);
    }

    /// Where what is left comes from a message that found a page busy, its pages part here.
    pub(crate) fn in_turn(&mut self, world: &World, missing: &mut Vec<Seen>, extra: &mut Vec<Seen>) -> bool {
        let unlikely: Vec<Seen> = missing.extract_if(.., |seen| !is_likely(world, seen)).collect();
        let before = self.pages.len();
        for seen in missing.iter().chain(extra.iter()) {
            let pages = pages_of(world, seen);
            let turns = self.in_turn.values();
            let own = turns.filter(|own| {
                pages
                    .iter()
                    .any(|page| own.contains(&(seen.pager.clone(), *page)))
            });
            self.pages
                .extend(own.flatten().cloned().map(|of| (of, "in-turn")));
        }
        self.leave_out(world, missing, extra);
        missing.extend(unlikely);
        self.pages.len() != before
    }

    /// The pages of what is left part here.
    pub(crate) fn part(&mut self, world: &World, row: Rule, missing: &mut Vec<Seen>, extra: &mut Vec<Seen>) {
        for seen in missing.iter().chain(extra.iter()) {
            let pages = pages_of(world, seen).into_iter();
            self.pages
                .extend(pages.map(|page| ((seen.pager.clone(), page), row)));
        }
        self.leave_out(world, missing, extra);
    }
}

/// The pages that a step's message names.
fn own_pages(step: &Step) -> BTreeSet<(String, u64)> {
    let op = step.action["op"].as_str();
    if !matches!(
        op,
        Some("data_request" | "data_return" | "data_unlock" | "offer_page")
    ) {
        return BTreeSet::new();
    }
    let pager = step.action["pager"].as_str().unwrap_or("P0");
    let first = number(&step.action["offset"]) / PAGE;
    let count = step.action["pages"].as_array().map_or(1, Vec::len) as u64;
    let pages = first..first.saturating_add(count);
    pages.map(|page| (pager.to_owned(), page)).collect()
}

/// False if no way of doing things in another order leads to it: data that there never was, or the
/// same thing twice.
fn is_likely(world: &World, seen: &Seen) -> bool {
    let twice = world
        .did
        .iter()
        .any(|did| did == seen && did.thread == seen.thread);
    let known = if let What::Supply { page, tag, .. } | What::WritePage { page, tag } = &seen.what {
        knows(world, &seen.pager, *page, tag)
    } else if let What::WritePages { page, tags } = &seen.what {
        let mut pages = tags.iter().zip(*page..);
        pages.all(|(tag, page)| knows(world, &seen.pager, page, tag))
    } else {
        true
    };
    known && !twice
}

fn knows(world: &World, pager: &str, page: u64, tag: &str) -> bool {
    let first = world.first_store.get(&page);
    tag == format!("D{page}")
        || first.is_some_and(|first| first == tag)
        || pages_with(world, pager, tag).contains(&page)
}

/// The pages that an event is about; none if it is about the whole object.
pub(crate) fn pages_of(world: &World, seen: &Seen) -> Vec<u64> {
    match &seen.what {
        What::Supply { page, .. }
        | What::Error { page, .. }
        | What::ReadPage { page }
        | What::WritePage { page, .. }
        | What::UnlockPage { page }
        | What::NotifyEvict { page } => vec![*page],
        What::WritePages { page, tags } => (*page..*page + tags.len() as u64).collect(),
        What::LockRequest {
            offset, length, lock, ..
        } if *length == PAGE && lock != "no_change" => vec![offset / PAGE],
        What::Released { tag } => pages_with(world, &seen.pager, tag),
        What::Ready { .. }
        | What::LockRequest { .. }
        | What::ChangeAttributes { .. }
        | What::DropWeak
        | What::ClearUserData
        | What::Freed
        | What::PortDestroyed
        | What::Returned { .. } => Vec::new(),
    }
}

fn pages_with(world: &World, pager: &str, tag: &str) -> Vec<u64> {
    let sims = world.pagers.iter().filter(|sim| sim.name == pager);
    let memories = sims.flat_map(|sim| &sim.memory);
    memories
        .flat_map(|memory| memory.tags.iter().zip(memory.first..))
        .filter_map(|(known, page)| (known == tag).then_some(page))
        .collect()
}
