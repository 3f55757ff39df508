//! What keeps a pager, and what does not: user references with and without a type, weak ones.

use std::sync::{Arc, Weak};

use super::{Pager, Wait};
use crate::actors::{Control, PagerId};
use crate::backend::Backend;
use crate::error::SyncError;
use crate::object::{LockKind, Reference};
use crate::port::PagerCore;

/// The one user reference that all clones of a [`Pager`] share.
pub(super) struct UserReference {
    pub(super) core: Arc<PagerCore>,
}

impl Drop for UserReference {
    fn drop(&mut self) {
        self.core.tell(Control::Dropped(Reference::User));
    }
}

/// A user reference to a pager, whatever its store.
#[derive(Clone)]
pub struct AnyPager {
    pub(super) core: Arc<PagerCore>,
    pub(super) _user: Arc<UserReference>,
}

impl AnyPager {
    /// The number of the pager in its bucket.
    pub fn id(&self) -> PagerId {
        self.core.cell.id
    }

    /// Writes the whole object back and makes it durable.
    pub async fn sync(&self) -> Result<(), SyncError> {
        self.core
            .lock(LockKind::Sync, 0..self.core.extent, Wait::Yes)
            .await
    }
}

/// A reference that does not keep the pager alive.
///
/// When only such references are left, [`Backend::drop_weak`] is called; when they are gone, too,
/// the pager ends.
pub struct WeakPager<B: Backend> {
    pub(super) core: Arc<PagerCore>,
    pub(super) user: Weak<UserReference>,
    pub(super) backend: Weak<B>,
}

impl<B: Backend> WeakPager<B> {
    /// The user reference, while somebody holds it.
    pub fn upgrade(&self) -> Option<Pager<B>> {
        let (user, backend) = (self.user.upgrade()?, self.backend.upgrade()?);
        Some(Pager {
            core: self.core.clone(),
            user,
            backend,
        })
    }
}

impl<B: Backend> Clone for WeakPager<B> {
    fn clone(&self) -> Self {
        self.core.tell(Control::AddWeak);
        Self {
            core: self.core.clone(),
            user: self.user.clone(),
            backend: self.backend.clone(),
        }
    }
}

impl<B: Backend> Drop for WeakPager<B> {
    fn drop(&mut self) {
        self.core.tell(Control::WeakDropped);
    }
}
