//! Sparse files: pages in holes are supplied write-locked, and get their space when unlocked.

use std::fs::File;
use std::io;

use crate::backend::ReadRun;

/// Write-locks the pages of `run` that lie in holes, whole or in part.
#[cfg(target_os = "linux")]
pub(super) fn lock(file: &File, run: &mut ReadRun<'_>, extent: u64) {
    let size = run.page_size();
    for page in run.range().iter() {
        let start = page.offset(size);
        let end = (start + size.bytes()).min(extent);
        if start < end && has_hole(file, start, end) {
            run.write_lock(page);
        }
    }
}

/// True if there is a hole in the bytes from `start` to `end`, or if the system cannot say.
#[cfg(target_os = "linux")]
fn has_hole(file: &File, start: u64, end: u64) -> bool {
    use rustix::fs::{SeekFrom, seek};

    seek(file, SeekFrom::Hole(start)).map_or(true, |hole| hole < end)
}

/// Gives the bytes their place in the store without changing them or the length; false where the
/// file system cannot do that.
#[cfg(target_os = "linux")]
pub(super) fn reserve(file: &File, offset: u64, length: u64) -> io::Result<bool> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;

    loop {
        match fallocate(file, FallocateFlags::KEEP_SIZE, offset, length) {
            Ok(()) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::NODEV) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Elsewhere space cannot be reserved, so that locking pages would be no use.
#[cfg(not(target_os = "linux"))]
pub(super) fn lock(_file: &File, _run: &mut ReadRun<'_>, _extent: u64) {}

/// Elsewhere space cannot be reserved.
#[cfg(not(target_os = "linux"))]
pub(super) fn reserve(_file: &File, _offset: u64, _length: u64) -> io::Result<bool> {
    Ok(false)
}
