//! Pages that say who they are: a terabyte of memory, of which four megabytes exist at a time.
//!
//! `cargo run --example hello_page`

use std::error::Error;

use actor_pager::backend::{Backend, BackendError, ReadRun, WriteError, WriteRun};
use actor_pager::object::PageError;
use actor_pager::{Bucket, PagerOptions, Protection};

struct Hello;

impl Backend for Hello {
    fn extent(&self) -> u64 {
        1 << 40
    }

    fn read_pages(&self, run: &mut ReadRun<'_>) -> Result<(), BackendError> {
        for page in run.range().iter() {
            let text = format!("hello, I am page {}", page.0);
            if let Some(bytes) = run.page_mut(page) {
                bytes[..text.len()].copy_from_slice(text.as_bytes());
            }
        }
        Ok(())
    }

    fn write_pages(&self, _: &WriteRun<'_>) -> Result<(), WriteError> {
        Err(BackendError::from(PageError::Io).into())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let bucket = Bucket::builder().resident_limit(4 << 20).start()?;
    let pager = bucket.create_pager(Hello, PagerOptions::default())?;
    let mapping = pager.map_all_blocking(Protection::Read)?;
    for page in [0, 7, 123_456_789] {
        // SAFETY: the page lies within the mapping, which lives until the end of `main`; nobody
        // writes to it, and the store gives every page, so that touching it is no SIGBUS.
        let bytes = unsafe { std::slice::from_raw_parts(mapping.as_ptr().add(page * 4096), 32) };
        println!("{}", String::from_utf8_lossy(bytes).trim_end_matches('\0'));
    }
    Ok(())
}
