//! The messages of a userfaultfd.

use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, RawFd};

use linux_raw_sys::general as raw;
use rustix::io::Errno;

use super::descriptors;

/// Messages taken by one read.
pub(super) const BATCH: usize = 64;

/// A message of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// A thread waits at an address.
    Fault {
        address: usize,
        write: bool,
        /// The page is mapped, but write-protected.
        protected: bool,
    },
    /// The process forked; a descriptor for the child's address space.
    Fork(RawFd),
    /// A mapping moved.
    Remap { from: usize, to: usize, length: usize },
    /// A range was unmapped.
    Unmap { start: usize, end: usize },
    /// Anything that was not asked for.
    Other,
}

impl Message {
    fn parse(message: &raw::uffd_msg) -> Self {
        let arg = message.arg;
        match u32::from(message.event) {
            raw::UFFD_EVENT_PAGEFAULT => {
                // SAFETY: the kernel filled the variant that the event names.
                let fault = unsafe { arg.pagefault };
                let has = |flag: u32| fault.flags & u64::from(flag) != 0;
                Self::Fault {
                    address: fault.address as usize,
                    write: has(raw::UFFD_PAGEFAULT_FLAG_WRITE),
                    protected: has(raw::UFFD_PAGEFAULT_FLAG_WP),
                }
            }
            raw::UFFD_EVENT_FORK => {
                // SAFETY: as above.
                let fork = unsafe { arg.fork };
                descriptors::note(fork.ufd as RawFd);
                Self::Fork(fork.ufd as RawFd)
            }
            raw::UFFD_EVENT_REMAP => {
                // SAFETY: as above.
                let remap = unsafe { arg.remap };
                Self::Remap {
                    from: remap.from as usize,
                    to: remap.to as usize,
                    length: remap.len as usize,
                }
            }
            raw::UFFD_EVENT_UNMAP => {
                // SAFETY: as above.
                let range = unsafe { arg.remove };
                Self::Unmap {
                    start: range.start as usize,
                    end: range.end as usize,
                }
            }
            _ => Self::Other,
        }
    }
}

/// The messages of one read. They lie on the stack: taking them allocates nothing.
pub(super) struct Batch {
    messages: [MaybeUninit<raw::uffd_msg>; BATCH],
    length: usize,
}

impl Batch {
    /// Reads what waits, without blocking.
    pub(super) fn read(fd: impl AsFd) -> Result<Self, Errno> {
        const SIZE: usize = size_of::<raw::uffd_msg>();
        let mut messages = [MaybeUninit::<raw::uffd_msg>::uninit(); BATCH];
        // SAFETY: the slice covers the buffer exactly; uninitialised bytes may be written.
        let bytes = unsafe {
            std::slice::from_raw_parts_mut(messages.as_mut_ptr().cast::<MaybeUninit<u8>>(), BATCH * SIZE)
        };
        let length = match rustix::io::read(fd, &mut *bytes) {
            Ok((filled, _)) => filled.len() / SIZE,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(errno) => return Err(errno),
        };
        Ok(Self { messages, length })
    }

    /// True if there may be more to read.
    pub(super) fn is_full(&self) -> bool {
        self.length == BATCH
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Message> {
        self.messages[..self.length].iter().map(|message| {
            // SAFETY: the kernel wrote `length` whole messages.
            Message::parse(unsafe { message.assume_init_ref() })
        })
    }
}
