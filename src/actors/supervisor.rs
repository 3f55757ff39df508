//! `BucketSupervisor`: inhibition, resumption and shutdown of all pagers of a bucket, and what
//! happens when a store, a worker, a pager or a thread fails.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use actix::{Actor, AsyncContext, Context, Handler, WrapFuture};
use tokio::sync::oneshot;

use super::cell::PagerCell;
use super::engine::Outcome;
use super::events::{EventKind, EventSink};
use super::health::{Health, Verdict};
use super::house::Arbiters;
use super::messages::{
    AlreadyInhibited, BucketCall, Control, NotInhibited, Reply, Report, Request, UserCall,
};
use super::pager::PagerActor;
use super::policy::FailurePolicy;
use super::registry::{PagerId, SharedRegistry};
use crate::object::Answer;

/// How often the supervisor looks whether its arbiters live.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What a supervisor watches over.
pub(crate) struct Watch {
    pub(crate) registry: SharedRegistry,
    pub(crate) arbiters: Arbiters,
    pub(crate) events: EventSink,
}

/// Watches over the pagers of one bucket.
pub(crate) struct BucketSupervisor {
    watch: Watch,
    health: HashMap<PagerId, Health>,
}

impl BucketSupervisor {
    pub(crate) fn new(watch: Watch) -> Self {
        Self {
            watch,
            health: HashMap::new(),
        }
    }

    fn inhibit(&self, reply: Reply<Result<(), AlreadyInhibited>>, ctx: &mut Context<Self>) {
        if self.watch.registry.set_inhibited(true) {
            let _ = reply.send(Err(AlreadyInhibited));
            return;
        }
        let told = self.tell_all(|reply| Control::Inhibit { reply });
        let registry = self.watch.registry.clone();
        // None is closed before all have finished: one may need the frames of another.
        let closed = async move {
            all_done(told).await;
            all_done(tell_all(&registry, |reply| Control::Close { reply })).await;
            let _ = reply.send(Ok(()));
        };
        ctx.spawn(closed.into_actor(self));
    }

    fn resume(&self, reply: Reply<Result<(), NotInhibited>>, ctx: &mut Context<Self>) {
        if !self.watch.registry.set_inhibited(false) {
            let _ = reply.send(Err(NotInhibited));
            return;
        }
        let told = self.tell_all(|reply| Control::Resume { reply });
        self.answer_after(told, reply, Ok(()), ctx);
    }

    fn answer_after<T: 'static>(
        &self,
        told: Vec<oneshot::Receiver<()>>,
        reply: Reply<T>,
        answer: T,
        ctx: &mut Context<Self>,
    ) {
        let answered = async move {
            all_done(told).await;
            let _ = reply.send(answer);
        };
        ctx.spawn(answered.into_actor(self));
    }

    fn shutdown(&self, reply: Reply<Vec<String>>, ctx: &mut Context<Self>) {
        self.watch.registry.close();
        self.watch.registry.set_inhibited(false);
        drop(self.tell_all(|reply| Control::Resume { reply }));
        let asked = self.watch.registry.cells().into_iter().map(|cell| {
            let (reply, answer) = oneshot::channel();
            cell.call(UserCall::Request(Request::Shutdown { reply }));
            (cell, answer)
        });
        ctx.spawn(shut_down(asked.collect(), reply).into_actor(self));
    }

    fn tell_all(&self, control: impl Fn(Reply<()>) -> Control) -> Vec<oneshot::Receiver<()>> {
        tell_all(&self.watch.registry, control)
    }

    /// Decides what follows from a failure of a pager.
    fn failed(&mut self, pager: PagerId, policy: FailurePolicy, remedy: Control, ctx: &mut Context<Self>) {
        let Some(cell) = self.watch.registry.get(pager) else {
            return;
        };
        match self
            .health
            .entry(pager)
            .or_default()
            .failed(Instant::now(), policy.intensity)
        {
            Verdict::Quarantine => cell.call(UserCall::Control(Control::Quarantine)),
            Verdict::Restart(failures) => {
                let wait = policy.restart_backoff.after(failures, pager.0);
                ctx.run_later(wait, move |_, _| cell.call(UserCall::Control(remedy)));
            }
        }
    }

    /// Moves the pagers of dead arbiters to new ones.
    fn look_after_arbiters(&mut self) {
        for dead in self.watch.arbiters.replace_dead() {
            let cells = self.watch.registry.cells();
            let orphans = cells
                .into_iter()
                .filter(|cell| cell.arbiter.load(Ordering::Relaxed) == dead);
            for cell in orphans {
                self.watch.events.tell(cell.id, EventKind::PagerMoved);
                cell.call(UserCall::Control(Control::Restart));
                PagerActor::start_on(&self.watch.arbiters.get(dead), cell);
            }
        }
    }
}

/// Sends every pager a call; the receivers end when it is done, or the pager is gone.
fn tell_all(registry: &SharedRegistry, control: impl Fn(Reply<()>) -> Control) -> Vec<oneshot::Receiver<()>> {
    let tell = |cell: Arc<PagerCell>| {
        let (reply, done) = oneshot::channel();
        cell.call(UserCall::Control(control(reply)));
        done
    };
    registry.cells().into_iter().map(tell).collect()
}

async fn all_done(told: Vec<oneshot::Receiver<()>>) {
    for done in told {
        // An error means that the pager ended: then it is done, too.
        let _ = done.await;
    }
}

async fn shut_down(asked: Vec<(Arc<PagerCell>, oneshot::Receiver<Outcome>)>, reply: Reply<Vec<String>>) {
    let mut failed = Vec::new();
    for (cell, answer) in asked {
        // No answer means that the pager ended by itself: it does so only when all is stored.
        if let Ok(outcome) = answer.await
            && !matches!(outcome, Outcome::Answer(Answer::Done | Answer::ShutDown))
        {
            failed.push(cell.name.clone());
        }
    }
    let _ = reply.send(failed);
}

impl Actor for BucketSupervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(LOOK_EVERY, |supervisor, _| supervisor.look_after_arbiters());
    }
}

impl Handler<BucketCall> for BucketSupervisor {
    type Result = ();

    fn handle(&mut self, call: BucketCall, ctx: &mut Self::Context) {
        match call {
            BucketCall::Inhibit { reply } => self.inhibit(reply, ctx),
            BucketCall::Resume { reply } => self.resume(reply, ctx),
            BucketCall::Shutdown { reply } => self.shutdown(reply, ctx),
        }
    }
}

impl Handler<Report> for BucketSupervisor {
    type Result = ();

    fn handle(&mut self, report: Report, ctx: &mut Self::Context) {
        match report {
            Report::BackendFailed { pager, policy } => {
                self.failed(pager, policy, Control::RestartBackend, ctx);
            }
            Report::PagerPanicked { pager, policy, text } => {
                tracing::error!(pager = pager.0, %text, "a pager panicked");
                self.failed(pager, policy, Control::Restart, ctx);
            }
            Report::Ended { pager } => {
                self.health.remove(&pager);
                self.watch.registry.remove(pager);
                self.watch.events.tell(pager, EventKind::Ended);
            }
        }
    }
}
