//! `PagerActor`: a mailbox around one memory object's engine.

use std::collections::{HashMap, VecDeque};
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::Arc;
use std::task;
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFuture, Addr, ArbiterHandle, AsyncContext, Context, Handler, Recipient,
};

use super::engine::{Copied, Copy, Engine, Outcome, Output};
use super::messages::{Control, Reply, Report, Request, UserCall};
use super::pool::{BackendPool, JobAnswer, Work};
use super::registry::{PagerId, SharedRegistry};
use crate::backend::Backend;
use crate::object::{Answer, Event, LockKind, PageSize, RequestToken};

/// How many times one turn asks the kernel for more before other actors of the arbiter get theirs.
const POLLS_PER_TURN: usize = 16;

/// A user who waits for an answer.
enum Waiting {
    Answer(Reply<Outcome>),
    Copied(Reply<Copied>),
    /// The pager itself: it writes back because nobody holds it any more.
    Farewell,
}

/// Whether requests are taken.
enum Intake {
    Open,
    /// Finishing what came before the inhibition.
    Draining(Vec<Reply<()>>),
    Closed,
}

/// What a pager actor is made of.
pub(crate) struct PagerParts {
    pub(crate) id: PagerId,
    pub(crate) engine: Engine,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) page_size: PageSize,
    pub(crate) pool: BackendPool,
    pub(crate) registry: SharedRegistry,
    pub(crate) supervisor: Recipient<Report>,
    pub(crate) retry_every: Duration,
}

/// The way in to a pager.
pub(crate) type PagerAddress = Addr<PagerActor>;

/// One pager at work on its arbiter.
pub(crate) struct PagerActor {
    parts: PagerParts,
    answers_to: Option<Recipient<JobAnswer>>,
    waiting: HashMap<RequestToken, Waiting>,
    next_token: u64,
    intake: Intake,
    kept: VecDeque<Request>,
    retry_pending: bool,
}

impl PagerActor {
    pub(crate) fn new(parts: PagerParts) -> Self {
        Self {
            parts,
            answers_to: None,
            waiting: HashMap::new(),
            next_token: 0,
            intake: Intake::Open,
            kept: VecDeque::new(),
            retry_pending: false,
        }
    }

    /// Starts a pager on an arbiter, from any thread.
    pub(crate) fn start_on(arbiter: &ArbiterHandle, parts: PagerParts) -> PagerAddress {
        Self::start_in_arbiter(arbiter, move |_| Self::new(parts))
    }

    fn engine(&mut self) -> &mut Engine {
        &mut self.parts.engine
    }

    fn token(&mut self, waiting: Waiting) -> RequestToken {
        self.next_token += 1;
        let token = RequestToken(self.next_token);
        self.waiting.insert(token, waiting);
        token
    }

    /// Carries out what the engine could not do by itself.
    fn flush(&mut self, ctx: &mut Context<Self>) {
        while let Some(output) = self.engine().next_output() {
            match output {
                Output::Job(job) => {
                    let Some(reply_to) = self.answers_to.clone() else {
                        continue;
                    };
                    let backend = self.parts.backend.clone();
                    self.parts.pool.submit(Work {
                        job,
                        backend,
                        page_size: self.parts.page_size,
                        reply_to,
                    });
                }
                Output::Answer(token, outcome) => self.answer(token, outcome, ctx),
                Output::Copied(token, copied) => {
                    if let Some(Waiting::Copied(reply)) = self.waiting.remove(&token) {
                        // A user who stopped waiting wants no answer.
                        let _ = reply.send(copied);
                    }
                }
                Output::RetryLater { range, error } => self.retry_later(range, error, ctx),
                Output::Refused(refusal) => tracing::debug!(%refusal, "a message was refused"),
                Output::PortDestroyed | Output::Terminated | Output::NoSenders => {}
            }
        }
        self.finish_draining();
    }

    fn answer(&mut self, token: RequestToken, outcome: Outcome, ctx: &mut Context<Self>) {
        match self.waiting.remove(&token) {
            // A user who stopped waiting wants no answer.
            Some(Waiting::Answer(reply)) => drop(reply.send(outcome)),
            Some(Waiting::Farewell) if matches!(outcome, Outcome::Answer(Answer::Done)) => self.end(ctx),
            Some(Waiting::Farewell) => {
                tracing::error!(
                    ?outcome,
                    "an abandoned pager cannot write its pages back; it keeps them"
                );
            }
            Some(Waiting::Copied(_)) | None => {}
        }
    }

    fn retry_later(
        &mut self,
        range: crate::object::PageRange,
        error: crate::object::PageError,
        ctx: &mut Context<Self>,
    ) {
        tracing::warn!(?range, %error, "pages could not be written; they are kept and tried again");
        if std::mem::replace(&mut self.retry_pending, true) {
            return;
        }
        ctx.run_later(self.parts.retry_every, |pager, ctx| {
            pager.retry_pending = false;
            pager.turn(ctx, |engine| engine.handle(Event::RetryWrites));
        });
    }

    /// Lets the engine work, then carries out what it wants done.
    fn turn(&mut self, ctx: &mut Context<Self>, work: impl FnOnce(&mut Engine)) {
        let engine = &mut self.parts.engine;
        let worked = panic::catch_unwind(AssertUnwindSafe(|| {
            work(engine);
            engine.settle();
        }));
        if let Err(payload) = worked {
            let text = super::engine::panic_text(&*payload);
            tracing::error!(%text, "a pager panicked; it ends");
            self.waiting.clear();
            return self.end(ctx);
        }
        self.flush(ctx);
    }

    fn finish_draining(&mut self) {
        if !matches!(self.intake, Intake::Draining(_)) || !self.parts.engine.is_quiet() {
            return;
        }
        if let Intake::Draining(replies) = std::mem::replace(&mut self.intake, Intake::Closed) {
            for reply in replies {
                let _ = reply.send(());
            }
        }
    }

    fn resume(&mut self, ctx: &mut Context<Self>) {
        self.intake = Intake::Open;
        self.turn(ctx, Engine::resume);
        while let Some(request) = self.kept.pop_front() {
            self.serve(request, ctx);
        }
    }

    fn serve(&mut self, request: Request, ctx: &mut Context<Self>) {
        match request {
            Request::Lock {
                kind,
                offset,
                length,
                wait,
                reply,
            } => {
                let token = self.token(Waiting::Answer(reply));
                self.turn(ctx, |engine| {
                    if wait && kind != LockKind::Flush {
                        engine.make_durable(token);
                    }
                    engine.handle(Event::Lock {
                        token,
                        kind,
                        offset,
                        length,
                        wait,
                    });
                });
            }
            Request::Copy {
                offset,
                buffer,
                access,
                reply,
            } => {
                let token = self.token(Waiting::Copied(reply));
                self.turn(ctx, |engine| {
                    engine.copy(Copy::new(token, offset, buffer, access))
                });
            }
            Request::Offer {
                page,
                bytes,
                precious,
                write_lock,
                reply,
            } => {
                let token = self.token(Waiting::Answer(reply));
                self.turn(ctx, |engine| {
                    engine.offer(token, page, bytes, precious, write_lock)
                });
            }
            Request::ChangeAttributes {
                may_cache,
                copy_strategy,
                wait,
                reply,
            } => {
                let token = self.token(Waiting::Answer(reply));
                let event = Event::ChangeAttributes {
                    token,
                    may_cache,
                    copy_strategy,
                    wait,
                };
                self.turn(ctx, |engine| engine.handle(event));
            }
            Request::Map { range, prot, reply } => {
                let mapped = self.engine().kernel().map(range, prot);
                drop(reply.send(mapped));
                self.turn(ctx, |_| ());
            }
            Request::Shutdown { reply } => self.shutdown(Waiting::Answer(reply), ctx),
        }
    }

    fn control(&mut self, control: Control, ctx: &mut Context<Self>) {
        match control {
            Control::PageError { page, reply } => {
                let error = self.engine().object().page_error(page);
                // Whoever asks has seen the error: the next touch is to ask the store again.
                self.engine().kernel().heal(page);
                let _ = reply.send(error);
            }
            Control::Residency { reply } => {
                let _ = reply.send(self.engine().kernel().residency());
            }
            Control::Unmap { mapping, reply } => self.unmap(&mapping, reply, ctx),
            Control::Abandoned => self.shutdown(Waiting::Farewell, ctx),
            Control::Inhibit { reply } => self.inhibit(reply),
            Control::Resume { reply } => {
                self.resume(ctx);
                let _ = reply.send(());
            }
        }
    }

    fn inhibit(&mut self, reply: Reply<()>) {
        match &mut self.intake {
            Intake::Open => {
                self.parts.engine.inhibit();
                self.intake = Intake::Draining(vec![reply]);
                self.finish_draining();
            }
            Intake::Draining(replies) => replies.push(reply),
            Intake::Closed => drop(reply.send(())),
        }
    }

    fn unmap(&mut self, mapping: &crate::mach::RawMapping, reply: Reply<()>, ctx: &mut Context<Self>) {
        if let Err(error) = self.engine().kernel().unmap(mapping) {
            tracing::warn!(%error, "a mapping could not be taken down");
        }
        let _ = reply.send(());
        self.turn(ctx, |_| ());
    }

    fn shutdown(&mut self, waiting: Waiting, ctx: &mut Context<Self>) {
        let token = self.token(waiting);
        let extent = self.parts.backend.extent();
        self.turn(ctx, |engine| {
            engine.make_durable(token);
            engine.handle(Event::Shutdown { token, extent });
        });
    }

    fn end(&mut self, ctx: &mut Context<Self>) {
        self.parts.registry.remove(self.parts.id);
        self.parts
            .supervisor
            .do_send(Report::Ended { pager: self.parts.id });
        ctx.stop();
    }
}

impl Actor for PagerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.answers_to = Some(ctx.address().recipient());
        ctx.spawn(KernelPoll);
    }
}

impl Handler<UserCall> for PagerActor {
    type Result = ();

    fn handle(&mut self, call: UserCall, ctx: &mut Self::Context) {
        match call {
            UserCall::Control(control) => self.control(control, ctx),
            UserCall::Request(request) if matches!(self.intake, Intake::Open) => self.serve(request, ctx),
            UserCall::Request(request) => self.kept.push_back(request),
        }
    }
}

impl Handler<JobAnswer> for PagerActor {
    type Result = ();

    fn handle(&mut self, JobAnswer(report): JobAnswer, ctx: &mut Self::Context) {
        if let Some(text) = report.panic {
            self.parts.supervisor.do_send(Report::BackendPanicked {
                pager: self.parts.id,
                text,
            });
        }
        self.turn(ctx, |engine| engine.job_done(report.done));
    }
}

/// Listens to the kernel as long as the pager lives.
struct KernelPoll;

impl ActorFuture<PagerActor> for KernelPoll {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        pager: &mut PagerActor,
        ctx: &mut Context<PagerActor>,
        task: &mut task::Context<'_>,
    ) -> task::Poll<()> {
        for _ in 0..POLLS_PER_TURN {
            if matches!(pager.intake, Intake::Closed) {
                return task::Poll::Pending;
            }
            let mut pending = false;
            pager.turn(ctx, |engine| pending = engine.poll_kernel(task).is_pending());
            if pending && !pager.parts.engine.wants_turn() {
                return task::Poll::Pending;
            }
        }
        task.waker().wake_by_ref();
        task::Poll::Pending
    }
}
