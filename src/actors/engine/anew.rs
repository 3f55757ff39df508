//! Beginning anew: after a panic nothing can be trusted but what the kernel knows, and the bytes of
//! pages that are nowhere else.

use super::{Engine, Output};
use crate::mach::{PageData, Upcall};
use crate::object::{MemoryObject, ObjectOptions, PageRange, PageSize, PortName};

impl Engine {
    /// Makes the core anew from what the kernel knows: after a panic nothing else can be trusted.
    ///
    /// Copies go on. Results of jobs from before must not come in any more. Requests are to be made again
    /// when the core has [heard of the kernel](Self::awaits_init). `over`: the object was shut down.
    pub fn restart(&mut self, over: bool) {
        let attributes = self.object.attributes();
        let options = ObjectOptions {
            may_cache: attributes.may_cache,
            copy_strategy: attributes.copy_strategy,
            ..*self.object.options()
        };
        self.object = match over {
            true => MemoryObject::shut_down(options),
            false => MemoryObject::new(options),
        };
        let kept = std::mem::take(&mut self.held).only_here(self.page_size);
        self.carried.extend(kept);
        // The kernel says again what it only asked for; pages that it gave away it cannot.
        let deferred = self.deferred.as_mut().map(std::mem::take).unwrap_or_default();
        let unseen = deferred
            .into_iter()
            .chain(self.incoming.drain(..))
            .chain(self.upcalls.drain(..));
        let size = self.page_size;
        self.carried
            .extend(unseen.filter_map(|upcall| pages_in(upcall, size)));
        self.writes.clear();
        self.holds.forget_waiting();
        self.jobs_in_flight = 0;
        self.unsynced = true;
        self.events.clear();
        self.effects.clear();
        self.outputs.retain(|output| {
            matches!(
                output,
                Output::Answer(..) | Output::Copied(..) | Output::Mapped(..)
            )
        });
        self.awaits_init = self.kernel.reissue();
    }

    /// Returns the pages that no kernel has, for it: the new core writes them.
    pub(super) fn return_carried(&mut self, control: PortName) {
        for (range, bytes) in std::mem::take(&mut self.carried) {
            self.post_upcall(Upcall::DataReturn {
                control,
                offset: range.offset(self.page_size),
                data: PageData::Owned(bytes),
                dirty: true,
                kernel_copy: false,
            });
        }
    }
}

/// The pages that travel with a message.
fn pages_in(upcall: Upcall, size: PageSize) -> Option<(PageRange, Vec<u8>)> {
    let Upcall::DataReturn {
        offset,
        data: PageData::Owned(bytes),
        ..
    } = upcall
    else {
        return None;
    };
    let range = size.pages_exact(offset, bytes.len() as u64).ok()?;
    Some((range, bytes))
}
