//! Returned pages that stay in the kernel's cache until the pager releases them.

use crate::mach::PageMemory;

/// The bytes of one data return.
#[derive(Clone, Debug)]
pub(super) struct Loan {
    /// First byte within the object.
    pub(super) offset: u64,
    pub(super) bytes: Vec<u8>,
}

impl PageMemory for Loan {
    fn bytes(&self, offset: u64, length: usize) -> &[u8] {
        let range = offset.checked_sub(self.offset).and_then(|at| {
            let at = usize::try_from(at).ok()?;
            Some(at..at.checked_add(length)?)
        });
        range.and_then(|range| self.bytes.get(range)).unwrap_or_default()
    }
}
