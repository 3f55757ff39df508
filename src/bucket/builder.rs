//! How a bucket is to be.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::{Bucket, BucketInner};
use crate::actors::{House, HousePlan, Placement, Registry, SharedRegistry};
use crate::error::StartError;
use crate::mach::KernelHost;
use crate::mach::pressure::{Following, Pressure};

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
    huge_pages: bool,
    spin: Duration,
}

impl BucketBuilder {
    pub(super) fn new() -> Self {
        Self {
            workers: 8,
            arbiters: 1,
            resident_limit: None,
            kernel: None,
            pressure: None,
            placement: Placement::Anywhere,
            huge_pages: false,
            spin: Duration::ZERO,
        }
    }

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

    /// Gives objects of 2 MiB pages, and private copies of them, memory in huge pages; off unless asked for.
    ///
    /// Takes Linux and the privilege to mount (`CAP_SYS_ADMIN`). Without them memory is as ever, which a
    /// warning (`tracing`) and [`StatsSnapshot::huge_refused`](crate::mach::StatsSnapshot::huge_refused) tell; where the system has no huge page left
    /// it gives small ones. Copies are mapped by huge page table entries; in other mappings the system
    /// keeps entries of 4 KiB, as writes are tracked. `docs/benchmarks.md` says what it is worth. A
    /// [kernel](Self::kernel) that was passed has its own options.
    pub fn huge_pages(mut self, huge: bool) -> Self {
        self.huge_pages = huge;
        self
    }

    /// Lets each arbiter stay awake for so long after a turn, if news came soon enough lately; off (zero)
    /// unless asked for.
    ///
    /// A fault that comes meanwhile finds the arbiter awake, which saves a wake-up. It takes a processor that
    /// nobody else needs; an arbiter without work sleeps. `docs/benchmarks.md` says what it is worth.
    pub fn spin(mut self, most: Duration) -> Self {
        self.spin = most;
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
            None => system_kernel(self.resident_limit, self.huge_pages)?,
        };
        let following = follow(self.pressure.as_ref(), &kernel)?;
        let bucket = NEXT_BUCKET.fetch_add(1, Ordering::Relaxed);
        let registry = SharedRegistry::new(Registry::default());
        let plan = HousePlan {
            bucket,
            workers: self.workers,
            arbiters: self.arbiters,
            placement: self.placement,
            spin: self.spin,
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
fn system_kernel(resident_limit: Option<u64>, huge_pages: bool) -> Result<Arc<dyn KernelHost>, StartError> {
    use crate::mach::linux::{LinuxHost, LinuxOptions, control_group_share, lift_limits};
    lift_limits();
    let options = LinuxOptions {
        resident_limit: resident_limit.or_else(control_group_share),
        huge_pages,
        ..LinuxOptions::default()
    };
    Ok(Arc::new(LinuxHost::new(options)?))
}

/// The kernel of the system this was built for.
#[cfg(not(target_os = "linux"))]
fn system_kernel(_: Option<u64>, _: bool) -> Result<Arc<dyn KernelHost>, StartError> {
    Err(StartError::Kernel(crate::mach::KernelError::Unsupported {
        what: "this system has no kernel that actor-pager can play or speak to".to_owned(),
        remedy: "pass one to `BucketBuilder::kernel`, for example the simulated one".to_owned(),
    }))
}
