//! The file that the main job pages: made in a folder of its own, gone with the program.

use std::fs::{self, DirBuilder, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process;

use super::contents::Contents;
use super::failure::Failure;
use super::progress::Phase;
use super::size::Size;

/// A file full of generated content; removed on drop.
#[derive(Debug)]
pub(crate) struct Workfile {
    folder: PathBuf,
    path: PathBuf,
}

impl Workfile {
    /// Makes the file in a new folder below `parent`.
    pub(crate) fn create(parent: &Path, contents: &Contents, phase: &Phase) -> Result<Self, Failure> {
        let file = Self::place(parent).map_err(|source| Failure::Folder {
            path: parent.to_owned(),
            source,
        })?;
        match fill(&file.path, contents, phase) {
            Ok(()) => Ok(file),
            Err(error) => Err(file.explain(error, contents.length())),
        }
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes its name away; who has it open can go on. Says where it was.
    pub(crate) fn remove(self) -> PathBuf {
        self.path.clone()
    }

    /// A new folder; its name is taken by nobody else.
    fn place(parent: &Path) -> io::Result<Self> {
        for attempt in 0.. {
            let folder = parent.join(format!("actor-pager-{}-{attempt}", process::id()));
            match folder_builder().create(&folder) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < 1000 => {}
                result => {
                    let path = folder.join("pages");
                    return result.map(|()| Self { folder, path });
                }
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    fn explain(&self, source: io::Error, length: u64) -> Failure {
        let path = self.folder.parent().unwrap_or(&self.folder).to_owned();
        let full = [
            io::ErrorKind::StorageFull,
            io::ErrorKind::QuotaExceeded,
            io::ErrorKind::FileTooLarge,
        ];
        if full.contains(&source.kind()) {
            return Failure::NoRoom {
                path,
                size: Size(length),
            };
        }
        Failure::File {
            path,
            doing: "writing the file",
            source,
        }
    }
}

impl Drop for Workfile {
    fn drop(&mut self) {
        // What cannot be removed lies in the temporary directory, where the system cleans up.
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_dir(&self.folder);
    }
}

#[cfg(unix)]
fn folder_builder() -> DirBuilder {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

#[cfg(not(unix))]
fn folder_builder() -> DirBuilder {
    DirBuilder::new()
}

/// Takes all of the space at once, so that too large a file is refused before it fills the disk
/// or, in a file system in memory, the machine.
#[cfg(target_os = "linux")]
fn reserve(file: &File, length: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
    use rustix::io::Errno;
    let room = fstatvfs(file)?;
    if length > room.f_bavail.saturating_mul(room.f_frsize) {
        return Err(io::ErrorKind::StorageFull.into());
    }
    let reserved = fallocate(file, FallocateFlags::empty(), 0, length);
    reserved.or_else(|error| match error {
        // Not every file system can; then the disk is filled as the file is written.
        Errno::OPNOTSUPP => Ok(()),
        error => Err(error.into()),
    })
}

/// Takes all of the space at once, where the system can.
#[cfg(not(target_os = "linux"))]
fn reserve(_: &File, _: u64) -> io::Result<()> {
    Ok(())
}

fn fill(path: &Path, contents: &Contents, phase: &Phase) -> io::Result<()> {
    let file = File::create_new(path)?;
    reserve(&file, contents.length())?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let mut buffer = vec![0; contents.page_size()];
    for page in 0..contents.pages() {
        let bytes = &mut buffer[..contents.bytes_of(page)];
        contents.generate(page, bytes);
        out.write_all(bytes)?;
        phase.add(1);
    }
    out.flush()
}
