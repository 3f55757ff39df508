//! The public errors, one enum per operation.

use crate::actors::engine::UnsavedPages;
use crate::mach::KernelError;
use crate::object::{CopyStrategy, FailedPages, PageError, PageIndex, RangeError, Refusal};

/// Why a bucket could not be started (`pager_start_workers`).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A number in the builder makes no sense.
    #[error("{what} must be at least {least}, not {given}")]
    TooSmall {
        /// Which number.
        what: &'static str,
        /// The least it may be.
        least: u64,
        /// What it was.
        given: u64,
    },
    /// A thread could not be started; none is left behind.
    #[error(
        "the bucket's threads cannot be started: {0}; raise the limits on threads and memory, or ask for fewer"
    )]
    Threads(String),
    /// The bucket's threads cannot run where they are to.
    #[error("the bucket's threads cannot be placed")]
    Placement(#[from] PlacementError),
    /// Memory pressure is to be followed, but there is no bound that could shrink.
    #[error("memory pressure shrinks the bound on resident memory, and there is none; set `resident_limit`")]
    Unbounded,
    /// Nobody tells whether memory is scarce.
    #[error("memory pressure cannot be followed; name another source or do without")]
    Pressure(#[source] std::io::Error),
    /// The kernel cannot be had.
    #[error("there is no kernel to page with")]
    Kernel(#[from] KernelError),
}

/// Why threads cannot run where they are to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlacementError {
    /// There is no processor in the list.
    #[error("no processor is named; name one, or let the threads run anywhere")]
    None,
    /// The system has no such processor, or this process may not use it.
    #[error("processor {cpu} cannot be used")]
    Cpu {
        /// Its number.
        cpu: usize,
        /// What the system says.
        source: std::io::Error,
    },
    /// No thread could be started to try.
    #[error("no thread can be started")]
    Thread(#[source] std::io::Error),
}

/// Why the bound of a bucket could not be changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// The kernel refused.
    #[error("the kernel cannot take this bound")]
    Kernel(#[from] KernelError),
}

/// Why a pager could not be made (`pager_create`).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// The bucket has been shut down.
    #[error("the bucket has been shut down; start another")]
    ShutDown,
    /// The store is empty.
    #[error("the store has an extent of 0 bytes; there is nothing to page")]
    Empty,
    /// The kernel cannot make the object.
    #[error("the kernel cannot make the memory object")]
    Kernel(#[from] KernelError),
}

/// Why a call of a pager failed before it began.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The call would wait for the very thread it is made on.
    #[error(
        "a blocking call on one of the bucket's own threads would never return; use the async form, or another thread"
    )]
    WouldDeadlock,
    /// The pager has ended, or panicked during the call and was made anew. Whether the call was carried out
    /// is not known; it may be made again.
    #[error("the pager ended, or was made anew, during the call")]
    Gone,
    /// The pager was shut down before.
    #[error("the pager has been shut down; what is resident can still be read")]
    ShutDown,
    /// The object refused the call.
    #[error("the memory object refused the call")]
    Refused(#[from] Refusal),
    /// The range makes no sense.
    #[error("the range makes no sense")]
    Range(#[from] RangeError),
    /// The range ends outside of the object.
    #[error("the range ends at byte {end}, but the object has {extent} bytes")]
    OutsideExtent {
        /// The end of the range in bytes.
        end: u64,
        /// The length of the object in bytes.
        extent: u64,
    },
}

/// Why a sync, flush or return did not do all of its work (`pager_sync`, `pager_flush`, `pager_return`).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SyncError {
    /// The call failed before it began.
    #[error(transparent)]
    Call(#[from] CallError),
    /// These pages could not be written. They are kept and tried again; each is reported once.
    #[error("{} ranges of pages could not be written; they are kept in memory and tried again", .0.len())]
    Pages(Vec<FailedPages>),
    /// The pages are written, but the store could not make them durable.
    #[error("the store could not make the pages durable")]
    Durability(#[source] PageError),
}

/// Why a sync of several objects stopped.
#[derive(Debug, thiserror::Error)]
#[error(
    "object {position} of the order could not be synced; those before it are durable, those after it are untouched"
)]
pub struct SyncAllError {
    /// Which, counted from 0.
    pub position: usize,
    /// Why.
    #[source]
    pub source: SyncError,
}

/// Why a shutdown did not write everything back (`pager_shutdown`).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShutdownError {
    /// The call failed before it began.
    #[error(transparent)]
    Call(#[from] CallError),
    /// These pages could not be written; their contents are in here, and the caller's now: to be
    /// written again, saved elsewhere, or given up by dropping them. Where a write hung, its call may
    /// still store the same contents when it returns ([`EventKind::LateResult`](crate::EventKind)).
    #[error("{} ranges of pages could not be written; they are in this error, to be saved elsewhere", .0.len())]
    Pages(Vec<UnsavedPages>),
    /// The pages are written, but the store could not make them durable.
    #[error("the store could not make the pages durable")]
    Durability(#[source] PageError),
}

/// Why a mapping could not be made (`vm_map`).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// The call failed before it began.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The kernel refused.
    #[error("the kernel cannot map the object")]
    Kernel(#[from] KernelError),
    /// The copy strategy of the object leaves the copy to its pager (`memory_object_copy`), and the
    /// pagers of this library, like the original's, make none.
    #[error(
        "an object with the copy strategy {0:?} is copied by its pager, which makes no copies; change the strategy to Delay or None first"
    )]
    CopyStrategy(CopyStrategy),
    /// A page of a copy that is made at once cannot be had; nothing is mapped.
    #[error("page {} cannot be copied", page.0)]
    Page {
        /// The first page that cannot be had.
        page: PageIndex,
        /// Why.
        #[source]
        error: PageError,
    },
    /// The range has no byte in it.
    #[error("the range to map is empty")]
    Empty,
    /// A writable mapping was asked for through a read-only port.
    #[error("the port is read-only; map it for reading")]
    ReadOnly,
}

/// Why a copy stopped (`pager_memcpy`).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The call failed before it began; nothing was copied.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A page could not be had.
    #[error("page {} failed after {copied} bytes were copied", page.0)]
    Page {
        /// Exactly how many bytes were copied, up to the start of the bad page.
        copied: usize,
        /// The page that could not be had.
        page: PageIndex,
        /// Why.
        #[source]
        error: PageError,
    },
    /// A writable copy through a read-only mapping.
    #[error("the mapping is read-only; map the pages for writing")]
    ReadOnly,
}

impl CopyError {
    /// How many bytes were copied before the copy stopped.
    pub fn copied(&self) -> usize {
        match self {
            Self::Page { copied, .. } => *copied,
            Self::Call(_) | Self::ReadOnly => 0,
        }
    }
}

/// Why a page was not offered (`pager_offer_page`).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OfferError {
    /// The call failed before it began.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The data are not one page long.
    #[error("an offered page has {page_size} bytes, not {given}")]
    Length {
        /// Bytes of a page of this object.
        page_size: u64,
        /// Bytes given.
        given: usize,
    },
}

/// Why a bucket was not inhibited or resumed (`pager_inhibit_workers`, `pager_resume_workers`).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InhibitError {
    /// The bucket is inhibited already.
    #[error("the bucket is inhibited already; resume it first")]
    AlreadyInhibited,
    /// The bucket is not inhibited.
    #[error("the bucket is not inhibited")]
    NotInhibited,
    /// A blocking call on one of the bucket's own threads.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Why a bucket did not shut down whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BucketShutdownError {
    /// A blocking call on one of the bucket's own threads.
    #[error(transparent)]
    Call(#[from] CallError),
    /// These pagers could not write all their pages back; they keep them.
    #[error("these pagers could not write all their pages back: {}", .0.join(", "))]
    Pagers(Vec<String>),
}
