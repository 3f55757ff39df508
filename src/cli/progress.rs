//! How far the work is: bars on a terminal, otherwise one line per phase.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::size::Size;

/// Where progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Show {
    /// Bars on standard error.
    Bars,
    /// Lines on standard output.
    Output,
    /// Lines on standard error: standard output is for the JSON.
    Error,
}

/// Shows the phases of a job.
#[derive(Debug)]
pub(crate) struct Progress {
    show: Show,
}

/// A phase that is under way.
#[derive(Debug)]
pub(crate) struct Phase {
    name: &'static str,
    start: Instant,
    show: Show,
    bar: Option<ProgressBar>,
}

/// What a phase did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lap {
    /// Its name.
    pub(crate) name: &'static str,
    /// Pages read or written.
    pub(crate) pages: u64,
    /// The bytes of those.
    pub(crate) bytes: u64,
    /// How long it took.
    pub(crate) time: Duration,
}

impl Progress {
    /// Bars if people watch, lines otherwise.
    pub(crate) fn new(json: bool) -> Self {
        let watched = io::stderr().is_terminal() && (json || io::stdout().is_terminal());
        let show = match (watched, json) {
            (true, _) => Show::Bars,
            (false, true) => Show::Error,
            (false, false) => Show::Output,
        };
        Self { show }
    }

    /// Begins a phase of so many steps.
    pub(crate) fn begin(&self, name: &'static str, steps: u64) -> Phase {
        let bar = (self.show == Show::Bars).then(|| bar(name, steps));
        Phase {
            name,
            start: Instant::now(),
            show: self.show,
            bar,
        }
    }
}

impl Phase {
    /// So many more steps are done.
    pub(crate) fn add(&self, steps: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(steps);
        }
    }

    /// Ends the phase, which went over so many pages and bytes.
    pub(crate) fn end(self, pages: u64, bytes: u64) -> Lap {
        let lap = Lap {
            name: self.name,
            pages,
            bytes,
            time: self.start.elapsed(),
        };
        let line = lap.line();
        match (self.show, self.bar) {
            (Show::Output, _) => output(&format!("{line}\n")),
            (Show::Error, _) => eprintln!("{line}"),
            (Show::Bars, Some(bar)) => {
                bar.finish_and_clear();
                eprintln!("{line}");
            }
            (Show::Bars, None) => {}
        }
        lap
    }
}

impl Lap {
    /// Millions of bytes per second.
    pub(crate) fn rate(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.time.as_secs_f64().max(1e-9)
    }

    fn line(&self) -> String {
        let seconds = self.time.as_secs_f64();
        if self.bytes == 0 {
            return format!("{:<18} {seconds:>7.2} s", self.name);
        }
        let bytes = Size(self.bytes);
        format!(
            "{:<18} {seconds:>7.2} s  {bytes:>10}  {:>8.1} MB/s",
            self.name,
            self.rate()
        )
    }
}

/// Writes to standard output; whoever closed it does not want to know.
pub(crate) fn output(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

fn bar(name: &'static str, steps: u64) -> ProgressBar {
    let template = "{prefix:<18} {bar:40} {percent:>3} %  {elapsed}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(steps).with_style(style).with_prefix(name)
}
