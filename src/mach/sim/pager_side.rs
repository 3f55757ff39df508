//! The pager's side of a simulated object.

use std::task::{Context, Poll};

use super::access;
use super::{SimClient, SimHost};
use crate::mach::{Call, Client, Kernel, KernelError, PageData, RawMapping, Residency, Touch, Upcall};
use crate::object::{PageRange, PortName, Prot};

/// One object of a [`SimHost`], as its pager holds it; dropping it is the pager's death.
#[derive(Debug)]
pub struct SimObject {
    pub(super) host: SimHost,
    pub(super) id: u64,
}

impl SimObject {
    pub(super) fn new(host: SimHost, id: u64) -> Self {
        Self { host, id }
    }

    /// A handle for those who touch the pages.
    pub fn client(&self) -> SimClient {
        SimClient::new(self.host.clone(), self.id)
    }

    /// The object's own port.
    pub fn port(&self) -> PortName {
        self.client().port()
    }

    /// Takes every message that waits, without a waker.
    pub fn take_upcalls(&mut self) -> Vec<Upcall> {
        let mut out = Vec::new();
        self.drain(&mut out);
        out
    }

    fn drain(&self, out: &mut Vec<Upcall>) -> bool {
        self.host.with(|machine| {
            let before = out.len();
            if let Some(object) = machine.objects.get_mut(&self.id) {
                out.extend(object.upcalls.drain(..));
            }
            out.len() > before
        })
    }
}

impl Drop for SimObject {
    fn drop(&mut self) {
        self.host.with(|machine| machine.pager_died(self.id));
    }
}

impl Kernel for SimObject {
    fn call(&mut self, call: Call<'_>) -> Result<(), KernelError> {
        self.host.with(|machine| machine.call(self.id, call))
    }

    fn poll_upcalls(&mut self, cx: &mut Context<'_>, out: &mut Vec<Upcall>) -> Poll<()> {
        let drained = self.drain(out);
        self.host.with(|machine| {
            let object = machine.objects.get_mut(&self.id);
            match object {
                Some(object) if object.upcalls.is_empty() => object.waker = Some(cx.waker().clone()),
                Some(_) | None => cx.waker().wake_by_ref(),
            }
        });
        if drained { Poll::Ready(()) } else { Poll::Pending }
    }

    fn release(&mut self, data: &PageData, range: PageRange) {
        if matches!(data, PageData::Cached { .. }) {
            self.host.with(|machine| machine.release(self.id, range));
        }
    }

    fn reissue(&mut self) -> bool {
        self.host.with(|machine| machine.reissue(self.id))
    }
}

impl Client for SimObject {
    fn map(&mut self, range: PageRange, prot: Prot) -> Result<RawMapping, KernelError> {
        let mapping = self.client().map(range, prot);
        let length = self
            .host
            .with(|machine| access::byte_length(machine, self.id, range));
        Ok(RawMapping {
            id: mapping.number(),
            address: 0,
            length,
            range,
        })
    }

    fn unmap(&mut self, mapping: &RawMapping) -> Result<(), KernelError> {
        let known = self.host.with(|machine| machine.unmap(self.id, mapping.id));
        if known {
            Ok(())
        } else {
            Err(KernelError::BadArgument {
                call: "vm_deallocate",
            })
        }
    }

    fn touch(&mut self, range: PageRange, access: Prot) -> Touch {
        self.host
            .with(|machine| machine.touch_by_pager(self.id, range, access))
    }

    fn copy_out(&mut self, offset: u64, into: &mut [u8]) -> Result<(), KernelError> {
        let copied = self
            .host
            .with(|machine| access::copy_out(machine, self.id, offset, into));
        copied.ok_or(KernelError::BadArgument { call: "copy_out" })
    }

    fn copy_in(&mut self, offset: u64, from: &[u8]) -> Result<(), KernelError> {
        let copied = self
            .host
            .with(|machine| access::copy_in(machine, self.id, offset, from));
        copied.ok_or(KernelError::BadArgument { call: "copy_in" })
    }

    fn residency(&self) -> Residency {
        self.client().residency()
    }
}
