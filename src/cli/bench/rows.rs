//! The rows: what is measured, against what, and what the ratio is to be.

use std::sync::{Arc, OnceLock};

use actor_pager::backend::{FileBackend, MemoryBackend};

use super::clients::Work;
use super::error::BenchError;
use super::ours::{Accesses, Before, Remapped, Syncs};
use super::raw;
use super::side::Side;
use super::state;
use super::store::Unsynced;
use super::sys::{Cpus, PAGE, TempFile};

/// Pages of the large file: 1 GiB.
const FILE_PAGES: usize = 1 << 18;
/// Pages of the objects that are wholly in memory: 256 MiB.
const HOT_PAGES: usize = 1 << 16;
/// Pages that may be resident where there is a bound: 16 MiB.
const BOUND: usize = 4096;
const MANY: usize = 8;

/// One line of the results.
pub(crate) struct Row {
    /// Its name.
    pub(crate) work: &'static str,
    /// What the work is.
    pub(crate) about: &'static str,
    /// The ratio to stay below.
    pub(crate) at_most: f64,
    /// Where the threads run.
    pub(crate) cpus: Cpus,
    /// Sets the contest up.
    pub(crate) make: fn(&Ground) -> Result<Contest, BenchError>,
}

/// Those that are compared, and how many accesses a round has.
pub(crate) struct Contest {
    pub(crate) accesses: usize,
    pub(crate) raw: Box<dyn Side>,
    pub(crate) ours: Box<dyn Side>,
    pub(crate) mmap: Option<Box<dyn Side>>,
}

/// What the rows share.
pub(crate) struct Ground {
    folder: std::path::PathBuf,
    file: OnceLock<Arc<TempFile>>,
}

impl Ground {
    pub(crate) fn new(folder: std::path::PathBuf) -> Self {
        Self {
            folder,
            file: OnceLock::new(),
        }
    }

    /// The large file; made when first asked for.
    fn file(&self) -> Result<Arc<TempFile>, BenchError> {
        if let Some(file) = self.file.get() {
            return Ok(Arc::clone(file));
        }
        let made = TempFile::new(&self.folder, FILE_PAGES).map_err(|source| BenchError::File {
            path: self.folder.clone(),
            source,
        })?;
        Ok(Arc::clone(self.file.get_or_init(|| Arc::new(made))))
    }
}

/// All rows, in the order in which they run.
pub(crate) const ROWS: [Row; 10] = [
    Row {
        work: "random_hot_8",
        about: "random single-page faults, data at hand, 8 threads",
        at_most: 1.15,
        cpus: Cpus::First,
        make: |ground| random_hot(ground, MANY),
    },
    Row {
        work: "random_hot_1",
        about: "the same, 1 thread, handler on the same CPU",
        at_most: 1.25,
        cpus: Cpus::First,
        make: |ground| random_hot(ground, 1),
    },
    Row {
        work: "minor_8",
        about: "minor faults on resident pages, 8 threads",
        at_most: 1.15,
        cpus: Cpus::First,
        make: minor,
    },
    Row {
        work: "random_pool_8",
        about: "random faults that need the pool (O_DIRECT), 8 threads",
        at_most: 1.4,
        cpus: Cpus::First,
        make: random_pool,
    },
    Row {
        work: "sequential",
        about: "sequential scan, file in the page cache; raw: 64-page runs",
        at_most: 1.3,
        cpus: Cpus::First,
        make: sequential,
    },
    Row {
        work: "evict_read_8",
        about: "random reads with eviction, 16 MiB of 1 GiB, 8 threads",
        at_most: 1.3,
        cpus: Cpus::First,
        make: |ground| evict(ground, false),
    },
    Row {
        work: "evict_write_8",
        about: "random writes with eviction and write-back, the same",
        at_most: 1.4,
        cpus: Cpus::First,
        make: |ground| evict(ground, true),
    },
    Row {
        work: "sync_25",
        about: "sync of 25 % dirty pages of 1 GiB; raw: the writes alone",
        at_most: 1.2,
        cpus: Cpus::All,
        make: sync,
    },
    Row {
        work: "first_write",
        about: "first write to a clean page, tracked; raw: WP_ASYNC alone",
        at_most: 2.0,
        cpus: Cpus::First,
        make: first_write,
    },
    Row {
        work: "state_bytes",
        about: "bytes of page state for each touched page; raw: 2 bytes",
        at_most: 1.0 + 1.0 / 64.0,
        cpus: Cpus::All,
        make: |_| state::contest(),
    },
];

fn memory(pages: usize) -> MemoryBackend {
    MemoryBackend::from_bytes(&vec![1; pages * PAGE])
}

fn cached(file: &TempFile) -> Result<FileBackend, BenchError> {
    Ok(FileBackend::options().open(file.path())?)
}

fn random_hot(ground: &Ground, threads: usize) -> Result<Contest, BenchError> {
    let pages = HOT_PAGES;
    let work = Arc::new(Work::each_page_once(pages, threads, 1));
    let file = ground.file()?;
    Ok(Contest {
        accesses: work.accesses(),
        raw: Box::new(raw::FromMemory::new(pages, Arc::clone(&work))?),
        ours: Box::new(Accesses::new(
            memory(pages),
            None,
            Before::Flush,
            Arc::clone(&work),
        )?),
        mmap: Some(Box::new(raw::FileMapping::new(&file, pages, true, work))),
    })
}

fn minor(ground: &Ground) -> Result<Contest, BenchError> {
    let pages = HOT_PAGES;
    let work = Arc::new(Work::each_page_once(pages, MANY, 2));
    let file = ground.file()?;
    Ok(Contest {
        accesses: work.accesses(),
        raw: Box::new(raw::MinorFaults::new(pages, Arc::clone(&work))?),
        ours: Box::new(Remapped::new(memory(pages), Arc::clone(&work))?),
        mmap: Some(Box::new(raw::FileMapping::new(&file, pages, true, work))),
    })
}

fn random_pool(ground: &Ground) -> Result<Contest, BenchError> {
    let file = ground.file()?;
    let work = Arc::new(Work::at_random(FILE_PAGES, 1 << 15, MANY, 3));
    let direct = FileBackend::options().direct(true).open(file.path())?;
    Ok(Contest {
        accesses: work.accesses(),
        raw: Box::new(raw::FromDisk::new(&file, FILE_PAGES, MANY, Arc::clone(&work))?),
        ours: Box::new(Accesses::new(direct, None, Before::Flush, Arc::clone(&work))?),
        mmap: None,
    })
}

fn sequential(ground: &Ground) -> Result<Contest, BenchError> {
    let pages = FILE_PAGES;
    let file = ground.file()?;
    let work = Arc::new(Work::in_order(pages));
    Ok(Contest {
        accesses: work.accesses(),
        raw: Box::new(raw::RunsFromFile::new(&file, pages, 64, Arc::clone(&work))?),
        ours: Box::new(Accesses::new(
            cached(&file)?,
            None,
            Before::Flush,
            Arc::clone(&work),
        )?),
        mmap: Some(Box::new(raw::FileMapping::new(&file, pages, false, work))),
    })
}

fn evict(ground: &Ground, write: bool) -> Result<Contest, BenchError> {
    let file = ground.file()?;
    let accesses = if write { 1 << 15 } else { 1 << 16 };
    let random = Work::at_random(FILE_PAGES, accesses, MANY, 4);
    let work = Arc::new(if write { random.writing() } else { random });
    let limit = Some((BOUND * PAGE) as u64);
    Ok(Contest {
        accesses: work.accesses(),
        raw: Box::new(raw::Evicting::new(
            &file,
            FILE_PAGES,
            BOUND,
            write,
            Arc::clone(&work),
        )?),
        ours: Box::new(Accesses::new(
            cached(&file)?,
            limit,
            if write {
                Before::Settle(Arc::clone(&file))
            } else {
                Before::Nothing
            },
            Arc::clone(&work),
        )?),
        mmap: Some(Box::new(raw::FileMapping::new(&file, FILE_PAGES, true, work))),
    })
}

fn sync(ground: &Ground) -> Result<Contest, BenchError> {
    let file = ground.file()?;
    let work = Arc::new(Work::some_pages(FILE_PAGES, 4, 5).writing());
    let mut dirty: Vec<usize> = work.pages().collect();
    dirty.sort_unstable();
    Ok(Contest {
        accesses: dirty.len(),
        raw: Box::new(raw::PlainWrites::new(&file, &dirty)),
        ours: Box::new(Syncs::new(Unsynced(cached(&file)?), work)?),
        mmap: None,
    })
}

fn first_write(ground: &Ground) -> Result<Contest, BenchError> {
    let pages = HOT_PAGES;
    let work = Arc::new(Work::each_page_once(pages, 1, 6).writing());
    let file = ground.file()?;
    let ours = Accesses::new(memory(pages), None, Before::Sync, Arc::clone(&work))?;
    Ok(Contest {
        accesses: work.accesses(),
        raw: Box::new(raw::FirstWrites::new(pages, Arc::clone(&work))?),
        ours: Box::new(ours.populated()),
        mmap: Some(Box::new(raw::FileMapping::new(&file, pages, true, work))),
    })
}
