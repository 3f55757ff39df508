//! The words between kernel and pager, in Mach's own names.

use std::fmt;
use std::sync::Arc;

use crate::object::{CopyStrategy, PageError, PageRange, PortName, Prot, ShouldReturn};

/// What the kernel says to the pager (`memory_object.defs`, the `memory_object_*` server side).
///
/// Offsets and lengths are bytes and unchecked: the pager checks them.
#[derive(Clone, Debug)]
pub enum Upcall {
    /// `memory_object_init`: the object was mapped for the first time.
    Init {
        /// The kernel's control port.
        control: PortName,
        /// The kernel's name port.
        name: PortName,
        /// The kernel's page size in bytes.
        page_size: u64,
    },
    /// `memory_object_data_request`: a thread waits for these pages.
    DataRequest {
        /// The kernel's control port.
        control: PortName,
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
        /// What the thread wants to do.
        access: Prot,
    },
    /// `memory_object_data_return`: the kernel hands pages back.
    DataReturn {
        /// The kernel's control port.
        control: PortName,
        /// First byte.
        offset: u64,
        /// The pages.
        data: PageData,
        /// They were written to.
        dirty: bool,
        /// The kernel keeps a copy.
        kernel_copy: bool,
    },
    /// `memory_object_data_unlock`: a thread waits for a lock to be lifted.
    DataUnlock {
        /// The kernel's control port.
        control: PortName,
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
        /// The access it wants.
        access: Prot,
    },
    /// `memory_object_lock_completed`: a lock request with a reply port is done.
    LockCompleted {
        /// The kernel's control port.
        control: PortName,
        /// First byte of the request.
        offset: u64,
        /// Bytes of the request.
        length: u64,
    },
    /// `memory_object_supply_completed`: a supply with a reply port is done.
    SupplyCompleted {
        /// The kernel's control port.
        control: PortName,
        /// First byte of the supply.
        offset: u64,
        /// Bytes of the supply.
        length: u64,
        /// `kern_return_t` of the supply.
        result: u32,
        /// Where it went wrong, in bytes from the first.
        error_offset: u64,
    },
    /// `memory_object_change_completed`: an attribute change with a reply port is done.
    ChangeCompleted {
        /// As in the request.
        may_cache: bool,
        /// As in the request.
        copy_strategy: CopyStrategy,
    },
    /// `memory_object_copy`: part of the object, whose copy strategy is `Call`, was copied; the copy
    /// is a new memory object, which the kernel will initialise.
    Copy {
        /// The kernel's control port.
        control: PortName,
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
        /// The port of the new memory object.
        new_object: PortName,
    },
    /// `memory_object_terminate`: the kernel gives the object up.
    Terminate {
        /// The control port, dying.
        control: PortName,
        /// The name port, dying.
        name: PortName,
    },
    /// `mach_notify_no_senders`: the last send right to the object's port is gone.
    NoSenders,
}

/// What the pager says to the kernel (`memory_object.defs`, the kernel's side).
#[derive(Debug)]
pub enum Call<'a> {
    /// `memory_object_ready`.
    Ready {
        /// The kernel's control port.
        control: PortName,
        /// Keep pages when the last mapping goes.
        may_cache: bool,
        /// How copies are made.
        copy_strategy: CopyStrategy,
    },
    /// `memory_object_data_supply`.
    DataSupply {
        /// The kernel's control port.
        control: PortName,
        /// The pages.
        range: PageRange,
        /// Their contents: exactly `range`.
        pages: PageSlice<'a>,
        /// The accesses prohibited.
        lock: Prot,
        /// They must be returned even when clean.
        precious: bool,
        /// A `SupplyCompleted` is wanted.
        reply: bool,
    },
    /// `memory_object_data_unavailable`: the pages read as zeros.
    DataUnavailable {
        /// The kernel's control port.
        control: PortName,
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
    },
    /// `memory_object_data_error`.
    DataError {
        /// The kernel's control port.
        control: PortName,
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
        /// The reason.
        error: PageError,
    },
    /// `memory_object_lock_request`.
    LockRequest {
        /// The kernel's control port.
        control: PortName,
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
        /// Which pages are to be returned.
        should_return: ShouldReturn,
        /// The pages are to be dropped.
        should_flush: bool,
        /// The accesses prohibited from now on.
        lock: Prot,
        /// A `LockCompleted` is wanted.
        reply: bool,
    },
    /// `memory_object_change_attributes`.
    ChangeAttributes {
        /// The kernel's control port.
        control: PortName,
        /// Keep pages when the last mapping goes.
        may_cache: bool,
        /// How copies are made.
        copy_strategy: CopyStrategy,
        /// A `ChangeCompleted` is wanted.
        reply: bool,
    },
    /// `memory_object_destroy`: the pager gives the object up.
    Destroy {
        /// The kernel's control port.
        control: PortName,
    },
}

/// The contents of pages that are being supplied.
#[derive(Clone, Copy, Debug)]
pub enum PageSlice<'a> {
    /// Bytes in memory of the pager's.
    Bytes(&'a [u8]),
    /// They are still in the kernel's cache: a return that is given back.
    Cached,
}

/// The pages of a return, which the pager holds until it supplies or releases them.
#[derive(Clone)]
pub enum PageData {
    /// Memory that came with the message.
    Owned(Vec<u8>),
    /// Pages that stay in the kernel's cache until they are released.
    Cached {
        /// The cache they are in.
        memory: Arc<dyn PageMemory>,
        /// First byte within the object.
        offset: u64,
        /// Bytes.
        length: usize,
    },
}

impl PageData {
    /// The length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Owned(bytes) => bytes.len(),
            Self::Cached { length, .. } => *length,
        }
    }

    /// True if there is no byte in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes.
    ///
    /// Pages that are cached hold still only between `Kernel::write_begins` and
    /// `Kernel::write_ended`.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Cached {
                memory,
                offset,
                length,
            } => memory.bytes(*offset, *length),
        }
    }
}

impl fmt::Debug for PageData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Owned(_) => "owned",
            Self::Cached { .. } => "cached",
        };
        write!(f, "PageData({kind}, {} bytes)", self.len())
    }
}

/// A kernel's page cache, as seen by the backend that writes pages out of it.
pub trait PageMemory: Send + Sync {
    /// The bytes from `offset` on; only for pages that were returned and not yet released.
    fn bytes(&self, offset: u64, length: usize) -> &[u8];

    /// Copies the same bytes where that is cheaper than looking at them; false where it is not.
    fn copy(&self, _offset: u64, _into: &mut [u8]) -> bool {
        false
    }

    /// True if clients may write to the pages at any time: while they have them, the bytes are to be copied,
    /// or handed on to the system, and not looked at.
    fn is_live(&self) -> bool {
        false
    }
}
