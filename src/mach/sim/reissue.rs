//! Saying everything again, to a pager that knows nothing.

use std::sync::Arc;

use super::loan::Loan;
use super::machine::Machine;
use super::object::{Object, Stage};
use super::page::{Page, PageState};
use crate::mach::{PageData, Upcall};
use crate::object::{PageIndex, PageRange, PortName, Prot};

impl Machine {
    /// As [`Kernel::reissue`](crate::mach::Kernel::reissue).
    pub(super) fn reissue(&mut self, id: u64) -> bool {
        let ports = (PortName(self.fresh()), PortName(self.fresh()));
        let object = self.objects.get_mut(&id);
        let object = object.filter(|object| object.stage != Stage::Orphaned);
        object.is_some_and(|object| object.reissue(ports))
    }
}

impl Object {
    fn reissue(&mut self, ports: (PortName, PortName)) -> bool {
        self.waker = None;
        let queued = std::mem::take(&mut self.upcalls);
        let used = matches!(self.stage, Stage::Initialised | Stage::Ready);
        let no_senders = queued.iter().any(|upcall| matches!(upcall, Upcall::NoSenders));
        let carried: Vec<_> = queued.into_iter().filter(carries_pages).collect();
        let lent = self
            .pages
            .values()
            .any(|page| matches!(page.state, PageState::Lent { .. }));
        let again = used || lent || !carried.is_empty();
        if again {
            self.begin_again(ports, carried);
            if !used {
                self.end_again();
            }
        }
        if no_senders {
            self.send(Upcall::NoSenders);
        }
        again
    }

    fn begin_again(&mut self, (control, name): (PortName, PortName), carried: Vec<Upcall>) {
        (self.control, self.name) = (control, name);
        self.stage = Stage::Initialised;
        self.ask_again = true;
        let page_size = self.spec.page_size.bytes();
        self.send(Upcall::Init {
            control,
            name,
            page_size,
        });
        for mut upcall in carried {
            if let Upcall::DataReturn { control, .. } = &mut upcall {
                *control = self.control;
            }
            self.send(upcall);
        }
        self.recall_copies();
        self.return_again();
    }

    /// The object's end was on the way to the pager before.
    fn end_again(&mut self) {
        let (control, name) = (self.control, self.name);
        self.stage = Stage::Unmapped;
        self.control = PortName::NULL;
        self.send(Upcall::Terminate { control, name });
    }

    /// Pages of which a copy was kept are dirty again, if the store may lack them.
    fn recall_copies(&mut self) {
        let precious = !self.spec.notify_on_evict;
        for page in self.pages.values_mut().filter(|page| page.is_resident()) {
            page.dirty |= std::mem::take(&mut page.unsaved) || precious && page.precious;
            page.loans = 0;
        }
    }

    fn return_again(&mut self) {
        for (run, dirty) in self.runs(|page| match page.state {
            PageState::Lent { .. } => Some(page.unsaved),
            PageState::Requested | PageState::Resident | PageState::Failed(_) => None,
        }) {
            self.lend_again(run, dirty);
        }
    }

    fn lend_again(&mut self, run: PageRange, dirty: bool) {
        let mut bytes = Vec::new();
        for (_, page) in self.pages.range_mut(run.start()..run.end()) {
            page.loans = 1;
            bytes.extend_from_slice(&page.bytes);
        }
        let (control, offset) = (self.control, run.offset(self.spec.page_size));
        let length = bytes.len();
        let memory = Arc::new(Loan { offset, bytes });
        self.send(Upcall::DataReturn {
            control,
            offset,
            data: PageData::Cached {
                memory,
                offset,
                length,
            },
            dirty,
            kernel_copy: false,
        });
    }

    /// The pager is ready again: asks for everything that is waited for.
    pub(super) fn ask_again(&mut self) {
        if !std::mem::take(&mut self.ask_again) {
            return;
        }
        let control = self.control;
        let size = self.spec.page_size;
        for (run, ()) in self.runs(|page| page.is_asked_for().then_some(())) {
            self.send(Upcall::DataRequest {
                control,
                offset: run.offset(size),
                length: run.bytes(size),
                access: Prot::READ,
            });
        }
        let wanted = |page: &Page| Some(page.unlock_asked).filter(|&access| access != Prot::NONE);
        for (run, access) in self.runs(wanted) {
            self.send(Upcall::DataUnlock {
                control,
                offset: run.offset(size),
                length: run.bytes(size),
                access,
            });
        }
    }

    /// Runs of neighbouring pages of the same kind.
    fn runs<K: PartialEq>(&self, kind: impl Fn(&Page) -> Option<K>) -> Vec<(PageRange, K)> {
        let mut runs: Vec<(PageRange, K)> = Vec::new();
        for (&index, page) in &self.pages {
            let Some(this) = kind(page) else { continue };
            match runs.last_mut() {
                Some((run, last)) if run.end() == index && *last == this => *run = grown(*run, index),
                Some(_) | None => runs.push((PageRange::single(index), this)),
            }
        }
        runs
    }
}

fn grown(run: PageRange, last: PageIndex) -> PageRange {
    PageRange::new(run.start(), last.next())
}

fn carries_pages(upcall: &Upcall) -> bool {
    match upcall {
        Upcall::DataReturn { data, .. } => matches!(data, PageData::Owned(_)),
        Upcall::Init { .. }
        | Upcall::DataRequest { .. }
        | Upcall::DataUnlock { .. }
        | Upcall::LockCompleted { .. }
        | Upcall::SupplyCompleted { .. }
        | Upcall::ChangeCompleted { .. }
        | Upcall::Copy { .. }
        | Upcall::Terminate { .. }
        | Upcall::NoSenders => false,
    }
}
