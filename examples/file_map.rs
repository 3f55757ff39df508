//! Counts the lines of a file as large as you like, in eight megabytes of memory.
//!
//! `cargo run --example file_map -- README.md`

use std::error::Error;

use actor_pager::backend::FileBackend;
use actor_pager::error::CopyError;
use actor_pager::{Bucket, Mapping, PagerOptions, Protection};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("say which file: file_map FILE")?;
    let store = FileBackend::options().read_only(true).open(&path)?;
    let bucket = Bucket::builder().resident_limit(8 << 20).start()?;
    let pager = bucket.create_pager(store, PagerOptions::default())?;
    let mapping = pager.map_all_blocking(Protection::Read)?;
    println!("{path}: {} lines", lines(&mapping)?);
    let stats = bucket.stats();
    let most = stats.resident_high_water;
    println!(
        "{} pages came in, at most {most} bytes were resident",
        stats.pages_in
    );
    Ok(())
}

/// Copies do what loads do, but where the disk fails they give an error instead of a SIGBUS.
fn lines(mapping: &Mapping) -> Result<usize, CopyError> {
    let mut buffer = vec![0; 1 << 20];
    let mut lines = 0;
    for offset in (0..mapping.len()).step_by(buffer.len()) {
        let part = &mut buffer[..(mapping.len() - offset).min(1 << 20)];
        mapping.read_at(offset, part)?;
        lines += part.iter().filter(|&&byte| byte == b'\n').count();
    }
    Ok(lines)
}
