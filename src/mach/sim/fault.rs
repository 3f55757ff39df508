//! What a fault does: it asks the pager, once, and waits.

use super::machine::Machine;
use super::object::Stage;
use super::page::{Page, PageState};
use crate::mach::{Touch, Upcall};
use crate::object::{PageError, PageIndex, PageRange, Prot};

impl Machine {
    /// Wants pages for `access`; asks the pager for what is missing.
    pub(super) fn touch(&mut self, id: u64, range: PageRange, access: Prot) -> Touch {
        self.begin_use(id);
        let mut outcome = Touch::Ready;
        let mut wanted = PageRange::default();
        for page in range.iter() {
            match self.touch_page(id, page, access) {
                Fault::Ready => {}
                Fault::Waits => outcome = Touch::Pending,
                Fault::Absent if self.extend_request(id, &mut wanted, page, access) => {
                    outcome = Touch::Pending
                }
                Fault::Absent => {
                    outcome = Touch::Pending;
                    break;
                }
                Fault::Failed(error) => {
                    self.request(id, wanted, access);
                    return match outcome {
                        Touch::Ready => Touch::Failed { page, error },
                        Touch::Pending | Touch::Failed { .. } => self.put_back(id, page, error),
                    };
                }
            }
        }
        self.request(id, wanted, access);
        outcome
    }

    /// Remembers an error for the next touch, because pages before it are still on their way.
    pub(super) fn put_back(&mut self, id: u64, page: PageIndex, error: PageError) -> Touch {
        let born = self.fresh();
        let object = self.objects.get_mut(&id);
        let Some(object) = object.filter(|object| object.stage != Stage::Orphaned) else {
            return Touch::Pending;
        };
        match object.pages.get_mut(&page) {
            Some(lent) => lent.refused = Some(error),
            None => {
                let state = PageState::Failed(error);
                object.pages.insert(
                    page,
                    Page {
                        state,
                        ..Page::requested(born)
                    },
                );
            }
        }
        Touch::Pending
    }

    /// Adds an absent page to the request that is being put together; false if no frame is free.
    fn extend_request(&mut self, id: u64, wanted: &mut PageRange, page: PageIndex, access: Prot) -> bool {
        if !self.reserve_frame() {
            return false;
        }
        let born = self.fresh();
        if let Some(object) = self.objects.get_mut(&id) {
            object.pages.insert(page, Page::requested(born));
        }
        let longest = self.options.request_run.max(1);
        if wanted.end() != page || wanted.len() >= longest {
            self.request(id, *wanted, access);
            *wanted = PageRange::new(page, page);
        }
        *wanted = PageRange::new(wanted.start(), page.next());
        true
    }

    fn request(&mut self, id: u64, range: PageRange, access: Prot) {
        let Some(object) = self.objects.get_mut(&id).filter(|_| !range.is_empty()) else {
            return;
        };
        let size = object.spec.page_size;
        let (control, offset, length) = (object.control, range.offset(size), range.bytes(size));
        object.send(Upcall::DataRequest {
            control,
            offset,
            length,
            access,
        });
    }

    fn touch_page(&mut self, id: u64, index: PageIndex, access: Prot) -> Fault {
        let Some(object) = self.objects.get_mut(&id) else {
            return Fault::Failed(PageError::Io);
        };
        let orphaned = object.stage == Stage::Orphaned;
        let Some(page) = object.pages.get_mut(&index) else {
            return match object.stage {
                Stage::Ready => Fault::Absent,
                Stage::Orphaned => Fault::Failed(PageError::Io),
                Stage::Unmapped | Stage::Initialised => Fault::Waits,
            };
        };
        match page.state {
            PageState::Requested | PageState::Lent { asked: true } => Fault::Waits,
            PageState::Failed(error) => {
                object.pages.remove(&index);
                Fault::Failed(error)
            }
            PageState::Lent { asked: false } => {
                if let Some(error) = page.refused.take() {
                    return Fault::Failed(error);
                }
                page.state = PageState::Lent { asked: true };
                self.request(id, PageRange::single(index), access);
                Fault::Waits
            }
            PageState::Resident if page.lock.bits() & access.bits() == 0 => Fault::Ready,
            PageState::Resident if orphaned => Fault::Failed(PageError::Io),
            PageState::Resident => {
                self.ask_unlock(id, index, access);
                Fault::Waits
            }
        }
    }

    /// The fault that a page came for has used it.
    pub(super) fn used(&mut self, id: u64, index: PageIndex) {
        let object = self.objects.get_mut(&id);
        if let Some(page) = object.and_then(|object| object.pages.get_mut(&index)) {
            page.grace = 0;
        }
    }

    fn ask_unlock(&mut self, id: u64, index: PageIndex, access: Prot) {
        let Some(object) = self.objects.get_mut(&id) else {
            return;
        };
        let size = object.spec.page_size;
        let (control, offset, length) = (object.control, index.offset(size), size.bytes());
        let Some(page) = object.pages.get_mut(&index) else {
            return;
        };
        if !page.unlock_asked.contains(access) {
            page.unlock_asked = page.unlock_asked.union(access);
            let access = page.unlock_asked;
            object.send(Upcall::DataUnlock {
                control,
                offset,
                length,
                access,
            });
        }
    }
}

/// How a fault on one page stands.
enum Fault {
    /// The access may go on.
    Ready,
    /// Somebody was asked.
    Waits,
    /// The pager must be asked.
    Absent,
    /// It cannot be had.
    Failed(PageError),
}
