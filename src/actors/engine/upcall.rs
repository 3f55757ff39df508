//! The kernel's messages, as the core takes them.

use crate::mach::Upcall;
use crate::object::{Event, PortName};

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
