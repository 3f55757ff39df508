//! Copies of an object's pages (`vm_map` with copy, `vm_copy`).

use std::collections::BTreeMap;

use super::machine::Machine;
use super::object::{Mapping, Object};
use crate::mach::{Touch, Upcall};
use crate::object::{CopyStrategy, PageIndex, PageRange, Prot};

/// The pages of a copy that differ from the object's, or that must not follow it.
#[derive(Clone, Debug, Default)]
pub(super) struct PrivateCopy {
    pages: BTreeMap<PageIndex, Vec<u8>>,
    /// The pages still to be copied before the mapping can be used: all of them, at first, where
    /// the copy strategy is none.
    eager: PageRange,
    /// Made at once: when it is complete, it needs the object no more.
    at_once: bool,
}

impl PrivateCopy {
    /// True if nothing is left that must be taken from the object.
    pub(super) fn is_complete(&self) -> bool {
        self.at_once && self.eager.is_empty()
    }
}

impl Object {
    /// Gives every delayed copy that needs it its own copy of a page that is about to change.
    pub(super) fn preserve_copies(&mut self, index: PageIndex) {
        let Some(page) = self.pages.get(&index).filter(|page| page.is_resident()) else {
            return;
        };
        let copies = self
            .mappings
            .values_mut()
            .filter(|mapping| mapping.range.contains(index));
        for copy in copies.filter_map(|mapping| mapping.copy.as_mut()) {
            copy.pages.entry(index).or_insert_with(|| page.bytes.clone());
        }
    }
}

impl Machine {
    /// Maps a copy of some pages, made as the object's copy strategy says. The new mapping may
    /// belong to another object: the one the pager is told of.
    pub(super) fn map_copy(&mut self, id: u64, range: PageRange, prot: Prot) -> (u64, u64) {
        self.begin_use(id);
        let strategy = self.objects.get(&id).map(|object| object.copy_strategy);
        let eager = match strategy {
            Some(CopyStrategy::Call) => return self.copy_by_pager(id, range, prot),
            None | Some(CopyStrategy::None) => range,
            Some(CopyStrategy::Delay | CopyStrategy::Temporary) => PageRange::default(),
        };
        let at_once = !eager.is_empty();
        let copy = Some(PrivateCopy {
            pages: BTreeMap::new(),
            eager,
            at_once,
        });
        (id, self.add_mapping(id, Mapping { range, prot, copy }))
    }

    fn copy_by_pager(&mut self, id: u64, range: PageRange, prot: Prot) -> (u64, u64) {
        let Some(spec) = self.objects.get(&id).map(|object| object.spec.clone()) else {
            return (id, 0);
        };
        let new = self.create(spec);
        let new_object = self
            .objects
            .get(&new)
            .map(|object| object.port)
            .unwrap_or_default();
        if let Some(object) = self.objects.get_mut(&id) {
            let (control, size) = (object.control, object.spec.page_size);
            let (offset, length) = (range.offset(size), range.bytes(size));
            object.send(Upcall::Copy {
                control,
                offset,
                length,
                new_object,
            });
            for (_, page) in object.pages.range_mut(range.start()..range.end()) {
                page.lock = page.lock.union(Prot::WRITE);
            }
        }
        self.begin_use(new);
        let pages = PageRange::with_len(PageIndex(0), range.len());
        (
            new,
            self.add_mapping(
                new,
                Mapping {
                    range: pages,
                    prot,
                    copy: None,
                },
            ),
        )
    }

    /// Goes on copying a mapping whose object is copied at once.
    pub(super) fn copy_eagerly(&mut self, id: u64, mapping: u64) -> Touch {
        while let Some(page) = self.next_eager(id, mapping) {
            match self.touch(id, PageRange::single(page), Prot::READ) {
                Touch::Ready => self.keep_page(id, mapping, page),
                other @ (Touch::Pending | Touch::Failed { .. }) => return other,
            }
        }
        self.end_use(id);
        Touch::Ready
    }

    fn next_eager(&self, id: u64, mapping: u64) -> Option<PageIndex> {
        let copy = self.mapping(id, mapping)?.copy.as_ref()?;
        (!copy.eager.is_empty()).then(|| copy.eager.start())
    }

    fn keep_page(&mut self, id: u64, mapping: u64, index: PageIndex) {
        self.used(id, index);
        let Some(object) = self.objects.get_mut(&id) else {
            return;
        };
        let bytes = object.resident(index).map(|page| page.bytes.clone());
        let copy = object
            .mappings
            .get_mut(&mapping)
            .and_then(|mapping| mapping.copy.as_mut());
        if let (Some(copy), Some(bytes)) = (copy, bytes) {
            copy.pages.entry(index).or_insert(bytes);
            if copy.eager.start() == index {
                copy.eager = PageRange::new(index.next(), copy.eager.end());
            }
        }
    }

    /// Wants one page of a mapped copy.
    pub(super) fn touch_copy(&mut self, id: u64, mapping: u64, index: PageIndex, access: Prot) -> Touch {
        match self.copy_eagerly(id, mapping) {
            Touch::Ready => {}
            other @ (Touch::Pending | Touch::Failed { .. }) => return other,
        }
        if self.private_page(id, mapping, index).is_some() {
            return Touch::Ready;
        }
        let touch = self.touch(id, PageRange::single(index), Prot::READ);
        if touch == Touch::Ready && access.writes() {
            self.keep_page(id, mapping, index);
        }
        touch
    }

    /// The bytes of a page of a mapped copy that `touch_copy` found ready.
    pub(super) fn copy_bytes(&self, id: u64, mapping: u64, index: PageIndex) -> Option<&[u8]> {
        let shared = || Some(self.objects.get(&id)?.resident(index)?.bytes.as_slice());
        self.private_page(id, mapping, index).or_else(shared)
    }

    /// The bytes of a page of a mapped copy that `touch_copy` found ready for writing.
    pub(super) fn copy_bytes_mut(&mut self, id: u64, mapping: u64, index: PageIndex) -> Option<&mut [u8]> {
        let mapping = self.objects.get_mut(&id)?.mappings.get_mut(&mapping)?;
        Some(mapping.copy.as_mut()?.pages.get_mut(&index)?.as_mut_slice())
    }

    fn private_page(&self, id: u64, mapping: u64, index: PageIndex) -> Option<&[u8]> {
        let copy = self.mapping(id, mapping)?.copy.as_ref()?;
        copy.pages.get(&index).map(Vec::as_slice)
    }

    pub(super) fn mapping(&self, id: u64, mapping: u64) -> Option<&Mapping> {
        self.objects.get(&id)?.mappings.get(&mapping)
    }

    pub(super) fn add_mapping(&mut self, id: u64, mapping: Mapping) -> u64 {
        let number = self.fresh();
        if let Some(object) = self.objects.get_mut(&id) {
            object.mappings.insert(number, mapping);
        }
        number
    }
}
