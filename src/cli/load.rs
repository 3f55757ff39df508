//! Threads that go over pages: read, compare, change.

use std::thread;

use super::access::{Access, Lost};
use super::contents::Contents;
use super::failure::Failure;
use super::pattern::{Pattern, Picker};
use super::progress::Phase;
use super::score::Score;

/// What all threads of a phase share.
#[derive(Clone, Copy)]
pub(crate) struct Load<'a> {
    pub(crate) contents: &'a Contents,
    pub(crate) access: Access<'a>,
    pub(crate) score: &'a Score,
    pub(crate) phase: &'a Phase,
}

/// What a thread does to its pages.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Task {
    /// Goes over them in this order, so often, and changes this share of what it reads.
    Work {
        pattern: Pattern,
        accesses: u64,
        write_ratio: f64,
        seed: u64,
    },
    /// Reads each once and compares.
    Check,
    /// Changes each that is not the original back to it.
    Restore,
}

/// The pages that one thread has to itself, and which version each has.
struct Share<'a> {
    first: u64,
    versions: &'a mut [u32],
}

/// Shares the pages out to `threads` threads and lets them work; `versions` has one entry per page.
///
/// Returns how many pages were gone over.
pub(crate) fn run(load: Load<'_>, task: Task, threads: usize, versions: &mut [u32]) -> Result<u64, Failure> {
    if versions.is_empty() {
        return Ok(0);
    }
    let size = versions.len().div_ceil(threads.max(1));
    let shares = versions.len().div_ceil(size) as u64;
    thread::scope(|scope| {
        let mut handles = Vec::new();
        for (number, versions) in versions.chunks_mut(size).enumerate() {
            let share = Share {
                first: (number * size) as u64,
                versions,
            };
            let task = task.for_thread(number as u64, shares);
            let builder = thread::Builder::new().name(format!("load-{number}"));
            let handle = builder.spawn_scoped(scope, move || share.run(load, task));
            handles.push(handle.map_err(Failure::Threads)?);
        }
        let died = |_| Failure::Lost("a thread of the load died".to_owned());
        handles
            .into_iter()
            .map(|handle| handle.join().map_err(died))
            .sum()
    })
}

impl Task {
    /// One thread's part of the work.
    fn for_thread(self, number: u64, shares: u64) -> Self {
        match self {
            Self::Work {
                pattern,
                accesses,
                write_ratio,
                seed,
            } => Self::Work {
                pattern,
                accesses: accesses / shares + u64::from(number < accesses % shares),
                write_ratio,
                seed: seed ^ (number + 1).rotate_left(32),
            },
            Self::Check | Self::Restore => self,
        }
    }
}

impl Share<'_> {
    fn run(mut self, load: Load<'_>, task: Task) -> u64 {
        let mut buffer = vec![0; load.contents.page_size()];
        let pages = self.versions.len() as u64;
        match task {
            Task::Work {
                pattern,
                accesses,
                write_ratio,
                seed,
            } => {
                let mut picker = Picker::new(pattern, pages, seed);
                for _ in 0..accesses {
                    let (at, writes) = (picker.pick(), picker.chance(write_ratio));
                    self.one(load, at as usize, writes, &mut buffer);
                }
                accesses
            }
            Task::Check => {
                for at in 0..pages {
                    self.one(load, at as usize, false, &mut buffer);
                }
                pages
            }
            Task::Restore => self.restore(load, &mut buffer),
        }
    }

    /// Goes over one page.
    fn one(&mut self, load: Load<'_>, at: usize, writes: bool, buffer: &mut [u8]) {
        load.phase.add(1);
        let page = self.first + at as u64;
        let version = self.versions[at];
        let next = if writes { version.wrapping_add(1) } else { version };
        match visit(load, page, version, next, buffer) {
            Ok(true) => self.versions[at] = next,
            Ok(false) => load.score.wrong(page),
            Err(Lost) => load.score.lost(page),
        }
    }

    fn restore(&mut self, load: Load<'_>, buffer: &mut [u8]) -> u64 {
        let mut restored = 0;
        for at in 0..self.versions.len() {
            load.phase.add(1);
            let page = self.first + at as u64;
            let version = self.versions[at];
            if version == 0 {
                continue;
            }
            restored += 1;
            match visit(load, page, version, 0, buffer) {
                Ok(true) => self.versions[at] = 0,
                Ok(false) => load.score.wrong(page),
                Err(Lost) => load.score.lost(page),
            }
        }
        restored
    }
}

/// Reads a page, compares it with the version it must have, and turns it into the next if that is
/// another; false if it was wrong, which leaves it alone.
fn visit(load: Load<'_>, page: u64, version: u32, next: u32, buffer: &mut [u8]) -> Result<bool, Lost> {
    let Load {
        contents,
        access,
        score,
        ..
    } = load;
    let bytes = access.read(contents, score, page, buffer)?;
    // Comparing leaves the original in the buffer.
    if !contents.is_right(page, version, bytes) {
        return Ok(false);
    }
    if next != version {
        contents.change(page, 0, next, bytes);
        access.write(contents, score, page, bytes)?;
    }
    Ok(true)
}
