//! What a memory object wants done: every output of the core, as one enum.

use super::{CopyStrategy, DataId, OpId, PageError, PageRange, PortName, Prot, RequestToken, ShouldReturn};

/// One output of a [`MemoryObject`](super::MemoryObject), to be carried out in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Tell the kernel that the object is ready (`memory_object_ready`).
    Ready {
        /// The kernel's control port.
        control: PortName,
        /// Keep pages when the last mapping goes.
        may_cache: bool,
        /// How copies are made.
        copy_strategy: CopyStrategy,
    },
    /// Give the kernel pages (`memory_object_data_supply`); their memory goes with the message.
    DataSupply {
        /// The kernel's control port.
        control: PortName,
        /// The pages.
        range: PageRange,
        /// The memory that holds them (and perhaps other pages).
        data: DataId,
        /// The accesses prohibited.
        lock: Prot,
        /// The pages must be returned even when clean.
        precious: bool,
    },
    /// Tell the kernel that pages cannot be had (`memory_object_data_error`).
    ///
    /// Requests that are refused for their form carry the offset and length they came with.
    DataError {
        /// The control port of the request.
        control: PortName,
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
        /// The reason.
        error: PageError,
    },
    /// Change locks, make the kernel return or drop pages (`memory_object_lock_request`).
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
    /// Change the object's attributes in the kernel (`memory_object_change_attributes`).
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
    /// Refuse a kernel: it cannot use this object (`memory_object_destroy`).
    Destroy {
        /// The control port of the refused kernel.
        control: PortName,
    },
    /// Give back the rights of a message that was refused, or of a kernel that is gone.
    ReleasePorts {
        /// The control port.
        control: PortName,
        /// The name port, if there is one.
        name: PortName,
    },

    /// Read pages from the store (`pager_read_page`).
    Read {
        /// To answer by.
        op: OpId,
        /// The pages.
        range: PageRange,
        /// What the faulting thread wants to do.
        access: Prot,
    },
    /// Write pages to the store (`pager_write_page`, `pager_write_pages`); the memory is only lent.
    Write {
        /// To answer by.
        op: OpId,
        /// The pages.
        range: PageRange,
        /// The memory that holds them (and perhaps other pages).
        data: DataId,
    },
    /// Ask the store to let pages be written to (`pager_unlock_page`).
    Unlock {
        /// To answer by.
        op: OpId,
        /// The pages.
        range: PageRange,
    },
    /// Tell the user that pages were evicted (`pager_notify_evict`).
    NotifyEvict {
        /// The pages.
        range: PageRange,
    },
    /// Pages of this memory are needed no more (`vm_deallocate`).
    Release {
        /// The memory.
        data: DataId,
        /// The pages of it that are done with.
        range: PageRange,
    },
    /// The memory of a message or an answer that was refused is needed no more, none of it.
    ReleaseWhole {
        /// The memory.
        data: DataId,
    },

    /// Answer a user's request; each token is answered exactly once.
    Answer {
        /// The request.
        token: RequestToken,
        /// The outcome.
        answer: Answer,
    },
    /// Some writes failed and are kept: send a [`RetryWrites`](super::Event::RetryWrites) when the
    /// policy says so.
    WritesFailed {
        /// The pages.
        range: PageRange,
        /// The reason.
        error: PageError,
    },
    /// The object's port is to be destroyed: it was shut down.
    DestroyPort,
    /// A message was refused; for the counters and the log.
    Refused(Refusal),
}

/// The outcome of a user's request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done.
    Done,
    /// A lock request or a shutdown ended; the pages whose writes failed and were not reported before.
    Failed(Vec<FailedPages>),
    /// The object was shut down before.
    ShutDown,
    /// No kernel uses the object, or the page lies where it may not.
    Rejected(Refusal),
}

/// Pages whose write failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedPages {
    /// The pages.
    pub range: PageRange,
    /// The reason.
    pub error: PageError,
    /// Where their data is now.
    pub fate: PageFate,
}

/// Where the data of a failed write is by the time the failure is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PageFate {
    /// In memory, to be written again.
    Kept,
    /// In the store: a later write of the page succeeded.
    Stored,
    /// Gone: a flush dropped it, or the kernel did.
    Dropped,
    /// With the answer: the object was shut down, and the pages of this memory are now the caller's.
    HandedBack(DataId),
}

/// Why a message or a call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The control port is not the one the object was initialised with.
    #[error("the message names a control port that this object does not know")]
    WrongControl,
    /// The object is not in the state for this.
    #[error("the object is not ready for this message")]
    WrongState,
    /// The offset is not at the start of a page.
    #[error("the offset is not at the start of a page")]
    Misaligned,
    /// The length is not a whole, positive number of pages.
    #[error("the length is not a whole positive number of pages")]
    BadLength,
    /// The range ends beyond the largest offset.
    #[error("the range ends beyond the largest offset")]
    Overflow,
    /// The page lies outside the extent.
    #[error("the range lies outside the extent of the object")]
    OutsideExtent,
    /// The access is not one that can be unlocked.
    #[error("the access asked for cannot be unlocked")]
    BadAccess,
    /// A second kernel wants to use the object.
    #[error("another kernel already uses this object")]
    SecondKernel,
    /// The kernel's page size differs.
    #[error("the kernel's page size is not this object's")]
    WrongPageSize,
    /// A completion that nobody waits for.
    #[error("nobody waits for this completion")]
    Unmatched,
}
