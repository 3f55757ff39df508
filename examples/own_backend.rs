//! A store of one's own: it keeps only pages that are not zero, and has room for a few.
//! What happens when it is full, and when room is made.
//!
//! `cargo run --example own_backend`

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use actor_pager::backend::{Backend, BackendError, ReadRun, WriteError, WriteRun};
use actor_pager::object::PageIndex;
use actor_pager::{Bucket, PagerOptions, Protection, Wait};

#[derive(Default)]
struct SmallStore {
    pages: Mutex<BTreeMap<PageIndex, Vec<u8>>>,
    room: AtomicUsize,
}

impl SmallStore {
    fn pages(&self) -> MutexGuard<'_, BTreeMap<PageIndex, Vec<u8>>> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for SmallStore {
    fn extent(&self) -> u64 {
        1 << 30
    }

    /// What is not written to reads as zeros: only pages that are kept need to be copied.
    fn read_pages(&self, run: &mut ReadRun<'_>) -> Result<(), BackendError> {
        let pages = self.pages();
        for page in run.range().iter() {
            if let (Some(kept), Some(bytes)) = (pages.get(&page), run.page_mut(page)) {
                bytes.copy_from_slice(kept);
            }
        }
        Ok(())
    }

    /// An error says how many pages were written before it.
    fn write_pages(&self, run: &WriteRun<'_>) -> Result<(), WriteError> {
        let mut pages = self.pages();
        for (written, page) in run.range().iter().enumerate() {
            let full = pages.len() >= self.room.load(Ordering::Relaxed) && !pages.contains_key(&page);
            match run.page(page) {
                Some(_) if full => {
                    let written = written as u64;
                    return Err(WriteError {
                        written,
                        source: BackendError::NoSpace,
                    });
                }
                Some(bytes) => drop(pages.insert(page, bytes.to_vec())),
                None => {}
            }
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let bucket = Bucket::builder().resident_limit(4 << 20).start()?;
    let pager = bucket.create_pager(SmallStore::default(), PagerOptions::default())?;
    let mapping = pager.map_all_blocking(Protection::ReadWrite)?;
    mapping.write_at(5 * 4096, b"kept")?;
    if let Err(error) = pager.sync_blocking(Wait::Yes) {
        println!("no room yet: {error}");
    }
    pager.backend().room.store(1, Ordering::Relaxed);
    pager.sync_blocking(Wait::Yes)?;
    println!(
        "room was made: {} page is in the store",
        pager.backend().pages().len()
    );
    Ok(())
}
