//! Copies of the object that users map, and what they must show: for ever what they showed first.

use std::collections::BTreeMap;
use std::task::Poll;

use actor_pager::error::MapError;
use actor_pager::mach::RawMapping;
use actor_pager::mach::sim::SimMapping;
use actor_pager::object::{PageIndex, PageRange, Prot, RequestToken};

use crate::simulation::Simulation;
use crate::store::PAGE;

/// How many copies are mapped at once.
const MOST: usize = 3;

/// A copy that is mapped.
#[derive(Debug)]
pub(crate) struct MappedCopy {
    mapping: SimMapping,
    range: PageRange,
    /// The pages that were looked at, as they must stay.
    seen: BTreeMap<PageIndex, Vec<u8>>,
}

impl Simulation {
    pub(crate) fn map_copy(&mut self) {
        let token = RequestToken(self.fresh());
        self.copies.insert(token);
        let (offset, length) = self.range();
        let range = PageRange::with_len(PageIndex(offset / PAGE as u64), length / PAGE as u64);
        self.tell(|| format!("user: map a copy of {range:?} {token:?}"));
        self.engine.map_copy(token, range, Prot::READ_WRITE);
    }

    /// A copy is there; the oldest goes when there are many. What it shows of pages that the kernel has
    /// is what it must show from now on.
    pub(crate) fn copy_mapped(&mut self, token: RequestToken, mapped: Result<RawMapping, MapError>) {
        self.counts.answers += 1;
        if !self.copies.remove(&token) {
            self.wrong = Some(format!("the copy {token:?} was mapped twice"));
        }
        let Ok(raw) = mapped else { return };
        if self.mapped_copies.len() == MOST {
            let oldest = self.mapped_copies.remove(0);
            self.client.unmap(oldest.mapping);
        }
        self.mapped_copies.push(MappedCopy {
            mapping: self.client.mapping_of(&raw),
            range: raw.range,
            seen: BTreeMap::new(),
        });
        let newest = self.mapped_copies.len() - 1;
        for page in raw.range.iter() {
            if self.client.peek(page).is_some() {
                self.look_at_copy(newest, page);
            }
        }
    }

    /// Somebody loads from a copy, stores into it, or takes it down.
    pub(crate) fn use_copy(&mut self) {
        if self.mapped_copies.is_empty() {
            return self.map_copy();
        }
        let at = self.rng.below(self.mapped_copies.len() as u64) as usize;
        let range = self.mapped_copies[at].range;
        let page = PageIndex(range.start().0 + self.rng.below(range.len()));
        match self.rng.below(10) {
            0 => {
                let gone = self.mapped_copies.swap_remove(at);
                self.client.unmap(gone.mapping);
            }
            1..4 => self.store_into_copy(at, page),
            _ => self.look_at_copy(at, page),
        }
    }

    fn look_at_copy(&mut self, at: usize, page: PageIndex) {
        let copy = &mut self.mapped_copies[at];
        let mut bytes = vec![0; PAGE];
        let read = self
            .client
            .try_read(copy.mapping, page.0 * PAGE as u64, &mut bytes);
        if !matches!(read, Poll::Ready(Ok(()))) {
            return;
        }
        self.counts.accesses += 1;
        let seen = copy.seen.entry(page).or_insert_with(|| bytes.clone());
        if *seen != bytes && !self.plan.illegal {
            let first = seen.iter().zip(&bytes).position(|(a, b)| a != b);
            self.wrong = Some(format!("a copy of {page:?} changed (byte {first:?})"));
        }
    }

    /// The object must not change by it.
    fn store_into_copy(&mut self, at: usize, page: PageIndex) {
        self.look_at_copy(at, page);
        let value = self.fresh().to_le_bytes();
        let offset = self.rng.below(PAGE as u64 / 8) * 8;
        let before = self.client.peek(page);
        let copy = &mut self.mapped_copies[at];
        let place = page.0 * PAGE as u64 + offset;
        if !matches!(
            self.client.try_write(copy.mapping, place, &value),
            Poll::Ready(Ok(()))
        ) {
            return;
        }
        self.counts.accesses += 1;
        if let Some(seen) = copy.seen.get_mut(&page) {
            seen[offset as usize..][..value.len()].copy_from_slice(&value);
        }
        if self.client.peek(page) != before {
            self.wrong = Some(format!("a store into a copy changed {page:?} of the object"));
        }
    }

    /// What these pages hold is known no more: the store may have half of a page.
    pub(crate) fn forget(&mut self, pages: PageRange) {
        self.client.forget(pages);
        for copy in &mut self.mapped_copies {
            copy.seen.retain(|page, _| !pages.contains(*page));
        }
    }
}
