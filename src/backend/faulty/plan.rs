//! Which fault a call meets: rates from a seed, scripts for one call, ranges that are broken.

use std::collections::HashMap;
use std::time::Duration;

use crate::object::{PageError, PageIndex, PageRange};

/// Every page an object can have.
pub(super) const EVERY_PAGE: PageRange = PageRange::new(PageIndex(0), PageIndex(u64::MAX));

/// The calls of a store that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallKind {
    /// `read_pages`.
    Read,
    /// `try_read_pages`.
    TryRead,
    /// `write_pages`.
    Write,
    /// `unlock_pages`.
    Unlock,
    /// `sync`.
    Sync,
}

impl CallKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Read, Self::TryRead, Self::Write, Self::Unlock, Self::Sync];

    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

/// What happens to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails with this error. Where the fault was set for a range of pages, only those fail: a
    /// read supplies the others, a write stops before the first of them.
    Error(PageError),
    /// It takes that much longer.
    Delay(Duration),
    /// It panics.
    Panic,
    /// It does not return until [`FaultControl::release_hangs`](super::FaultControl::release_hangs),
    /// and does its work then, late.
    Hang,
    /// It does the first half of the pages, and fails the others. Means nothing for an unlock or
    /// a sync.
    Short,
    /// Like `Short`, and the page in the middle is half done: on a write, half of it is in the
    /// store; on a read, the rest of the buffer is rubbish.
    Torn,
}

/// How often calls of one kind go wrong: chances from 0 to 1 for each fault, at most 1 together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FaultRates {
    /// [`Fault::Error`] with EIO.
    pub error: f64,
    /// [`Fault::Error`] with ENOSPC.
    pub no_space: f64,
    /// [`Fault::Delay`] of `delay_time`.
    pub delay: f64,
    /// How long a delay is.
    pub delay_time: Duration,
    /// [`Fault::Panic`].
    pub panic: f64,
    /// [`Fault::Hang`].
    pub hang: f64,
    /// [`Fault::Short`].
    pub short: f64,
    /// [`Fault::Torn`].
    pub torn: f64,
}

impl FaultRates {
    fn table(&self) -> [(f64, Fault); 7] {
        [
            (self.error, Fault::Error(PageError::Io)),
            (self.no_space, Fault::Error(PageError::NoSpace)),
            (self.delay, Fault::Delay(self.delay_time)),
            (self.panic, Fault::Panic),
            (self.hang, Fault::Hang),
            (self.short, Fault::Short),
            (self.torn, Fault::Torn),
        ]
    }

    fn is_quiet(&self) -> bool {
        self.table().iter().all(|&(chance, _)| chance <= 0.0)
    }

    /// The fault at `point`, which lies between 0 and 1.
    fn at(&self, mut point: f64) -> Option<Fault> {
        for (chance, fault) in self.table() {
            if point < chance {
                return Some(fault);
            }
            point -= chance.max(0.0);
        }
        None
    }
}

/// A fault, and the pages of the call that it strikes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strike {
    pub(super) fault: Fault,
    pub(super) range: PageRange,
}

#[derive(Debug)]
struct Rule {
    kind: CallKind,
    range: PageRange,
    fault: Fault,
}

impl Rule {
    fn covers(&self, kind: CallKind, range: PageRange) -> bool {
        self.kind == kind && self.range.overlaps(range)
    }

    fn strike(&self, call: PageRange) -> Strike {
        Strike {
            fault: self.fault,
            range: self.range.intersection(call),
        }
    }
}

/// Everything that is set to go wrong.
#[derive(Debug)]
pub(super) struct Plan {
    seed: u64,
    rates: [FaultRates; CallKind::ALL.len()],
    /// How many calls of a kind began at a page, where rates are set.
    drawn: HashMap<(CallKind, PageIndex), u64>,
    scripts: Vec<Rule>,
    broken: Vec<Rule>,
}

impl Plan {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            rates: Default::default(),
            drawn: HashMap::new(),
            scripts: Vec::new(),
            broken: Vec::new(),
        }
    }

    pub(super) fn set_rates(&mut self, kind: CallKind, rates: FaultRates) {
        self.rates[kind.index()] = rates;
    }

    pub(super) fn fail_next(&mut self, kind: CallKind, range: PageRange, fault: Fault) {
        self.scripts.push(Rule { kind, range, fault });
    }

    pub(super) fn fail(&mut self, kind: CallKind, range: PageRange, fault: Fault) {
        self.broken.push(Rule { kind, range, fault });
    }

    /// Ends every rule on `range`; of a broken range the parts outside stay broken.
    pub(super) fn heal(&mut self, range: PageRange) {
        self.scripts.retain(|rule| !rule.range.overlaps(range));
        for rule in std::mem::take(&mut self.broken) {
            let old = rule.range;
            let below = PageRange::new(old.start(), old.end().min(range.start()));
            let above = PageRange::new(old.start().max(range.end()), old.end());
            let left = [below, above].into_iter().filter(|part| !part.is_empty());
            self.broken.extend(left.map(|range| Rule { range, ..rule }));
        }
    }

    /// Ends all rates and rules.
    pub(super) fn clear(&mut self) {
        self.rates = Default::default();
        self.scripts.clear();
        self.broken.clear();
    }

    /// True if a call of this kind on these pages might meet a fault.
    pub(super) fn may_strike(&self, kind: CallKind, range: PageRange) -> bool {
        let mut rules = self.scripts.iter().chain(&self.broken);
        !self.rates[kind.index()].is_quiet() || rules.any(|rule| rule.covers(kind, range))
    }

    /// The fault of the call that begins now: a script's, else a broken page's, else by chance.
    pub(super) fn draw(&mut self, kind: CallKind, range: PageRange) -> Option<Strike> {
        if let Some(at) = self.scripts.iter().position(|rule| rule.covers(kind, range)) {
            return Some(self.scripts.remove(at).strike(range));
        }
        if let Some(rule) = self.broken.iter().find(|rule| rule.covers(kind, range)) {
            return Some(rule.strike(range));
        }
        let rates = self.rates[kind.index()];
        if rates.is_quiet() {
            return None;
        }
        let fault = rates.at(self.chance(kind, range.start()))?;
        Some(Strike { fault, range })
    }

    /// A number from 0 to 1 that depends on the seed, the kind, the page, and how often that was
    /// asked.
    fn chance(&mut self, kind: CallKind, page: PageIndex) -> f64 {
        let nth = self.drawn.entry((kind, page)).or_default();
        *nth += 1;
        let parts = [kind.index() as u64, page.0, *nth];
        let hash = parts.iter().fold(self.seed, |hash, &part| mix(hash ^ mix(part)));
        (hash >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// SplitMix64's step: each bit of the result depends on each of the argument's.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}
