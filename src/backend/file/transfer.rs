//! Whole transfers out of what the system calls give: short counts and interruptions end here.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// How far a transfer came.
#[derive(Debug)]
pub(super) struct Transferred {
    /// Bytes from the first on that were transferred.
    pub(super) bytes: u64,
    /// Why the next one was not.
    pub(super) error: Option<io::Error>,
}

impl Transferred {
    /// This transfer, which was whole, and the one after it.
    pub(super) fn then(self, next: Self) -> Self {
        Self {
            bytes: self.bytes + next.bytes,
            error: next.error,
        }
    }

    pub(super) fn into_result(self) -> io::Result<()> {
        self.error.map_or(Ok(()), Err)
    }
}

/// Fills `into` from `offset` on.
pub(super) fn read_full(file: &File, offset: u64, into: &mut [u8]) -> Transferred {
    full(into.len(), io::ErrorKind::UnexpectedEof, |at| {
        file.read_at(&mut into[at..], offset + at as u64)
    })
}

/// Stores all of `bytes` at `offset`.
pub(super) fn write_full(file: &File, offset: u64, bytes: &[u8]) -> Transferred {
    full(bytes.len(), io::ErrorKind::WriteZero, |at| {
        file.write_at(&bytes[at..], offset + at as u64)
    })
}

/// Repeats `step`, which goes on at the byte it is told, until `length` bytes are done; a step of
/// no bytes is the error `stalled`.
fn full(
    length: usize,
    stalled: io::ErrorKind,
    mut step: impl FnMut(usize) -> io::Result<usize>,
) -> Transferred {
    let mut at = 0;
    let mut error = None;
    while at < length && error.is_none() {
        match retry(|| step(at)) {
            Ok(0) => error = Some(stalled.into()),
            Ok(bytes) => at += bytes,
            Err(failed) => error = Some(failed),
        }
    }
    Transferred {
        bytes: at as u64,
        error,
    }
}

/// Does a system call again for as long as signals interrupt it.
pub(super) fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Fills `into` from the page cache: `false` where that would wait or fail, an error where the
/// system cannot tell.
#[cfg(target_os = "linux")]
pub(super) fn read_cached(file: &File, offset: u64, into: &mut [u8]) -> io::Result<bool> {
    use rustix::io::{Errno, IoSliceMut, ReadWriteFlags, preadv2};

    if into.is_empty() {
        return Ok(true);
    }
    let length = into.len();
    let read = preadv2(file, &mut [IoSliceMut::new(into)], offset, ReadWriteFlags::NOWAIT);
    match read {
        Ok(bytes) => Ok(bytes == length),
        Err(error @ (Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL)) => Err(error.into()),
        Err(_) => Ok(false),
    }
}

/// Elsewhere no read is known not to wait.
#[cfg(not(target_os = "linux"))]
pub(super) fn read_cached(_file: &File, _offset: u64, _into: &mut [u8]) -> io::Result<bool> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_counts_and_interruptions_end_in_a_whole_transfer() {
        let mut steps = vec![Ok(3), Err(io::ErrorKind::Interrupted.into()), Ok(1), Ok(6)].into_iter();
        let mut seen = Vec::new();
        let done = full(10, io::ErrorKind::WriteZero, |at| {
            seen.push(at);
            steps.next().unwrap()
        });
        assert_eq!((done.bytes, seen), (10, vec![0, 3, 3, 4]));
        assert!(done.into_result().is_ok());
    }

    #[test]
    fn an_error_keeps_its_kind_and_the_count_before_it() {
        let mut steps = vec![Ok(4096), Err(io::ErrorKind::StorageFull.into())].into_iter();
        let done = full(8192, io::ErrorKind::WriteZero, |_| steps.next().unwrap());
        assert_eq!(done.bytes, 4096);
        assert_eq!(done.into_result().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn no_progress_is_an_error_and_not_a_loop() {
        let done = full(1, io::ErrorKind::WriteZero, |_| Ok(0));
        assert_eq!(done.into_result().unwrap_err().kind(), io::ErrorKind::WriteZero);
    }
}
