//! The page memory the core talks about by number: read from the store or returned by the kernel.

use std::sync::Arc;

use crate::backend::{PageBuffer, SharedBytes};
use crate::mach::{PageData, PageSlice};
use crate::object::{DataId, PageRange, PageSize};

/// Page memory, wherever it came from.
#[derive(Debug)]
pub enum PageMemory {
    /// A buffer that a read filled, or that a user offered.
    Buffer(PageBuffer),
    /// Pages that the kernel returned.
    Returned(PageData),
    /// Memory of the store's own.
    Shared(Lent),
}

/// Memory that a store lets be read where it lies.
#[derive(Debug)]
pub struct Lent(pub(super) SharedBytes);

impl PageMemory {
    /// The bytes of all pages.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Buffer(buffer) => buffer,
            Self::Returned(data) => data.bytes(),
            Self::Shared(Lent(shared)) => shared.bytes(),
        }
    }
}

/// Some pages within a piece of page memory.
#[derive(Clone, Debug)]
pub struct HeldRun {
    memory: Held,
    /// The page that the first byte of `memory` belongs to.
    base: PageRange,
}

/// What holds the memory.
#[derive(Clone, Debug)]
enum Held {
    /// Whoever has a part of it.
    Parts(Arc<PageMemory>),
    /// The kernel's cache: here it is only named.
    Cache(PageData),
}

impl HeldRun {
    /// Memory that holds exactly the pages of `range`.
    pub fn new(range: PageRange, memory: PageMemory) -> Self {
        let memory = match memory {
            PageMemory::Returned(data @ PageData::Cached { .. }) => Held::Cache(data),
            PageMemory::Returned(PageData::Owned(_)) | PageMemory::Buffer(_) | PageMemory::Shared(_) => {
                Held::Parts(Arc::new(memory))
            }
        };
        Self { memory, base: range }
    }

    /// The memory as a whole, if the kernel returned it.
    pub fn returned(&self) -> Option<&PageData> {
        match &self.memory {
            Held::Cache(data) => Some(data),
            Held::Parts(parts) => match &**parts {
                PageMemory::Returned(data) => Some(data),
                PageMemory::Buffer(_) | PageMemory::Shared(_) => None,
            },
        }
    }

    fn whole(&self) -> &[u8] {
        match &self.memory {
            Held::Cache(data) => data.bytes(),
            Held::Parts(parts) => parts.bytes(),
        }
    }

    /// All pages in here.
    pub fn range(&self) -> PageRange {
        self.base
    }

    /// The bytes of `range`; empty where they are not in here.
    pub fn bytes(&self, range: PageRange, size: PageSize) -> &[u8] {
        let from = (range.start().0.wrapping_sub(self.base.start().0)) as usize * size.bytes() as usize;
        let length = range.bytes(size) as usize;
        self.whole()
            .get(from..from.wrapping_add(length))
            .unwrap_or_default()
    }

    /// Copies the bytes of `range` into `buffer` where that is cheaper than looking at them, or where they
    /// must not be looked at, and the buffer has room for them.
    pub fn copy(&self, range: PageRange, size: PageSize, buffer: &mut PageBuffer) -> bool {
        let Held::Cache(PageData::Cached { memory, offset, .. }) = &self.memory else {
            return false;
        };
        let length = range.bytes(size) as usize;
        let from = offset + (range.offset(size) - self.base.offset(size));
        buffer.set_len(length) && memory.copy(from, buffer)
    }

    /// True if the bytes must be copied, as they may change at any time.
    pub fn is_live(&self) -> bool {
        matches!(&self.memory, Held::Cache(PageData::Cached { memory, .. }) if memory.is_live())
    }

    /// The contents of `range` in the form that a supply takes.
    pub fn slice(&self, range: PageRange, size: PageSize) -> PageSlice<'_> {
        match &self.memory {
            Held::Cache(_) => PageSlice::Cached,
            Held::Parts(_) => PageSlice::Bytes(self.bytes(range, size)),
        }
    }
}

#[derive(Debug)]
struct Slot {
    run: HeldRun,
    /// The pages that nobody is done with: the first run, and others where parts in the middle are done.
    left: PageRange,
    more: Vec<PageRange>,
    /// Grows from one to the next.
    born: u64,
}

impl Slot {
    fn take(&mut self, part: PageRange) {
        let first = std::mem::take(&mut self.left);
        // One piece is the rule, and needs no list.
        let pieces = std::iter::once(first).chain(std::mem::take(&mut self.more));
        let rest = pieces.flat_map(|piece| {
            let before = PageRange::new(piece.start(), piece.end().min(part.start()));
            let after = PageRange::new(piece.start().max(part.end()), piece.end());
            [before, after]
        });
        let mut rest = rest.filter(|piece| !piece.is_empty());
        self.left = rest.next().unwrap_or_default();
        self.more = rest.collect();
    }

    fn pieces(&self) -> impl Iterator<Item = PageRange> + '_ {
        std::iter::once(self.left).chain(self.more.iter().copied())
    }
}

/// Every piece of page memory in use, by [`DataId`].
#[derive(Debug, Default)]
pub struct HeldPages {
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    next: u64,
    /// Boxes of runs that are done with, so that in steady state none is made.
    boxes: Vec<Arc<PageMemory>>,
}

/// How many boxes are kept.
const KEPT_BOXES: usize = 16;

impl HeldPages {
    /// Takes the pages `range` of `run` in; each of them must be [`done`](Self::done) once.
    pub fn insert(&mut self, range: PageRange, run: HeldRun) -> DataId {
        self.next += 1;
        let slot = Some(Slot {
            run,
            left: range,
            more: Vec::new(),
            born: self.next,
        });
        if let Some(at) = self.free.pop() {
            self.slots[at as usize] = slot;
            return DataId(at);
        }
        self.slots.push(slot);
        DataId(self.slots.len() as u32 - 1)
    }

    /// A run of memory that holds exactly the pages of `range`.
    pub fn run(&mut self, range: PageRange, memory: PageMemory) -> HeldRun {
        let Some(mut kept) = self.boxes.pop() else {
            return HeldRun::new(range, memory);
        };
        match Arc::get_mut(&mut kept) {
            Some(place) => *place = memory,
            None => kept = Arc::new(memory),
        }
        HeldRun {
            memory: Held::Parts(kept),
            base: range,
        }
    }

    /// Gives the buffer back if nobody else uses it, and keeps its box.
    fn recycle(&mut self, memory: Held) -> Option<PageBuffer> {
        let Held::Parts(mut memory) = memory else {
            return None;
        };
        let place = Arc::get_mut(&mut memory)?;
        let was = std::mem::replace(place, PageMemory::Buffer(PageBuffer::zeroed(0)));
        if self.boxes.len() < KEPT_BOXES {
            self.boxes.push(memory);
        }
        match was {
            PageMemory::Buffer(buffer) => Some(buffer),
            PageMemory::Returned(_) | PageMemory::Shared(_) => None,
        }
    }

    /// The memory with this number.
    pub fn get(&self, data: DataId) -> Option<&HeldRun> {
        self.slots.get(data.0 as usize)?.as_ref().map(|slot| &slot.run)
    }

    /// The pages `range` of `data` are done with; gives the buffer back when nobody uses it.
    pub fn done(&mut self, data: DataId, range: PageRange) -> Option<PageBuffer> {
        let entry = self.slots.get_mut(data.0 as usize)?;
        let slot = entry.as_mut()?;
        slot.take(range);
        if !slot.left.is_empty() || !slot.more.is_empty() {
            return None;
        }
        let slot = entry.take()?;
        self.free.push(data.0);
        self.recycle(slot.run.memory)
    }

    /// Returned pages that are nowhere else, not even with the kernel: in the order they came.
    pub fn only_here(&self, size: PageSize) -> Vec<(PageRange, Vec<u8>)> {
        let mut slots: Vec<&Slot> = self.slots.iter().flatten().collect();
        slots.sort_by_key(|slot| slot.born);
        let owned = |slot: &&Slot| matches!(slot.run.returned(), Some(PageData::Owned(_)));
        slots
            .into_iter()
            .filter(owned)
            .flat_map(|slot| slot.pieces().map(move |range| (range, &slot.run)))
            .map(|(range, run)| (range, run.bytes(range, size).to_vec()))
            .filter(|(range, bytes)| !range.is_empty() && !bytes.is_empty())
            .collect()
    }
}
