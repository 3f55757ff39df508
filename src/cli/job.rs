//! A file under a pager, and what is done to it: the phases that both jobs consist of.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Instant;

use actor_pager::backend::Backend;
use actor_pager::{Bucket, Mapping, Pager, PagerOptions, Protection, Wait};

use super::access::Access;
use super::args::JobArguments;
use super::contents::Contents;
use super::disk;
use super::failure::Failure;
use super::figures::Figures;
use super::load::{self, Load, Task};
use super::memory::Memory;
use super::pattern::Pattern;
use super::progress::{Lap, Phase, Progress};
use super::report::Report;
use super::score::Score;
use super::sigbus;
use super::size::Size;

/// The smallest bound that can be worked under, in pages: a run for each worker, and room to spare.
const LEAST_PAGES: u64 = 256;

/// A mapped file, and what is known of it. The order of the fields is that of taking down.
pub(crate) struct Job<'a, B: Backend> {
    pub(crate) mapping: Mapping,
    pub(crate) pager: Pager<B>,
    bucket: Bucket,
    pub(crate) contents: Contents,
    pub(crate) versions: Vec<u32>,
    pub(crate) score: Score,
    arguments: &'a JobArguments,
    progress: &'a Progress,
    laps: Vec<Lap>,
    start: Instant,
}

impl<'a, B: Backend> Job<'a, B> {
    /// Starts a bucket and maps all of `backend`, whose contents are known.
    pub(crate) fn start(
        backend: B,
        contents: Contents,
        protection: Protection,
        arguments: &'a JobArguments,
        progress: &'a Progress,
    ) -> Result<Self, Failure> {
        let bucket = Bucket::builder().resident_limit(arguments.resident.0).start()?;
        let options = PagerOptions {
            name: Some("job".to_owned()),
            ..PagerOptions::default()
        };
        let pager = bucket.create_pager(backend, options)?;
        let mapping = pager.map_all_blocking(protection)?;
        sigbus::explain(&Memory::new(&mapping, contents.page_size()), contents.page_size());
        let versions = vec![0; contents.pages() as usize];
        Ok(Self {
            mapping,
            pager,
            bucket,
            contents,
            versions,
            score: Score::default(),
            arguments,
            progress,
            laps: Vec::new(),
            start: Instant::now(),
        })
    }

    /// Takes note of a phase that ended elsewhere.
    pub(crate) fn note(&mut self, lap: Lap) {
        self.laps.push(lap);
    }

    /// Goes over the pages in this order.
    pub(crate) fn work(&mut self, pattern: Pattern, write_ratio: f64) -> Result<(), Failure> {
        let accesses = self.arguments.accesses.unwrap_or(self.contents.pages());
        let seed = self.arguments.seed;
        let task = Task::Work {
            pattern,
            accesses,
            write_ratio,
            seed,
        };
        self.all(pattern.name(), accesses, task)
    }

    /// Works in random order on all pages but the last `apart`, by copies that survive errors,
    /// while `beside` does something to those.
    pub(crate) fn work_beside(
        &mut self,
        name: &'static str,
        apart: u64,
        write_ratio: f64,
        beside: impl FnOnce(&Self, &mut [u32]) -> Result<(), Failure> + Send,
    ) -> Result<(), Failure>
    where
        Self: Sync,
    {
        let mut versions = std::mem::take(&mut self.versions);
        let ours = versions.len().saturating_sub(apart as usize);
        let (work, drill) = versions.split_at_mut(ours);
        let accesses = (ours / 4) as u64;
        let phase = self.progress.begin(name, accesses);
        let seed = self.arguments.seed;
        let task = Task::Work {
            pattern: Pattern::Random,
            accesses,
            write_ratio,
            seed,
        };
        let job = &*self;
        let outcome = std::thread::scope(|scope| {
            let beside = scope.spawn(move || beside(job, drill));
            let load = job.load(Access::Copy(&job.mapping), &phase);
            let done = load::run(load, task, job.threads(), work);
            let died = |_| Failure::Lost("a thread died".to_owned());
            beside.join().map_err(died).and_then(|drilled| drilled).and(done)
        });
        self.versions = versions;
        let pages = outcome?;
        self.laps
            .push(phase.end(pages, pages * self.contents.page_size() as u64));
        Ok(())
    }

    /// Writes everything back.
    pub(crate) fn sync(&mut self) -> Result<(), Failure> {
        let phase = self.progress.begin("sync", 1);
        self.pager.sync_blocking(Wait::Yes)?;
        self.laps.push(phase.end(0, 0));
        Ok(())
    }

    /// Compares every byte in memory.
    pub(crate) fn check_memory(&mut self) -> Result<(), Failure> {
        self.all("check memory", self.contents.pages(), Task::Check)
    }

    /// Compares every byte in the file.
    pub(crate) fn check_file(&mut self, path: &Path, file: &File) -> Result<(), Failure> {
        let pages = self.contents.pages();
        let phase = self.progress.begin("check file", pages);
        let checked = disk::check(file, &self.contents, &self.versions, &self.score, &phase);
        checked.map_err(|source| reading(path, source))?;
        self.laps.push(phase.end(pages, self.contents.length()));
        Ok(())
    }

    /// Changes every page back to what it was at the start.
    pub(crate) fn restore(&mut self) -> Result<(), Failure> {
        self.all("change back", self.contents.pages(), Task::Restore)
    }

    /// Takes everything down and says how it went.
    pub(crate) fn end(self) -> Result<Report, Failure> {
        let Self {
            mapping,
            pager,
            bucket,
            contents,
            score,
            laps,
            start,
            arguments,
            ..
        } = self;
        drop(mapping);
        pager.shutdown_blocking()?;
        Ok(Report {
            size: Size(contents.length()),
            resident_limit: arguments.resident,
            threads: arguments.threads,
            seed: arguments.seed,
            figures: Figures::of(&bucket.stats()),
            count: score.count(),
            laps,
            time: start.elapsed(),
        })
    }

    fn all(&mut self, name: &'static str, steps: u64, task: Task) -> Result<(), Failure> {
        let mut versions = std::mem::take(&mut self.versions);
        let phase = self.progress.begin(name, steps);
        let done = load::run(
            self.load(self.access(), &phase),
            task,
            self.threads(),
            &mut versions,
        );
        self.versions = versions;
        let pages = done?;
        self.laps
            .push(phase.end(pages, pages * self.contents.page_size() as u64));
        Ok(())
    }

    fn load<'b>(&'b self, access: Access<'b>, phase: &'b Phase) -> Load<'b> {
        Load {
            contents: &self.contents,
            access,
            score: &self.score,
            phase,
        }
    }

    fn access(&self) -> Access<'_> {
        if self.arguments.copies {
            Access::Copy(&self.mapping)
        } else {
            Access::Touch(Memory::new(&self.mapping, self.contents.page_size()))
        }
    }

    fn threads(&self) -> usize {
        usize::from(self.arguments.threads)
    }
}

/// Refuses a bound that is too small to work under.
pub(crate) fn check_bound(arguments: &JobArguments, page_size: u64) -> Result<(), Failure> {
    let (given, least) = (arguments.resident, Size(LEAST_PAGES * page_size));
    if given < least {
        return Err(Failure::Bound { given, least });
    }
    Ok(())
}

/// The failure to read the file itself.
pub(crate) fn reading(path: &Path, source: io::Error) -> Failure {
    Failure::File {
        path: path.to_owned(),
        doing: "reading",
        source,
    }
}
