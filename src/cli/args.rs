//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::bench::{self, BenchArgs};
use super::pattern::Pattern;
use super::size::Size;

const AFTER: &str = "\
Exit codes:
  0  every byte was right, in memory and in the file
  1  a byte was wrong, or data could not be read or written in the end
  2  the command line makes no sense
  3  the file cannot be used: missing, a directory, empty, not permitted
  4  the system lacks something: userfaultfd, memory, threads
  5  the store failed under a thread that touched its memory (see --copies)

Sizes are whole numbers with K, M, G or T (powers of 1024): 4096, 64K, 32M, 1G.";

const DEMO: &str = "\
Makes a file with seeded content, maps it through the pager under a bound far below its size, reads \
and writes it from several threads (sequential, random, skewed), lets the store fail on purpose and \
come back, syncs, and checks every byte in memory and in the file. The file is removed at the end.";

const PAGE: &str = "\
Maps FILE through the pager under a bound on resident memory, goes over it from several threads, and \
checks every byte against what the file held at the start. Without --writable nothing is written.";

/// Pages real memory through actors: shows it, checks it, measures it.
///
/// Without a command, does the same as `demo`.
#[derive(Debug, Parser)]
#[command(name = "actor-pager", version, after_help = AFTER, max_term_width = 100)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Page a file made for the purpose, with failures on purpose, and check every byte
    #[command(long_about = DEMO, after_help = AFTER)]
    Demo(DemoArguments),
    /// Page a file of yours, and check every byte
    #[command(long_about = PAGE, after_help = AFTER)]
    Page(PageArguments),
    /// Measure the pager against raw userfaultfd and mmap
    #[command(after_help = bench::AFTER)]
    Bench(BenchArgs),
    #[cfg(target_os = "linux")]
    #[command(flatten)]
    Keeper(super::keeper::KeeperCommand),
}

/// What both jobs take.
#[derive(Clone, Debug, Args)]
pub(crate) struct JobArguments {
    /// Hard bound on resident page memory
    #[arg(long, value_name = "SIZE", default_value = "32M")]
    pub(crate) resident: Size,
    /// Threads that read and write
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: u16,
    /// Where all that looks random comes from
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Page accesses per pattern, all threads together [default: the number of pages]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) accesses: Option<u64>,
    /// Print one JSON object instead of the table; progress goes to standard error
    #[arg(long)]
    pub(crate) json: bool,
    /// Use calls that copy and return errors instead of touching memory: slower, never a SIGBUS
    #[arg(long)]
    pub(crate) copies: bool,
}

/// The arguments of `demo`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DemoArguments {
    /// Size of the file
    #[arg(long, value_name = "SIZE", default_value = "256M")]
    pub(crate) size: Size,
    /// Where to make the file [default: the system's temporary directory]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) folder: Option<PathBuf>,
    /// Share of the accesses that write, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.3, value_parser = share)]
    pub(crate) write_ratio: f64,
    /// At the end, touch a page that cannot be read: shows what a SIGBUS comes to
    #[arg(long, hide = true)]
    pub(crate) touch_bad_page: bool,
    #[command(flatten)]
    pub(crate) job: JobArguments,
}

/// The arguments of `page`.
#[derive(Clone, Debug, Args)]
pub(crate) struct PageArguments {
    /// The file to page
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// In which order to go over the pages
    #[arg(long, value_enum, default_value_t = Pattern::All)]
    pub(crate) pattern: Pattern,
    /// Write, too; pages are changed and at the end changed back. If the run is cut short, the file
    /// keeps changed pages: work on a copy of anything dear
    #[arg(long)]
    pub(crate) writable: bool,
    /// Share of the accesses that write, from 0 to 1 [default: 0.3]; needs --writable
    #[arg(long, value_name = "SHARE", value_parser = share, requires = "writable")]
    pub(crate) write_ratio: Option<f64>,
    #[command(flatten)]
    pub(crate) job: JobArguments,
}

impl PageArguments {
    /// The share of the accesses that write.
    pub(crate) fn writes(&self) -> f64 {
        if self.writable {
            self.write_ratio.unwrap_or(0.3)
        } else {
            0.0
        }
    }
}

impl Default for DemoArguments {
    fn default() -> Self {
        let job = JobArguments {
            resident: Size(32 << 20),
            threads: 4,
            seed: 1,
            accesses: None,
            json: false,
            copies: false,
        };
        Self {
            size: Size(256 << 20),
            folder: None,
            write_ratio: 0.3,
            touch_bad_page: false,
            job,
        }
    }
}

/// Parses a number from 0 to 1.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| format!("`{text}` is no number from 0 to 1, such as 0.3"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn no_command_is_demo_with_its_defaults() {
        let parsed = Arguments::parse_from(["actor-pager", "demo"]);
        let Some(Command::Demo(demo)) = parsed.command else {
            panic!("not demo");
        };
        assert_eq!(format!("{demo:?}"), format!("{:?}", DemoArguments::default()));
    }
}
