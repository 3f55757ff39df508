//! What differs in one step, and ways to take out of it what is explained.

use std::collections::BTreeSet;

use super::canon::Seen;
use super::trace::Step;
use super::world::{PagerSim, World};

/// What differs in one step.
pub(crate) struct Difference<'a> {
    pub(crate) world: &'a World,
    pub(crate) step: &'a Step,
    pub(crate) missing: &'a mut Vec<Seen>,
    pub(crate) extra: &'a mut Vec<Seen>,
}

impl Difference<'_> {
    pub(crate) fn op(&self) -> &str {
        self.step.action["op"].as_str().unwrap_or_default()
    }

    /// The pager of the step.
    pub(crate) fn own_sim(&self) -> Option<&PagerSim> {
        let name = self.step.action["pager"].as_str().unwrap_or("P0");
        self.world.pagers.iter().find(|pager| pager.name == name)
    }

    pub(crate) fn sim(&self, seen: &Seen) -> Option<&PagerSim> {
        self.world.pagers.iter().find(|pager| pager.name == seen.pager)
    }

    /// Drops pairs of a missing and an extra event that `fits` says belong together.
    pub(crate) fn pair(&mut self, fits: impl Fn(&World, &Seen, &Seen) -> bool) -> bool {
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

    /// Drops what came of these pages: that they were read, supplied or refused.
    pub(crate) fn drop_served(&mut self, pages: &BTreeSet<(String, u64)>) -> bool {
        self.drop_extra(|_, seen| {
            let page = seen.what.served();
            page.is_some_and(|page| pages.contains(&(seen.pager.clone(), page)))
        })
    }

    pub(crate) fn drop_missing(&mut self, mut fits: impl FnMut(&World, &Seen) -> bool) -> bool {
        let before = self.missing.len();
        let world = self.world;
        self.missing.retain(|seen| !fits(world, seen));
        self.missing.len() != before
    }

    pub(crate) fn drop_extra(&mut self, mut fits: impl FnMut(&World, &Seen) -> bool) -> bool {
        let before = self.extra.len();
        let world = self.world;
        self.extra.retain(|seen| !fits(world, seen));
        self.extra.len() != before
    }
}

pub(crate) fn sim_of<'a>(world: &'a World, seen: &Seen) -> Option<&'a PagerSim> {
    world.pagers.iter().find(|pager| pager.name == seen.pager)
}
