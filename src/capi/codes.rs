//! Numbers of the C side: errno values and Mach's return codes.

use crate::error::{
    CallError, CopyError, CreateError, InhibitError, MapError, OfferError, ShutdownError, SyncError,
};
use crate::object::PageError;

/// An errno value; 0 is success (`error_t`).
pub(super) type Errno = i32;

pub(super) const EIO: Errno = 5;
pub(super) const EAGAIN: Errno = 11;
pub(super) const ENOMEM: Errno = 12;
pub(super) const EBUSY: Errno = 16;
pub(super) const EINVAL: Errno = 22;
pub(super) const ENOSPC: Errno = 28;
pub(super) const EDEADLK: Errno = 35;
pub(super) const ENOSYS: Errno = 38;
pub(super) const EOPNOTSUPP: Errno = 95;
pub(super) const ESHUTDOWN: Errno = 108;
pub(super) const EDQUOT: Errno = 122;

/// What Mach's calls return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Kern {
    Success = 0,
    ProtectionFailure = 2,
    NoSpace = 3,
    InvalidArgument = 4,
    Failure = 5,
    ResourceShortage = 6,
    MemoryError = 10,
    InvalidName = 15,
    InvalidTask = 16,
    InvalidRight = 17,
    InvalidValue = 18,
    UrefsOverflow = 19,
}

/// The error a callback returned, in the kinds a page can fail with.
pub(super) fn page_error(errno: Errno) -> PageError {
    match errno {
        ENOSPC => PageError::NoSpace,
        EDQUOT => PageError::Quota,
        _ => PageError::Io,
    }
}

pub(super) fn of_page(error: PageError) -> Errno {
    match error {
        PageError::Io => EIO,
        PageError::NoSpace => ENOSPC,
        PageError::Quota => EDQUOT,
    }
}

/// Errors that have an errno value of their own.
pub(super) trait HasErrno {
    fn errno(&self) -> Errno;
}

impl HasErrno for CallError {
    fn errno(&self) -> Errno {
        match self {
            Self::WouldDeadlock => EDEADLK,
            Self::Gone | Self::ShutDown => ESHUTDOWN,
            Self::Refused(_) | Self::Range(_) | Self::OutsideExtent { .. } => EINVAL,
        }
    }
}

impl HasErrno for SyncError {
    fn errno(&self) -> Errno {
        match self {
            Self::Call(error) => error.errno(),
            Self::Pages(pages) => pages.first().map_or(EIO, |pages| of_page(pages.error)),
            Self::Durability(error) => of_page(*error),
        }
    }
}

impl HasErrno for ShutdownError {
    fn errno(&self) -> Errno {
        match self {
            Self::Call(error) => error.errno(),
            Self::Pages(pages) => pages.first().map_or(EIO, |pages| of_page(pages.error)),
            Self::Durability(error) => of_page(*error),
        }
    }
}

impl HasErrno for OfferError {
    fn errno(&self) -> Errno {
        match self {
            Self::Call(error) => error.errno(),
            Self::Length { .. } => EINVAL,
        }
    }
}

impl HasErrno for CopyError {
    fn errno(&self) -> Errno {
        match self {
            Self::Call(error) => error.errno(),
            Self::Page { error, .. } => of_page(*error),
            Self::ReadOnly => EINVAL,
        }
    }
}

impl HasErrno for InhibitError {
    fn errno(&self) -> Errno {
        match self {
            Self::AlreadyInhibited => EBUSY,
            Self::NotInhibited => EINVAL,
            Self::Call(error) => error.errno(),
        }
    }
}

impl HasErrno for CreateError {
    fn errno(&self) -> Errno {
        match self {
            Self::ShutDown => ESHUTDOWN,
            Self::Empty => EINVAL,
            Self::Kernel(_) => ENOMEM,
        }
    }
}

/// What `vm_map` says of it.
pub(super) fn of_map(error: &MapError) -> Kern {
    match error {
        MapError::Call(CallError::OutsideExtent { .. } | CallError::Range(_)) | MapError::Empty => {
            Kern::InvalidArgument
        }
        MapError::Call(_) | MapError::CopyStrategy(_) => Kern::Failure,
        MapError::Page { .. } => Kern::MemoryError,
        MapError::Kernel(_) => Kern::ResourceShortage,
        MapError::ReadOnly => Kern::ProtectionFailure,
    }
}
