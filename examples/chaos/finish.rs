//! After the load: everything is healed, and every word must be in memory and in the store.

use std::sync::PoisonError;
use std::thread;
use std::time::{Duration, Instant};

use actor_pager::Pager;
use actor_pager::Wait;

use crate::oracle::Oracle;
use crate::store::Store;
use crate::troublemaker::revive;
use crate::world::{Object, PAGE, PAGES, SLOTS, World};

/// A healed store takes everything in less time than that.
const PATIENCE: Duration = Duration::from_secs(60);

/// Heals everything, syncs, and compares; the line that says how it went.
pub(crate) fn check(world: World) -> Result<String, String> {
    heal(&world);
    for object in &world.objects {
        let life = object.life.read().unwrap_or_else(PoisonError::into_inner);
        match &*life {
            Some(life) => settle(&world, object, &life.pager),
            None => world.wrong("an object has no pager".to_owned()),
        }
    }
    for object in &world.objects {
        let life = object.life.write().unwrap_or_else(PoisonError::into_inner).take();
        drop(life);
    }
    if let Err(error) = world.bucket.shutdown_blocking() {
        world.wrong(format!("the end: {error:?}"));
    }
    for object in &world.objects {
        compare(
            &world,
            &object.oracle,
            "store",
            &object.store.memory.read(0, (PAGES * PAGE) as usize),
        );
    }
    let tally = world.tally.lock().unwrap_or_else(PoisonError::into_inner);
    let summary = format!("lost: {}, {}", world.wrongs(), tally.summary(&world));
    if world.wrongs() == 0 {
        Ok(summary)
    } else {
        Err(summary)
    }
}

fn heal(world: &World) {
    world.trouble.end();
    for object in &world.objects {
        object.control.heal_all();
    }
    revive(world);
}

/// Syncs until nothing failed, and looks at the memory.
fn settle(world: &World, object: &Object, pager: &Pager<Store>) {
    let end = Instant::now() + PATIENCE;
    while let Err(error) = pager.sync_blocking(Wait::Yes) {
        object.control.release_hangs();
        pager.revive();
        if Instant::now() > end {
            return world.wrong(format!("a healed store does not sync: {error:?}"));
        }
        thread::sleep(Duration::from_millis(5));
    }
    let mut bytes = vec![0; (PAGES * PAGE) as usize];
    let mut read = 0;
    // Errors that nobody has seen yet are told before the store is asked again.
    while let Err(error) = pager.read_at_blocking(read as u64, &mut bytes[read..]) {
        read += error.copied();
        if Instant::now() > end {
            return world.wrong(format!("a healed page cannot be read: {error:?}"));
        }
    }
    compare(world, &object.oracle, "memory", &bytes);
}

/// Every slot must hold the newest version that was written for certain, or one that may have been.
fn compare(world: &World, oracle: &Oracle, place: &str, bytes: &[u8]) {
    let step = (PAGE / SLOTS) as usize;
    for (slot, chunk) in bytes.chunks(step).enumerate() {
        let seen = chunk.first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
        if let Err(what) = oracle.check(slot, oracle.oldest(slot), seen) {
            world.wrong(format!("{place}: {what}"));
        }
    }
}
