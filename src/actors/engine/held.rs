//! The page memory the core talks about by number: read from the store or returned by the kernel.

use std::sync::Arc;

use crate::backend::PageBuffer;
use crate::mach::{PageData, PageSlice};
use crate::object::{DataId, PageRange, PageSize};

/// Page memory, wherever it came from.
#[derive(Debug)]
pub enum PageMemory {
    /// A buffer that a read filled, or that a user offered.
    Buffer(PageBuffer),
    /// Pages that the kernel returned.
    Returned(PageData),
}

impl PageMemory {
    /// The bytes of all pages.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Buffer(buffer) => buffer,
            Self::Returned(data) => data.bytes(),
        }
    }
}

/// Some pages within a piece of page memory.
#[derive(Clone, Debug)]
pub struct HeldRun {
    memory: Arc<PageMemory>,
    /// The page that the first byte of `memory` belongs to.
    base: PageRange,
}

impl HeldRun {
    /// Memory that holds exactly the pages of `range`.
    pub fn new(range: PageRange, memory: PageMemory) -> Self {
        Self {
            memory: Arc::new(memory),
            base: range,
        }
    }

    /// The memory as a whole.
    pub fn memory(&self) -> &PageMemory {
        &self.memory
    }

    /// All pages in here.
    pub fn range(&self) -> PageRange {
        self.base
    }

    /// The bytes of `range`; empty where they are not in here.
    pub fn bytes(&self, range: PageRange, size: PageSize) -> &[u8] {
        let from = (range.start().0.wrapping_sub(self.base.start().0)) as usize * size.bytes() as usize;
        let length = range.bytes(size) as usize;
        self.memory
            .bytes()
            .get(from..from.wrapping_add(length))
            .unwrap_or_default()
    }

    /// The contents of `range` in the form that a supply takes.
    pub fn slice(&self, range: PageRange, size: PageSize) -> PageSlice<'_> {
        match &*self.memory {
            PageMemory::Returned(PageData::Cached { .. }) => PageSlice::Cached,
            PageMemory::Returned(PageData::Owned(_)) | PageMemory::Buffer(_) => {
                PageSlice::Bytes(self.bytes(range, size))
            }
        }
    }
}

#[derive(Debug)]
struct Slot {
    run: HeldRun,
    /// The pages that nobody is done with.
    left: Vec<PageRange>,
    /// Grows from one to the next.
    born: u64,
}

impl Slot {
    fn take(&mut self, part: PageRange) {
        let pieces = std::mem::take(&mut self.left);
        let rest = pieces.into_iter().flat_map(|piece| {
            let before = PageRange::new(piece.start(), piece.end().min(part.start()));
            let after = PageRange::new(piece.start().max(part.end()), piece.end());
            [before, after]
        });
        self.left = rest.filter(|piece| !piece.is_empty()).collect();
    }
}

/// Every piece of page memory in use, by [`DataId`].
#[derive(Debug, Default)]
pub struct HeldPages {
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    next: u64,
}

impl HeldPages {
    /// Takes the pages `range` of `run` in; each of them must be [`done`](Self::done) once.
    pub fn insert(&mut self, range: PageRange, run: HeldRun) -> DataId {
        self.next += 1;
        let slot = Some(Slot {
            run,
            left: vec![range],
            born: self.next,
        });
        if let Some(at) = self.free.pop() {
            self.slots[at as usize] = slot;
            return DataId(at);
        }
        self.slots.push(slot);
        DataId(self.slots.len() as u32 - 1)
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
        if !slot.left.is_empty() {
            return None;
        }
        let slot = entry.take()?;
        self.free.push(data.0);
        match Arc::into_inner(slot.run.memory)? {
            PageMemory::Buffer(buffer) => Some(buffer),
            PageMemory::Returned(_) => None,
        }
    }

    /// Returned pages that are nowhere else, not even with the kernel: in the order they came.
    pub fn only_here(&self, size: PageSize) -> Vec<(PageRange, Vec<u8>)> {
        let mut slots: Vec<&Slot> = self.slots.iter().flatten().collect();
        slots.sort_by_key(|slot| slot.born);
        let owned = |slot: &&Slot| matches!(slot.run.memory(), PageMemory::Returned(PageData::Owned(_)));
        slots
            .into_iter()
            .filter(owned)
            .flat_map(|slot| slot.left.iter().map(|&range| (range, &slot.run)))
            .map(|(range, run)| (range, run.bytes(range, size).to_vec()))
            .filter(|(range, bytes)| !range.is_empty() && !bytes.is_empty())
            .collect()
    }
}
