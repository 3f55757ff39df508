//! The userfaultfd ioctls; what their results mean is decided here and nowhere else.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use linux_raw_sys::general as raw;
use rustix::io::Errno;
use rustix::ioctl::{self, Opcode, opcode};
use rustix::mm::UserfaultfdFlags;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::descriptors::{self, Change};
use super::forks;

/// `_IO(0xAA, 0)` on `/dev/userfaultfd`.
const NEW: Opcode = opcode::none(raw::UFFDIO as u8, 0);
const API: Opcode = opcode::read_write::<raw::uffdio_api>(raw::UFFDIO as u8, raw::_UFFDIO_API as u8);
const REGISTER: Opcode =
    opcode::read_write::<raw::uffdio_register>(raw::UFFDIO as u8, raw::_UFFDIO_REGISTER as u8);
const UNREGISTER: Opcode =
    opcode::read::<raw::uffdio_range>(raw::UFFDIO as u8, raw::_UFFDIO_UNREGISTER as u8);
const WAKE: Opcode = opcode::read::<raw::uffdio_range>(raw::UFFDIO as u8, raw::_UFFDIO_WAKE as u8);
const COPY: Opcode = opcode::read_write::<raw::uffdio_copy>(raw::UFFDIO as u8, raw::_UFFDIO_COPY as u8);
const PROTECT: Opcode =
    opcode::read_write::<raw::uffdio_writeprotect>(raw::UFFDIO as u8, raw::_UFFDIO_WRITEPROTECT as u8);
const CONTINUE: Opcode =
    opcode::read_write::<raw::uffdio_continue>(raw::UFFDIO as u8, raw::_UFFDIO_CONTINUE as u8);
const POISON: Opcode = opcode::read_write::<raw::uffdio_poison>(raw::UFFDIO as u8, raw::_UFFDIO_POISON as u8);

const PROTECT_WP: u64 = 1;
const PROTECT_DONTWAKE: u64 = 2;
const CONTINUE_WP: u64 = 2;

/// Why an ioctl stopped before the end of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// An event waits to be read, or the address space is just changing: read, then go on (EAGAIN).
    Retry,
    /// Something is mapped there already (EEXIST).
    Present,
    /// The range is not, or no longer, a registered mapping (ENOENT, EINVAL).
    Unmapped,
    /// The process is gone (ESRCH).
    ProcessGone,
    /// The page that was to be mapped is not in the memfd (EFAULT).
    Hole,
    /// No memory for a page (ENOMEM, ENOSPC).
    NoMemory,
    /// Anything else.
    Other(Errno),
}

impl Stop {
    fn from_errno(errno: Errno) -> Self {
        match errno {
            Errno::AGAIN => Self::Retry,
            Errno::EXIST => Self::Present,
            Errno::NOENT | Errno::INVAL => Self::Unmapped,
            Errno::SRCH => Self::ProcessGone,
            Errno::FAULT => Self::Hole,
            Errno::NOMEM | Errno::NOSPC => Self::NoMemory,
            other => Self::Other(other),
        }
    }
}

/// How far an ioctl came, in bytes, and why it went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) done: usize,
    pub(super) stop: Option<Stop>,
}

impl Progress {
    /// `field` is what the kernel wrote back: bytes done, or a negative errno.
    fn decode(result: Result<(), Errno>, field: i64, wanted: usize) -> Self {
        let done = usize::try_from(field).unwrap_or(0);
        let stop = match (result, i32::try_from(-field)) {
            (Ok(()), _) if done == wanted => None,
            (Err(_), Ok(errno @ 1..)) => Some(Stop::from_errno(Errno::from_raw_os_error(errno))),
            (Err(errno), _) => Some(Stop::from_errno(errno)),
            (Ok(()), _) => Some(Stop::Retry),
        };
        Self { done, stop }
    }
}

/// One userfaultfd: the faults of one address space on one object's mappings.
///
/// Every method is safe whatever the addresses: the kernel touches only ranges that are registered
/// with a userfaultfd, and fills only pages that are missing there. Only `register` can put memory
/// under this rule, and only [`ClientView`](super::view::ClientView) calls it, for mappings that it made.
#[derive(Debug)]
pub(super) struct Uffd {
    open: Arc<Open>,
    /// While the descriptor is being closed; dropped after it.
    closing: Option<Change>,
}

/// The descriptor, and who may read it.
#[derive(Debug)]
pub(super) struct Open {
    fd: OwnedFd,
    reader: Mutex<()>,
}

impl Open {
    /// Keeps others from reading messages, so that their order is kept.
    pub(super) fn reading(&self) -> MutexGuard<'_, ()> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Open {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Uffd {
    fn drop(&mut self) {
        self.closing = Some(forks::close(&self.open));
        descriptors::forget(self.as_raw_fd());
    }
}

/// Closes a child's descriptor that nobody wants, while another is being closed.
pub(super) fn close_child(fd: RawFd) {
    descriptors::forget(fd);
    // SAFETY: as for `Uffd::of_child`.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
}

impl AsRawFd for Uffd {
    fn as_raw_fd(&self) -> RawFd {
        self.open.fd.as_raw_fd()
    }
}

impl AsFd for Uffd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.open.as_fd()
    }
}

fn range(start: usize, len: usize) -> raw::uffdio_range {
    raw::uffdio_range {
        start: start as u64,
        len: len as u64,
    }
}

impl Uffd {
    fn of(fd: OwnedFd) -> Self {
        descriptors::note(fd.as_raw_fd());
        let reader = Mutex::new(());
        Self {
            open: Arc::new(Open { fd, reader }),
            closing: None,
        }
    }

    /// What is shared with the thread that reads during forks.
    pub(super) fn open_file(&self) -> &Arc<Open> {
        &self.open
    }

    /// A descriptor by the system call; `user_mode_only` needs no privilege.
    pub(super) fn open(user_mode_only: bool) -> Result<Self, Errno> {
        let mut flags = UserfaultfdFlags::CLOEXEC | UserfaultfdFlags::NONBLOCK;
        if user_mode_only {
            flags |= UserfaultfdFlags::from_bits_retain(raw::UFFD_USER_MODE_ONLY);
        }
        let _change = forks::change();
        // SAFETY: no memory is registered yet; what the descriptor may do is bounded by this type.
        Ok(Self::of(unsafe { rustix::mm::userfaultfd(flags) }?))
    }

    /// A descriptor from `/dev/userfaultfd`.
    pub(super) fn open_device() -> Result<Self, Errno> {
        let mode = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
        let device = rustix::fs::open("/dev/userfaultfd", mode, rustix::fs::Mode::empty())?;
        let flags = (UserfaultfdFlags::CLOEXEC | UserfaultfdFlags::NONBLOCK).bits();
        let _change = forks::change();
        // SAFETY: the argument is a set of flags, passed by value, as this ioctl wants it; the result is
        // a new descriptor that nobody else owns.
        unsafe {
            let fd = ioctl::ioctl(device.as_fd(), NewDescriptor(flags as usize))?;
            Ok(Self::of(OwnedFd::from_raw_fd(fd)))
        }
    }

    /// Takes over the descriptor that came with a [`Message::Fork`](super::message::Message::Fork).
    pub(super) fn of_child(fd: RawFd) -> Self {
        // SAFETY: the kernel made the descriptor for the reader of the message, who alone has it and
        // calls this once.
        Self::of(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Takes a descriptor that came from another process; an error if it is none.
    pub(super) fn of_client(fd: OwnedFd) -> io::Result<Self> {
        match Self::is_one(fd.as_fd()) {
            true => Ok(Self::of(fd)),
            false => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// True if the descriptor is a userfaultfd.
    pub(super) fn is_one(fd: BorrowedFd<'_>) -> bool {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        link.is_ok_and(|link| link.as_os_str() == "anon_inode:[userfaultfd]")
    }

    /// Lets the current runtime say when there is something to read.
    pub(super) fn watch(self: Arc<Self>) -> io::Result<AsyncFd<Arc<Self>>> {
        // SAFETY: the descriptor is owned by this value, which the watch keeps; it is never replaced.
        let watch = unsafe { AsyncFd::register_with_interest(self, Interest::READABLE) };
        watch.map_err(io::Error::from)
    }

    /// Agrees on the features; gives those that the kernel has.
    pub(super) fn api(&self, features: u64) -> Result<u64, Errno> {
        let mut arg = raw::uffdio_api {
            api: u64::from(raw::UFFD_API),
            features,
            ioctls: 0,
        };
        self.ioctl::<API, _>(&mut arg)?;
        Ok(arg.features)
    }

    /// Registers a mapping for missing, minor and write-protect faults.
    ///
    /// # Safety
    /// The range must be a mapping of the object's memfd that the caller made: its threads will stop
    /// at absent pages until somebody serves them.
    pub(super) unsafe fn register(&self, start: usize, len: usize) -> Result<(), Errno> {
        let mode = raw::UFFDIO_REGISTER_MODE_MISSING
            | raw::UFFDIO_REGISTER_MODE_MINOR
            | raw::UFFDIO_REGISTER_MODE_WP;
        self.register_for(mode, start, len)
    }

    /// Registers a mapping for missing faults alone.
    ///
    /// # Safety
    /// As for [`register`](Self::register).
    pub(super) unsafe fn register_missing(&self, start: usize, len: usize) -> Result<(), Errno> {
        self.register_for(raw::UFFDIO_REGISTER_MODE_MISSING, start, len)
    }

    fn register_for(&self, mode: u32, start: usize, len: usize) -> Result<(), Errno> {
        let mut arg = raw::uffdio_register {
            range: range(start, len),
            mode: u64::from(mode),
            ioctls: 0,
        };
        self.ioctl::<REGISTER, _>(&mut arg)
    }

    /// Ends the registration and wakes whoever waits there.
    pub(super) fn unregister(&self, start: usize, len: usize) -> Result<(), Errno> {
        self.ioctl::<UNREGISTER, _>(&mut range(start, len))
    }

    /// Wakes the threads that wait in a range; they touch it again.
    pub(super) fn wake(&self, start: usize, len: usize) {
        // It fails only for ranges that make no sense, where nobody can wait.
        let _ = self.ioctl::<WAKE, _>(&mut range(start, len));
    }

    /// Fills missing pages, and wakes.
    pub(super) fn copy(&self, dst: usize, src: &[u8], protect: bool) -> Progress {
        let mut arg = raw::uffdio_copy {
            dst: dst as u64,
            src: src.as_ptr() as u64,
            len: src.len() as u64,
            mode: if protect {
                u64::from(raw::UFFDIO_COPY_MODE_WP)
            } else {
                0
            },
            copy: 0,
        };
        let result = self.ioctl::<COPY, _>(&mut arg);
        Progress::decode(result, arg.copy, src.len())
    }

    /// Maps pages that are in the memfd, and wakes.
    pub(super) fn map_present(&self, start: usize, len: usize, protect: bool) -> Progress {
        let mut arg = raw::uffdio_continue {
            range: range(start, len),
            mode: if protect { CONTINUE_WP } else { 0 },
            mapped: 0,
        };
        let result = self.ioctl::<CONTINUE, _>(&mut arg);
        Progress::decode(result, arg.mapped, len)
    }

    /// Makes accesses fail with SIGBUS, and wakes. Only where nothing is mapped.
    pub(super) fn poison(&self, start: usize, len: usize) -> Progress {
        let mut arg = raw::uffdio_poison {
            range: range(start, len),
            mode: 0,
            updated: 0,
        };
        let result = self.ioctl::<POISON, _>(&mut arg);
        Progress::decode(result, arg.updated, len)
    }

    /// Write-protects pages, mapped or not.
    pub(super) fn protect(&self, start: usize, len: usize) -> Result<(), Stop> {
        self.write_protect(start, len, PROTECT_WP)
    }

    /// Lifts the write protection; wakes unless told otherwise.
    pub(super) fn unprotect(&self, start: usize, len: usize, wake: bool) -> Result<(), Stop> {
        self.write_protect(start, len, if wake { 0 } else { PROTECT_DONTWAKE })
    }

    fn write_protect(&self, start: usize, len: usize, mode: u64) -> Result<(), Stop> {
        let mut arg = raw::uffdio_writeprotect {
            range: range(start, len),
            mode,
        };
        self.ioctl::<PROTECT, _>(&mut arg).map_err(Stop::from_errno)
    }

    /// True if the address space behind the descriptor has ended.
    pub(super) fn process_gone(&self) -> bool {
        // The lowest pages are never mapped: nothing is done, only the process is looked for.
        self.protect(0x1_0000, 0x1000) == Err(Stop::ProcessGone)
    }

    /// True while mappings are being moved or unmapped, of which an event will tell.
    pub(super) fn is_changing(&self) -> bool {
        // The lowest pages are never mapped: nothing is done.
        self.protect(0x1_0000, 0x1000) == Err(Stop::Retry)
    }

    fn ioctl<const OP: Opcode, T>(&self, arg: &mut T) -> Result<(), Errno> {
        // SAFETY: each opcode of this file is used with the structure that it was made from; what the
        // kernel may do with the addresses in it is said at the type.
        unsafe { ioctl::ioctl(self, ioctl::Updater::<OP, T>::new(arg)) }
    }
}

/// `USERFAULTFD_IOC_NEW`: flags by value, a descriptor as the result.
struct NewDescriptor(usize);

// SAFETY: the opcode takes its argument by value and writes nothing.
unsafe impl ioctl::Ioctl for NewDescriptor {
    type Output = RawFd;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        NEW
    }

    fn as_ptr(&mut self) -> *mut std::ffi::c_void {
        std::ptr::without_provenance_mut(self.0)
    }

    unsafe fn output_from_ptr(
        output: ioctl::IoctlOutput,
        _: *mut std::ffi::c_void,
    ) -> rustix::io::Result<Self::Output> {
        Ok(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_results_keep_the_bytes_and_the_reason() {
        let again = Progress::decode(Err(Errno::AGAIN), 8192, 16384);
        assert_eq!((again.done, again.stop), (8192, Some(Stop::Retry)));
        let exists = Progress::decode(Err(Errno::EXIST), -17, 4096);
        assert_eq!((exists.done, exists.stop), (0, Some(Stop::Present)));
        let whole = Progress::decode(Ok(()), 4096, 4096);
        assert_eq!((whole.done, whole.stop), (4096, None));
    }
}
