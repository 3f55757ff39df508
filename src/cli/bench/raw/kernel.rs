//! The operating system's own pager: a plain mapping of a file, for information.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::super::clients::Work;
use super::super::error::BenchError;
use super::super::side::Side;
use super::super::sys::{Map, TempFile};

/// A shared mapping of a file in the page cache, mapped anew for each round.
#[derive(Debug)]
pub(crate) struct FileMapping {
    file: Arc<TempFile>,
    pages: usize,
    work: Arc<Work>,
    map: Option<Map>,
    random: bool,
}

impl FileMapping {
    /// `random` turns fault-around off.
    pub(crate) fn new(file: &Arc<TempFile>, pages: usize, random: bool, work: Arc<Work>) -> Self {
        Self {
            file: Arc::clone(file),
            pages,
            work,
            map: None,
            random,
        }
    }
}

impl Side for FileMapping {
    fn reset(&mut self) -> Result<(), BenchError> {
        self.map = None;
        let map = Map::new(self.file.file(), self.pages)?;
        if self.random {
            map.expect_random()?;
        }
        self.map = Some(map);
        Ok(())
    }

    fn run(&mut self) -> Result<Duration, BenchError> {
        let map = self
            .map
            .as_ref()
            .ok_or(io::Error::from(io::ErrorKind::NotFound))?;
        Ok(self.work.run(map.target()))
    }
}
