//! The threads that touch memory.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use actor_pager::mach::eviction::traces::Random;

use super::sys::{Target, deal};

/// Which pages each thread touches, in order, and how.
#[derive(Debug)]
pub(crate) struct Work {
    object_pages: usize,
    threads: Vec<Vec<u32>>,
    write: bool,
}

impl Work {
    /// Every page once, in random order, dealt out to `threads` threads.
    pub(crate) fn each_page_once(pages: usize, threads: usize, seed: u64) -> Self {
        let mut all: Vec<u32> = (0..pages as u32).collect();
        Random::new(seed).shuffle(&mut all);
        let share = pages.div_ceil(threads).max(1);
        Self {
            object_pages: pages,
            threads: all.chunks(share).map(<[u32]>::to_vec).collect(),
            write: false,
        }
    }

    /// `accesses` pages at random, some of them twice, dealt out to `threads` threads.
    pub(crate) fn at_random(pages: usize, accesses: usize, threads: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut some = || {
            (0..accesses / threads)
                .map(|_| random.below(pages as u64) as u32)
                .collect()
        };
        Self {
            object_pages: pages,
            threads: (0..threads).map(|_| some()).collect(),
            write: false,
        }
    }

    /// Every page once, in order, by one thread.
    pub(crate) fn in_order(pages: usize) -> Self {
        Self {
            object_pages: pages,
            threads: vec![(0..pages as u32).collect()],
            write: false,
        }
    }

    /// The same pages, written to.
    pub(crate) fn writing(self) -> Self {
        Self { write: true, ..self }
    }

    /// A part of the pages, one in `of`, each once and in random order, by one thread.
    pub(crate) fn some_pages(pages: usize, of: usize, seed: u64) -> Self {
        let mut work = Self::each_page_once(pages, 1, seed);
        work.threads
            .iter_mut()
            .for_each(|order| order.truncate(pages / of));
        work
    }

    /// How many pages the object has.
    pub(crate) fn object_pages(&self) -> usize {
        self.object_pages
    }

    /// How many accesses in all.
    pub(crate) fn accesses(&self) -> usize {
        self.threads.iter().map(Vec::len).sum()
    }

    /// The pages of all threads.
    pub(crate) fn pages(&self) -> impl Iterator<Item = usize> {
        self.threads.iter().flatten().map(|&page| page as usize)
    }

    /// Touches them all; the time from the first thread's start to the last one's end.
    pub(crate) fn run(&self, target: Target<'_>) -> Duration {
        let gate = Barrier::new(self.threads.len());
        let many = self.threads.len() > 1;
        let body = &|number: usize, pages: &[u32]| {
            // A thread that cannot be pinned runs where those that started it run.
            let _ = many.then(|| deal(number));
            gate.wait();
            let start = Instant::now();
            self.touch(target, pages);
            (start, Instant::now())
        };
        let times: Vec<(Instant, Instant)> = thread::scope(|scope| {
            let threads: Vec<_> = self
                .threads
                .iter()
                .enumerate()
                .map(|(number, pages)| scope.spawn(move || body(number, pages)))
                .collect();
            threads
                .into_iter()
                .filter_map(|thread| thread.join().ok())
                .collect()
        });
        let start = times.iter().map(|time| time.0).min();
        let end = times.iter().map(|time| time.1).max();
        start.zip(end).map_or(Duration::ZERO, |(start, end)| end - start)
    }

    fn touch(&self, target: Target<'_>, pages: &[u32]) {
        for &page in pages {
            if self.write {
                target.write(page as usize, u64::from(page) + 1);
            } else {
                std::hint::black_box(target.read(page as usize));
            }
        }
    }
}
