//! Clients' mappings of an object's memory.

use std::io;
use std::ptr;

use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, MremapFlags, ProtFlags, madvise, mmap, mremap_fixed, munmap};

use super::uffd::Uffd;
use crate::object::Prot;

/// A client's mapping of a memfd, in this process or in a forked child.
///
/// Invariant: the range is a shared mapping of the memfd, or of nothing any more. Mappings begin in
/// [`ClientView::new`]; what clients do to them by `mremap` and `munmap` arrives as events before
/// their call returns, and the table of mappings follows at once by `moved` and `cut`.
#[derive(Debug)]
pub(super) struct ClientView {
    address: usize,
    length: usize,
    prot: Prot,
    /// In this process.
    own: bool,
}

impl ClientView {
    /// Maps part of the memory; `inherit` says whether forked children get it, too.
    pub(super) fn new(
        memory: impl AsFd,
        offset: u64,
        length: usize,
        prot: Prot,
        inherit: bool,
    ) -> io::Result<Self> {
        let mut access = ProtFlags::READ;
        if prot.writes() {
            access |= ProtFlags::WRITE;
        }
        let share = MapFlags::SHARED | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let address = unsafe { mmap(ptr::null_mut(), length, access, share, memory, offset) }?;
        let view = Self {
            address: address.expose_provenance(),
            length,
            prot,
            own: true,
        };
        if !inherit {
            // SAFETY: the range is the mapping just made.
            unsafe { madvise(address, length, Advice::LinuxDontFork) }?;
        }
        Ok(view)
    }

    /// The first byte's address.
    pub(super) fn address(&self) -> usize {
        self.address
    }

    /// Bytes.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// True in this process, false in a forked child.
    pub(super) fn is_own(&self) -> bool {
        self.own
    }

    /// Makes the faults of this mapping arrive at `uffd`.
    pub(super) fn register(&self, uffd: &Uffd) -> Result<(), Errno> {
        // SAFETY: the invariant of the type; the object that owns the table serves the faults.
        unsafe { uffd.register(self.address, self.length) }
    }

    /// Makes the faults on absent pages alone arrive at `uffd`; what is in the file is mapped without any.
    pub(super) fn register_missing(&self, uffd: &Uffd) -> Result<(), Errno> {
        // SAFETY: as in `register`.
        unsafe { uffd.register_missing(self.address, self.length) }
    }

    /// A mapping in another process, which made and registered it.
    pub(super) fn elsewhere(address: usize, length: usize) -> Self {
        Self {
            address,
            length,
            prot: Prot::READ_WRITE,
            own: false,
        }
    }

    /// The same mapping in a child that was just forked.
    pub(super) fn in_child(&self) -> Self {
        Self { own: false, ..*self }
    }

    /// The same part of the memory once more, elsewhere; children do not get it before it takes the place
    /// of the first.
    pub(super) fn again(&self, memory: impl AsFd, offset: u64) -> io::Result<Self> {
        Self::new(memory, offset, self.length, self.prot, false)
    }

    /// The same mapping, to be moved by another thread.
    pub(super) fn alias(&self) -> Self {
        Self { ..*self }
    }

    /// Takes the place of the mapping of the same length at `to`, in one step. Returns when the events were
    /// read that this makes.
    pub(super) fn move_over(self, to: usize) -> io::Result<()> {
        let from = ptr::with_exposed_provenance_mut(self.address);
        let target = ptr::with_exposed_provenance_mut(to);
        // SAFETY: the invariant of the type holds of both: this mapping was made for this move and nobody
        // uses it yet; that at `to` is a view of the same bytes of the same memory, whose events were read
        // just before, and `DirtyTracking` asks clients not to take it down behind the library's back.
        unsafe { mremap_fixed(from, self.length, self.length, MremapFlags::MAYMOVE, target) }?;
        Ok(())
    }

    /// The client moved it.
    pub(super) fn moved(&mut self, to: usize) {
        self.address = to;
    }

    /// The client moved its last bytes elsewhere or extended it.
    pub(super) fn resized(&mut self, length: usize) {
        self.length = length;
    }

    /// What is left when `start..end` goes: the part before, the part after, and the part that went.
    pub(super) fn cut(self, start: usize, end: usize) -> [Option<Self>; 3] {
        let mine = self.address..self.address + self.length;
        let part = |from: usize, to: usize| {
            let (from, to) = (from.max(mine.start), to.min(mine.end));
            (from < to).then(|| Self {
                address: from,
                length: to - from,
                prot: self.prot,
                own: self.own,
            })
        };
        [
            part(mine.start, start.max(mine.start)),
            part(end, mine.end),
            part(start, end),
        ]
    }

    /// Forgets what is mapped in part of the range, error markers included; the pages stay in the memfd.
    /// Nothing happens in other processes.
    pub(super) fn forget(&self, address: usize, length: usize) {
        let inside = address >= self.address && address + length <= self.address + self.length;
        if !self.own || !inside {
            return;
        }
        // SAFETY: the invariant of the type: the range is a shared mapping of a file, or nothing. No
        // contents are lost. No event is asked for, so that this does not wait.
        let _ = unsafe {
            madvise(
                ptr::with_exposed_provenance_mut(address),
                length,
                Advice::LinuxDontNeed,
            )
        };
    }

    /// Takes the mapping down. Its faults must have been unregistered, or nobody would read the event.
    pub(super) fn unmap(self) -> io::Result<()> {
        if !self.own {
            return Ok(());
        }
        // SAFETY: the invariant of the type; whoever asked for this gave the mapping up.
        Ok(unsafe { munmap(ptr::with_exposed_provenance_mut(self.address), self.length) }?)
    }
}
