//! Files as stores: what can be wrong with them, and what a full disk does.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use actor_pager::backend::{Backend, BackendError, FileBackend, OpenError, PageOutcome, ReadRun, WriteRun};
use actor_pager::object::{PageError, PageIndex, PageRange, PageSize};

const SIZE: PageSize = PageSize::KIB_4;
const PAGE: u64 = 4096;

/// A directory that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    fn file(&self, length: u64) -> PathBuf {
        let path = self.0.join("store");
        let file = File::create(&path).expect("a file");
        file.set_len(length).expect("a length");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn pages(start: u64, count: u64) -> PageRange {
    PageRange::with_len(PageIndex(start), count)
}

fn read(backend: &FileBackend, range: PageRange) -> (Vec<u8>, Vec<PageOutcome>) {
    let mut bytes = vec![0xEE; range.bytes(SIZE) as usize];
    let mut outcomes = Vec::new();
    let mut run = ReadRun::new(range, SIZE, &mut bytes, &mut outcomes);
    let result = backend.read_pages(&mut run);
    run.finish(result);
    (bytes, outcomes)
}

#[test]
fn a_missing_file_says_so() {
    let error = FileBackend::options().open("/nonexistent/store").unwrap_err();
    assert!(matches!(error, OpenError::Missing { .. }));
    assert!(
        error
            .to_string()
            .starts_with("/nonexistent/store: there is no such file")
    );
}

#[test]
fn a_directory_says_so_whatever_the_mode() {
    let folder = Folder::new("directory");
    for read_only in [false, true] {
        let error = FileBackend::options()
            .read_only(read_only)
            .open(&folder.0)
            .unwrap_err();
        assert!(matches!(error, OpenError::Directory { .. }), "{error}");
    }
}

#[test]
fn an_empty_file_says_so_and_can_be_given_a_length() {
    let folder = Folder::new("empty");
    let path = folder.file(0);
    let error = FileBackend::options().open(&path).unwrap_err();
    assert!(matches!(error, OpenError::Empty { .. }), "{error}");
    let store = FileBackend::options().create(5000).open(&path).unwrap();
    assert_eq!(store.extent(), 5000);
}

#[test]
fn create_never_shortens_a_file() {
    let folder = Folder::new("create");
    let path = folder.file(3 * PAGE);
    assert_eq!(
        FileBackend::options().create(PAGE).open(&path).unwrap().extent(),
        3 * PAGE
    );
}

#[test]
fn a_device_without_an_end_says_so() {
    for path in ["/dev/null", "/dev/zero"] {
        let error = FileBackend::options().open(path).unwrap_err();
        assert!(matches!(error, OpenError::NotSeekable { .. }), "{error}");
    }
}

#[test]
fn a_pipe_says_so_without_waiting_for_its_other_end() {
    let folder = Folder::new("pipe");
    let path = folder.0.join("pipe");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    for read_only in [false, true] {
        let error = FileBackend::options()
            .read_only(read_only)
            .open(&path)
            .unwrap_err();
        assert!(matches!(error, OpenError::NotSeekable { .. }), "{error}");
    }
}

#[test]
fn a_file_that_may_not_be_written_to_says_how_to_go_on() {
    let folder = Folder::new("permission");
    let path = folder.file(PAGE);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    match FileBackend::options().open(&path) {
        Err(error) => {
            assert!(matches!(error, OpenError::Permission { .. }), "{error}");
            assert!(error.to_string().contains("open it read-only"));
            assert!(FileBackend::options().read_only(true).open(&path).is_ok());
        }
        Ok(_) => println!("skipped: root may write to every file"),
    }
}

#[test]
fn a_read_only_store_refuses_writes_and_unlocks_and_changes_nothing() {
    let folder = Folder::new("read-only");
    let path = folder.file(2 * PAGE);
    let store = FileBackend::options().read_only(true).open(&path).unwrap();
    let bytes = vec![1; PAGE as usize];
    let error = store
        .write_pages(&WriteRun::new(pages(0, 1), SIZE, &bytes))
        .unwrap_err();
    assert_eq!((error.written, error.source.page_error()), (0, PageError::Io));
    assert!(store.unlock_pages(pages(0, 1), SIZE).is_err());
    assert!(store.sync().is_ok());
    assert!(fs::read(&path).unwrap().iter().all(|&byte| byte == 0));
}

#[test]
fn a_file_cut_short_fails_only_the_pages_that_are_gone() {
    let folder = Folder::new("cut");
    let path = folder.file(4 * PAGE);
    let store = FileBackend::options().open(&path).unwrap();
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(2 * PAGE + 7)
        .unwrap();
    let (_, outcomes) = read(&store, pages(0, 4));
    let good = PageOutcome::Supplied { write_lock: false };
    let bad = PageOutcome::Failed(PageError::Io);
    assert_eq!(outcomes, [good, good, bad, bad]);
}

#[test]
fn cached_pages_are_read_inline_and_the_rest_is_not_made_up() {
    let folder = Folder::new("inline");
    let path = folder.file(16 * PAGE);
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .write_all_at(&[7; 4096], PAGE)
        .unwrap();
    let store = FileBackend::options().open(&path).unwrap();
    read(&store, pages(0, 16));
    let mut bytes = vec![0xEE; 2 * PAGE as usize];
    let mut outcomes = Vec::new();
    let mut run = ReadRun::new(pages(0, 2), SIZE, &mut bytes, &mut outcomes);
    match store.try_read_pages(&mut run) {
        None => println!("skipped: this file system cannot read without waiting"),
        Some(result) => {
            run.finish(result);
            assert!(bytes[..4096].iter().all(|&byte| byte == 0));
            assert!(bytes[4096..].iter().all(|&byte| byte == 7));
        }
    }
}

#[test]
fn only_pages_in_holes_are_write_locked_and_unlocking_fills_the_hole() {
    let folder = Folder::new("holes");
    let path = folder.file(8 * PAGE);
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .write_all_at(&[7; 4096], 2 * PAGE)
        .unwrap();
    let store = FileBackend::options().reserve(true).open(&path).unwrap();
    let (_, outcomes) = read(&store, pages(0, 8));
    let locked = |page: usize| outcomes[page] == PageOutcome::Supplied { write_lock: true };
    assert!(locked(0) && locked(7), "{outcomes:?}");
    assert!(!locked(2), "{outcomes:?}");
    let before = blocks(&path);
    store.unlock_pages(pages(4, 2), SIZE).unwrap();
    assert!(store.reserves(), "this file system cannot reserve");
    assert!(blocks(&path) >= before + 2 * PAGE);
    assert_eq!(fs::metadata(&path).unwrap().len(), 8 * PAGE);
}

/// The bytes a file takes in its file system.
fn blocks(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).expect("metadata").blocks() * 512
}

/// A file system in memory of one mebibyte; `None`, with the reason printed, where it cannot be had.
struct SmallDisk(Folder);

impl SmallDisk {
    fn mount(name: &str) -> Option<Self> {
        let folder = Folder::new(name);
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(&folder.0);
        match mount.output() {
            Ok(output) if output.status.success() => Some(Self(folder)),
            Ok(output) => {
                println!(
                    "skipped: cannot mount a tmpfs: {}",
                    String::from_utf8_lossy(&output.stderr)
                );
                None
            }
            Err(error) => {
                println!("skipped: cannot run mount: {error}");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0.0).status();
    }
}

#[test]
fn a_full_disk_says_no_space_and_how_far_it_came() {
    let Some(disk) = SmallDisk::mount("full") else {
        return;
    };
    let store = FileBackend::options().open(disk.0.file(4 << 20)).unwrap();
    let bytes = vec![1; 4 << 20];
    let error = store
        .write_pages(&WriteRun::new(pages(0, 1024), SIZE, &bytes))
        .unwrap_err();
    assert!(matches!(error.source, BackendError::NoSpace), "{error:?}");
    assert!((1..=256).contains(&error.written), "{error:?}");
    let (kept, _) = read(&store, pages(0, error.written));
    assert!(kept.iter().all(|&byte| byte == 1));
}

#[test]
fn a_full_disk_refuses_the_unlock_and_keeps_what_was_reserved() {
    let Some(disk) = SmallDisk::mount("reserve") else {
        return;
    };
    let path = disk.0.file(4 << 20);
    let store = FileBackend::options().reserve(true).open(&path).unwrap();
    store.unlock_pages(pages(0, 8), SIZE).unwrap();
    let error = store.unlock_pages(pages(8, 1000), SIZE).unwrap_err();
    assert!(matches!(error, BackendError::NoSpace), "{error:?}");
    fill(&disk.0.0.join("other"));
    let bytes = vec![1; 8 * PAGE as usize];
    store
        .write_pages(&WriteRun::new(pages(0, 8), SIZE, &bytes))
        .expect("the space was reserved");
}

fn fill(path: &Path) {
    let file = File::create(path).expect("a file");
    let written = file.write_all_at(&vec![2; 4 << 20], 0);
    let error = written.expect_err("more than there is room for");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}

#[test]
fn a_block_device_has_the_length_of_the_device() {
    let folder = Folder::new("block");
    let path = folder.file(1 << 20);
    let losetup = Command::new("losetup")
        .args(["--find", "--show"])
        .arg(&path)
        .output();
    let device = match losetup {
        Ok(output) if output.status.success() => String::from_utf8(output.stdout).unwrap(),
        other => return println!("skipped: no loop device: {other:?}"),
    };
    let device = device.trim();
    let opened = FileBackend::options().open(device);
    let length = opened.map(|store| store.extent());
    assert!(
        Command::new("losetup")
            .args(["-d", device])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(length.unwrap(), 1 << 20);
}
