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
mod scale;
#[cfg(target_os = "linux")]
mod side;
#[cfg(target_os = "linux")]
mod state;
#[cfg(target_os = "linux")]
mod store;
#[cfg(target_os = "linux")]
mod sys;
#[cfg(target_os = "linux")]
mod timed;
#[cfg(target_os = "linux")]
mod url;
#[cfg(target_os = "linux")]
mod yours;

use std::path::PathBuf;
use std::process::ExitCode;

#[cfg(target_os = "linux")]
use actor_pager::error::StartError;
#[cfg(target_os = "linux")]
use actor_pager::mach::linux::{LinuxHost, LinuxOptions};
use clap::Args;

use error::BenchError;

/// What `--help` says after the options.
pub(crate) const AFTER: &str = "\
Each row is measured in rounds that alternate between a minimal userfaultfd handler (raw), the library \
(ours) and, for information, a plain mapping of a file (mmap). The figures are medians, in microseconds \
for each page accessed; for state_bytes they are bytes for each page touched.

Rows: random_hot_8 random_hot_1 minor_8 random_pool_8 sequential evict_read_8 evict_write_8 sync_25 \
first_write state_bytes

With FILE, the pager under its bound is measured against a plain mapping of that file, access by access; \
with a URL, against a plain mapping of a copy that was downloaded before.";

/// The arguments of `bench`.
#[derive(Clone, Debug, Args)]
pub(crate) struct BenchArgs {
    /// Fewer rounds: under two minutes in all
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
    /// Instead of the rows: faults in a large object, many idle pagers, many threads
    #[arg(long, conflicts_with_all = ["quick", "only", "rounds", "save"])]
    pub(crate) scale: bool,
    /// Where to make the file of 1 GiB that some rows need, best on a disk
    #[arg(long, value_name = "FOLDER")]
    pub(crate) folder: Option<PathBuf>,
    /// Also write all rounds of all rows to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
    #[cfg(target_os = "linux")]
    #[command(flatten)]
    pub(crate) yours: yours::YourArgs,
}

/// Measures, and says what went wrong if it cannot.
pub(crate) fn main(args: &BenchArgs) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", error.sentence());
            ExitCode::from(error.code())
        }
    }
}

/// Measures, and prints each row when it is done.
#[cfg(target_os = "linux")]
fn run(args: &BenchArgs) -> Result<(), BenchError> {
    // What is missing is said in words before it is met.
    LinuxHost::new(LinuxOptions::default()).map_err(StartError::from)?;
    if args.scale {
        return scale::run(args.json);
    }
    match &args.yours.file {
        Some(file) => {
            let folder = args.folder.clone().unwrap_or_else(std::env::temp_dir);
            yours::run(file, &args.yours, args.json, &folder)
        }
        None => figures::run(args),
    }
}

/// Measures nothing: there is nothing to compare with.
#[cfg(not(target_os = "linux"))]
fn run(_args: &BenchArgs) -> Result<(), BenchError> {
    Err(BenchError::NotLinux)
}
