//! What comes in, as events of the core: messages of the kernel and results of jobs.

use super::upcall::plain_event;
use super::{Engine, HeldRun, Outcome, Output, PageMemory};
use crate::backend::{PageBuffer, PageOutcome};
use crate::mach::{PageData, Upcall};
use crate::object::{
    Answer, DataId, Event, OpId, PageError, PageRange, PagesSupplied, Refusal, RequestToken,
};

impl Engine {
    pub(super) fn post_upcall(&mut self, upcall: Upcall) {
        if let (Some(plan), Upcall::DataRequest { offset, length, .. }) = (&mut self.recording, &upcall)
            && let Ok(pages) = self.page_size.pages_exact(*offset, *length)
        {
            plan.record(pages);
        }
        let event = if let Upcall::DataReturn {
            control,
            offset,
            data,
            dirty,
            kernel_copy,
        } = upcall
        {
            let length = data.len() as u64;
            let data = self.hold_returned(offset, data);
            Event::DataReturn {
                control,
                offset,
                length,
                data,
                dirty,
                kernel_copy,
            }
        } else if let Some(event) = plain_event(&upcall) {
            event
        } else {
            return self.refuse(Refusal::Unmatched);
        };
        if matches!(event, Event::Terminate { .. }) {
            self.outputs.push_back(Output::Terminated);
        }
        if matches!(event, Event::NoSenders) {
            self.outputs.push_back(Output::NoSenders);
        }
        self.events.push_back(event);
    }

    /// A range that makes no sense is held all the same: the core refuses and releases it.
    fn hold_returned(&mut self, offset: u64, data: PageData) -> DataId {
        let range = self
            .page_size
            .pages_around(offset, data.len() as u64)
            .unwrap_or_default();
        self.held
            .insert(range, HeldRun::new(range, PageMemory::Returned(data)))
    }

    pub(super) fn post_pages_read(
        &mut self,
        op: OpId,
        range: PageRange,
        buffer: PageBuffer,
        outcomes: &[PageOutcome],
    ) {
        self.post_pages(op, range, PageMemory::Buffer(buffer), outcomes);
    }

    pub(super) fn post_pages(
        &mut self,
        op: OpId,
        range: PageRange,
        memory: PageMemory,
        outcomes: &[PageOutcome],
    ) {
        let run = self.held.run(range, memory);
        let mut at = range.start();
        for part in outcomes.chunk_by(|a, b| a == b) {
            let pages = PageRange::with_len(at, part.len() as u64);
            at = pages.end();
            let result = match part[0] {
                PageOutcome::Supplied { write_lock } => {
                    let data = self.held.insert(pages, run.clone());
                    Ok(PagesSupplied { data, write_lock })
                }
                PageOutcome::Failed(error) => Err(error),
            };
            self.events.push_back(Event::PagesRead {
                op,
                range: pages,
                result,
            });
        }
    }

    pub(super) fn post_pages_written(&mut self, op: OpId, written: u64, error: Option<PageError>) {
        if let Some((data, range)) = self.writes.remove(&op)
            && let Some(run) = self.held.get(data)
            && let Some(memory) = run.returned()
        {
            self.kernel.write_ended(memory, range);
        }
        self.unsynced |= written > 0;
        self.events.push_back(Event::PagesWritten { op, written, error });
    }

    pub(super) fn synced(&mut self, token: RequestToken, result: Result<(), PageError>) {
        let outcome = match result {
            Ok(()) => Outcome::Answer(Answer::Done),
            Err(error) => {
                self.unsynced = true;
                Outcome::NotDurable(error)
            }
        };
        self.outputs.push_back(Output::Answer(token, outcome));
    }
}
