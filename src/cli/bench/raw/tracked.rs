//! Dirty pages: the first writes to them, and writing them out.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::clients::Work;
use super::super::error::BenchError;
use super::super::side::Side;
use super::super::sys::{Mode, PAGE, TempFile};
use super::region::Region;

/// Writes to protected pages that the kernel notes by itself (`WP_ASYNC`); no handler at all.
#[derive(Debug)]
pub(crate) struct FirstWrites {
    region: Region,
    work: Arc<Work>,
}

impl FirstWrites {
    pub(crate) fn new(pages: usize, work: Arc<Work>) -> io::Result<Self> {
        let region = Region::new(pages, Mode::ProtectedAsync)?;
        (0..pages).for_each(|page| region.map.target().write(page, 1));
        Ok(Self { region, work })
    }
}

impl Side for FirstWrites {
    fn reset(&mut self) -> Result<(), BenchError> {
        let region = &self.region;
        Ok(region.uffd.protect(region.map.address(), region.pages, true)?)
    }

    fn run(&mut self) -> Result<Duration, BenchError> {
        Ok(self.work.run(self.region.map.target()))
    }
}

/// The system calls alone that write dirty pages to a file, one for each run of them.
#[derive(Debug)]
pub(crate) struct PlainWrites {
    file: Arc<TempFile>,
    memory: Vec<u8>,
    runs: Vec<(usize, usize)>,
}

impl PlainWrites {
    /// `dirty` are the pages, in order.
    pub(crate) fn new(file: &Arc<TempFile>, dirty: &[usize]) -> Self {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for &page in dirty {
            match runs.last_mut() {
                Some((first, count)) if *first + *count == page => *count += 1,
                _ => runs.push((page, 1)),
            }
        }
        let pages = dirty.last().map_or(0, |last| last + 1);
        Self {
            file: Arc::clone(file),
            memory: vec![1; pages * PAGE],
            runs,
        }
    }
}

impl Side for PlainWrites {
    fn reset(&mut self) -> Result<(), BenchError> {
        Ok(())
    }

    fn run(&mut self) -> Result<Duration, BenchError> {
        let start = Instant::now();
        for &(first, count) in &self.runs {
            let bytes = &self.memory[first * PAGE..(first + count) * PAGE];
            self.file.file().write_all_at(bytes, (first * PAGE) as u64)?;
        }
        Ok(start.elapsed())
    }
}
