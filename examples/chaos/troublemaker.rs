//! What goes wrong besides the stores' own faults, and what a user does to pagers meanwhile.

use std::sync::PoisonError;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

use actor_pager::backend::{CallKind, Fault};
use actor_pager::error::ShutdownError;
use actor_pager::object::{PageError, PageIndex, PageRange};

use crate::oracle::mix;
use crate::store::set_rates;
use crate::world::{Kind, Life, Object, PAGE, PAGES, World};

/// Nothing takes that long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// Makes trouble until `end`, each time another kind.
///
/// Without `restarts`, pagers neither panic nor lose their threads.
pub(crate) fn trouble(world: &World, end: Instant, seed: u64, restarts: bool) {
    let mut state = seed;
    while Instant::now() < end {
        state = mix(state);
        let object = &world.objects[(state >> 8) as usize % world.objects.len()];
        match state % 16 {
            1..=4 if !restarts => {}
            0 => inhibit(world),
            1 => world.trouble.panic_in_supply.store(1, SeqCst),
            2 => world.trouble.panic_in_poll.store(1, SeqCst),
            3 => world.trouble.panic_in_lock_request.store(1, SeqCst),
            4 => world.trouble.stop_thread.store(1, SeqCst),
            5 => fill_store(object),
            6 => live_again(world, object),
            7 | 8 => revive(world),
            9..12 => inhibit(world),
            _ => live_again(world, object),
        }
        thread::sleep(Duration::from_millis(20 + state % 60));
    }
    world.trouble.end();
}

fn inhibit(world: &World) {
    let inhibited = world.bucket.inhibit_blocking();
    let resumed = world.bucket.resume_blocking();
    if inhibited.is_err() || resumed.is_err() {
        world.wrong(format!("inhibit: {inhibited:?}, resume: {resumed:?}"));
    }
}

/// For a while, nothing can be written.
fn fill_store(object: &Object) {
    let every = PageRange::new(PageIndex(0), PageIndex(PAGES));
    object
        .control
        .fail(CallKind::Write, every, Fault::Error(PageError::NoSpace));
    thread::sleep(Duration::from_millis(100));
    object.control.heal_all();
    set_rates(&object.control);
}

/// Lets quarantined pagers use their stores again.
pub(crate) fn revive(world: &World) {
    for object in world.objects.iter().filter(|object| object.kind == Kind::Fragile) {
        let life = object.life.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(life) = &*life {
            life.pager.revive();
        }
    }
}

/// Shuts a pager down and makes another of its store; what could not be written is saved by hand.
fn live_again(world: &World, object: &Object) {
    let mut place = object.life.write().unwrap_or_else(PoisonError::into_inner);
    let Some(Life { pager, mapping }) = place.take() else {
        return;
    };
    drop(mapping);
    let ended = pager.shutdown_blocking();
    drop(pager);
    // A call that nobody waits for any more may still write.
    while !object.store.is_quiet() {
        thread::yield_now();
    }
    match ended {
        Ok(()) | Err(ShutdownError::Durability(_)) => {}
        Err(ShutdownError::Pages(unsaved)) => {
            for pages in unsaved {
                let offset = pages.range.start().0 * PAGE;
                object.store.memory.write(offset, &pages.bytes);
            }
        }
        Err(error) => world.wrong(format!("a shutdown: {error:?}")),
    }
    match object.begin(&world.bucket) {
        Ok(life) => *place = Some(life),
        Err(error) => world.wrong(format!("a new pager: {error:?}")),
    }
}

/// Ends every hang sooner or later, and counts what the bucket says, until the load is over.
pub(crate) fn release(world: &World) {
    let mut events = world.bucket.events();
    let mut round = 0_u64;
    while !world.over.load(SeqCst) {
        thread::sleep(Duration::from_millis(10));
        round += 1;
        if mix(round).is_multiple_of(6) {
            world
                .objects
                .iter()
                .for_each(|object| object.control.release_hangs());
        }
        let mut tally = world.tally.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(event) = events.try_next() {
            tally.count(&event.kind);
        }
    }
}

/// Who holds what, where nothing goes on any more.
fn describe(world: &World) {
    for object in &world.objects {
        let Ok(life) = object.life.try_read() else {
            println!("{:?}: its pager is being replaced", object.kind);
            continue;
        };
        let residency = life.as_ref().map(|life| life.pager.residency_blocking());
        println!(
            "{:?}: {residency:?}, quiet: {}",
            object.kind,
            object.store.is_quiet()
        );
    }
}

/// Ends the process where nothing goes on any more.
pub(crate) fn watch(world: &World, seed: u64) {
    let (mut seen, mut since) = (0, Instant::now());
    while !world.over.load(SeqCst) {
        thread::sleep(Duration::from_millis(100));
        let now = world.operations.load(SeqCst);
        if now != seen {
            (seen, since) = (now, Instant::now());
        } else if since.elapsed() > PATIENCE {
            describe(world);
            println!("lost: a call never came back, after {now} operations; seed {seed}");
            std::process::exit(1);
        }
    }
}
