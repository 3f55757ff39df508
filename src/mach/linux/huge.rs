//! Files whose memory comes in huge pages: unnamed ones on a tmpfs that is mounted nowhere.
//!
//! A memfd gets huge pages only where `shmem_enabled` says so, for every program of the machine. This mount
//! says so for itself. What is written to a hole of such a file takes a whole huge page if the system has
//! one, and small pages otherwise; so only whole huge pages may be written to holes, and only such may be
//! freed: a hole made in part of one leaves zeros where the system cannot split it.

use std::io;

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
};

use super::host::Shared;
use super::memory::Memory;
use super::share::ObjectShare;
use crate::mach::stats::Stats;
use crate::object::PageSize;

/// Says how many bytes a huge page has.
const SIZE: &str = "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size";

/// The mount; it goes with this value and the last of its files.
#[derive(Debug)]
pub(super) struct HugeFiles {
    mount: OwnedFd,
}

impl HugeFiles {
    /// The files of huge pages, if there can be any here.
    pub(super) fn here() -> Option<Self> {
        Self::mount()
            .inspect_err(|error| tracing::warn!(%error, "memory comes in small pages only"))
            .ok()
    }

    /// Mounts it: takes the privilege for that (`CAP_SYS_ADMIN`).
    fn mount() -> io::Result<Self> {
        let size = std::fs::read_to_string(SIZE)?;
        if size.trim().parse() != Ok(PageSize::MIB_2.bytes()) {
            return Err(io::Error::other(format!("huge pages have {} bytes", size.trim())));
        }
        let tmpfs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        // As a memfd, bounded by nothing but the memory there is.
        for (key, value) in [("huge", "always"), ("size", "0"), ("nr_inodes", "0")] {
            fsconfig_set_string(&tmpfs, key, value)?;
        }
        fsconfig_create(&tmpfs)?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOEXEC | MountAttrFlags::MOUNT_ATTR_NOSUID;
        let mount = fsmount(&tmpfs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
        Ok(Self { mount })
    }

    /// A new file that nobody can open by a name.
    fn file(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        Ok(openat(&self.mount, ".", flags, Mode::RUSR | Mode::WUSR)?)
    }
}

impl Shared {
    /// New memory of `length` bytes for an object: in huge pages if its pages are as large, that is wished
    /// and there are any.
    pub(super) fn memory(
        &self,
        name: &str,
        length: usize,
        (size, share): (PageSize, &ObjectShare),
    ) -> io::Result<Memory> {
        if !self.options.huge_pages || size != PageSize::MIB_2 {
            return Memory::new(name, length);
        }
        let huge = self
            .huge
            .as_ref()
            .map(|files| Memory::huge(files.file()?, length));
        match huge {
            Some(Ok(memory)) => return Ok(memory),
            Some(Err(error)) => tracing::debug!(object = name, %error, "no memory in huge pages"),
            None => {}
        }
        Stats::count(&share.stats.huge_refused, 1);
        Memory::new(name, length)
    }
}
