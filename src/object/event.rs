//! What can happen to a memory object: every input of the core, as one enum.

use super::{CopyStrategy, DataId, OpId, PageError, PageRange, PortName, Prot, RequestToken};

/// The three bulk requests a user may make of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LockKind {
    /// Write dirty and precious pages back, keep them resident (`pager_sync`).
    Sync,
    /// Drop the pages, modifications too (`pager_flush`).
    Flush,
    /// Write back, then drop (`pager_return`).
    Return,
}

/// One input of a [`MemoryObject`](super::MemoryObject).
///
/// Messages of the kernel carry offsets and lengths in bytes, unchecked, as they came: it is the
/// core that checks them and answers the wrong ones with an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The kernel maps the object for the first time (`memory_object_init`).
    Init {
        /// The kernel's control port.
        control: PortName,
        /// The kernel's name port.
        name: PortName,
        /// The kernel's page size in bytes.
        page_size: u64,
    },
    /// The kernel wants pages (`memory_object_data_request`).
    DataRequest {
        /// The control port it came with.
        control: PortName,
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
        /// What the faulting thread wants to do.
        access: Prot,
    },
    /// The kernel hands pages back (`memory_object_data_return`).
    DataReturn {
        /// The control port it came with.
        control: PortName,
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
        /// The page memory; the core releases or supplies each of its pages exactly once.
        data: DataId,
        /// The pages were written to since they were supplied.
        dirty: bool,
        /// The kernel keeps a copy.
        kernel_copy: bool,
    },
    /// The kernel wants a lock lifted (`memory_object_data_unlock`).
    DataUnlock {
        /// The control port it came with.
        control: PortName,
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
        /// The access wanted.
        access: Prot,
    },
    /// A lock request was carried out (`memory_object_lock_completed`).
    LockCompleted {
        /// The control port it came with.
        control: PortName,
        /// First byte of the request it answers.
        offset: u64,
        /// Bytes.
        length: u64,
    },
    /// An attribute change was carried out (`memory_object_change_completed`).
    ChangeCompleted {
        /// As in the request it answers.
        may_cache: bool,
        /// As in the request it answers.
        copy_strategy: CopyStrategy,
    },
    /// The kernel gives the object up (`memory_object_terminate`).
    Terminate {
        /// The control port, dying.
        control: PortName,
        /// The name port, dying.
        name: PortName,
    },
    /// The last send right to the object's port is gone (`mach_notify_no_senders`).
    NoSenders,

    /// A user syncs, flushes or returns a range.
    Lock {
        /// To answer by.
        token: RequestToken,
        /// Which of the three.
        kind: LockKind,
        /// First byte; rounded down to a page.
        offset: u64,
        /// Bytes; the end is rounded up to a page.
        length: u64,
        /// Answer when all is done; otherwise when the request is sent.
        wait: bool,
    },
    /// A user offers a page (`pager_offer_page`).
    Offer {
        /// To answer by.
        token: RequestToken,
        /// First byte.
        offset: u64,
        /// The page memory, one page.
        data: DataId,
        /// The page must be returned even when clean.
        precious: bool,
        /// Writing needs an unlock first.
        write_lock: bool,
    },
    /// A user changes the attributes (`pager_change_attributes`).
    ChangeAttributes {
        /// To answer by.
        token: RequestToken,
        /// Keep pages when the last mapping goes.
        may_cache: bool,
        /// How copies are made.
        copy_strategy: CopyStrategy,
        /// Answer when the kernel confirms; otherwise at once.
        wait: bool,
    },
    /// A user shuts the object down (`pager_shutdown`).
    Shutdown {
        /// To answer by.
        token: RequestToken,
        /// The extent of the object in bytes from 0: what must be written back.
        extent: u64,
    },
    /// Time has come to try failed writes again.
    RetryWrites,

    /// A read ended, for the whole of its range or a part of it.
    PagesRead {
        /// The read.
        op: OpId,
        /// The pages this answers; the parts of one read never overlap.
        range: PageRange,
        /// Their memory and whether they are to be write-locked, or what went wrong.
        result: Result<PagesSupplied, PageError>,
    },
    /// A write ended.
    PagesWritten {
        /// The write.
        op: OpId,
        /// How many pages from the first on are safely in the store.
        written: u64,
        /// What went wrong with the page after those; `None` only if all were written.
        error: Option<PageError>,
    },
    /// An unlock ended.
    PagesUnlocked {
        /// The unlock.
        op: OpId,
        /// Granted, or the reason of the refusal.
        result: Result<(), PageError>,
    },
}

/// The outcome of a read that went well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PagesSupplied {
    /// The page memory, of exactly the pages of the answer.
    pub data: DataId,
    /// Writing needs an unlock first.
    pub write_lock: bool,
}
