//! The library, doing the same work.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actor_pager::backend::Backend;
use actor_pager::{Bucket, Mapping, Pager, PagerOptions, Protection, Wait};

use super::clients::Work;
use super::error::BenchError;
use super::side::Side;
use super::sys::{Target, TempFile, here};

/// A pager of its own bucket, and one mapping of all its object.
///
/// The fields end in this order.
struct Paged<B: Backend> {
    mapping: Mapping,
    pager: Pager<B>,
    _bucket: Bucket,
}

impl<B: Backend> Paged<B> {
    fn new(backend: B, resident_limit: Option<u64>) -> Result<Self, BenchError> {
        let mut builder = Bucket::builder().placement(here()?);
        if let Some(bytes) = resident_limit {
            builder = builder.resident_limit(bytes);
        }
        Self::of(builder.start()?, backend)
    }

    fn of(bucket: Bucket, backend: B) -> Result<Self, BenchError> {
        let pager = bucket.create_pager(backend, PagerOptions::default())?;
        let mapping = pager.map_all_blocking(Protection::ReadWrite)?;
        Ok(Self {
            mapping,
            pager,
            _bucket: bucket,
        })
    }

    fn target(&self) -> Target<'_> {
        Target::of(&self.mapping)
    }
}

/// What becomes of the pages before a round.
#[derive(Clone, Debug)]
pub(crate) enum Before {
    /// All are dropped: every access faults.
    Flush,
    /// They stay as they are.
    Nothing,
    /// They stay; what was written to this file goes to its disk, not to slow the round down.
    Settle(Arc<TempFile>),
    /// All are written back, and clean.
    Sync,
}

/// Accesses to a mapping.
pub(crate) struct Accesses<B: Backend> {
    paged: Paged<B>,
    before: Before,
    work: Arc<Work>,
}

impl<B: Backend> Accesses<B> {
    pub(crate) fn new(
        backend: B,
        resident_limit: Option<u64>,
        before: Before,
        work: Arc<Work>,
    ) -> Result<Self, BenchError> {
        let paged = Paged::new(backend, resident_limit)?;
        Ok(Self { paged, before, work })
    }

    /// The same in a bucket of the caller's.
    pub(crate) fn of(
        bucket: Bucket,
        backend: B,
        before: Before,
        work: Arc<Work>,
    ) -> Result<Self, BenchError> {
        let paged = Paged::of(bucket, backend)?;
        Ok(Self { paged, before, work })
    }

    /// Brings all pages in first.
    pub(crate) fn populated(self) -> Self {
        Work::in_order(self.work.object_pages()).run(self.paged.target());
        self
    }
}

impl<B: Backend> Side for Accesses<B> {
    fn reset(&mut self) -> Result<(), BenchError> {
        match &self.before {
            Before::Flush => self.paged.pager.flush_blocking(Wait::Yes)?,
            Before::Sync => self.paged.pager.sync_blocking(Wait::Yes)?,
            Before::Settle(file) => file.file().sync_data()?,
            Before::Nothing => {}
        }
        Ok(())
    }

    fn run(&mut self) -> Result<Duration, BenchError> {
        Ok(self.work.run(self.paged.target()))
    }
}

/// Accesses to a mapping that is made anew for each round, while another one keeps the pages resident.
pub(crate) struct Remapped<B: Backend> {
    second: Option<Mapping>,
    first: Paged<B>,
    work: Arc<Work>,
}

impl<B: Backend> Remapped<B> {
    pub(crate) fn new(backend: B, work: Arc<Work>) -> Result<Self, BenchError> {
        let first = Paged::new(backend, None)?;
        Work::in_order(work.object_pages()).run(first.target());
        Ok(Self {
            second: None,
            first,
            work,
        })
    }
}

impl<B: Backend> Side for Remapped<B> {
    fn reset(&mut self) -> Result<(), BenchError> {
        self.second = None;
        self.second = Some(self.first.pager.map_all_blocking(Protection::Read)?);
        Ok(())
    }

    fn run(&mut self) -> Result<Duration, BenchError> {
        let mapping = self.second.as_ref().unwrap_or(&self.first.mapping);
        Ok(self.work.run(Target::of(mapping)))
    }
}

/// A sync of the pages that were just written to.
pub(crate) struct Syncs<B: Backend> {
    paged: Paged<B>,
    dirty: Arc<Work>,
}

impl<B: Backend> Syncs<B> {
    pub(crate) fn new(backend: B, dirty: Arc<Work>) -> Result<Self, BenchError> {
        let paged = Paged::new(backend, None)?;
        Work::in_order(dirty.object_pages()).run(paged.target());
        Ok(Self { paged, dirty })
    }
}

impl<B: Backend> Side for Syncs<B> {
    fn reset(&mut self) -> Result<(), BenchError> {
        self.dirty.run(self.paged.target());
        Ok(())
    }

    fn run(&mut self) -> Result<Duration, BenchError> {
        let start = Instant::now();
        self.paged.pager.sync_blocking(Wait::Yes)?;
        Ok(start.elapsed())
    }
}
