//! The threads that load and store.

use std::sync::PoisonError;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

use actor_pager::error::{CallError, CopyError, SyncError};
use actor_pager::{Pager, Protection, Wait};

use crate::oracle::mix;
use crate::store::Store;
use crate::troublemaker;
use crate::word::word;
use crate::world::{BLOCK, Kind, Life, Object, PAGE, PAGES, SLOTS, THREADS, World};

/// Bytes from one checked word to the next.
const STEP: u64 = PAGE / SLOTS;

/// Loads for `time`, while the troublemaker makes trouble; returns when all threads are done.
pub(crate) fn run(world: &World, time: Duration, seed: u64, restarts: bool) {
    let end = Instant::now() + time;
    thread::scope(|scope| {
        let loading: Vec<_> = (0..THREADS)
            .map(|number| {
                scope.spawn(move || {
                    let mut thread = Thread {
                        world,
                        number,
                        state: mix(seed ^ mix(number)),
                    };
                    while Instant::now() < end {
                        thread.step();
                        world.operations.fetch_add(1, SeqCst);
                    }
                })
            })
            .collect();
        scope.spawn(|| troublemaker::release(world));
        scope.spawn(|| troublemaker::watch(world, seed));
        scope.spawn(|| troublemaker::trouble(world, end, seed, restarts));
        for thread in loading {
            if thread.join().is_err() {
                world.wrong("a thread of the load panicked".to_owned());
            }
        }
        world.over.store(true, SeqCst);
    });
}

/// One thread of the load.
struct Thread<'a> {
    world: &'a World,
    number: u64,
    state: u64,
}

impl Thread<'_> {
    fn draw(&mut self, below: u64) -> u64 {
        self.state = self.state.wrapping_add(1);
        mix(self.state) % below
    }

    /// A page that only this thread writes to.
    fn own_page(&mut self) -> u64 {
        let blocks = PAGES / BLOCK / THREADS;
        (self.draw(blocks) * THREADS + self.number) * BLOCK + self.draw(BLOCK)
    }

    fn step(&mut self) {
        let world = self.world;
        let object = &world.objects[self.draw(world.objects.len() as u64) as usize];
        let life = object.life.read().unwrap_or_else(PoisonError::into_inner);
        let Some(life) = &*life else { return };
        match self.draw(100) {
            0..35 => self.store(object, life),
            35..80 => self.load(object, life),
            80..86 => self.read_some(object, &life.pager),
            86..92 => self.write_some(object, &life.pager),
            92..96 => self.sync_some(&life.pager),
            96..98 => self.return_some(&life.pager),
            98 => self.map_some(object, &life.pager),
            _ => self.ask(&life.pager),
        }
    }

    fn store(&mut self, object: &Object, life: &Life) {
        let (page, slot) = (self.own_page(), self.draw(SLOTS));
        let at = (page * SLOTS + slot) as usize;
        match &life.mapping {
            Some(mapping) if object.kind == Kind::Patient => {
                let next = object.oracle.begin(at);
                word(mapping, page * PAGE + slot * STEP).store(next, SeqCst);
                object.oracle.done(at);
            }
            Some(_) | None => self.write_some(object, &life.pager),
        }
    }

    fn load(&mut self, object: &Object, life: &Life) {
        let (page, slot) = (self.draw(PAGES), self.draw(SLOTS));
        let at = (page * SLOTS + slot) as usize;
        match &life.mapping {
            Some(mapping) if object.kind == Kind::Patient => {
                let oldest = object.oracle.oldest(at);
                let seen = word(mapping, page * PAGE + slot * STEP).load(SeqCst);
                self.world.check(object.oracle.check(at, oldest, seen));
            }
            Some(_) | None => self.read_some(object, &life.pager),
        }
    }

    /// Up to a block of pages by a call; what was copied before an error counts.
    fn read_some(&mut self, object: &Object, pager: &Pager<Store>) {
        let first = self.draw(PAGES - BLOCK);
        let count = 1 + self.draw(BLOCK);
        let slots = (first * SLOTS) as usize..((first + count) * SLOTS) as usize;
        let oldest: Vec<u32> = slots.clone().map(|slot| object.oracle.oldest(slot)).collect();
        let mut bytes = vec![0; (count * PAGE) as usize];
        let copied = self.copied(pager.read_at_blocking(first * PAGE, &mut bytes), bytes.len());
        for (slot, (chunk, oldest)) in slots.zip(bytes[..copied].chunks(STEP as usize).zip(oldest)) {
            let seen = chunk.first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
            self.world.check(object.oracle.check(slot, oldest, seen));
        }
    }

    /// One page, or the rest of its block, by a call.
    fn write_some(&mut self, object: &Object, pager: &Pager<Store>) {
        let first = self.own_page();
        let count = 1 + self.draw(BLOCK - first % BLOCK);
        let slots = (first * SLOTS) as usize..((first + count) * SLOTS) as usize;
        let mut bytes = vec![0; (count * PAGE) as usize];
        for (slot, chunk) in slots.clone().zip(bytes.chunks_mut(STEP as usize)) {
            chunk[..8].copy_from_slice(&object.oracle.begin(slot).to_le_bytes());
        }
        let copied = self.copied(pager.write_at_blocking(first * PAGE, &bytes), bytes.len());
        for slot in slots.take(copied / STEP as usize) {
            object.oracle.done(slot);
        }
    }

    fn copied(&self, result: Result<(), CopyError>, all: usize) -> usize {
        match result {
            Ok(()) => all,
            Err(CopyError::Page { copied, .. }) => copied,
            Err(error) => {
                self.world.wrong(format!("a copy: {error:?}"));
                0
            }
        }
    }

    fn some_range(&mut self) -> std::ops::Range<u64> {
        let first = self.draw(PAGES);
        let count = 1 + self.draw(PAGES - first);
        first * PAGE..(first + count) * PAGE
    }

    fn sync_some(&mut self, pager: &Pager<Store>) {
        let range = self.some_range();
        self.allow(pager.sync_range_blocking(range, Wait::Yes));
    }

    fn return_some(&mut self, pager: &Pager<Store>) {
        let range = self.some_range();
        self.allow(pager.return_range_blocking(range, Wait::Yes));
    }

    /// A store that fails may say so; that the call itself is refused must not be.
    fn allow(&self, result: Result<(), SyncError>) {
        if let Err(SyncError::Call(error)) = result {
            self.world.wrong(format!("a sync or return: {error:?}"));
        }
    }

    fn map_some(&mut self, object: &Object, pager: &Pager<Store>) {
        let page = self.draw(PAGES);
        match pager.map_blocking(page * PAGE, PAGE, Protection::Read) {
            Ok(mapping) if object.kind == Kind::Patient => {
                let at = (page * SLOTS) as usize;
                let oldest = object.oracle.oldest(at);
                let seen = word(&mapping, 0).load(SeqCst);
                self.world.check(object.oracle.check(at, oldest, seen));
            }
            Ok(mapping) => drop(mapping.read_at(0, &mut [0; 8])),
            Err(error) => self.world.wrong(format!("a mapping: {error:?}")),
        }
    }

    fn ask(&self, pager: &Pager<Store>) {
        match pager.residency_blocking() {
            Ok(residency) if residency.resident <= PAGES => {}
            Ok(residency) => self.world.wrong(format!("{residency:?}")),
            // The pager panicked over this very question: it has an answer all the same.
            Err(CallError::Gone) => {}
            Err(error) => self.world.wrong(format!("the residency: {error:?}")),
        }
    }
}
