//! A shared or boxed store is a store.

use std::sync::Arc;

use super::{Backend, BackendError, ReadRun, WriteError, WriteRun};
use crate::object::{PageRange, PageSize};

macro_rules! forward_to_pointee {
    ($pointer:ident) => {
        impl<B: Backend + ?Sized> Backend for $pointer<B> {
            fn extent(&self) -> u64 {
                (**self).extent()
            }

            fn read_pages(&self, run: &mut ReadRun<'_>) -> Result<(), BackendError> {
                (**self).read_pages(run)
            }

            fn try_read_pages(&self, run: &mut ReadRun<'_>) -> Option<Result<(), BackendError>> {
                (**self).try_read_pages(run)
            }

            fn write_pages(&self, run: &WriteRun<'_>) -> Result<(), WriteError> {
                (**self).write_pages(run)
            }

            fn takes_moving_pages(&self) -> bool {
                (**self).takes_moving_pages()
            }

            fn unlock_pages(&self, range: PageRange, page_size: PageSize) -> Result<(), BackendError> {
                (**self).unlock_pages(range, page_size)
            }

            fn notify_evict(&self, range: PageRange, page_size: PageSize) {
                (**self).notify_evict(range, page_size);
            }

            fn sync(&self) -> Result<(), BackendError> {
                (**self).sync()
            }

            fn restart(&self) -> Result<(), BackendError> {
                (**self).restart()
            }

            fn clear_user_data(&self) {
                (**self).clear_user_data();
            }

            fn drop_weak(&self) {
                (**self).drop_weak();
            }
        }
    };
}

forward_to_pointee!(Arc);
forward_to_pointee!(Box);
