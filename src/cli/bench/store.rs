//! A store whose contents need not outlive the machine.

use actor_pager::backend::{Backend, BackendError, ReadRun, WriteError, WriteRun};
use actor_pager::object::{PageRange, PageSize};

/// A store without its last step: what was written is not forced to the disk.
#[derive(Debug)]
pub(crate) struct Unsynced<B>(pub(crate) B);

impl<B: Backend> Backend for Unsynced<B> {
    fn extent(&self) -> u64 {
        self.0.extent()
    }

    fn read_pages(&self, run: &mut ReadRun<'_>) -> Result<(), BackendError> {
        self.0.read_pages(run)
    }

    fn try_read_pages(&self, run: &mut ReadRun<'_>) -> Option<Result<(), BackendError>> {
        self.0.try_read_pages(run)
    }

    fn write_pages(&self, run: &WriteRun<'_>) -> Result<(), WriteError> {
        self.0.write_pages(run)
    }

    fn takes_moving_pages(&self) -> bool {
        self.0.takes_moving_pages()
    }

    fn unlock_pages(&self, range: PageRange, page_size: PageSize) -> Result<(), BackendError> {
        self.0.unlock_pages(range, page_size)
    }
}
