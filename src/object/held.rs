//! Requests of pages that the kernel should have.
//!
//! A page that the kernel was given as precious does not leave it unseen. A request that comes all
//! the same was sent before the supply arrived, which answered it: reading the store for it would
//! put older data in the place of what the kernel has returned since. A kernel that lost the page
//! waits for an answer, though; so it is asked to return the page, and to say when it has.

use super::batch::Tell;
use super::lock::{Held, LockWait, Purpose, Sight};
use super::memory_object::MemoryObject;
use super::page::PageState;
use super::waiting::Waiting;
use super::{PageError, PageIndex, PageRange, PortName, Prot};

impl MemoryObject {
    /// Asks the kernel for the page that it asks for; one question at a time is enough.
    pub(crate) fn check_held(&mut self, page: PageIndex, control: PortName, access: Prot) {
        if self.locks.asks_again(page, control, access) {
            return;
        }
        self.tell(page, control, Tell::Check(page));
        let held = Held {
            page,
            control,
            access,
            sight: Sight::Missing,
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

    /// The kernel has returned the page if it had it; if it had not, or is gone, its request is
    /// answered.
    pub(crate) fn end_check(&mut self, held: Held) {
        let Held {
            page,
            control,
            access,
            sight,
        } = held;
        match sight {
            Sight::Seen => return,
            Sight::Missing | Sight::AskedAgain if !self.is_alive(control) => {
                return self.tell(page, control, Tell::Error(PageError::Io));
            }
            Sight::Missing if self.loses(page) => {
                return self.tell(page, control, Tell::Error(PageError::Io));
            }
            Sight::Missing | Sight::AskedAgain => {}
        }
        // A flush may have dropped what answered it, unseen.
        let doubted = true;
        self.arrive(
            page,
            Waiting::Request {
                control,
                access,
                doubted,
            },
        );
    }

    /// The kernel does not hold the page after all; true if nobody has its data then.
    fn loses(&mut self, page: PageIndex) -> bool {
        let state = self.page_state(page);
        if !matches!(state, PageState::Resident { .. }) {
            return false;
        }
        self.failures.take_kept(page);
        self.set_state(page, PageState::Absent);
        if state.is_unsaved() {
            self.set_error(page, Some(PageError::Io));
        }
        state.is_unsaved()
    }
}
