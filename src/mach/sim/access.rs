//! Clients' loads and stores.

use std::task::Poll;

use super::machine::Machine;
use crate::mach::{Residency, Touch};
use crate::object::{PageError, PageIndex, PageRange, Prot};

/// Why a load or a store did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// The page cannot be had (`KERN_MEMORY_ERROR`).
    #[error("page {page:?} cannot be had")]
    Memory {
        /// The page.
        page: PageIndex,
        /// The reason.
        #[source]
        error: PageError,
    },
    /// The mapping does not allow the access (`KERN_PROTECTION_FAILURE`).
    #[error("page {page:?} is not mapped for this access")]
    Protection {
        /// The page.
        page: PageIndex,
    },
    /// The page is not mapped (`KERN_INVALID_ADDRESS`).
    #[error("page {page:?} is not mapped")]
    NotMapped {
        /// The page.
        page: PageIndex,
    },
}

/// The part of an access that lies in one page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) page: PageIndex,
    /// Where it begins in the page.
    pub(super) at: usize,
    /// Where it begins in the caller's buffer.
    pub(super) from: usize,
    pub(super) length: usize,
}

/// Cuts an access at page borders.
pub(super) fn pieces(page_size: u64, offset: u64, length: usize) -> impl Iterator<Item = Piece> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let here = offset.checked_add(from as u64).filter(|_| from < length)?;
        let at = (here % page_size) as usize;
        let piece_length = (page_size as usize - at).min(length - from);
        let piece = Piece {
            page: PageIndex(here / page_size),
            at,
            from,
            length: piece_length,
        };
        from += piece_length;
        Some(piece)
    })
}

pub(super) fn page_size(machine: &Machine, id: u64) -> u64 {
    machine
        .objects
        .get(&id)
        .map_or(4096, |object| object.spec.page_size.bytes())
}

pub(super) fn byte_length(machine: &Machine, id: u64, range: PageRange) -> usize {
    (range.len() * page_size(machine, id)) as usize
}

/// Copies out of resident pages; `None` if one is not resident.
pub(super) fn copy_out(machine: &mut Machine, id: u64, offset: u64, into: &mut [u8]) -> Option<()> {
    for piece in pieces(page_size(machine, id), offset, into.len()) {
        let page = machine.objects.get_mut(&id)?.resident_mut(piece.page)?;
        page.grace = 0;
        let target = &mut into[piece.from..piece.from + piece.length];
        target.copy_from_slice(page.bytes.get(piece.at..piece.at + piece.length)?);
    }
    Some(())
}

/// Copies into resident pages and makes them dirty; `None` if one is not resident.
pub(super) fn copy_in(machine: &mut Machine, id: u64, offset: u64, from: &[u8]) -> Option<()> {
    for piece in pieces(page_size(machine, id), offset, from.len()) {
        let object = machine.objects.get_mut(&id)?;
        object.preserve_copies(piece.page);
        let page = object.resident_mut(piece.page)?;
        page.dirty = true;
        page.grace = 0;
        let target = page.bytes.get_mut(piece.at..piece.at + piece.length)?;
        target.copy_from_slice(&from[piece.from..piece.from + piece.length]);
    }
    Some(())
}

impl Machine {
    /// Wants one page of a mapping, in the pages of the object.
    pub(super) fn touch_mapped(
        &mut self,
        id: u64,
        number: u64,
        page: PageIndex,
        access: Prot,
    ) -> Poll<Result<(), AccessError>> {
        let Some(mapping) = self
            .mapping(id, number)
            .filter(|mapping| mapping.range.contains(page))
        else {
            return Poll::Ready(Err(AccessError::NotMapped { page }));
        };
        if !mapping.prot.contains(access) {
            return Poll::Ready(Err(AccessError::Protection { page }));
        }
        let touch = if mapping.copy.is_some() {
            self.touch_copy(id, number, page, access)
        } else {
            self.touch(id, PageRange::single(page), access)
        };
        as_poll(touch)
    }

    /// Wants pages for the pager's own copies: that uses the object like a mapping.
    pub(super) fn touch_by_pager(&mut self, id: u64, range: PageRange, access: Prot) -> Touch {
        if let Some(object) = self.objects.get_mut(&id) {
            object.used_unmapped = true;
        }
        self.touch(id, range, access)
    }

    /// Takes a mapping down; false if there is no such mapping.
    pub(super) fn unmap(&mut self, id: u64, number: u64) -> bool {
        let Some(object) = self.objects.get_mut(&id) else {
            return false;
        };
        let known = object.mappings.remove(&number).is_some();
        if !object.is_mapped() {
            object.used_unmapped = false;
        }
        self.end_use(id);
        known
    }

    /// The pager is done with pages of a return.
    pub(super) fn release(&mut self, id: u64, range: PageRange) {
        if let Some(object) = self.objects.get_mut(&id) {
            range.iter().for_each(|page| object.end_loan(page));
        }
    }

    pub(super) fn residency(&self, id: u64) -> Residency {
        let mut residency = Residency::default();
        for page in self
            .objects
            .get(&id)
            .into_iter()
            .flat_map(|object| object.pages.values())
        {
            residency.resident += u64::from(page.is_resident());
            residency.dirty += u64::from(page.is_resident() && page.dirty);
        }
        residency
    }
}

pub(super) fn as_poll(touch: Touch) -> Poll<Result<(), AccessError>> {
    match touch {
        Touch::Ready => Poll::Ready(Ok(())),
        Touch::Pending => Poll::Pending,
        Touch::Failed { page, error } => Poll::Ready(Err(AccessError::Memory { page, error })),
    }
}
