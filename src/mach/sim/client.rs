//! The threads that touch an object's pages, and whatever else a test does to a kernel.

use std::task::Poll;

use super::SimHost;
use super::access::{self, AccessError, Piece, pieces};
use super::machine::Machine;
use super::object::{Mapping, Stage};
use super::page::Page;
use crate::mach::{RawMapping, Residency};
use crate::object::{CopyStrategy, PageIndex, PageRange, PortName, Prot, ShouldReturn};

/// Plays the clients of one object; clones play the same clients.
#[derive(Clone, Debug)]
pub struct SimClient {
    pub(super) host: SimHost,
    pub(super) id: u64,
    most: Prot,
}

/// A mapping made by a [`SimClient`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SimMapping {
    object: u64,
    number: u64,
}

impl SimMapping {
    /// Which, among the mappings of its kernel.
    pub fn number(self) -> u64 {
        self.number
    }
}

/// What the kernel knows of a page that is in its cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimPage {
    /// Written to since it was supplied or returned.
    pub dirty: bool,
    /// To be returned even when clean.
    pub precious: bool,
    /// The accesses prohibited.
    pub lock: Prot,
}

impl SimPage {
    fn of(page: &Page) -> Self {
        let Page {
            dirty,
            precious,
            lock,
            ..
        } = *page;
        Self {
            dirty,
            precious,
            lock,
        }
    }
}

/// An object's attributes (`memory_object_get_attributes`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimAttributes {
    /// The pager answers faults.
    pub ready: bool,
    /// Pages stay when the last mapping goes.
    pub may_cache: bool,
    /// How copies are made.
    pub copy_strategy: CopyStrategy,
}

impl SimClient {
    pub(super) fn new(host: SimHost, id: u64) -> Self {
        Self {
            host,
            id,
            most: Prot::from_bits(7),
        }
    }

    /// A client that was given a read-only proxy of the port: its mappings allow no writing.
    pub fn read_only(&self) -> Self {
        Self {
            most: Prot::READ,
            ..self.clone()
        }
    }

    /// The kernel this client is in.
    pub fn host(&self) -> &SimHost {
        &self.host
    }

    /// The object's own port.
    pub fn port(&self) -> PortName {
        let port = |machine: &mut Machine| machine.objects.get(&self.id).map(|object| object.port);
        self.host.with(port).unwrap_or_default()
    }

    /// Maps pages (`vm_map`); a protection that the port does not allow is reduced.
    pub fn map(&self, range: PageRange, prot: Prot) -> SimMapping {
        let prot = Prot::from_bits(prot.bits() & self.most.bits());
        let number = self.host.with(|machine| {
            machine.begin_use(self.id);
            machine.add_mapping(
                self.id,
                Mapping {
                    range,
                    prot,
                    copy: None,
                },
            )
        });
        SimMapping {
            object: self.id,
            number,
        }
    }

    /// Maps a copy of pages (`vm_map` with copy), made as the copy strategy says.
    pub fn map_copy(&self, range: PageRange, prot: Prot) -> SimMapping {
        let (object, number) = self.host.with(|machine| machine.map_copy(self.id, range, prot));
        SimMapping { object, number }
    }

    /// A mapping that the pager made, such as a copy.
    pub fn mapping_of(&self, raw: &RawMapping) -> SimMapping {
        SimMapping {
            object: self.id,
            number: raw.id,
        }
    }

    /// How far a copy is that is made at once: pending while pages are still asked for.
    pub fn poll_copy(&self, mapping: SimMapping) -> Poll<Result<(), AccessError>> {
        let SimMapping { object, number } = mapping;
        access::as_poll(self.host.with(|machine| machine.copy_eagerly(object, number)))
    }

    /// Takes a mapping down (`vm_deallocate`); false if it is not there.
    pub fn unmap(&self, mapping: SimMapping) -> bool {
        self.host
            .with(|machine| machine.unmap(mapping.object, mapping.number))
    }

    /// What a mapping shows and allows.
    pub fn mapping(&self, mapping: SimMapping) -> Option<(PageRange, Prot)> {
        let SimMapping { object, number } = mapping;
        let found = |machine: &mut Machine| machine.mapping(object, number).map(|m| (m.range, m.prot));
        self.host.with(found)
    }

    /// Loads bytes at an offset of the object; pending until the pager has answered: then try again.
    pub fn try_read(
        &self,
        mapping: SimMapping,
        offset: u64,
        into: &mut [u8],
    ) -> Poll<Result<(), AccessError>> {
        self.host.with(|machine| {
            for piece in pieces(access::page_size(machine, mapping.object), offset, into.len()) {
                match read_piece(machine, mapping, piece, into) {
                    Poll::Ready(Ok(())) => {}
                    other @ (Poll::Ready(Err(_)) | Poll::Pending) => return other,
                }
            }
            Poll::Ready(Ok(()))
        })
    }

    /// Stores bytes at an offset of the object; pending until the pager has answered: then try again.
    pub fn try_write(&self, mapping: SimMapping, offset: u64, from: &[u8]) -> Poll<Result<(), AccessError>> {
        self.host.with(|machine| {
            for piece in pieces(access::page_size(machine, mapping.object), offset, from.len()) {
                match write_piece(machine, mapping, piece, from) {
                    Poll::Ready(Ok(())) => {}
                    other @ (Poll::Ready(Err(_)) | Poll::Pending) => return other,
                }
            }
            Poll::Ready(Ok(()))
        })
    }

    /// Loads bytes; the thread stops until the pager has answered.
    pub fn read(&self, mapping: SimMapping, offset: u64, into: &mut [u8]) -> Result<(), AccessError> {
        let page_size = self
            .host
            .with(|machine| access::page_size(machine, mapping.object));
        for piece in pieces(page_size, offset, into.len()) {
            self.host
                .block_on(|machine| read_piece(machine, mapping, piece, into))?;
        }
        Ok(())
    }

    /// Stores bytes; the thread stops until the pager has answered.
    pub fn write(&self, mapping: SimMapping, offset: u64, from: &[u8]) -> Result<(), AccessError> {
        let page_size = self
            .host
            .with(|machine| access::page_size(machine, mapping.object));
        for piece in pieces(page_size, offset, from.len()) {
            self.host
                .block_on(|machine| write_piece(machine, mapping, piece, from))?;
        }
        Ok(())
    }

    /// Memory pressure takes these pages, as far as it may; says how many it took.
    pub fn evict(&self, range: PageRange) -> u64 {
        self.host.with(|machine| {
            range
                .iter()
                .filter(|page| machine.press_on(self.id, *page))
                .count() as u64
        })
    }

    /// Wires a resident page: it is neither evicted nor flushed (`vm_wire`).
    pub fn wire(&self, page: PageIndex, wired: bool) -> bool {
        self.host.with(|machine| {
            let object = machine.objects.get_mut(&self.id);
            let page = object.and_then(|object| object.resident_mut(page));
            page.map(|page| page.wired = wired).is_some()
        })
    }

    /// Makes the kernel return or drop pages without a completion (`vm_object_sync`, `vm_msync`).
    pub fn sync(&self, range: PageRange, should_return: bool, flush: bool) {
        use super::returns::LockOrder;
        let should_return = if should_return {
            ShouldReturn::All
        } else {
            ShouldReturn::None
        };
        let order = LockOrder {
            pages: range,
            should_return,
            flush,
            lock: Prot::NO_CHANGE,
        };
        self.host.with(|machine| machine.lock_pages(self.id, order));
    }

    /// What the kernel knows of a page; `None` if it has no bytes of it.
    pub fn page(&self, page: PageIndex) -> Option<SimPage> {
        self.host
            .with(|machine| machine.objects.get(&self.id)?.resident(page).map(SimPage::of))
    }

    /// The bytes of a page that is in the cache, without touching it.
    pub fn peek(&self, page: PageIndex) -> Option<Vec<u8>> {
        self.host
            .with(|machine| Some(machine.objects.get(&self.id)?.resident(page)?.bytes.clone()))
    }

    /// True if the mapping shows pages of this object.
    pub fn owns(&self, mapping: SimMapping) -> bool {
        mapping.object == self.id
    }

    /// Every page that is in the cache.
    pub fn pages(&self) -> Vec<(PageIndex, SimPage)> {
        self.host.with(|machine| {
            let pages = machine
                .objects
                .get(&self.id)
                .into_iter()
                .flat_map(|object| &object.pages);
            let resident = pages.filter(|(_, page)| page.is_resident());
            resident
                .map(|(index, page)| (*index, SimPage::of(page)))
                .collect()
        })
    }

    /// The pages that were asked for and neither supplied nor refused.
    pub fn awaited(&self) -> Vec<PageIndex> {
        self.host.with(|machine| {
            let pages = machine
                .objects
                .get(&self.id)
                .into_iter()
                .flat_map(|object| &object.pages);
            pages
                .filter(|(_, page)| page.is_awaited())
                .map(|(index, _)| *index)
                .collect()
        })
    }

    /// How much the kernel holds.
    pub fn residency(&self) -> Residency {
        self.host.with(|machine| machine.residency(self.id))
    }

    /// The object's attributes; `None` if the kernel does not know the object.
    pub fn attributes(&self) -> Option<SimAttributes> {
        self.host.with(|machine| {
            let object = machine
                .objects
                .get(&self.id)
                .filter(|object| object.stage != Stage::Unmapped)?;
            let (may_cache, copy_strategy) = (object.may_cache, object.copy_strategy);
            Some(SimAttributes {
                ready: object.stage == Stage::Ready,
                may_cache,
                copy_strategy,
            })
        })
    }

    /// The kernel's control and name ports; null ports if the kernel does not know the object.
    pub fn ports(&self) -> (PortName, PortName) {
        self.host.with(|machine| {
            let object = machine
                .objects
                .get(&self.id)
                .filter(|object| object.control.is_valid());
            object
                .map(|object| (object.control, object.name))
                .unwrap_or_default()
        })
    }
}

fn read_piece(
    machine: &mut Machine,
    mapping: SimMapping,
    piece: Piece,
    into: &mut [u8],
) -> Poll<Result<(), AccessError>> {
    let SimMapping { object, number } = mapping;
    let touch = machine.touch_mapped(object, number, piece.page, Prot::READ);
    if touch == Poll::Ready(Ok(())) {
        machine.used(object, piece.page);
        let bytes = machine.copy_bytes(object, number, piece.page).unwrap_or_default();
        if let Some(bytes) = bytes.get(piece.at..piece.at + piece.length) {
            into[piece.from..piece.from + piece.length].copy_from_slice(bytes);
        }
    }
    touch
}

fn write_piece(
    machine: &mut Machine,
    mapping: SimMapping,
    piece: Piece,
    from: &[u8],
) -> Poll<Result<(), AccessError>> {
    let SimMapping { object, number } = mapping;
    let touch = machine.touch_mapped(object, number, piece.page, Prot::READ_WRITE);
    if touch == Poll::Ready(Ok(())) {
        let from = &from[piece.from..piece.from + piece.length];
        if let Some(bytes) = machine.copy_bytes_mut(object, number, piece.page) {
            bytes[piece.at..piece.at + piece.length].copy_from_slice(from);
        } else {
            let offset = piece.page.0 * access::page_size(machine, object) + piece.at as u64;
            access::copy_in(machine, object, offset, from);
        }
    }
    touch
}
