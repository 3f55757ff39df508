//! How a thread gets at a page: by touching memory, or by copies that give errors back.

use std::thread;
use std::time::Duration;

use actor_pager::Mapping;
use actor_pager::error::CopyError;

use super::contents::Contents;
use super::memory::Memory;
use super::score::Score;

/// How often a failed copy is tried again, and how long it waits before.
const TRIES: u32 = 5000;
const PAUSE: Duration = Duration::from_millis(2);

/// A way to a mapping's pages.
#[derive(Clone, Copy)]
pub(crate) enum Access<'a> {
    /// Loads and stores; a page that cannot be had is a `SIGBUS`.
    Touch(Memory<'a>),
    /// `Mapping::read_at` and `write_at`; errors are retried.
    Copy(&'a Mapping),
}

/// The page could not be had, however often it was tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lost;

impl Access<'_> {
    /// Copies a page out; the part of the buffer that was filled is returned.
    pub(crate) fn read<'b>(
        &self,
        contents: &Contents,
        score: &Score,
        page: u64,
        into: &'b mut [u8],
    ) -> Result<&'b mut [u8], Lost> {
        score.read();
        let offset = page as usize * contents.page_size();
        match self {
            Self::Touch(memory) => {
                let count = memory.read(offset, into);
                Ok(&mut into[..count])
            }
            Self::Copy(mapping) => {
                let part = &mut into[..contents.bytes_of(page)];
                persist(score, || mapping.read_at(offset, part))?;
                Ok(part)
            }
        }
    }

    /// Copies a page in, as far as it lies before the end.
    pub(crate) fn write(
        &self,
        contents: &Contents,
        score: &Score,
        page: u64,
        bytes: &[u8],
    ) -> Result<(), Lost> {
        score.wrote();
        let offset = page as usize * contents.page_size();
        let part = &bytes[..contents.bytes_of(page).min(bytes.len())];
        match self {
            Self::Touch(memory) if memory.write(offset, part) == part.len() => Ok(()),
            Self::Touch(_) => Err(Lost),
            Self::Copy(mapping) => persist(score, || mapping.write_at(offset, part)),
        }
    }
}

/// Tries until it goes well; counts one error met and recovered from, however many tries it took.
fn persist(score: &Score, mut copy: impl FnMut() -> Result<(), CopyError>) -> Result<(), Lost> {
    for attempt in 0..TRIES {
        match copy() {
            Ok(()) if attempt == 0 => return Ok(()),
            Ok(()) => {
                score.recovered();
                return Ok(());
            }
            Err(CopyError::Page { .. }) => {
                if attempt == 0 {
                    score.met();
                }
                thread::sleep(PAUSE);
            }
            Err(_) => return Err(Lost),
        }
    }
    Err(Lost)
}
