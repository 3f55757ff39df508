//! What a fault costs once everything is warm: no allocation.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};

use actor_pager::backend::{Backend, BackendError, MemoryBackend, ReadRun, WriteError, WriteRun};
use actor_pager::{Bucket, Mapping, PagerOptions, Protection, Wait};

const PAGE: u64 = 4096;
/// Two leaves of the tables of pages.
const PAGES: u64 = 8192;

thread_local! {
    /// True on an arbiter.
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}
static COUNTING: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
/// One test at a time.
static TURN: Mutex<()> = Mutex::new(());

/// The system's allocator, which counts what arbiters ask of it.
struct Counting;

fn note() {
    if COUNTING.load(SeqCst) && COUNTED.get() {
        ALLOCATIONS.fetch_add(1, SeqCst);
    }
}

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: as the caller promised.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: as the caller promised.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A store in memory that marks the thread on which it is asked in passing: an arbiter.
struct Marking {
    store: MemoryBackend,
    wasteful: bool,
}

impl Backend for Marking {
    fn extent(&self) -> u64 {
        self.store.extent()
    }

    fn read_pages(&self, run: &mut ReadRun<'_>) -> Result<(), BackendError> {
        self.store.read_pages(run)
    }

    fn try_read_pages(&self, run: &mut ReadRun<'_>) -> Option<Result<(), BackendError>> {
        COUNTED.set(true);
        if self.wasteful {
            std::hint::black_box(vec![0_u8; 64]);
        }
        self.store.try_read_pages(run)
    }

    fn write_pages(&self, run: &WriteRun<'_>) -> Result<(), WriteError> {
        self.store.write_pages(run)
    }
}

fn touch(mapping: &Mapping, pages: impl Iterator<Item = u64>) {
    for page in pages {
        let at = mapping.as_ptr() as usize + (page * PAGE) as usize;
        // SAFETY: every page is one of the mapping's, and nobody writes to it.
        let first = unsafe { std::ptr::with_exposed_provenance::<u8>(at).read_volatile() };
        assert_eq!(first, 1);
    }
}

/// Every page but those at the start of a leaf, in an order that is no stream.
fn order() -> impl Iterator<Item = u64> {
    (0..PAGES)
        .map(|step| (step * 3331) % PAGES)
        .filter(|page| page % 4096 != 0)
}

/// How many faults there were, and how often the arbiter allocated meanwhile.
fn faults_and_allocations(wasteful: bool) -> (u64, u64) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let bucket = Bucket::builder().start().unwrap();
    let store = MemoryBackend::from_bytes(&vec![1; (PAGES * PAGE) as usize]);
    let pager = bucket
        .create_pager(Marking { store, wasteful }, PagerOptions::default())
        .unwrap();
    let mapping = pager.map_all_blocking(Protection::Read).unwrap();
    touch(&mapping, 0..PAGES);
    touch(&mapping, order());
    // Some pages stay, so that the tables stay as they are.
    for leaf in 0..PAGES / 4096 {
        let start = (leaf * 4096 + 1) * PAGE;
        pager
            .flush_range_blocking(start..(leaf + 1) * 4096 * PAGE, Wait::Yes)
            .unwrap();
    }
    let before = bucket.stats().faults_missing;
    // The first ones warm what the flush has left cold.
    let mut pages = order();
    touch(&mapping, pages.by_ref().take(64));
    ALLOCATIONS.store(0, SeqCst);
    COUNTING.store(true, SeqCst);
    touch(&mapping, pages);
    COUNTING.store(false, SeqCst);
    (bucket.stats().faults_missing - before, ALLOCATIONS.load(SeqCst))
}

#[test]
fn a_fault_in_steady_state_allocates_nothing() {
    let (faults, allocations) = faults_and_allocations(false);
    assert!(faults >= PAGES - 2, "{faults}");
    // A few come with time, not with faults: the supervisor asks the arbiters whether they live.
    assert!(allocations < faults / 100, "{allocations} in {faults} faults");
}

#[test]
fn an_allocation_for_each_fault_would_be_seen() {
    let (faults, allocations) = faults_and_allocations(true);
    assert!(allocations >= faults - 64, "{allocations} of {faults}");
}
