//! The kernel's messages, as the core takes them.

use std::collections::VecDeque;

use super::Engine;
use crate::mach::Upcall;
use crate::object::{Event, PageRange, PortName};

/// True for messages that ask the pager to begin something, as opposed to those that finish it.
pub(super) fn begins_work(upcall: &Upcall) -> bool {
    match upcall {
        Upcall::Init { .. } | Upcall::DataRequest { .. } | Upcall::DataUnlock { .. } => true,
        Upcall::Terminate { .. } | Upcall::NoSenders | Upcall::Copy { .. } => true,
        Upcall::DataReturn { .. } | Upcall::LockCompleted { .. } => false,
        Upcall::SupplyCompleted { .. } | Upcall::ChangeCompleted { .. } => false,
    }
}

/// The control port that an `Init` brings.
pub(super) fn init_port(upcall: &Upcall) -> Option<PortName> {
    if let Upcall::Init { control, .. } = upcall {
        Some(*control)
    } else {
        None
    }
}

/// The event for a message that brings no page memory; `None` where the core has no use for it.
pub(super) fn plain_event(upcall: &Upcall) -> Option<Event> {
    match *upcall {
        Upcall::Init {
            control,
            name,
            page_size,
        } => Some(Event::Init {
            control,
            name,
            page_size,
        }),
        Upcall::DataRequest {
            control,
            offset,
            length,
            access,
        } => Some(Event::DataRequest {
            control,
            offset,
            length,
            access,
        }),
        Upcall::DataUnlock {
            control,
            offset,
            length,
            access,
        } => Some(Event::DataUnlock {
            control,
            offset,
            length,
            access,
        }),
        Upcall::LockCompleted {
            control,
            offset,
            length,
        } => Some(Event::LockCompleted {
            control,
            offset,
            length,
        }),
        Upcall::ChangeCompleted {
            may_cache,
            copy_strategy,
        } => Some(Event::ChangeCompleted {
            may_cache,
            copy_strategy,
        }),
        Upcall::Terminate { control, name } => Some(Event::Terminate { control, name }),
        Upcall::NoSenders => Some(Event::NoSenders),
        // No supply asks for a confirmation, and the copies that Mach would ask for are made here.
        Upcall::SupplyCompleted { .. } | Upcall::Copy { .. } | Upcall::DataReturn { .. } => None,
    }
}

impl Engine {
    /// Begins to keep requests that come from now on; those before go on to their end.
    pub fn inhibit(&mut self) {
        self.deferred.get_or_insert_default();
    }

    /// Begins to keep everything the kernel says. The kernel goes on to be asked: other objects may
    /// wait for frames of clean pages of this one.
    pub fn close(&mut self) {
        self.closed = self.deferred.is_some();
    }

    /// Ends an inhibition: what was kept is served, in order, when the engine next [hears](Self::hear).
    ///
    /// It touches nothing else: a core that panicked is resumed as well.
    pub fn resume(&mut self) {
        self.closed = false;
        let mut kept = self.deferred.take().unwrap_or_default();
        kept.append(&mut self.incoming);
        self.incoming = kept;
    }

    /// What is heard overtakes nothing that is kept of its pages: the core could not tell any more that
    /// a page which a user offered answered a request, or that a flush dropped it.
    pub(super) fn hear_deferred_before(&mut self, upcall: &Upcall) {
        if let Some(pages) = self.pages_of(upcall) {
            self.hear_deferred_of(pages);
        }
    }

    pub(super) fn hear_deferred_of(&mut self, pages: PageRange) {
        let Some(mut deferred) = self.deferred.take() else {
            return;
        };
        // From the newest back: what overlaps a message that is heard is heard before it.
        let mut heard = vec![pages];
        let (mut first, mut rest) = (Vec::new(), VecDeque::new());
        while let Some(kept) = deferred.pop_back() {
            match self.pages_of(&kept) {
                Some(pages) if heard.iter().any(|heard| heard.overlaps(pages)) => {
                    heard.push(pages);
                    first.push(kept);
                }
                Some(_) | None => rest.push_front(kept),
            }
        }
        self.deferred = Some(rest);
        first
            .into_iter()
            .rev()
            .for_each(|upcall| self.post_upcall(upcall));
        self.run();
    }

    fn pages_of(&self, upcall: &Upcall) -> Option<PageRange> {
        let (offset, length) = if let Upcall::DataReturn { offset, data, .. } = upcall {
            (*offset, data.len() as u64)
        } else if let Upcall::DataRequest { offset, length, .. }
        | Upcall::DataUnlock { offset, length, .. }
        | Upcall::LockCompleted { offset, length, .. } = upcall
        {
            (*offset, *length)
        } else {
            return None;
        };
        self.page_size.pages_exact(offset, length).ok()
    }
}
