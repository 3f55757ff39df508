//! Requests of pages that the kernel should have.
//!
//! A page that the kernel was given as precious does not leave it unseen. A request that comes all
//! the same was sent before the supply arrived, which answered it: reading the store for it would
//! put older data in the place of what the kernel has returned since. A kernel that lost the page
//! waits for an answer, though; so it is asked to return the page, and to say when it has.

use super::batch::Tell;
use super::lock::{Held, LockWait, Purpose};
use super::memory_object::MemoryObject;
use super::page::PageState;
use super::{PageError, PageIndex, PageRange, PortName, Prot};

impl MemoryObject {
    /// Asks the kernel for the page that it asks for; one question at a time is enough.
    pub(crate) fn check_held(&mut self, page: PageIndex, control: PortName, access: Prot) {
        if self.locks.checks(page, control) {
            return;
        }
        self.tell(page, control, Tell::Check(page));
        let held = Held {
            page,
            control,
            access,
            seen: false,
        };
        self.locks.add(LockWait {
            purpose: Purpose::Held(held),
            range: PageRange::default(),
            asked: PageRange::single(page),
            flushes: false,
            closed_at: None,
            pending: 0,
            failed: Vec::new(),
        });
    }

    /// The kernel has returned the page if it had it; if it had not, its request is answered.
    pub(crate) fn end_check(&mut self, held: Held) {
        let Held {
            page,
            control,
            access,
            seen,
        } = held;
        let state = self.page_state(page);
        let lost = matches!(state, PageState::Resident { .. } | PageState::Absent);
        if seen || !lost || self.sessions.control() != Some(control) {
            return;
        }
        self.failures.take_kept(page);
        self.set_state(page, PageState::Absent);
        if state.is_unsaved() {
            self.set_error(page, Some(PageError::Io));
            return self.tell(page, control, Tell::Error(PageError::Io));
        }
        self.serve_request(page, control, access);
    }
}
