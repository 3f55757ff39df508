//! Bounded memory on the real kernel: whose pages go, when dirty ones are written, and bounds that change.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use actor_pager::backend::{Backend, BackendError, MemoryBackend, ReadRun, WriteError, WriteRun};
use actor_pager::error::StartError;
use actor_pager::mach::eviction::replay::{hit_ratio, optimum};
use actor_pager::mach::eviction::{Fifo, Share};
use actor_pager::mach::linux::{LinuxHost, LinuxOptions};
use actor_pager::mach::pressure::{Pressure, PressureSource};
use actor_pager::object::{PageIndex, PageRange};
use actor_pager::plan::Plan;
use actor_pager::{Bucket, Mapping, Pager, PagerOptions, Protection, Wait};

const PAGE: u64 = 4096;
/// What a test waits for comes within this time, or never.
const LONG: Duration = Duration::from_secs(60);

fn word(mapping: &Mapping, page: u64) -> &AtomicU64 {
    assert!(page * PAGE < mapping.len() as u64);
    let at = mapping.as_ptr() as usize + (page * PAGE) as usize;
    // SAFETY: the word lies inside of the mapping, is aligned, and is only ever used as an atomic.
    unsafe { &*std::ptr::with_exposed_provenance::<AtomicU64>(at) }
}

fn read(mapping: &Mapping, pages: Range<u64>) {
    pages.for_each(|page| assert_eq!(word(mapping, page).load(Relaxed), 0));
}

fn write(mapping: &Mapping, pages: Range<u64>) {
    pages.for_each(|page| word(mapping, page).store(page + 1, Relaxed));
}

/// Waits for a state of things that comes by itself.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < LONG, "{what}");
        thread::yield_now();
    }
}

fn resident<B: Backend>(pager: &Pager<B>) -> u64 {
    pager.residency_blocking().unwrap().resident
}

/// Without read-ahead, so that it is clear which page comes when.
fn bucket(options: LinuxOptions) -> Option<Bucket> {
    match LinuxHost::new(options.read_ahead(1)) {
        Ok(host) => Some(Bucket::builder().kernel(Arc::new(host)).start().unwrap()),
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}

fn bounded(pages: u64) -> LinuxOptions {
    LinuxOptions::default().resident_limit(Some(pages * PAGE))
}

fn sharing(weight: u32, floor: u64) -> PagerOptions {
    PagerOptions {
        share: Share { weight, floor },
        ..PagerOptions::default()
    }
}

fn pager_of(bucket: &Bucket, pages: u64, options: PagerOptions) -> (Pager<MemoryBackend>, Mapping) {
    let pager = bucket
        .create_pager(MemoryBackend::new(pages * PAGE), options)
        .unwrap();
    let mapping = pager.map_all_blocking(Protection::ReadWrite).unwrap();
    (pager, mapping)
}

#[test]
fn busy_pagers_share_memory_by_their_weights() {
    let Some(bucket) = bucket(bounded(512)) else {
        return;
    };
    let (light, light_map) = pager_of(&bucket, 2048, sharing(1, 0));
    let (heavy, heavy_map) = pager_of(&bucket, 2048, sharing(3, 0));
    for _ in 0..4 {
        thread::scope(|scope| {
            scope.spawn(|| read(&light_map, 0..2048));
            scope.spawn(|| read(&heavy_map, 0..2048));
        });
    }
    // Both go on to the end together, page by page.
    for page in 0..2048 {
        read(&light_map, page..page + 1);
        read(&heavy_map, page..page + 1);
    }
    let (light, heavy) = (resident(&light), resident(&heavy));
    assert!(light + heavy <= 512, "{light} + {heavy}");
    let ratio = heavy as f64 / light as f64;
    assert!((2.0..4.5).contains(&ratio), "{heavy} pages to {light}");
}

#[test]
fn a_floor_keeps_a_quiet_pager_its_pages() {
    let Some(bucket) = bucket(bounded(256)) else {
        return;
    };
    let (quiet, quiet_map) = pager_of(&bucket, 100, sharing(1, 100));
    let (idle, idle_map) = pager_of(&bucket, 100, sharing(1, 20));
    let (_busy, busy_map) = pager_of(&bucket, 4096, sharing(1, 0));
    read(&quiet_map, 0..100);
    read(&idle_map, 0..100);
    read(&busy_map, 0..4096);
    assert_eq!(resident(&quiet), 100);
    assert!((20..100).contains(&resident(&idle)), "{}", resident(&idle));
    assert!(bucket.stats().resident_high_water <= 256 * PAGE);
}

#[test]
fn the_bound_is_hard_even_where_floors_promise_more() {
    let Some(bucket) = bucket(bounded(64)) else { return };
    let (_first, first) = pager_of(&bucket, 256, sharing(1, 60));
    let (_second, second) = pager_of(&bucket, 256, sharing(1, 60));
    for round in 0..8 {
        write(&first, round * 32..round * 32 + 32);
        write(&second, round * 32..round * 32 + 32);
    }
    assert!(bucket.stats().resident_high_water <= 64 * PAGE);
    for page in 0..256 {
        assert_eq!(word(&first, page).load(Relaxed), page + 1);
        assert_eq!(word(&second, page).load(Relaxed), page + 1);
    }
}

#[test]
fn a_bound_that_comes_later_is_reached_and_nothing_is_lost() {
    let Some(bucket) = bucket(LinuxOptions::default()) else {
        return;
    };
    let (_pager, mapping) = pager_of(&bucket, 1024, PagerOptions::default());
    write(&mapping, 0..1024);
    assert_eq!(bucket.resident_limit(), None);
    assert_eq!(bucket.stats().resident_bytes, 1024 * PAGE);
    bucket.set_resident_limit(Some(128 * PAGE)).unwrap();
    assert_eq!(bucket.resident_limit(), Some(128 * PAGE));
    until("the bound is not reached", || {
        bucket.stats().resident_bytes <= 128 * PAGE
    });
    for page in 0..1024 {
        assert_eq!(word(&mapping, page).load(Relaxed), page + 1);
        assert!(bucket.stats().resident_bytes <= 128 * PAGE);
    }
    bucket.set_resident_limit(None).unwrap();
    (0..1024).for_each(|page| assert_eq!(word(&mapping, page).load(Relaxed), page + 1));
    assert_eq!(
        bucket.stats().resident_bytes,
        1024 * PAGE,
        "there is room for all again"
    );
}

#[test]
fn a_bound_under_which_nobody_could_go_on_is_refused() {
    let Some(bucket) = bucket(bounded(64)) else { return };
    let (_pager, mapping) = pager_of(&bucket, 64, PagerOptions::default());
    read(&mapping, 0..64);
    let refused = bucket.set_resident_limit(Some(4 * PAGE)).unwrap_err();
    let text = std::error::Error::source(&refused).unwrap().to_string();
    assert!(text.contains("at least 32768 bytes"), "{text}");
    assert_eq!(bucket.resident_limit(), Some(64 * PAGE));
    bucket.set_resident_limit(Some(8 * PAGE)).unwrap();
    read(&mapping, 0..64);
}

/// Counts the calls that write, and their pages.
struct Counting {
    store: MemoryBackend,
    calls: AtomicU64,
    pages: AtomicU64,
}

impl Backend for Counting {
    fn extent(&self) -> u64 {
        self.store.extent()
    }

    fn read_pages(&self, run: &mut ReadRun<'_>) -> Result<(), BackendError> {
        self.store.read_pages(run)
    }

    fn write_pages(&self, run: &WriteRun<'_>) -> Result<(), WriteError> {
        self.calls.fetch_add(1, Relaxed);
        self.pages.fetch_add(run.range().len(), Relaxed);
        self.store.write_pages(run)
    }
}

fn written_under_a_bound(ahead: u64) -> Option<(Bucket, Pager<Counting>)> {
    let bucket = bucket(bounded(256).clean_ahead(ahead))?;
    let store = Counting {
        store: MemoryBackend::new(2048 * PAGE),
        calls: AtomicU64::new(0),
        pages: AtomicU64::new(0),
    };
    let pager = bucket.create_pager(store, PagerOptions::default()).unwrap();
    let mapping = pager.map_all_blocking(Protection::ReadWrite).unwrap();
    write(&mapping, 0..2048);
    (0..2048).for_each(|page| assert_eq!(word(&mapping, page).load(Relaxed), page + 1));
    pager.sync_blocking(Wait::Yes).unwrap();
    assert!(bucket.stats().resident_high_water <= 256 * PAGE);
    Some((bucket, pager))
}

#[test]
fn dirty_pages_are_cleaned_in_runs_before_their_frames_are_wanted() {
    let Some((bucket, pager)) = written_under_a_bound(64) else {
        return;
    };
    let stats = bucket.stats();
    assert!(stats.cleaned_ahead > 512, "{stats:?}");
    let store = pager.backend();
    let (calls, pages) = (store.calls.load(Relaxed), store.pages.load(Relaxed));
    assert!(
        pages >= 2048 && calls * 8 <= pages,
        "{pages} pages in {calls} calls"
    );
}

#[test]
fn nothing_is_cleaned_ahead_where_that_is_not_wanted() {
    let Some((bucket, _pager)) = written_under_a_bound(0) else {
        return;
    };
    assert_eq!(bucket.stats().cleaned_ahead, 0);
}

#[test]
fn accesses_recorded_under_a_small_bound_are_a_trace_for_the_policies() {
    let Some(bucket) = bucket(bounded(8)) else { return };
    let (pager, mapping) = pager_of(&bucket, 64, PagerOptions::default());
    pager.record_plan();
    (0..6).for_each(|_| read(&mapping, 0..64));
    let path = std::env::temp_dir().join(format!("actor-pager-trace-{}", std::process::id()));
    pager.take_plan_blocking().unwrap().unwrap().save(&path).unwrap();
    let plan = Plan::load(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let trace: Vec<PageIndex> = plan.runs().iter().copied().flat_map(PageRange::iter).collect();
    assert!(trace.len() > 5 * 64, "{} accesses", trace.len());
    let fifo = hit_ratio(&mut Fifo::default(), 32, 1, &trace);
    assert!(fifo < optimum(32, &trace), "a loop defeats FIFO: {fifo}");
}

/// Memory is scarce as often as the test says.
struct Told {
    scarce: mpsc::Receiver<bool>,
}

impl PressureSource for Told {
    fn wait(&mut self, most: Duration) -> io::Result<bool> {
        match self.scarce.recv_timeout(most) {
            Ok(scarce) => Ok(scarce),
            Err(mpsc::RecvTimeoutError::Timeout) => Ok(false),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

/// A source, made once.
fn told() -> (mpsc::Sender<bool>, Pressure) {
    let (tell, scarce) = mpsc::channel();
    let source = Mutex::new(Some(Told { scarce }));
    let open = move || {
        let source = source.lock().unwrap().take();
        let source = source.ok_or(io::ErrorKind::AlreadyExists)?;
        Ok(Box::new(source) as Box<dyn PressureSource>)
    };
    (tell, Pressure::new(open).interval(Duration::from_millis(1)))
}

#[test]
fn scarce_memory_shrinks_the_bound_and_calm_lets_it_grow_again() {
    let (tell, pressure) = told();
    let builder = Bucket::builder().resident_limit(800 * PAGE);
    let Ok(bucket) = builder.pressure(pressure.least(500)).start() else {
        return println!("skipped: no userfaultfd here");
    };
    let (_pager, mapping) = pager_of(&bucket, 1024, PagerOptions::default());
    write(&mapping, 0..1024);
    let scarce = Arc::new(AtomicBool::new(true));
    let telling = thread::spawn({
        let scarce = scarce.clone();
        move || {
            while scarce.load(Relaxed) && tell.send(true).is_ok() {
                thread::yield_now();
            }
            tell
        }
    });
    until("the bound does not shrink to half", || {
        bucket.resident_limit() == Some(400 * PAGE) && bucket.stats().resident_bytes <= 400 * PAGE
    });
    scarce.store(false, Relaxed);
    let tell = telling.join().unwrap();
    until("the bound does not grow again", || {
        bucket.resident_limit() == Some(800 * PAGE)
    });
    (0..1024).for_each(|page| assert_eq!(word(&mapping, page).load(Relaxed), page + 1));
    tell.send(true).unwrap();
    drop(tell);
    until("a source that fails keeps the bound low", || {
        bucket.resident_limit() == Some(800 * PAGE)
    });
}

#[test]
fn pressure_without_a_bound_or_a_source_is_an_error() {
    // With the system's own kernel there may be a bound by default.
    let Ok(kernel) = LinuxHost::new(LinuxOptions::default()) else {
        return println!("skipped: no userfaultfd here");
    };
    let unbounded = Bucket::builder()
        .kernel(Arc::new(kernel))
        .pressure(told().1)
        .start();
    assert!(!matches!(unbounded, Err(StartError::Pressure(_)) | Ok(_)));
    let nowhere = Pressure::of_control_group_at("/nowhere");
    let started = Bucket::builder()
        .resident_limit(1 << 20)
        .pressure(nowhere)
        .start();
    assert!(!matches!(started, Err(StartError::Unbounded) | Ok(_)));
}

#[test]
fn a_control_group_that_hits_its_limit_shrinks_the_bound() {
    let folder = std::env::temp_dir().join(format!("actor-pager-group-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let events = folder.join("memory.events");
    std::fs::write(&events, "low 0\nhigh 0\nmax 0\noom 0\n").unwrap();
    let pressure = Pressure::of_control_group_at(&folder).interval(Duration::from_millis(1));
    let started = Bucket::builder()
        .resident_limit(800 * PAGE)
        .pressure(pressure)
        .start();
    let Ok(bucket) = started else {
        return println!("skipped: no userfaultfd here");
    };
    let mut hits = 0;
    until("hits of the limit are not noticed", || {
        hits += 1;
        std::fs::write(&events, format!("low 9\nhigh {hits}\nmax {hits}\noom 0\n")).unwrap();
        bucket.resident_limit() < Some(400 * PAGE)
    });
    until("the bound does not grow again", || {
        bucket.resident_limit() == Some(800 * PAGE)
    });
    drop(bucket);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_real_sources_are_followed_where_there_are_any() {
    for pressure in [Pressure::of_machine(), Pressure::of_control_group()] {
        let builder = Bucket::builder().resident_limit(64 * PAGE);
        match builder.pressure(pressure).start() {
            Ok(bucket) => {
                let (_pager, mapping) = pager_of(&bucket, 256, PagerOptions::default());
                read(&mapping, 0..256);
                assert!(bucket.resident_limit() <= Some(64 * PAGE));
            }
            Err(error) => {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                println!("skipped: {error}: {}", source.unwrap_or_default());
            }
        }
    }
}
