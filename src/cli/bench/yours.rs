//! A file of the user's, or what lies behind a URL: the pager against a plain mapping of it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use actor_pager::backend::{Backend, FileBackend, HttpBackend};
use actor_pager::{Bucket, PagerOptions, Protection};
use clap::Args;
use rustix::fs::{Advice, fadvise};
use serde_json::{Value, json};

use super::super::memory::Memory;
use super::super::pattern::Pattern;
use super::super::sigbus;
use super::super::size::Size;
use super::error::BenchError;
use super::sys::{Map, PAGE, Target, TempFile};
use super::timed::{Plan, Timed};
use super::url;

/// The smallest bound that can be worked under.
const LEAST: Size = Size(1 << 20);

/// What is done to a file of the user's.
#[derive(Clone, Debug, Args)]
pub(crate) struct YourArgs {
    /// Measure the pager against mmap on this file of yours, instead of the rows; of an http URL, which the
    /// pager reads by ranges, mmap gets a copy that is downloaded to --folder before
    #[arg(value_name = "FILE|URL", conflicts_with_all = ["quick", "only", "rounds", "save", "scale"])]
    pub(crate) file: Option<PathBuf>,
    /// In which order to go over its pages
    #[arg(long, value_enum, default_value_t = Pattern::All, requires = "file")]
    pub(crate) pattern: Pattern,
    /// Threads that touch them
    #[arg(long, value_name = "N", default_value_t = 4, requires = "file",
        value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: u16,
    /// The pager's hard bound on resident memory; mmap has all the memory there is
    #[arg(long, value_name = "SIZE", default_value = "64M", requires = "file")]
    pub(crate) resident: Size,
    /// Share of the accesses that write, from 0 to 1; if there are any, a copy of the file is made in
    /// --folder and worked on
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, requires = "file",
        value_parser = super::super::args::share)]
    pub(crate) write_ratio: f64,
    /// Page accesses for each pattern, all threads together [default: the number of pages]
    #[arg(long, value_name = "N", requires = "file", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) accesses: Option<u64>,
    /// Start each measurement with none of the file in the page cache
    #[arg(long, requires = "file")]
    pub(crate) cold: bool,
}

/// The file that is worked on, and how.
struct Ground<'a> {
    file: File,
    path: &'a Path,
    /// Where the pager reads instead.
    url: Option<&'a str>,
    args: &'a YourArgs,
    pages: usize,
}

/// Measures every pattern that is asked for, and prints a line for each way.
pub(crate) fn run(original: &Path, args: &YourArgs, json: bool, folder: &Path) -> Result<(), BenchError> {
    if args.resident < LEAST {
        return Err(BenchError::Bound {
            given: args.resident,
            least: LEAST,
        });
    }
    let url = original.to_str().filter(|text| text.starts_with("http://"));
    if url.is_some() && args.write_ratio > 0.0 {
        return Err(BenchError::WriteUrl);
    }
    let copy = if let Some(url) = url {
        let begun = Instant::now();
        let copy = url::download(url, folder)?;
        if !json {
            println!("downloaded in {:.2} s", begun.elapsed().as_secs_f64());
        }
        Some(copy)
    } else if args.write_ratio > 0.0 {
        check(original)?;
        let at_fault = |source| BenchError::File {
            path: folder.to_owned(),
            source,
        };
        Some(TempFile::copy_of(original, folder).map_err(at_fault)?)
    } else {
        check(original)?;
        None
    };
    let path = copy.as_ref().map_or(original, TempFile::path);
    let file = File::options()
        .read(true)
        .write(args.write_ratio > 0.0)
        .open(path)?;
    let pages = file.metadata()?.len().div_ceil(PAGE as u64) as usize;
    let ground = Ground {
        file,
        path,
        url,
        args,
        pages,
    };
    if !json {
        println!("{}", heading());
    }
    for &pattern in args.pattern.parts() {
        for (way, timed) in ground.measure(pattern)? {
            let line = if json {
                details(pattern, way, &timed).to_string()
            } else {
                row(pattern, way, &timed)
            };
            println!("{line}");
        }
    }
    Ok(())
}

/// The store says best what is wrong with a file.
fn check(file: &Path) -> Result<(), BenchError> {
    drop(FileBackend::options().read_only(true).open(file)?);
    Ok(())
}

impl Ground<'_> {
    /// mmap, then ours, after a pass that brings the file into the page cache, unless it is to be cold.
    fn measure(&self, pattern: Pattern) -> Result<[(&'static str, Timed); 2], BenchError> {
        let plan = Plan {
            pattern,
            pages: self.pages,
            threads: usize::from(self.args.threads),
            accesses: self.args.accesses.unwrap_or(self.pages as u64),
            write_ratio: self.args.write_ratio,
        };
        if !self.args.cold {
            self.mmap(&plan)?;
        }
        self.settle()?;
        let mmap = self.mmap(&plan)?;
        self.settle()?;
        let ours = self.ours(&plan)?;
        Ok([("mmap", mmap), ("ours", ours)])
    }

    fn writes(&self) -> bool {
        self.args.write_ratio > 0.0
    }

    /// Puts the file into the state in which measurements start.
    fn settle(&self) -> Result<(), BenchError> {
        if self.writes() {
            self.file.sync_all()?;
        }
        if self.args.cold {
            fadvise(&self.file, 0, None, Advice::DontNeed).map_err(std::io::Error::from)?;
        }
        Ok(())
    }

    fn mmap(&self, plan: &Plan) -> Result<Timed, BenchError> {
        let map = if self.writes() {
            Map::new(&self.file, self.pages)?
        } else {
            Map::read_only(&self.file, self.pages)?
        };
        Ok(plan.run(map.target()))
    }

    fn ours(&self, plan: &Plan) -> Result<Timed, BenchError> {
        match self.url {
            Some(url) => self.paged(HttpBackend::open(url)?, plan),
            None => self.paged(
                FileBackend::options().read_only(!self.writes()).open(self.path)?,
                plan,
            ),
        }
    }

    fn paged(&self, store: impl Backend, plan: &Plan) -> Result<Timed, BenchError> {
        let bucket = Bucket::builder().resident_limit(self.args.resident.0).start()?;
        let pager = bucket.create_pager(store, PagerOptions::default())?;
        let protection = if self.writes() {
            Protection::ReadWrite
        } else {
            Protection::Read
        };
        let mapping = pager.map_all_blocking(protection)?;
        sigbus::explain(&Memory::new(&mapping, PAGE), PAGE);
        Ok(plan.run(Target::of(&mapping)))
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn heading() -> String {
    format!(
        "{:<12}{:<6}{:>12}{:>10}{:>10}{:>12}",
        "pattern", "way", "pages/s", "p50 µs", "p99 µs", "max µs"
    )
}

fn row(pattern: Pattern, way: &str, timed: &Timed) -> String {
    format!(
        "{:<12}{way:<6}{:>12.0}{:>10.2}{:>10.2}{:>12.2}",
        pattern.name(),
        timed.pages_per_second(),
        micros(timed.quantile(0.5)),
        micros(timed.quantile(0.99)),
        micros(timed.quantile(1.0)),
    )
}

fn details(pattern: Pattern, way: &str, timed: &Timed) -> Value {
    json!({
        "pattern": pattern.name(),
        "way": way,
        "pages_per_second": timed.pages_per_second(),
        "p50_us": micros(timed.quantile(0.5)),
        "p99_us": micros(timed.quantile(0.99)),
        "max_us": micros(timed.quantile(1.0)),
    })
}
