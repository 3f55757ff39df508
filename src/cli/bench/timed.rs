//! Accesses that are timed one by one.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use super::super::pattern::{Pattern, Picker};
use super::sys::Target;

/// Which pages are touched, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) pattern: Pattern,
    pub(crate) pages: usize,
    pub(crate) threads: usize,
    /// All threads together; each does as many.
    pub(crate) accesses: u64,
    pub(crate) write_ratio: f64,
}

/// How long it took.
#[derive(Clone, Debug)]
pub(crate) struct Timed {
    time: Duration,
    /// Nanoseconds of each access, in order of length.
    each: Vec<u32>,
}

impl Timed {
    /// Accesses in a second, all threads together.
    pub(crate) fn pages_per_second(&self) -> f64 {
        self.each.len() as f64 / self.time.as_secs_f64()
    }

    /// The time that this share of the accesses did not exceed.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let rank = (share * self.each.len() as f64).ceil() as usize;
        let found = self.each.get(rank.saturating_sub(1));
        Duration::from_nanos(found.copied().unwrap_or(0).into())
    }
}

impl Plan {
    /// Touches the pages; the time is from the start of all threads to the end of the last.
    pub(crate) fn run(&self, target: Target<'_>) -> Timed {
        let gate = Barrier::new(self.threads + 1);
        let body = &|number: usize| {
            gate.wait();
            self.touch(target, number)
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads)
                .map(|number| scope.spawn(move || body(number)))
                .collect();
            gate.wait();
            let start = Instant::now();
            let joined = threads.into_iter().filter_map(|thread| thread.join().ok());
            let mut each: Vec<u32> = joined.flatten().collect();
            let time = start.elapsed();
            each.sort_unstable();
            Timed { time, each }
        })
    }

    /// One thread's accesses. In order, each thread has a part of the pages to itself.
    fn touch(&self, target: Target<'_>, number: usize) -> Vec<u32> {
        let count = self.accesses.div_ceil(self.threads as u64);
        let (first, pages) = self.part(number);
        let mut picker = Picker::new(self.pattern, pages as u64, number as u64 + 1);
        (0..count)
            .map(|_| {
                let page = first + picker.pick() as usize;
                let writes = picker.chance(self.write_ratio);
                let start = Instant::now();
                if writes {
                    target.write(page, page as u64);
                } else {
                    std::hint::black_box(target.read(page));
                }
                u32::try_from(start.elapsed().as_nanos()).unwrap_or(u32::MAX)
            })
            .collect()
    }

    /// The first page and how many, of those a thread goes over.
    fn part(&self, number: usize) -> (usize, usize) {
        if self.pattern != Pattern::Sequential {
            return (0, self.pages);
        }
        let first = self.pages * number / self.threads;
        let end = self.pages * (number + 1) / self.threads;
        (first.min(self.pages - 1), (end - first).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_accesses_that_happened() {
        let timed = Timed {
            time: Duration::from_secs(2),
            each: vec![1, 2, 3, 100],
        };
        let nanos = [0.0, 0.5, 0.99, 1.0].map(|share| timed.quantile(share).as_nanos());
        assert_eq!(nanos, [1, 2, 100, 100]);
        assert_eq!(timed.pages_per_second(), 2.0);
    }

    #[test]
    fn parts_in_order_cover_every_page_even_if_there_are_few() {
        for (pages, threads) in [(10, 3), (2, 8), (1, 1)] {
            let plan = Plan {
                pattern: Pattern::Sequential,
                pages,
                threads,
                accesses: 1,
                write_ratio: 0.0,
            };
            let mut seen = vec![false; pages];
            for (first, count) in (0..threads).map(|number| plan.part(number)) {
                seen[first..first + count].fill(true);
            }
            assert!(seen.iter().all(|&seen| seen), "{pages} pages, {threads} threads");
        }
    }
}
