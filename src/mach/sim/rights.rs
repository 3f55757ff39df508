//! Ports and messages of a simulated object, and what the oracle knows: a test's other levers.

use super::{Mismatch, SimClient};
use crate::mach::Upcall;
use crate::object::{PageIndex, PageRange, PortName};

impl SimClient {
    /// Makes a send right to the object's port.
    pub fn make_send(&self) {
        self.host.with(|machine| {
            if let Some(object) = machine.objects.get_mut(&self.id) {
                object.send_rights += 1;
                object.senders_watched = true;
            }
        });
    }

    /// Drops a send right; the last one, the kernel's included, brings `NoSenders`.
    pub fn drop_send(&self) {
        self.host.with(|machine| {
            if let Some(object) = machine.objects.get_mut(&self.id) {
                object.send_rights = object.send_rights.saturating_sub(1);
            }
            machine.check_senders(self.id);
        });
    }

    /// The pager's receive right goes, as if the pager had died.
    pub fn kill_pager(&self) {
        self.host.with(|machine| machine.pager_died(self.id));
    }

    /// A second kernel initialises the object; gives its control and name port.
    pub fn second_kernel(&self, page_size: u64) -> (PortName, PortName) {
        self.host.with(|machine| {
            let (control, name) = (PortName(machine.fresh()), PortName(machine.fresh()));
            if let Some(object) = machine.objects.get_mut(&self.id) {
                object.foreign.insert((control, name));
                object.send(Upcall::Init {
                    control,
                    name,
                    page_size,
                });
            }
            (control, name)
        })
    }

    /// Sends the pager any message, also one that no kernel would send.
    pub fn inject(&self, upcall: Upcall) {
        self.host.with(|machine| {
            if let Some(object) = machine.objects.get_mut(&self.id) {
                object.send(upcall);
            }
        });
    }

    /// The messages that the pager has not taken yet.
    pub fn unheard(&self) -> Vec<Upcall> {
        self.host.with(|machine| {
            let object = machine.objects.get(&self.id);
            object
                .map(|object| object.upcalls.iter().cloned().collect())
                .unwrap_or_default()
        })
    }

    /// Supplies that were not what they had to be, so far.
    pub fn mismatches(&self) -> Vec<Mismatch> {
        self.host.with(|machine| {
            let object = machine.objects.get(&self.id);
            object
                .map(|object| object.oracle.mismatches().to_vec())
                .unwrap_or_default()
        })
    }

    /// The first of them.
    pub fn first_mismatch(&self) -> Option<Mismatch> {
        self.host.with(|machine| {
            machine
                .objects
                .get(&self.id)?
                .oracle
                .mismatches()
                .first()
                .cloned()
        })
    }

    /// What the pager must supply for a page, if it was ever supplied or returned.
    pub fn expected(&self, page: PageIndex) -> Option<Vec<u8>> {
        self.host.with(|machine| {
            machine
                .objects
                .get(&self.id)?
                .oracle
                .expected(page)
                .map(<[u8]>::to_vec)
        })
    }

    /// Tells the oracle that these pages changed in the store, behind the pager's back.
    pub fn forget(&self, range: PageRange) {
        self.host.with(|machine| {
            if let Some(object) = machine.objects.get_mut(&self.id) {
                object.oracle.forget(range);
            }
        });
    }
}
