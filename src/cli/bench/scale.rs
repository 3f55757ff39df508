//! What must not grow: the cost of a fault with the object or the threads, the memory of idle pagers.

use std::fs;
use std::sync::Arc;
use std::time::Instant;

use actor_pager::backend::MemoryBackend;
use actor_pager::{Bucket, PagerOptions, Placement};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

use super::clients::Work;
use super::error::BenchError;
use super::ours::{Accesses, Before};
use super::raw;
use super::side::Side;
use super::sys::{Cpus, PAGE, here};

/// Accesses in a round, rounds after the first, pagers, and threads.
const ACCESSES: usize = 1 << 13;
const ROUNDS: usize = 5;
const PAGERS: usize = 10_000;
const MANY: usize = 8;
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
    let time = |work, value| Line {
        work,
        value,
        unit: "µs",
        at_most: None,
    };
    let both = |works: [&'static str; 2], pages, threads| {
        let values = Cpus::First.run(|| faults(pages, threads))??;
        works
            .into_iter()
            .zip(values)
            .for_each(|(work, value)| say(time(work, value)));
        Ok::<_, BenchError>(values)
    };
    let small = both(["raw_1gib", "fault_1gib"], 1 << 18, MANY)?;
    let large = both(["raw_1tib", "fault_1tib"], 1 << 28, MANY)?;
    both(["raw_64_threads", "fault_64_threads"], 1 << 18, 64)?;
    say(Line {
        work: "growth",
        value: large[1] / small[1],
        unit: "times",
        at_most: Some(large[0] / small[0]),
    });
    say(time("fault_anywhere", placed(Placement::Anywhere)?));
    say(time("fault_placed", Cpus::First.run(|| placed(here()?))??));
    Ok(())
}

impl Line {
    fn text(&self) -> String {
        let at_most = self
            .at_most
            .map_or_else(|| "-".to_owned(), |most| format!("{most:.2}"));
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

/// The median times of a fault on a page of a sparse object, the raw handler's and ours, in microseconds.
fn faults(pages: usize, threads: usize) -> Result<[f64; 2], BenchError> {
    let work = Arc::new(Work::at_random(pages, ACCESSES, threads, 7));
    let mut raw = raw::FromMemory::zeros(pages, Arc::clone(&work))?;
    let mut ours = Accesses::new(sparse(pages), None, Before::Flush, Arc::clone(&work))?;
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..=ROUNDS {
        times[0].push(round(&mut raw)?);
        times[1].push(round(&mut ours)?);
    }
    Ok(times.map(|times| median(times) / work.accesses() as f64))
}

/// The median time of a fault of one thread that runs where this one does, in microseconds.
fn placed(placement: Placement) -> Result<f64, BenchError> {
    let work = Arc::new(Work::at_random(1 << 18, ACCESSES, 1, 7));
    let bucket = Bucket::builder().placement(placement).start()?;
    let mut ours = Accesses::of(bucket, sparse(1 << 18), Before::Flush, Arc::clone(&work))?;
    let times = (0..=ROUNDS).map(|_| round(&mut ours)).collect::<Result<_, _>>()?;
    Ok(median(times) / work.accesses() as f64)
}

fn sparse(pages: usize) -> MemoryBackend {
    MemoryBackend::new((pages * PAGE) as u64)
}

fn round(side: &mut dyn Side) -> Result<f64, BenchError> {
    side.reset()?;
    Ok(side.run()?.as_secs_f64() * 1e6)
}

/// The median of all rounds but the first.
fn median(mut times: Vec<f64>) -> f64 {
    times.remove(0);
    times.sort_by(f64::total_cmp);
    times[ROUNDS / 2]
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

/// How many pagers the limit on open files allows, at least two. Whoever has the privilege (`CAP_SYS_RESOURCE`)
/// gets it lifted.
fn files_allow() -> usize {
    let wanted = PAGERS as u64 * FILES_EACH + FILES_BESIDES;
    if getrlimit(Resource::Nofile)
        .maximum
        .is_some_and(|most| most < wanted)
    {
        let lifted = Rlimit {
            current: Some(wanted),
            maximum: Some(wanted),
        };
        // Where that is refused there are fewer pagers.
        let _ = setrlimit(Resource::Nofile, lifted);
    }
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
