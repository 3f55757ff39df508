//! Mappings that `vm_map` made, and their end, whole or piece by piece.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::codes::Kern;
use super::pager::{CPager, Hold};
use super::raw::{reserve, unmap};
use crate::mapping::Mapping;

/// By their first address.
static MAPPINGS: Mutex<BTreeMap<usize, Mapped>> = Mutex::new(BTreeMap::new());

struct Mapped {
    /// Taken down when this is dropped.
    mapping: Mapping,
    pager: Arc<CPager>,
    /// What is still mapped of it.
    left: Vec<Range<usize>>,
}

impl Mapped {
    /// Ends what lies in `range`.
    fn cut(&mut self, range: &Range<usize>) {
        let mut left = Vec::new();
        for part in self.left.drain(..) {
            let inside = part.start.max(range.start)..part.end.min(range.end);
            if inside.is_empty() {
                left.push(part);
                continue;
            }
            // SAFETY: the bytes belong to this mapping, and the program has said that it uses them no
            // more. Their place is kept until the mapping is taken down as a whole. Where the system
            // cannot do it, they stay mapped until then, which does no harm.
            let _ = unsafe { reserve(inside.start, inside.len()) };
            left.extend([part.start..inside.start, inside.end..part.end]);
        }
        left.retain(|part| !part.is_empty());
        self.left = left;
    }
}

/// Keeps `mapping` until it is deallocated; its address.
pub(super) fn keep(mapping: Mapping, length: usize, pager: Arc<CPager>) -> usize {
    let address = mapping.as_ptr().addr();
    pager.hold(Hold::Right);
    let whole = address..address + length;
    let left = Vec::from([whole]);
    lock().insert(address, Mapped { mapping, pager, left });
    address
}

/// Unmaps `length` bytes at `address`, whatever is there (`vm_deallocate`).
pub(super) fn deallocate(address: usize, length: usize) -> Kern {
    let Some(end) = address.checked_add(length) else {
        return Kern::InvalidArgument;
    };
    let range = address..end;
    let (ended, others) = cut(&range);
    for Mapped { mapping, pager, .. } in ended {
        drop(mapping);
        pager.release(Hold::Right);
    }
    let mut result = Kern::Success;
    for other in others {
        // SAFETY: the program says that it uses this memory no more; none of it belongs to a mapping
        // of a pager's, and the library's own memory is not the program's to give away.
        if unsafe { unmap(other.start, other.len()) }.is_err() {
            result = Kern::InvalidArgument;
        }
    }
    result
}

/// Cuts `range` out of every mapping: the mappings of which nothing is left, and the parts of
/// `range` that belong to none.
fn cut(range: &Range<usize>) -> (Vec<Mapped>, Vec<Range<usize>>) {
    let mut mappings = lock();
    let mut others = Vec::new();
    let mut at = range.start;
    let mut ended = Vec::new();
    for (&start, mapped) in mappings.range_mut(..range.end) {
        let end = start + mapped.mapping.len();
        if end <= range.start {
            continue;
        }
        others.push(at..start.max(at));
        at = end.min(range.end);
        if mapped
            .left
            .iter()
            .all(|part| range.start <= part.start && part.end <= range.end)
        {
            ended.push(start);
        } else {
            mapped.cut(range);
        }
    }
    others.push(at..range.end);
    others.retain(|part| !part.is_empty());
    let ended = ended.into_iter().filter_map(|start| mappings.remove(&start));
    (ended.collect(), others)
}

fn lock() -> MutexGuard<'static, BTreeMap<usize, Mapped>> {
    MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner)
}
