//! `Bucket`: the front door.

mod builder;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use crate::actors::engine::{Engine, Parts};
use crate::actors::{
    BucketCall, Control, Events, House, PagerActor, PagerCell, PagerParts, PagerWork, SharedRegistry,
    UserCall, block_on, is_bucket_thread,
};
use crate::backend::Backend;
use crate::error::{BucketShutdownError, CallError, CreateError, InhibitError, LimitError, SyncAllError};
use crate::mach::pressure::Following;
use crate::mach::{KernelHost, ObjectSpec, StatsSnapshot};
use crate::object::{MemoryObject, ObjectOptions};
use crate::pager::{AnyPager, Pager, PagerOptions};
use crate::port::PagerCore;

pub use builder::BucketBuilder;

/// A set of pagers that share threads, a bound on memory, inhibition and shutdown (`struct port_bucket`
/// with its `pager_requests`).
///
/// A clone is the same bucket. Its threads end when the last clone and the last pager are dropped.
#[derive(Clone)]
pub struct Bucket {
    pub(crate) inner: Arc<BucketInner>,
}

pub(crate) struct BucketInner {
    pub(crate) id: u64,
    pub(crate) registry: SharedRegistry,
    pub(crate) kernel: Arc<dyn KernelHost>,
    house: House,
    next_arbiter: AtomicUsize,
    _following: Option<Following>,
}

impl BucketInner {
    /// An error where waiting would mean waiting for this very thread.
    pub(crate) fn may_block(&self) -> Result<(), CallError> {
        if is_bucket_thread(self.id) {
            Err(CallError::WouldDeadlock)
        } else {
            Ok(())
        }
    }
}

impl Bucket {
    /// A bucket to be.
    pub fn builder() -> BucketBuilder {
        BucketBuilder::new()
    }

    /// Makes a pager of `backend` with one user reference (`pager_create`).
    ///
    /// It takes requests at once.
    pub fn create_pager<B: Backend>(
        &self,
        backend: B,
        options: PagerOptions,
    ) -> Result<Pager<B>, CreateError> {
        self.create_pager_shared(Arc::new(backend), options)
    }

    /// Makes a pager of a backend that others hold, too.
    pub fn create_pager_shared<B: Backend>(
        &self,
        backend: Arc<B>,
        options: PagerOptions,
    ) -> Result<Pager<B>, CreateError> {
        let inner = &self.inner;
        if inner.registry.is_closed() {
            return Err(CreateError::ShutDown);
        }
        let extent = backend.extent();
        if extent == 0 {
            return Err(CreateError::Empty);
        }
        let id = inner.registry.reserve();
        let name = options.name.clone().unwrap_or_else(|| format!("pager-{}", id.0));
        let kernel = inner.kernel.create_object(ObjectSpec {
            name: name.clone(),
            length: extent,
            page_size: options.page_size,
            notify_on_evict: options.notify_on_evict,
            memory_deadline: options.policy.memory_deadline,
            share: options.share,
        })?;
        let object = MemoryObject::new(ObjectOptions {
            notify_on_evict: options.notify_on_evict,
            may_cache: options.may_cache,
            copy_strategy: options.copy_strategy,
            extent: Some(extent),
            ..ObjectOptions::new(options.page_size)
        });
        let shared: Arc<dyn Backend> = backend.clone();
        let engine = Engine::new(Parts {
            object,
            kernel,
            backend: shared.clone(),
            page_size: options.page_size,
            unsaved_limit: options.policy.unsaved_limit,
        });
        let place = inner
            .house
            .arbiters
            .place(inner.next_arbiter.fetch_add(1, Ordering::Relaxed));
        let parts = PagerParts {
            id,
            engine,
            backend: shared,
            page_size: options.page_size,
            pool: inner.house.pool.clone(),
            supervisor: inner.house.supervisor.clone(),
            events: inner.house.events.clone(),
            policy: options.policy,
        };
        let cell =
            Arc::new_cyclic(|cell| PagerCell::new(id, name, place, PagerWork::new(parts, cell.clone())));
        if inner.registry.insert(cell.clone()) {
            let (reply, _) = oneshot::channel();
            cell.call(UserCall::Control(Control::Inhibit { reply }));
        }
        PagerActor::start_on(&inner.house.arbiters.get(place), cell.clone());
        let core = PagerCore {
            bucket: inner.clone(),
            cell,
            page_size: options.page_size,
            extent,
            rights: Mutex::new(0),
        };
        Ok(Pager::new(core, backend))
    }

    /// What happens to the bucket's pagers from now on.
    pub fn events(&self) -> Events {
        self.inner.house.events.subscribe()
    }

    /// Stops the bucket from taking requests (`pager_inhibit_workers`).
    ///
    /// Returns when every request that was sent before is finished, its I/O too. Requests that come
    /// later wait; none is lost and none is refused.
    pub async fn inhibit(&self) -> Result<(), InhibitError> {
        self.ask(|reply| BucketCall::Inhibit { reply })
            .await?
            .map_err(|_| InhibitError::AlreadyInhibited)
    }

    /// [`inhibit`](Self::inhibit) for callers without a runtime.
    pub fn inhibit_blocking(&self) -> Result<(), InhibitError> {
        self.inner.may_block()?;
        block_on(self.inhibit())
    }

    /// Serves what waited, in order, and takes requests again (`pager_resume_workers`).
    pub async fn resume(&self) -> Result<(), InhibitError> {
        self.ask(|reply| BucketCall::Resume { reply })
            .await?
            .map_err(|_| InhibitError::NotInhibited)
    }

    /// [`resume`](Self::resume) for callers without a runtime.
    pub fn resume_blocking(&self) -> Result<(), InhibitError> {
        self.inner.may_block()?;
        block_on(self.resume())
    }

    /// Shuts every pager down and takes no new ones.
    ///
    /// All pages are written back first. Pagers that cannot write theirs are named in the error and
    /// keep them.
    pub async fn shutdown(&self) -> Result<(), BucketShutdownError> {
        let failed = self.ask(|reply| BucketCall::Shutdown { reply }).await?;
        if failed.is_empty() {
            Ok(())
        } else {
            Err(BucketShutdownError::Pagers(failed))
        }
    }

    /// [`shutdown`](Self::shutdown) for callers without a runtime.
    pub fn shutdown_blocking(&self) -> Result<(), BucketShutdownError> {
        self.inner.may_block()?;
        block_on(self.shutdown())
    }

    /// Syncs several objects one after the other: what one wrote is durable before the next begins.
    ///
    /// Stops at the first that fails and says which of `order` it was.
    pub async fn sync_all(&self, order: &[AnyPager]) -> Result<(), SyncAllError> {
        for (position, pager) in order.iter().enumerate() {
            pager
                .sync()
                .await
                .map_err(|source| SyncAllError { position, source })?;
        }
        Ok(())
    }

    /// [`sync_all`](Self::sync_all) for callers without a runtime.
    pub fn sync_all_blocking(&self, order: &[AnyPager]) -> Result<(), SyncAllError> {
        self.inner.may_block().map_err(|error| SyncAllError {
            position: 0,
            source: error.into(),
        })?;
        block_on(self.sync_all(order))
    }

    /// Changes the bound on resident bytes; none means as much as there is.
    ///
    /// Returns at once. Nothing more is brought in until what is resident has come under a lower bound:
    /// clean pages go first, dirty ones when they are written.
    pub fn set_resident_limit(&self, bytes: Option<u64>) -> Result<(), LimitError> {
        Ok(self.inner.kernel.set_resident_limit(bytes)?)
    }

    /// The bound on resident bytes that holds now: lower than what was set while memory is scarce, if
    /// [pressure](BucketBuilder::pressure) is followed. None where there is none.
    pub fn resident_limit(&self) -> Option<u64> {
        self.inner.kernel.resident_limit()
    }

    /// How many pagers there are.
    pub fn len(&self) -> usize {
        self.inner.registry.len()
    }

    /// True if there is no pager.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the kernel has done for this bucket so far.
    pub fn stats(&self) -> StatsSnapshot {
        self.inner.kernel.stats()
    }

    async fn ask<T>(&self, call: impl FnOnce(oneshot::Sender<T>) -> BucketCall) -> Result<T, CallError> {
        let (reply, answer) = oneshot::channel();
        self.inner.house.supervisor.do_send(call(reply));
        answer.await.map_err(|_| CallError::Gone)
    }
}
