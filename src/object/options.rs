//! What a memory object is made with.

use super::{CopyStrategy, PageSize};

/// What the requests for a page get whose write failed; its data is kept either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FailedPagePolicy {
    /// The kept data, as a precious page: it comes back and is written again.
    #[default]
    SupplyKept,
    /// The error, until a write of the page succeeds.
    Error,
}

/// What a [`MemoryObject`](super::MemoryObject) is made with (`pager_create`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectOptions {
    /// The size of the object's pages; a kernel with another one is refused.
    pub page_size: PageSize,
    /// Keep pages when the last mapping goes.
    pub may_cache: bool,
    /// How copies are made.
    pub copy_strategy: CopyStrategy,
    /// Say when the kernel gives up a page: every page is supplied as precious.
    pub notify_on_evict: bool,
    /// What the requests for a page get whose write failed.
    pub failed_page: FailedPagePolicy,
    /// A sync, return or shutdown writes again what is kept; otherwise only `RetryWrites` does.
    pub retry_on_sync: bool,
    /// The object's length in bytes: what lies beyond it is refused. `None`: nothing is.
    pub extent: Option<u64>,
    /// The longest run of pages that the store is asked for at once; at least 1.
    pub max_run: u64,
    /// The longest message of the kernel that is served, in pages.
    pub max_request: u64,
}

impl ObjectOptions {
    /// Options for pages of this size; the rest as `pager_create` has it by default.
    pub const fn new(page_size: PageSize) -> Self {
        Self {
            page_size,
            may_cache: false,
            copy_strategy: CopyStrategy::None,
            notify_on_evict: false,
            failed_page: FailedPagePolicy::SupplyKept,
            retry_on_sync: true,
            extent: None,
            max_run: 256,
            max_request: 1 << 16,
        }
    }
}
