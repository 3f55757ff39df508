//! Saying everything again, to a pager that knows nothing.

use super::copy::PrivateCopy;
use super::evict::LONGEST_RUN;
use super::object::{LinuxObject, Phase};
use super::page_table::flag::{DIRTY, LENT, PRECIOUS, RESIDENT, UNSAVED, WRITING};
use super::waits::Stage;
use crate::mach::message::{PageData, Upcall};
use crate::object::{PageIndex, PageRange, PortName};

impl LinuxObject {
    /// As [`Kernel::reissue`](crate::mach::Kernel::reissue).
    pub(super) fn say_again(&mut self) -> bool {
        // Pages that travel with their message are nowhere else.
        let carried: Vec<_> = self.out.drain(..).filter(carries_pages).collect();
        self.timer = None;
        // A panic may have come in the middle of a poll.
        self.polled = false;
        self.spaces.unwatch();
        self.copies.iter_mut().for_each(PrivateCopy::unwatch);
        let used = matches!(self.phase, Phase::Initialising | Phase::Ready);
        let owes = self.table.away() > 0 || !carried.is_empty();
        let again = self.phase != Phase::Destroyed && (used || owes);
        if again {
            self.phase = Phase::Idle;
            self.ensure_init();
            for upcall in carried {
                self.say(readdressed(upcall, self.control));
            }
            self.recall_copies();
            self.return_again();
            self.wait_again();
            if !used {
                // Its end was on the way to the pager before.
                self.terminate_if_unused();
            }
        }
        self.share.wake();
        again
    }

    /// Pages of which a copy was kept, and precious ones, are dirty again if the store may lack them.
    fn recall_copies(&mut self) {
        let kind = |bits: u8| {
            let concerned = bits & RESIDENT != 0 && bits & (LENT | PRECIOUS) != 0;
            concerned.then_some(bits & (UNSAVED | PRECIOUS) != 0)
        };
        let mut rest = self.pages;
        while let Some((run, unsaved)) = self.table.first_run(rest, LONGEST_RUN, kind) {
            rest = PageRange::new(run.end(), rest.end());
            for page in run.iter() {
                self.lent_again.remove(&page.0);
                let dirty = if unsaved { DIRTY } else { 0 };
                let bits = self.table.get(page) | dirty;
                self.table.put(page, bits & !(LENT | WRITING | UNSAVED));
            }
        }
    }

    /// Returns the pages that only the pager before could have released.
    fn return_again(&mut self) {
        let kind = |bits: u8| (bits & (RESIDENT | LENT) == LENT).then_some(bits & UNSAVED != 0);
        let mut rest = self.pages;
        while let Some((run, dirty)) = self.table.first_run(rest, LONGEST_RUN, kind) {
            rest = PageRange::new(run.end(), rest.end());
            for page in run.iter() {
                self.lent_again.remove(&page.0);
                self.table.clear(page, WRITING);
            }
            self.say_return(run, dirty, false);
        }
    }

    /// Waits begin anew: nothing is asked for, and no frame is reserved.
    fn wait_again(&mut self) {
        for page in self.waits.all() {
            let Some(mut wait) = self.waits.take(page) else {
                continue;
            };
            if std::mem::take(&mut wait.reserved) {
                self.host.budget.release(&self.share, self.size.bytes());
            }
            let nobody = wait.place.is_none() && !wait.touch;
            if !nobody {
                self.waits.join(page, wait);
                self.wait_for(page, wait.stage);
            }
        }
    }

    fn wait_for(&mut self, page: PageIndex, stage: Stage) {
        match stage {
            Stage::Queued => {}
            Stage::Requested => self.waits.enqueue(page),
            // Served in its turn, the page is either free to be written to or asked to be unlocked.
            Stage::Unlocking | Stage::Held if self.table.has(page, RESIDENT) => self.serve(page),
            Stage::Unlocking | Stage::Held => self.waits.enqueue(page),
        }
    }
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

fn readdressed(mut upcall: Upcall, to: PortName) -> Upcall {
    if let Upcall::DataReturn { control, .. } = &mut upcall {
        *control = to;
    }
    upcall
}
