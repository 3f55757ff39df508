//! A userfaultfd that is read by blocking.

use std::io;
use std::os::fd::OwnedFd;

use linux_raw_sys::general as raw;
use rustix::ioctl::{Opcode, Setter, Updater, ioctl, opcode};
use rustix::mm::{UserfaultfdFlags, userfaultfd};

use super::{Map, PAGE};

const GROUP: u8 = raw::UFFDIO as u8;
const API: Opcode = opcode::read_write::<raw::uffdio_api>(GROUP, raw::_UFFDIO_API as u8);
const REGISTER: Opcode = opcode::read_write::<raw::uffdio_register>(GROUP, raw::_UFFDIO_REGISTER as u8);
const COPY: Opcode = opcode::read_write::<raw::uffdio_copy>(GROUP, raw::_UFFDIO_COPY as u8);
const CONTINUE: Opcode = opcode::read_write::<raw::uffdio_continue>(GROUP, raw::_UFFDIO_CONTINUE as u8);
const PROTECT: Opcode =
    opcode::read_write::<raw::uffdio_writeprotect>(GROUP, raw::_UFFDIO_WRITEPROTECT as u8);
const UNREGISTER: Opcode = opcode::read::<raw::uffdio_range>(GROUP, raw::_UFFDIO_UNREGISTER as u8);
const WAKE: Opcode = opcode::read::<raw::uffdio_range>(GROUP, raw::_UFFDIO_WAKE as u8);

const WRITEPROTECT_MODE_WP: u64 = 1;

/// What a mapping is registered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Pages that are not in the file.
    Missing,
    /// Pages that are in the file but not in the page tables.
    Minor,
    /// Missing pages, and writes to protected ones.
    MissingAndProtected,
    /// Writes to protected pages, noted by the kernel without asking.
    ProtectedAsync,
}

impl Mode {
    fn register(self) -> u32 {
        match self {
            Self::Missing => raw::UFFDIO_REGISTER_MODE_MISSING,
            Self::Minor => raw::UFFDIO_REGISTER_MODE_MINOR,
            Self::MissingAndProtected => raw::UFFDIO_REGISTER_MODE_MISSING | raw::UFFDIO_REGISTER_MODE_WP,
            Self::ProtectedAsync => raw::UFFDIO_REGISTER_MODE_WP,
        }
    }

    fn features(self) -> u32 {
        let protect = raw::UFFD_FEATURE_PAGEFAULT_FLAG_WP | raw::UFFD_FEATURE_WP_HUGETLBFS_SHMEM;
        match self {
            Self::Missing => raw::UFFD_FEATURE_MISSING_SHMEM,
            Self::Minor => raw::UFFD_FEATURE_MINOR_SHMEM,
            Self::MissingAndProtected => raw::UFFD_FEATURE_MISSING_SHMEM | protect,
            Self::ProtectedAsync => protect | raw::UFFD_FEATURE_WP_ASYNC | raw::UFFD_FEATURE_WP_UNPOPULATED,
        }
    }
}

/// A thread waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    /// Where.
    pub(crate) address: usize,
    /// It wants to write.
    pub(crate) write: bool,
    /// The page is there, but write-protected.
    pub(crate) protected: bool,
}

/// A userfaultfd.
///
/// Safe, because the benches register only mappings of their own, to which no reference exists.
#[derive(Debug)]
pub(crate) struct Uffd(OwnedFd);

impl Uffd {
    /// A descriptor with which all of `map` is registered.
    pub(crate) fn new(map: &Map, pages: usize, mode: Mode) -> io::Result<Self> {
        let flags = UserfaultfdFlags::CLOEXEC | UserfaultfdFlags::from_bits_retain(raw::UFFD_USER_MODE_ONLY);
        // SAFETY: only memory of the benches is registered, in the line after next.
        let uffd = Self(unsafe { userfaultfd(flags)? });
        let mut api = raw::uffdio_api {
            api: raw::UFFD_API.into(),
            features: mode.features().into(),
            ioctls: 0,
        };
        uffd.update::<API, _>(&mut api)?;
        let mut register = raw::uffdio_register {
            range: range(map.address(), pages),
            mode: mode.register().into(),
            ioctls: 0,
        };
        uffd.update::<REGISTER, _>(&mut register)?;
        Ok(uffd)
    }

    /// Waits for faults, and appends them to `faults`.
    pub(crate) fn read(&self, faults: &mut Vec<Fault>) -> io::Result<()> {
        const SIZE: usize = size_of::<raw::uffd_msg>();
        let mut bytes = [0; SIZE * 16];
        let read = rustix::io::read(&self.0, &mut bytes)?;
        faults.extend(bytes[..read].chunks_exact(SIZE).filter_map(parse));
        Ok(())
    }

    /// Fills missing pages and wakes who waits for them; pages that are there already are left alone.
    pub(crate) fn copy(&self, address: usize, from: &[u8], protect: bool) -> io::Result<()> {
        let mut copy = raw::uffdio_copy {
            dst: address as u64,
            src: from.as_ptr().expose_provenance() as u64,
            len: from.len() as u64,
            mode: if protect {
                raw::UFFDIO_COPY_MODE_WP.into()
            } else {
                0
            },
            copy: 0,
        };
        self.unless_there(self.update::<COPY, _>(&mut copy), address, from.len() / PAGE)
    }

    /// Maps pages that are in the file and wakes who waits for them.
    pub(crate) fn map_present(&self, address: usize, pages: usize) -> io::Result<()> {
        let mut arg = raw::uffdio_continue {
            range: range(address, pages),
            mode: 0,
            mapped: 0,
        };
        self.unless_there(self.update::<CONTINUE, _>(&mut arg), address, pages)
    }

    /// Protects pages from writes, or lets writes through again and wakes who waits.
    pub(crate) fn protect(&self, address: usize, pages: usize, on: bool) -> io::Result<()> {
        let mode = if on { WRITEPROTECT_MODE_WP } else { 0 };
        let mut arg = raw::uffdio_writeprotect {
            range: range(address, pages),
            mode,
        };
        self.update::<PROTECT, _>(&mut arg)
    }

    /// Ends the registration, and wakes everybody.
    pub(crate) fn unregister(&self, map: &Map, pages: usize) -> io::Result<()> {
        // SAFETY: this ioctl reads a range by pointer and touches no memory.
        unsafe { ioctl(&self.0, Setter::<UNREGISTER, _>::new(range(map.address(), pages)))? };
        Ok(())
    }

    /// Where a page was there already, its waiters may still have to be woken.
    fn unless_there(&self, result: io::Result<()>, address: usize, pages: usize) -> io::Result<()> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.wake(address, pages),
            other => other,
        }
    }

    /// Lets those try again who wait for pages.
    pub(crate) fn wake(&self, address: usize, pages: usize) -> io::Result<()> {
        // SAFETY: this ioctl reads a range by pointer and touches no memory.
        unsafe { ioctl(&self.0, Setter::<WAKE, _>::new(range(address, pages)))? };
        Ok(())
    }

    fn update<const OPCODE: Opcode, T>(&self, arg: &mut T) -> io::Result<()> {
        // SAFETY: every caller pairs the opcode with the type it was made of; the kernel fills only
        // missing pages of the registered mapping, to which no reference exists.
        unsafe { ioctl(&self.0, Updater::<OPCODE, T>::new(arg))? };
        Ok(())
    }
}

fn range(address: usize, pages: usize) -> raw::uffdio_range {
    raw::uffdio_range {
        start: address as u64,
        len: (pages * PAGE) as u64,
    }
}

/// Takes a fault out of a `struct uffd_msg`: the event's number, then flags and address from byte 8 on.
fn parse(message: &[u8]) -> Option<Fault> {
    let word = |at: usize| {
        message
            .get(at..)?
            .first_chunk()
            .map(|bytes| u64::from_ne_bytes(*bytes))
    };
    if u32::from(*message.first()?) != raw::UFFD_EVENT_PAGEFAULT {
        return None;
    }
    let flags = word(8)?;
    Some(Fault {
        address: word(16)? as usize & !(PAGE - 1),
        write: flags & u64::from(raw::UFFD_PAGEFAULT_FLAG_WRITE) != 0,
        protected: flags & u64::from(raw::UFFD_PAGEFAULT_FLAG_WP) != 0,
    })
}
