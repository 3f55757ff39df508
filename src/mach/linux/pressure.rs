//! Scarce memory, as Linux tells of it: stalls (PSI), and the limits of a control group (cgroup v2).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::mach::pressure::{Pressure, PressureSource};

/// Threads waited for memory during 150 ms of 2 s. A window of whole multiples of 2 s is what processes
/// without privilege may ask for.
const TRIGGER: &[u8] = b"some 150000 2000000\0";

impl Pressure {
    /// Follows the whole machine: `/proc/pressure/memory`.
    pub fn of_machine() -> Self {
        Self::new(|| Ok(Box::new(Stalls::open(Path::new("/proc/pressure/memory"))?)))
    }

    /// Follows the control group of this process: its `memory.pressure`, and how often it hit `memory.high`
    /// or `memory.max` (`memory.events`).
    pub fn of_control_group() -> Self {
        Self::new(|| Ok(Box::new(ControlGroup::open(&own_control_group()?)?)))
    }

    /// Follows the control group whose files lie in `folder`.
    pub fn of_control_group_at(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        Self::new(move || Ok(Box::new(ControlGroup::open(&folder)?)))
    }
}

/// Where the files of this process's control group lie.
fn own_control_group() -> io::Result<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup")?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    let path = path.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "there is no cgroup v2"))?;
    let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
    let folders = roots.iter().map(|root| Path::new(root).join(path));
    let found = folders
        .into_iter()
        .find(|folder| folder.join("memory.events").exists());
    found.ok_or_else(|| {
        let text = "the control group of this process has no memory.events; is it the root?";
        io::Error::new(io::ErrorKind::NotFound, text)
    })
}

/// A trigger on a file of stalls.
#[derive(Debug)]
struct Stalls(File);

impl Stalls {
    fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        file.write_all(TRIGGER)?;
        Ok(Self(file))
    }
}

impl PressureSource for Stalls {
    fn wait(&mut self, most: Duration) -> io::Result<bool> {
        let told = wait_for(&[&self.0], most)?;
        stalled(told.first().copied())
    }
}

/// What the poll of a trigger means.
fn stalled(told: Option<PollFlags>) -> io::Result<bool> {
    let told = told.unwrap_or(PollFlags::empty());
    if told.intersects(PollFlags::ERR) {
        return Err(io::Error::new(
            io::ErrorKind::NotConnected,
            "the file of stalls is gone",
        ));
    }
    Ok(told.intersects(PollFlags::PRI))
}

/// The files of a control group.
#[derive(Debug)]
struct ControlGroup {
    events: File,
    stalls: Option<Stalls>,
    hits: u64,
}

impl ControlGroup {
    fn open(folder: &Path) -> io::Result<Self> {
        let events = File::open(folder.join("memory.events"))?;
        let hits = hits(&events)?;
        // Stalls are counted only where the kernel was built and started to do so.
        let stalls = Stalls::open(&folder.join("memory.pressure")).ok();
        Ok(Self { events, stalls, hits })
    }
}

impl PressureSource for ControlGroup {
    fn wait(&mut self, most: Duration) -> io::Result<bool> {
        let stalls = self.stalls.as_ref().map(|stalls| &stalls.0);
        let files: Vec<_> = [&self.events].into_iter().chain(stalls).collect();
        let told = wait_for(&files, most)?;
        // Whatever woke up: the file says whether it was one of the limits.
        let hits = hits(&self.events)?;
        let hit = std::mem::replace(&mut self.hits, hits) != hits;
        Ok(stalled(told.get(1).copied())? || hit)
    }
}

/// How often the group came to its limits.
fn hits(events: &File) -> io::Result<u64> {
    let mut bytes = [0; 1024];
    let read = events.read_at(&mut bytes, 0)?;
    let text = String::from_utf8_lossy(&bytes[..read]);
    let counts = text.lines().filter_map(|line| {
        let (name, count) = line.split_once(' ')?;
        matches!(name, "high" | "max" | "oom").then(|| count.trim().parse::<u64>().ok())?
    });
    Ok(counts.sum())
}

/// Waits until one of the files has news; what each of them said.
fn wait_for(files: &[&File], most: Duration) -> io::Result<Vec<PollFlags>> {
    let mut fds: Vec<_> = files
        .iter()
        .map(|file| PollFd::new(file, PollFlags::PRI))
        .collect();
    let wait = Timespec {
        tv_sec: most.as_secs() as _,
        tv_nsec: most.subsec_nanos().into(),
    };
    match poll(&mut fds, Some(&wait)) {
        Ok(_) => Ok(fds.iter().map(PollFd::revents).collect()),
        Err(rustix::io::Errno::INTR) => Ok(Vec::new()),
        Err(errno) => Err(errno.into()),
    }
}
