//! A store that can be made anew: when its connection is lost or its lock poisoned.

use std::sync::{Arc, PoisonError, RwLock};

use super::{Backend, BackendError, ReadRun, WriteError, WriteRun};
use crate::object::{PageRange, PageSize};

/// A store that a factory makes, and makes again when the supervisor finds it broken.
///
/// Calls that are under way go on with the old store; those that come while the new one is made wait.
pub struct FactoryBackend<B, F> {
    factory: F,
    current: RwLock<Arc<B>>,
}

impl<B, F> FactoryBackend<B, F>
where
    B: Backend,
    F: Fn() -> Result<B, BackendError> + Send + Sync + 'static,
{
    /// A store that `factory` makes now, and again after every failure that an answer does not mend.
    pub fn new(factory: F) -> Result<Self, BackendError> {
        let current = RwLock::new(Arc::new(factory()?));
        Ok(Self { factory, current })
    }

    /// The store in use.
    pub fn current(&self) -> Arc<B> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl<B, F> Backend for FactoryBackend<B, F>
where
    B: Backend,
    F: Fn() -> Result<B, BackendError> + Send + Sync + 'static,
{
    fn extent(&self) -> u64 {
        self.current().extent()
    }

    fn read_pages(&self, run: &mut ReadRun<'_>) -> Result<(), BackendError> {
        self.current().read_pages(run)
    }

    fn try_read_pages(&self, run: &mut ReadRun<'_>) -> Option<Result<(), BackendError>> {
        self.current().try_read_pages(run)
    }

    fn write_pages(&self, run: &WriteRun<'_>) -> Result<(), WriteError> {
        self.current().write_pages(run)
    }

    fn unlock_pages(&self, range: PageRange, page_size: PageSize) -> Result<(), BackendError> {
        self.current().unlock_pages(range, page_size)
    }

    fn notify_evict(&self, range: PageRange, page_size: PageSize) {
        self.current().notify_evict(range, page_size);
    }

    fn sync(&self) -> Result<(), BackendError> {
        self.current().sync()
    }

    fn restart(&self) -> Result<(), BackendError> {
        let made = Arc::new((self.factory)()?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = made;
        Ok(())
    }

    fn clear_user_data(&self) {
        self.current().clear_user_data();
    }

    fn drop_weak(&self) {
        self.current().drop_weak();
    }
}
