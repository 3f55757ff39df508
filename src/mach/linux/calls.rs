//! The protocol between an object's kernel and its pager: calls that come in, messages that go out.

use std::sync::Arc;
use std::task::{Context, Poll};

use super::object::{LinuxObject, Phase};
use crate::mach::kernel::{Kernel, KernelError, KernelNews};
use crate::mach::message::{Call, PageData, Upcall};
use crate::object::{PageRange, PortName};

/// Messages that one poll brings at most.
const SAID_AT_A_TIME: usize = 128;

impl LinuxObject {
    fn known_control(&self, control: PortName) -> Result<(), KernelError> {
        match control == self.control && control.is_valid() {
            true => Ok(()),
            false => Err(KernelError::UnknownControl(control)),
        }
    }

    fn dispatch(&mut self, call: Call<'_>) -> Result<(), KernelError> {
        match call {
            Call::Ready {
                may_cache,
                copy_strategy,
                ..
            } => {
                self.phase = Phase::Ready;
                (self.may_cache, self.copy_strategy) = (may_cache, copy_strategy);
                self.ask_for_queued();
                Ok(())
            }
            Call::DataSupply {
                range,
                pages,
                lock,
                precious,
                reply,
                ..
            } => self.data_supply(range, pages, lock, precious, reply),
            Call::DataUnavailable { offset, length, .. } => {
                let range = self.pages_of(offset, length, "data_unavailable")?;
                self.data_unavailable(range);
                Ok(())
            }
            Call::DataError {
                offset,
                length,
                error,
                ..
            } => {
                let range = self
                    .size
                    .pages_around(offset, length)
                    .map_err(|_| KernelError::BadArgument { call: "data_error" })?;
                self.data_error(range, error);
                Ok(())
            }
            Call::LockRequest {
                offset,
                length,
                should_return,
                should_flush,
                lock,
                reply,
                ..
            } => {
                let range = self.pages_of(offset, length, "lock_request")?;
                self.lock_request(range, should_return, should_flush, lock)?;
                if reply {
                    self.lock_completed(offset, length);
                }
                Ok(())
            }
            Call::ChangeAttributes {
                may_cache,
                copy_strategy,
                reply,
                ..
            } => {
                self.change_attributes(may_cache, copy_strategy, reply);
                Ok(())
            }
            Call::Destroy { .. } => {
                self.destroy();
                Ok(())
            }
        }
    }
}

impl Kernel for LinuxObject {
    fn call(&mut self, call: Call<'_>) -> Result<(), KernelError> {
        let control = match &call {
            Call::Ready { control, .. }
            | Call::DataSupply { control, .. }
            | Call::DataUnavailable { control, .. }
            | Call::DataError { control, .. }
            | Call::LockRequest { control, .. }
            | Call::ChangeAttributes { control, .. }
            | Call::Destroy { control } => *control,
        };
        self.known_control(control)?;
        let result = self.dispatch(call);
        self.after_call();
        result
    }

    fn poll_upcalls(&mut self, cx: &mut Context<'_>, out: &mut Vec<Upcall>) -> Poll<()> {
        self.polled = true;
        let more = self.turn(cx);
        self.polled = false;
        if more {
            cx.waker().wake_by_ref();
        }
        if self.out.is_empty() {
            return Poll::Pending;
        }
        // The store is to have something to do while the rest is heard.
        let said = self.out.len().min(SAID_AT_A_TIME);
        out.extend(self.out.drain(..said));
        if !self.out.is_empty() {
            cx.waker().wake_by_ref();
        }
        Poll::Ready(())
    }

    fn look(&mut self) -> usize {
        self.spaces.look()
    }

    fn write_begins(&mut self, data: &PageData, range: PageRange) {
        if let PageData::Cached { memory, .. } = data {
            let own = std::ptr::addr_eq(Arc::as_ptr(memory), Arc::as_ptr(&self.memory));
            self.begin_write(range, own);
        }
    }

    fn write_ended(&mut self, data: &PageData, range: PageRange) {
        if matches!(data, PageData::Cached { .. }) {
            self.end_write(range);
        }
    }

    fn release(&mut self, data: &PageData, range: PageRange) {
        if matches!(data, PageData::Cached { .. }) {
            self.take_back(range);
        }
    }

    fn pin(&mut self, range: PageRange) {
        self.pin(range);
    }

    fn unpin(&mut self, range: PageRange) {
        self.unpin(range);
    }

    fn settle(&mut self) {
        self.record_served();
        self.fill_holes();
    }

    fn take_news(&mut self) -> Option<KernelNews> {
        self.news.pop_front()
    }

    fn reissue(&mut self) -> bool {
        self.say_again()
    }
}
