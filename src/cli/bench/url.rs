//! A copy of what lies behind a URL, for those who cannot page it.

use std::io::{self, Write};
use std::path::Path;

use actor_pager::backend::{Backend, HttpBackend, PageOutcome, ReadRun};
use actor_pager::object::{PageIndex, PageRange, PageSize};

use super::error::BenchError;
use super::sys::{PAGE, TempFile};

/// Pages that one request asks for.
const RUN: u64 = 1024;

/// Downloads it range by range to a file in `folder`.
pub(crate) fn download(url: &str, folder: &Path) -> Result<TempFile, BenchError> {
    let store = HttpBackend::open(url)?;
    TempFile::filled(folder, |file| copy(&store, file)).map_err(|source| BenchError::Download {
        url: url.to_owned(),
        folder: folder.to_owned(),
        source,
    })
}

fn copy(store: &HttpBackend, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; RUN as usize * PAGE];
    let mut outcomes: Vec<PageOutcome> = Vec::new();
    let mut left = store.extent();
    let all = PageRange::with_len(PageIndex(0), left.div_ceil(PAGE as u64));
    let mut start = all.start();
    while start < all.end() {
        let range = PageRange::with_len(start, RUN).intersection(all);
        let bytes = &mut buffer[..range.len() as usize * PAGE];
        let mut run = ReadRun::new(range, PageSize::KIB_4, bytes, &mut outcomes);
        let read = store.read_pages(&mut run);
        run.finish(Ok(()));
        read.map_err(io::Error::other)?;
        let count = left.min(bytes.len() as u64);
        to.write_all(&bytes[..count as usize])?;
        left -= count;
        start = range.end();
    }
    Ok(())
}
