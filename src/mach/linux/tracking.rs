//! Which pages were written to: found out by faults, or by asking the page tables.
//!
//! With asynchronous tracking (`UFFD_FEATURE_WP_ASYNC`) the kernel lifts a write protection by itself,
//! and `PAGEMAP_SCAN` tells afterwards where it did. A page is then clean only if it is *found protected*
//! in every mapping, be it by its own entry or by the mark that stays when a protected page is unmapped.
//! Whatever is not found is treated as written to: a client that forgets part of its mapping
//! (`MADV_DONTNEED`), moves it or unmaps it makes pages dirty that are not, and never the other way.
//!
//! Pages that clients are to lose are unmapped first and asked about then: nobody can write to them any
//! more without a fault, and the marks are still there. What clients keep is copied when it is written to the
//! store, since writers cannot be held meanwhile; what they write then is found by the next scan.
//!
//! The mode belongs to a descriptor for good. So when writers must be stopped after all, each mapping is
//! made a second time under a descriptor without it, and moved over the first in one step.

use std::sync::Arc;

use super::evict::LONGEST_RUN;
use super::host::DirtyTracking;
use super::memory::Memory;
use super::object::LinuxObject;
use super::page_table::flag::{DIRTY, RESIDENT};
use super::pagemap::{Pagemap, Region};
use super::space::{Place, Stretch};
use crate::mach::kernel::{KernelError, ObjectSpec};
use crate::mach::message::PageMemory;
use crate::object::PageRange;

/// What it takes to track writes without faults.
#[derive(Debug)]
pub(super) struct Asking {
    pagemap: Arc<Pagemap>,
    regions: Vec<Region>,
    places: Vec<Place>,
}

impl Asking {
    pub(super) fn new(pagemap: Arc<Pagemap>) -> Self {
        Self {
            pagemap,
            regions: Vec::new(),
            places: Vec::new(),
        }
    }
}

impl DirtyTracking {
    /// True if an object may begin without write faults. `inherit`: children are to get its
    /// mappings.
    pub(super) fn begins_async(self, spec: &ObjectSpec, bounded: bool, inherit: bool) -> bool {
        let wished = match self {
            Self::Auto => !inherit,
            Self::Sync => false,
            Self::Async => true,
        };
        wished && !bounded && !spec.notify_on_evict
    }
}

/// Pages that were returned and that clients go on writing to.
///
/// What is copied out of them is as new as the return, or newer: what was written since is found by the next
/// scan, and returned once more.
pub(super) struct Live(Arc<Memory>);

impl Live {
    pub(super) fn new(memory: &Arc<Memory>) -> Self {
        Self(Arc::clone(memory))
    }
}

impl PageMemory for Live {
    /// For pages that clients have lost since, as those that a shutdown hands back, and for a store that looks
    /// at none of the bytes.
    fn bytes(&self, offset: u64, length: usize) -> &[u8] {
        self.0.bytes(offset, length)
    }

    fn copy(&self, offset: u64, into: &mut [u8]) -> bool {
        match self.0.read(offset, into) {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(offset, %error, "pages cannot be copied");
                false
            }
        }
    }

    fn is_live(&self) -> bool {
        true
    }
}

impl LinuxObject {
    /// Learns which pages of `range` were written to. With `cut` clients lose them, and cannot write to
    /// them any more until they are mapped again.
    pub(super) fn learn_writes(&mut self, range: PageRange, cut: bool) {
        let Some(mut asking) = self.asking.take() else {
            return;
        };
        loop {
            self.spaces.refresh();
            let changes = self.spaces.changes;
            self.believe_lost();
            asking.places.clear();
            self.spaces.places(range, &mut asking.places);
            for at in 0..asking.places.len() {
                self.learn_at(asking.places[at], range, cut, &mut asking);
            }
            if self.spaces.is_changing() {
                self.spaces.catch_up();
            } else if changes == self.spaces.changes {
                break;
            }
        }
        self.asking = Some(asking);
    }

    fn learn_at(&mut self, place: Place, range: PageRange, cut: bool, asking: &mut Asking) {
        let (offset, bytes) = (range.offset(self.size), range.bytes(self.size));
        let Some(mapping) = self.spaces.mapping(place) else {
            return;
        };
        let Some(at) = mapping.stretch(offset, bytes) else {
            return;
        };
        if cut {
            mapping.view.forget(at.address, at.length);
        }
        asking.regions.clear();
        if let Err(error) = asking.pagemap.scan(at.address, at.length, &mut asking.regions) {
            // What is not reported counts as written to.
            tracing::debug!(object = %self.share.name, %error, "the page tables cannot be asked");
        }
        let mut known = at.address;
        for region in &asking.regions {
            self.suspect(place, at, known, region.start);
            if region.written {
                self.mark_written(self.pages_at(at, region.start, region.end));
            }
            known = region.end;
        }
        self.suspect(place, at, known, at.address + at.length);
    }

    /// The pages that lie, at least in part, between two addresses.
    fn pages_at(&self, at: Stretch, start: usize, end: usize) -> PageRange {
        let offset = at.offset + (start - at.address) as u64;
        let around = self.size.pages_around(offset, (end - start) as u64);
        around.unwrap_or_default().intersection(self.pages)
    }

    fn mark_written(&mut self, range: PageRange) {
        let kind = |bits: u8| (bits & RESIDENT != 0).then_some(());
        let mut rest = range;
        while let Some((run, ())) = self.table.first_run(rest, LONGEST_RUN, kind) {
            rest = PageRange::new(run.end(), rest.end());
            run.iter().for_each(|page| self.table.set(page, DIRTY));
        }
    }

    /// Nothing is known of what lies between two addresses: it may have been written to. From now on it
    /// is known.
    fn suspect(&mut self, place: Place, at: Stretch, start: usize, end: usize) {
        if start >= end {
            return;
        }
        let kind = |bits: u8| (bits & RESIDENT != 0).then_some(());
        let mut rest = self.pages_at(at, start, end);
        while let Some((run, ())) = self.table.first_run(rest, LONGEST_RUN, kind) {
            rest = PageRange::new(run.end(), rest.end());
            run.iter().for_each(|page| self.table.set(page, DIRTY));
            self.spaces.protect_at(place, run);
        }
    }

    /// What a mapping showed that is gone may have been written to there.
    fn believe_lost(&mut self) {
        for range in std::mem::take(&mut self.spaces.lost) {
            self.mark_written(range);
        }
    }

    /// Pages that just came, and that nobody has written to, are known to be clean wherever they are
    /// mapped from now on.
    pub(super) fn know_clean(&mut self, run: PageRange, mapped: Option<Place>) {
        let Some(asking) = &mut self.asking else {
            return;
        };
        let mut places = std::mem::take(&mut asking.places);
        places.clear();
        self.spaces.places(run, &mut places);
        for &place in places.iter().filter(|&&place| Some(place) != mapped) {
            self.spaces.protect_at(place, run);
        }
        if let Some(asking) = &mut self.asking {
            asking.places = places;
        }
    }

    /// What is resident already is known to be as clean as before in a new mapping.
    pub(super) fn know_mapping(&mut self, id: u64) {
        if self.asking.is_none() {
            return;
        }
        let mut places = Vec::new();
        self.spaces.places(self.pages, &mut places);
        places.retain(|&place| self.spaces.mapping(place).is_some_and(|mapping| mapping.id == id));
        let kind = |bits: u8| (bits & RESIDENT != 0).then_some(());
        let mut rest = self.pages;
        while let Some((run, ())) = self.table.first_run(rest, LONGEST_RUN, kind) {
            rest = PageRange::new(run.end(), rest.end());
            places
                .iter()
                .for_each(|&place| self.spaces.protect_at(place, run));
        }
    }

    /// True if writers cannot be stopped.
    pub(super) fn writes_unseen(&self) -> bool {
        self.asking.is_some()
    }

    /// From now on every first write to a clean page is a fault: writers can be stopped, and pages can be
    /// evicted one by one. What was written until now is known to be dirty.
    pub(super) fn see_writes(&mut self) -> Result<(), KernelError> {
        if self.asking.is_none() {
            return Ok(());
        }
        let uffd = self.host.capabilities.open()?;
        self.learn_writes(self.pages, true);
        self.spaces.replace_own(uffd, &self.memory)?;
        self.asking = None;
        self.spaces.lost.clear();
        tracing::debug!(object = %self.share.name, "writes are tracked by faults from now on");
        Ok(())
    }

    /// Lets writes be seen where pages have to be given up: where the host is bounded by now, or memory
    /// is short.
    pub(super) fn see_writes_if_bounded(&mut self) {
        if self.asking.is_some()
            && (self.host.budget.is_bounded() || self.shortage.is_on())
            && let Err(error) = self.see_writes()
        {
            tracing::error!(object = %self.share.name, %error, "writes cannot be tracked by faults");
        }
    }
}
