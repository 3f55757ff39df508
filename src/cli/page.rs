//! The job on a file of the user's.

use std::fs::File;

use actor_pager::Protection;
use actor_pager::backend::{Backend, FileBackend};

use super::args::PageArguments;
use super::contents::Contents;
use super::disk;
use super::failure::Failure;
use super::job::{Job, check_bound, reading};
use super::progress::Progress;
use super::report::Report;

const PAGE_SIZE: u64 = 4096;

/// Does the job and says how it went.
pub(crate) fn run(arguments: &PageArguments) -> Result<Report, Failure> {
    check_bound(&arguments.job, PAGE_SIZE)?;
    let path = &arguments.file;
    let store = FileBackend::options().read_only(!arguments.writable).open(path)?;
    let own = File::open(path).map_err(|source| reading(path, source))?;
    let progress = Progress::new(arguments.job.json);
    let mut contents = Contents::learned(arguments.job.seed, store.extent(), PAGE_SIZE);
    let phase = progress.begin("read the file", contents.pages());
    disk::learn(&own, &mut contents, &phase).map_err(|source| reading(path, source))?;
    let learned = phase.end(contents.pages(), contents.length());
    let protection = if arguments.writable {
        Protection::ReadWrite
    } else {
        Protection::Read
    };
    let mut job = Job::start(store, contents, protection, &arguments.job, &progress)?;
    job.note(learned);
    for pattern in arguments.pattern.parts() {
        job.work(*pattern, arguments.writes())?;
    }
    finish(&mut job, arguments)?;
    job.end()
}

/// Syncs and checks what was written, changes it back, and checks again.
fn finish(job: &mut Job<'_, FileBackend>, arguments: &PageArguments) -> Result<(), Failure> {
    let path = &arguments.file;
    let open = || File::open(path).map_err(|source| reading(path, source));
    if arguments.writable {
        job.sync()?;
        job.check_memory()?;
        job.check_file(path, &open()?)?;
        job.restore()?;
        job.sync()?;
    }
    job.check_memory()?;
    job.check_file(path, &open()?)
}
