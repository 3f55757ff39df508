//! Mapped copies, as their pager holds them.

use std::task::Poll;

use super::SimObject;
use super::access::{self, pieces};
use super::machine::Machine;
use super::object::Stage;
use crate::mach::{CopyClient, KernelError, RawMapping, Touch};
use crate::object::{CopyStrategy, PageError, PageRange, Prot};

impl CopyClient for SimObject {
    fn map_copy(&mut self, range: PageRange, prot: Prot) -> Poll<Result<RawMapping, KernelError>> {
        let id = self.id;
        self.host.with(|machine| match machine.copy_strategy(id) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(CopyStrategy::Call)) => {
                Poll::Ready(Err(KernelError::CopyStrategy(CopyStrategy::Call)))
            }
            Poll::Ready(Ok(CopyStrategy::None | CopyStrategy::Delay | CopyStrategy::Temporary)) => {
                let (_, number) = machine.map_copy(id, range, prot);
                Poll::Ready(Ok(RawMapping {
                    id: number,
                    address: 0,
                    length: access::byte_length(machine, id, range),
                    range,
                }))
            }
        })
    }

    fn finish_copy(&mut self, copy: &RawMapping) -> Touch {
        self.host.with(|machine| machine.copy_eagerly(self.id, copy.id))
    }

    fn touch_copy(&mut self, copy: &RawMapping, range: PageRange, access: Prot) -> Touch {
        self.host.with(|machine| {
            let shown = machine
                .mapping(self.id, copy.id)
                .filter(|mapping| mapping.copy.is_some());
            if shown.is_none_or(|mapping| mapping.range.intersection(range) != range) {
                let (page, error) = (range.start(), PageError::Io);
                return Touch::Failed { page, error };
            }
            let mut answer = Touch::Ready;
            for page in range.iter() {
                match machine.touch_copy(self.id, copy.id, page, access) {
                    Touch::Ready => {}
                    Touch::Pending => answer = Touch::Pending,
                    Touch::Failed { page, error } if answer == Touch::Pending => {
                        return machine.put_back(self.id, page, error);
                    }
                    failed @ Touch::Failed { .. } => return failed,
                }
            }
            answer
        })
    }

    fn load(&mut self, copy: &RawMapping, offset: u64, into: &mut [u8]) -> Result<(), KernelError> {
        let loaded = self.host.with(|machine| {
            for piece in pieces(access::page_size(machine, self.id), offset, into.len()) {
                machine.used(self.id, piece.page);
                let bytes = machine.copy_bytes(self.id, copy.id, piece.page)?;
                let target = &mut into[piece.from..piece.from + piece.length];
                target.copy_from_slice(bytes.get(piece.at..piece.at + piece.length)?);
            }
            Some(())
        });
        loaded.ok_or(KernelError::BadArgument { call: "load" })
    }

    fn store(&mut self, copy: &RawMapping, offset: u64, from: &[u8]) -> Result<(), KernelError> {
        let stored = self.host.with(|machine| {
            for piece in pieces(access::page_size(machine, self.id), offset, from.len()) {
                let bytes = machine.copy_bytes_mut(self.id, copy.id, piece.page)?;
                let target = bytes.get_mut(piece.at..piece.at + piece.length)?;
                target.copy_from_slice(&from[piece.from..piece.from + piece.length]);
            }
            Some(())
        });
        stored.ok_or(KernelError::BadArgument { call: "store" })
    }
}

impl Machine {
    /// How the object is copied, once its pager has said it; whoever asks uses the object.
    fn copy_strategy(&mut self, id: u64) -> Poll<Result<CopyStrategy, KernelError>> {
        self.begin_use(id);
        let Some(object) = self.objects.get_mut(&id) else {
            return Poll::Ready(Err(KernelError::Gone));
        };
        match object.stage {
            Stage::Ready => Poll::Ready(Ok(object.copy_strategy)),
            Stage::Unmapped | Stage::Orphaned => Poll::Ready(Err(KernelError::Gone)),
            Stage::Initialised => {
                object.used_unmapped = true;
                Poll::Pending
            }
        }
    }
}
