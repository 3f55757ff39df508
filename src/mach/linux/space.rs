//! Address spaces that map an object, and the table of their mappings.

use std::sync::Arc;

use tokio::io::unix::AsyncFd;

use super::forks::Watch;
use super::share::ObjectShare;
use super::uffd::Uffd;
use super::view::ClientView;
use crate::mach::stream::StreamDetector;
use crate::object::PageSize;

/// Where a page is mapped: a mapping of an address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) space: u32,
    pub(super) mapping: u32,
}

/// A mapping of the object, or a piece of one.
#[derive(Debug)]
pub(super) struct Mapping {
    /// As in the `RawMapping` it belongs to.
    pub(super) id: u64,
    pub(super) view: ClientView,
    /// The object's byte that is mapped first.
    pub(super) offset: u64,
    /// Follows the faults of this mapping.
    pub(super) streams: StreamDetector,
}

/// Part of a mapping, in both its addresses and the object's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) address: usize,
    pub(super) offset: u64,
    pub(super) length: usize,
}

impl Mapping {
    fn end(&self) -> u64 {
        self.offset + self.view.length() as u64
    }

    /// What this mapping shows of the bytes from `offset` on.
    pub(super) fn stretch(&self, offset: u64, length: u64) -> Option<Stretch> {
        let start = offset.max(self.offset);
        let end = (offset + length).min(self.end());
        (start < end).then(|| Stretch {
            address: self.view.address() + (start - self.offset) as usize,
            offset: start,
            length: (end - start) as usize,
        })
    }

    /// The object's bytes shown between two addresses: the first, and how many.
    pub(super) fn between(&self, start: usize, end: usize) -> Option<(u64, u64)> {
        let first = start.max(self.view.address());
        let last = end.min(self.view.address() + self.view.length());
        (first < last).then(|| (self.offset_at(first), (last - first) as u64))
    }

    /// The object's byte at an address.
    fn offset_of(&self, address: usize) -> Option<u64> {
        let within = address.checked_sub(self.view.address())?;
        (within < self.view.length()).then(|| self.offset + within as u64)
    }

    fn offset_at(&self, address: usize) -> u64 {
        self.offset + (address - self.view.address()) as u64
    }
}

/// One address space: this process, or a forked child.
#[derive(Debug)]
pub(super) struct Space {
    pub(super) uffd: Arc<Uffd>,
    /// For forks while this space is known, and while its descriptor is kept.
    pub(super) forks: Arc<Watch>,
    /// Made at the first poll, within the poller's runtime.
    pub(super) watch: Option<AsyncFd<Arc<Uffd>>>,
    /// The number of the client whose it is, if it attached by itself.
    pub(super) client: Option<u64>,
    mappings: Vec<Option<Mapping>>,
}

impl Space {
    pub(super) fn new(uffd: Uffd, share: &Arc<ObjectShare>) -> Self {
        let uffd = Arc::new(uffd);
        Self {
            forks: Arc::new(Watch::new(uffd.clone(), share)),
            uffd,
            watch: None,
            client: None,
            mappings: Vec::new(),
        }
    }

    /// The address space of a child that was just forked.
    pub(super) fn child(&self, uffd: Uffd, share: &Arc<ObjectShare>) -> Self {
        let copy = |mapping: &Mapping| Mapping {
            id: mapping.id,
            view: mapping.view.in_child(),
            offset: mapping.offset,
            streams: mapping.streams.clone(),
        };
        let mut child = Self::new(uffd, share);
        let mappings = self.mappings.iter();
        child.mappings = mappings.map(|mapping| mapping.as_ref().map(copy)).collect();
        child
    }

    pub(super) fn mappings(&self) -> impl Iterator<Item = &Mapping> {
        self.mappings.iter().flatten()
    }

    pub(super) fn mappings_mut(&mut self) -> impl Iterator<Item = &mut Mapping> {
        self.mappings.iter_mut().flatten()
    }

    pub(super) fn slots(&self) -> u32 {
        self.mappings.len() as u32
    }

    pub(super) fn mapping(&self, at: u32) -> Option<&Mapping> {
        self.mappings.get(at as usize)?.as_ref()
    }

    pub(super) fn mapping_mut(&mut self, at: u32) -> Option<&mut Mapping> {
        self.mappings.get_mut(at as usize)?.as_mut()
    }

    pub(super) fn add(&mut self, mapping: Mapping) {
        match self.mappings.iter_mut().find(|slot| slot.is_none()) {
            Some(slot) => *slot = Some(mapping),
            None => self.mappings.push(Some(mapping)),
        }
    }

    /// Takes a mapping out of the table, all its pieces.
    pub(super) fn remove(&mut self, id: u64, out: &mut Vec<Mapping>) {
        for slot in &mut self.mappings {
            if slot.as_ref().is_some_and(|mapping| mapping.id == id) {
                out.extend(slot.take());
            }
        }
    }

    /// Takes every mapping out of the table.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Mapping> {
        self.mappings.drain(..).flatten()
    }

    /// The mapping at an address, and the object's byte there.
    pub(super) fn find(&self, address: usize) -> Option<(u32, u64)> {
        let mut slots = (0..).zip(&self.mappings);
        slots.find_map(|(at, slot)| Some((at, slot.as_ref()?.offset_of(address)?)))
    }

    /// The same, where a client made a mapping longer, which makes no event: the mapping that ends
    /// closest below the address is extended up to it.
    pub(super) fn find_grown(&mut self, address: usize, size: PageSize, length: u64) -> Option<(u32, u64)> {
        let slots = (0..).zip(&self.mappings);
        let below = slots.filter_map(|(at, slot)| {
            let start = slot.as_ref()?.view.address();
            (start <= address).then_some((start, at))
        });
        let (start, at) = below.max()?;
        let mapping = self.mappings.get_mut(at as usize)?.as_mut()?;
        let system = (address - start) & !(PageSize::KIB_4.bytes() as usize - 1);
        let grown = system + PageSize::KIB_4.bytes() as usize;
        let whole = (grown as u64).next_multiple_of(size.bytes());
        (mapping.offset + whole <= length).then(|| {
            mapping.view.resized(grown.max(mapping.view.length()));
            (at, mapping.offset_at(address))
        })
    }

    /// A client unmapped addresses.
    pub(super) fn unmapped(&mut self, start: usize, end: usize) {
        self.cut(start, end, |_| {});
    }

    /// A client moved addresses.
    pub(super) fn moved(&mut self, from: usize, to: usize, length: usize) {
        let mut pieces = Vec::new();
        self.cut(from, from + length, |piece| pieces.push(piece));
        for mut piece in pieces {
            let address = piece.view.address() - from + to;
            piece.view.moved(address);
            self.add(piece);
        }
    }

    fn cut(&mut self, start: usize, end: usize, mut gone: impl FnMut(Mapping)) {
        let mut left = Vec::new();
        for slot in &mut self.mappings {
            let Some(mapping) = slot.take() else { continue };
            let first = mapping.view.address();
            if end <= first || first + mapping.view.length() <= start {
                *slot = Some(mapping);
                continue;
            }
            let Mapping {
                id,
                view,
                offset,
                streams,
            } = mapping;
            let piece = |view: ClientView| Mapping {
                id,
                offset: offset + (view.address() - first) as u64,
                view,
                streams: streams.clone(),
            };
            let [before, after, cut] = view.cut(start, end);
            *slot = before.map(piece);
            left.extend(after.map(piece));
            if let Some(view) = cut {
                gone(piece(view));
            }
        }
        for piece in left {
            self.add(piece);
        }
    }
}
