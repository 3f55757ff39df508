//! A store in memory, its faults, and worse: workers that die, pages that need an unlock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use actor_pager::backend::{
    Backend, BackendError, CallKind, FaultControl, FaultRates, FaultyBackend, MemoryBackend, ReadRun,
    WriteError, WriteRun,
};
use actor_pager::object::{PageRange, PageSize};

use crate::oracle::mix;

/// One call in so many kills its worker.
const DEADLY: u64 = 2000;
/// One page in so many needs an unlock before it is written to, where pages do at all.
const LOCKED: u64 = 4;

/// Panics again when it is dropped: the thread that caught the first panic dies of the second.
pub(crate) struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        std::panic::panic_any("injected: a panic that panics");
    }
}

/// The store of one object.
pub(crate) struct Store {
    pub(crate) memory: Arc<MemoryBackend>,
    faulty: FaultyBackend<Arc<MemoryBackend>>,
    locks_pages: bool,
    seed: u64,
    calls: AtomicU64,
    /// Calls under way, those included that nobody waits for any more.
    active: AtomicU64,
    pub(crate) deaths: AtomicU64,
}

impl Store {
    pub(crate) fn new(bytes: u64, locks_pages: bool, seed: u64) -> (Self, FaultControl) {
        let memory = Arc::new(MemoryBackend::new(bytes));
        let (faulty, control) = FaultyBackend::new(memory.clone(), seed);
        let store = Self {
            memory,
            faulty,
            locks_pages,
            seed,
            calls: AtomicU64::new(0),
            active: AtomicU64::new(0),
            deaths: AtomicU64::new(0),
        };
        (store, control)
    }

    /// True if no call is under way.
    pub(crate) fn is_quiet(&self) -> bool {
        self.active.load(SeqCst) == 0
    }

    fn enter(&self) -> Active<'_> {
        self.active.fetch_add(1, SeqCst);
        Active(self)
    }

    fn may_kill(&self) {
        let call = self.calls.fetch_add(1, SeqCst);
        if self.deaths.load(SeqCst) < u64::MAX / 2 && mix(self.seed ^ call).is_multiple_of(DEADLY) {
            self.deaths.fetch_add(1, SeqCst);
            std::panic::panic_any(Bomb);
        }
    }
}

struct Active<'a>(&'a Store);

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, SeqCst);
    }
}

impl Backend for Store {
    fn extent(&self) -> u64 {
        self.faulty.extent()
    }

    fn read_pages(&self, run: &mut ReadRun<'_>) -> Result<(), BackendError> {
        let _active = self.enter();
        self.may_kill();
        if self.locks_pages {
            for page in run.range().iter().filter(|page| page.0.is_multiple_of(LOCKED)) {
                run.write_lock(page);
            }
        }
        self.faulty.read_pages(run)
    }

    fn write_pages(&self, run: &WriteRun<'_>) -> Result<(), WriteError> {
        let _active = self.enter();
        self.may_kill();
        self.faulty.write_pages(run)
    }

    fn unlock_pages(&self, range: PageRange, page_size: PageSize) -> Result<(), BackendError> {
        let _active = self.enter();
        self.faulty.unlock_pages(range, page_size)
    }

    fn sync(&self) -> Result<(), BackendError> {
        let _active = self.enter();
        self.faulty.sync()
    }
}

/// Everything goes wrong now and then.
pub(crate) fn set_rates(control: &FaultControl) {
    let some = FaultRates {
        error: 0.03,
        delay: 0.03,
        delay_time: Duration::from_millis(2),
        panic: 0.005,
        hang: 0.003,
        ..FaultRates::default()
    };
    let halves = FaultRates {
        short: 0.02,
        torn: 0.02,
        ..some
    };
    control.set_rates(CallKind::Read, halves);
    control.set_rates(
        CallKind::Write,
        FaultRates {
            no_space: 0.03,
            ..halves
        },
    );
    control.set_rates(
        CallKind::Unlock,
        FaultRates {
            no_space: 0.1,
            ..some
        },
    );
    control.set_rates(CallKind::Sync, some);
}
