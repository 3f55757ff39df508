//! A real limit on the memory of the process: a cgroup that is smaller than the object.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use actor_pager::backend::{FileBackend, FileOptions};
use actor_pager::mach::linux::{LinuxHost, LinuxOptions};
use actor_pager::mach::pressure::{Pressure, PressureSource};
use actor_pager::{Bucket, Pager, PagerOptions, Protection, Wait};

use crate::support::PAGE;

/// What the child may have, its program included.
const LIMIT: u64 = 32 << 20;
/// Pages of its object: twice as much.
const PAGES: u64 = 2 * LIMIT / PAGE;
/// Where the child finds its cgroup.
const PLACE: &str = "ACTOR_PAGER_TEST_CGROUP";

/// A cgroup with a limit; gone at the end.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(name: &str) -> Result<Self, String> {
        let name = name.replace(':', "-");
        let name = format!("actor-pager-test-{}-{name}", std::process::id());
        let mut reasons = Vec::new();
        for (parent, limit) in [
            (version_1(), "memory.limit_in_bytes"),
            (Some(PathBuf::from("/sys/fs/cgroup")), "memory.max"),
        ] {
            let Some(parent) = parent else { continue };
            let group = Self(parent.join(&name));
            match fs::create_dir(&group.0).and_then(|()| group.put(limit, &LIMIT.to_string())) {
                Ok(()) => return Ok(group),
                Err(error) => reasons.push(format!("{}: {error}", group.0.display())),
            }
        }
        Err(reasons.join("; "))
    }

    fn put(&self, file: &str, value: &str) -> std::io::Result<()> {
        // Never created: in a place that is no cgroup there is no such file.
        let mut file = File::options().write(true).open(self.0.join(file))?;
        file.write_all(value.as_bytes())
    }
}

impl Cgroup {
    /// This process belongs to it from now on.
    fn enter(&self) {
        self.put("cgroup.procs", &std::process::id().to_string()).unwrap();
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A process that was killed takes a moment to leave.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() || !self.0.exists() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        println!("note: {} stays", self.0.display());
    }
}

/// This process's own group, where memory is limited by the first version of cgroups.
fn version_1() -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mine = groups.lines().find_map(|line| line.split_once(":memory:/"))?;
    let base = Path::new("/sys/fs/cgroup/memory");
    let place = base.join(mine.1);
    Some(if place.is_dir() { place } else { base.to_owned() })
}

/// A child that is killed if it is still there at the end.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_process_with_less_memory_than_its_object_goes_on() {
    in_a_small_group("cgroup::the_process_in_the_cgroup");
}

#[test]
fn a_process_in_a_small_group_has_a_bound_by_default() {
    in_a_small_group("cgroup::the_process_without_a_bound_of_its_own");
}

/// Runs a test of this program that is otherwise ignored, which finds a group of its own at `PLACE`.
fn in_a_small_group(half: &str) {
    if let Err(error) = LinuxHost::new(LinuxOptions::default()) {
        return println!("skipped: {error}");
    }
    let group = match Cgroup::new(half) {
        Ok(group) => group,
        Err(reason) => return println!("skipped: no cgroup can be made here: {reason}"),
    };
    let mut child = Killed(
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", half, "--ignored", "--nocapture"])
            .env(PLACE, &group.0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.0.try_wait().unwrap() {
            break status;
        }
        assert!(begun.elapsed() < Duration::from_secs(180), "it hangs");
        thread::sleep(Duration::from_millis(20));
    };
    let mut said = String::new();
    child.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(status.success(), "{status}: {said}");
    print!("{said}");
}

/// Tells that memory is scarce as soon as the group has little left.
struct Usage(PathBuf);

impl Usage {
    /// What cannot be taken from the group without asking: the cache of files is not among it.
    fn is_scarce(&self) -> bool {
        let text = fs::read_to_string(self.0.join("memory.stat")).unwrap_or_default();
        let numbers = text.lines().filter_map(|line| line.split_once(' '));
        let held = numbers.filter(|(name, _)| ["rss", "anon", "shmem"].contains(name));
        let used: u64 = held.filter_map(|(_, number)| number.parse::<u64>().ok()).sum();
        used > LIMIT / 8 * 5
    }
}

impl PressureSource for Usage {
    fn wait(&mut self, most: Duration) -> std::io::Result<bool> {
        let begun = Instant::now();
        while begun.elapsed() < most {
            if self.is_scarce() {
                thread::sleep(Duration::from_millis(1));
                return Ok(true);
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(false)
    }
}

/// The byte that tells pages and rounds apart.
fn mark(page: u64, round: u64) -> u8 {
    (page * 31 + round * 7 + 1) as u8
}

#[test]
#[ignore = "the other half of a test"]
fn the_process_in_the_cgroup() {
    let Some((group, file)) = small_world() else {
        return;
    };
    let watched = group.0.clone();
    let pressure = Pressure::new(move || Ok(Box::new(Usage(watched.clone())))).least(200);
    let bucket = Bucket::builder()
        .workers(2)
        .resident_limit(PAGES * PAGE)
        .pressure(pressure)
        .start()
        .unwrap();
    let pager = bucket.create_pager(file, PagerOptions::default()).unwrap();
    let usage = Usage(group.0.clone());
    group.enter();
    // The system stops every thread of a full group, those that would give pages up included: however
    // busy the machine is, what the threads use stays behind what the pressure has made free.
    work(&bucket, &pager, || {
        let begun = Instant::now();
        while usage.is_scarce() && begun.elapsed() < Duration::from_secs(1) {
            thread::sleep(Duration::from_millis(1));
        }
    });
}

#[test]
#[ignore = "the other half of a test"]
fn the_process_without_a_bound_of_its_own() {
    let Some((group, file)) = small_world() else {
        return;
    };
    group.enter();
    let bucket = Bucket::builder().workers(2).start().unwrap();
    assert_eq!(bucket.resident_limit(), Some(LIMIT / 2));
    let pager = bucket.create_pager(file, PagerOptions::default()).unwrap();
    work(&bucket, &pager, || ());
}

/// The group at `PLACE`, which lasts longer than this process, and a store.
fn small_world() -> Option<(std::mem::ManuallyDrop<Cgroup>, FileBackend)> {
    let place = std::env::var_os(PLACE)?;
    // The system refuses memory instead of killing.
    let group = std::mem::ManuallyDrop::new(Cgroup(PathBuf::from(place)));
    if group.put("memory.oom_control", "1").is_err() {
        fs::write("/proc/self/oom_score_adj", "-1000").unwrap();
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cgroup-{}", std::process::id()));
    File::create(&path).unwrap().set_len(PAGES * PAGE).unwrap();
    let file = FileOptions::default().open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    Some((group, file))
}

/// Two threads that load and store every page, twice; `pause` is called now and then.
fn work(bucket: &Bucket, pager: &Pager<FileBackend>, pause: impl Fn() + Sync) {
    let mapping = pager.map_all_blocking(Protection::ReadWrite).unwrap();
    thread::scope(|scope| {
        for number in 0..2 {
            let (mapping, pause) = (&mapping, &pause);
            scope.spawn(move || {
                for round in 0..2 {
                    for page in (number..PAGES).step_by(2) {
                        if page % 128 == number {
                            pause();
                        }
                        // SAFETY: within the mapping; no other thread uses this page.
                        let byte = unsafe { mapping.as_mut_ptr().add((page * PAGE) as usize) };
                        // SAFETY: as above.
                        let found = unsafe { byte.read_volatile() };
                        let before = if round == 0 { 0 } else { mark(page, round - 1) };
                        assert_eq!(found, before, "page {page}");
                        // SAFETY: as above.
                        unsafe { byte.write_volatile(mark(page, round)) };
                    }
                }
            });
        }
    });
    pager.sync_blocking(Wait::Yes).unwrap();
    let mut bytes = [0];
    for page in 0..PAGES {
        pager.read_at_blocking(page * PAGE, &mut bytes).unwrap();
        assert_eq!(bytes[0], mark(page, 1));
    }
    let stats = bucket.stats();
    println!(
        "{} pages came in, {} were resident at most, memory was refused {} times",
        stats.pages_in,
        stats.resident_high_water / PAGE,
        stats.memory_refused
    );
    assert!(stats.resident_high_water < LIMIT, "more than there is");
    assert_eq!(stats.poisons, 0);
}
