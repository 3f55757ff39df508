//! The seam for copies of an object's pages: `vm_map` with `copy`.

use std::task::Poll;

use super::kernel::{KernelError, RawMapping, Touch};
use crate::object::{PageError, PageRange, Prot};

/// Copies of an object's pages, made as the object's copy strategy says.
///
/// A copy shows its pages as they were when it was mapped: stores to it never reach the object, and
/// later stores to the object never reach it. Its pages are named by those of the object. It is taken
/// down by [`Client::unmap`](super::Client::unmap). A kernel that makes no copies leaves all methods as
/// they are.
pub trait CopyClient {
    /// Maps a copy of pages (`vm_map` with `copy`); sends `Init` the first time.
    ///
    /// `Pending` while the pager has not said how its object is copied: ask again after its next calls.
    /// From the moment this says `Ready` stores to the object are kept from the copy.
    /// [`KernelError::CopyStrategy`] where the pager itself would have to make the copy.
    fn map_copy(&mut self, range: PageRange, prot: Prot) -> Poll<Result<RawMapping, KernelError>> {
        let _ = (range, prot);
        Poll::Ready(Err(KernelError::Unsupported {
            what: "this kernel makes no copies of objects".to_owned(),
            remedy: "copy the bytes with `read_at`".to_owned(),
        }))
    }

    /// Goes on with a copy that is made at once, and says how far it is. Ready: it can be handed out.
    ///
    /// When it says `Pending`, ask again after the next turn.
    fn finish_copy(&mut self, copy: &RawMapping) -> Touch {
        self.touch_copy(copy, copy.range, Prot::READ)
    }

    /// As [`Client::touch`](super::Client::touch), for pages of a copy.
    fn touch_copy(&mut self, copy: &RawMapping, range: PageRange, access: Prot) -> Touch {
        let _ = (copy, access);
        Touch::Failed {
            page: range.start(),
            error: PageError::Io,
        }
    }

    /// Copies out of pages of a copy that `touch_copy` has just found ready. `offset` is the object's, in
    /// bytes.
    fn load(&mut self, copy: &RawMapping, offset: u64, into: &mut [u8]) -> Result<(), KernelError> {
        let _ = (copy, offset, into);
        Err(KernelError::BadArgument { call: "load" })
    }

    /// Copies into pages of a copy that `touch_copy` has just found ready for writing.
    fn store(&mut self, copy: &RawMapping, offset: u64, from: &[u8]) -> Result<(), KernelError> {
        let _ = (copy, offset, from);
        Err(KernelError::BadArgument { call: "store" })
    }
}
