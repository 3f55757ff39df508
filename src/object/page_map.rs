//! Page states of a whole object, two-level and sparse.
//!
//! A leaf covers 4096 pages. While few of them were touched it is a sorted list of four bytes a
//! page; from 2048 on it is an array of two bytes a page, so never more than 8 KiB either way.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::ops::RangeInclusive;

use super::page::Page;
use super::{NumberHasher, PageIndex, PageRange};

const LEAF_SHIFT: u32 = 12;
const LEAF_PAGES: usize = 1 << LEAF_SHIFT;
const SPARSE_MAX: usize = LEAF_PAGES / 2;

/// The pages of an object that are not as they were at first.
#[derive(Clone, Debug, Default)]
pub(crate) struct PageMap {
    leaves: HashMap<u64, Leaf, BuildHasherDefault<NumberHasher>>,
    /// How many pages are busy.
    busy: u64,
    /// The page that was asked for last, packed: one event asks for the same page many times.
    last: Cell<(PageIndex, u16)>,
}

#[derive(Clone, Debug)]
enum Leaf {
    /// Position within the leaf and packed page, sorted.
    Sparse(Vec<(u16, u16)>),
    Dense(Box<[u16; LEAF_PAGES]>),
}

impl PageMap {
    pub(crate) fn get(&self, page: PageIndex) -> Page {
        let (last, bits) = self.last.get();
        if last == page {
            return Page::unpack(bits);
        }
        let (leaf, position) = split(page);
        let bits = self.leaves.get(&leaf).map_or(0, |leaf| leaf.get(position));
        self.last.set((page, bits));
        Page::unpack(bits)
    }

    pub(crate) fn set(&mut self, page: PageIndex, value: Page) {
        let (index, position) = split(page);
        let bits = value.pack();
        if self.last.get() == (page, bits) {
            return;
        }
        self.last.set((page, bits));
        let before = if bits != 0 {
            let leaf = self.leaves.entry(index).or_insert(Leaf::Sparse(Vec::new()));
            leaf.set(position, bits)
        } else {
            self.clear(index, position)
        };
        self.busy += u64::from(Page::is_busy_packed(bits));
        self.busy -= u64::from(Page::is_busy_packed(before));
    }

    fn clear(&mut self, index: u64, position: u16) -> u16 {
        let Some(leaf) = self.leaves.get_mut(&index) else {
            return 0;
        };
        let before = leaf.clear(position);
        if leaf.is_empty() {
            self.leaves.remove(&index);
        }
        before
    }

    /// How many pages are busy.
    pub(crate) fn busy(&self) -> u64 {
        self.busy
    }

    /// The pages of `range` of which something is known, in order, appended to `into`.
    pub(crate) fn known(&self, range: PageRange, into: &mut Vec<PageIndex>) {
        if range.is_empty() {
            return;
        }
        let leaves = range.start().0 >> LEAF_SHIFT..=(range.end().0 - 1) >> LEAF_SHIFT;
        let visit = |index: u64, leaf: &Leaf| {
            leaf.for_each(|position| {
                let page = PageIndex(index << LEAF_SHIFT | u64::from(position));
                if range.contains(page) {
                    into.push(page);
                }
            });
        };
        self.leaves_in(leaves, visit);
    }

    /// The leaves with these numbers, in order.
    fn leaves_in(&self, numbers: RangeInclusive<u64>, mut visit: impl FnMut(u64, &Leaf)) {
        if numbers.end() - numbers.start() < self.leaves.len() as u64 {
            for number in numbers {
                if let Some(leaf) = self.leaves.get(&number) {
                    visit(number, leaf);
                }
            }
            return;
        }
        let within = |(number, _): &(&u64, &Leaf)| numbers.contains(number);
        let mut leaves: Vec<_> = self.leaves.iter().filter(within).collect();
        leaves.sort_unstable_by_key(|&(&number, _)| number);
        leaves.into_iter().for_each(|(&number, leaf)| visit(number, leaf));
    }

    /// Bytes held for the states, unused capacity and that of the table of leaves included.
    pub(crate) fn bytes(&self) -> usize {
        // A table has one byte for each place beside the entries, 16 of them twice, and is never more than seven
        // eighths full.
        let places = (self.leaves.capacity() * 8).div_ceil(7);
        let table = places * (size_of::<(u64, Leaf)>() + 1) + 16;
        table + self.leaves.values().map(Leaf::bytes).sum::<usize>()
    }
}

fn split(page: PageIndex) -> (u64, u16) {
    (page.0 >> LEAF_SHIFT, (page.0 & (LEAF_PAGES as u64 - 1)) as u16)
}

impl Leaf {
    fn get(&self, position: u16) -> u16 {
        match self {
            Self::Sparse(list) => match list.binary_search_by_key(&position, |entry| entry.0) {
                Ok(at) => list[at].1,
                Err(_) => 0,
            },
            Self::Dense(array) => array[usize::from(position)],
        }
    }

    /// Sets a page; returns what it was before.
    fn set(&mut self, position: u16, bits: u16) -> u16 {
        match self {
            Self::Sparse(list) => match list.binary_search_by_key(&position, |entry| entry.0) {
                Ok(at) => std::mem::replace(&mut list[at].1, bits),
                Err(_) if list.len() == SPARSE_MAX => {
                    self.make_dense();
                    self.set(position, bits)
                }
                Err(at) => {
                    reserve_tightly(list);
                    list.insert(at, (position, bits));
                    0
                }
            },
            Self::Dense(array) => std::mem::replace(&mut array[usize::from(position)], bits),
        }
    }

    /// Forgets a page; returns what it was before.
    fn clear(&mut self, position: u16) -> u16 {
        match self {
            Self::Sparse(list) => match list.binary_search_by_key(&position, |entry| entry.0) {
                Ok(at) => list.remove(at).1,
                Err(_) => 0,
            },
            Self::Dense(array) => std::mem::take(&mut array[usize::from(position)]),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Sparse(list) => list.is_empty(),
            // One comparison of memory, not one for each page: it is made whenever a page is forgotten.
            Self::Dense(array) => **array == [0; LEAF_PAGES],
        }
    }

    fn make_dense(&mut self) {
        let mut array = Box::new([0; LEAF_PAGES]);
        self.for_each(|position| array[usize::from(position)] = self.get(position));
        *self = Self::Dense(array);
    }

    fn for_each(&self, mut visit: impl FnMut(u16)) {
        match self {
            Self::Sparse(list) => list.iter().for_each(|entry| visit(entry.0)),
            Self::Dense(array) => (0..LEAF_PAGES as u16)
                .filter(|&position| array[usize::from(position)] != 0)
                .for_each(visit),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Sparse(list) => list.capacity() * size_of::<(u16, u16)>(),
            Self::Dense(_) => size_of::<[u16; LEAF_PAGES]>(),
        }
    }
}

/// Grows by an eighth instead of doubling: memory matters more here than a few more copies.
fn reserve_tightly(list: &mut Vec<(u16, u16)>) {
    if list.len() == list.capacity() {
        list.reserve_exact((list.len() / 8).max(2));
    }
}
