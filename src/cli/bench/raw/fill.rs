//! Faults that are answered at once: from memory, from the page cache, from the memfd itself.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use super::super::clients::Work;
use super::super::error::BenchError;
use super::super::side::Side;
use super::super::sys::{Map, Memfd, Mode, PAGE, TempFile};
use super::region::Region;
use super::server::Server;

/// Missing pages, each copied from memory.
#[derive(Debug)]
pub(crate) struct FromMemory {
    server: Server,
    work: Arc<Work>,
}

impl FromMemory {
    pub(crate) fn new(pages: usize, work: Arc<Work>) -> io::Result<Self> {
        let data = vec![1u8; pages * PAGE];
        let server = Server::start(Region::new(pages, Mode::Missing)?, move |region, fault| {
            let at = region.map.page_of(fault.address) * PAGE;
            region.uffd.copy(fault.address, &data[at..at + PAGE], false)
        })?;
        Ok(Self { server, work })
    }

    /// Missing pages of a sparse object, each filled with zeros.
    pub(crate) fn zeros(pages: usize, work: Arc<Work>) -> io::Result<Self> {
        let server = Server::start(Region::new(pages, Mode::Missing)?, |region, fault| {
            region.uffd.copy(fault.address, &[0; PAGE], false)
        })?;
        Ok(Self { server, work })
    }
}

impl Side for FromMemory {
    fn reset(&mut self) -> Result<(), BenchError> {
        Ok(self.server.region().clear()?)
    }

    fn run(&mut self) -> Result<Duration, BenchError> {
        let time = self.work.run(self.server.region().map.target());
        self.server.check()?;
        Ok(time)
    }
}

/// Pages that are in the memfd but in no page table: each round maps them anew.
#[derive(Debug)]
pub(crate) struct MinorFaults {
    server: Server,
    work: Arc<Work>,
}

impl MinorFaults {
    pub(crate) fn new(pages: usize, work: Arc<Work>) -> io::Result<Self> {
        let memfd = Memfd::new(pages + 1)?;
        let filler = Map::new(&memfd, pages + 1)?;
        (0..=pages).for_each(|page| filler.target().write(page, 1));
        let region = Region::over(memfd, pages, Mode::Minor)?;
        let server = Server::start(region, |region, fault| region.uffd.map_present(fault.address, 1))?;
        Ok(Self { server, work })
    }
}

impl Side for MinorFaults {
    fn reset(&mut self) -> Result<(), BenchError> {
        let region = self.server.region();
        Ok(region.map.forget(0, region.pages)?)
    }

    fn run(&mut self) -> Result<Duration, BenchError> {
        let time = self.work.run(self.server.region().map.target());
        self.server.check()?;
        Ok(time)
    }
}

/// Missing pages, read from a file in runs and copied in runs.
#[derive(Debug)]
pub(crate) struct RunsFromFile {
    server: Server,
    work: Arc<Work>,
}

impl RunsFromFile {
    /// `run` pages are brought in at each fault.
    pub(crate) fn new(file: &Arc<TempFile>, pages: usize, run: usize, work: Arc<Work>) -> io::Result<Self> {
        let file = Arc::clone(file);
        let mut buffer = vec![0; run * PAGE];
        let server = Server::start(Region::new(pages, Mode::Missing)?, move |region, fault| {
            let page = region.map.page_of(fault.address);
            let bytes = &mut buffer[..run.min(region.pages - page) * PAGE];
            file.file().read_exact_at(bytes, (page * PAGE) as u64)?;
            region.uffd.copy(fault.address, bytes, false)
        })?;
        Ok(Self { server, work })
    }
}

impl Side for RunsFromFile {
    fn reset(&mut self) -> Result<(), BenchError> {
        Ok(self.server.region().clear()?)
    }

    fn run(&mut self) -> Result<Duration, BenchError> {
        let time = self.work.run(self.server.region().map.target());
        self.server.check()?;
        Ok(time)
    }
}
