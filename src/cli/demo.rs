//! The main job: a file of its own, failures on purpose, every byte checked.

use std::fs::File;

use actor_pager::Protection;
use actor_pager::backend::{FaultControl, FaultyBackend, FileBackend};

use super::args::DemoArguments;
use super::contents::Contents;
use super::drill::{self, Drill};
use super::failure::Failure;
use super::job::{Job, check_bound, reading};
use super::pattern::Pattern;
use super::progress::Progress;
use super::report::Report;
use super::size::Size;
use super::workfile::Workfile;

const PAGE_SIZE: u64 = 4096;

/// The smallest file that leaves the load some pages beside the drill's.
const LEAST: Size = Size(4 * drill::PAGES * PAGE_SIZE);

/// Does the job and says how it went.
pub(crate) fn run(arguments: &DemoArguments) -> Result<Report, Failure> {
    if arguments.size < LEAST {
        return Err(Failure::TooSmall {
            size: arguments.size,
            least: LEAST,
        });
    }
    check_bound(&arguments.job, PAGE_SIZE)?;
    let progress = Progress::new(arguments.job.json);
    let contents = Contents::seeded(arguments.job.seed, arguments.size.0, PAGE_SIZE);
    let folder = arguments.folder.clone().unwrap_or_else(std::env::temp_dir);
    let phase = progress.begin("make the file", contents.pages());
    let file = Workfile::create(&folder, &contents, &phase)?;
    let made = phase.end(contents.pages(), contents.length());
    let store = FileBackend::options().open(file.path())?;
    let (store, faults) = FaultyBackend::new(store, arguments.job.seed);
    let mut job = Job::start(store, contents, Protection::ReadWrite, &arguments.job, &progress)?;
    job.note(made);
    go_over(&mut job, &faults, arguments.write_ratio)?;
    let own = File::open(file.path()).map_err(|source| reading(file.path(), source))?;
    job.check_file(file.path(), &own)?;
    job.end()
}

/// Load, failures, sync, check.
fn go_over(
    job: &mut Job<'_, FaultyBackend<FileBackend>>,
    faults: &FaultControl,
    write_ratio: f64,
) -> Result<(), Failure> {
    for pattern in Pattern::All.parts() {
        job.work(*pattern, write_ratio)?;
    }
    job.work_beside("failing store", drill::PAGES, write_ratio, |job, versions| {
        let drill = Drill {
            pager: &job.pager,
            mapping: &job.mapping,
            faults,
            contents: &job.contents,
            score: &job.score,
            first: job.contents.pages() - drill::PAGES,
        };
        drill.run(versions)
    })?;
    job.sync()?;
    job.check_memory()
}
