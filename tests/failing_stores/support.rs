//! The kernels under test, and what the tests share.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actor_pager::backend::{FaultControl, FaultyBackend, MemoryBackend};
use actor_pager::error::SyncError;
use actor_pager::mach::KernelHost;
use actor_pager::mach::sim::{SimHost, SimOptions};
use actor_pager::object::{PageError, PageIndex, PageRange};
use actor_pager::{
    Backoff, Bucket, BucketBuilder, EventKind, Events, FailurePolicy, Intensity, Pager, PagerOptions, Wait,
};

use crate::trouble::{Trouble, TroubledHost};

pub(crate) const PAGE: u64 = 4096;
/// Longer than anything here takes, however slow the machine is.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) type Store = FaultyBackend<MemoryBackend>;

/// A kernel that the tests run on.
pub(crate) struct Machine {
    host: Arc<dyn KernelHost>,
}

impl Machine {
    pub(crate) fn simulated() -> Option<Self> {
        Some(Self {
            host: Arc::new(SimHost::new(SimOptions::default())),
        })
    }

    pub(crate) fn lending() -> Option<Self> {
        let options = SimOptions {
            lend_returns: true,
            request_run: 8,
            ..SimOptions::default()
        };
        Some(Self {
            host: Arc::new(SimHost::new(options)),
        })
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn linux() -> Option<Self> {
        use actor_pager::mach::linux::{LinuxHost, LinuxOptions};
        match LinuxHost::new(LinuxOptions::default().fault_around(8)) {
            Ok(host) => Some(Self { host: Arc::new(host) }),
            Err(error) => {
                println!("skipped: {error}");
                None
            }
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn linux() -> Option<Self> {
        println!("skipped: this is not Linux");
        None
    }

    /// A machine of the test's own making.
    pub(crate) fn of(host: Arc<dyn KernelHost>) -> Self {
        Self { host }
    }

    pub(crate) fn builder(&self) -> BucketBuilder {
        Bucket::builder().workers(2).kernel(self.host.clone())
    }

    pub(crate) fn bucket(&self) -> Bucket {
        self.builder().start().unwrap()
    }

    /// A bucket on a kernel that can be made to fail.
    pub(crate) fn troubled(&self) -> (Bucket, Arc<Trouble>) {
        let trouble = Arc::new(Trouble::default());
        let host = Arc::new(TroubledHost::new(self.host.clone(), trouble.clone()));
        (self.builder().kernel(host).start().unwrap(), trouble)
    }
}

/// Tries again at once, and is patient with failures.
pub(crate) fn policy() -> FailurePolicy {
    let soon = Backoff {
        first: Duration::from_millis(2),
        longest: Duration::from_millis(5),
    };
    FailurePolicy {
        read_backoff: soon,
        write_backoff: soon,
        restart_backoff: soon,
        deadline: LONG,
        intensity: Intensity {
            failures: 1000,
            period: LONG,
        },
        ..FailurePolicy::default()
    }
}

/// Writes again only when a sync says so.
pub(crate) fn never_by_itself() -> FailurePolicy {
    FailurePolicy {
        write_backoff: Backoff {
            first: Duration::from_secs(3600),
            longest: Duration::from_secs(3600),
        },
        ..policy()
    }
}

pub(crate) fn options(policy: FailurePolicy) -> PagerOptions {
    PagerOptions {
        policy,
        ..PagerOptions::default()
    }
}

/// A pager of 64 pages; each byte of page `n` is `n + 1`.
pub(crate) fn pager(bucket: &Bucket, policy: FailurePolicy) -> (Pager<Store>, FaultControl) {
    let bytes: Vec<u8> = (0..64 * PAGE).map(|at| (at / PAGE) as u8 + 1).collect();
    let (store, control) = FaultyBackend::new(MemoryBackend::from_bytes(&bytes), 1);
    (bucket.create_pager(store, options(policy)).unwrap(), control)
}

pub(crate) fn page(index: u64) -> PageRange {
    PageRange::single(PageIndex(index))
}

pub(crate) fn pages(start: u64, end: u64) -> PageRange {
    PageRange::new(PageIndex(start), PageIndex(end))
}

/// The bytes of a page; printed in short.
#[derive(PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for run in self.0.chunk_by(|a, b| a == b) {
            write!(f, "{} of {:#x}, ", run.len(), run[0])?;
        }
        Ok(())
    }
}

/// The bytes of a page through the pager.
pub(crate) fn load(pager: &Pager<Store>, page: u64) -> Bytes {
    let mut bytes = vec![0; PAGE as usize];
    pager.read_at_blocking(page * PAGE, &mut bytes).unwrap();
    Bytes(bytes)
}

/// The same of a page whose error may not have been seen yet: it is told before the store is asked again.
pub(crate) fn load_healed(pager: &Pager<Store>, page: u64) -> Bytes {
    let mut bytes = vec![0; PAGE as usize];
    if pager.read_at_blocking(page * PAGE, &mut bytes).is_err() {
        return load(pager, page);
    }
    Bytes(bytes)
}

/// Makes every byte of a page this.
pub(crate) fn fill(pager: &Pager<Store>, page: u64, byte: u8) {
    pager
        .write_at_blocking(page * PAGE, &[byte; PAGE as usize])
        .unwrap();
}

/// The bytes of a page in the store.
pub(crate) fn stored(pager: &Pager<Store>, page: u64) -> Bytes {
    Bytes(pager.backend().inner().read(page * PAGE, PAGE as usize))
}

pub(crate) fn all(byte: u8) -> Bytes {
    Bytes(vec![byte; PAGE as usize])
}

/// Makes these pages leave the cache, so that the next touch asks the store.
pub(crate) fn drop_pages(pager: &Pager<Store>, range: PageRange) {
    let bytes = range.start().0 * PAGE..range.end().0 * PAGE;
    pager.return_range_blocking(bytes, Wait::Yes).unwrap();
}

/// The failed pages that a sync tells of; none if it succeeds.
pub(crate) fn failed(result: Result<(), SyncError>) -> Vec<(PageIndex, PageError)> {
    match result {
        Ok(()) => Vec::new(),
        Err(SyncError::Pages(runs)) => runs
            .iter()
            .flat_map(|run| run.range.iter().map(|page| (page, run.error)))
            .collect(),
        Err(error) => panic!("not of pages: {error}"),
    }
}

/// Waits for an event; the others that came before it are returned, too.
pub(crate) fn wait_for(events: &mut Events, wanted: impl Fn(&EventKind) -> bool) -> Vec<EventKind> {
    let mut seen = Vec::new();
    let start = Instant::now();
    loop {
        match events.try_next() {
            Some(event) => {
                seen.push(event.kind);
                if seen.last().is_some_and(&wanted) {
                    return seen;
                }
            }
            None => {
                assert!(
                    start.elapsed() < LONG,
                    "the event did not come; there were {seen:?}"
                );
                std::thread::yield_now();
            }
        }
    }
}
