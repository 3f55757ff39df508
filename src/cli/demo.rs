//! The main job: a file of its own, failures on purpose, every byte checked.

use std::fs::File;

use actor_pager::backend::{CallKind, Fault, FaultControl, FaultyBackend, FileBackend};
use actor_pager::object::{PageError, PageIndex, PageRange};
use actor_pager::{Protection, Wait};

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
    let own = File::open(file.path()).map_err(|source| reading(file.path(), source))?;
    // Both have the file open: without a name it goes away with them, even if we are killed.
    let path = file.remove();
    let (store, faults) = FaultyBackend::new(store, arguments.job.seed);
    let mut job = Job::start(store, contents, Protection::ReadWrite, &arguments.job, &progress)?;
    job.note(made);
    go_over(&mut job, &faults, arguments.write_ratio)?;
    if arguments.touch_bad_page {
        touch_bad_page(&mut job, &faults)?;
    }
    job.check_file(&path, &own)?;
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
    // The drill takes whole pages: one that the end of the file cuts is left alone.
    let first = job.contents.length() / PAGE_SIZE - drill::PAGES;
    let apart = job.contents.pages() - first;
    job.work_beside("failing store", apart, write_ratio, |job, versions| {
        let drill = Drill {
            pager: &job.pager,
            mapping: &job.mapping,
            faults,
            contents: &job.contents,
            score: &job.score,
            first,
        };
        drill.run(versions)
    })?;
    job.sync()?;
    job.check_memory()
}

/// Lets a page fail for good and goes over all pages: a thread that touches it ends the program.
fn touch_bad_page(
    job: &mut Job<'_, FaultyBackend<FileBackend>>,
    faults: &FaultControl,
) -> Result<(), Failure> {
    let bad = PageRange::single(PageIndex(0));
    faults.fail(CallKind::Read, bad, Fault::Error(PageError::Io));
    job.pager.return_pages_blocking(Wait::Yes)?;
    job.check_memory()
}
