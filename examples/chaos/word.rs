//! Words of a mapping, touched by their address.

use std::sync::atomic::AtomicU64;

use actor_pager::Mapping;

/// The word at `offset` of a mapping, as an atomic that threads may share.
pub(crate) fn word(mapping: &Mapping, offset: u64) -> &AtomicU64 {
    assert!(offset < mapping.len() as u64 && offset.is_multiple_of(8));
    let at = mapping.as_ptr() as usize + offset as usize;
    // SAFETY: the word lies inside of the mapping, is aligned, and is only ever used as an atomic.
    unsafe { &*std::ptr::with_exposed_provenance::<AtomicU64>(at) }
}
