//! What is done with one page: requests, returns and unlocks, each in its turn.

use super::batch::{Action, Begin, Tell};
use super::failures::Kept;
use super::memory_object::{Life, MemoryObject};
use super::page::{Page, PageState};
use super::waiting::Waiting;
use super::{DataId, FailedPagePolicy, PageError, PageIndex, PortName, Prot, ShouldReturn};

impl MemoryObject {
    /// Serves `item` now if the page is idle; otherwise it waits its turn.
    pub(crate) fn arrive(&mut self, page: PageIndex, item: Waiting) {
        if !self.page_state(page).is_busy() {
            return self.serve(page, item);
        }
        if let Waiting::Return { seq, .. } = item {
            self.locks.write_begins(page, seq);
        }
        self.queues.push(page, item);
    }

    /// Serves what waits for a page until something makes it busy again.
    pub(crate) fn settle(&mut self, page: PageIndex) {
        while !self.page_state(page).is_busy() {
            let Some(item) = self.queues.pop(page) else {
                return;
            };
            if let Waiting::Return { seq, .. } = item {
                // `serve_return` counts it anew.
                self.locks.write_ended(page, seq, None);
            }
            self.serve(page, item);
        }
    }

    /// A page was answered for `control`: so are the requests that wait next in turn.
    pub(crate) fn drop_answered(&mut self, page: PageIndex, answered: PortName) {
        while let Some(Waiting::Request { control, .. }) = self.queues.front(page)
            && control == answered
        {
            self.queues.pop(page);
        }
    }

    fn serve(&mut self, page: PageIndex, item: Waiting) {
        match item {
            Waiting::Request {
                control,
                access,
                doubted,
            } => self.serve_request(page, control, access, doubted),
            Waiting::Return {
                control,
                data,
                dirty,
                kernel_copy,
                seq,
            } => {
                let kernel_copy = kernel_copy && self.is_alive(control);
                if dirty || self.page_state(page).is_unsaved() {
                    self.release_kept(page);
                    let told = false;
                    self.start_write(page, (control, data, seq), kernel_copy, told);
                } else {
                    self.clean_return(page, data, kernel_copy);
                }
            }
            Waiting::Unlock { control } if self.is_alive(control) => self.serve_unlock(page, control),
            Waiting::Unlock { .. } => {}
        }
    }

    fn serve_request(&mut self, page: PageIndex, control: PortName, access: Prot, doubted: bool) {
        // A kernel that is gone needs no data, and none may be lost to it.
        if self.life != Life::Open || !self.is_alive(control) {
            return self.tell(page, control, Tell::Error(PageError::Io));
        }
        if let Some(error) = self.take_refusal(page, access) {
            self.set_error(page, Some(error));
            return self.tell(page, control, Tell::Error(error));
        }
        if self.page_state(page).is_held() {
            return self.check_held(page, control, access);
        }
        match (self.failures.kept(page), self.options.failed_page) {
            (Some(Kept::Here(data)), FailedPagePolicy::SupplyKept) => self.supply_kept(page, control, data),
            (Some(Kept::Here(_)), FailedPagePolicy::Error) => {
                let error = self.page_error(page).unwrap_or(PageError::Io);
                self.tell(page, control, Tell::Error(error));
            }
            (Some(Kept::InKernel) | None, _) => self.start_read(page, control, access, doubted),
        }
    }

    /// The note of a refused unlock is for one request for write access.
    pub(crate) fn take_refusal(&mut self, page: PageIndex, access: Prot) -> Option<PageError> {
        if !access.writes() {
            return None;
        }
        let known = self.pages.get(page);
        let refusal = known.refusal?;
        self.pages.set(
            page,
            Page {
                refusal: None,
                ..known
            },
        );
        Some(refusal)
    }

    fn start_read(&mut self, page: PageIndex, control: PortName, access: Prot, doubted: bool) {
        self.failures.take_kept(page);
        if let PageState::Resident { flushing: true, .. } = self.page_state(page) {
            // The flush is done, though not yet confirmed.
            self.tell_evicted(page);
        }
        self.set_state(page, PageState::Filling { doubted });
        let what = Begin::Read { access };
        self.batches.push(page, Action::Begin { control, what });
    }

    fn supply_kept(&mut self, page: PageIndex, control: PortName, data: DataId) {
        self.failures.keep(page, Kept::InKernel);
        self.set_state(
            page,
            PageState::Resident {
                write_locked: false,
                unsaved: true,
                flushing: false,
                offered: false,
            },
        );
        let what = Tell::Supply {
            data,
            lock: Prot::NONE,
            precious: true,
        };
        self.tell(page, control, what);
        self.drop_answered(page, control);
    }

    /// Newer data is there: what was kept is needed no more.
    fn release_kept(&mut self, page: PageIndex) {
        if let Some(Kept::Here(data)) = self.failures.take_kept(page) {
            self.release(page, data);
        }
    }

    /// Begins a write of `data`, number `seq`; `told`: that the kernel gave the page up was told.
    pub(crate) fn start_write(
        &mut self,
        page: PageIndex,
        (control, data, seq): (PortName, DataId, u64),
        kernel_copy: bool,
        told: bool,
    ) {
        self.locks.write_begins(page, seq);
        self.set_state(
            page,
            PageState::Returning {
                kernel_copy,
                flushing: false,
                told,
            },
        );
        let what = Begin::Write {
            data,
            kernel_copy,
            seq,
        };
        self.batches.push(page, Action::Begin { control, what });
    }

    fn clean_return(&mut self, page: PageIndex, data: DataId, kernel_copy: bool) {
        self.release(page, data);
        match self.page_state(page) {
            PageState::Failed { kernel_copy: true } if !kernel_copy => {
                self.set_state(page, PageState::Failed { kernel_copy });
                self.tell_evicted(page);
            }
            PageState::Absent | PageState::Resident { .. } if !kernel_copy => self.evicted(page),
            PageState::Resident {
                write_locked,
                unsaved,
                flushing,
                offered: true,
            } => self.set_state(
                page,
                PageState::Resident {
                    write_locked,
                    unsaved,
                    flushing,
                    offered: false,
                },
            ),
            PageState::Absent
            | PageState::Resident { .. }
            | PageState::Filling { .. }
            | PageState::Unlocking { .. }
            | PageState::Returning { .. }
            | PageState::Failed { .. } => {}
        }
    }

    /// The kernel holds the page no more, and the store has its data.
    pub(crate) fn evicted(&mut self, page: PageIndex) {
        self.set_state(page, PageState::Absent);
        self.tell_evicted(page);
    }

    pub(crate) fn tell_evicted(&mut self, page: PageIndex) {
        if self.options.notify_on_evict {
            self.batches.push(page, Action::Evicted);
        }
    }

    fn serve_unlock(&mut self, page: PageIndex, control: PortName) {
        let state = self.page_state(page);
        if let PageState::Failed { .. } = state {
            // The store took writes of this page before; what it thinks now, the retry will tell.
            return self.tell(page, control, Tell::Grant);
        }
        let flushing = matches!(state, PageState::Resident { flushing: true, .. });
        let offered = matches!(state, PageState::Resident { offered: true, .. });
        let unsaved = state.is_unsaved();
        self.set_state(
            page,
            PageState::Unlocking {
                unsaved,
                flushing,
                offered,
            },
        );
        let what = Begin::Unlock;
        self.batches.push(page, Action::Begin { control, what });
    }

    pub(crate) fn end_unlock(&mut self, page: PageIndex, control: PortName, result: Result<(), PageError>) {
        let known = self.pages.get(page);
        if !self.is_alive(control) {
            return self.set_state(page, PageState::Absent);
        }
        let unsaved = known.state.is_unsaved();
        let flushing = matches!(known.state, PageState::Unlocking { flushing: true, .. });
        let offered = matches!(known.state, PageState::Unlocking { offered: true, .. });
        let state = PageState::Resident {
            write_locked: result.is_err(),
            unsaved,
            flushing,
            offered,
        };
        // What comes back is written, or told as an eviction, or shows which requests were sent before it
        // went; a page that need not is just dropped.
        let comes_back = unsaved || offered || self.options.notify_on_evict;
        let should_return = if comes_back {
            ShouldReturn::All
        } else {
            ShouldReturn::None
        };
        let (refusal, what) = match result {
            Ok(()) => (None, Tell::Grant),
            Err(error) => (Some(error), Tell::Refuse { should_return }),
        };
        self.pages.set(
            page,
            Page {
                state,
                refusal,
                ..known
            },
        );
        self.tell(page, control, what);
        if result.is_err() && !comes_back {
            self.set_state(page, PageState::Absent);
        }
    }

    /// True for the kernel that uses the object, as opposed to one that did.
    pub(crate) fn is_alive(&self, control: PortName) -> bool {
        self.sessions.control() == Some(control)
    }

    pub(crate) fn tell(&mut self, page: PageIndex, control: PortName, what: Tell) {
        match what {
            // It answers all that the kernel has asked for the page.
            Tell::Supply { .. } | Tell::Error(_) => self.locks.seen_back(page),
            Tell::Grant | Tell::Refuse { .. } | Tell::Fetch | Tell::Check(_) => {}
        }
        self.batches.push(page, Action::Tell { control, what });
    }

    pub(crate) fn release(&mut self, page: PageIndex, data: DataId) {
        self.batches.push(page, Action::Release { data });
    }
}
