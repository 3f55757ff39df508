//! The pager's calls, carried out.

use super::machine::Machine;
use super::object::{Object, Stage};
use super::page::{Page, PageState};
use super::returns::LockOrder;
use super::supply::Supply;
use crate::mach::{Call, KernelError, Upcall};
use crate::object::{CopyStrategy, PageError, PageIndex, PortName, Prot, ShouldReturn};

impl Machine {
    /// Carries one call out.
    pub(super) fn call(&mut self, id: u64, call: Call<'_>) -> Result<(), KernelError> {
        self.dispatch(id, call)?;
        self.end_use(id);
        Ok(())
    }

    fn dispatch(&mut self, id: u64, call: Call<'_>) -> Result<(), KernelError> {
        match call {
            Call::Ready {
                control,
                may_cache,
                copy_strategy,
            } => {
                let object = self.known(id, control)?;
                object.set_attributes(may_cache, copy_strategy);
                object.ask_again();
            }
            Call::DataSupply {
                control,
                range,
                pages,
                lock,
                precious,
                reply,
            } => {
                self.known(id, control)?;
                let supply = Supply {
                    range,
                    pages,
                    lock,
                    precious,
                };
                self.supply(id, &supply, reply)?;
            }
            Call::DataUnavailable {
                control,
                offset,
                length,
            } => {
                let object = self.known(id, control)?;
                object.fill_zeros(offset, length);
            }
            Call::DataError {
                control,
                offset,
                length,
                error,
            } => {
                let object = self.known(id, control)?;
                object.fail(offset, length, error);
            }
            Call::LockRequest {
                control,
                offset,
                length,
                should_return,
                should_flush,
                lock,
                reply,
            } => {
                self.known(id, control)?;
                let what = (should_return, should_flush, lock);
                self.lock_request(id, (offset, length), what, reply)?;
            }
            Call::ChangeAttributes {
                control,
                may_cache,
                copy_strategy,
                reply,
            } => {
                self.known(id, control)?;
                self.change_attributes(id, may_cache, copy_strategy, reply);
            }
            Call::Destroy { control } => self.destroy(id, control)?,
        }
        Ok(())
    }

    fn change_attributes(&mut self, id: u64, may_cache: bool, copy_strategy: CopyStrategy, reply: bool) {
        if let Some(object) = self.objects.get_mut(&id) {
            object.set_attributes(may_cache, copy_strategy);
        }
        // The object may go with this: the completion comes after its end.
        self.end_use(id);
        if let Some(object) = self.objects.get_mut(&id).filter(|_| reply) {
            object.send(Upcall::ChangeCompleted {
                may_cache,
                copy_strategy,
            });
        }
    }

    /// The object, if `control` is its control port.
    fn known(&mut self, id: u64, control: PortName) -> Result<&mut Object, KernelError> {
        let object = self.objects.get_mut(&id).ok_or(KernelError::Gone)?;
        let alive = matches!(object.stage, Stage::Initialised | Stage::Ready);
        if alive && object.control == control {
            Ok(object)
        } else {
            Err(KernelError::UnknownControl(control))
        }
    }

    fn lock_request(
        &mut self,
        id: u64,
        (offset, length): (u64, u64),
        (should_return, flush, lock): (ShouldReturn, bool, Prot),
        reply: bool,
    ) -> Result<(), KernelError> {
        if lock != Prot::NO_CHANGE && lock.bits() & !7 != 0 {
            return Err(KernelError::BadArgument { call: "lock_request" });
        }
        let object = self.objects.get(&id).ok_or(KernelError::Gone)?;
        let (control, size) = (object.control, object.spec.page_size);
        // Pages lie at whole offsets: a misaligned request finds none.
        if offset % size.bytes() == 0 {
            let pages = size.pages_around(offset, length).unwrap_or_default();
            self.lock_pages(
                id,
                LockOrder {
                    pages,
                    should_return,
                    flush,
                    lock,
                },
            );
        }
        if let Some(object) = self.objects.get_mut(&id).filter(|_| reply) {
            object.send(Upcall::LockCompleted {
                control,
                offset,
                length,
            });
        }
        Ok(())
    }

    fn destroy(&mut self, id: u64, control: PortName) -> Result<(), KernelError> {
        let object = self.objects.get_mut(&id).ok_or(KernelError::Gone)?;
        let other = object
            .foreign
            .iter()
            .find(|(other, _)| *other == control)
            .copied();
        if let Some((control, name)) = other {
            object.foreign.remove(&(control, name));
            object.send(Upcall::Terminate { control, name });
            return Ok(());
        }
        let object = self.known(id, control)?;
        let name = object.name;
        object.send(Upcall::Terminate { control, name });
        self.orphan(id);
        self.check_senders(id);
        Ok(())
    }
}

impl Object {
    fn set_attributes(&mut self, may_cache: bool, copy_strategy: CopyStrategy) {
        self.may_cache = may_cache;
        self.copy_strategy = copy_strategy;
        self.stage = Stage::Ready;
    }

    /// The pages of a range of bytes that were asked for and not answered.
    fn unanswered(&mut self, offset: u64, length: u64) -> impl Iterator<Item = (&PageIndex, &mut Page)> {
        let range = self
            .spec
            .page_size
            .pages_around(offset, length)
            .unwrap_or_default();
        let pages = self.pages.range_mut(range.start()..range.end());
        pages.filter(|(_, page)| page.is_awaited())
    }

    fn fill_zeros(&mut self, offset: u64, length: u64) {
        let size = self.spec.page_size.bytes() as usize;
        for (_, page) in self.unanswered(offset, length) {
            page.state = PageState::Resident;
            page.bytes = vec![0; size];
        }
    }

    fn fail(&mut self, offset: u64, length: u64, error: PageError) {
        for (_, page) in self.unanswered(offset, length) {
            if page.state == PageState::Requested {
                page.state = PageState::Failed(error);
            } else {
                page.state = PageState::Lent { asked: false };
                page.refused = Some(error);
            }
        }
    }
}
