//! The executor of one memory object: feeds the core events and carries its effects out.
//!
//! No actor and no thread in here: the pager's actor drives an engine on an
//! arbiter, a simulation drives it step by step. Work that may block leaves as [`Output::Job`];
//! its result comes back through [`Engine::job_done`].

mod anew;
mod copy;
mod doubts;
mod held;
mod hold;
mod intake;
mod job;
mod map_copy;
mod outline;
mod perform;
mod upcall;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll};

pub use copy::{Copied, Copy};
pub use held::{HeldPages, HeldRun, PageMemory};
pub use hold::{BackPressure, UnsavedLimit};
pub(crate) use job::panic_text;
pub use job::{Job, JobDone, JobReport};
pub(crate) use outline::{Outline, ReadAgain};

use crate::backend::{Backend, PageBuffer, PageOutcome};
use crate::error::MapError;
use crate::mach::{KernelNews, ObjectKernel, RawMapping, Upcall};
use crate::object::{
    Answer, DataId, Effect, Event, MemoryObject, OpId, PageError, PageIndex, PageRange, PageSize, Refusal,
    RequestToken,
};
use crate::plan::Plan;
use copy::Copies;
use doubts::Doubts;
use hold::Holds;
use map_copy::CopiesInMaking;
use upcall::{begins_work, init_port};

/// What an engine cannot do by itself.
#[derive(Debug)]
pub enum Output {
    /// Make this call of the backend where blocking is allowed.
    Job(Job),
    /// Answer a user.
    Answer(RequestToken, Outcome),
    /// Answer a user who copies.
    Copied(RequestToken, Copied),
    /// Answer a user who maps a copy.
    Mapped(RequestToken, Result<RawMapping, MapError>),
    /// Feed [`Event::RetryWrites`] when the policy says so: some writes failed.
    RetryLater {
        /// The pages.
        range: PageRange,
        /// Why.
        error: PageError,
    },
    /// The object was shut down: its port dies.
    PortDestroyed,
    /// A message was refused.
    Refused(Refusal),
    /// The kernel gave the object up.
    Terminated,
    /// The last send right is gone.
    NoSenders,
}

/// How a user's request ended.
#[derive(Debug)]
pub enum Outcome {
    /// As the core says.
    Answer(Answer),
    /// Everything was written, but the store could not make it durable.
    NotDurable(PageError),
    /// The object was shut down, and these pages could not be written: they are the caller's now.
    Unsaved(Vec<UnsavedPages>),
}

/// Pages that could not be written before the end of their object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsavedPages {
    /// The pages.
    pub range: PageRange,
    /// Why they could not be written.
    pub error: PageError,
    /// Their contents.
    pub bytes: Vec<u8>,
}

/// What an engine works with.
pub struct Parts {
    /// The protocol core.
    pub object: MemoryObject,
    /// The kernel's side of the object.
    pub kernel: Box<dyn ObjectKernel>,
    /// The store.
    pub backend: Arc<dyn Backend>,
    /// The size of the object's pages.
    pub page_size: PageSize,
    /// How many pages may wait for a store that cannot take them, before writers feel it.
    pub unsaved_limit: Option<UnsavedLimit>,
}

/// One memory object at work.
pub struct Engine {
    object: MemoryObject,
    kernel: Box<dyn ObjectKernel>,
    backend: Arc<dyn Backend>,
    page_size: PageSize,
    held: HeldPages,
    writes: HashMap<OpId, (DataId, PageRange)>,
    jobs_in_flight: usize,
    copies: Copies,
    making: CopiesInMaking,
    holds: Holds,
    recording: Option<Plan>,
    unsaved_limit: Option<UnsavedLimit>,
    /// The store has pages that were not made durable yet.
    unsynced: bool,
    durable_after: Vec<RequestToken>,
    events: VecDeque<Event>,
    effects: Vec<Effect>,
    /// What the kernel said and nobody has looked at yet: it may bring pages that are nowhere else.
    upcalls: Vec<Upcall>,
    incoming: VecDeque<Upcall>,
    /// Pages that a core before held and no kernel has: they are returned again.
    carried: Vec<(PageRange, Vec<u8>)>,
    outcomes: Vec<PageOutcome>,
    buffers: Vec<PageBuffer>,
    outputs: VecDeque<Output>,
    deferred: Option<VecDeque<Upcall>>,
    /// The core is new, and the kernel has not introduced itself to it yet.
    awaits_init: bool,
    panics: VecDeque<String>,
    inline_reads: bool,
    doubts: Doubts,
    closed: bool,
}

impl Engine {
    /// An engine that has not done anything yet.
    pub fn new(parts: Parts) -> Self {
        let Parts {
            object,
            kernel,
            backend,
            page_size,
            unsaved_limit,
        } = parts;
        Self {
            object,
            kernel,
            backend,
            page_size,
            held: HeldPages::default(),
            writes: HashMap::new(),
            jobs_in_flight: 0,
            copies: Copies::default(),
            making: CopiesInMaking::default(),
            holds: Holds::default(),
            recording: None,
            unsaved_limit,
            unsynced: false,
            durable_after: Vec::new(),
            events: VecDeque::new(),
            effects: Vec::new(),
            upcalls: Vec::new(),
            incoming: VecDeque::new(),
            carried: Vec::new(),
            outcomes: Vec::new(),
            buffers: Vec::new(),
            outputs: VecDeque::new(),
            deferred: None,
            awaits_init: false,
            panics: VecDeque::new(),
            inline_reads: true,
            doubts: Doubts::default(),
            closed: false,
        }
    }

    /// Takes in what the kernel has to say; `Pending` when there is nothing.
    pub fn poll_kernel(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let polled = self.kernel.poll_upcalls(cx, &mut self.upcalls);
        self.incoming.extend(self.upcalls.drain(..));
        self.hear();
        polled
    }

    /// Looks for news of the kernel before it calls; says how much there is. The next
    /// [`poll_kernel`](Self::poll_kernel) takes it in.
    pub fn look(&mut self) -> usize {
        self.kernel.look()
    }

    /// Takes in what the kernel has said so far.
    pub fn hear(&mut self) {
        while let Some(upcall) = self.incoming.pop_front() {
            self.upcall(upcall);
        }
        self.settle();
    }

    /// Takes in one message of the kernel.
    pub fn upcall(&mut self, upcall: Upcall) {
        let control = init_port(&upcall);
        // What a core before had begun goes on.
        let again = self.awaits_init && control.is_some();
        match &mut self.deferred {
            // A copy that began before the inhibition goes on, and with it what it asks for; but
            // nothing overtakes what waits already, such as an init.
            Some(deferred)
                if self.closed
                    || begins_work(&upcall)
                        && !again
                        && (!deferred.is_empty() || self.copies.is_empty() && self.making.is_empty()) =>
            {
                deferred.push_back(upcall);
            }
            Some(_) | None => {
                self.hear_deferred_before(&upcall);
                self.post_upcall(upcall);
                if let Some(control) = control {
                    self.awaits_init = false;
                    self.return_carried(control);
                }
                self.run();
            }
        }
    }

    /// Feeds one event to the core and carries out what follows.
    pub fn handle(&mut self, event: Event) {
        self.events.push_back(event);
        self.run();
    }

    /// Takes in the result of a [`Job`].
    pub fn job_done(&mut self, done: JobDone) {
        self.jobs_in_flight = self.jobs_in_flight.saturating_sub(1);
        match done {
            JobDone::PagesRead {
                op,
                range,
                buffer,
                outcomes,
            } => {
                self.post_pages_read(op, range, buffer, &outcomes);
            }
            JobDone::PagesWritten { op, written, error } => self.post_pages_written(op, written, error),
            JobDone::PagesUnlocked { op, result } => {
                self.events.push_back(Event::PagesUnlocked { op, result });
            }
            JobDone::EvictNotified | JobDone::Restarted { .. } => {}
            JobDone::WeakDropped | JobDone::UserDataCleared => {}
            JobDone::Synced { token, result } => self.synced(token, result),
        }
        self.run();
        self.ease();
        self.settle();
    }

    /// Starts a copy that never faults; ends in [`Output::Copied`].
    pub fn copy(&mut self, copy: Copy) {
        self.copies.push(copy);
        self.settle();
    }

    /// Offers a page to the kernel (`pager_offer_page`); `bytes` is one page.
    pub fn offer(
        &mut self,
        token: RequestToken,
        page: PageIndex,
        bytes: PageBuffer,
        precious: bool,
        write_lock: bool,
    ) {
        let range = PageRange::single(page);
        self.hear_deferred_of(range);
        let data = self
            .held
            .insert(range, HeldRun::new(range, PageMemory::Buffer(bytes)));
        let offset = page.offset(self.page_size);
        self.handle(Event::Offer {
            token,
            offset,
            data,
            precious,
            write_lock,
        });
    }

    /// Answers the users' request `token` only when the store is durable.
    pub fn make_durable(&mut self, token: RequestToken) {
        if !self.durable_after.contains(&token) {
            self.durable_after.push(token);
        }
    }

    /// Begins to record the pages that the kernel asks for.
    pub fn record(&mut self) {
        self.recording = Some(Plan::new(self.page_size));
    }

    /// Ends the recording; `None` where there is none.
    pub fn take_plan(&mut self) -> Option<Plan> {
        self.recording.take()
    }

    /// What the engine wants done, oldest first.
    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether reads that need no waiting may be made in passing, by the caller of the engine; unless
    /// said otherwise they are.
    pub fn set_inline_reads(&mut self, inline: bool) {
        self.inline_reads = inline;
    }

    /// What the kernel has to tell people, oldest first.
    pub fn kernel_news(&mut self) -> Option<KernelNews> {
        self.kernel.take_news()
    }

    /// What a panic of the store said that was asked in passing, oldest first.
    pub fn next_panic(&mut self) -> Option<String> {
        self.panics.pop_front()
    }

    /// True if a copy had its share of this turn and wants another.
    pub fn wants_turn(&self) -> bool {
        self.copies.has_more()
    }

    /// Ends a turn: gives copies another one, and has the kernel do what it put off.
    pub fn settle(&mut self) {
        self.kernel.settle();
        self.make_copies();
        if self.copies.is_empty() {
            return;
        }
        let outputs = &mut self.outputs;
        self.copies
            .advance(&mut *self.kernel, self.page_size, |token, copied| {
                outputs.push_back(Output::Copied(token, copied));
            });
    }

    /// True until the kernel has introduced itself to a core that was made anew: requests made of that core
    /// now would find nothing to be done.
    pub fn awaits_init(&self) -> bool {
        self.awaits_init
    }

    /// True if everything that was begun is finished.
    pub fn is_quiet(&self) -> bool {
        self.jobs_in_flight == 0
            && !self.awaits_init
            && self.copies.is_empty()
            && self.making.is_empty()
            && self.object.is_idle()
            && self.object.unanswered().next().is_none()
    }

    /// The protocol core.
    pub fn object(&self) -> &MemoryObject {
        &self.object
    }

    /// The kernel's side.
    pub fn kernel(&mut self) -> &mut dyn ObjectKernel {
        &mut *self.kernel
    }

    /// Feeds the core everything that has been posted, and carries the effects out in order.
    fn run(&mut self) {
        while let Some(event) = self.events.pop_front() {
            let mut effects = std::mem::take(&mut self.effects);
            self.object.handle(event, &mut effects);
            for effect in effects.drain(..) {
                self.perform(effect);
            }
            self.effects = effects;
        }
    }
}
