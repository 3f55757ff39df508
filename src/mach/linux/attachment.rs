//! The client's end of an object whose pager is another process.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::probe::Capabilities;
use super::uffd::Uffd;
use super::view::ClientView;
use crate::mach::kernel::KernelError;
use crate::object::Prot;

/// A mapping of an object's memory whose faults go to whoever holds [`faults`](Self::faults).
///
/// The descriptor stays open here, too: as long as this process lives, a page that nobody has supplied
/// is waited for, and never reads as zeros. Forked children do not get the mapping. It must not be moved
/// (`mremap`) or mapped over.
#[derive(Debug)]
pub struct Attachment {
    view: Option<ClientView>,
    faults: Uffd,
}

impl Attachment {
    /// Maps `length` bytes of `memory` from `offset` on, and registers the mapping before anybody can
    /// touch it.
    pub fn new(memory: BorrowedFd<'_>, offset: u64, length: usize, prot: Prot) -> Result<Self, KernelError> {
        let faults = Capabilities::probe()?.open_silent()?;
        let system = |call| move |source: io::Error| KernelError::System { call, source };
        let view = ClientView::new(memory, offset, length, prot, false).map_err(system("mmap"))?;
        let registered = view.register(&faults);
        let attachment = Self {
            view: Some(view),
            faults,
        };
        registered.map_err(|errno| system("ioctl(UFFDIO_REGISTER)")(errno.into()))?;
        Ok(attachment)
    }

    /// Where the mapping begins.
    pub fn address(&self) -> usize {
        self.view.as_ref().map_or(0, ClientView::address)
    }

    /// Bytes mapped.
    pub fn length(&self) -> usize {
        self.view.as_ref().map_or(0, ClientView::length)
    }

    /// The userfaultfd, to be sent to the pager.
    pub fn faults(&self) -> BorrowedFd<'_> {
        self.faults.as_fd()
    }
}

/// True if a descriptor that came from somebody else is a userfaultfd.
pub fn is_userfaultfd(fd: BorrowedFd<'_>) -> bool {
    Uffd::is_one(fd)
}

/// True if the address space behind a userfaultfd has ended: nobody waits there, and nobody ever will.
pub fn address_space_ended(faults: BorrowedFd<'_>) -> bool {
    let copy = faults.try_clone_to_owned();
    copy.and_then(Uffd::of_client)
        .is_ok_and(|faults| faults.process_gone())
}

impl Drop for Attachment {
    fn drop(&mut self) {
        // Unmapped before the descriptor is closed: no thread reads zeros.
        if let Some(view) = self.view.take()
            && let Err(error) = view.unmap()
        {
            tracing::error!(%error, "cannot unmap");
        }
    }
}
