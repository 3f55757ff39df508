//! A store that fails for five seconds under load: what its users see of it, and what is lost (nothing).
//!
//! `cargo run --release --example recovery`

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use actor_pager::backend::{CallKind, Fault, FaultControl, FaultyBackend, MemoryBackend};
use actor_pager::error::{CopyError, SyncError};
use actor_pager::object::{PageError, PageIndex, PageRange};
use actor_pager::{Backoff, Bucket, EventKind, Events, FailurePolicy, Pager, PagerOptions, Wait};

const PAGE: u64 = 4096;
const PAGES: u64 = 64;
const WRITERS: u64 = 4;

type Store = FaultyBackend<MemoryBackend>;

fn main() -> Result<(), Box<dyn Error>> {
    // The failing store is any store, wrapped; the control makes it fail.
    let (store, control) = FaultyBackend::new(MemoryBackend::new(PAGES * PAGE), 1);
    let policy = FailurePolicy {
        // Failed writes are tried again after a quarter of a second, then less and less often.
        write_backoff: Backoff {
            first: Duration::from_millis(250),
            longest: Duration::from_secs(1),
        },
        ..FailurePolicy::default()
    };
    let bucket = Bucket::builder().start()?;
    let events = bucket.events();
    let options = PagerOptions {
        policy,
        ..PagerOptions::default()
    };
    let pager = bucket.create_pager(store, options)?;

    let over = AtomicBool::new(false);
    let written = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (pager, over) = (&pager, &over);
                scope.spawn(move || write(pager, writer, over))
            })
            .collect();
        let watched = watch(&pager, &control, events);
        over.store(true, SeqCst);
        let mut written = Vec::new();
        for writer in writers {
            written.push(writer.join().map_err(|_| "a writer panicked")??);
        }
        watched.map(|()| written)
    })?;

    pager.sync_blocking(Wait::Yes)?;
    let mut lost = 0;
    for (writer, &last) in written.iter().enumerate() {
        let stored = pager.backend().inner().read(writer as u64 * PAGE, 8);
        lost += u64::from(stored != last.to_le_bytes());
    }
    println!("lost: {lost}, writes: {}", written.iter().sum::<u64>());
    bucket.shutdown_blocking()?;
    Ok(())
}

/// Counts up in a page of its own: writers do not notice that the store fails, their pages wait in memory.
fn write(pager: &Pager<Store>, writer: u64, over: &AtomicBool) -> Result<u64, CopyError> {
    let mut count = 0_u64;
    while !over.load(SeqCst) {
        pager.write_at_blocking(writer * PAGE, &(count + 1).to_le_bytes())?;
        count += 1;
    }
    Ok(count)
}

/// Breaks the store after a second, mends it after six, and tells what comes of it.
fn watch(pager: &Pager<Store>, control: &FaultControl, mut events: Events) -> Result<(), Box<dyn Error>> {
    let every = PageRange::new(PageIndex(0), PageIndex(PAGES));
    let start = Instant::now();
    let mut broken = false;
    while start.elapsed() < Duration::from_secs(8) {
        let now = start.elapsed().as_secs_f64();
        let fails = (1.0..6.0).contains(&now);
        if fails && !broken {
            println!("{now:6.2} s  the store is full");
            control.fail(CallKind::Write, every, Fault::Error(PageError::NoSpace));
        } else if broken && !fails {
            println!("{now:6.2} s  the store has room again");
            control.heal_all();
        }
        broken = fails;
        match pager.sync_blocking(Wait::Yes) {
            Ok(()) => println!("{now:6.2} s  sync: everything is stored"),
            Err(SyncError::Pages(failed)) => println!("{now:6.2} s  sync: {} not stored yet", failed.len()),
            Err(error) => return Err(error.into()),
        }
        tell(&mut events, now);
        thread::sleep(Duration::from_millis(500));
    }
    Ok(())
}

/// Prints what has happened since the last time; what happened again and again in one line.
fn tell(events: &mut Events, now: f64) {
    let mut happened: Vec<(EventKind, u32)> = Vec::new();
    while let Some(event) = events.try_next() {
        match happened.iter_mut().find(|(kind, _)| *kind == event.kind) {
            Some((_, times)) => *times += 1,
            None => happened.push((event.kind, 1)),
        }
    }
    for (kind, times) in happened {
        println!("{now:6.2} s  event: {kind:?}, {times} times");
    }
}
