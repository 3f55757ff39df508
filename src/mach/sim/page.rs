//! One page in the simulated cache.

use crate::object::{PageError, Prot};

/// What the kernel has of a page; a page it has nothing of is not in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PageState {
    /// A data request is out; a frame is reserved.
    Requested,
    /// The bytes are valid.
    Resident,
    /// The request was answered with an error, which the next fault takes; no frame.
    Failed(PageError),
    /// The bytes are with the pager, which releases them or supplies them again.
    Lent {
        /// A data request is out.
        asked: bool,
    },
}

/// A new page's grace: enough for every waiting thread to have its turn.
pub(super) const GRACE: u8 = 64;

/// A page and what the kernel knows about it.
#[derive(Clone, Debug)]
pub(super) struct Page {
    pub(super) state: PageState,
    /// Valid while resident or lent.
    pub(super) bytes: Vec<u8>,
    /// The accesses prohibited.
    pub(super) lock: Prot,
    /// The accesses asked for by a data unlock that was not answered.
    pub(super) unlock_asked: Prot,
    pub(super) precious: bool,
    pub(super) dirty: bool,
    /// How often other faults still pass this page by when they need its frame: it came for a fault
    /// that has not used it yet.
    pub(super) grace: u8,
    /// May be neither evicted nor flushed.
    pub(super) wired: bool,
    /// The order in which pages came into the object: the one in which a dying object is emptied.
    pub(super) born: u64,
    /// The pager refused a request for this page while it is lent; the next fault takes the error.
    pub(super) refused: Option<PageError>,
    /// What was lent last, while a copy stayed in use here: what the page is again if it is dropped.
    pub(super) lent: Vec<u8>,
    /// Returns of this page that the pager has not released.
    pub(super) loans: u32,
    /// One of those returns was dirty.
    pub(super) unsaved: bool,
}

/// What a return would say of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worth {
    /// Nothing: it may be dropped silently.
    Nothing,
    /// It is clean, but must be returned.
    Precious,
    /// It was written to.
    Dirty,
}

impl Page {
    /// A page that was asked for.
    pub(super) fn requested(born: u64) -> Self {
        Self {
            state: PageState::Requested,
            bytes: Vec::new(),
            lock: Prot::NONE,
            unlock_asked: Prot::NONE,
            precious: false,
            dirty: false,
            grace: 0,
            wired: false,
            born,
            refused: None,
            lent: Vec::new(),
            loans: 0,
            unsaved: false,
        }
    }

    /// A page that was supplied.
    pub(super) fn supplied(bytes: Vec<u8>, lock: Prot, precious: bool, born: u64) -> Self {
        Self {
            state: PageState::Resident,
            bytes,
            lock,
            precious,
            ..Self::requested(born)
        }
    }

    pub(super) fn is_resident(&self) -> bool {
        self.state == PageState::Resident
    }

    /// True if a data request for the page has not been answered.
    pub(super) fn is_awaited(&self) -> bool {
        matches!(self.state, PageState::Requested | PageState::Lent { asked: true })
    }

    /// True if the page occupies a frame or has one reserved.
    pub(super) fn has_frame(&self) -> bool {
        match self.state {
            PageState::Requested | PageState::Resident | PageState::Lent { .. } => true,
            PageState::Failed(_) => false,
        }
    }

    /// True if a data request is out.
    pub(super) fn is_asked_for(&self) -> bool {
        match self.state {
            PageState::Requested | PageState::Lent { asked: true } => true,
            PageState::Resident | PageState::Failed(_) | PageState::Lent { asked: false } => false,
        }
    }

    /// True if memory pressure may take the page.
    pub(super) fn is_evictable(&self) -> bool {
        self.is_resident() && !self.wired && self.loans == 0
    }

    pub(super) fn worth(&self) -> Worth {
        if self.dirty {
            Worth::Dirty
        } else if self.precious {
            Worth::Precious
        } else {
            Worth::Nothing
        }
    }
}
