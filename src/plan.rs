//! Access plans: what was touched in a run, saved to a file, to be brought in ahead of need in the next.

mod codec;
mod crc;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::object::{PageIndex, PageRange, PageSize};

/// The accesses of a run to one object, in order.
///
/// Accesses that follow each other page by page are kept as one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    page_size: PageSize,
    runs: Vec<PageRange>,
}

/// Why a plan could not be saved or loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The file could not be read or written.
    #[error("the plan's file could not be read or written")]
    Io(#[from] io::Error),
    /// The file does not start as a plan does.
    #[error("this is not a plan: record one first")]
    NotAPlan,
    /// The file was written by a later release.
    #[error("the plan is of version {0}, but only version 1 is known: record it again")]
    Version(u32),
    /// The file is shorter or longer than it says.
    #[error("the plan is cut off or has something appended to it: record it again")]
    Length,
    /// The contents are not what was written.
    #[error("the plan's checksum is wrong: record it again")]
    Checksum,
    /// The checksum is right, but the contents make no sense.
    #[error("the plan's contents make no sense: record it again")]
    Malformed,
}

impl Plan {
    /// A plan without accesses, of an object with pages of `page_size`.
    pub const fn new(page_size: PageSize) -> Self {
        Self {
            page_size,
            runs: Vec::new(),
        }
    }

    /// Appends an access to `pages`.
    pub fn record(&mut self, pages: PageRange) {
        if pages.is_empty() {
            return;
        }
        match self.runs.last_mut() {
            Some(last) if last.end() == pages.start() => *last = PageRange::new(last.start(), pages.end()),
            _ => self.runs.push(pages),
        }
    }

    /// The size of the object's pages.
    pub const fn page_size(&self) -> PageSize {
        self.page_size
    }

    /// The accesses in order; a page stands in as many runs as it was used.
    pub fn runs(&self) -> &[PageRange] {
        &self.runs
    }

    /// What to bring in: every page once, in the order of first use, within `extent`.
    pub fn working_set(&self, extent: PageRange) -> Vec<PageRange> {
        let mut seen = Seen::default();
        let mut set = Self::new(self.page_size);
        for run in &self.runs {
            seen.add(run.intersection(extent), |fresh| set.record(fresh));
        }
        set.runs
    }

    /// Saves the plan; a file that is there already is replaced as a whole or not at all.
    pub fn save(&self, path: &Path) -> Result<(), PlanError> {
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".{}.new", std::process::id()));
        let new = path.with_file_name(name);
        let written = self.write_new(&new).and_then(|()| fs::rename(&new, path));
        if written.is_err() {
            // The error that matters is the one of the write.
            let _ = fs::remove_file(&new);
        }
        Ok(written?)
    }

    /// Loads a plan that was saved.
    pub fn load(path: &Path) -> Result<Self, PlanError> {
        Self::from_bytes(&fs::read(path)?)
    }

    /// The plan as it stands in a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(self.page_size, &self.runs)
    }

    /// The plan that stands in `bytes`; any bytes are taken, wrong ones give an error.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PlanError> {
        let (page_size, runs) = codec::decode(bytes)?;
        Ok(Self { page_size, runs })
    }

    fn write_new(&self, path: &Path) -> io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(&self.to_bytes())?;
        file.sync_all()
    }
}

/// The pages seen so far, as runs that do not overlap: start and end.
#[derive(Default)]
struct Seen(BTreeMap<u64, u64>);

impl Seen {
    /// Adds `range`, and tells which parts of it are new.
    fn add(&mut self, range: PageRange, mut tell: impl FnMut(PageRange)) {
        for (start, end) in self.gaps(range) {
            self.insert(start, end);
            tell(PageRange::new(PageIndex(start), PageIndex(end)));
        }
    }

    fn gaps(&self, range: PageRange) -> Vec<(u64, u64)> {
        let (mut at, end) = (range.start().0, range.end().0);
        let before = self.0.range(..at).next_back().map_or(at, |(_, &end)| end);
        at = at.max(before);
        let mut gaps = Vec::new();
        for (&seen_start, &seen_end) in self.0.range(at.min(end)..end) {
            gaps.push((at, seen_start));
            at = seen_end;
        }
        gaps.push((at, end));
        gaps.retain(|(start, end)| start < end);
        gaps
    }

    /// Inserts a run that is new, as part of the run right before it if there is one.
    fn insert(&mut self, start: u64, end: u64) {
        match self.0.range_mut(..start).next_back() {
            Some((_, before)) if *before == start => *before = end,
            _ => {
                self.0.insert(start, end);
            }
        }
    }
}
