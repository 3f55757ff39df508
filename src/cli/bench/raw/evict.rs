//! A bound on resident pages, first in, first out.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use super::super::clients::Work;
use super::super::error::BenchError;
use super::super::side::Side;
use super::super::sys::{Fault, Mode, PAGE, TempFile};
use super::region::Region;
use super::server::Server;

/// How many pages are evicted at a time.
const BATCH: usize = 64;

/// What the handler knows of its pages.
#[derive(Debug)]
struct Cache {
    file: Arc<TempFile>,
    bound: usize,
    order: VecDeque<u32>,
    state: Vec<State>,
    buffer: Box<[u8; PAGE]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Absent,
    Clean,
    Dirty,
}

impl Cache {
    fn new(file: &Arc<TempFile>, pages: usize, bound: usize) -> Self {
        Self {
            file: Arc::clone(file),
            bound,
            order: VecDeque::with_capacity(bound + 1),
            state: vec![State::Absent; pages],
            buffer: Box::new([0; PAGE]),
        }
    }

    fn answer(&mut self, region: &Region, fault: Fault) -> io::Result<()> {
        let page = region.map.page_of(fault.address);
        if fault.protected {
            if self.state[page] == State::Clean {
                self.state[page] = State::Dirty;
            }
            return region.uffd.protect(fault.address, 1, false);
        }
        if self.state[page] != State::Absent {
            return region.uffd.wake(fault.address, 1);
        }
        if self.order.len() >= self.bound {
            self.evict(region)?;
        }
        self.file
            .file()
            .read_exact_at(&mut *self.buffer, (page * PAGE) as u64)?;
        self.state[page] = if fault.write { State::Dirty } else { State::Clean };
        self.order.push_back(page as u32);
        region.uffd.copy(
            fault.address,
            &*self.buffer,
            !fault.write && region.tracks_writes(),
        )
    }

    fn evict(&mut self, region: &Region) -> io::Result<()> {
        let mut victims: Vec<usize> = self.order.drain(..BATCH).map(|page| page as usize).collect();
        victims.sort_unstable();
        for &page in &victims {
            if self.state[page] == State::Dirty {
                self.write_back(region, page)?;
            }
            self.state[page] = State::Absent;
        }
        region.map.forget_each(&victims)
    }

    /// Writers are stopped first, so that nothing they write gets lost.
    fn write_back(&mut self, region: &Region, page: usize) -> io::Result<()> {
        region.uffd.protect(region.map.address_of(page), 1, true)?;
        region.map.copy_out(page, &mut self.buffer);
        self.file.file().write_all_at(&*self.buffer, (page * PAGE) as u64)
    }
}

/// Reads of random pages.
#[derive(Debug)]
pub(crate) struct Evicting {
    server: Server,
    file: Arc<TempFile>,
    writes: bool,
    work: Arc<Work>,
}

impl Evicting {
    /// At most `bound` pages are resident; `writes` says that writes are noted and written back.
    pub(crate) fn new(
        file: &Arc<TempFile>,
        pages: usize,
        bound: usize,
        writes: bool,
        work: Arc<Work>,
    ) -> io::Result<Self> {
        let mode = if writes {
            Mode::MissingAndProtected
        } else {
            Mode::Missing
        };
        let mut cache = Cache::new(file, pages, bound);
        let region = Region::anonymous(pages, mode)?;
        let server = Server::start(region, move |region, fault| cache.answer(region, fault))?;
        Ok(Self {
            server,
            file: Arc::clone(file),
            writes,
            work,
        })
    }
}

impl Side for Evicting {
    /// A round starts with the cache as the one before left it. What is still on its way to the disk would
    /// slow the writes of this round down.
    fn reset(&mut self) -> Result<(), BenchError> {
        if self.writes {
            self.file.file().sync_data()?;
        }
        Ok(())
    }

    fn run(&mut self) -> Result<Duration, BenchError> {
        let time = self.work.run(self.server.region().map.target());
        self.server.check()?;
        Ok(time)
    }
}
