//! The kernel's side of one memory object: ports, attributes, pages, mappings.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::task::Waker;

use super::copy::PrivateCopy;
use super::oracle::Oracle;
use super::page::Page;
use crate::mach::{ObjectSpec, Upcall};
use crate::object::{CopyStrategy, PageIndex, PageRange, PortName, Prot};

/// How far the kernel and the pager have come with each other.
///
/// ```text
/// Unmapped --map--> Initialised --ready--> Ready --last unmap--> Unmapped
///                        |                   |
///                        +------destroy------+--> Orphaned --last unmap--> Unmapped
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The kernel does not know the object; nothing is cached.
    Unmapped,
    /// `memory_object_init` was sent; faults wait.
    Initialised,
    /// The pager answers faults.
    Ready,
    /// The pager gave the object up or died: what is resident can be used, the rest cannot.
    Orphaned,
}

/// A mapping of pages into some client.
#[derive(Clone, Debug)]
pub(super) struct Mapping {
    pub(super) range: PageRange,
    pub(super) prot: Prot,
    /// A copy of the object's pages instead of the pages themselves.
    pub(super) copy: Option<PrivateCopy>,
}

/// Everything the kernel knows about one object.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) spec: ObjectSpec,
    /// The memory object's own port.
    pub(super) port: PortName,
    pub(super) stage: Stage,
    pub(super) control: PortName,
    pub(super) name: PortName,
    pub(super) may_cache: bool,
    pub(super) copy_strategy: CopyStrategy,
    pub(super) pages: BTreeMap<PageIndex, Page>,
    pub(super) mappings: BTreeMap<u64, Mapping>,
    /// The pager itself uses the pages, through copies that never fault.
    pub(super) used_unmapped: bool,
    /// Send rights to the object's port outside the kernel.
    pub(super) send_rights: u64,
    /// The last send right went, and the pager was not told yet: it is once the kernel's goes, too.
    pub(super) senders_watched: bool,
    /// The pager's receive right exists.
    pub(super) pager_alive: bool,
    /// What is waited for is to be asked for again once the pager is ready.
    pub(super) ask_again: bool,
    /// Other kernels that initialised the object: control and name port.
    pub(super) foreign: BTreeSet<(PortName, PortName)>,
    pub(super) upcalls: VecDeque<Upcall>,
    pub(super) waker: Option<Waker>,
    pub(super) oracle: Oracle,
}

impl Object {
    pub(super) fn new(spec: ObjectSpec, port: PortName) -> Self {
        Self {
            spec,
            port,
            stage: Stage::Unmapped,
            control: PortName::NULL,
            name: PortName::NULL,
            may_cache: false,
            copy_strategy: CopyStrategy::None,
            pages: BTreeMap::new(),
            mappings: BTreeMap::new(),
            used_unmapped: false,
            send_rights: 0,
            senders_watched: false,
            pager_alive: true,
            ask_again: false,
            foreign: BTreeSet::new(),
            upcalls: VecDeque::new(),
            waker: None,
            oracle: Oracle::default(),
        }
    }

    /// True if some client, or the pager itself, uses the pages.
    pub(super) fn in_use(&self) -> bool {
        self.used_unmapped || self.is_mapped()
    }

    /// True if some mapping needs the pages: one that is not a whole copy.
    pub(super) fn is_mapped(&self) -> bool {
        let complete = |mapping: &Mapping| mapping.copy.as_ref().is_some_and(PrivateCopy::is_complete);
        !self.mappings.values().all(complete)
    }

    /// True if a data request has not been answered.
    pub(super) fn awaits_pager(&self) -> bool {
        self.pages.values().any(Page::is_awaited)
    }

    /// Sends a message to the pager; lost if the pager is dead.
    pub(super) fn send(&mut self, upcall: Upcall) {
        if self.pager_alive {
            self.upcalls.push_back(upcall);
        }
    }

    /// The page, if its bytes are valid.
    pub(super) fn resident(&self, page: PageIndex) -> Option<&Page> {
        self.pages.get(&page).filter(|page| page.is_resident())
    }

    /// The page, if its bytes are valid.
    pub(super) fn resident_mut(&mut self, page: PageIndex) -> Option<&mut Page> {
        self.pages.get_mut(&page).filter(|page| page.is_resident())
    }
}
