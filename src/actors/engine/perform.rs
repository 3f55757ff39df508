//! Carrying out what the core wants done.

use std::panic::{self, AssertUnwindSafe};

use super::held::Lent;
use super::{Engine, HeldRun, Job, Outcome, Output, PageMemory, UnsavedPages, panic_text};
use crate::backend::{PageBuffer, PageOutcome, ReadRun};
use crate::mach::{Call, KernelError};
use crate::object::{
    Answer, DataId, Effect, Event, OpId, PageError, PageFate, PageRange, PortName, Prot, Refusal,
    RequestToken,
};

/// How many idle read buffers an engine keeps.
const KEPT_BUFFERS: usize = 8;

/// How a read went that was tried in passing.
enum Passing {
    /// The buffer holds the pages.
    Copied,
    /// The pages lie elsewhere.
    Shared(Lent),
    /// It needs a worker.
    Waits,
}

impl Engine {
    pub(super) fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::DataSupply {
                control,
                range,
                data,
                lock,
                precious,
            } => {
                self.data_supply(control, range, data, lock, precious);
            }
            Effect::Read { op, range, access } => self.read(op, range, access),
            Effect::Write { op, range, data } => self.write_or_hold(op, range, data),
            Effect::Unlock { op, range } => self.unlock_or_press(op, range),
            Effect::NotifyEvict { range } => self.submit(Job::NotifyEvict { range }),
            Effect::Release { data, range } => self.release(data, range),
            Effect::ReleaseWhole { data } => self.release_whole(data),
            Effect::Answer { token, answer } => self.answer(token, answer),
            Effect::WritesFailed { range, error } => {
                self.press(error);
                self.outputs.push_back(Output::RetryLater { range, error });
            }
            Effect::DestroyPort => self.outputs.push_back(Output::PortDestroyed),
            Effect::Refused(refusal) => self.refuse(refusal),
            Effect::Ready { .. }
            | Effect::DataError { .. }
            | Effect::LockRequest { .. }
            | Effect::ChangeAttributes { .. }
            | Effect::Destroy { .. }
            | Effect::ReleasePorts { .. } => self.tell_kernel(effect),
        }
    }

    /// The effects that are a call of the kernel and nothing else.
    fn tell_kernel(&mut self, effect: Effect) {
        if let Some(call) = plain_call(effect) {
            let called = self.kernel.call(call);
            note(called);
        }
    }

    fn data_supply(&mut self, control: PortName, range: PageRange, data: DataId, lock: Prot, precious: bool) {
        let Some(run) = self.held.get(data) else { return };
        let lock = self.pressed_lock(lock);
        let pages = run.slice(range, self.page_size);
        let called = self.kernel.call(Call::DataSupply {
            control,
            range,
            pages,
            lock,
            precious,
            reply: false,
        });
        if let Err(error) = called {
            self.not_supplied(control, range, &error);
        }
        self.done_with(data, range);
    }

    /// The kernel has no memory for pages that came from the store: whoever waits gets an error.
    fn not_supplied(&mut self, control: PortName, range: PageRange, error: &KernelError) {
        tracing::error!(?range, %error, "the kernel refused pages");
        let called = self.kernel.call(Call::DataError {
            control,
            offset: range.offset(self.page_size),
            length: range.bytes(self.page_size),
            error: PageError::Io,
        });
        note(called);
    }

    fn release(&mut self, data: DataId, range: PageRange) {
        if let Some(run) = self.held.get(data)
            && let Some(memory) = run.returned()
        {
            self.kernel.release(memory, range);
        }
        self.done_with(data, range);
    }

    fn release_whole(&mut self, data: DataId) {
        if let Some(range) = self.held.get(data).map(HeldRun::range) {
            self.release(data, range);
        }
    }

    fn done_with(&mut self, data: DataId, range: PageRange) {
        if let Some(buffer) = self.held.done(data, range) {
            self.keep_buffer(buffer);
        }
    }

    /// Reads into `buffer` if the store has every page at once, or where they lie. A failure is left to
    /// a worker, whose attempts the policy counts.
    fn read_in_passing(
        &mut self,
        range: PageRange,
        buffer: &mut PageBuffer,
        outcomes: &mut Vec<PageOutcome>,
    ) -> Passing {
        if !self.inline_reads {
            return Passing::Waits;
        }
        let mut run = ReadRun::new(range, self.page_size, buffer, outcomes);
        let shared = match panic::catch_unwind(AssertUnwindSafe(|| self.backend.try_read_pages(&mut run))) {
            Ok(Some(Ok(()))) => {
                let shared = run.take_shared();
                run.finish(Ok(()));
                shared
            }
            Ok(Some(Err(_)) | None) => return Passing::Waits,
            Err(payload) => {
                self.panics.push_back(panic_text(&*payload));
                return Passing::Waits;
            }
        };
        let failed = |outcome: &PageOutcome| matches!(outcome, PageOutcome::Failed(_));
        if outcomes.iter().any(failed) {
            return Passing::Waits;
        }
        shared.map_or(Passing::Copied, |shared| Passing::Shared(Lent(shared)))
    }

    /// Pages that a late write may still change are read when it has returned, and only they wait for it.
    fn read(&mut self, op: OpId, range: PageRange, access: Prot) {
        let mut rest = range;
        while !rest.is_empty() {
            let (part, doubtful) = self.doubts.first_part(rest);
            rest = PageRange::new(part.end(), rest.end());
            if doubtful {
                let buffer = self.take_buffer(part.bytes(self.page_size) as usize);
                self.submit(Job::Read {
                    op,
                    range: part,
                    access,
                    buffer,
                });
            } else {
                self.read_part(op, part, access);
            }
        }
    }

    fn read_part(&mut self, op: OpId, range: PageRange, access: Prot) {
        let mut buffer = self.take_buffer(range.bytes(self.page_size) as usize);
        let mut outcomes = std::mem::take(&mut self.outcomes);
        match self.read_in_passing(range, &mut buffer, &mut outcomes) {
            Passing::Copied => self.post_pages_read(op, range, buffer, &outcomes),
            Passing::Shared(lent) => {
                self.keep_buffer(buffer);
                self.post_pages(op, range, PageMemory::Shared(lent), &outcomes);
            }
            Passing::Waits => self.submit(Job::Read {
                op,
                range,
                access,
                buffer,
            }),
        }
        self.outcomes = outcomes;
    }

    pub(super) fn write(&mut self, op: OpId, range: PageRange, data: DataId) {
        let Some(run) = self.held.get(data).cloned() else {
            // Nothing is clean that was not written.
            tracing::error!(?range, "pages to be written are not there");
            return self.events.push_back(Event::PagesWritten {
                op,
                written: 0,
                error: Some(PageError::Io),
            });
        };
        if let Some(memory) = run.returned() {
            self.kernel.write_begins(memory, range);
        }
        self.writes.insert(op, (data, range));
        self.submit(Job::Write { op, range, run });
    }

    /// Answers a user; one who waits for durability after the store has confirmed it.
    fn answer(&mut self, token: RequestToken, answer: Answer) {
        let wants_durable = self.durable_after.iter().position(|&waiting| waiting == token);
        if let Some(at) = wants_durable {
            self.durable_after.swap_remove(at);
            if answer == Answer::Done && std::mem::take(&mut self.unsynced) {
                return self.submit(Job::Sync { token });
            }
        }
        let outcome = match self.unsaved(&answer) {
            unsaved if unsaved.is_empty() => Outcome::Answer(answer),
            unsaved => Outcome::Unsaved(unsaved),
        };
        self.outputs.push_back(Output::Answer(token, outcome));
    }

    /// Takes the pages out of an answer that hands them back.
    fn unsaved(&mut self, answer: &Answer) -> Vec<UnsavedPages> {
        let Answer::Failed(failed) = answer else {
            return Vec::new();
        };
        let mut unsaved = Vec::new();
        for pages in failed {
            if let PageFate::HandedBack(data) = pages.fate
                && let Some(run) = self.held.get(data)
            {
                let bytes = run.bytes(pages.range, self.page_size).to_vec();
                unsaved.push(UnsavedPages {
                    range: pages.range,
                    error: pages.error,
                    bytes,
                });
                self.release(data, pages.range);
            }
        }
        unsaved
    }

    pub(super) fn refuse(&mut self, refusal: Refusal) {
        self.outputs.push_back(Output::Refused(refusal));
    }

    pub(super) fn submit(&mut self, job: Job) {
        self.jobs_in_flight += 1;
        self.outputs.push_back(Output::Job(job));
    }

    fn take_buffer(&mut self, length: usize) -> PageBuffer {
        if let Some(mut buffer) = self.buffers.pop()
            && buffer.set_len(length)
        {
            return buffer;
        }
        PageBuffer::zeroed(length)
    }

    fn keep_buffer(&mut self, buffer: PageBuffer) {
        if self.buffers.len() < KEPT_BUFFERS {
            self.buffers.push(buffer);
        }
    }
}

fn plain_call(effect: Effect) -> Option<Call<'static>> {
    match effect {
        Effect::Ready {
            control,
            may_cache,
            copy_strategy,
        } => Some(Call::Ready {
            control,
            may_cache,
            copy_strategy,
        }),
        Effect::DataError {
            control,
            offset,
            length,
            error,
        } => Some(Call::DataError {
            control,
            offset,
            length,
            error,
        }),
        Effect::LockRequest {
            control,
            offset,
            length,
            should_return,
            should_flush,
            lock,
            reply,
        } => Some(Call::LockRequest {
            control,
            offset,
            length,
            should_return,
            should_flush,
            lock,
            reply,
        }),
        Effect::ChangeAttributes {
            control,
            may_cache,
            copy_strategy,
            reply,
        } => Some(Call::ChangeAttributes {
            control,
            may_cache,
            copy_strategy,
            reply,
        }),
        Effect::Destroy { control } => Some(Call::Destroy { control }),
        // Rights are counted by the kernels that have them, not by calls.
        Effect::ReleasePorts { .. } => None,
        Effect::DataSupply { .. }
        | Effect::Read { .. }
        | Effect::Write { .. }
        | Effect::Unlock { .. }
        | Effect::NotifyEvict { .. }
        | Effect::Release { .. }
        | Effect::ReleaseWhole { .. }
        | Effect::Answer { .. }
        | Effect::WritesFailed { .. }
        | Effect::DestroyPort
        | Effect::Refused(_) => None,
    }
}

/// A kernel that refuses a call has said so to the clients already; here it is only noted.
pub(super) fn note(called: Result<(), KernelError>) {
    if let Err(error) = called {
        tracing::warn!(%error, "the kernel refused a call");
    }
}
