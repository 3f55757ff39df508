//! What an object's state costs in memory: counted, and compared with what the allocator gave out.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use actor_pager::object::{
    DataId, Effect, Event, MemoryObject, ObjectOptions, PageIndex, PageSize, PagesSupplied, PortName, Prot,
};

/// Counts the bytes that are allocated.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed on to the system's allocator unchanged; the callers of these
// functions uphold its contract, and the counter does not touch the memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the layout is the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the pointer came from `alloc` with this layout, says the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static GLOBAL: Counting = Counting;

const PAGE: u64 = 4096;
/// The pages of an object of 1 TiB.
const PAGES: u64 = (1 << 40) / PAGE;

/// An object of 1 TiB of which these pages were read in; the bytes its state says it takes, and
/// those that the allocator gave out for it.
fn touched(pages: impl Iterator<Item = u64>) -> (usize, usize, u64) {
    let before = ALLOCATED.load(Ordering::Relaxed);
    let mut options = ObjectOptions::new(PageSize::KIB_4);
    options.extent = Some(PAGES * PAGE);
    let mut object = MemoryObject::new(options);
    let control = PortName(1);
    let mut effects = Vec::with_capacity(8);
    let init = Event::Init {
        control,
        name: control,
        page_size: PAGE,
    };
    object.handle(init, &mut effects);
    let mut count = 0;
    for page in pages {
        count += 1;
        effects.clear();
        let request = Event::DataRequest {
            control,
            offset: page * PAGE,
            length: PAGE,
            access: Prot::READ,
        };
        object.handle(request, &mut effects);
        let Some(Effect::Read { op, range, .. }) = effects.pop() else {
            panic!("page {page} is not read");
        };
        let data = DataId(0);
        let result = Ok(PagesSupplied {
            data,
            write_lock: false,
        });
        object.handle(Event::PagesRead { op, range, result }, &mut effects);
    }
    drop(effects);
    let allocated = ALLOCATED.load(Ordering::Relaxed) - before + size_of::<MemoryObject>();
    assert!(!object.page_state(PageIndex(0)).is_busy());
    (object.state_bytes(), allocated, count)
}

/// A number that is the same in every run, and different for every `n`.
fn scattered(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20
}

/// One test, so that nothing else allocates meanwhile.
#[test]
fn the_state_of_a_terabyte_is_small() {
    // 64 clusters of 16 MiB, far from each other.
    let clusters = (0..64).flat_map(|cluster| (0..4096).map(move |page| cluster * (PAGES / 64) + page));
    let (says, allocated, count) = touched(clusters);
    let allowed = count * 2 + count * 2 / 64;
    println!("clusters: {count} pages, {says} bytes said, {allocated} allocated, {allowed} allowed");
    assert!(
        allocated as u64 <= allowed + 4096,
        "beyond two bytes a page and 1/64"
    );
    assert!(says >= allocated, "the state takes more than it says");

    // 1 GiB of pages that lie anywhere.
    let (says, allocated, count) = touched((0..1 << 18).map(|n| scattered(n) % PAGES));
    println!("scattered: {count} pages, {says} bytes said, {allocated} allocated");
    assert!(
        allocated as u64 <= count * 8,
        "beyond eight bytes a page: megabytes, not gigabytes"
    );
    assert!(says >= allocated, "the state takes more than it says");

    // Pages so far apart that each has a leaf of its own.
    let (says, allocated, count) = touched((0..4096).map(|n| n * 8192));
    println!("isolated: {count} pages, {says} bytes said, {allocated} allocated");
    assert!(allocated as u64 <= count * 96, "beyond 96 bytes for a page alone");
    assert!(says >= allocated, "the state takes more than it says");
}
