//! `Bucket`: the front door.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use crate::actors::engine::{Engine, Parts};
use crate::actors::{
    BucketCall, Control, Events, House, HousePlan, PagerActor, PagerCell, PagerParts, PagerWork, Placement,
    Registry, SharedRegistry, UserCall, block_on, is_bucket_thread,
};
use crate::backend::Backend;
use crate::error::{
    BucketShutdownError, CallError, CreateError, InhibitError, LimitError, StartError, SyncAllError,
};
use crate::mach::pressure::{Following, Pressure};
use crate::mach::{KernelHost, ObjectSpec, StatsSnapshot};
use crate::object::{MemoryObject, ObjectOptions};
use crate::pager::{AnyPager, Pager, PagerOptions};
use crate::port::PagerCore;

/// Numbers buckets, so that a thread can tell whose it is.
static NEXT_BUCKET: AtomicU64 = AtomicU64::new(1);

/// How a bucket is to be; ends in [`start`](Self::start).
#[derive(Clone)]
pub struct BucketBuilder {
    workers: usize,
    arbiters: usize,
    resident_limit: Option<u64>,
    kernel: Option<Arc<dyn KernelHost>>,
    pressure: Option<Pressure>,
    placement: Placement,
}

impl BucketBuilder {
    /// How many blocking actors call the stores; 8 unless said otherwise.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// How many arbiter threads the pagers are spread over; 1 unless said otherwise.
    pub fn arbiters(mut self, arbiters: usize) -> Self {
        self.arbiters = arbiters;
        self
    }

    /// A hard bound on the bytes of pages that are resident at any time, over all pagers.
    ///
    /// Where none is given, half of what the process's control group may have is the bound, if the group is
    /// limited: else a program in a small group would be refused memory, or killed, before any page went.
    /// [`Bucket::set_resident_limit`] can lift it.
    pub fn resident_limit(mut self, bytes: u64) -> Self {
        self.resident_limit = Some(bytes);
        self
    }

    /// Lets less of the bound be used while memory is scarce, and all of it again afterwards; off unless
    /// asked for, and only where there is a bound.
    pub fn pressure(mut self, pressure: Pressure) -> Self {
        self.pressure = Some(pressure);
        self
    }

    /// Pages with this kernel instead of the system's; it brings its own bound on residency.
    pub fn kernel(mut self, kernel: Arc<dyn KernelHost>) -> Self {
        self.kernel = Some(kernel);
        self
    }

    /// Where the arbiters and workers run; anywhere unless said otherwise.
    pub fn placement(mut self, placement: Placement) -> Self {
        self.placement = placement;
        self
    }

    /// Starts the bucket's threads (`pager_start_workers`).
    pub fn start(self) -> Result<Bucket, StartError> {
        for (what, given) in [
            ("the number of workers", self.workers),
            ("the number of arbiters", self.arbiters),
        ] {
            if given == 0 {
                return Err(StartError::TooSmall {
                    what,
                    least: 1,
                    given: 0,
                });
            }
        }
        self.placement.check()?;
        let kernel = match self.kernel {
            Some(kernel) => kernel,
            None => system_kernel(self.resident_limit)?,
        };
        let following = follow(self.pressure.as_ref(), &kernel)?;
        let bucket = NEXT_BUCKET.fetch_add(1, Ordering::Relaxed);
        let registry = SharedRegistry::new(Registry::default());
        let plan = HousePlan {
            bucket,
            workers: self.workers,
            arbiters: self.arbiters,
            placement: self.placement,
        };
        let house = House::start(plan, registry.clone()).map_err(StartError::Threads)?;
        let inner = BucketInner {
            id: bucket,
            registry,
            kernel,
            house,
            next_arbiter: AtomicUsize::new(0),
            _following: following,
        };
        Ok(Bucket {
            inner: Arc::new(inner),
        })
    }
}

/// Begins to follow memory pressure, if that is wanted.
fn follow(
    pressure: Option<&Pressure>,
    kernel: &Arc<dyn KernelHost>,
) -> Result<Option<Following>, StartError> {
    let Some(pressure) = pressure else {
        return Ok(None);
    };
    if kernel.resident_limit().is_none() {
        return Err(StartError::Unbounded);
    }
    let following = pressure.follow(kernel.clone());
    following.map(Some).map_err(StartError::Pressure)
}

/// The kernel of the system this was built for.
#[cfg(target_os = "linux")]
fn system_kernel(resident_limit: Option<u64>) -> Result<Arc<dyn KernelHost>, StartError> {
    use crate::mach::linux::{LinuxHost, LinuxOptions, control_group_share, lift_limits};
    lift_limits();
    let options = LinuxOptions {
        resident_limit: resident_limit.or_else(control_group_share),
        ..LinuxOptions::default()
    };
    Ok(Arc::new(LinuxHost::new(options)?))
}

/// The kernel of the system this was built for.
#[cfg(not(target_os = "linux"))]
fn system_kernel(_: Option<u64>) -> Result<Arc<dyn KernelHost>, StartError> {
    Err(StartError::Kernel(crate::mach::KernelError::Unsupported {
        what: "this system has no kernel that actor-pager can play or speak to".to_owned(),
        remedy: "pass one to `BucketBuilder::kernel`, for example the simulated one".to_owned(),
    }))
}

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
        BucketBuilder {
            workers: 8,
            arbiters: 1,
            resident_limit: None,
            kernel: None,
            pressure: None,
            placement: Placement::Anywhere,
        }
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
