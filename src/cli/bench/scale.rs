//! What must not grow: the cost of a fault with the object or the threads, the memory of idle pagers.

use std::fs;
use std::sync::Arc;
use std::time::Instant;

use actor_pager::backend::MemoryBackend;
use actor_pager::{Bucket, PagerOptions};
use rustix::process::{Resource, getrlimit};
use serde_json::json;

use super::clients::Work;
use super::error::BenchError;
use super::ours::{Accesses, Before};
use super::side::Side;
use super::sys::{Cpus, PAGE};

/// Accesses in a round, rounds after the first, and pagers.
const ACCESSES: usize = 1 << 13;
const ROUNDS: usize = 5;
const PAGERS: usize = 10_000;
/// Files that each pager keeps open, and those that the program needs besides.
const FILES_EACH: u64 = 2;
const FILES_BESIDES: u64 = 256;
/// What an idle pager may take at most, in KiB.
const MOST_KIB: f64 = 64.0;

/// A line of the table.
struct Line {
    work: &'static str,
    value: f64,
    unit: &'static str,
    at_most: Option<f64>,
}

/// Measures all, and prints a line for each.
pub(crate) fn run(json: bool) -> Result<(), BenchError> {
    let say = |line: Line| {
        println!("{}", if json { line.json() } else { line.text() });
    };
    if !json {
        println!("{:<16}{:>12}  {:<10}{:>10}", "work", "measured", "", "at most");
    }
    // First, while the program has little memory to take again.
    idle_pagers()?.into_iter().for_each(say);
    for (work, pages, threads) in [
        ("fault_1gib", 1 << 18, 8),
        ("fault_1tib", 1 << 28, 8),
        ("fault_64_threads", 1 << 18, 64),
    ] {
        let value = fault(pages, threads)?;
        say(Line {
            work,
            value,
            unit: "µs",
            at_most: None,
        });
    }
    Ok(())
}

impl Line {
    fn text(&self) -> String {
        let at_most = self
            .at_most
            .map_or_else(|| "-".to_owned(), |most| format!("{most:.0}"));
        format!(
            "{:<16}{:>12.2}  {:<10}{at_most:>10}",
            self.work, self.value, self.unit
        )
    }

    fn json(&self) -> String {
        json!({
            "work": self.work,
            "value": self.value,
            "unit": self.unit,
            "at_most": self.at_most,
        })
        .to_string()
    }
}

/// The median time of a fault on a page of a sparse object, in microseconds.
fn fault(pages: usize, threads: usize) -> Result<f64, BenchError> {
    Cpus::First.run(|| {
        let work = Arc::new(Work::at_random(pages, ACCESSES, threads, 7));
        let store = MemoryBackend::new((pages * PAGE) as u64);
        let mut ours = Accesses::new(store, None, Before::Flush, Arc::clone(&work))?;
        let mut times = Vec::new();
        for _ in 0..=ROUNDS {
            ours.reset()?;
            times.push(ours.run()?.as_secs_f64() * 1e6 / work.accesses() as f64);
        }
        times.remove(0);
        times.sort_by(f64::total_cmp);
        Ok(times[ROUNDS / 2])
    })?
}

/// How much memory each of many pagers takes that do nothing, and how long it takes to make one.
fn idle_pagers() -> Result<[Line; 3], BenchError> {
    let bucket = Bucket::builder().start()?;
    let store = Arc::new(MemoryBackend::new(1 << 20));
    let count = PAGERS.min(files_allow());
    let mut pagers = Vec::with_capacity(count);
    // The first pays for what all share.
    pagers.push(bucket.create_pager_shared(Arc::clone(&store), PagerOptions::default())?);
    pagers[0].sync_blocking(actor_pager::Wait::Yes)?;
    let (before, start) = (resident_bytes()?, Instant::now());
    for _ in 1..count {
        pagers.push(bucket.create_pager_shared(Arc::clone(&store), PagerOptions::default())?);
    }
    // Calls are served in order: once the last pager has answered, all of them have started.
    if let Some(last) = pagers.last() {
        last.sync_blocking(actor_pager::Wait::Yes)?;
    }
    let each = |whole: f64| whole / (count - 1) as f64;
    let time = start.elapsed();
    let grown = resident_bytes()?.saturating_sub(before);
    Ok([
        Line {
            work: "pagers",
            value: count as f64,
            unit: "idle",
            at_most: None,
        },
        Line {
            work: "idle_pager",
            value: each(grown as f64) / 1024.0,
            unit: "KiB each",
            at_most: Some(MOST_KIB),
        },
        Line {
            work: "create_pager",
            value: each(time.as_secs_f64() * 1e6),
            unit: "µs",
            at_most: None,
        },
    ])
}

/// How many pagers the limit on open files allows, at least two.
fn files_allow() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files.saturating_sub(FILES_BESIDES) / FILES_EACH).map_or(PAGERS, |count| count.max(2))
}

/// The memory of this process that is in RAM.
fn resident_bytes() -> Result<u64, BenchError> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages
        .map(|pages| pages * PAGE as u64)
        .ok_or_else(|| std::io::Error::from(std::io::ErrorKind::InvalidData).into())
}
