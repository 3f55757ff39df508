//! The system has no memory for pages: objects whose memory lies on a file system that is too small.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use actor_pager::backend::{CallKind, Fault};
use actor_pager::error::CopyError;
use actor_pager::mach::linux::{Lasting, LinuxHost, LinuxOptions};
use actor_pager::mach::{KernelError, KernelHost, KernelNews, ObjectKernel, ObjectSpec, StatsSnapshot};
use actor_pager::object::PageError;
use actor_pager::{Bucket, EventKind, FailurePolicy, Protection, Wait};

use crate::small_fs::SmallFs;
use crate::support::*;

/// Pages that there is memory for; the pagers have 64.
const ROOM: u64 = 40;

/// A Linux kernel whose objects together have memory for `ROOM` pages.
struct ScarceHost {
    linux: LinuxHost,
    memory: SmallFs,
    objects: AtomicU64,
}

impl ScarceHost {
    fn machine(options: LinuxOptions) -> Option<(Machine, Arc<Self>)> {
        let memory = SmallFs::new(ROOM * PAGE)?;
        let linux = match LinuxHost::new(options) {
            Ok(linux) => linux,
            Err(error) => {
                println!("skipped: {error}");
                return None;
            }
        };
        let objects = AtomicU64::new(0);
        let host = Arc::new(Self {
            linux,
            memory,
            objects,
        });
        Some((Machine::of(host.clone()), host))
    }
}

impl KernelHost for ScarceHost {
    fn create_object(&self, spec: ObjectSpec) -> Result<Box<dyn ObjectKernel>, KernelError> {
        let name = self.objects.fetch_add(1, SeqCst).to_string();
        let memory = OwnedFd::from(self.memory.sparse(&name, spec.length));
        let usual = Lasting::create(spec.length, spec.page_size)?;
        let journal = usual.journal().try_clone_to_owned().unwrap();
        let lasting = Lasting::from_parts(memory, journal);
        Ok(self.linux.inherit_object(&spec, lasting, Vec::new())?.0)
    }

    fn describe(&self) -> String {
        self.linux.describe()
    }

    fn stats(&self) -> StatsSnapshot {
        self.linux.stats()
    }
}

fn is_short(kind: &EventKind) -> bool {
    *kind == EventKind::Kernel(KernelNews::MemoryShort)
}

fn is_back(kind: &EventKind) -> bool {
    *kind == EventKind::Kernel(KernelNews::MemoryBack)
}

/// Threads that load and store real addresses, each in pages of its own.
fn work(bucket: &Bucket) {
    let (pager, _control) = pager(bucket, policy());
    let mapping = pager.map_all_blocking(Protection::ReadWrite).unwrap();
    thread::scope(|scope| {
        for number in 0..2 {
            let mapping = &mapping;
            scope.spawn(move || {
                for round in 0..20_u64 {
                    for at in 0..32 {
                        let page = at * 2 + number;
                        // SAFETY: within the mapping; no other thread uses this page.
                        let byte = unsafe { mapping.as_mut_ptr().add((page * PAGE) as usize + 7) };
                        let before = if round == 0 { page + 1 } else { round + page };
                        // SAFETY: as above.
                        let found = unsafe { byte.read_volatile() };
                        assert_eq!(found, before as u8, "page {page} in round {round}");
                        // SAFETY: as above.
                        unsafe { byte.write_volatile((round + 1 + page) as u8) };
                    }
                }
            });
        }
    });
    pager.sync_blocking(Wait::Yes).unwrap();
    for page in 0..64 {
        assert_eq!(stored(&pager, page).0[7], (20 + page) as u8);
    }
}

#[test]
fn more_pages_than_memory_take_turns() {
    for options in [
        LinuxOptions::default(),
        LinuxOptions::default().fault_around(8),
        LinuxOptions::default().resident_limit(Some(60 * PAGE)),
    ] {
        let Some((machine, host)) = ScarceHost::machine(options) else {
            return;
        };
        let bucket = machine.bucket();
        let mut events = bucket.events();
        work(&bucket);
        assert!(host.stats().memory_refused > 0, "there was memory for all");
        wait_for(&mut events, is_short);
        assert_eq!(host.stats().poisons, 0, "a thread met an error");
    }
}

#[test]
fn a_shortage_begins_and_ends_with_an_event() {
    let Some((machine, _host)) = ScarceHost::machine(LinuxOptions::default()) else {
        return;
    };
    let bucket = machine.bucket();
    let mut events = bucket.events();
    let (pager, _control) = pager(&bucket, policy());
    for page in 0..64 {
        assert_eq!(load(&pager, page), all(page as u8 + 1));
    }
    wait_for(&mut events, is_short);
    wait_for(&mut events, is_back);
    assert_eq!(load(&pager, 0), all(1));
}

#[test]
fn whoever_needs_memory_waits_until_pages_can_go() {
    let Some((machine, _host)) = ScarceHost::machine(LinuxOptions::default()) else {
        return;
    };
    let bucket = machine.bucket();
    let mut events = bucket.events();
    let (pager, control) = pager(&bucket, policy());
    control.fail(CallKind::Write, pages(0, 64), Fault::Error(PageError::NoSpace));
    for page in 0..ROOM {
        fill(&pager, page, 0xC0);
    }
    let waiting = thread::spawn({
        let pager = pager.clone();
        move || load(&pager, 63)
    });
    wait_for(&mut events, is_short);
    wait_for(&mut events, |kind| matches!(kind, EventKind::WritesFailed { .. }));
    assert!(!waiting.is_finished(), "there is no memory for its page");
    control.heal_all();
    assert_eq!(waiting.join().unwrap(), all(64));
    // What failed before is told first.
    while !failed(pager.sync_blocking(Wait::Yes)).is_empty() {}
    for page in 0..ROOM {
        assert_eq!(stored(&pager, page), all(0xC0));
    }
}

#[test]
fn whoever_has_waited_too_long_for_memory_gets_an_error_and_nothing_is_lost() {
    let Some((machine, _host)) = ScarceHost::machine(LinuxOptions::default()) else {
        return;
    };
    let bucket = machine.bucket();
    let short = Duration::from_millis(100);
    let policy = FailurePolicy {
        memory_deadline: short,
        ..policy()
    };
    let (pager, control) = pager(&bucket, policy);
    control.fail(CallKind::Write, pages(0, 64), Fault::Error(PageError::NoSpace));
    for page in 0..ROOM {
        fill(&pager, page, 0xC1);
    }
    let begun = Instant::now();
    let stopped = pager.read_at_blocking(62 * PAGE, &mut [0]).unwrap_err();
    assert!(begun.elapsed() >= short);
    let io = matches!(
        stopped,
        CopyError::Page {
            error: PageError::Io,
            ..
        }
    );
    assert!(io, "{stopped:?}");
    for page in 0..ROOM {
        assert_eq!(load(&pager, page), all(0xC1), "what is in memory can be had");
    }
    control.heal_all();
    while !failed(pager.sync_blocking(Wait::Yes)).is_empty() {}
    assert_eq!(load_healed(&pager, 62), all(63));
    for page in 0..ROOM {
        assert_eq!(stored(&pager, page), all(0xC1));
    }
}

#[test]
fn one_object_gives_way_to_another() {
    let Some((machine, _host)) = ScarceHost::machine(LinuxOptions::default()) else {
        return;
    };
    let bucket = machine.bucket();
    let (first, _control) = pager(&bucket, policy());
    for page in 0..ROOM {
        fill(&first, page, 0xC2);
    }
    let (second, _control) = pager(&bucket, policy());
    for page in 0..ROOM {
        assert_eq!(load(&second, page), all(page as u8 + 1));
    }
    for page in 0..ROOM {
        assert_eq!(load(&first, page), all(0xC2));
    }
}
