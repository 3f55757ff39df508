//! `PagerActor`: drives one pager's work on an arbiter.
//!
//! The work itself stands in the [`PagerCell`], so that it survives the actor and its thread.

use std::pin::Pin;
use std::sync::Arc;
use std::task;
use std::time::Instant;

use actix::{
    Actor, ActorContext, ActorFuture, Addr, ArbiterHandle, AsyncContext, Context, Handler, SpawnHandle,
};

use super::cell::{Incoming, PagerCell};
use super::courtesy::Courtesy;
use super::messages::Wake;
use super::spin::turn_taken;

/// How many calls and results one turn takes in.
const INCOMING_PER_TURN: usize = 128;

/// The way in to a pager's actor.
pub(crate) type PagerAddress = Addr<PagerActor>;

/// One pager at work on its arbiter.
pub(crate) struct PagerActor {
    cell: Arc<PagerCell>,
    /// The timer that is set, and when it rings.
    timer: Option<(SpawnHandle, Instant)>,
    courtesy: Courtesy,
}

impl PagerActor {
    /// Starts an actor for a cell, from any thread.
    pub(crate) fn start_on(arbiter: &ArbiterHandle, cell: Arc<PagerCell>) {
        let theirs = cell.clone();
        let address = Self::start_in_arbiter(arbiter, move |_| Self {
            cell: theirs,
            timer: None,
            courtesy: Courtesy::default(),
        });
        cell.house(address);
    }

    /// Takes in what waits in the inbox; comes back for the rest if there is much.
    fn take_in(&mut self, ctx: &mut Context<Self>) {
        for _ in 0..INCOMING_PER_TURN {
            let mut work = self.cell.work();
            let Some(incoming) = self.cell.next(&mut work.fetched) else {
                return;
            };
            work.guarded(|work| match incoming {
                Incoming::Call(call) => work.call(call),
                Incoming::Answer(answer) => work.answer(answer),
            });
        }
        ctx.address().do_send(Wake);
    }

    /// Sets the timer for what is due next, and goes when the pager is over.
    fn after_turn(&mut self, ctx: &mut Context<Self>) {
        let (ended, due, flying) = {
            let work = self.cell.work();
            (work.has_ended(), work.next_due(), work.flying())
        };
        if ended {
            self.cell.close();
            return ctx.stop();
        }
        self.cell.waits_for(flying);
        let Some(due) = due else { return };
        if self.timer.is_some_and(|(_, set)| set <= due) {
            return;
        }
        if let Some((handle, _)) = self.timer.take() {
            ctx.cancel_future(handle);
        }
        let wait = due.saturating_duration_since(Instant::now());
        let handle = ctx.run_later(wait, |pager, ctx| {
            pager.timer = None;
            // A result that is there is not overdue, whatever it waits for.
            pager.take_in(ctx);
            pager.cell.work().guarded(|work| work.tick(Instant::now()));
            pager.after_turn(ctx);
        });
        self.timer = Some((handle, due));
    }
}

impl Actor for PagerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.spawn(KernelPoll);
    }
}

impl Handler<Wake> for PagerActor {
    type Result = ();

    fn handle(&mut self, _: Wake, ctx: &mut Self::Context) {
        turn_taken();
        self.cell.awake();
        self.take_in(ctx);
        self.after_turn(ctx);
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
        turn_taken();
        let wanted = pager.cell.work().poll_kernel(task);
        let mut courtesy = std::mem::take(&mut pager.courtesy);
        let more = courtesy.exchange(|| {
            // Calls and results wait for one round at most.
            if pager.cell.is_called() {
                pager.take_in(ctx);
            }
            pager.cell.work().look(task)
        });
        pager.courtesy = courtesy;
        if more || wanted {
            task.waker().wake_by_ref();
        }
        pager.after_turn(ctx);
        task::Poll::Pending
    }
}
