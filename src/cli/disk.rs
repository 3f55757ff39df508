//! Reading the file itself, past the pager: to learn what it holds, and to check it at the end.

use std::fs::File;
use std::io::{self, BufReader, Read};

use super::contents::Contents;
use super::progress::Phase;
use super::score::Score;

/// Learns what each page holds.
pub(crate) fn learn(file: &File, contents: &mut Contents, phase: &Phase) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut buffer = vec![0; contents.page_size()];
    for page in 0..contents.pages() {
        let bytes = &mut buffer[..contents.bytes_of(page)];
        reader.read_exact(bytes)?;
        contents.learn(bytes);
        phase.add(1);
    }
    Ok(())
}

/// Compares each page with the version it must have.
pub(crate) fn check(
    file: &File,
    contents: &Contents,
    versions: &[u32],
    score: &Score,
    phase: &Phase,
) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut buffer = vec![0; contents.page_size()];
    for (page, version) in (0..).zip(versions) {
        let bytes = &mut buffer[..contents.bytes_of(page)];
        reader.read_exact(bytes)?;
        if !contents.is_right(page, *version, bytes) {
            score.wrong(page);
        }
        phase.add(1);
    }
    Ok(())
}
