//! `takeover-load`: a client whose threads read and write until told to stop, and notice everything.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::thread;

use actor_pager::takeover::Client;

use super::words::{WORDS, Words, version, word};
use super::{Failure, LoadArguments};
use crate::cli::rng::Rng;

/// Words of a page that are looked at by one reading.
const LOOKS: usize = 16;

/// What the threads share.
struct Load<'a> {
    words: Words<'a>,
    threads: usize,
    /// For each page the version that is written whole: no reader may see an older one.
    floors: Vec<AtomicU32>,
    stop: AtomicBool,
    operations: AtomicU64,
    wrong: AtomicU64,
    zero: AtomicU64,
}

/// Attaches, says `ready`, and works until a line comes from standard input.
pub(super) fn run(arguments: &LoadArguments) -> Result<(), Failure> {
    let mapping = Client::new(&arguments.socket).attach(&arguments.object)?;
    let words = Words::new(&mapping);
    let load = Load {
        words,
        threads: arguments.threads as usize,
        floors: (0..words.pages()).map(|_| AtomicU32::new(0)).collect(),
        stop: AtomicBool::new(false),
        operations: AtomicU64::new(0),
        wrong: AtomicU64::new(0),
        zero: AtomicU64::new(0),
    };
    println!("ready");
    thread::scope(|scope| {
        for thread in 0..load.threads {
            let (load, seed) = (&load, arguments.seed);
            scope.spawn(move || load.work(thread, Rng::new(seed ^ (thread as u64) << 32)));
        }
        // Whatever ends the waiting ends the work.
        let _ = std::io::stdin().read_line(&mut String::new());
        load.stop.store(true, SeqCst);
    });
    load.check_all();
    load.report(&mut std::io::stdout().lock())?;
    Ok(())
}

impl Load<'_> {
    fn work(&self, thread: usize, mut rng: Rng) {
        let pages = self.words.pages();
        let mine = pages / self.threads;
        while !self.stop.load(SeqCst) {
            match rng.below(2) {
                0 if mine > 0 => {
                    let page = rng.below(mine as u64) as usize * self.threads + thread;
                    self.write(page, &mut rng);
                }
                _ => self.read(rng.below(pages as u64) as usize, &mut rng),
            }
            self.operations.fetch_add(1, SeqCst);
        }
    }

    /// The owner of a page finds what it wrote before, and writes the next version.
    fn write(&self, page: usize, rng: &mut Rng) {
        let before = self.floors[page].load(SeqCst);
        // Every other time the first touch is a store.
        let looks = rng.below(2) as usize * LOOKS;
        for _ in 0..looks {
            let at = rng.below(WORDS as u64) as usize;
            self.check(page, at, before);
        }
        for at in 0..WORDS {
            self.words.store(page, at, word(page, at, before + 1));
        }
        self.floors[page].store(before + 1, SeqCst);
    }

    /// Anybody finds words of the page, of a version that is not older than the last whole one.
    fn read(&self, page: usize, rng: &mut Rng) {
        for _ in 0..LOOKS {
            let floor = self.floors[page].load(SeqCst);
            let at = rng.below(WORDS as u64) as usize;
            let found = self.words.load(page, at);
            if version(page, at, found).is_none_or(|version| version < floor) {
                self.complain(page, at, found, floor);
            }
        }
    }

    fn check(&self, page: usize, at: usize, version: u32) {
        let found = self.words.load(page, at);
        if found != word(page, at, version) {
            self.complain(page, at, found, version);
        }
    }

    fn complain(&self, page: usize, at: usize, found: u64, wanted: u32) {
        eprintln!("error: word {at} of page {page} is {found:#x}, not of version {wanted}");
        let counter = if found == 0 { &self.zero } else { &self.wrong };
        counter.fetch_add(1, SeqCst);
    }

    fn check_all(&self) {
        for (page, floor) in self.floors.iter().enumerate() {
            let version = floor.load(SeqCst);
            (0..WORDS).for_each(|at| self.check(page, at, version));
        }
    }

    /// One line of counts, one of versions.
    fn report(&self, out: &mut impl Write) -> std::io::Result<()> {
        let [operations, wrong, zero] =
            [&self.operations, &self.wrong, &self.zero].map(|counter| counter.load(SeqCst));
        writeln!(out, "{operations} {wrong} {zero}")?;
        for floor in &self.floors {
            write!(out, "{} ", floor.load(SeqCst))?;
        }
        writeln!(out)
    }
}
