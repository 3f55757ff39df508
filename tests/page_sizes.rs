//! Objects of every page size, over files of odd lengths: what is read, written, evicted and stored.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::fs;
use std::path::PathBuf;

use actor_pager::backend::FileBackend;
use actor_pager::object::PageSize;
use actor_pager::{Bucket, Pager, PagerOptions, Protection, Wait};

const SIZES: [u64; 4] = [4 << 10, 16 << 10, 64 << 10, 2 << 20];

fn byte(at: usize) -> u8 {
    (at / 509) as u8 ^ at as u8
}

/// A file of `length` bytes, gone when this is.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, length: usize) -> Self {
        let path = std::env::temp_dir().join(format!("actor-pager-{}-{name}", std::process::id()));
        fs::write(&path, (0..length).map(byte).collect::<Vec<_>>()).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn pager(bucket: &Bucket, file: &Scratch, size: u64) -> Pager<FileBackend> {
    let store = FileBackend::options().open(&file.0).unwrap();
    let options = PagerOptions {
        page_size: PageSize::new(size).unwrap(),
        ..PagerOptions::default()
    };
    bucket.create_pager(store, options).unwrap()
}

/// Twelve pages and a bit: the last page lies in the file only in part.
fn works_on(name: &str, size: u64, builder: actor_pager::BucketBuilder) {
    let Ok(bucket) = builder.start() else {
        return println!("skipped: userfaultfd is not to be had here");
    };
    let length = 12 * size as usize + 1234;
    let file = Scratch::new(&format!("{name}-{size}"), length);
    let pager = pager(&bucket, &file, size);
    let mapping = pager.map_all_blocking(Protection::ReadWrite).unwrap();
    assert_eq!(mapping.len(), length);
    let at = |at: usize| mapping.as_mut_ptr().wrapping_add(at);
    // SAFETY: the byte lies in the mapping, to which no reference is made.
    let read = |offset: usize| unsafe { at(offset).read_volatile() };
    // SAFETY: as above; the mapping may be written to.
    let write = |offset: usize, value: u8| unsafe { at(offset).write_volatile(value) };
    let step = (size as usize / 2).min(8191);
    for offset in (0..length).step_by(step) {
        assert_eq!(read(offset), byte(offset), "page size {size}, byte {offset}");
    }
    assert_eq!(read(length), 0, "beyond the file's end");
    for page in 0..13 {
        write(page * size as usize + 1000, page as u8 ^ 0xa5);
    }
    write(length, 0x77);
    pager.sync_blocking(Wait::Yes).unwrap();
    let stored = fs::read(&file.0).unwrap();
    assert_eq!(stored.len(), length, "the file keeps its length");
    for (offset, &value) in stored.iter().enumerate() {
        let wanted = match offset % size as usize {
            1000 => (offset / size as usize) as u8 ^ 0xa5,
            _ => byte(offset),
        };
        assert_eq!(value, wanted, "page size {size}, stored byte {offset}");
    }
    pager.flush_blocking(Wait::Yes).unwrap();
    assert_eq!(pager.residency_blocking().unwrap().resident, 0);
    assert_eq!(read(5 * size as usize + 1000), 5 ^ 0xa5);
}

#[test]
fn every_page_size_reads_writes_and_stores() {
    for size in SIZES {
        works_on("free", size, Bucket::builder());
    }
}

#[test]
fn every_page_size_works_under_a_bound() {
    for size in SIZES {
        works_on("bounded", size, Bucket::builder().resident_limit(8 * size));
    }
}

#[test]
fn huge_pages_make_no_difference_to_contents() {
    for size in SIZES {
        works_on("huge", size, Bucket::builder().huge_pages(true));
        let bounded = Bucket::builder().huge_pages(true).resident_limit(8 * size);
        works_on("huge-bounded", size, bounded);
    }
}

#[test]
fn a_locked_page_is_unlocked_as_a_whole() {
    let Ok(bucket) = Bucket::builder().start() else {
        return println!("skipped: userfaultfd is not to be had here");
    };
    for size in SIZES {
        let file = Scratch::new(&format!("sparse-{size}"), 0);
        fs::File::options()
            .write(true)
            .open(&file.0)
            .unwrap()
            .set_len(4 * size)
            .unwrap();
        let pager = pager(&bucket, &file, size);
        let mapping = pager.map_all_blocking(Protection::ReadWrite).unwrap();
        mapping.write_at(size as usize + 1, &[9; 3]).unwrap();
        // SAFETY: the byte lies in the mapping, to which no reference is made.
        unsafe {
            mapping
                .as_mut_ptr()
                .wrapping_add(2 * size as usize)
                .write_volatile(8);
        }
        pager.sync_blocking(Wait::Yes).unwrap();
        let stored = fs::read(&file.0).unwrap();
        assert_eq!(stored[size as usize..][..5], [0, 9, 9, 9, 0], "page size {size}");
        assert_eq!(stored[2 * size as usize], 8, "page size {size}");
    }
}
