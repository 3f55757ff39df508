//! `Mapping`: real addresses, and copies that never fault.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::actors::{Control, Request, block_on};
use crate::error::{CallError, CopyError, MapError};
use crate::mach::RawMapping;
use crate::object::{PageRange, Prot};
use crate::port::{PagerCore, SendRight};

/// What may be done with a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Reading.
    Read,
    /// Reading and writing.
    ReadWrite,
}

impl Protection {
    fn prot(self) -> Prot {
        match self {
            Self::Read => Prot::READ,
            Self::ReadWrite => Prot::READ_WRITE,
        }
    }
}

/// Pages of an object at real addresses of this process (`vm_map`); unmapped on drop.
///
/// Whoever touches an absent page stops until the pager has supplied it. Where the page cannot be
/// had, the thread gets `SIGBUS`; [`read_at`](Self::read_at) and [`write_at`](Self::write_at) give
/// an error instead.
pub struct Mapping {
    right: SendRight,
    raw: RawMapping,
    offset: u64,
    length: usize,
    protection: Protection,
    copy: bool,
}

/// The pages of a mapping; an error where they cannot be mapped.
fn pages(pager: &PagerCore, offset: u64, length: u64) -> Result<PageRange, MapError> {
    if length == 0 {
        return Err(MapError::Empty);
    }
    let size = pager.page_size;
    let range = size
        .pages_exact(offset, 0)
        .and_then(|_| size.pages_around(offset, length))
        .map_err(CallError::from)?;
    pager.inside(offset..range.end().offset(size))?;
    Ok(range)
}

impl Mapping {
    pub(crate) async fn new(
        pager: &Arc<PagerCore>,
        offset: u64,
        length: u64,
        protection: Protection,
    ) -> Result<Self, MapError> {
        let range = pages(pager, offset, length)?;
        let prot = protection.prot();
        let right = SendRight::new(pager);
        let raw = pager.ask(|reply| Request::Map { range, prot, reply }).await??;
        Ok(Self {
            right,
            raw,
            offset,
            length: length as usize,
            protection,
            copy: false,
        })
    }

    /// Maps a private copy (`vm_map` with `copy`).
    pub(crate) async fn copy_of(
        pager: &Arc<PagerCore>,
        offset: u64,
        length: u64,
        protection: Protection,
    ) -> Result<Self, MapError> {
        let range = pages(pager, offset, length)?;
        let prot = protection.prot();
        let right = SendRight::new(pager);
        let ask = pager.ask(|reply| Request::MapCopy { range, prot, reply });
        let raw = ask.await??;
        Ok(Self {
            right,
            raw,
            offset,
            length: length as usize,
            protection,
            copy: true,
        })
    }

    /// True for a private copy: what is stored to it never reaches the object.
    pub fn is_copy(&self) -> bool {
        self.copy
    }

    /// The copy whose bytes are meant; none where it is the object's. An error past its end.
    fn target(&self, at: usize, length: usize) -> Result<Option<RawMapping>, CallError> {
        let (end, extent) = (at.saturating_add(length) as u64, self.length as u64);
        match self.copy {
            true if end > extent => Err(CallError::OutsideExtent { end, extent }),
            true => Ok(Some(self.raw)),
            false => Ok(None),
        }
    }

    /// The address of the first byte.
    pub fn as_ptr(&self) -> *const u8 {
        std::ptr::with_exposed_provenance(self.raw.address)
    }

    /// The address of the first byte, for writing; null for a mapping that is for reading only.
    pub fn as_mut_ptr(&self) -> *mut u8 {
        match self.protection {
            Protection::Read => std::ptr::null_mut(),
            Protection::ReadWrite => std::ptr::with_exposed_provenance_mut(self.raw.address),
        }
    }

    /// The length in bytes, as asked for.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Never true: an empty mapping cannot be made.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Where in the object the mapping begins, in bytes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What may be done with it.
    pub fn protection(&self) -> Protection {
        self.protection
    }

    /// Copies bytes from `at` (from the start of the mapping) into `into`; never faults.
    ///
    /// An error says exactly how many bytes were copied, up to the start of the first bad page.
    pub fn read_at(&self, at: usize, into: &mut [u8]) -> Result<(), CopyError> {
        let core = &self.right.core;
        core.bucket.may_block()?;
        let target = self.target(at, into.len())?;
        block_on(core.read_at(self.offset.saturating_add(at as u64), into, target))
    }

    /// Copies bytes into the object, or the copy, from `at` (from the start of the mapping) on; never faults.
    pub fn write_at(&self, at: usize, from: &[u8]) -> Result<(), CopyError> {
        let core = &self.right.core;
        core.bucket.may_block()?;
        if self.protection == Protection::Read {
            return Err(CopyError::ReadOnly);
        }
        let target = self.target(at, from.len())?;
        block_on(core.write_at(self.offset.saturating_add(at as u64), from, target))
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let (mapping, pager) = (self.raw, &self.right.core);
        let (reply, done) = oneshot::channel();
        pager.tell(Control::Unmap { mapping, reply });
        if pager.bucket.may_block().is_ok() {
            // An error means that the pager has ended and taken its mappings down.
            let _ = block_on(done);
        }
    }
}
