//! What the kernel knows of each page: one byte, in a sparse two-level table.

use super::journal::Journal;
use crate::object::{PageIndex, PageRange};

/// The facts of a page, as bits of one byte.
pub(super) mod flag {
    /// In the memfd, and clients may have it.
    pub(in super::super) const RESIDENT: u8 = 1;
    /// Written to since it was supplied or last handed back.
    pub(in super::super) const DIRTY: u8 = 2;
    /// To be handed back even when clean.
    pub(in super::super) const PRECIOUS: u8 = 4;
    /// Writers must ask the pager.
    pub(in super::super) const WRITE_LOCKED: u8 = 8;
    /// Handed to the pager and not yet released; the page stays in the memfd.
    pub(in super::super) const LENT: u8 = 16;
    /// Being written to the store: nobody may change it.
    pub(in super::super) const WRITING: u8 = 32;
    /// Lent, and the store does not have it yet.
    pub(in super::super) const UNSAVED: u8 = 64;
    /// In the journal only: an error marker was set in another process.
    pub(in super::super) const MARKED: u8 = 128;
}
use flag::{DIRTY, LENT, RESIDENT};

/// Pages per chunk: few, so that a page alone in its part of a sparse object does not cost a page of memory.
const CHUNK: u64 = 512;

#[derive(Debug)]
struct Chunk {
    used: u32,
    pages: [u8; CHUNK as usize],
}

/// The states of an object's pages. A page without an entry is absent.
#[derive(Debug, Default)]
pub(super) struct PageTable {
    chunks: Vec<Option<Box<Chunk>>>,
    resident: u64,
    dirty: u64,
    away: u64,
    lent: u64,
    /// Where the bits outlive this process.
    journal: Option<Journal>,
}

fn is_away(bits: u8) -> bool {
    bits & (LENT | RESIDENT) == LENT
}

impl PageTable {
    /// The bits of a page; 0 if it is absent.
    pub(super) fn get(&self, page: PageIndex) -> u8 {
        match self.chunks.get((page.0 / CHUNK) as usize) {
            Some(Some(chunk)) => chunk.pages[(page.0 % CHUNK) as usize],
            Some(None) | None => 0,
        }
    }

    /// True if the page has all of these bits.
    pub(super) fn has(&self, page: PageIndex, bits: u8) -> bool {
        self.get(page) & bits == bits
    }

    /// From now on every change is written to `journal`, too.
    pub(super) fn keep(&mut self, journal: Journal) {
        self.journal = Some(journal);
    }

    /// Tells the journal what a page is about to become; [`settle`](Self::settle) takes it back.
    pub(super) fn foretell(&self, page: PageIndex, bits: u8) {
        if let Some(journal) = &self.journal {
            journal.put(page, self.get(page) | bits);
        }
    }

    /// The journal says what the table says.
    pub(super) fn settle(&self, page: PageIndex) {
        if let Some(journal) = &self.journal {
            journal.put(page, self.get(page));
        }
    }

    /// Sets the bits of a page.
    pub(super) fn put(&mut self, page: PageIndex, bits: u8) {
        let at = (page.0 / CHUNK) as usize;
        if let Some(journal) = &self.journal {
            journal.put(page, bits);
        }
        if bits == 0 && self.get(page) == 0 {
            return;
        }
        if at >= self.chunks.len() {
            self.chunks.resize_with(at + 1, || None);
        }
        let chunk = self.chunks[at].get_or_insert_with(|| {
            Box::new(Chunk {
                used: 0,
                pages: [0; CHUNK as usize],
            })
        });
        let old = std::mem::replace(&mut chunk.pages[(page.0 % CHUNK) as usize], bits);
        chunk.used = chunk.used + u32::from(bits != 0) - u32::from(old != 0);
        if chunk.used == 0 {
            self.chunks[at] = None;
        }
        let change = |count: &mut u64, is: fn(u8) -> bool| {
            *count = *count + u64::from(is(bits)) - u64::from(is(old));
        };
        change(&mut self.resident, |bits| bits & (RESIDENT | LENT) != 0);
        change(&mut self.dirty, |bits| {
            bits & (RESIDENT | DIRTY) == RESIDENT | DIRTY
        });
        change(&mut self.away, is_away);
        change(&mut self.lent, |bits| bits & LENT != 0);
    }

    /// Adds bits.
    pub(super) fn set(&mut self, page: PageIndex, bits: u8) {
        self.put(page, self.get(page) | bits);
    }

    /// Takes bits away.
    pub(super) fn clear(&mut self, page: PageIndex, bits: u8) {
        self.put(page, self.get(page) & !bits);
    }

    /// The first page of `range` with any bit, and its bits.
    pub(super) fn first(&self, range: PageRange) -> Option<(PageIndex, u8)> {
        let mut page = range.start().0;
        while page < range.end().0 {
            let at = (page / CHUNK) as usize;
            let end = (page / CHUNK + 1) * CHUNK;
            match self.chunks.get(at) {
                None => return None,
                Some(None) => page = end,
                Some(Some(chunk)) => {
                    let stop = end.min(range.end().0);
                    let found = (page..stop).find(|page| chunk.pages[(page % CHUNK) as usize] != 0);
                    if let Some(page) = found {
                        return Some((PageIndex(page), chunk.pages[(page % CHUNK) as usize]));
                    }
                    page = stop;
                }
            }
        }
        None
    }

    /// The first run of at most `most` pages of `range` for which `kind` gives the same value.
    pub(super) fn first_run<K: PartialEq>(
        &self,
        range: PageRange,
        most: u64,
        kind: impl Fn(u8) -> Option<K>,
    ) -> Option<(PageRange, K)> {
        let mut rest = range;
        loop {
            let (start, bits) = self.first(rest)?;
            rest = PageRange::new(start.next(), range.end());
            let Some(this) = kind(bits) else { continue };
            let limit = PageRange::with_len(start, most).intersection(range);
            let same = limit
                .iter()
                .take_while(|&page| kind(self.get(page)).as_ref() == Some(&this));
            return Some((PageRange::with_len(start, same.count() as u64), this));
        }
    }

    /// Pages that take memory: resident, or lent.
    pub(super) fn resident(&self) -> u64 {
        self.resident
    }

    /// Pages that are resident and dirty.
    pub(super) fn dirty(&self) -> u64 {
        self.dirty
    }

    /// Pages that the pager holds while clients may have them.
    pub(super) fn kept(&self) -> u64 {
        self.lent - self.away
    }

    /// Pages that clients may not have, but that the pager still holds.
    pub(super) fn away(&self) -> u64 {
        self.away
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> PageRange {
        PageRange::new(PageIndex(start), PageIndex(end))
    }

    #[test]
    fn runs_stop_where_the_kind_changes_and_at_holes() {
        let mut table = PageTable::default();
        for page in [1, 2, 3, 5, 4097, 4098] {
            table.put(PageIndex(page), RESIDENT);
        }
        table.set(PageIndex(3), DIRTY);
        let kind = |bits| (bits & RESIDENT != 0).then_some(bits & DIRTY != 0);
        let all = range(0, 1 << 28);
        assert_eq!(table.first_run(all, 256, kind), Some((range(1, 3), false)));
        assert_eq!(
            table.first_run(range(3, 4000), 256, kind),
            Some((range(3, 4), true))
        );
        assert_eq!(
            table.first_run(range(6, 1 << 28), 1, kind),
            Some((range(4097, 4098), false))
        );
        assert_eq!((table.resident(), table.dirty()), (6, 1));
    }

    #[test]
    fn emptied_chunks_are_given_back() {
        let mut table = PageTable::default();
        table.put(PageIndex(1 << 27), RESIDENT | DIRTY);
        table.put(PageIndex(1 << 27), 0);
        assert!(table.chunks.iter().all(Option::is_none));
        assert_eq!((table.resident(), table.dirty()), (0, 0));
    }
}
