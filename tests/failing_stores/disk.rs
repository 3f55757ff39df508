//! A real file on a real file system that is full while dirty pages wait.

use std::fs;

use actor_pager::backend::FileOptions;
use actor_pager::error::{ShutdownError, SyncError};
use actor_pager::object::PageError;
use actor_pager::{EventKind, Pager, Wait};

use crate::small_fs::SmallFs;
use crate::support::*;

/// Pages that fit on the disk.
const ROOM: u64 = 48;
/// Pages that something else takes.
const BALLAST: u64 = 24;

fn fill_file(pager: &Pager<actor_pager::backend::FileBackend>, byte: u8) {
    let bytes = vec![byte; (ROOM * PAGE) as usize];
    pager.write_at_blocking(0, &bytes).unwrap();
}

fn machines() -> impl Iterator<Item = Machine> {
    let machines = [Machine::simulated(), Machine::lending(), Machine::linux()];
    machines.into_iter().flatten()
}

#[test]
fn a_full_disk_keeps_dirty_pages_until_there_is_room() {
    for machine in machines() {
        let Some(disk) = SmallFs::new(ROOM * PAGE) else {
            return;
        };
        fs::write(disk.path("ballast"), vec![1; (BALLAST * PAGE) as usize]).unwrap();
        drop(disk.sparse("object", ROOM * PAGE));
        let file = FileOptions::default().open(disk.path("object")).unwrap();
        let bucket = machine.bucket();
        let mut events = bucket.events();
        let pager = bucket.create_pager(file, options(never_by_itself())).unwrap();
        fill_file(&pager, 0xF0);
        let told = failed(pager.sync_blocking(Wait::Yes));
        assert!(told.len() as u64 >= BALLAST, "{} pages did not fit", told.len());
        assert!(
            told.iter().all(|&(_, error)| error == PageError::NoSpace),
            "{told:?}"
        );
        wait_for(&mut events, |kind| {
            matches!(
                kind,
                EventKind::WritesFailed {
                    error: PageError::NoSpace,
                    ..
                }
            )
        });
        // Memory has everything, and takes more.
        fill_file(&pager, 0xF1);
        let mut bytes = vec![0; (ROOM * PAGE) as usize];
        pager.read_at_blocking(0, &mut bytes).unwrap();
        assert!(bytes.iter().all(|&byte| byte == 0xF1));
        fs::remove_file(disk.path("ballast")).unwrap();
        pager.sync_blocking(Wait::Yes).unwrap();
        wait_for(&mut events, |kind| *kind == EventKind::WritesRecovered);
        let stored = fs::read(disk.path("object")).unwrap();
        assert!(stored == bytes, "the file has not what memory had");
    }
}

#[test]
fn a_shutdown_over_a_full_disk_hands_the_pages_back() {
    for machine in machines() {
        let Some(disk) = SmallFs::new(ROOM * PAGE) else {
            return;
        };
        fs::write(disk.path("ballast"), vec![1; (BALLAST * PAGE) as usize]).unwrap();
        drop(disk.sparse("object", ROOM * PAGE));
        let file = FileOptions::default().open(disk.path("object")).unwrap();
        let bucket = machine.bucket();
        let pager = bucket.create_pager(file, options(never_by_itself())).unwrap();
        fill_file(&pager, 0xF2);
        let unsaved = match pager.shutdown_blocking() {
            Err(ShutdownError::Pages(unsaved)) => unsaved,
            other => panic!("{other:?}"),
        };
        let mut kept = fs::read(disk.path("object")).unwrap();
        for pages in unsaved {
            let from = (pages.range.start().0 * PAGE) as usize;
            kept[from..from + pages.bytes.len()].copy_from_slice(&pages.bytes);
        }
        assert!(
            kept.iter().all(|&byte| byte == 0xF2),
            "a page is neither stored nor handed back"
        );
        assert!(matches!(pager.sync_blocking(Wait::Yes), Err(SyncError::Call(_))));
    }
}
