//! Where pages come from and go to: the [`Backend`] trait and the stores behind it.

mod buffer;
mod factory;
mod faulty;
mod file;
#[cfg(feature = "http")]
mod http;
mod memory;
mod run;
mod shared;

pub use buffer::{BUFFER_ALIGNMENT, BufferPool, PageBuffer};
pub use factory::FactoryBackend;
pub use faulty::{CallKind, Fault, FaultControl, FaultCounts, FaultRates, FaultyBackend, Point};
pub use file::{FileBackend, FileOptions, OpenError};
#[cfg(feature = "http")]
pub use http::{HttpBackend, HttpError};
pub use memory::MemoryBackend;
pub(crate) use run::SharedBytes;
pub use run::{BackendError, PageOutcome, ReadRun, WriteError, WriteRun};

use crate::object::{PageRange, PageSize};

/// A store of pages: the user's callbacks of `pager.h`, generalised to runs of pages.
///
/// The pager calls these from its pool of blocking actors, several at once, but never two that
/// touch the same page. They may block and may panic: a panic becomes an error answer (EIO).
pub trait Backend: Send + Sync + 'static {
    /// The length of the object in bytes, from offset 0 (`pager_report_extent`).
    ///
    /// It need not be whole pages: the tail of the last page reads zero and is not written. Must
    /// not block.
    fn extent(&self) -> u64;

    /// Reads the pages of `run` (`pager_read_page`).
    ///
    /// What is not written in the buffer reads as zeros. Pages can be failed or write-locked one by
    /// one through `run`; an `Err` fails every page that was not [filled](ReadRun::filled).
    fn read_pages(&self, run: &mut ReadRun<'_>) -> Result<(), BackendError>;

    /// Reads like [`read_pages`](Self::read_pages) if that takes no waiting; `None` where it might.
    ///
    /// Called on the pager's own thread: it must never block. After `None` the buffer may hold
    /// anything.
    fn try_read_pages(&self, _run: &mut ReadRun<'_>) -> Option<Result<(), BackendError>> {
        None
    }

    /// Writes the pages of `run` (`pager_write_page`, `pager_write_pages`).
    ///
    /// An error says how many pages from the first on were written all the same.
    fn write_pages(&self, run: &WriteRun<'_>) -> Result<(), WriteError>;

    /// True if the pages of a write may change while it runs: the store hands their bytes on and looks at none
    /// of them. That spares a copy of pages that clients go on writing to; what they change meanwhile is
    /// written once more later. Otherwise pages hold still, as the default says.
    fn takes_moving_pages(&self) -> bool {
        false
    }

    /// Lets pages be written to that were supplied write-locked (`pager_unlock_page`).
    ///
    /// Here a store reserves space; a refusal is seen by the writer as that error.
    fn unlock_pages(&self, _range: PageRange, _page_size: PageSize) -> Result<(), BackendError> {
        Ok(())
    }

    /// Pages have left the cache (`pager_notify_evict`); only if asked for when the pager was made.
    fn notify_evict(&self, _range: PageRange, _page_size: PageSize) {}

    /// Makes everything written so far durable; called at the end of a sync.
    fn sync(&self) -> Result<(), BackendError> {
        Ok(())
    }

    /// Makes a broken store anew: connects again, replaces a poisoned lock.
    ///
    /// The supervisor asks for it when calls of this store panicked or were overdue; faults wait
    /// meanwhile. The default does nothing.
    fn restart(&self) -> Result<(), BackendError> {
        Ok(())
    }

    /// The pager is gone (`pager_clear_user_data`); called exactly once.
    fn clear_user_data(&self) {}

    /// Only weak references keep the pager: drop those that the user holds (`pager_dropweak`).
    fn drop_weak(&self) {}
}
