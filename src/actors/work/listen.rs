//! Listening to the kernel.

use std::task::Context;

use super::{Condition, PagerWork};
use crate::actors::engine::Engine;

impl PagerWork {
    /// Takes the kernel's news, unless none is wanted now; the kernel calls when there is more. True if
    /// the engine wants another turn all the same.
    pub(crate) fn poll_kernel(&mut self, cx: &mut Context<'_>) -> bool {
        // Whether there was news says nothing about what comes: the kernel calls.
        self.kernel_turn(|engine| {
            let _ = engine.poll_kernel(cx);
        });
        !self.is_deaf() && self.parts.engine.wants_turn()
    }

    /// Looks for threads that stopped, before the kernel calls. True if there were any: they are served.
    pub(crate) fn look(&mut self, cx: &mut Context<'_>) -> bool {
        let mut found = false;
        self.kernel_turn(|engine| {
            found = engine.look();
            if found {
                let _ = engine.poll_kernel(cx);
            }
        });
        found && !self.is_deaf()
    }

    /// True while no news of the kernel is wanted.
    fn is_deaf(&self) -> bool {
        self.condition == Condition::Stunned || self.has_ended()
    }

    fn kernel_turn(&mut self, work: impl FnOnce(&mut Engine)) {
        if self.is_deaf() {
            return;
        }
        self.turn(work);
        for (reply, mapped) in self.mapped.drain(..) {
            // A user who stopped waiting wants no answer.
            let _ = reply.send(mapped);
        }
    }
}
