//! `BucketSupervisor`: inhibition, resumption and shutdown of all pagers of a bucket.

use actix::{Actor, AsyncContext, Context, Handler, WrapFuture};
use tokio::sync::oneshot;

use super::engine::Outcome;
use super::messages::{
    AlreadyInhibited, BucketCall, Control, NotInhibited, Reply, Report, Request, UserCall,
};
use super::registry::{Entry, SharedRegistry};
use crate::object::Answer;

/// Watches over the pagers of one bucket.
pub(crate) struct BucketSupervisor {
    registry: SharedRegistry,
}

impl BucketSupervisor {
    pub(crate) fn new(registry: SharedRegistry) -> Self {
        Self { registry }
    }

    fn inhibit(&self, reply: Reply<Result<(), AlreadyInhibited>>, ctx: &mut Context<Self>) {
        if self.registry.set_inhibited(true) {
            let _ = reply.send(Err(AlreadyInhibited));
            return;
        }
        let told = self.tell_all(|reply| Control::Inhibit { reply });
        let answer = async move {
            wait_all(told).await;
            let _ = reply.send(Ok(()));
        };
        ctx.spawn(answer.into_actor(self));
    }

    fn resume(&self, reply: Reply<Result<(), NotInhibited>>, ctx: &mut Context<Self>) {
        if !self.registry.set_inhibited(false) {
            let _ = reply.send(Err(NotInhibited));
            return;
        }
        let told = self.tell_all(|reply| Control::Resume { reply });
        let answer = async move {
            wait_all(told).await;
            let _ = reply.send(Ok(()));
        };
        ctx.spawn(answer.into_actor(self));
    }

    fn shutdown(&self, reply: Reply<Vec<String>>, ctx: &mut Context<Self>) {
        self.registry.close();
        self.registry.set_inhibited(false);
        drop(self.tell_all(|reply| Control::Resume { reply }));
        let asked: Vec<_> = self
            .registry
            .entries()
            .into_iter()
            .map(|(_, entry)| {
                let (reply, answer) = oneshot::channel();
                entry
                    .address
                    .do_send(UserCall::Request(Request::Shutdown { reply }));
                (entry, answer)
            })
            .collect();
        ctx.spawn(shut_down(asked, reply).into_actor(self));
    }

    /// Sends every pager a call; the receivers end when it is done, or the pager is gone.
    fn tell_all(&self, control: impl Fn(Reply<()>) -> Control) -> Vec<oneshot::Receiver<()>> {
        let tell = |(_, entry): (_, Entry)| {
            let (reply, done) = oneshot::channel();
            entry.address.do_send(UserCall::Control(control(reply)));
            done
        };
        self.registry.entries().into_iter().map(tell).collect()
    }
}

async fn wait_all(told: Vec<oneshot::Receiver<()>>) {
    for done in told {
        // An error means that the pager ended: then it is done, too.
        let _ = done.await;
    }
}

async fn shut_down(asked: Vec<(Entry, oneshot::Receiver<Outcome>)>, reply: Reply<Vec<String>>) {
    let mut failures = Vec::new();
    for (entry, answer) in asked {
        let outcome = answer.await.ok();
        if !matches!(outcome, Some(Outcome::Answer(Answer::Done | Answer::ShutDown))) {
            failures.push(entry.name);
        }
    }
    let _ = reply.send(failures);
}

impl Actor for BucketSupervisor {
    type Context = Context<Self>;
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

    fn handle(&mut self, report: Report, _: &mut Self::Context) {
        match report {
            Report::BackendPanicked { pager, text } => {
                tracing::error!(pager = pager.0, %text, "a backend panicked; its request was answered with EIO");
            }
            Report::Ended { pager } => tracing::debug!(pager = pager.0, "a pager ended"),
        }
    }
}
