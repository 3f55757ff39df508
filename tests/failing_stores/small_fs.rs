//! A small file system in memory that is mounted nowhere and goes with its last descriptor.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
};

/// A file system of its own.
pub(crate) struct SmallFs(OwnedFd);

impl SmallFs {
    /// Of so many bytes; none, with a word why, where this process may not make one.
    pub(crate) fn new(bytes: u64) -> Option<Self> {
        let make = || {
            let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
            fsconfig_set_string(&context, "size", bytes.to_string())?;
            fsconfig_create(&context)?;
            let flags = FsMountFlags::FSMOUNT_CLOEXEC;
            fsmount(&context, flags, MountAttrFlags::empty())
        };
        match make() {
            Ok(root) => Some(Self(root)),
            Err(error) => {
                println!("skipped: a small file system cannot be made here: {error}");
                None
            }
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.0.as_raw_fd()))
    }

    /// A new file of so many bytes without anything in it.
    pub(crate) fn sparse(&self, name: &str, bytes: u64) -> File {
        let options = File::options().read(true).write(true).create_new(true).to_owned();
        let file = options.open(self.path(name)).unwrap();
        file.set_len(bytes).unwrap();
        file
    }
}
