//! A store that fails for five seconds while a thread goes on writing: what a user sees of it.
//!
//! `cargo run --example recovery`

use std::error::Error;
use std::time::{Duration, Instant};

use actor_pager::backend::{CallKind, Fault, FaultyBackend, MemoryBackend};
use actor_pager::error::SyncError;
use actor_pager::object::{PageError, PageIndex, PageRange};
use actor_pager::{Backoff, Bucket, Events, FailurePolicy, PagerOptions, Wait};

const PAGE: u64 = 4096;
const PAGES: u64 = 64;

/// Prints what has happened since the last time.
fn tell(events: &mut Events, start: Instant) {
    while let Some(event) = events.try_next() {
        println!("{:7.3} s  {:?}", start.elapsed().as_secs_f64(), event.kind);
    }
}

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
    let mut events = bucket.events();
    let options = PagerOptions {
        policy,
        ..PagerOptions::default()
    };
    let pager = bucket.create_pager(store, options)?;

    let start = Instant::now();
    let every = PageRange::new(PageIndex(0), PageIndex(PAGES));
    let mut broken = false;
    let mut round = 0_u64;
    while start.elapsed() < Duration::from_secs(7) {
        let fails = (1..6).contains(&start.elapsed().as_secs());
        if fails && !broken {
            println!("the store is full");
            control.fail(CallKind::Write, every, Fault::Error(PageError::NoSpace));
        } else if broken && !fails {
            println!("the store has room again");
            control.heal_all();
        }
        broken = fails;

        // Writers do not notice: their pages wait in memory.
        pager.write_at_blocking(round % 4 * PAGE, &round.to_le_bytes())?;
        round += 1;
        match pager.sync_blocking(Wait::Yes) {
            Ok(()) => {}
            Err(SyncError::Pages(failed)) => println!("sync: {} ranges are not stored yet", failed.len()),
            Err(error) => return Err(error.into()),
        }
        tell(&mut events, start);
        std::thread::sleep(Duration::from_millis(500));
    }

    pager.sync_blocking(Wait::Yes)?;
    tell(&mut events, start);
    for page in 0..4 {
        let mut bytes = [0; 8];
        pager.read_at_blocking(page * PAGE, &mut bytes)?;
        let stored = pager.backend().inner().read(page * PAGE, 8);
        println!(
            "page {page}: {} in memory, {:?} in the store",
            u64::from_le_bytes(bytes),
            stored
        );
    }
    bucket.shutdown_blocking()?;
    Ok(())
}
