//! Memory in huge pages, where the system has them.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::thread;

use actor_pager::backend::MemoryBackend;
use actor_pager::object::PageSize;
use actor_pager::{Bucket, Mapping, Pager, PagerOptions, Protection, Wait};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

const HUGE: usize = 2 << 20;
const PAGES: usize = 4;

fn byte(at: usize) -> u8 {
    (at / 509) as u8 ^ at as u8
}

fn pager(bucket: &Bucket) -> Pager<MemoryBackend> {
    let bytes: Vec<u8> = (0..PAGES * HUGE).map(byte).collect();
    let options = PagerOptions {
        page_size: PageSize::MIB_2,
        ..PagerOptions::default()
    };
    bucket
        .create_pager(MemoryBackend::from_bytes(&bytes), options)
        .unwrap()
}

fn load(mapping: &Mapping, at: usize) -> u8 {
    // SAFETY: the byte lies in the mapping, to which no reference is made.
    unsafe { mapping.as_ptr().wrapping_add(at).read_volatile() }
}

fn reads_right(mapping: &Mapping) {
    for at in (0..PAGES * HUGE).step_by(1021) {
        assert_eq!(load(mapping, at), byte(at), "byte {at}");
    }
}

/// A line of what the system says of the mapping that begins at an address, in KiB.
fn smaps(start: usize, name: &str) -> Option<u64> {
    let all = fs::read_to_string("/proc/self/smaps").unwrap();
    let mut lines = all.lines();
    lines.find(|line| line.starts_with(&format!("{start:x}-")))?;
    let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Whether the page of memory at an address is part of a huge one; none where the system does not tell.
fn is_huge(address: usize) -> Option<bool> {
    let word = |path: &str, at: u64| {
        let mut word = [0; 8];
        File::open(path).ok()?.read_exact_at(&mut word, at * 8).ok()?;
        Some(u64::from_ne_bytes(word))
    };
    let frame = word("/proc/self/pagemap", address as u64 / 4096)? & ((1 << 55) - 1);
    let flags = word("/proc/kpageflags", (frame != 0).then_some(frame)?)?;
    // `KPF_THP`.
    Some(flags >> 22 & 1 == 1)
}

/// A bucket and an object that can be in huge pages.
fn in_huge_pages() -> Option<(Bucket, Pager<MemoryBackend>)> {
    let Ok(bucket) = Bucket::builder().huge_pages(true).start() else {
        println!("skipped: userfaultfd is not to be had here");
        return None;
    };
    let pager = pager(&bucket);
    if bucket.stats().huge_refused > 0 {
        println!("skipped: no file system of huge pages can be mounted here");
        return None;
    }
    Some((bucket, pager))
}

#[test]
fn an_object_is_in_huge_pages_and_its_changes_are_stored() {
    let Some((bucket, pager)) = in_huge_pages() else {
        return;
    };
    let mapping = pager.map_all_blocking(Protection::ReadWrite).unwrap();
    reads_right(&mapping);
    let starts = (0..PAGES).map(|page| mapping.as_ptr().expose_provenance() + page * HUGE);
    match starts.map(is_huge).collect::<Option<Vec<_>>>() {
        Some(huge) if huge.contains(&true) => {}
        Some(_) => println!("skipped: the system has no huge page left"),
        None => println!("skipped: the system does not tell which pages are huge"),
    }
    // SAFETY: the byte lies in the mapping, to which no reference is made.
    unsafe { mapping.as_mut_ptr().wrapping_add(HUGE + 5).write_volatile(77) };
    let before = bucket.stats().pages_out;
    pager.sync_blocking(Wait::Yes).unwrap();
    assert_eq!(
        bucket.stats().pages_out - before,
        1,
        "only the page that was written to"
    );
    assert_eq!(
        pager.backend().read(HUGE as u64 + 4, 3),
        [byte(HUGE + 4), 77, byte(HUGE + 6)]
    );
    pager.flush_blocking(Wait::Yes).unwrap();
    assert_eq!(pager.residency_blocking().unwrap().resident, 0);
    assert_eq!(load(&mapping, HUGE + 5), 77);
    assert_eq!(load(&mapping, HUGE + 6), byte(HUGE + 6));
}

#[test]
fn a_copy_is_mapped_in_huge_pages() {
    let Some((_bucket, pager)) = in_huge_pages() else {
        return;
    };
    let copy = pager
        .map_copy_blocking(0, pager.extent(), Protection::ReadWrite)
        .unwrap();
    reads_right(&copy);
    let start = copy.as_ptr().expose_provenance();
    match smaps(start, "ShmemPmdMapped") {
        Some(0) => println!("skipped: the system has no huge page left"),
        Some(mapped) => assert_eq!(mapped % 2048, 0),
        None => println!("skipped: the system does not tell which pages are huge"),
    }
    // SAFETY: the byte lies in the mapping, to which no reference is made.
    unsafe { copy.as_mut_ptr().wrapping_add(HUGE + 5).write_volatile(77) };
    assert_eq!(load(&copy, HUGE + 5), 77);
    pager.sync_blocking(Wait::Yes).unwrap();
    assert_eq!(pager.backend().read(HUGE as u64 + 5, 1), [byte(HUGE + 5)]);
}

#[test]
fn without_the_privilege_memory_is_as_ever_and_the_counter_tells() {
    // Privileges are a thread's own: those of the others stay.
    let unprivileged = thread::spawn(|| {
        let mut mine = capabilities(None).unwrap();
        mine.effective.remove(CapabilitySet::SYS_ADMIN);
        set_capabilities(None, mine).unwrap();
        Bucket::builder().huge_pages(true).start()
    });
    let Ok(bucket) = unprivileged.join().unwrap() else {
        return println!("skipped: userfaultfd is not to be had here");
    };
    let pager = pager(&bucket);
    assert_eq!(bucket.stats().huge_refused, 1);
    let mapping = pager.map_all_blocking(Protection::Read).unwrap();
    reads_right(&mapping);
}
