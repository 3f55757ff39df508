//! `actor-pager bench`: the library against the least that could do the same work, in one run.

#[cfg(target_os = "linux")]
mod clients;
mod error;
#[cfg(target_os = "linux")]
mod figures;
#[cfg(target_os = "linux")]
mod measure;
#[cfg(target_os = "linux")]
mod ours;
#[cfg(target_os = "linux")]
mod raw;
#[cfg(target_os = "linux")]
mod report;
#[cfg(target_os = "linux")]
mod rows;
#[cfg(target_os = "linux")]
mod side;
#[cfg(target_os = "linux")]
mod state;
#[cfg(target_os = "linux")]
mod store;
#[cfg(target_os = "linux")]
mod sys;

use std::path::PathBuf;

use clap::Parser;

pub(crate) use error::BenchError;

const AFTER: &str = "\
Each row is measured in rounds that alternate between a minimal userfaultfd handler (raw), the library \
(ours) and, for information, a plain mapping of a file (mmap). The figures are medians, in microseconds \
for each page accessed; for state_bytes they are bytes for each page touched.

Rows: random_hot_8 random_hot_1 minor_8 random_pool_8 sequential evict_read_8 evict_write_8 sync_25 \
first_write state_bytes";

/// Measures the pager against raw userfaultfd and mmap.
#[derive(Clone, Debug, Parser)]
#[command(name = "actor-pager bench", after_help = AFTER, max_term_width = 100)]
pub(crate) struct BenchArgs {
    /// Fewer accesses and rounds: under two minutes in all
    #[arg(long)]
    pub(crate) quick: bool,
    /// Print one JSON object for each row instead of the table
    #[arg(long)]
    pub(crate) json: bool,
    /// Measure these rows only
    #[arg(long, value_name = "ROW", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Rounds for each row [default: 9, or 5 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) rounds: Option<u16>,
    /// Where to make the file of 1 GiB that some rows need, best on a disk
    #[arg(long, value_name = "FOLDER")]
    pub(crate) folder: Option<PathBuf>,
    /// Also write all rounds of all rows to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
}

/// Measures, and prints each row when it is done.
#[cfg(target_os = "linux")]
pub(crate) fn run(args: &BenchArgs) -> Result<(), BenchError> {
    figures::run(args)
}

/// Measures nothing: there is nothing to compare with.
#[cfg(not(target_os = "linux"))]
pub(crate) fn run(_args: &BenchArgs) -> Result<(), BenchError> {
    Err(BenchError::NotLinux)
}
